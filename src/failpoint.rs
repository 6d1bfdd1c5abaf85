//! Points in the program at which tests stop it, let it fail, or leave a step out.
//!
//! All of it hangs on the feature `testing`, which only tests switch on: a shipped binary holds
//! none of it. A process is told by `BLOBFERRY_FAILPOINT=name=action` what is to happen where,
//! `action` being `abort` (it is gone at once, like one that is killed), `error` (the step fails)
//! or `hang` (it never comes back); `name@n` is the `n`-th time that the point is reached. With
//! `BLOBFERRY_FAILPOINTS_SEEN=file` it appends the names of the points that it reaches to that
//! file.

/// A point of the road. With an error, a test can let the step fail with it.
#[cfg(feature = "testing")]
macro_rules! failpoint {
    ($name:literal, $error:expr) => {
        if $crate::failpoint::reach($name).await {
            return Err($error);
        }
    };
}
#[cfg(not(feature = "testing"))]
macro_rules! failpoint {
    ($name:literal, $error:expr) => {};
}

/// Whether a test plays the program without this safeguard, to prove that its absence is noticed.
#[cfg(feature = "testing")]
macro_rules! safeguard_off {
    ($step:literal) => {
        $crate::failpoint::is_left_out($step)
    };
}
#[cfg(not(feature = "testing"))]
macro_rules! safeguard_off {
    ($step:literal) => {
        false
    };
}

pub(crate) use failpoint;
pub(crate) use safeguard_off;

#[cfg(feature = "testing")]
pub use switched_on::{
    POINTS, is_left_out, leave_out, name_bytes, random, random_wait, reach, seed, take_reached,
};

#[cfg(feature = "testing")]
mod switched_on {
    use std::cell::{Cell, RefCell};
    use std::collections::{BTreeMap, HashMap};
    use std::io::Write;
    use std::sync::{Mutex, OnceLock};

    /// Every point, in the order of the road. Tests ask for each.
    pub const POINTS: &[&str] = &[
        "before-begin",
        "after-begin",
        "file-fetched",
        "before-stage",
        "after-stage",
        "before-commit",
        "after-commit",
        "member-ready",
        "member-committed",
        "before-manifest",
        "after-manifest",
        "before-record",
        "after-record",
        "before-after-action",
        "before-end",
        "before-report",
        "fold-begins",
        "fold-sealed",
        "fold-shards-written",
        "before-head-swap",
        "after-head-swap",
        "fold-removed",
        "journals-made",
        "pieces-written",
        "plan-written",
        "pass-opened",
        "pass-decided",
        "piece-sent",
        "piece-leased",
        "piece-brought",
        "result-written",
        "before-close-report",
        "close-report-written",
        "head-cleared",
        "work-removed",
    ];

    #[derive(Clone, Copy, PartialEq, Eq)]
    enum Action {
        Abort,
        Error,
        Hang,
    }

    struct Script {
        name: String,
        nth: u64,
        action: Action,
    }

