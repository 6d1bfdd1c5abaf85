//! Patterns that match nothing, with the form that would have matched.

use globset::{GlobBuilder, GlobMatcher};

use super::paths::as_path;
use crate::model::printable;

/// Watches which patterns of a list match, and of those that do not yet, which other form of them
/// does.
#[derive(Debug, Default)]
pub struct SlipWatch {
    idle: Vec<IdlePattern>,
    names: u64,
}

/// A pattern that has matched nothing so far.
#[derive(Debug)]
struct IdlePattern {
    setting: &'static str,
    glob: String,
    matcher: GlobMatcher,
    forms: Vec<OtherForm>,
}

/// Another form of a pattern.
#[derive(Debug)]
struct OtherForm {
    told: String,
    matcher: GlobMatcher,
    /// The first name that it matches.
    example: Option<String>,
}

/// What is to be told of a pattern that matched nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slip {
    /// The setting, and the pattern as it is written.
    pub pattern: (&'static str, String),
    /// The sentence for people.
    pub text: String,
    /// Whether another form of it would have matched, so that it is most likely mistaken.
    pub is_likely: bool,
}

impl SlipWatch {
    /// Watches the `globs` of `setting`, which are relative to `root`.
    pub fn add(&mut self, setting: &'static str, globs: &[String], root: &[u8]) {
        let idle = globs.iter().filter_map(|glob| {
            let forms = forms(glob, &String::from_utf8_lossy(root));
            let forms = forms.into_iter().filter_map(|(told, form, ignores_case)| {
                Some(OtherForm { told, matcher: matcher(&form, ignores_case)?, example: None })
            });
            let matcher = matcher(glob, false)?;
            Some(IdlePattern { setting, glob: glob.clone(), matcher, forms: forms.collect() })
        });
        self.idle.extend(idle);
    }

    /// A name that was found, relative to the root.
    pub fn see(&mut self, below: &[u8]) {
        self.names += 1;
        if self.idle.is_empty() {
            return;
        }
        self.idle.retain_mut(|one| {
            if one.matcher.is_match(as_path(below)) {
                return false;
            }
            for form in one.forms.iter_mut().filter(|form| form.example.is_none()) {
                form.example = form.matcher.is_match(as_path(below)).then(|| printable(below));
            }
            true
        });
    }

    /// What is to be told once all names were seen; nothing if there were none.
    pub(crate) fn slips(&self) -> Vec<Slip> {
        let told = self.idle.iter().filter(|_| self.names > 0).map(|one| {
            let pattern = printable(one.glob.as_bytes());
            let found = one.forms.iter().find_map(|form| Some((form, form.example.as_ref()?)));
            let regex = if is_like_regex(&one.glob) {
                ": this looks like a regular expression, and patterns are globs"
            } else {
                ""
            };
            let form = found.map_or(String::new(), |(form, example)| {
                format!("; {} would match, as `{example}`", form.told)
            });
            Slip {
                pattern: (one.setting, one.glob.clone()),
                text: format!("`{}`: `{pattern}` matches nothing{regex}{form}", one.setting),
                is_likely: found.is_some() || !regex.is_empty(),
            }
        });
        told.collect()
    }
}

fn matcher(glob: &str, ignores_case: bool) -> Option<GlobMatcher> {
    let below = glob.trim_start_matches('/');
    let below = if below.ends_with('/') { format!("{below}**") } else { below.to_owned() };
    let glob = GlobBuilder::new(&below)
        .literal_separator(true)
        .backslash_escape(true)
        .case_insensitive(ignores_case)
        .build();
    glob.ok().map(|glob| glob.compile_matcher())
}

/// Other forms of `glob`: how each is told, the glob, and whether case does not count.
fn forms(glob: &str, root: &str) -> Vec<(String, String, bool)> {
    let mut forms = Vec::new();
    let told = |form: &str| format!("`{}`", printable(form.as_bytes()));
    let deep = |form: &str| format!("**/{}", form.trim_start_matches('/'));
    let mut plain = |form: String| forms.push((told(&form), form, false));
    if is_like_regex(glob) {
        let form = from_regex(glob);
        plain(form.clone());
        plain(deep(&form));
    }
    let root = root.trim_matches('/');
    if let Some(below) = glob.trim_start_matches('/').strip_prefix(root)
        && !root.is_empty()
        && below.starts_with('/')
    {
        plain(below.trim_start_matches('/').to_owned());
    }
    if !glob.starts_with("**/") {
        plain(deep(glob));
    }
    if glob.contains(|c: char| c.is_ascii_alphabetic()) {
        let any = in_any_case(glob);
        forms.push((told(&any), glob.to_owned(), true));
        if !glob.starts_with("**/") {
            forms.push((told(&deep(&any)), deep(glob), true));
        }
    }
    forms
}

/// `*.csv` as `*.{csv,CSV}`; of other patterns each letter as `[Aa]`.
fn in_any_case(glob: &str) -> String {
    if let Some((stem, ending)) = glob.rsplit_once('.')
        && !stem.contains(|c: char| c.is_ascii_alphabetic())
        && !ending.is_empty()
        && ending.chars().all(|c| c.is_ascii_alphanumeric())
    {
        let (lower, upper) = (ending.to_ascii_lowercase(), ending.to_ascii_uppercase());
        return format!("{stem}.{{{lower},{upper}}}");
    }
    if glob.contains(['[', '{', '\\']) {
        return format!("{glob} in other upper and lower case");
    }
    let letter = |c: char| match c {
        c if c.is_ascii_alphabetic() => {
            format!("[{}{}]", c.to_ascii_uppercase(), c.to_ascii_lowercase())
        }
        c => c.to_string(),
    };
    glob.chars().map(letter).collect()
}

