//! What a Rust file declares and which paths stand in it, without its test code.

use std::collections::BTreeSet;

use super::tokens::{Token, tokens};

/// `mod name;`
#[derive(Debug)]
pub struct Mod {
    /// The modules with a body in this file that the line stands in.
    pub inside: Vec<String>,
    pub name: String,
    /// What `#[path]` says.
    pub file: Option<String>,
    pub is_test: bool,
}

/// A path in `use`, or in code where it has two segments at least.
#[derive(Debug, PartialEq)]
pub struct Reference {
    pub inside: Vec<String>,
    /// A glob ends with `*`.
    pub segments: Vec<String>,
    /// The name that a `use` gives it here.
    pub alias: Option<String>,
}

#[derive(Debug, Default)]
pub struct Code {
    /// `#![cfg(test)]` stands in it.
    pub is_test: bool,
    pub mods: Vec<Mod>,
    /// Modules with a body here.
    pub bodies: Vec<Vec<String>>,
    pub references: Vec<Reference>,
    /// Names of items, each with the module with a body that it stands in.
    pub items: BTreeSet<(Vec<String>, String)>,
    /// Names of structs, enums, traits, unions and type aliases.
    pub types: BTreeSet<String>,
    /// Strings, each with what takes it: `name` of `name: "x"`, `list` of `list("x")`, `list!` of
    /// `list!("x")`, `,` of a further argument.
    pub texts: Vec<(String, String)>,
}

pub fn code(text: &str) -> Code {
    let all = tokens(text);
    let mut reader =
        Reader { all: &all, at: 0, depth: 0, open: Vec::new(), found: Code::default() };
    while reader.at < all.len() {
        reader.step();
    }
    reader.found
}

struct Reader<'t> {
    all: &'t [Token],
    at: usize,
    /// Braces that are open.
    depth: usize,
    /// Modules whose body is open: name and depth.
    open: Vec<(String, usize)>,
    found: Code,
}