    fn script() -> Option<&'static Script> {
        static SCRIPT: OnceLock<Option<Script>> = OnceLock::new();
        SCRIPT
            .get_or_init(|| std::env::var("BLOBFERRY_FAILPOINT").ok().map(|text| parse(&text)))
            .as_ref()
    }

    fn parse(text: &str) -> Script {
        let (point, action) = text
            .split_once('=')
            .unwrap_or_else(|| panic!("BLOBFERRY_FAILPOINT is name=action, not `{text}`"));
        let (name, nth) = point.split_once('@').unwrap_or((point, "1"));
        assert!(POINTS.contains(&name), "there is no failpoint `{name}`");
        let action = match action {
            "abort" => Action::Abort,
            "error" => Action::Error,
            "hang" => Action::Hang,
            _ => panic!("a failpoint can abort, error or hang, not `{action}`"),
        };
        Script {
            name: name.to_owned(),
            nth: nth.parse().unwrap_or_else(|_| panic!("`{nth}` is no number")),
            action,
        }
    }

    /// The program has come to `name`: true if it is to fail here.
    pub async fn reach(name: &'static str) -> bool {
        static TIMES: OnceLock<Mutex<HashMap<&'static str, u64>>> = OnceLock::new();
        note(name);
        let Some(script) = script().filter(|script| script.name == name) else { return false };
        let times = {
            let mut times = TIMES
                .get_or_init(Mutex::default)
                .lock()
                .expect("no code panics while it holds this lock");
            let count = times.entry(name).or_default();
            *count += 1;
            *count
        };
        match script.action {
            // It fails for good, or it would only be tried again.
            Action::Error => times >= script.nth,
            _ if times != script.nth => false,
            Action::Abort => std::process::abort(),
            Action::Hang => std::future::pending().await,
        }
    }

    fn note(name: &str) {
        static SEEN: OnceLock<Option<Mutex<std::fs::File>>> = OnceLock::new();
        let open = || {
            let path = std::env::var("BLOBFERRY_FAILPOINTS_SEEN").ok()?;
            let file = std::fs::OpenOptions::new()
                .create(true)
                .append(true)
                .open(path)
                .expect("the file can be written");
            Some(Mutex::new(file))
        };
        if let Some(file) = SEEN.get_or_init(open) {
            let mut file = file.lock().expect("no code panics while it holds this lock");
            file.write_all(format!("{name}\n").as_bytes()).expect("the file can be written");
        }
    }

    thread_local! {
        static LEFT_OUT: Cell<Option<&'static str>> = const { Cell::new(None) };
        static REACHED: RefCell<BTreeMap<&'static str, u64>> =
            const { RefCell::new(BTreeMap::new()) };
        static RANDOM: Cell<Option<u64>> = const { Cell::new(None) };
        static WAITS: Cell<Option<u64>> = const { Cell::new(None) };
        static NAMES: Cell<Option<u64>> = const { Cell::new(None) };
    }

    /// Leaves the step `step` out on this thread, or none.
    pub fn leave_out(step: Option<&'static str>) {
        LEFT_OUT.set(step);
    }

    /// Whether the step is to be left out on this thread. Steps ask last, so that each question is
    /// a decision that the step makes.
    pub fn is_left_out(step: &'static str) -> bool {
        REACHED.with_borrow_mut(|reached| *reached.entry(step).or_default() += 1);
        LEFT_OUT.get() == Some(step)
    }

    /// How often steps that can be left out have decided on this thread since the last question.
    pub fn take_reached() -> BTreeMap<&'static str, u64> {
        REACHED.take()
    }

    /// From now on the choices that matter for the order of things on this thread depend on `seed`
    /// alone: what is chosen at random, how long is waited, and in which order names sort.
    pub fn seed(seed: Option<u64>) {
        RANDOM.set(seed);
        WAITS.set(seed);
        NAMES.set(seed.map(|_| 0));
    }

    /// The next of those choices.
    pub fn random() -> Option<u16> {
        next(&RANDOM)
    }

    /// The next wait.
    pub fn random_wait() -> Option<u16> {
        next(&WAITS)
    }

    fn next(state: &'static std::thread::LocalKey<Cell<Option<u64>>>) -> Option<u16> {
        let next = state
            .get()?
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        state.set(Some(next));
        Some((next >> 48) as u16)
    }

    /// Fills what makes a name unique with the next number, so that names sort as they were made,
    /// however long that took. False if chance is to choose.
    pub fn name_bytes(bytes: &mut [u8]) -> bool {
        let Some(number) = NAMES.get() else { return false };
        NAMES.set(Some(number + 1));
        let number = number.to_be_bytes();
        let length = bytes.len().min(number.len());
        bytes.fill(0);
        let end = bytes.len();
        bytes[end - length..].copy_from_slice(&number[number.len() - length..]);
        true
    }
}