/// The globs of `--again`, over all sources of a run: each may be meant for some of them.
#[derive(Debug, Default)]
pub struct AgainSlips(std::sync::Mutex<std::collections::BTreeMap<String, Option<String>>>);

impl AgainSlips {
    /// What became of `globs` at one source: `slips` are those that matched nothing there.
    pub(crate) fn note(&self, globs: &[String], slips: &[Slip]) {
        let mut told = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        for glob in globs {
            match slips.iter().find(|slip| slip.pattern.1 == *glob) {
                None => {
                    told.insert(glob.clone(), None);
                }
                Some(slip) => {
                    let text = told.entry(glob.clone()).or_insert_with(|| Some(slip.text.clone()));
                    if slip.is_likely && text.is_some() {
                        *text = Some(slip.text.clone());
                    }
                }
            }
        }
    }

    /// What is to be told of those that matched nothing anywhere.
    pub fn told(&self) -> Vec<String> {
        let told = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        told.values().flatten().cloned().collect()
    }
}

/// Whether `glob` holds what means something in regular expressions alone.
pub(crate) fn is_like_regex(glob: &str) -> bool {
    glob.starts_with('^')
        || glob.ends_with('$')
        || [".*", ".+", r"\.", r"\d", r"\w", r"\s", "(?", "]+"].iter().any(|mark| {
            // `*.*` and `a.*` are common globs.
            glob.contains(mark) && (*mark != ".*" || glob.contains(['^', '$', '\\', '(', '|']))
        })
}

/// The glob that a simple regular expression means.
fn from_regex(text: &str) -> String {
    let text = text.strip_prefix('^').unwrap_or(text);
    let text = text.strip_suffix('$').unwrap_or(text);
    let mut glob = String::new();
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let many = [".*", ".+", r"\d+", r"\w+", r"\d*", r"\w*", r"\s*"];
        if let Some(mark) = many.iter().find(|mark| rest.starts_with(**mark)) {
            glob.push('*');
            rest = &rest[mark.len()..];
            continue;
        }
        if let Some(after) = [r"\d{", r"\w{"].iter().find_map(|mark| rest.strip_prefix(mark)) {
            glob.push('*');
            rest = after.split_once('}').map_or("", |(_, rest)| rest);
            continue;
        }
        let (one, used) = match c {
            '\\' => match rest[1..].chars().next() {
                Some('d') => ("[0-9]".to_owned(), 2),
                Some('w') => ("?".to_owned(), 2),
                Some(other) => (other.to_string(), 1 + other.len_utf8()),
                None => (String::new(), 1),
            },
            '.' => ("?".to_owned(), 1),
            '(' => ("{".to_owned(), 1),
            ')' => ("}".to_owned(), 1),
            '|' => (",".to_owned(), 1),
            '+' => ("*".to_owned(), 1),
            other => (other.to_string(), other.len_utf8()),
        };
        glob.push_str(&one);
        rest = &rest[used..];
    }
    glob
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(globs: &[&str], names: &[&str]) -> Vec<String> {
        let globs: Vec<String> = globs.iter().map(|glob| (*glob).to_owned()).collect();
        let mut watch = SlipWatch::default();
        watch.add("include", &globs, b"/outbound");
        names.iter().for_each(|name| watch.see(name.as_bytes()));
        watch.slips().into_iter().map(|slip| slip.text).collect()
    }

    fn check(glob: &str, name: &str, expected: &str) {
        assert_eq!(told(&[glob], &[name]), [expected], "{glob} {name}");
    }

    #[test]
    fn the_form_that_would_match_is_told() {
        check(
            "*.csv",
            "a/b.csv",
            "`include`: `*.csv` matches nothing; `**/*.csv` would match, as `a/b.csv`",
        );
        check(
            "*.csv",
            "b.CSV",
            "`include`: `*.csv` matches nothing; `*.{csv,CSV}` would match, as `b.CSV`",
        );
        check(
            "*.csv",
            "a/b.CSV",
            "`include`: `*.csv` matches nothing; `**/*.{csv,CSV}` would match, as `a/b.CSV`",
        );
        check(
            "/outbound/*.csv",
            "b.csv",
            "`include`: `/outbound/*.csv` matches nothing; `*.csv` would match, as `b.csv`",
        );
        check(
            "sales*",
            "Sales1",
            "`include`: `sales*` matches nothing; `[Ss][Aa][Ll][Ee][Ss]*` would match, as `Sales1`",
        );
        check("*.csv", "b.txt", "`include`: `*.csv` matches nothing");
    }

    #[test]
    fn regular_expressions_are_recognised() {
        check(
            r"^sales_.*\.csv$",
            "sales_1.csv",
            "`include`: `^sales_.*\\.csv$` matches nothing: this looks like a regular expression, \
                and patterns are globs; `sales_*.csv` would match, as `sales_1.csv`",
        );
        check(
            r"(a|b)_\d{8}\.txt",
            "x/a_20260101.txt",
            "`include`: `(a|b)_\\d{8}\\.txt` matches nothing: this looks like a regular \
                expression, and patterns are globs; `**/{a,b}_*.txt` would match, as \
                `x/a_20260101.txt`",
        );
        for glob in ["*.*", "a.*", "a/**/*.csv", "[ab]*.csv", "{a,b}.csv"] {
            assert!(!is_like_regex(glob), "{glob}");
        }
    }

    #[test]
    fn patterns_that_match_and_empty_sources_are_not_told() {
        assert!(told(&["*.csv", "b/"], &["a.csv", "b/c"]).is_empty());
        assert!(told(&["*.csv"], &[]).is_empty());
        assert_eq!(told(&["*.csv", "*.txt"], &["a.csv"]).len(), 1);
    }
}
