//! Many sources: included files, defaults, caps of servers, names, all errors at once.

use super::*;
use expect_test::{Expect, expect};

const DESTINATION: &str = "[destination]\nfolder = \"out\"\n";

/// Files beside the main one, which is the first of them.
fn read(files: &[(&str, &str)], environment: &[(&str, &str)]) -> Result<Config, ConfigError> {
    let folder = tempfile::tempdir().expect("a folder");
    for (name, text) in files {
        let path = folder.path().join(name);
        std::fs::create_dir_all(path.parent().expect("a parent")).expect("it is made");
        std::fs::write(path, text).expect("it is written");
    }
    let environment =
        environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    load(&folder.path().join(files[0].0), &environment, &VaultValues::new())
}

fn refused(files: &[(&str, &str)], environment: &[(&str, &str)], expected: Expect) {
    let error = read(files, environment).map(|_| ()).expect_err("it is refused");
    expected.assert_eq(&error.to_string());
}

fn source(name: &str, rest: &str) -> String {
    format!(
        "[[source]]\nname = \"{name}\"\nurl = \"sftp://u:p@sftp.example/{name}\"\n\
        host_key = \"SHA256:dr4oVPjHqsJr3pU2yrdnx3xlnyA5lCKXQLR3RBcejTQ\"\n{rest}\n"
    )
}

fn names(config: &Config) -> Vec<&str> {
    config.sources.iter().map(|source| source.name.as_str()).collect()
}

#[test]
fn partners_have_a_file_each() {
    let main = format!(
        "include = [\"partners/*.toml\", \"none/*.toml\"]\n{DESTINATION}{}",
        source("main", "")
    );
    let files = [
        ("ingest.toml", main.as_str()),
        ("partners/b.toml", &source("b", "")),
        ("partners/a.toml", &format!("{}{}", source("a1", ""), source("a2", ""))),
        ("partners/notes.md", "not TOML"),
    ];
    let config = read(&files, &[]).expect("it is good");
    assert_eq!(names(&config), ["main", "a1", "a2", "b"]);
    assert_eq!(config.notes, ["`include` holds `none/*.toml`, which names no file"]);
}

#[test]
fn a_main_file_may_hold_no_source_itself() {
    let main = format!("include = \"p.toml\"\n{DESTINATION}");
    let config = read(&[("ingest.toml", &main), ("p.toml", &source("a", ""))], &[]);
    assert_eq!(names(&config.expect("it is good")), ["a"]);
    refused(
        &[("ingest.toml", &main), ("p.toml", "")],
        &[],
        expect!["ingest.toml: `source` is missing; at least one `[[source]]` is needed"],
    );
}

#[test]
fn errors_in_included_files_name_file_line_and_source() {
    let main = format!("include = [\"p/*.toml\"]\n{DESTINATION}{}", source("acme", ""));
    let files = [
        ("ingest.toml", main.as_str()),
        ("p/a.toml", &source("beta", "connections = 0\nevery = 5")),
        ("p/b.toml", &format!("{}[limits]\nfiles = 1\n", source("Acme", "overwrite = true"))),
        ("p/c.toml", "[[source\n"),
    ];
    let error = read(&files, &[]).map(|_| ()).expect_err("it is refused").to_string();
    let expected = [
        "p/b.toml:6: `limits` stands in an included file; allowed there are `[[source]]` tables \
            alone",
        "p/c.toml:1:9: `TOML` is not understood at column 9: unclosed array table, expected `]]`",
        "p/b.toml:1: `source.Acme` stands twice but for upper and lower case, first at \
            ingest.toml:4; each source needs a name of its own",
        "p/a.toml:5: `source.beta.connections` is 0; allowed is a whole number from 1 to 64",
        "p/a.toml:6: `source.beta.every` is 5; allowed is a duration with a unit, as \"90s\", \
            \"15m\" or \"6h\"",
        "p/b.toml:5: `source.Acme.overwrite` is not a setting of this section; here it is \
            `versions = \"overwrite\"`",
    ];
    assert_eq!(error.lines().collect::<Vec<_>>(), expected);
}

