//! The text of a Rust file as tokens: comments are gone, and strings and characters are no code.

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Token {
    /// An identifier or a keyword; of `r#type` it is `type`.
    Word(String),
    /// `::`
    Joint,
    /// One character of everything else.
    Sign(char),
    /// What a string holds, as it is written.
    Text(String),
    /// A number, a character or a lifetime.
    Other,
}

impl Token {
    pub fn is_word(&self, text: &str) -> bool {
        matches!(self, Token::Word(word) if word == text)
    }

    pub fn is(&self, sign: char) -> bool {
        *self == Token::Sign(sign)
    }

    pub fn word(&self) -> Option<&str> {
        if let Token::Word(word) = self { Some(word) } else { None }
    }
}

/// All tokens of a file.
pub fn tokens(text: &str) -> Vec<Token> {
    let mut rest = text;
    let mut found = Vec::new();
    while let Some(first) = rest.chars().next() {
        let (token, length) = next(rest, first);
        found.extend(token);
        rest = &rest[length..];
    }
    found
}

fn next(rest: &str, first: char) -> (Option<Token>, usize) {
    if first.is_whitespace() {
        return (None, first.len_utf8());
    }
    if rest.starts_with("//") {
        return (None, rest.find('\n').unwrap_or(rest.len()));
    }
    if rest.starts_with("/*") {
        return (None, block_comment(rest));
    }
    if let Some((text, length)) = string(rest) {
        return (Some(Token::Text(text.to_owned())), length);
    }
    if first == '\'' || rest.starts_with("b'") {
        return (Some(Token::Other), quoted(rest, rest.find('\'').unwrap_or_default()));
    }
    if first.is_ascii_digit() {
        return (Some(Token::Other), word_length(rest));
    }
    if is_word(first) {
        let prefix = if rest.starts_with("r#") { 2 } else { 0 };
        let length = prefix + word_length(&rest[prefix..]);
        return (Some(Token::Word(rest[prefix..length].to_owned())), length);
    }
    if rest.starts_with("::") {
        (Some(Token::Joint), 2)
    } else {
        (Some(Token::Sign(first)), first.len_utf8())
    }
}

fn is_word(c: char) -> bool {
    c == '_' || c.is_alphanumeric()
}

fn word_length(rest: &str) -> usize {
    rest.find(|c| !is_word(c)).unwrap_or(rest.len())
}

/// Block comments stand within each other.
fn block_comment(rest: &str) -> usize {
    let (mut at, mut depth) = (0, 0);
    while at < rest.len() {
        let here = &rest.as_bytes()[at..];
        if here.starts_with(b"/*") {
            (at, depth) = (at + 2, depth + 1);
        } else if here.starts_with(b"*/") {
            (at, depth) = (at + 2, depth - 1);
        } else {
            at += 1;
        }
        if depth == 0 {
            return at;
        }
    }
    rest.len()
}

/// A string that begins here: what it holds, and its length with prefix, hashes and quotes.
fn string(rest: &str) -> Option<(&str, usize)> {
    let prefix =
        ["br", "cr", "b", "c", "r", ""].into_iter().find(|prefix| rest.starts_with(prefix))?;
    let after = &rest[prefix.len()..];
    let hashes = if prefix.ends_with('r') { after.find(|c| c != '#')? } else { 0 };
    let content = after[hashes..].strip_prefix('"')?;
    let begin = prefix.len() + hashes + 1;
    if prefix.ends_with('r') {
        let end = format!("\"{}", "#".repeat(hashes));
        let length = content.find(&end).unwrap_or(content.len());
        return Some((&content[..length], (begin + length + end.len()).min(rest.len())));
    }
    let mut escaped = false;
    let closing = content.bytes().position(|byte| {
        let closes = byte == b'"' && !escaped;
        escaped = byte == b'\\' && !escaped;
        closes
    });
    let length = closing.unwrap_or(content.len());
    Some((&content[..length], (begin + length + 1).min(rest.len())))
}

/// The length of a character or a lifetime whose quote stands at `quote`.
fn quoted(rest: &str, quote: usize) -> usize {
    let after = &rest[quote + 1..];
    let mut characters = after.char_indices();
    match (characters.next(), characters.next()) {
        // `'\''`: the character after the backslash closes nothing.
        (Some((_, '\\')), Some((at, escaped))) => {
            let from = at + escaped.len_utf8();
            quote + 1 + after[from..].find('\'').map_or(after.len(), |end| from + end + 1)
        }
        (Some(_), Some((at, '\''))) => quote + 1 + at + 1,
        _ => quote + 1 + word_length(after),
    }
}

#[test]
fn comments_and_strings_are_no_code() {
    let text = r##"
        // crate::a
        /* crate::b /* crate::c */ crate::d */
        let s = ("crate::e \" crate::f", r#"crate::g " crate::h"#, b"crate::i",
            br"crate::j\", '"', '\'', b'"', '\u{41}');
        fn f<'a>(x: &'a str) -> &'static str { r#type::y(1.5e3, 0..2) }
    "##;
    let found = tokens(text);
    let words: Vec<&str> = found.iter().filter_map(Token::word).collect();
    assert_eq!(words, ["let", "s", "fn", "f", "x", "str", "str", "type", "y"]);
    let texts = found.iter().filter(|token| matches!(token, Token::Text(_))).count();
    assert_eq!((texts, found.iter().filter(|token| **token == Token::Joint).count()), (4, 1));
}
