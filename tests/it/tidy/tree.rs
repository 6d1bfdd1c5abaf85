//! The modules of a tree of files, and the file that a path of Rust leads to.

use std::collections::{BTreeMap, BTreeSet};

use super::code::{Code, Reference, code};

/// Texts of files by their paths from the root of the repository, with `/`.
pub type Texts = BTreeMap<String, String>;

/// A module by the names that lead to it from `crate`.
type Name = Vec<String>;

pub struct Tree {
    code: BTreeMap<String, Code>,
    /// The file of each module; of a module with a body, the file that it stands in.
    modules: BTreeMap<Name, String>,
    /// Files that ship, each with the module that it is.
    shipped: BTreeMap<String, Name>,
    tests: BTreeSet<String>,
}

/// What one file imports from another.
#[derive(Debug, Clone)]
pub struct Import {
    /// As it is written, from `crate`.
    pub path: Vec<String>,
    /// The file that the path leads to, as it is written.
    pub named: String,
    /// The file that declares the item: `named`, unless the item is only handed on there.
    pub declared: String,
}

impl Tree {
    /// Reads the files below `src/`; `src/lib.rs` and `src/main.rs` are where modules begin.
    pub fn new(texts: &Texts) -> Tree {
        let sources = texts.iter().filter(|(path, _)| path.starts_with("src/"));
        let code = sources.map(|(path, text)| (path.clone(), code(text))).collect();
        let mut tree = Tree {
            code,
            modules: BTreeMap::new(),
            shipped: BTreeMap::new(),
            tests: BTreeSet::new(),
        };
        for (root, is_binary) in [("src/lib.rs", false), ("src/main.rs", true)] {
            tree.add(root, if is_binary { vec!["main".to_owned()] } else { vec![] }, false);
        }
        tree
    }

    fn add(&mut self, path: &str, name: Name, is_test: bool) {
        let Some(code) = self.code.get(path) else { return };
        let is_test = is_test || code.is_test;
        let bodies = code.bodies.iter().map(|body| [name.clone(), body.clone()].concat());
        let mut below = vec![];
        for declared in &code.mods {
            let folder = if declared.file.is_some() && declared.inside.is_empty() {
                parent(path).to_owned()
            } else {
                folder_of(path)
            };
            let folder =
                declared.inside.iter().fold(folder, |folder, name| format!("{folder}/{name}"));
            let candidates = match &declared.file {
                Some(file) => vec![format!("{folder}/{file}")],
                None => vec![
                    format!("{folder}/{}.rs", declared.name),
                    format!("{folder}/{}/mod.rs", declared.name),
                ],
            };
            let child =
                [name.clone(), declared.inside.clone(), vec![declared.name.clone()]].concat();
            below.extend(
                candidates
                    .into_iter()
                    .map(|file| (file, child.clone(), is_test || declared.is_test)),
            );
        }
        self.modules.extend(bodies.map(|body| (body, path.to_owned())));
        self.modules.insert(name.clone(), path.to_owned());
        if is_test {
            self.tests.insert(path.to_owned());
        } else {
            self.shipped.insert(path.to_owned(), name);
        }
        for (file, child, is_test) in below {
            self.add(&file, child, is_test);
        }
    }

    /// Files of `src` that no `mod` leads to: nobody compiles them.
    pub fn orphans(&self) -> Vec<String> {
        self.code
            .keys()
            .filter(|path| !self.shipped.contains_key(*path) && !self.tests.contains(*path))
            .cloned()
            .collect()
    }

    /// Files whose code ships, and that code.
    pub fn shipped(&self) -> impl Iterator<Item = (&String, &Code)> {
        self.shipped.keys().map(|path| (path, &self.code[path]))
    }

    /// All that a file imports from other files.
    pub fn imports(&self, file: &str) -> Vec<Import> {
        let Some(name) = self.shipped.get(file) else { return vec![] };
        let mut found = vec![];
        for reference in &self.code[file].references {
            let Some(path) = self.absolute(name, reference, 0) else { continue };
            let Some((module, named)) = self.longest_module(&path) else { continue };
            let declared = match path.get(module.len()) {
                Some(item) => self.declaring(module, item, &mut BTreeSet::new()).unwrap_or(named),
                None => named,
            };
            if self.tests.contains(named) || named == file && declared == file {
                continue;
            }
            found.push(Import { path, named: named.to_owned(), declared: declared.to_owned() });
        }
        found
    }

