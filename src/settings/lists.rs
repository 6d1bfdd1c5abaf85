//! Lists and tables in environment variables: written as in the file, `["a", "b"]`.

use toml::de::{DeTable, DeValue};

/// The list that an environment variable holds in TOML's form (JSON's form of a list of texts is
/// the same). `None`: the value is one text, as the glob `[ab]*.csv`.
pub(crate) fn toml_list(text: &str) -> Option<Vec<String>> {
    if !text.trim_start().starts_with('[') {
        return None;
    }
    let document = format!("list = {text}");
    let table = DeTable::parse(&document).ok()?;
    let Some(DeValue::Array(items)) = table
        .get_ref()
        .get("list")
        .map(toml::Spanned::get_ref)
        .filter(|_| table.get_ref().len() == 1)
    else {
        return None;
    };
    let texts = items.iter().map(|item| match item.get_ref() {
        DeValue::String(text) => Some(text.to_string()),
        _ => None,
    });
    texts.collect()
}

/// The table of texts that an environment variable holds in TOML's form, `{ a = "b" }`.
pub(crate) fn toml_pairs(text: &str) -> Option<Vec<(String, String)>> {
    let document = format!("table = {text}");
    let table = DeTable::parse(&document).ok().filter(|table| table.get_ref().len() == 1)?;
    let Some(DeValue::Table(pairs)) = table.get_ref().get("table").map(toml::Spanned::get_ref)
    else {
        return None;
    };
    let pairs = pairs.iter().map(|(name, value)| match value.get_ref() {
        DeValue::String(text) => Some((name.get_ref().to_string(), text.to_string())),
        _ => None,
    });
    pairs.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: Option<&[&str]>) {
        let expected =
            expected.map(|list| list.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>());
        assert_eq!(toml_list(text), expected, "{text}");
    }

    #[test]
    fn a_variable_holds_a_list_or_one_text() {
        check(r#"["sales_*.csv"]"#, Some(&["sales_*.csv"]));
        check(r#" ["a", 'b\d', "c"] "#, Some(&["a", r"b\d", "c"]));
        check("[]", Some(&[]));
        for text in ["[ab]*.csv", "*.csv", "[1, 2]", "[\"a\"]\nother = 1", "[\"a\"", ""] {
            check(text, None);
        }
    }

    #[test]
    fn a_variable_holds_a_table_of_texts() {
        let pair = |name: &str, text: &str| (name.to_owned(), text.to_owned());
        let found = toml_pairs(r#"{ owner = "fin", "cost centre" = 'b\d' }"#);
        assert_eq!(found, Some(vec![pair("cost centre", r"b\d"), pair("owner", "fin")]));
        assert_eq!(toml_pairs("{}"), Some(vec![]));
        for text in ["owner=fin", "{ a = 1 }", "{ a = \"b\" }\nc = 1", "[\"a\"]", ""] {
            assert_eq!(toml_pairs(text), None, "{text}");
        }
    }
}
