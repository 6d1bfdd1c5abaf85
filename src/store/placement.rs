//! How a store keeps a blob, where it has several ways: access tiers, and tags to find blobs by.

use std::collections::BTreeMap;

/// See the module. By default as the account does by itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Placement {
    /// The access tier; `None`: the account's.
    pub tier: Option<Tier>,
    /// Index tags.
    pub tags: BTreeMap<String, String>,
}

/// An access tier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tier {
    /// For what is read often.
    Hot,
    /// For what is read seldom and stays for 30 days.
    Cool,
    /// For what is read seldom and stays for 90 days.
    Cold,
    /// For what is hardly ever read; it is offline.
    Archive,
}

/// The most tags of a blob.
pub(crate) const MAX_TAGS: usize = 10;
/// The most characters of a tag's name.
const MAX_TAG_NAME: usize = 128;
/// The most characters of a tag's value.
const MAX_TAG_VALUE: usize = 256;

impl Tier {
    /// The tier that is called `word`.
    pub fn of(word: &str) -> Option<Self> {
        match word {
            "hot" => Some(Tier::Hot),
            "cool" => Some(Tier::Cool),
            "cold" => Some(Tier::Cold),
            "archive" => Some(Tier::Archive),
            _ => None,
        }
    }

    /// What it is called.
    pub fn word(self) -> &'static str {
        match self {
            Tier::Hot => "hot",
            Tier::Cool => "cool",
            Tier::Cold => "cold",
            Tier::Archive => "archive",
        }
    }
}

impl Placement {
    /// Whether it asks for nothing that the account does not do by itself.
    pub(crate) fn is_default(&self) -> bool {
        self.tier.is_none() && self.tags.is_empty()
    }

    /// Its tags as the header `x-ms-tags` has them.
    pub(crate) fn tags_header(&self) -> Option<String> {
        let pairs =
            self.tags.iter().map(|(name, value)| format!("{}={}", coded(name), coded(value)));
        (!self.tags.is_empty()).then(|| pairs.collect::<Vec<_>>().join("&"))
    }
}

/// What of `tags` the service refuses, by its rules ("Set Blob Tags" of its REST reference).
pub(crate) fn check_tags(tags: &BTreeMap<String, String>) -> Result<(), String> {
    if tags.len() > MAX_TAGS {
        return Err(format!("holds {} tags; allowed are {MAX_TAGS}", tags.len()));
    }
    let is_legal =
        |text: &str| text.chars().all(|c| c.is_ascii_alphanumeric() || " +-./:=_".contains(c));
    for (name, value) in tags {
        if name.is_empty() || name.len() > MAX_TAG_NAME || value.len() > MAX_TAG_VALUE {
            return Err(format!(
                "holds a tag whose name or value is too long or empty; allowed are names of 1 to \
                {MAX_TAG_NAME} characters and values of up to {MAX_TAG_VALUE}"
            ));
        }
        if !is_legal(name) || !is_legal(value) {
            return Err(
                "holds a tag with other characters than letters, digits, blanks and `+-./:=_`"
                    .to_owned(),
            );
        }
    }
    Ok(())
}

fn coded(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    let one = |byte: u8| match plain(byte) {
        true => char::from(byte).to_string(),
        false => format!("%{byte:02X}"),
    };
    text.bytes().map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tags(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn tags_travel_as_a_query() {
        let tags = tags(&[("cost centre", "a/b=1"), ("owner", "fin")]);
        let placement = Placement { tags, tier: None };
        assert_eq!(placement.tags_header().as_deref(), Some("cost%20centre=a%2Fb%3D1&owner=fin"));
        assert!(!placement.is_default() && Placement::default().tags_header().is_none());
    }

    #[test]
    fn what_the_service_refuses_is_refused_before() {
        let eleven: BTreeMap<String, String> =
            (0..11).map(|n| (format!("t{n}"), String::new())).collect();
        assert!(check_tags(&eleven).is_err());
        let long = "v".repeat(MAX_TAG_VALUE + 1);
        for wrong in [("", "v"), ("k", long.as_str()), ("k", "ä"), ("k&", "v")] {
            assert!(check_tags(&tags(&[wrong])).is_err(), "{wrong:?}");
        }
        assert!(check_tags(&tags(&[("a b", ""), ("k", "+-./:=_")])).is_ok());
        for word in ["hot", "cool", "cold", "archive"] {
            assert_eq!(Tier::of(word).map(Tier::word), Some(word));
        }
    }
}
