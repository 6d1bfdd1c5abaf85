//! Counts in words: `1 file`, `2 files`.

/// So many of a thing, named in the singular.
pub(crate) fn number_of(count: impl TryInto<u64>, thing: &str) -> String {
    match (count.try_into().unwrap_or(u64::MAX), thing.strip_suffix('y')) {
        (1, _) => format!("1 {thing}"),
        (count, Some(stem)) if !stem.ends_with(['a', 'e', 'o', 'u']) => {
            format!("{count} {stem}ies")
        }
        (count, _) => format!("{count} {thing}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::number_of;

    #[test]
    fn one_thing_is_no_plural() {
        let told =
            [(0u64, "blob"), (1, "blob"), (2, "blob"), (1, "entry"), (3, "entry"), (2, "day")];
        let told: Vec<String> =
            told.iter().map(|(count, thing)| number_of(*count, thing)).collect();
        assert_eq!(told, ["0 blobs", "1 blob", "2 blobs", "1 entry", "3 entries", "2 days"]);
    }
}