impl Reader<'_> {
    fn step(&mut self) {
        match &self.all[self.at] {
            Token::Sign('#') => self.attributes(),
            Token::Sign('{') => {
                self.depth += 1;
                self.at += 1;
            }
            Token::Sign('}') => {
                self.depth = self.depth.saturating_sub(1);
                self.open.retain(|(_, depth)| *depth <= self.depth);
                self.at += 1;
            }
            Token::Word(word) if self.at == 0 || self.all[self.at - 1] != Token::Joint => {
                self.word(&word.clone())
            }
            Token::Text(text) => {
                let taker = match &self.all[..self.at] {
                    [.., Token::Word(taker), Token::Sign(':' | '(')] => taker.clone(),
                    [.., Token::Word(taker), Token::Sign('!'), Token::Sign('(')] => {
                        format!("{taker}!")
                    }
                    [.., Token::Sign(sign)] => sign.to_string(),
                    _ => String::new(),
                };
                self.found.texts.push((taker, text.clone()));
                self.at += 1;
            }
            _ => self.at += 1,
        }
    }

    fn inside(&self) -> Vec<String> {
        self.open.iter().map(|(name, _)| name.clone()).collect()
    }

    /// Attributes in a row, and the item below them if it is there for tests alone.
    fn attributes(&mut self) {
        let (mut is_test, mut file) = (false, None);
        while self.at < self.all.len() && self.all[self.at].is('#') {
            let is_inner = self.peek(1).is_some_and(|token| token.is('!'));
            let from = self.at + 1 + usize::from(is_inner);
            if !self.all.get(from).is_some_and(|token| token.is('[')) {
                self.at += 1;
                return;
            }
            let end = closing(self.all, from);
            let within = &self.all[from + 1..end.max(from + 1)];
            let for_tests = within.first().is_some_and(|token| token.is_word("cfg"))
                && predicate(&within[1..]) == Some(false);
            if is_inner {
                self.found.is_test |= for_tests && self.depth == 0;
            } else {
                is_test |= for_tests;
            }
            if let [Token::Word(word), Token::Sign('='), Token::Text(text)] = within
                && word == "path"
            {
                file = Some(text.clone());
            }
            self.at = end + 1;
        }
        let item = self.all[self.at.min(self.all.len())..]
            .iter()
            .take(6)
            .position(|token| token.is_word("mod"));
        if let Some(ahead) =
            item.filter(|ahead| self.all[self.at..self.at + ahead].iter().all(is_visibility))
        {
            self.at += ahead;
            self.module(file, is_test);
        } else if is_test {
            self.at = end_of_item(self.all, self.at);
        }
    }

    fn peek(&self, ahead: usize) -> Option<&Token> {
        self.all.get(self.at + ahead)
    }

    fn word(&mut self, word: &str) {
        match word {
            "pub" if self.peek(1).is_some_and(|token| token.is('(')) => {
                self.at = closing(self.all, self.at + 1) + 1
            }
            "use" => self.imports(),
            "mod" => self.module(None, false),
            _ => {
                self.declaration(word);
                self.path();
            }
        }
    }

    fn module(&mut self, file: Option<String>, is_test: bool) {
        let name = self.peek(1).and_then(Token::word).unwrap_or_default().to_owned();
        let has_body = self.peek(2).is_some_and(|token| token.is('{'));
        if has_body && is_test {
            self.at = closing(self.all, self.at + 2) + 1;
            return;
        }
        if has_body {
            self.depth += 1;
            self.open.push((name.clone(), self.depth));
            self.found.bodies.push(self.inside());
        } else if self.peek(2).is_some_and(|token| token.is(';')) {
            self.found.mods.push(Mod { inside: self.inside(), name, file, is_test });
        }
        self.at += 3;
    }

    fn declaration(&mut self, word: &str) {
        let name = match (word, self.peek(1), self.peek(2)) {
            ("macro_rules", Some(Token::Sign('!')), Some(Token::Word(name))) => name.clone(),
            (_, Some(Token::Word(name)), _) => name.clone(),
            _ => return,
        };
        let is_at_module = self.depth == self.open.last().map_or(0, |(_, depth)| *depth);
        let is_type = matches!(word, "struct" | "enum" | "trait")
            || is_at_module && matches!(word, "type" | "union");
        if is_type {
            self.found.types.insert(name.clone());
        }
        if is_type || is_at_module && matches!(word, "fn" | "const" | "static" | "macro_rules") {
            self.found.items.insert((self.inside(), name.clone()));
        }
    }

    fn path(&mut self) {
        let mut segments = vec![];
        while let Some(word) = self.peek(0).and_then(Token::word) {
            segments.push(word.to_owned());
            self.at += 1;
            if self.peek(0) != Some(&Token::Joint) {
                break;
            }
            self.at += 1;
        }
        if segments.len() > 1 {
            self.found.references.push(Reference { inside: self.inside(), segments, alias: None });
        }
    }

    /// `use a::{self, b as c, d::{e, *}};`
    fn imports(&mut self) {
        let mut stack: Vec<Vec<String>> = vec![vec![]];
        let mut current: Vec<String> = vec![];
        let mut alias = None;
        self.at += 1;
        // `use ::name` is of another crate.
        let is_foreign = self.peek(0) == Some(&Token::Joint);
        while let Some(token) = self.peek(0).cloned() {
            self.at += 1;
            match token {
                Token::Word(word) if word == "as" => {
                    alias = self.peek(0).and_then(Token::word).map(str::to_owned)
                }
                Token::Word(_) if alias.is_some() => {}
                Token::Word(word) => current.push(word),
                Token::Sign('*') => current.push("*".to_owned()),
                Token::Sign('{') => stack.push(current.clone()),
                Token::Sign(sign @ (',' | '}' | ';')) => {
                    let is_empty =
                        current.len() <= stack.last().map_or(0, Vec::len) && !current.is_empty();
                    if !is_foreign && !is_empty && !current.is_empty() {
                        self.import(current, alias.take());
                    }
                    alias = None;
                    if sign == ';' {
                        return;
                    }
                    if sign == '}' {
                        stack.pop();
                        // After a group stands `,`, `}` or `;`: nothing is left to import.
                        current = stack.last().cloned().unwrap_or_default();
                        continue;
                    }
                    current = stack.last().cloned().unwrap_or_default();
                }
                _ => {}
            }
        }
    }

    fn import(&mut self, mut segments: Vec<String>, alias: Option<String>) {
        if segments.len() > 1 && segments.last().is_some_and(|last| last == "self") {
            segments.pop();
        }
        let alias = alias.or_else(|| segments.last().cloned());
        self.found.references.push(Reference { inside: self.inside(), segments, alias });
    }
}

