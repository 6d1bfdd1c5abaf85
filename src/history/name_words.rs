//! What a name that is looked for must be like. Pure.

/// What a name must be like.
pub(crate) struct NameWords {
    parts: Vec<String>,
    /// A path that must be just so.
    path: Option<String>,
}

impl NameWords {
    /// Of a name or a part of one; `*` stands for any letters.
    pub fn new(name: &str) -> Self {
        Self { parts: name.to_lowercase().split('*').map(str::to_owned).collect(), path: None }
    }

    /// This path and no other.
    pub fn path(path: &str) -> Self {
        Self { parts: Vec::new(), path: Some(path.to_owned()) }
    }

    /// The longest text that each fitting name, or its path, holds in small letters; `None` where
    /// all of them fit.
    pub(crate) fn needle(&self) -> Option<&str> {
        let longest = self.parts.iter().max_by_key(|part| part.len())?;
        Some(longest.as_str()).filter(|text| !text.is_empty())
    }

    /// As [`NameWords::fits`]; `key` is the file's name in small letters.
    pub(crate) fn fits_either(&self, key: &str, path: &str) -> bool {
        match self.parts.as_slice() {
            [part] if key.contains(part.as_str()) => true,
            // What has no capitals needs no copy.
            [part] if path.bytes().all(|b| b.is_ascii() && !b.is_ascii_uppercase()) => {
                path.contains(part.as_str())
            }
            [_] => self.fits(path),
            _ => self.fits(key),
        }
    }

    /// A name without `*` may be any part of a path; one with `*` is all of the file's name.
    pub fn fits(&self, path: &str) -> bool {
        if let Some(wanted) = &self.path {
            return path == wanted;
        }
        let path = path.to_lowercase();
        let [first, middle @ .., last] = self.parts.as_slice() else {
            return self.parts.iter().all(|part| path.contains(part.as_str()));
        };
        let name = path.rsplit('/').next().unwrap_or_default();
        let Some(mut rest) = name.strip_prefix(first.as_str()) else { return false };
        for part in middle {
            let Some(at) = rest.find(part.as_str()) else { return false };
            rest = &rest[at + part.len()..];
        }
        rest.ends_with(last.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_found_by_a_part_of_it_and_by_stars() {
        for (name, path, fits) in [
            ("sales_2026.csv", "/x/sales_2026.csv", true),
            ("SALES", "/x/sales_2026.csv", true),
            ("x/sales", "/x/sales_2026.csv", true),
            ("sales_*.csv", "/x/sales_2026.csv", true),
            ("*2026*", "/x/sales_2026.csv", true),
            ("sales_*.txt", "/x/sales_2026.csv", false),
            ("x*", "/x/sales_2026.csv", false),
            ("a*a", "/a", false),
            ("(", "/x/sales_2026.csv", false),
        ] {
            assert_eq!(NameWords::new(name).fits(path), fits, "{name} {path}");
        }
    }
}
