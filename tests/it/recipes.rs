//! docs/recipes.md: every recipe that names a server is played, with the configuration as the page
//! shows it and an embedded server in the place of the one that it names.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use time::OffsetDateTime;

use super::e2e::bad_input::old_file;
use super::e2e::{Done, Ferry};
use super::kit::stage;

const PAGE: &str = include_str!("../../docs/recipes.md");

/// Recipes that no embedded server plays, each with the reason.
const NOT_PLAYED: &[(&str, &str)] = &[
    ("An FTPS server with a certificate of its own making", "modes::security has TLS and pins"),
    ("An old server that speaks only SHA-1", "modes::legacy has an OpenSSH with these algorithms"),
    ("A Windows share or a mounted disk", "shares and scripts/shares.sh have it"),
    ("A server that must know your address", "it is of Azure"),
    ("Take a file again", "docs has its words, e2e::commands its flags"),
    ("Behind a proxy, or a firewall that opens TLS", "modes::proxies has both"),
    ("An application instead of a managed identity", "identity has it"),
    ("Another cloud, another domain", "it is of Azure"),
    ("Containers under a retention policy", "e2e::state has two containers of Azurite"),
    ("A static web site", "it is of Azure; src/config has the refusal"),
    ("Several destinations", "e2e::destinations has them"),
    ("Accounts with a hierarchical namespace", "it is of Azure"),
];

/// The headings of the page, each with the blocks of TOML below it.
fn recipes() -> BTreeMap<&'static str, Vec<&'static str>> {
    let parts = PAGE.split("\n## ").skip(1);
    let of = |part: &'static str| {
        let (heading, body) = part.split_once('\n').expect("a heading has a line of its own");
        let blocks = body.split("```toml\n").skip(1).map(|rest| rest.split("```").next().unwrap());
        (heading, blocks.collect())
    };
    parts.map(of).collect()
}

/// A recipe between an embedded server and a folder.
struct Kitchen {
    ftp: stage::Stage<blobferry::demo::ftp::FtpServer>,
    sftp: stage::Stage<blobferry::demo::sftp::SftpServer>,
    ferry: Ferry,
    blocks: Vec<&'static str>,
}

impl Kitchen {
    fn new(heading: &str) -> Self {
        let blocks = recipes().remove(heading).unwrap_or_else(|| panic!("no recipe `{heading}`"));
        let (ftp, sftp) = (stage::ftp(Default::default()), stage::sftp(Default::default()));
        let kitchen = Self { ftp, sftp, ferry: Ferry::new(""), blocks };
        kitchen.ferry.configure(&kitchen.at_home(kitchen.blocks[0]));
        kitchen
    }

    /// The block with our server in the place of the one that it names: `url`, `host_key` and
    /// `password` are other ones, all else is as on the page.
    fn at_home(&self, block: &str) -> String {
        let mut text = String::new();
        if !block.contains("[destination]") {
            text += "[destination]\nfolder = \"out\"\n";
        }
        for line in block.lines() {
            if let Some(url) = line.strip_prefix("url = \"") {
                let (scheme, rest) = url.split_once("://").expect("a URL");
                let path = rest.split_once('/').map_or("", |(_, path)| path.trim_end_matches('"'));
                let lines = match scheme {
                    "sftp" => self.sftp.lines(),
                    _ => self.ftp.lines(),
                };
                text += &lines.replacen("/\"\n", &format!("/{path}\"\n"), 1);
            } else if !line.starts_with("host_key = ") && !line.starts_with("password = ") {
                let host = "host = \"127.0.0.1\"";
                text += if line.starts_with("host = ") { host } else { line };
                text.push('\n');
            }
        }
        text
    }

    /// A file of both servers.
    fn serve(self, path: &str, content: &[u8]) -> Self {
        for root in [self.ftp.root.path(), self.sftp.root.path()] {
            old_file(&root.join(path), content);
        }
        self
    }

    fn run(&self, code: i32) -> Done {
        self.ferry.ingest().code(code)
    }

    /// The names of the blobs that users see.
    fn blobs(&self) -> Vec<String> {
        let mut names = below(&self.ferry.path("out"));
        names.retain(|name| !name.starts_with("_blobferry/") && !name.starts_with(".blobferry"));
        names
    }

    /// What is below a folder of the SFTP server.
    fn left(&self, folder: &str) -> Vec<String> {
        below(&self.sftp.root.path().join(folder))
    }
}

/// The files below a folder, sorted.
fn below(root: &Path) -> Vec<String> {
    let (mut folders, mut found) = (vec![PathBuf::from(root)], Vec::new());
    while let Some(folder) = folders.pop() {
        let Ok(entries) = std::fs::read_dir(folder) else { continue };
        for path in entries.map(|entry| entry.unwrap().path()) {
            if path.is_dir() {
                folders.push(path);
            } else {
                found.push(path.strip_prefix(root).unwrap().to_str().unwrap().to_owned());
            }
        }
    }
    found.sort();
    found
}

