//! Which patterns of members match nothing in the archives of a pass.

use std::sync::{Mutex, MutexGuard};

use super::settings::Source;
use crate::report::SourceReport;
use crate::rules::patterns::NameGlobs;
use crate::rules::patterns::slips::SlipWatch;

/// Watches `include_members` over the archives of a pass.
#[derive(Debug, Default)]
pub struct MemberSlips {
    watch: Mutex<SlipWatch>,
    globs: usize,
}

impl MemberSlips {
    /// Those of `source`.
    pub fn of(source: &Source) -> Self {
        let globs = source.include_members.as_ref().map_or(&[][..], NameGlobs::given);
        let mut watch = SlipWatch::default();
        watch.add("include_members", globs, b"");
        Self { watch: Mutex::new(watch), globs: globs.len() }
    }

    fn watch(&self) -> MutexGuard<'_, SlipWatch> {
        self.watch.lock().expect("no code panics while it holds this lock")
    }

    /// A member of an archive.
    pub fn see(&self, name: &str) {
        if self.globs > 0 {
            self.watch().see(name.as_bytes());
        }
    }

    /// Tells of those that are most likely mistaken: another form of them would have matched, or
    /// none of them matched anything.
    pub fn tell(&self, report: &mut SourceReport) {
        let slips = self.watch().slips();
        let none_matched = slips.len() == self.globs;
        let told = slips.into_iter().filter(|slip| slip.is_likely || none_matched);
        told.for_each(|slip| report.add_remark(slip.text));
    }
}
