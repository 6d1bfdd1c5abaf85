//! `blobferry serve`: the Functions handler, or with `--status` the status page on this machine.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::runtime::Handle;
use tokio::sync::Mutex;

use super::console;
use crate::app::configured::{CONFIG, Configured};
use crate::app::exporter;
use crate::app::open::{self, OpenedConfig};
use crate::app::secrets;
use crate::app::stores;
use crate::app::unusable::Unusable;
use crate::app::work_queue;
use crate::config::key_vault::VaultValues;
use crate::config::text::Environment;
use crate::config::{self, Config, QUEUE};
use crate::handler::host::APP_ROOT;
use crate::handler::page::local::Local;
use crate::handler::renewal::Renewal;
use crate::handler::resources::{NotReady, QueueWork, Ready, RunResources};
use crate::handler::{console as lines, server};
use crate::history::arrivals_cache::ArrivalsCache;
use crate::ledger::LedgerCache;
use crate::model::redactor::Redactor;
use crate::runtime::platform::Hosting;
use crate::store::queue::Queue;
use crate::telemetry::insights::Insights;
use crate::telemetry::lines::LineOut;
use crate::telemetry::{self, Console, Watched};

#[derive(Debug, clap::Args)]
pub(crate) struct ServeArguments {
    /// The configuration file; looked for beside host.json too.
    #[arg(long, value_name = "FILE", env = "BLOBFERRY_CONFIG", default_value = CONFIG)]
    config: PathBuf,
    /// Not the handler: show the status page to a browser on this machine, and print its address.
    #[arg(long)]
    status: bool,
    /// Where the status page listens on 127.0.0.1; 0 is any free port.
    #[arg(long, value_name = "PORT", default_value_t = 0, requires = "status")]
    port: u16,
}

impl ServeArguments {
    /// What holds where no command was given.
    pub(crate) fn none_given(environment: &Environment) -> Self {
        Self {
            config: environment
                .get("BLOBFERRY_CONFIG")
                .map_or(crate::app::configured::CONFIG, String::as_str)
                .into(),
            status: false,
            port: 0,
        }
    }
}

pub async fn serve(arguments: ServeArguments, environment: &Environment) -> u8 {
    if arguments.status {
        return status(arguments, environment).await;
    }
    let of_load = environment.clone();
    let load = move || {
        let config = found(arguments.config.clone(), &of_load);
        ready(config.clone(), &of_load).map_err(|Unusable(reason)| {
            let may_pass =
                config::vault_needs(&config, &of_load).is_ok_and(|needs| needs.is_some());
            NotReady { reason, may_pass }
        })
    };
    let code = server::serve(environment, Box::new(load)).await;
    // Work that cannot be stopped, as a call of the operating system that hangs, must not hold up
    // the end.
    std::process::exit(i32::from(code))
}

/// Shows the status page until Ctrl-C.
async fn status(arguments: ServeArguments, environment: &Environment) -> u8 {
    let ready = match looked_at(arguments.config, environment).await {
        Ok(ready) => ready,
        Err(unusable) => return console::refuse(&unusable),
    };
    let shown = async {
        let local = Local::bind(ready, arguments.port).await?;
        console::data(&format!("{}\n", local.url()?));
        console::say("The status page is at this address until Ctrl-C.");
        tokio::select! {
            served = local.serve() => served,
            stopped = tokio::signal::ctrl_c() => stopped.map_err(|error| format!("waiting for \
                Ctrl-C: {error}")),
        }
    };
    match shown.await {
        Ok(()) => crate::cli::exit::WELL,
        Err(problem) => {
            console::say(&format!("error: {problem}\nhint: `--port 0` takes any free port"));
            crate::cli::exit::NOTHING
        }
    }
}

/// What the status page needs: it only reads, and writes no log files.
async fn looked_at(config: PathBuf, environment: &Environment) -> Result<Ready, Unusable> {
    let configured = Configured { config: found(config, environment), sources: Vec::new() };
    let OpenedConfig { config, store, destinations, redactor } =
        open::open(&configured, environment).await?;
    let mut log = config.log.clone();
    log.files = Some(false);
    let line_out = |_, line: &[u8]| console::say(String::from_utf8_lossy(line).trim_end());
    let telemetry = telemetry::start(
        &log,
        Console::Quiet,
        console::watched(),
        LineOut::new(line_out),
        &redactor,
    );
    let open = || Err("the status page starts no runs".to_owned());
    let limits = open::limits(&config.limits);
    Ok(Ready {
        sources: config.sources,
        store,
        destinations,
        open: Box::new(open),
        limits,
        work: None,
        queue: None,
        redactor,
        ledgers: LedgerCache::keeping(),
        arrivals: ArrivalsCache::keeping(),
        telemetry: Some(telemetry),
        insights: None,
        renewal: None,
    })
}

/// What lasts as long as the process, however often the configuration is read.
#[derive(Clone)]
struct LastingResources {
    redactor: Redactor,
    ledgers: LedgerCache,
    arrivals: ArrivalsCache,
    insights: Option<Arc<Insights>>,
}