fn zip(members: &[&str]) -> Vec<u8> {
    let mut archive = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    for member in members {
        archive.start_file(*member, zip::write::SimpleFileOptions::default()).unwrap();
        archive.write_all(member.as_bytes()).unwrap();
    }
    archive.finish().unwrap().into_inner()
}

#[test]
fn every_recipe_is_played_or_says_where_it_is_tried() {
    let tests = include_str!("recipes.rs");
    for (heading, blocks) in recipes() {
        let left_out = NOT_PLAYED.iter().any(|(name, _)| *name == heading);
        let is_played = tests.contains(&format!("Kitchen::new(\"{heading}\")"));
        assert!(left_out != is_played, "`{heading}`: played {is_played}, left out {left_out}");
        assert!(left_out || !blocks.is_empty(), "`{heading}` shows no configuration");
    }
    for (heading, why) in NOT_PLAYED {
        assert!(recipes().contains_key(heading), "there is no recipe `{heading}` ({why})");
    }
}

#[test]
fn zips_of_a_night_are_taken_once_their_marker_is_there() {
    let kitchen = Kitchen::new("A partner who sends zips every night")
        .serve("outbound/n1.zip", &zip(&["a.csv", "x/b.csv"]))
        .serve("outbound/n2.zip", &zip(&["a.csv"]))
        .serve("outbound/n1.zip.done", b"");
    kitchen.run(0);
    assert_eq!(kitchen.blobs(), ["acme/n1.zip!/a.csv", "acme/n1.zip!/x/b.csv"]);
    let kitchen = kitchen.serve("outbound/n2.zip.done", b"");
    kitchen.run(0);
    assert!(kitchen.blobs().contains(&"acme/n2.zip!/a.csv".to_owned()));
}

#[test]
fn zips_are_kept_beside_some_of_their_members() {
    let kitchen = Kitchen::new("The same, but you want the zips too, and not each member")
        .serve("outbound/n.zip", &zip(&["a.csv", "b.txt"]));
    kitchen.run(0);
    assert_eq!(kitchen.blobs(), ["acme/n.zip", "acme/n.zip!/a.csv"]);
}

#[test]
fn a_feed_has_a_folder_of_the_lake() {
    let kitchen = Kitchen::new("A feed into a folder of the lake")
        .serve("outbound/2026/a.csv", b"1")
        .serve("outbound/readme.txt", b"2");
    kitchen.run(0);
    assert_eq!(kitchen.blobs(), ["raw/orders/2026/a.csv"]);
}

#[test]
fn a_container_looks_like_its_server() {
    let kitchen = Kitchen::new("A container that looks like the server")
        .serve("outbound/x/a.zip", &zip(&["a.csv"]))
        .serve("outbound/b.csv", b"1");
    kitchen.run(0);
    assert_eq!(kitchen.blobs(), ["b.csv", "x/a.zip"]);
}

#[test]
fn files_lie_by_the_day_of_their_time_or_of_their_name() {
    let kitchen = Kitchen::new("A lake that is laid out by date")
        .serve("outbound/x/orders_20261129.csv", b"1");
    kitchen.run(0);
    assert_eq!(
        kitchen.blobs(),
        [
            "feeds/orders/dt=2026-11-29/orders_20261129.csv",
            "landing/sales/dt=2020-09-13/x/orders_20261129.csv"
        ]
    );
}

#[test]
fn members_lie_beside_their_zip() {
    let kitchen = Kitchen::new("Zips whose members lie beside them, in a folder of their name")
        .serve("outbound/x/day.zip", &zip(&["a.csv"]));
    kitchen.run(0);
    assert_eq!(kitchen.blobs(), ["raw/x/day/a.csv"]);
}

#[test]
fn one_file_has_one_name_whatever_its_version() {
    let kitchen = Kitchen::new("One file under one name").serve("outbound/current/rates.csv", b"1");
    kitchen.run(0);
    let root = kitchen.sftp.root.path().join("outbound/current/rates.csv");
    std::fs::write(root, b"another").unwrap();
    kitchen
        .ferry
        .configure(&kitchen.at_home(&format!("{}stable_for = \"0s\"\n", kitchen.blocks[0])));
    kitchen.run(0);
    assert_eq!(kitchen.blobs(), ["landing/rates.csv"]);
    assert_eq!(std::fs::read(kitchen.ferry.path("out/landing/rates.csv")).unwrap(), b"another");
}

#[test]
fn reports_are_replaced_under_their_names() {
    let kitchen = Kitchen::new("Reports that are overwritten in place")
        .serve("daily/a.csv", b"1")
        .serve("daily/b.xlsx", b"2")
        .serve("daily/c.txt", b"3");
    kitchen.run(0);
    assert_eq!(kitchen.blobs(), ["reports/a.csv", "reports/b.xlsx"]);
}

