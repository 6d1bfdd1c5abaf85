//! What strangers send: for each parser of it, what must hold whatever the bytes are.
//!
//! `cargo fuzz` runs these checks on bytes of its own making (`fuzz/fuzz_targets/` includes this
//! folder), the test suite on seeds and on mutations of them that are the same in every run.

mod config;
mod ftp;
mod http;
mod listing;
mod meter;
mod names;
mod packed;
mod quine;
mod rare;
mod seeds;
mod sftp;
mod taking;

#[cfg(test)]
mod endless;
#[cfg(test)]
mod mutation;
#[cfg(test)]
mod replay;

/// A parser and what must hold of it.
pub struct Target {
    /// Its name, that of its fuzzer and of its folder of seeds.
    pub name: &'static str,
    /// Panics where something does not hold.
    pub check: fn(&[u8]),
    /// What to begin with.
    pub seeds: fn() -> Vec<Vec<u8>>,
    /// How many mutations the test suite tries.
    #[cfg_attr(not(test), expect(dead_code, reason = "the fuzzer knows no end"))]
    pub cases: usize,
}

/// All of them.
pub const TARGETS: &[Target] = &[
    Target { name: "names", check: names::check, seeds: names::seeds, cases: 1500 },
    Target { name: "zip", check: packed::zip, seeds: seeds::zip, cases: 4000 },
    Target { name: "tar", check: packed::tar, seeds: seeds::tar, cases: 8000 },
    Target { name: "compressed", check: packed::compressed, seeds: seeds::compressed, cases: 6000 },
    Target { name: "sevenz", check: packed::sevenz, seeds: seeds::sevenz, cases: 8000 },
    Target { name: "meter", check: meter::check, seeds: meter::seeds, cases: 20000 },
    Target { name: "list", check: listing::list, seeds: listing::list_seeds, cases: 10000 },
    Target { name: "mlsd", check: listing::mlsd, seeds: listing::mlsd_seeds, cases: 10000 },
    Target { name: "ftp_replies", check: ftp::check, seeds: ftp::seeds, cases: 60 },
    Target { name: "sftp", check: sftp::check, seeds: sftp::seeds, cases: 8000 },
    Target { name: "config", check: config::check, seeds: config::seeds, cases: 4000 },
    Target { name: "http", check: http::check, seeds: http::seeds, cases: 8000 },
];

/// The target of this name.
pub fn named(name: &str) -> &'static Target {
    TARGETS
        .iter()
        .find(|target| target.name == name)
        .unwrap_or_else(|| panic!("there is no target `{name}`"))
}

/// For the fuzzer: writes the seeds of `target` into the folder that `BLOBFERRY_FUZZ_SEEDS` names,
/// if it does.
#[cfg(not(test))]
pub fn hand_out(target: &Target) {
    let Some(folder) = std::env::var_os("BLOBFERRY_FUZZ_SEEDS").map(std::path::PathBuf::from)
    else {
        return;
    };
    for (at, seed) in (target.seeds)().iter().enumerate() {
        std::fs::write(folder.join(format!("seed-{at:03}")), seed).expect("the folder takes it");
    }
}

/// Nothing that a stranger wrote may reach a log or a terminal raw.
fn printable(text: &str) {
    // Several errors of a configuration are a line each.
    let raw = text.lines().any(|line| line.chars().any(char::is_control));
    assert!(!raw, "raw control characters: {text:?}");
}
