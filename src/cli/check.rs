//! `blobferry check`: step by step, what works and what does not, ending with what to mend or to
//! paste.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};
use std::time::Instant;

use futures_util::{StreamExt, stream};

mod destination;
mod file_system;
mod lines;
mod names;
mod probe;
mod rights;
mod source;

use super::console;
use super::exit::{NOTHING, WELL};
use crate::app::configured::Configured;
use crate::app::open::{self, OpenedConfig};
use crate::app::stores;
use crate::app::unusable::Unusable;
use crate::app::work_queue;
use crate::cli::check::lines::{CheckLine, CheckLines};
use crate::config::Config;
use crate::config::text::Environment;
use crate::ledger;
use crate::model::failure::Class;
use crate::model::number_of;
use crate::pass::destination::moved_from;
use crate::report::counted;
use crate::runtime::platform::Hosting;
use crate::runtime::retry::Policy;
use crate::source::pool::Pool;
use crate::source::shared_cap::CapMember;
use crate::store::contract::Store;
use crate::store::destinations::Destinations;
use crate::transfer::settings::Source;
use destination::CheckedPlace;
use lines::Form;

#[derive(Debug, clap::Args)]
pub(crate) struct CheckArguments {
    #[command(flatten)]
    configured: Configured,
    /// Print one JSON object a line.
    #[arg(long)]
    json: bool,
    /// Also log in again and again, until so many logins are open at once or one is refused. Ask
    /// the server's owner first.
    #[arg(long, value_name = "MOST", num_args = 0..=1, default_missing_value = "16",
        value_parser = clap::value_parser!(u16).range(2..=256))]
    probe_connections: Option<u16>,
}

pub async fn check(arguments: CheckArguments, environment: &Environment) -> u8 {
    let OpenedConfig { config, store, destinations, redactor } =
        match open::open(&arguments.configured, environment).await {
            Ok(opened) => opened,
            Err(unusable) => return console::refuse(&unusable),
        };
    let form = if arguments.json { Form::Json } else { Form::Text };
    let mut lines = CheckLines::new(form, redactor);
    let of = {
        let sources = number_of(config.sources.len(), "source");
        format!("`{}`: {sources}", arguments.configured.config.display())
    };
    lines.tell(CheckLine::ok("configuration", of));
    for note in &config.notes {
        lines.tell(CheckLine::note("configuration", note));
    }
    let place = Hosting::of(environment);
    let by_queue = config.dispatch.by_queue.unwrap_or(place.in_azure());
    lines.tell(CheckLine::ok("place", place.told(by_queue)));
    unresolved(&mut lines, environment);
    key_vaults(&mut lines, &config);
    if let Err(unusable) = places(&mut lines, &config, store.as_ref(), by_queue).await {
        return console::refuse(&unusable);
    }
    if by_queue {
        queue(&mut lines, &config, environment).await;
    }
    let destination_failed = lines.failed();
    let probed = arguments.probe_connections.map(usize::from);
    let on = config.sources.iter().filter(|source| source.enabled).count();
    let looks = SourceLooks { store: &store, destinations: &destinations, probed };
    let failed = check_sources(&mut lines, &config.sources, looks).await;
    lines.end();
    match lines.failed() {
        0 => WELL,
        // Without the one or the other end nothing can be done.
        _ if destination_failed > 0 || failed == on => NOTHING,
        _ => 1,
    }
}

/// Every place that blobs or state go to.
async fn places(
    lines: &mut CheckLines,
    config: &Config,
    store: &dyn Store,
    by_queue: bool,
) -> Result<(), Unusable> {
    let first = CheckedPlace::of(config, None);
    match &config.state {
        None => destination::check(lines, &first, store, by_queue).await,
        Some(state) => {
            let (blobs, of_state) =
                (stores::place(&config.destination)?, stores::place_of_state(state)?);
            destination::check_blobs(lines, &first, blobs.as_ref()).await;
            lines.tell(CheckLine::ok(
                "state",
                format!("in a place of its own, {}", of_state.address()),
            ));
            let state =
                CheckedPlace { section: "state".into(), destination: state, placements: vec![] };
            destination::check(lines, &state, of_state.as_ref(), by_queue).await;
        }
    }
    for name in config.destinations.keys() {
        let place = CheckedPlace::of(config, Some(name));
        let blobs = stores::place(place.destination)?;
        let text = format!("`{name}`, for blobs of some sources");
        lines.tell(CheckLine::ok("destination", crate::model::printable(text.as_bytes())));
        destination::check_blobs(lines, &place, blobs.as_ref()).await;
    }
    Ok(())
}