#[test]
fn slips_of_all_sections_are_told_at_once() {
    let main = format!(
        "{DESTINATION}[limits]\nmemory = \"1 MiB\"\n[log]\nlevel = \"loud\"\n{}",
        source("acme", "retries = 3\nschedule = \"daily\"\npattern = \"*.csv\"")
    );
    let error = read(&[("ingest.toml", &main)], &[("BLOBFERRY__SOURCE__OTHER__URL", "x")])
        .map(|_| ())
        .expect_err("it is refused")
        .to_string();
    for told in ["limits.memory", "log.level", "`attempts`", "`every", "`include", "OTHER"] {
        assert!(error.contains(told), "{told}: {error}");
    }
}

#[test]
fn defaults_are_for_all_sources_that_do_not_set_them() {
    let main = format!(
        "{DESTINATION}[defaults]\nconnections = 3\nuser = \"all\"\nevery = \"15m\"\n\
        tls_max_version = \"1.2\"\n[defaults.limits]\narchive_bytes = \"1 MiB\"\n{}{}{}",
        source("a", ""),
        source("b", "connections = 1\ncron = \"0 6 * * *\""),
        "[[source]]\nname = \"c\"\nurl = \"ftp://ftp.example/\"\npassword = \"p\"\n"
    );
    let config = read(&[("ingest.toml", &main)], &[]).expect("it is good");
    let [a, b, c] = config.sources.as_slice() else { panic!("three sources") };
    assert_eq!((a.connections, c.connections), (3, 3));
    assert!(a.schedule.is_some() && b.schedule.is_some());
    assert_eq!(a.unpacking.own_limits.bytes, Some(1 << 20));
    let given = [("BLOBFERRY__DEFAULTS__CONNECTIONS", "5")];
    let config = read(&[("ingest.toml", &main)], &given).expect("it is good");
    assert_eq!(config.sources[2].connections, 5);
    assert_eq!(config.sources[1].connections, 1);
}

