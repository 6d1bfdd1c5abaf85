//! Templates of names for schedules: with dates, with folders, and such that files meet.

use blobferry::rules::layout::{LayoutSettings, Template};
use blobferry::rules::naming::Layout;
use blobferry::rules::time_zone::TimeZone;
use blobferry::transfer::settings::{Source, Versions};

use super::chance::Chance;

/// How blobs and members are named. Under the first all files have one name; the last is for `keep`
/// alone.
const LAYOUTS: [(&str, Option<&str>); 4] = [
    ("{source}/{stem}", Some("{member}")),
    ("{source}/x/{path}", Some("{stem}/{member_file}")),
    ("{source}/{stem}/{file}", None),
    ("{source}/dt={yyyy-MM-dd}/{path}", Some("{stem}/{member}")),
];

/// Gives `source` one of them.
pub fn lay_out(source: &mut Source, seed: u64) {
    let overwrites = source.versions == Versions::Overwrite;
    let choice = Chance::new(seed ^ 0x1A70).index(LAYOUTS.len() - usize::from(overwrites));
    let (layout, member_layout) = LAYOUTS[choice];
    let settings = LayoutSettings {
        source: "acme",
        layout,
        capture: None,
        member_layout,
        zone: TimeZone::UTC,
        one_file: false,
        overwrites,
    };
    let template = Template::read(settings).unwrap_or_else(|bad| panic!("{}", bad.problem));
    source.naming.layout = Layout::Template(template.into());
}
