//! `blobferry init`: a commented `ingest.toml` from flags, or from a few questions on a terminal.

use std::fmt::Write as _;
use std::io::{self, BufRead, IsTerminal, Write};
use std::path::{Path, PathBuf};

use super::console;
use super::exit::NOTHING;
use crate::cli::init_destination::{DestinationFlags, destination};
use crate::cli::init_refused::{InitRefused, exists, unusable};
use crate::cli::init_text::{Choice, InitDestination, InitLogin};
use crate::config;
use crate::config::text::Environment;
use crate::model::chain;
use crate::settings::SourceUrl;

#[derive(Debug, Default, clap::Args)]
pub(crate) struct InitArguments {
    /// The file to write. One that is there already is left alone.
    #[arg(long, value_name = "FILE", env = "BLOBFERRY_CONFIG",
        default_value = crate::app::configured::CONFIG)]
    config: PathBuf,
    /// Where files come from: sftp://user@host/folder, ftp://, ftps://, ftpes:// or file:///folder.
    #[arg(long)]
    url: Option<String>,
    /// Name of the source. Default: made of the host's.
    #[arg(long)]
    name: Option<String>,
    /// The environment variable that holds the password. Default: made of the source's name, where
    /// there is a user.
    #[arg(long, value_name = "VARIABLE", conflicts_with = "private_key_file")]
    password_env: Option<String>,
    /// File with the private key of an SFTP user.
    #[arg(long, value_name = "FILE")]
    private_key_file: Option<String>,
    /// Fingerprint of the SFTP server's host key. Without it the first login is refused and shows
    /// the one it met.
    #[arg(long, value_name = "SHA256:…")]
    host_key: Option<String>,
    /// Storage account that blobs go to, reached by a managed identity; needs --container.
    #[arg(long, requires = "container", conflicts_with = "folder")]
    account: Option<String>,
    /// Container of the storage account.
    #[arg(long)]
    container: Option<String>,
    /// The environment variable that holds a connection string of the storage account; needs
    /// --container.
    #[arg(long, value_name = "VARIABLE", conflicts_with_all = ["account", "folder"])]
    connection_string_env: Option<String>,
    /// The environment variable that holds a shared access signature for --account.
    #[arg(long, value_name = "VARIABLE", requires = "account")]
    sas_env: Option<String>,
    /// A local folder that blobs go to as files. Default: ingested.
    #[arg(long)]
    folder: Option<String>,
    /// Replace a file that is there already.
    #[arg(long)]
    force: bool,
    /// Add the source to a file that is there already, and leave the rest of it as it is.
    #[arg(long, conflicts_with_all = ["force", "account", "folder", "connection_string_env"])]
    add: bool,
}

pub fn init(arguments: InitArguments) -> u8 {
    let asks = io::stdin().is_terminal() && io::stderr().is_terminal();
    match written(arguments, asks.then(|| io::stdin().lock())) {
        Ok(told) => console::data(&told),
        Err(InitRefused { code, text }) => {
            console::say(&format!("error: {text}"));
            code
        }
    }
}

fn written(arguments: InitArguments, person: Option<impl BufRead>) -> Result<String, InitRefused> {
    let (path, force) = (arguments.config.clone(), arguments.force);
    if arguments.add {
        return added(arguments, person);
    }
    if path.exists() && !force {
        return Err(exists(&path));
    }
    let choice = choose(arguments, person)?;
    let text = choice.text();
    choice.check(&path, &text)?;
    write(&path, &text, force)?;
    Ok(choice.next(&path))
}

/// One more source for a file that is there.
fn added(arguments: InitArguments, person: Option<impl BufRead>) -> Result<String, InitRefused> {
    let path = arguments.config.clone();
    let before = std::fs::read_to_string(&path).map_err(|error| {
        unusable(format!("reading `{}`: {error}\nhint: without `--add` it is made", path.display()))
    })?;
    let choice = choose(arguments, person)?;
    let text = before.trim_end().to_owned() + "\n" + &choice.source();
    choice.check(&path, &text)?;
    write(&path, &text, true)?;
    Ok(choice.next(&path))
}

fn write(path: &Path, text: &str, force: bool) -> Result<(), InitRefused> {
    let mut options = std::fs::OpenOptions::new();
    options.write(true);
    // Also when somebody else makes the file between our look and our writing, it is left alone.
    if force {
        options.create(true).truncate(true)
    } else {
        options.create_new(true)
    };
    match options.open(path).and_then(|mut file| file.write_all(text.as_bytes())) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Err(exists(path)),
        Err(error) => Err(InitRefused {
            code: NOTHING,
            text: format!("writing `{}`: {error}", path.display()),
        }),
    }
}