/// Blocks until the configuration is read, key vaults included.
fn ready(config: PathBuf, environment: &Environment) -> Result<Ready, Unusable> {
    let configured = Configured { config, sources: Vec::new() };
    let config = Handle::current().block_on(open::config(&configured, environment))?;
    let redactor = secrets::redactor(&config);
    let mut log = config.log.clone();
    // The file system under the host is read-only, and the host keeps our lines.
    log.files = Some(log.files == Some(true));
    let made =
        |level, line: Vec<u8>| lines::made(level, &String::from_utf8_lossy(&line)).into_bytes();
    let line_out = LineOut::new(lines::write).made_by(made);
    // In Azure lines end up where programs search them; under Core Tools, on a developer's
    // terminal.
    let watched = if Hosting::of(environment).in_azure() { Watched::No } else { Watched::Yes };
    let (insights, warnings) = exporter::insights(&config, environment, &redactor);
    // The host sends our lines to Application Insights too, and each of them would be paid for
    // twice.
    let console = if insights.is_some() { Console::Quiet } else { Console::AsSet };
    let lasting = LastingResources {
        redactor,
        ledgers: LedgerCache::keeping(),
        arrivals: ArrivalsCache::keeping(),
        insights,
    };
    let vaults = config.vaults.clone();
    let mut ready = assembled(config, environment, &lasting)?;
    let telemetry = telemetry::start_with(
        &log,
        console,
        watched,
        line_out,
        &lasting.redactor,
        lasting.insights.as_ref(),
    );
    telemetry
        .warnings
        .iter()
        .chain(&warnings)
        .for_each(|warning| lines::say(tracing::Level::WARN, warning));
    ready.telemetry = Some(telemetry);
    ready.renewal =
        (!vaults.is_empty()).then(|| renewal(configured, environment.clone(), lasting, vaults));
    Ok(ready)
}

/// What a configuration names, opened. Does no I/O.
fn assembled(
    config: Config,
    environment: &Environment,
    lasting: &LastingResources,
) -> Result<Ready, Unusable> {
    open::must_allow_runs(&config)?;
    let (store, destinations) = stores::stores(&config)?;
    let work = work(&config, environment)?;
    let queue = match &work {
        Some(work) => Some(work.queue.clone()),
        None => listened_to(&config, environment),
    };
    let (of_ready, sources) = (open::limits(&config.limits), config.sources.clone());
    let open = move || {
        let (store, destinations) = stores::stores(&config).map_err(|Unusable(problem)| problem)?;
        Ok(RunResources { store, destinations, limits: open::limits(&config.limits) })
    };
    let LastingResources { redactor, ledgers, arrivals, insights } = lasting.clone();
    Ok(Ready {
        sources,
        store,
        destinations,
        open: Box::new(open),
        limits: of_ready,
        work,
        queue,
        redactor,
        ledgers,
        arrivals,
        insights,
        telemetry: None,
        renewal: None,
    })
}

/// Reads the configuration anew, with the secrets that key vaults hold then. What the log and the
/// exporter of telemetry work with stays as it was read first.
fn renewal(
    configured: Configured,
    environment: Environment,
    lasting: LastingResources,
    vaults: VaultValues,
) -> Renewal<Ready> {
    let of_all = Arc::new((configured, environment, lasting, Mutex::new(vaults)));
    Renewal::new(Box::new(move || {
        let of_all = of_all.clone();
        Box::pin(async move {
            let (configured, environment, lasting, vaults) = &*of_all;
            let mut known = vaults.lock().await;
            let read = open::config_after(configured, environment, &known).await;
            let config = read.map_err(|Unusable(problem)| problem)?;
            lasting.redactor.learn(&secrets::secrets(&config));
            known.clone_from(&config.vaults);
            assembled(config, environment, lasting).map_err(|Unusable(problem)| problem)
        })
    }))
}

/// The queue, if work goes by it.
fn work(config: &Config, environment: &Environment) -> Result<Option<QueueWork>, Unusable> {
    if !config.dispatch.by_queue.unwrap_or(Hosting::of(environment).in_azure()) {
        return Ok(None);
    }
    let settings = work_queue::queue_settings(config, environment)?;
    let open = move || work_queue::queue(&settings).map_err(|Unusable(problem)| problem);
    Ok(Some(QueueWork {
        queue: open().map_err(Unusable)?,
        open: Box::new(open),
        sizes: config.dispatch.sizes,
    }))
}

/// The queue that the host listens to though no work goes by it, if the settings tell where it is.
fn listened_to(config: &Config, environment: &Environment) -> Option<Arc<dyn Queue>> {
    environment.get(QUEUE).filter(|name| !name.is_empty())?;
    let settings = work_queue::queue_settings(config, environment).ok()?;
    work_queue::queue(&settings).ok()
}

/// The file as named, or the one beside host.json if there is none.
fn found(config: PathBuf, environment: &Environment) -> PathBuf {
    let beside = environment.get(APP_ROOT).map(|root| Path::new(root).join(&config));
    match beside {
        Some(beside) if !config.exists() && beside.exists() => beside,
        _ => config,
    }
}
