//! What a shared access signature allows, by its own words. Pure: the service has the last one.

use std::collections::BTreeMap;

use time::format_description::well_known::Rfc3339;
use time::{Date, OffsetDateTime, UtcOffset};

use super::settings::Credential;

/// Letters of `sp` without which a run cannot work, each with what needs it. `w` covers creating
/// and appending. Source: "Create an account SAS" and "Create a service SAS", their tables of
/// permissions by operation.
const NEEDED: &[(char, &str)] = &[
    ('r', "read: blobs are looked at before and after they are written"),
    (
        'w',
        "write: the ledger's head, leases and records of runs are overwritten; `c` and `a` alone \
        do not do",
    ),
    ('l', "list: what a killed run left behind is looked for"),
];

/// Why nothing can be ingested with `credential`, if its own words say so. A signature of a stored
/// access policy (`si`) says nothing: the policy does. Whether it has run out, the service judges,
/// by its clock.
pub fn lacking(credential: &Credential) -> Option<String> {
    let fields = fields(credential)?;
    let field = |name: &str| fields.get(name).map(String::as_str).filter(|value| !value.is_empty());
    let holds = |name: &str, letter: char| field(name).is_none_or(|value| value.contains(letter));
    let mut problems = Vec::new();
    for (letter, why) in NEEDED.iter().filter(|(letter, _)| !holds("sp", *letter)) {
        problems.push(format!("it lacks the permission `{letter}` ({why})"));
    }
    if !holds("ss", 'b') {
        problems.push("it is not for blobs (`ss` lacks `b`)".to_owned());
    }
    for (letter, what) in [('c', "containers"), ('o', "objects")]
        .into_iter()
        .filter(|(letter, _)| !holds("srt", *letter))
    {
        problems.push(format!("it is not for {what} (`srt` lacks `{letter}`)"));
    }
    if let Some(kind) = field("sr").filter(|kind| ["b", "bv", "bs"].contains(kind)) {
        problems.push(format!("it is for one blob (`sr={kind}`), not for a container (`sr=c`)"));
    }
    (!problems.is_empty()).then(|| problems.join("; "))
}

fn fields(credential: &Credential) -> Option<BTreeMap<String, String>> {
    let Credential::Sas(sas) = credential else { return None };
    let query = sas.reveal().trim_start_matches('?');
    Some(url::form_urlencoded::parse(query.as_bytes()).into_owned().collect())
}

/// What to do about a signature that does not count now.
pub(super) const NEW_SAS: &str = "make a new SAS that counts now and for as long as runs are to \
    go on, and set it in place of this one";

/// When a signature counts, by its own words.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct SasTimes {
    starts: Option<OffsetDateTime>,
    ends: Option<OffsetDateTime>,
}

impl SasTimes {
    /// Of `credential`: without bounds where it tells none, or is no signature.
    pub fn of(credential: &Credential) -> Self {
        let fields = fields(credential).unwrap_or_default();
        let at = |name: &str| fields.get(name).and_then(|text| moment(text));
        Self { starts: at("st"), ends: at("se") }
    }

    /// Its last moment.
    pub fn ends(&self) -> Option<OffsetDateTime> {
        self.ends
    }

    /// Why it does not count at `now`, if it does not.
    pub(super) fn outside(&self, now: OffsetDateTime) -> Option<String> {
        let shown = |at: OffsetDateTime| at.format(&Rfc3339).unwrap_or_default();
        if let Some(ends) = self.ends.filter(|ends| *ends <= now) {
            return Some(format!("the SAS ran out at {} (`se`)", shown(ends)));
        }
        let starts = self.starts.filter(|starts| *starts > now)?;
        Some(format!("the SAS counts from {} on (`st`), not yet", shown(starts)))
    }
}

/// A moment as signatures write it: to the day, the minute, the second or finer, in UTC unless it
/// says otherwise. Source: "Create a service SAS", its table of times.
fn moment(text: &str) -> Option<OffsetDateTime> {
    let whole = match text.len() {
        10 => format!("{text}T00:00:00Z"),
        17 => format!("{}:00Z", text.strip_suffix('Z')?),
        _ => text.to_owned(),
    };
    Date::parse(text.get(..10)?, time::macros::format_description!("[year]-[month]-[day]")).ok()?;
    OffsetDateTime::parse(&whole, &Rfc3339).ok().map(|at| at.to_offset(UtcOffset::UTC))
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;
    use crate::model::Secret;

    #[test]
    fn a_signature_counts_between_its_times() {
        let now = datetime!(2026-11-30 8:00 UTC);
        let outside = |query: &str| {
            SasTimes::of(&Credential::Sas(Secret::new(query))).outside(now).unwrap_or_default()
        };
        for query in [
            "st=2026-11-30&se=2026-12-01T00:00Z&sig=canary",
            "se=2026-11-30T08:00:01Z",
            "se=2026-11-30T10%3A00%3A00%2B01%3A00",
            "se=whenever",
            "si=policy",
        ] {
            assert_eq!(outside(query), "", "{query}");
        }
        for ended in ["se=2026-11-30T08:00:00Z", "se=2026-11-30", "se=2026-11-30T07:59Z"] {
            assert!(outside(ended).starts_with("the SAS ran out at 2026-11-30T0"), "{ended}");
        }
        let early = outside("st=2026-11-30T08:00:01.5Z&se=2027-01-01");
        assert_eq!(early, "the SAS counts from 2026-11-30T08:00:01.5Z on (`st`), not yet");
    }

    fn check(query: &str, words: &[&str]) {
        let told = lacking(&Credential::Sas(Secret::new(query))).unwrap_or_default();
        assert_eq!(told.is_empty(), words.is_empty(), "{query}: {told}");
        assert!(
            words.iter().all(|word| told.contains(word)) && !told.contains("canary"),
            "{query}: {told}"
        );
    }

    #[test]
    fn a_signature_that_lacks_a_letter_is_told_with_that_letter() {
        check("sv=2021-06-08&ss=b&srt=co&sp=rwdlac&se=2030-01-01T00:00:00Z&sig=canary", &[]);
        check("?sp=rwl&sr=c&sig=canary", &[]);
        check("sp=racdl&sr=c&sig=canary", &["lacks the permission `w`"]);
        check("sp=wl&sig=canary", &["`r`"]);
        check("sp=rw&sig=canary", &["`l`"]);
        check("sp=c&sig=canary", &["`r`", "`w`", "`l`"]);
        check(
            "ss=qt&srt=s&sp=rwl&sig=canary",
            &["`ss` lacks `b`", "`srt` lacks `c`", "`srt` lacks `o`"],
        );
        check("sr=b&sp=rwl&sig=canary", &["one blob"]);
        // What a stored policy allows, it alone knows.
        check("si=policy&sr=c&sig=canary", &[]);
        check("sig=canary", &[]);
    }
}