/// The queue that work goes by: made if it is not there, as the first request would make it.
async fn queue(lines: &mut CheckLines, config: &Config, environment: &Environment) {
    let start = Instant::now();
    let queue = match work_queue::queue_settings(config, environment)
        .and_then(|settings| work_queue::queue(&settings))
    {
        Ok(queue) => queue,
        Err(Unusable(problem)) => {
            return lines.tell(CheckLine::wrong("queue", Class::StoreRejected, problem));
        }
    };
    lines.tell(match rights::in_time(queue.prepare()).await {
        Ok(()) => {
            CheckLine::ok("queue", format!("{} is there", queue.address())).took(start.elapsed())
        }
        Err(error) => CheckLine::failed("queue", &error)
            .and("this is needed for work by the queue")
            .took(start.elapsed()),
    });
}

/// Key Vault references that the platform left as they stand. One that a setting needs has ended us
/// before; the others may be meant for something else, but are seldom meant to be so.
fn unresolved(lines: &mut CheckLines, environment: &Environment) {
    let names: Vec<&str> = environment
        .iter()
        .filter(|(_, value)| value.starts_with("@Microsoft.KeyVault("))
        .map(|(name, _)| name.as_str())
        .collect();
    if !names.is_empty() {
        let hint = "check the vault's and the secret's name, and that the app's identity has the \
            role `Key Vault Secrets User`";
        let names = crate::model::printable(names.join(", ").as_bytes());
        lines.tell(
            CheckLine::note(
                "environment",
                format!("Key Vault references that were not resolved: {names}"),
            )
            .hint(hint),
        );
    }
}

/// Key vaults that values are read from. What a refused secret costs, its source tells.
fn key_vaults(lines: &mut CheckLines, config: &Config) {
    let mut vaults: BTreeMap<&str, (usize, Vec<&str>)> = BTreeMap::new();
    for (secret, value) in &config.vaults {
        let (read, problems) = vaults.entry(&secret.vault).or_default();
        match value {
            Ok(_) => *read += 1,
            Err(_) => problems.push(&secret.name),
        }
    }
    for (vault, (read, problems)) in vaults {
        let text = format!("{vault}: {} read", number_of(read, "secret"));
        lines.tell(match &problems[..] {
            [] => CheckLine::ok("key vault", text),
            names => CheckLine::note("key vault", format!("{text}, not {}", names.join(", "))),
        });
    }
}

/// Sources that are looked at at once.
const AT_ONCE: usize = 64;
/// From so many sources on, those that are well are told in one line, and those that are not come
/// last.
const MANY: usize = 10;
/// So many sources are named where several are told together.
const NAMED: usize = 5;

