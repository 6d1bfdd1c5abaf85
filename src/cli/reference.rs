//! `blobferry schema`: what the configuration file may hold, for editors as JSON Schema, for people
//! as Markdown.

use std::fmt::Write as _;

use super::console;
use crate::config::{expect, keys, schema, servers, tables};
use crate::settings::{SettingKey, ValueKind};
use crate::source::DRIVERS;

#[derive(Debug, clap::Args)]
pub(crate) struct ReferenceArguments {
    /// The same as a page for people, in Markdown.
    #[arg(long)]
    markdown: bool,
}

pub fn print(arguments: &ReferenceArguments) -> u8 {
    let text = if arguments.markdown { markdown() } else { format!("{:#}\n", schema::schema()) };
    console::data(&text)
}

fn markdown() -> String {
    let mut text = INTRODUCTION.to_owned();
    table(&mut text, "Top of the file", "Before all tables:", tables::TOP);
    write!(text, "\n## `include`\n\nAt the top of the file. {}\n", tables::INCLUDE).expect(WRITES);
    for one in tables::TABLES {
        table(&mut text, &format!("`[{}]`", one.name), one.about, one.keys);
    }
    table(&mut text, "`[destinations.NAME]`", tables::DESTINATIONS, keys::DESTINATION);
    table(&mut text, "`[[server]]`", tables::SERVER, servers::KEYS);
    write!(text, "\n## `[defaults]`\n\n{}\n", tables::DEFAULTS).expect(WRITES);
    table(
        &mut text,
        "`[[source]]`",
        "One for each place that files come from. `name` and `url` are needed.",
        keys::SOURCE,
    );
    table(
        &mut text,
        "`[[source.expect]]`",
        "Below a source: files that are to be there by a time. `name` and one of `by`, `cron` and \
        `max_age` are needed. [How to](landing-zone.md).",
        expect::KEYS,
    );
    for driver in DRIVERS.iter().filter(|driver| !driver.keys.is_empty()) {
        let schemes: Vec<String> =
            driver.schemes.iter().map(|scheme| format!("`{scheme}://`")).collect();
        table(
            &mut text,
            &format!("`[[source]]` with {}", schemes.join(", ")),
            "Beside the settings of every source:",
            driver.keys,
        );
    }
    text
}

const INTRODUCTION: &str = "\
# Configuration

Made by `blobferry schema --markdown`; a test keeps it so. \
The commented example is [ingest.toml](../ingest.toml).

The file is `ingest.toml`, or what `--config` or `BLOBFERRY_CONFIG` names. \
Unknown settings are refused.

- Every value can be read from the environment: `password = { env = \"ACME_PASSWORD\" }`.
- Every value can be read from an Azure key vault: \
`password = { keyvault = \"https://NAME.vault.azure.net/secrets/SECRET\" }`, \
with `/VERSION` behind it where it is to stay the same. `[keyvault]` tells who reads it. \
It is read when a run begins, by the app at most once a minute.
- Every setting can be overridden by it: `BLOBFERRY__DESTINATION__CONTAINER=landing`, \
`BLOBFERRY__SOURCE__ACME__PASSWORD=…` (a source's name in capitals, all but letters and digits \
as `_`), `BLOBFERRY__DEFAULTS__CONNECTIONS=2`. Sources in included files are reached in the same \
way. A list in the environment is written as in the file: \
`BLOBFERRY__SOURCE__ACME__INCLUDE='[\"a/**\", \"*.csv\"]'`; another text is a list of one.
- Sizes have units: `\"64 MiB\"`, `\"10 GB\"`. \
Durations too: `\"500ms\"`, `\"90s\"`, `\"15m\"`, `\"6h\"`, `\"7d\"`.
";

fn table(text: &mut String, title: &str, about: &str, keys: &[SettingKey]) {
    write!(text, "\n## {title}\n\n{about}\n\n| setting | value | meaning |\n|---|---|---|\n")
        .expect(WRITES);
    for key in keys {
        writeln!(text, "| `{}` | {} | {} |", key.name, kind(key.kind), key.doc.replace('|', "\\|"))
            .expect(WRITES);
    }
}

const WRITES: &str = "writing to a String does not fail";

fn kind(kind: ValueKind) -> String {
    match kind {
        ValueKind::Text => "text".into(),
        ValueKind::Secret => "secret".into(),
        ValueKind::Integer { min, max } => format!("number, {min} to {max}"),
        ValueKind::Size => "size".into(),
        ValueKind::Duration => "duration".into(),
        ValueKind::Flag => "`true`, `false`".into(),
        ValueKind::OneOf(words) => {
            words.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", ")
        }
        ValueKind::Secrets => "list of secrets".into(),
        ValueKind::List => "list of texts".into(),
        ValueKind::Pairs => "table of texts".into(),
    }
}