/// Asks `person`, if there is one, for what the flags leave open.
fn choose(
    arguments: InitArguments,
    mut person: Option<impl BufRead>,
) -> Result<Choice, InitRefused> {
    let mut ask = |question: &str, default: &str| -> Option<String> {
        let shown = if default.is_empty() { String::new() } else { format!(" [{default}]") };
        let reader = person.as_mut()?;
        let mut err = io::stderr().lock();
        // Without a standard error nobody sees the question, and the default holds.
        drop(write!(err, "{question}{shown}: ").and_then(|()| err.flush()));
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let line = line.trim();
        Some(if line.is_empty() { default } else { line }.to_owned())
            .filter(|line| !line.is_empty())
    };
    let asked_url = arguments.url.is_none();
    let url =
        arguments.url.or_else(|| ask("Where do files come from, as sftp://user@host/folder", ""));
    let url = url.ok_or_else(|| {
        unusable(
            "where do files come from?\nhint: `--url \
            sftp://user@host/folder`; `blobferry init --help` tells the rest",
        )
    })?;
    let parsed =
        SourceUrl::parse(&url).map_err(|problem| unusable(format!("the URL {problem}")))?;
    let suggested = source_name(&parsed);
    let name = arguments
        .name
        .or_else(|| {
            if asked_url { ask("Its name", &suggested).map(|name| legal(&name)) } else { None }
        })
        .unwrap_or(suggested);
    let by_ssh = parsed.scheme == "sftp";
    let login = match (arguments.private_key_file, arguments.password_env) {
        (Some(file), _) => InitLogin::Key(file),
        (None, Some(variable)) => InitLogin::Password(variable),
        (None, None) if parsed.user.is_some() || by_ssh => {
            let variable =
                format!("{}_PASSWORD", name.to_ascii_uppercase().replace(['-', '.'], "_"));
            match asked_url {
                true => asked_login(variable, by_ssh, &mut ask),
                false => InitLogin::Password(variable),
            }
        }
        (None, None) => InitLogin::None,
    };
    let host_key = "Fingerprint of its host key (empty: `blobferry check` shows it)";
    let host_key =
        arguments.host_key.or_else(|| if asked_url && by_ssh { ask(host_key, "") } else { None });
    let asks = asked_url && !arguments.add;
    let flags = DestinationFlags {
        account: arguments.account,
        container: arguments.container,
        connection_string: arguments.connection_string_env,
        sas: arguments.sas_env,
        folder: arguments.folder,
    };
    let destination = destination(flags, &mut |question, default| {
        if asks { ask(question, default) } else { None }
    })?;
    Ok(Choice {
        name,
        url: without_password(&url),
        scheme: parsed.scheme,
        login,
        host_key,
        destination,
    })
}

/// The login that a person chooses: a key, where the server speaks SSH, or a password.
fn asked_login(
    variable: String,
    by_ssh: bool,
    ask: &mut dyn FnMut(&str, &str) -> Option<String>,
) -> InitLogin {
    let file = "File of the private key (empty: a password)";
    if let Some(file) = by_ssh.then(|| ask(file, "")).flatten() {
        return InitLogin::Key(file);
    }
    let asked = ask("Environment variable that holds the password", &variable);
    InitLogin::Password(asked.unwrap_or(variable))
}

/// The URL without its password: a secret does not belong into the file.
fn without_password(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
    let end = rest.find('/').unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    match authority.rsplit_once('@') {
        Some((info, host)) => {
            format!("{scheme}://{}@{host}{path}", info.split(':').next().unwrap_or_default())
        }
        None => url.to_owned(),
    }
}

/// A legal name of a source: the telling part of the host's name, as `acme` of `sftp.acme.example`.
fn source_name(url: &SourceUrl) -> String {
    let labels: Vec<&str> = url
        .host
        .split('.')
        .filter(|label| !matches!(*label, "" | "sftp" | "ftp" | "ftps" | "www" | "files"))
        .collect();
    let label = if labels.iter().all(|label| label.bytes().all(|byte| byte.is_ascii_digit())) {
        labels.join("-")
    } else {
        labels[0].to_owned()
    };
    let label = if label.is_empty() {
        String::from_utf8_lossy(url.root.as_bytes())
            .rsplit('/')
            .next()
            .unwrap_or_default()
            .to_owned()
    } else {
        label
    };
    legal(&label)
}

/// A legal name of a source that is like `name`.
fn legal(name: &str) -> String {
    let legal: String = name
        .to_ascii_lowercase()
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() { c } else { '-' })
        .take(63)
        .collect();
    let legal = legal.trim_matches('-').to_owned();
    if legal.is_empty() { "source".into() } else { legal }
}

