//! `blobferry demo`: the whole road on one machine, with embedded servers.

use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::console;
use super::exit::NOTHING;
use super::progress::{Bars, Colours};
use crate::app::open;
use crate::app::secrets;
use crate::app::stores;
use crate::app::unusable::Unusable;
use crate::config;
use crate::config::text::Environment;
use crate::demo::ftp::FtpServer;
use crate::demo::sftp::DemoSftpAccount;
use crate::demo::sftp::SftpServer;
use crate::demo::{files, ftp, sftp};
use crate::history::record::Trigger;
use crate::model::Secret;
use crate::report::Report;
use crate::run;
use crate::telemetry::Watched;
use crate::transfer::options::Options;
use crate::transfer::progress::{Progress, Silent};

#[derive(Debug, clap::Args)]
pub(crate) struct DemoArguments {
    /// Write into Azurite on this machine instead of a local folder.
    #[arg(long)]
    azurite: bool,
    /// Where blobs go as files.
    #[arg(long, value_name = "FOLDER", default_value = "demo-output", conflicts_with = "azurite")]
    output: PathBuf,
    /// Only keep the servers up, for other programs: ftp://user:password@localhost:2121 and sftp on
    /// port 2222.
    #[arg(long)]
    serve: bool,
    /// Serve this folder instead of generated files.
    #[arg(long, value_name = "FOLDER", requires = "serve")]
    root: Option<PathBuf>,
}

const USER: &str = "user";
const PASSWORD: &str = "password";

pub async fn demo(arguments: DemoArguments) -> u8 {
    let result = if arguments.serve { serve(arguments.root).await } else { show(&arguments).await };
    match result {
        Ok(code) => code,
        Err(error) => {
            console::say(&format!("error: {error:#}"));
            NOTHING
        }
    }
}

struct Servers {
    sftp: SftpServer,
    ftp: FtpServer,
}

async fn start(sftp_root: &Path, ftp_root: &Path, ports: (u16, u16)) -> Result<Servers> {
    let local = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let account = Some(DemoSftpAccount { user: USER.into(), password: Secret::new(PASSWORD) });
    let sftp_options = sftp::DemoSftpOptions {
        bind: local(ports.0),
        account,
        ..sftp::DemoSftpOptions::new(sftp_root)
    };
    let sftp = SftpServer::start(sftp_options)
        .await
        .with_context(|| format!("starting the SFTP server on port {}", ports.0))?;
    let ftp_options = crate::demo::ftp::shared::DemoFtpOptions {
        listen: local(ports.1),
        user: USER.into(),
        password: Secret::new(PASSWORD),
        ..ftp::DemoFtpOptions::new(ftp_root)
    };
    let ftp = FtpServer::start(ftp_options)
        .await
        .with_context(|| format!("starting the FTP server on port {}", ports.1))?;
    Ok(Servers { sftp, ftp })
}

async fn serve(root: Option<PathBuf>) -> Result<u8> {
    let folder = tempfile::tempdir().context("making a folder for generated files")?;
    let (sftp_root, ftp_root) = match &root {
        Some(root) => (root.clone(), root.clone()),
        None => generated(folder.path()).map(|(sftp, ftp, _)| (sftp, ftp))?,
    };
    let servers = start(&sftp_root, &ftp_root, (2222, 2121)).await?;
    console::say(&format!("ftp://{USER}:{PASSWORD}@localhost:{}", servers.ftp.address.port()));
    console::say(&format!(
        "sftp://{USER}:{PASSWORD}@localhost:{}   host_key = \"{}\"",
        servers.sftp.address.port(),
        servers.sftp.host_key
    ));
    console::say("Serving until Ctrl-C.");
    tokio::signal::ctrl_c().await.context("waiting for Ctrl-C")?;
    Ok(crate::cli::exit::WELL)
}

/// Folders for both servers, and the file that keeps growing.
fn generated(folder: &Path) -> Result<(PathBuf, PathBuf, PathBuf)> {
    let (sftp_root, ftp_root) = (folder.join("sftp"), folder.join("ftp"));
    let growing = files::sftp(&sftp_root).context("writing files for the SFTP server")?;
    files::ftp(&ftp_root).context("writing files for the FTP server")?;
    Ok((sftp_root, ftp_root, growing))
}

