//! Files that are expected: windows against an independent calendar, judgements over manifests,
//! alerts that are sent once, and what a user of the program sees.

mod calendar;
mod judged;
mod seen;
