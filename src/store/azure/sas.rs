//! What a shared access signature allows, by its own words. Pure: the service has the last one.

use std::collections::BTreeMap;

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
    let Credential::Sas(sas) = credential else { return None };
    let fields: BTreeMap<String, String> =
        url::form_urlencoded::parse(sas.reveal().trim_start_matches('?').as_bytes())
            .into_owned()
            .collect();
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Secret;

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
