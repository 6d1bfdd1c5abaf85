//! The text of a new `ingest.toml`, or of one more source of it. Pure.

use std::fmt::Write as _;

/// What goes into the file.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Choice {
    pub name: String,
    pub url: String,
    pub scheme: String,
    pub login: InitLogin,
    pub host_key: Option<String>,
    pub destination: InitDestination,
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum InitLogin {
    None,
    Password(String),
    Key(String),
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum InitDestination {
    Folder(String),
    Azure {
        account: String,
        container: String,
    },
    /// By the variable that holds a connection string.
    ConnectionString {
        variable: String,
        container: String,
    },
    /// By the variable that holds a shared access signature.
    Sas {
        account: String,
        variable: String,
        container: String,
    },
}

/// A TOML string.
pub fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            c if c.is_control() => {
                write!(out, "\\u{:04X}", u32::from(c)).expect("writing to a String does not fail")
            }
            c => out.push(c),
        }
    }
    out + "\""
}

impl InitDestination {
    fn lines(&self) -> Vec<String> {
        let container = |container: &str| format!("container = {}", quoted(container));
        match self {
            Self::Folder(folder) => vec![
                format!(
                    "folder = {}                       # blobs as files, relative to this file",
                    quoted(folder)
                ),
                "# account = \"contosodata\"                 # or Azure Blob Storage, by a managed \
                    identity"
                    .into(),
                "# container = \"landing\"".into(),
            ],
            Self::Azure { account, container: name } => vec![
                format!(
                    "account = {}                     # by a managed identity with the role \
                    Storage Blob Data Contributor",
                    quoted(account)
                ),
                container(name),
                "# identity = \"cli\"                        # on a laptop, after `az login`"
                    .into(),
            ],
            Self::ConnectionString { variable, container: name } => vec![
                format!("connection_string = {{ env = {} }}", quoted(variable)),
                container(name),
            ],
            Self::Sas { account, variable, container: name } => vec![
                format!("account = {}", quoted(account)),
                format!("sas = {{ env = {} }}", quoted(variable)),
                container(name),
            ],
        }
    }

    /// The variable that holds its secret.
    pub fn variable(&self) -> Option<&str> {
        match self {
            Self::Folder(_) | Self::Azure { .. } => None,
            Self::ConnectionString { variable, .. } | Self::Sas { variable, .. } => Some(variable),
        }
    }
}

impl Choice {
    /// The whole file.
    pub fn text(&self) -> String {
        let mut lines = vec![
            "# blobferry: what to fetch, from where, and where it goes.".to_owned(),
            "# Every value can be read from the environment: password = { env = \"NAME\" }.".into(),
            "# `blobferry schema` prints a JSON Schema of this file. Unknown settings are refused."
                .into(),
            String::new(),
            "[destination]".into(),
        ];
        lines.extend(self.destination.lines());
        lines.extend([
            String::new(),
            "[limits]".into(),
            "# transfers = 256                         # files in flight".into(),
            "# memory = \"256 MiB\"                      # file content in memory at once".into(),
            String::new(),
        ]);
        lines.join("\n") + "\n" + &self.source()
    }

    /// The source alone, for a file that has others.
    pub fn source(&self) -> String {
        let mut lines = vec![
            String::new(),
            "[[source]]".into(),
            format!("name = {}", quoted(&self.name)),
            format!("url = {}", quoted(&self.url)),
        ];
        match &self.login {
            InitLogin::None => {}
            InitLogin::Password(variable) => {
                lines.push(format!("password = {{ env = {} }}", quoted(variable)))
            }
            InitLogin::Key(file) => lines.extend([
                format!("private_key_file = {}", quoted(file)),
                "# passphrase = { env = \"KEY_PASSPHRASE\" }".into(),
            ]),
        }
        match &self.host_key {
            Some(key) => lines.push(format!("host_key = {}", quoted(key))),
            None if self.scheme == "sftp" => {
                lines.push(
                    "# host_key = \"SHA256:…\"                   # `blobferry check` shows it; \
                    compare it with what the owner tells you"
                        .into(),
                );
            }
            None => {}
        }
        lines.extend(SOURCE.iter().map(|line| (*line).to_owned()));
        lines.join("\n") + "\n"
    }
}

const SOURCE: &[&str] = &[
    "# include = [\"**/*.zip\", \"/daily/*.csv\"]   # globs or exact paths below the URL's path; \
    default: everything",
    "# exclude = [\"**/tmp/**\"]",
    "# connections = 2                         # cap on logins at once",
    "# stable_for = \"60s\"                      # how long a file must rest before it is taken",
    "# marker = \".done\"                        # take X only when X.done is there",
    "# archives = \"unpack\"                     # keep: store them as they are; both",
    "# versions = \"keep\"                       # overwrite: a changed file replaces its blob",
    "# after = \"keep\"                          # delete, or \"move:/done\", once a file is \
    stored",
];