async fn show(arguments: &DemoArguments) -> Result<u8> {
    if !arguments.azurite {
        make_way(&arguments.output)?;
    }
    let folder = tempfile::tempdir().context("making a folder for generated files")?;
    let (sftp_root, ftp_root, growing) = generated(folder.path())?;
    let servers = start(&sftp_root, &ftp_root, (0, 0)).await?;
    let text = configuration(arguments, &servers);
    console::data(&format!(
        "# The configuration of this demo, as it would stand in ingest.toml:\n{text}\n"
    ));
    let writer = tokio::spawn(keep_writing(growing));
    console::data("# First run: everything is new.\n");
    let first = one_run(&text).await?;
    console::data(&first.to_string());
    if !arguments.azurite {
        let compared = compare(&sftp_root, &arguments.output.join("demo-sftp"))?
            + compare(&ftp_root, &arguments.output.join("demo-ftp"))?;
        console::data(&format!(
            "checked: {compared} files in {} that keep their plain names are byte for byte what \
            the servers hold\n",
            arguments.output.display()
        ));
    }
    console::data("\n# Second run: nothing to do.\n");
    let second = one_run(&text).await?;
    console::data(&second.to_string());
    writer.abort();
    console::data(&format!(
        "logins: {} by SFTP, {} by FTP\n",
        servers.sftp.logins(),
        servers.ftp.counts.logins.load(std::sync::atomic::Ordering::Relaxed)
    ));
    Ok(first.exit_code().max(second.exit_code()))
}

/// Removes the output of an earlier demo, and nothing else.
fn make_way(output: &Path) -> Result<()> {
    if !output.exists() {
        return Ok(());
    }
    if !output.join("_blobferry/demo-sftp").is_dir() {
        bail!(
            "`{}` exists and is not the output of an earlier demo: name another folder with \
            `--output`",
            output.display()
        );
    }
    std::fs::remove_dir_all(output)
        .with_context(|| format!("removing the output of an earlier demo, `{}`", output.display()))
}

fn configuration(arguments: &DemoArguments, servers: &Servers) -> String {
    let destination = if arguments.azurite {
        "connection_string = \"UseDevelopmentStorage=true\"\ncontainer = \"blobferry-demo\""
            .to_owned()
    } else {
        // A literal string keeps the backslashes of Windows.
        format!("folder = '{}'", arguments.output.display())
    };
    format!(
        r#"[destination]
{destination}

[[source]]
name = "demo-sftp"
url = "sftp://{USER}@localhost:{}/outbound"
password = "{PASSWORD}"
host_key = "{}"
stable_for = "1s"

[[source]]
name = "demo-ftp"
url = "ftp://{USER}:{PASSWORD}@localhost:{}/export"
stable_for = "1s"
"#,
        servers.sftp.address.port(),
        servers.sftp.host_key,
        servers.ftp.address.port()
    )
}

async fn one_run(text: &str) -> Result<Report> {
    let config = config::parse("ingest.toml", Path::new(""), text, &Environment::new())
        .context("reading the demo's own configuration")?;
    let (store, _) =
        stores::stores(&config).map_err(|Unusable(problem)| anyhow::anyhow!(problem))?;
    let progress: Arc<dyn Progress> = if console::watched() == Watched::Yes {
        Arc::new(Bars::new(config.sources.iter().map(|source| source.name.as_str()), Colours::No))
    } else {
        Arc::new(Silent)
    };
    let redactor = secrets::redactor(&config);
    let options =
        Options { redactor, progress, ..Options::new(store, open::limits(&config.limits)) };
    Ok(run::recorded(config.sources, options, Trigger::Command).await)
}

/// A sender that is not done yet.
async fn keep_writing(path: PathBuf) {
    let mut tick = tokio::time::interval(Duration::from_millis(200));
    loop {
        tick.tick().await;
        let appended = std::fs::OpenOptions::new()
            .append(true)
            .open(&path)
            .and_then(|mut file| file.write_all(b"another row\n"));
        if appended.is_err() {
            return;
        }
    }
}

/// Compares every file below the first sub-folder of `source` that has a plain name with its blob.
/// Returns how many there were.
fn compare(source: &Path, output: &Path) -> Result<usize> {
    let mut compared = 0;
    let mut folders: Vec<PathBuf> = subfolders(source)?;
    let roots = folders.clone();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder)? {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let below = roots
                .iter()
                .find_map(|root| path.strip_prefix(root).ok())
                .context("a file outside its root")?;
            let blob = output.join(below);
            if !blob.is_file() {
                continue;
            }
            if std::fs::read(&path)? != std::fs::read(&blob)? {
                bail!("`{}` differs from `{}`", blob.display(), path.display());
            }
            compared += 1;
        }
    }
    Ok(compared)
}

fn subfolders(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = std::fs::read_dir(folder)?.collect::<std::io::Result<Vec<_>>>()?;
    Ok(entries.into_iter().map(|entry| entry.path()).filter(|path| path.is_dir()).collect())
}