#[test]
fn of_each_feed_the_newest_file_is_taken() {
    let kitchen = Kitchen::new("Only the newest file of each feed")
        .serve("outbound/prices_1.csv", b"1")
        .serve("outbound/prices_2.csv", b"2")
        .serve("outbound/stock_1.csv", b"3");
    kitchen.run(0);
    assert_eq!(kitchen.blobs(), ["master/prices_2.csv", "master/stock_1.csv"]);
}

#[test]
fn the_newest_export_has_one_name() {
    let kitchen = Kitchen::new("The newest export under one name")
        .serve("outbound/export_20261129.csv", b"1")
        .serve("outbound/export_20261130.csv", b"2");
    kitchen.run(0);
    let kitchen = kitchen.serve("outbound/export_20261201.csv", b"3");
    kitchen.run(0);
    assert_eq!(kitchen.blobs(), ["landing/export.csv"]);
    assert_eq!(std::fs::read(kitchen.ferry.path("out/landing/export.csv")).unwrap(), b"3");
}

#[test]
fn of_years_of_folders_the_last_days_are_taken() {
    let mut kitchen = Kitchen::new("The last days of a server that keeps years");
    let day = |back| (OffsetDateTime::now_utc() - time::Duration::days(back)).date().to_string();
    for back in [0, 1, 2, 90, 900] {
        kitchen = kitchen.serve(&format!("outbound/{}/a.csv", day(back)), b"1");
    }
    kitchen.run(0);
    let mut expected: Vec<String> =
        [2, 1, 0].map(|back| format!("archive/{}/a.csv", day(back))).to_vec();
    expected.sort();
    assert_eq!(kitchen.blobs(), expected);
}

#[test]
fn a_delivery_without_files_is_an_error() {
    let kitchen = Kitchen::new("A delivery without files is an error");
    std::fs::create_dir(kitchen.sftp.root.path().join("outbound")).unwrap();
    kitchen.run(1).says(&["too_few"]);
    let kitchen = kitchen.serve("outbound/a.csv", b"1");
    kitchen.run(0);
    assert_eq!(kitchen.blobs(), ["feed/a.csv"]);
}

#[test]
fn what_was_taken_moves_to_the_folder_of_its_month() {
    let kitchen =
        Kitchen::new("Taken files move to a folder of their month").serve("outbox/a.csv", b"1");
    kitchen.run(0);
    assert_eq!(kitchen.blobs(), ["monthly/a.csv"]);
    assert_eq!(kitchen.left("done"), ["2020-09/a.csv"]);
    assert_eq!(kitchen.left("outbox"), [] as [&str; 0]);
}

#[test]
fn what_was_taken_is_handed_over() {
    let kitchen = Kitchen::new("A server that wants its files gone once they are yours")
        .serve("outbox/a.csv", b"1");
    kitchen.run(0);
    assert_eq!(kitchen.left("done"), ["a.csv"]);
}

#[test]
fn what_a_slow_sender_still_writes_is_left_alone() {
    let kitchen = Kitchen::new("A sender that writes slowly, or straight into the final name")
        .serve("drop/a.csv", b"1")
        .serve("drop/b.csv.part", b"2")
        .serve("drop/.~lock.c.csv#", b"3");
    let report = kitchen.run(0).source();
    assert_eq!(report["skipped_by_reason"]["in_progress"], 2, "{report:#}");
    assert_eq!(kitchen.blobs(), ["slow/a.csv"]);
}

#[test]
fn a_small_server_sees_one_guest() {
    let kitchen =
        Kitchen::new("A server that lets in few connections, or bans those who come too often");
    let source = kitchen.at_home(kitchen.blocks[0]);
    kitchen.ferry.configure(&format!(
        "{source}{}",
        kitchen.at_home(kitchen.blocks[1]).replace("[destination]\nfolder = \"out\"\n", "",)
    ));
    kitchen.run(0);
    assert_eq!(kitchen.blobs(), ["small/a.bin", "small/b.txt", "small/sub/c.txt"]);
    let most = &kitchen.ftp.server.counts.most_connections;
    assert_eq!(most.load(std::sync::atomic::Ordering::SeqCst), 1);
}

#[test]
fn many_partners_have_a_file_each() {
    let kitchen = Kitchen::new("Many partners").serve("acme/a.zip", &zip(&["a.csv"]));
    let include = "include = [\"partners/*.toml\"]";
    assert!(PAGE.contains(&format!("`{include}`")), "the page names the line");
    kitchen.ferry.configure(&format!("{include}\n{}", kitchen.at_home(kitchen.blocks[0])));
    std::fs::create_dir(kitchen.ferry.path("partners")).unwrap();
    let partner = kitchen.at_home(kitchen.blocks[1]);
    let partner = partner.replace("[destination]\nfolder = \"out\"\n", "");
    for name in ["acme", "beta"] {
        let text = partner.replace("\"acme\"", &format!("\"{name}\""));
        std::fs::write(kitchen.ferry.path(&format!("partners/{name}.toml")), text).unwrap();
    }
    kitchen.run(0);
    assert_eq!(kitchen.blobs(), ["acme/a.zip", "beta/a.zip"]);
}
