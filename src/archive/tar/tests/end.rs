//! Tars without their end.

use crate::archive::contract::Format;
use crate::archive::limits::{ArchiveLimits, Meter};
use crate::archive::options::ArchiveOptions;
use crate::archive::spool_reader::Spool;
use crate::archive::tar::Tar;
use crate::archive::tar::tests::{file, tar};

fn doubts(archive: &[u8]) -> Vec<String> {
    let spool = Spool::of(archive);
    let meter = Meter::new(ArchiveLimits::default(), spool.size());
    Tar.visit(spool.reader(), &ArchiveOptions::default(), &meter, &mut |_, _| Ok(())).unwrap();
    meter.doubts()
}

#[test]
fn a_tar_that_was_cut_between_two_members_is_never_whole_for_certain() {
    let whole = tar(&[file("a", &[7; 512]), file("b", &[7; 700])]);
    assert_eq!(doubts(&whole), Vec::<String>::new());
    assert_eq!(doubts(&whole[..2 * 512]).len(), 1, "the second member is cut off");
    assert_eq!(doubts(&whole[..5 * 512]).len(), 1, "so is the end mark alone");
    assert_eq!(doubts(&whole[..6 * 512]), Vec::<String>::new(), "half of the mark is one");
}