    /// A path from `crate`, if the path leads into this crate.
    fn absolute(&self, file: &Name, reference: &Reference, nesting: usize) -> Option<Name> {
        let mut module = [file.clone(), reference.inside.clone()].concat();
        let mut rest = reference.segments.as_slice();
        let first = rest.first()?;
        let is_binary = file.first().is_some_and(|first| first == "main")
            && self.shipped.contains_key("src/main.rs");
        match first.as_str() {
            "crate" => module = if is_binary { vec!["main".to_owned()] } else { vec![] },
            "self" => {}
            "blobferry" if is_binary => module = vec![],
            "super" => {
                module.pop()?;
            }
            _ => {
                let child = [module.clone(), vec![first.clone()]].concat();
                if self.modules.contains_key(&child) {
                    return Some([module, rest.to_vec()].concat());
                }
                let alias = (nesting < 4)
                    .then(|| self.alias(file, &reference.inside, first, reference))
                    .flatten()?;
                let begin = self.absolute(file, alias, nesting + 1)?;
                return Some([begin, rest[1..].to_vec()].concat());
            }
        }
        rest = &rest[1..];
        while rest.first().is_some_and(|first| first == "super") {
            module.pop()?;
            rest = &rest[1..];
        }
        Some([module, rest.to_vec()].concat())
    }

    /// The `use` of the same module that `name` comes from.
    fn alias(&self, file: &Name, inside: &Name, name: &str, of: &Reference) -> Option<&Reference> {
        let references = &self.code[self.modules.get(file)?].references;
        references.iter().find(|other| {
            other.alias.as_deref() == Some(name) && other.inside == *inside && *other != of
        })
    }

    fn longest_module<'a>(&self, path: &'a [String]) -> Option<(&'a [String], &str)> {
        (0..=path.len())
            .rev()
            .find_map(|length| Some((&path[..length], self.modules.get(&path[..length])?.as_str())))
    }

    /// The file that declares `item`, which code elsewhere takes from `module`.
    fn declaring(
        &self,
        module: &[String],
        item: &str,
        seen: &mut BTreeSet<(Name, String)>,
    ) -> Option<&str> {
        if !seen.insert((module.to_vec(), item.to_owned())) {
            return None;
        }
        let path = self.modules.get(module)?;
        let code = self.code.get(path)?;
        // A module with a body has the names of its file before its own.
        let file = (0..=module.len())
            .map(|length| &module[..length])
            .find(|name| self.modules.get(*name) == Some(path))?;
        let inside = &module[file.len()..];
        if item != "*" && code.items.iter().any(|(within, name)| within == inside && name == item) {
            return Some(path);
        }
        let handed_on = code
            .references
            .iter()
            .filter(|reference| reference.inside == inside && reference.alias.is_some());
        let is_glob =
            |reference: &&Reference| reference.segments.last().is_some_and(|last| last == "*");
        let (globs, named): (Vec<_>, Vec<_>) = handed_on.partition(is_glob);
        let named = named.into_iter().filter(|reference| reference.alias.as_deref() == Some(item));
        for reference in named.chain(globs) {
            let Some(mut target) = self.absolute(&file.to_vec(), reference, 0) else { continue };
            if target.last().is_some_and(|last| last == "*") {
                target.pop();
                target.push(item.to_owned());
            }
            let Some((module, named)) = self.longest_module(&target) else { continue };
            let Some(item) = target.get(module.len()) else { return Some(named) };
            if let Some(found) = self.declaring(module, item, seen) {
                return Some(found);
            }
        }
        None
    }
}

pub fn parent(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(folder, _)| folder)
}

/// The folder that the modules of a file stand in.
pub fn folder_of(path: &str) -> String {
    let is_table =
        ["mod.rs", "lib.rs", "main.rs"].iter().any(|name| path.rsplit('/').next() == Some(name));
    if is_table { parent(path).to_owned() } else { path.trim_end_matches(".rs").to_owned() }
}
