//! Which files an expectation means: globs with dates in them. Pure.

use time::PrimitiveDateTime;

use crate::model::RemotePath;
use crate::rules::date_format::{BadDateFormat, DateFormat};
use crate::rules::patterns::{BadPattern, GlobIndex, Patterns, last_part, may_be_named};

/// A glob with so many letters and digits before the ending tells of a name.
const TELLING: usize = 3;

/// The files that are expected.
#[derive(Clone, Debug)]
pub struct ExpectedFiles {
    root: RemotePath,
    globs: Vec<DatedGlob>,
    /// What the globs match on any day.
    loose: Patterns,
}

/// A glob with dates in it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct DatedGlob(Vec<GlobPart>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum GlobPart {
    Text(String),
    Date(DateFormat),
}

impl DatedGlob {
    /// Reads a glob. A group of braces that resembles a date and is none is an error; any other
    /// one holds alternatives, as in all globs.
    fn parse(glob: &str) -> Result<Self, BadDateFormat> {
        let (mut parts, mut text, mut rest) = (Vec::new(), String::new(), glob);
        while let Some(open) = rest.find('{') {
            let (before, group) = rest.split_at(open);
            text.push_str(before);
            let Some(close) = group.find('}') else {
                text.push_str(group);
                rest = "";
                break;
            };
            let inner = &group[1..close];
            match DateFormat::parse(inner) {
                Ok(format) => {
                    parts.push(GlobPart::Text(std::mem::take(&mut text)));
                    parts.push(GlobPart::Date(format));
                }
                Err(error) if error.resembles_a_date() && !inner.contains(',') => {
                    return Err(error);
                }
                Err(_) => text.push_str(&group[..=close]),
            }
            rest = &group[close + 1..];
        }
        text.push_str(rest);
        parts.push(GlobPart::Text(text));
        Ok(Self(parts))
    }

    fn is_dated(&self) -> bool {
        self.0.iter().any(|part| matches!(part, GlobPart::Date(_)))
    }

    /// The plain glob, with `date` in the place of each date.
    fn with(&self, date: impl Fn(&DateFormat) -> String) -> String {
        self.0.iter().fold(String::new(), |glob, part| match part {
            GlobPart::Text(text) => glob + text,
            GlobPart::Date(format) => glob + &date(format),
        })
    }
}

/// Globs that match on any day what `globs` match on some.
fn loose(globs: &[DatedGlob]) -> Vec<String> {
    let any = |format: &DateFormat| if format.has_slash() { "**" } else { "*" }.to_owned();
    globs.iter().map(|glob| glob.with(any)).collect()
}

/// Which of many expectations may mean a path: all of them are asked at once.
#[derive(Clone, Debug)]
pub(crate) struct ExpectedIndex {
    globs: GlobIndex,
    /// Whose each glob is.
    owners: Vec<usize>,
}

impl ExpectedIndex {
    /// Of these, which are of one source.
    pub fn new<'a>(
        root: &RemotePath,
        all: impl Iterator<Item = &'a ExpectedFiles>,
    ) -> Result<Self, BadPattern> {
        let (mut globs, mut owners) = (Vec::new(), Vec::new());
        for (owner, files) in all.enumerate() {
            let own = loose(&files.globs);
            let own = if own.is_empty() { vec!["**".to_owned()] } else { own };
            owners.extend(own.iter().map(|_| owner));
            globs.extend(own);
        }
        Ok(Self { globs: GlobIndex::new(root, &globs)?, owners })
    }

    /// The places of the expectations that may mean `path`, in order, each once.
    pub(crate) fn owners(&self, path: &RemotePath) -> Vec<usize> {
        let mut owners: Vec<usize> =
            self.globs.matching(path).into_iter().map(|glob| self.owners[glob]).collect();
        owners.dedup();
        owners
    }
}

