//! Which characters the file system of a destination can hold: tried once, when the first name asks
//! for that.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use super::modes;
use super::paths::{Characters, OWN, fits_windows};
use crate::runtime::random;

/// A file that says that names are escaped here. It goes with the folder, should that be copied.
const ESCAPED: &str = "escaped";

/// What is known of the file system below a root.
#[derive(Clone, Debug)]
pub(crate) struct HeldCharacters {
    own: PathBuf,
    known: Arc<OnceLock<Characters>>,
}

impl HeldCharacters {
    /// Of the destination `root`.
    pub fn new(root: &Path) -> Self {
        Self { own: root.join(OWN), known: Arc::default() }
    }

    /// Which count for `name`.
    pub fn of(&self, name: &str) -> Characters {
        if cfg!(windows) {
            return Characters::OfWindows;
        }
        if fits_windows(name) {
            return Characters::All;
        }
        if let Some(known) = self.known.get() {
            return *known;
        }
        // Nothing is known of a folder that is not there yet.
        self.look().map_or(Characters::All, |found| *self.known.get_or_init(|| found))
    }

    fn look(&self) -> Option<Characters> {
        let mark = self.own.join(ESCAPED);
        if mark.exists() {
            return Some(Characters::OfWindows);
        }
        let temporary = self.own.join("temporary");
        fs::metadata(&temporary).ok()?;
        let id = random::digits();
        let holds = |name: &str| {
            let path = temporary.join(name);
            let made = modes::private().create_new(true).write(true).open(&path).is_ok();
            let stands = made
                && fs::read_dir(&temporary).is_ok_and(|mut entries| {
                    entries.any(|entry| entry.is_ok_and(|entry| entry.file_name() == name))
                });
            drop(fs::remove_file(path));
            stands
        };
        if !holds(&format!("{id}-plain")) {
            // It is full, or may not be written: that tells nothing of names.
            return None;
        }
        let foreign = ["<", ">", ":", "\"", "|", "?", "*", "\\", "\u{1}", "\u{1f}"];
        let odd = foreign.map(|c| format!("{id}{c}x")).into_iter();
        let mut odd = odd.chain([format!("{id} "), format!("{id}.")]);
        if odd.all(|name| holds(&name)) {
            return Some(Characters::All);
        }
        // Without the mark, names that are escaped were lost to a copy of the folder.
        let made = modes::private().create(true).truncate(false).write(true).open(mark);
        made.is_ok().then_some(Characters::OfWindows)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_system_is_asked_once_what_it_holds_and_only_for_names_that_need_it() {
        let root = tempfile::tempdir().expect("a folder");
        let held = HeldCharacters::new(root.path());
        assert_eq!(held.of("a?"), Characters::default(), "nothing is there yet");
        fs::create_dir_all(root.path().join(OWN).join("temporary")).expect("it is made");
        assert_eq!(held.of("plain/name.txt"), Characters::default());
        assert_eq!(held.known.get(), None);
        let expected = if cfg!(windows) { Characters::OfWindows } else { Characters::All };
        assert_eq!(held.of("a?"), expected);
        let temporary = fs::read_dir(root.path().join(OWN).join("temporary")).expect("it lists");
        assert_eq!(temporary.count(), 0, "nothing is left");
    }

    #[test]
    fn a_copy_of_such_a_destination_keeps_its_names() {
        let root = tempfile::tempdir().expect("a folder");
        fs::create_dir(root.path().join(OWN)).expect("it is made");
        fs::write(root.path().join(OWN).join(ESCAPED), "").expect("it writes");
        let held = HeldCharacters::new(root.path());
        assert_eq!(held.of("a?"), Characters::OfWindows);
        let all = if cfg!(windows) { Characters::OfWindows } else { Characters::All };
        assert_eq!(held.of("a"), all, "for these it is the same");
    }
}