/// Tells of all `sources`; `probed` is how many logins are tried at once at each, if any. Returns
/// how many sources failed.
async fn check_sources(
    lines: &mut CheckLines,
    sources: &[Source],
    looks: SourceLooks<'_>,
) -> usize {
    let on: Vec<&Source> = sources.iter().filter(|source| source.enabled).collect();
    let off: Vec<&str> = sources
        .iter()
        .filter(|source| !source.enabled)
        .map(|source| source.name.as_str())
        .collect();
    if !off.is_empty() {
        let text = format!("off by `enabled = false`: {}", named(&off));
        lines.tell(CheckLine::ok("sources", text));
    }
    // A person who counts the logins of a server is alone there.
    let at_once = if looks.probed.is_some() { 1 } else { AT_ONCE };
    let apart = lines.apart();
    if let [source] = on[..] {
        // A person who sets a source up sees each step when it is taken.
        let before = lines.failed();
        lines.about(Some(&source.name));
        looks.check(lines, source).await;
        lines.about(None);
        return usize::from(lines.failed() > before);
    }
    if on.len() < MANY || lines.are_json() {
        let mut failed = 0;
        let all: Vec<_> = on.iter().map(|source| looks.apart(&apart, source)).collect();
        let mut found = stream::iter(all).buffered(at_once);
        while let Some((_, own)) = found.next().await {
            failed += usize::from(own.failed() > 0);
            lines.add(own);
        }
        return failed;
    }
    // One that is slow keeps no other one waiting; those that may be silent begin first.
    let mut first = on.clone();
    first.sort_by_key(|source| source.endpoint.local(&source.root).is_some());
    let all: Vec<_> = first.iter().map(|source| looks.apart(&apart, source)).collect();
    let mut all: Vec<_> = stream::iter(all).buffer_unordered(at_once).collect().await;
    all.sort_by_cached_key(|(name, _)| on.iter().position(|source| source.name == *name));
    let failed = all.iter().filter(|(_, own)| own.failed() > 0).count();
    tell_many(lines, all);
    failed
}

/// The lines of one source, within the cap of its server.
/// How sources are looked at.
#[derive(Clone, Copy)]
struct SourceLooks<'a> {
    store: &'a Arc<dyn Store>,
    destinations: &'a Destinations,
    /// How many logins are tried at once, if any.
    probed: Option<usize>,
}

impl SourceLooks<'_> {
    /// A look at `source` beside others.
    async fn apart(self, apart: &CheckLines, source: &Source) -> (String, CheckLines) {
        let mut own = apart.of(&source.name);
        let nobody: Weak<dyn CapMember> = Weak::<Pool>::new();
        let _place = match &source.shared_cap {
            Some(cap) => Some(cap.place(&nobody, source.priority).await),
            None => None,
        };
        self.check(&mut own, source).await;
        (source.name.clone(), own)
    }

    async fn check(self, lines: &mut CheckLines, source: &Source) {
        self.place(lines, source).await;
        source::check(lines, source, self.probed).await;
    }

    /// Whether its blobs go to the place that its known files went to.
    async fn place(self, lines: &mut CheckLines, source: &Source) {
        let store = self.destinations.of(source.destination.as_deref(), self.store);
        let now = store.address().to_owned();
        // A ledger that cannot be read is told by what was tried at the destination.
        let policy = Policy { attempts: 1, ..Policy::default() };
        let found = ledger::moved_from(store, &source.name, policy).await;
        if let Ok(Some((before, files))) = found {
            let problem = moved_from(&before, files, &now);
            lines.tell(CheckLine::wrong("destination", problem.class, problem.message));
        }
    }
}

/// Well ones in one line, equal notes in one line each, those that failed last.
fn tell_many(lines: &mut CheckLines, all: Vec<(String, CheckLines)>) {
    let (bad, well): (Vec<_>, Vec<_>) = all.into_iter().partition(|(_, own)| own.failed() > 0);
    let mut notes: BTreeMap<(&str, &str), Vec<&str>> = BTreeMap::new();
    for (name, own) in &well {
        for (step, text) in own.notes() {
            let names = notes.entry((step, text)).or_default();
            if names.last() != Some(&name.as_str()) {
                names.push(name);
            }
        }
    }
    if !well.is_empty() {
        let text =
            format!("{} are well; `--source NAME` shows the steps of one", counted(well.len()));
        lines.tell(CheckLine::ok("sources", text));
    }
    for ((step, text), names) in &notes {
        lines.tell(CheckLine::note("sources", format!("{}: {step}: {text}", named(names))));
    }
    well.into_iter().for_each(|(_, own)| lines.count(own));
    bad.into_iter().for_each(|(_, own)| lines.add(own));
}

/// The first of `names`, and how many more there are.
fn named(names: &[&str]) -> String {
    let first = names[..names.len().min(NAMED)].join(", ");
    match names.len().saturating_sub(NAMED) {
        0 => first,
        more => format!("{first} and {} more", counted(more)),
    }
}