impl Choice {
    /// The program must be able to read what it wrote: a file that it would refuse is not written.
    fn check(&self, path: &Path, text: &str) -> Result<(), InitRefused> {
        let mut environment = Environment::new();
        if let InitLogin::Password(variable) = &self.login {
            environment.insert(variable.clone(), "a password".into());
        }
        if let Some(variable) = self.destination.variable() {
            let string = "DefaultEndpointsProtocol=https;AccountName=a;AccountKey=YQ==;\
                EndpointSuffix=core.windows.net";
            let is_sas = matches!(self.destination, InitDestination::Sas { .. });
            let value = if is_sas { "sv=2024-01-01&sig=c2ln" } else { string };
            environment.insert(variable.to_owned(), value.into());
        }
        // Other sources of the file may have secrets of their own.
        environment.extend(std::env::vars());
        let folder = path.parent().unwrap_or(Path::new(""));
        let read = config::parse("the new file", folder, text, &environment);
        read.map(|_| ())
            .map_err(|error| unusable(format!("{}\nhint: nothing was written", chain(&error))))
    }

    /// What to do next.
    fn next(&self, path: &Path) -> String {
        let mut text = format!("wrote {}\n", path.display());
        let config = if path == Path::new(crate::app::configured::CONFIG) {
            String::new()
        } else {
            format!(" --config {}", path.display())
        };
        if let InitLogin::Password(variable) = &self.login {
            let more = self.destination.variable();
            let more = more.map_or_else(String::new, |more| format!(", and {more}"));
            writeln!(text, "next: set {variable} to the password{more}, then")
                .expect("writing to a String does not fail");
        } else if let Some(variable) = self.destination.variable() {
            writeln!(text, "next: set {variable}, then")
                .expect("writing to a String does not fail");
        } else {
            text.push_str("next:\n");
        }
        text + &format!(
            "  blobferry check{config}    # what works, what to mend\n  blobferry plan{config}     \
            # what a run would do\n  blobferry run{config}\n"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Cursor;

    const NOBODY: Option<Cursor<&[u8]>> = None;

    fn flags(url: &str) -> InitArguments {
        InitArguments { url: Some(url.into()), ..InitArguments::default() }
    }

    /// The choice that these flags make, its text read back.
    fn check(arguments: InitArguments) -> Choice {
        let choice = choose(arguments, NOBODY).unwrap_or_else(|refused| panic!("{}", refused.text));
        choice
            .check(Path::new("ingest.toml"), &choice.text())
            .unwrap_or_else(|refused| panic!("{}\n{}", refused.text, choice.text()));
        choice
    }

    #[test]
    fn what_it_writes_is_what_it_reads() {
        let sftp = check(flags("sftp://ingest@sftp.acme.example:2222/outbound"));
        assert_eq!(
            (sftp.name.as_str(), &sftp.login),
            ("acme", &InitLogin::Password("ACME_PASSWORD".into()))
        );
        let azure = InitArguments {
            account: Some("contosodata".into()),
            container: Some("landing".into()),
            ..flags("ftp://ftp.example.com")
        };
        let azure = check(azure);
        assert_eq!((azure.login, azure.name.as_str()), (InitLogin::None, "example"));
        assert_eq!(check(flags("file:///srv/In Box")).name, "in-box");
        assert_eq!(check(flags("ftps://u@10.0.0.7/x")).name, "10-0-0-7");
        assert_eq!(
            check(InitArguments { folder: Some("C:\\a \"b\"\n".into()), ..flags("ftp://x") })
                .destination,
            InitDestination::Folder("C:\\a \"b\"\n".into())
        );
    }

    #[test]
    fn every_commented_setting_is_one() {
        let choice = check(flags("sftp://u@h.example/"));
        let lines = choice
            .text()
            .lines()
            .map(|line| {
                line.strip_prefix("# ")
                    .filter(|line| line.contains(" = ") && !line.contains('`'))
                    .map_or(line.to_owned(), str::to_owned)
            })
            .collect::<Vec<_>>();
        // Two ways to a store at once would be refused, and so is a fingerprint that is none.
        let text = lines
            .iter()
            .filter(|line| {
                !["account", "container", "host_key", "Every"]
                    .iter()
                    .any(|key| line.starts_with(key))
            })
            .cloned()
            .collect::<Vec<_>>()
            .join("\n");
        assert!(text.contains("\nmarker = ") && text.contains("\ntransfers = 256"), "{text}");
        choice
            .check(Path::new("ingest.toml"), &text)
            .unwrap_or_else(|refused| panic!("{}\n{text}", refused.text));
    }

    #[test]
    fn a_password_in_the_url_stays_out_of_the_file() {
        let choice = check(flags("sftp://me:s3cret%40@h.example/in"));
        assert!(
            !choice.text().contains("s3cret") && choice.url == "sftp://me@h.example/in",
            "{}",
            choice.text()
        );
        assert_eq!(choice.login, InitLogin::Password("H_PASSWORD".into()));
    }

    #[test]
    fn a_person_is_asked_for_what_is_open() {
        let answers = "ftps://acme@ftp.acme.example/out\n\nSECRET\ncontosodata\nraw\n";
        let choice = choose(InitArguments::default(), Some(Cursor::new(answers)))
            .unwrap_or_else(|refused| panic!("{}", refused.text));
        assert_eq!(
            (choice.name.as_str(), &choice.login),
            ("acme", &InitLogin::Password("SECRET".into()))
        );
        assert_eq!(
            choice.destination,
            InitDestination::Azure { account: "contosodata".into(), container: "raw".into() }
        );
        let nothing = choose(InitArguments::default(), Some(Cursor::new("")))
            .map(|_| ())
            .map_err(|refused| refused.code);
        assert_eq!(nothing, Err(crate::cli::exit::UNUSABLE));
    }

    #[test]
    fn a_person_is_asked_for_a_key_a_host_key_and_the_way_to_the_storage() {
        let key = "SHA256:dr4oVPjHqsJr3pU2yrdnx3xlnyA5lCKXQLR3RBcejTQ";
        let answers = format!(
            "sftp://u@sftp.acme.example/out\nAcme Corp\n/keys/id\n{key}\ncontoso\nraw\n\nMY_SAS\n"
        );
        let choice = choose(InitArguments::default(), Some(Cursor::new(answers)))
            .unwrap_or_else(|refused| panic!("{}", refused.text));
        assert_eq!(
            (choice.name.as_str(), &choice.login),
            ("acme-corp", &InitLogin::Key("/keys/id".into()))
        );
        assert_eq!(choice.host_key.as_deref(), Some(key));
        let (account, container) = ("contoso".to_owned(), "raw".to_owned());
        let sas = InitDestination::Sas { account, variable: "MY_SAS".into(), container };
        assert_eq!(choice.destination, sas);
        assert!(choice.text().contains("sas = { env = \"MY_SAS\" }"), "{}", choice.text());
        let by_string = check(InitArguments {
            connection_string_env: Some("STORAGE".into()),
            container: Some("landing".into()),
            ..flags("file:///in")
        });
        assert!(by_string.text().contains("connection_string = { env = \"STORAGE\" }"));
    }

    #[test]
    fn a_second_source_is_added_and_the_rest_stays_as_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ingest.toml");
        let first = InitArguments { config: path.clone(), ..flags("file:///in") };
        assert!(written(first, NOBODY).is_ok());
        let before = std::fs::read_to_string(&path).unwrap();
        let add = || InitArguments {
            config: path.clone(),
            add: true,
            name: Some("second".into()),
            ..flags("file:///other")
        };
        written(add(), NOBODY).unwrap_or_else(|refused| panic!("{}", refused.text));
        let after = std::fs::read_to_string(&path).unwrap();
        assert!(after.starts_with(before.trim_end()) && after.contains("name = \"second\""));
        assert_eq!(after.matches("[destination]").count(), 1);
        assert!(
            written(add(), NOBODY).is_err_and(|told| told.text.contains("nothing was written"))
        );
        assert_eq!(std::fs::read_to_string(&path).unwrap(), after, "two of one name are refused");
    }

    #[test]
    fn a_file_that_is_there_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ingest.toml");
        let arguments =
            |force| InitArguments { config: path.clone(), force, ..flags("file:///in") };
        assert!(written(arguments(false), NOBODY).is_ok());
        std::fs::write(&path, "mine").unwrap();
        assert!(
            written(arguments(false), NOBODY)
                .is_err_and(|refused| refused.text.contains("--force"))
        );
        assert!(write(&path, "theirs", false).is_err(), "also when it came in between");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "mine");
        assert!(written(arguments(true), NOBODY).is_ok());
        assert!(std::fs::read_to_string(&path).unwrap().contains("file:///in"));
        let bad = InitArguments {
            config: folder.path().join("other.toml"),
            name: Some("No Name".into()),
            ..flags("file:///in")
        };
        assert!(
            written(bad, NOBODY).is_err_and(|refused| refused.text.contains("nothing was written"))
        );
        assert!(!folder.path().join("other.toml").exists());
    }
}
