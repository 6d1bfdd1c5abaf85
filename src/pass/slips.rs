//! Which patterns of a source match nothing that it lists.

use crate::model::RemotePath;
use crate::report::SourceReport;
use crate::rules::patterns::Patterns;
use crate::rules::patterns::slips::SlipWatch;
use crate::transfer::context::Pass;

/// Watches the patterns of a source, and those of files that are wanted again.
pub(crate) struct Slips {
    own: SlipWatch,
    again: Option<SlipWatch>,
}

impl Slips {
    /// From the beginning of a listing.
    pub fn watch(pass: &Pass, again: &Option<Patterns>) -> Self {
        let again = again.as_ref().map(|again| again.watch_as("--again"));
        Self { own: pass.source.patterns.watch(), again }
    }

    /// A file that is listed.
    pub fn see(&mut self, pass: &Pass, path: &RemotePath) {
        let Some(below) = pass.source.patterns.below(path) else { return };
        self.own.see(below);
        if let Some(again) = &mut self.again {
            again.see(below);
        }
    }

    /// Tells `report` of patterns that are most likely mistaken: another form of them would have
    /// matched. Returns what is to be told of the others, to people who look at patterns.
    pub fn tell(
        self,
        pass: &Pass,
        again: &Option<Patterns>,
        report: &mut SourceReport,
    ) -> Vec<String> {
        if !report.problems.is_empty() {
            // What was not listed may match.
            return Vec::new();
        }
        if let (Some(watch), Some(again)) = (&self.again, again) {
            pass.run.again.note(again.given(), &watch.slips());
        }
        let (likely, other): (Vec<_>, Vec<_>) =
            self.own.slips().into_iter().partition(|slip| slip.is_likely);
        likely.into_iter().for_each(|slip| report.add_remark(slip.text));
        other.into_iter().map(|slip| slip.text).collect()
    }
}