impl ExpectedFiles {
    /// Files below `root` that one of `globs` matches; none: all.
    pub fn new(root: &RemotePath, globs: &[String]) -> Result<Self, String> {
        let parsed = globs.iter().map(|glob| DatedGlob::parse(glob)).collect::<Result<Vec<_>, _>>();
        let globs = parsed.map_err(|error| error.to_string())?;
        let loose = Patterns::new(root.clone(), &loose(&globs), &[], &[], None);
        let loose = loose.map_err(|error| error.to_string())?;
        Ok(Self { root: root.clone(), globs, loose })
    }

    /// Whether a date in its name tells which day a file is of.
    pub(crate) fn is_dated(&self) -> bool {
        !self.globs.is_empty() && self.globs.iter().all(DatedGlob::is_dated)
    }

    /// What is meant at this moment on the clock of the source.
    pub fn at(&self, local: PrimitiveDateTime) -> Patterns {
        let globs: Vec<String> =
            self.globs.iter().map(|glob| glob.with(|format| format.write(local))).collect();
        Patterns::new(self.root.clone(), &globs, &[], &[], None)
            .unwrap_or_else(|_| self.loose.clone())
    }

    /// Whether a file of this name is meant on some day, in whatever folder, by a glob that tells
    /// more of a name than its ending.
    pub(crate) fn mean(&self, name: &str) -> bool {
        let mut globs = loose(&self.globs);
        globs.retain(|glob| {
            let stem = last_part(glob).rsplit_once('.').map_or(last_part(glob), |(stem, _)| stem);
            stem.chars().filter(|c| c.is_alphanumeric()).count() >= TELLING
        });
        !globs.is_empty() && may_be_named(&globs, name)
    }

    /// What they are made from, for the caller that keeps their matches.
    pub fn text(&self) -> String {
        format!("{:?}", self.globs)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use time::macros::datetime;

    fn files(globs: &[&str]) -> Result<ExpectedFiles, String> {
        let globs: Vec<String> = globs.iter().map(|glob| (*glob).to_owned()).collect();
        ExpectedFiles::new(&RemotePath::from("/out"), &globs)
    }

    #[test]
    fn a_date_in_a_name_tells_the_day() {
        let sales = files(&["sales_{yyyyMMdd}*.{csv,txt}"]).expect("they compile");
        let day = sales.at(datetime!(2026-12-02 07:00));
        let path = |name: &str| RemotePath::from(format!("/out/{name}").as_str());
        assert!(day.wants(&path("sales_20261202.csv")) && day.wants(&path("sales_20261202_2.txt")));
        assert!(!day.wants(&path("sales_20261201.csv")) && !day.wants(&path("sales_20261202.zip")));
        assert!(sales.is_dated());
        assert!(!files(&["*.csv"]).expect("they compile").is_dated());
        let folders = files(&["{yyyy/MM/dd}/*.csv"]).expect("they compile");
        assert!(folders.at(datetime!(2026-12-02 07:00)).wants(&path("2026/12/02/a.csv")));
    }

    #[test]
    fn a_name_of_any_day_is_meant_by_more_than_its_ending() {
        let means = |glob: &str, name: &str| files(&[glob]).expect("they compile").mean(name);
        assert!(means("sales_{yyyyMMdd}*.{csv,txt}", "sales_20301231_2.txt"));
        assert!(means("daily/{yyyy/MM}/sales_*.csv", "sales_x.csv"));
        assert!(!means("sales_{yyyyMMdd}*.csv", "orders_20261202.csv"));
        assert!(!means("*.csv", "sales_20261202.csv") && !means("in/**", "sales_20261202.csv"));
    }

    #[test]
    fn a_date_of_another_language_is_refused_with_the_right_spelling() {
        let error = files(&["sales_{YYYYMMDD}.csv"]).expect_err("it is no date");
        assert!(error.contains("did you mean {yyyyMMdd}?"), "{error}");
        assert!(files(&["x.{csv,txt}"]).is_ok() && files(&["[x.csv"]).is_err());
    }
}
