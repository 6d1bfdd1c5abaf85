//! Trees that are made to have names meet, under every kind of layout: whatever lies at the server
//! is in the store once, under a name of its own.
//!
//! `BLOBFERRY_TREES=0..2000` plays other trees than the gate does.

use std::collections::{BTreeMap, BTreeSet};

use blobferry::rules::layout::LayoutSettings;
use blobferry::transfer::settings::Versions;

use super::layouts::{clean, set, settings};
use super::zips::zip;
use super::{LONG_AGO, World};

const FOLDERS: &[&str] = &[
    "",
    "x/",
    "X/",
    "x/x/",
    "a.zip/",
    "b.zip!/",
    "in/",
    "acme/",
    "_blobferry/acme/",
    "%78/",
    "ü/",
];
const FILES: &[&str] =
    &["a.csv", "A.csv", "a", "a.b.csv", ".csv", "a~1.csv", "a%2Ecsv", "x", "ü.csv"];
const MEMBERS: &[&str] = &["a.csv", "x/a.csv", "../a.csv", "/a.csv", "x/x", "a", "in/a.csv", ""];
const LAYOUTS: &[&str] = &[
    "{path}",
    "in/{file}",
    "{source}/{stem}",
    "in/{stem}.csv",
    "dt={yyyy-MM-dd}/{file}",
    "{folder}/{stem}",
];
const MEMBER_LAYOUTS: &[Option<&str>] =
    &[None, Some("{member}"), Some("{member_file}"), Some("{stem}/{member_file}")];

/// The same numbers for the same seed.
struct Draws(u64);

impl Draws {
    fn next(&mut self, below: usize) -> usize {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).expect("31 bits") % below
    }

    fn of<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.next(all.len())]
    }
}

/// A server's tree, and what of it should be in the store: contents, each of its own.
struct Tree {
    files: BTreeMap<String, Vec<u8>>,
    contents: BTreeSet<Vec<u8>>,
}

impl Tree {
    fn draw(draws: &mut Draws) -> Self {
        let mut tree = Self { files: BTreeMap::new(), contents: BTreeSet::new() };
        for number in 0..4 + draws.next(10) {
            let path = format!("/{}{}", draws.of(FOLDERS), draws.of(FILES));
            tree.add(&path, format!("file {number} {path}").into_bytes());
        }
        for number in 0..draws.next(4) {
            let path = format!("/{}{}.zip", draws.of(FOLDERS), draws.of(&["a", "b", "c"]));
            let of_zip = |place: usize| format!("member {number} {place} of {path}").into_bytes();
            let members: Vec<(&str, Vec<u8>)> =
                (0..1 + draws.next(5)).map(|place| (draws.of(MEMBERS), of_zip(place))).collect();
            let given: Vec<(&str, &[u8])> =
                members.iter().map(|(name, content)| (*name, content.as_slice())).collect();
            if tree.is_free(&path) {
                tree.files.insert(path.clone(), zip(&given));
                tree.contents.extend(members.into_iter().map(|(_, content)| content));
            }
        }
        tree
    }

    /// A path cannot be a file and a folder.
    fn is_free(&self, path: &str) -> bool {
        let below = format!("{path}/");
        !self.files.keys().any(|other| {
            other == path || other.starts_with(&below) || path.starts_with(&format!("{other}/"))
        })
    }

    fn add(&mut self, path: &str, content: Vec<u8>) {
        if self.is_free(path) {
            self.contents.insert(content.clone());
            self.files.insert(path.to_owned(), content);
        }
    }

    /// What of it is not at the server of `world` yet.
    fn put(&self, world: &World) {
        for (path, content) in &self.files {
            world.put(path, content.clone(), LONG_AGO);
        }
    }
}

/// Everything that is to be there is there once, and nothing else.
fn check(world: &World, tree: &Tree, what: &str) {
    let stored: Vec<Vec<u8>> =
        world.contents().into_iter().map(|(_, content)| content.to_vec()).collect();
    let lost: Vec<String> = tree
        .contents
        .iter()
        .filter(|content| !stored.contains(content))
        .map(|content| String::from_utf8_lossy(content).into_owned())
        .collect();
    assert!(
        lost.is_empty() && stored.len() == tree.contents.len(),
        "{what}: {lost:?} {:?}",
        world.names()
    );
}

async fn play(seed: u64) {
    let mut draws = Draws(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15));
    let (layout, member_layout) = (draws.of(LAYOUTS), draws.of(MEMBER_LAYOUTS));
    let versions = draws.of(&[Versions::Keep, Versions::Overwrite]);
    let overwrites = versions == Versions::Overwrite && !layout.contains("yyyy");
    let mut tree = Tree::draw(&mut draws);
    let what =
        format!("seed {seed}: {layout} {member_layout:?} {overwrites}: {:?}", tree.files.keys());
    let world = World::new().with(|source| {
        set(source, LayoutSettings { member_layout, overwrites, ..settings(layout) });
        source.versions = if overwrites { versions } else { Versions::Keep };
    });
    tree.put(&world);
    assert_eq!(world.run().await.source().failed, 0, "{what}");
    check(&world, &tree, &what);

    // Somebody who has seen the container gives files the names that others were set apart under.
    for (number, name) in world.names().into_iter().filter(|name| name.contains('~')).enumerate() {
        let file = name.rsplit('/').next().unwrap_or(&name);
        let path = format!("/{}{file}", draws.of(FOLDERS));
        tree.add(&path, format!("late {number} {path}").into_bytes());
    }
    tree.put(&world);
    assert_eq!(world.run().await.source().failed, 0, "{what}");
    check(&world, &tree, &what);
    clean(&world).await;
    world.lose_ledger().await;
    assert_eq!(world.run().await.source().failed, 0, "{what}");
    check(&world, &tree, &what);
}

#[tokio::test]
async fn whatever_lies_in_a_tree_is_in_the_store_once_under_a_name_of_its_own() {
    let span = std::env::var("BLOBFERRY_TREES").unwrap_or_else(|_| "0..150".to_owned());
    let (from, to) = span.split_once("..").expect("a span, as 0..150");
    let number = |text: &str| text.parse::<u64>().expect("a number");
    for seed in number(from)..number(to) {
        play(seed).await;
    }
}