fn is_visibility(token: &Token) -> bool {
    ["pub", "crate", "super", "self", "in"].iter().any(|word| token.is_word(word))
        || token.is('(')
        || token.is(')')
}

/// Where the bracket that opens at `from` closes.
fn closing(all: &[Token], from: usize) -> usize {
    let mut depth = 0;
    for (at, token) in all.iter().enumerate().skip(from) {
        match token {
            Token::Sign('(' | '[' | '{') => depth += 1,
            Token::Sign(')' | ']' | '}') => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return at;
        }
    }
    all.len() - 1
}

/// Where the code after the item (statement, field, arm) that begins at `from` begins.
fn end_of_item(all: &[Token], from: usize) -> usize {
    let ends_with_semicolon = ["use", "const", "static", "type", "let"];
    let first = all[from.min(all.len())..].iter().find(|token| !is_visibility(token));
    let is_item = [
        "fn",
        "struct",
        "enum",
        "trait",
        "impl",
        "mod",
        "async",
        "unsafe",
        "extern",
        "macro_rules",
    ];
    let whole_item = first.is_some_and(|token| is_item.iter().any(|word| token.is_word(word)))
        || first.is_some_and(|token| token.is_word("const"))
            && all[from..].iter().take(4).any(|token| token.is_word("fn"));
    let to_semicolon = !whole_item
        && first.is_some_and(|token| ends_with_semicolon.iter().any(|word| token.is_word(word)));
    let mut at = from;
    while at < all.len() {
        match &all[at] {
            Token::Sign(';') => return at + 1,
            Token::Sign(',') if !whole_item && !to_semicolon => return at + 1,
            Token::Sign(')' | ']' | '}') => return at,
            Token::Sign('{') => {
                at = closing(all, at) + 1;
                if !to_semicolon {
                    return at + usize::from(all.get(at).is_some_and(|token| token.is(',')));
                }
            }
            Token::Sign('(' | '[') => at = closing(all, at) + 1,
            _ => at += 1,
        }
    }
    at
}

/// What a predicate of `cfg` comes to in a build without tests: true, false, or it depends.
fn predicate(within: &[Token]) -> Option<bool> {
    let (name, arguments) = match within {
        [Token::Sign('('), inner @ .., Token::Sign(')')] => return predicate(inner),
        [Token::Word(name), Token::Sign('('), inner @ .., Token::Sign(')')] => (name, inner),
        [Token::Word(name)] if name == "test" => return Some(false),
        _ => return None,
    };
    let mut parts = vec![];
    let (mut from, mut depth) = (0, 0);
    for (at, token) in arguments.iter().enumerate() {
        match token {
            Token::Sign('(') => depth += 1,
            Token::Sign(')') => depth -= 1,
            Token::Sign(',') if depth == 0 => {
                parts.push(predicate(&arguments[from..at]));
                from = at + 1;
            }
            _ => {}
        }
    }
    if from < arguments.len() {
        parts.push(predicate(&arguments[from..]));
    }
    match name.as_str() {
        "not" => parts.first().copied().flatten().map(|value| !value),
        "all" if parts.contains(&Some(false)) => Some(false),
        "any" if parts.iter().all(|part| *part == Some(false)) => Some(false),
        _ => None,
    }
}