#[test]
fn a_wrong_default_is_told_once_and_where_it_stands() {
    let main = format!(
        "{DESTINATION}[defaults]\nconnections = \"many\"\nurl = \"ftp://x\"\ndpth = 1\n{}{}",
        source("a", ""),
        source("b", "")
    );
    refused(
        &[("ingest.toml", &main)],
        &[],
        expect![[r#"
            ingest.toml:4: `defaults.connections` is "many"; allowed is a whole number from 1 to 64
            ingest.toml:6: `defaults.dpth` is not a setting of this section; did you mean `depth`?
            ingest.toml:5: `defaults.url` is each source's own; it has no default"#]],
    );
    let main = format!("{DESTINATION}[defaults]\nafter = \"burn\"\n{}", source("a", ""));
    refused(
        &[("ingest.toml", &main)],
        &[],
        expect![
            "ingest.toml:4: `source.a.after` is \"burn\"; allowed is `keep`, `delete` or \
            `move:/folder`"
        ],
    );
}

#[test]
fn the_environment_reaches_included_sources_and_holds_lists() {
    let main = format!("include = [\"p/*.toml\"]\n{DESTINATION}");
    let files = [("ingest.toml", main.as_str()), ("p/a.toml", &source("Acme.eu_west", ""))];
    let variable = "BLOBFERRY__SOURCE__ACME_EU_WEST__INCLUDE";
    let wants = |list: &str, name: &str| {
        let config = read(&files, &[(variable, list)]).expect("it is good");
        config.sources[0].patterns.wants(&format!("/Acme.eu_west/{name}").as_str().into())
    };
    assert!(wants(r#"["sales_*.csv", "b/**"]"#, "sales_1.csv"));
    assert!(!wants(r#"["sales_*.csv", "b/**"]"#, "s"), "it is no class of characters");
    assert!(wants("[ab].csv", "a.csv"), "a pattern may begin with a bracket");
}

#[test]
fn an_override_that_two_sources_could_mean_is_refused() {
    let main = format!("{DESTINATION}{}{}", source("a-b", ""), source("a.b", ""));
    refused(
        &[("ingest.toml", &main)],
        &[("BLOBFERRY__SOURCE__A_B__CONNECTIONS", "1")],
        expect![
            "environment: `BLOBFERRY__SOURCE__A_B__CONNECTIONS` may name the source `a-b` \
            or `a.b`; allowed are names that differ in letters and digits, or the setting in the \
            file"
        ],
    );
    assert!(read(&[("ingest.toml", &main)], &[]).is_ok());
}

#[test]
fn names_hold_what_partners_are_called() {
    for (name, good) in [
        ("acme", true),
        ("a--1-", true),
        ("Acme_EU.west-1", true),
        ("2x", true),
        (&"a".repeat(63), true),
        (&"a".repeat(64), false),
        ("_acme", false),
        (".acme", false),
        ("acme.", false),
        ("-acme", false),
        ("a/b", false),
        ("caf\u{e9}", false),
    ] {
        let main = format!("{DESTINATION}{}", source(name, ""));
        assert_eq!(read(&[("ingest.toml", &main)], &[]).is_ok(), good, "{name}");
    }
}

#[test]
fn sources_of_one_server_share_the_largest_cap_among_them() {
    let other = "[[source]]\nname = \"d\"\nurl = \"ftp://u:p@sftp.example/\"\n";
    let main = format!(
        "{DESTINATION}{}{}{other}",
        source("a", "connections = 1"),
        source("b", "connections = 3")
    );
    let config = read(&[("ingest.toml", &main)], &[]).expect("it is good");
    let caps: Vec<_> =
        config.sources.iter().map(|one| one.shared_cap.as_ref().map(|cap| cap.total())).collect();
    assert_eq!(caps, [Some(3), Some(3), None]);
    let server = "[[server]]\nhost = \"SFTP.example\"\nconnections = 2\n\
        [[server]]\nhost = \"gone.example\"\nconnections = 2\n";
    let config = read(&[("ingest.toml", &format!("{server}{main}"))], &[]).expect("it is good");
    let caps: Vec<_> =
        config.sources.iter().map(|one| one.shared_cap.as_ref().map(|cap| cap.total())).collect();
    assert_eq!(caps, [Some(2), Some(2), Some(2)], "all ports and users together");
    assert_eq!(config.sources[1].connections, 2);
    assert_eq!(config.notes, ["`[[server]]` of `gone.example` is for no source"]);
}

#[test]
fn a_source_that_is_off_needs_no_secret() {
    let main = format!(
        "{DESTINATION}{}[[source]]\nname = \"b\"\nurl = \"ftp://u@h/\"\nenabled = false\n\
        priority = 90\norder = \"modified\"\npassword = {{ env = \"NOWHERE\" }}\n",
        source("a", "")
    );
    let config = read(&[("ingest.toml", &main)], &[]).expect("it is good");
    assert_eq!([config.sources[0].enabled, config.sources[1].enabled], [true, false]);
}

#[test]
fn one_folder_under_two_spellings_of_its_address_is_one_folder() {
    let dir = tempfile::tempdir().expect("a folder");
    let real = dir.path().join("share");
    std::fs::create_dir_all(real.join("in")).expect("it is made");
    let share = real.display().to_string();
    let meet = |one: &str, other: &str| {
        let source = |name: &str, url: &str| {
            let password = if url.starts_with("file") { "" } else { "password = \"p\"\n" };
            format!(
                "[[source]]\nname = \"{name}\"\nurl = \"{url}\"\nafter = \"delete\"\n{password}"
            )
        };
        let (one, other) = (source("acme", one), source("beta", other));
        let text = format!("[destination]\nfolder = \"out\"\n{one}{other}");
        let config = read(&[("ingest.toml", &text)], &[]).expect("it is good");
        config.sources.iter().all(|source| source.shared_with.is_some())
    };
    for (one, other) in [
        ("ftp://a@files.example/in", "ftp://b@FILES.example:21/in/"),
        ("ftp://a@files.example/in", "ftp://a@files.example.//in"),
        ("ftp://a@files.example/in", "ftp://a@files.example/./x/../in"),
        ("ftp://a@localhost/in", "ftp://a@127.0.0.1/in"),
        ("ftp://a@[::1]/in", "ftp://a@localhost/in/deep"),
        (&format!("file://{share}"), &format!("file://{share}/./in")),
    ] {
        assert!(meet(one, other), "{one} {other}");
    }
    for (one, other) in [
        ("ftp://a@files.example/in", "ftp://a@files.example/inner"),
        ("ftp://a@files.example/in", "ftp://a@other.example/in"),
        ("ftp://a@localhost/in", "ftp://a@localhost:2121/in"),
    ] {
        assert!(!meet(one, other), "{one} {other}");
    }
    #[cfg(unix)]
    {
        std::os::unix::fs::symlink(&real, dir.path().join("link")).expect("a link");
        let link = dir.path().join("link").display().to_string();
        assert!(meet(&format!("file://{share}"), &format!("file://{link}/in")));
    }
}
