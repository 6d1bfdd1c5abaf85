//! Where blobs go, by the flags of `init` and by what a person answers.

use crate::cli::init_refused::{InitRefused, unusable};
use crate::cli::init_text::InitDestination;

/// What the flags say of the destination.
pub(crate) struct DestinationFlags {
    pub account: Option<String>,
    pub container: Option<String>,
    pub connection_string: Option<String>,
    pub sas: Option<String>,
    pub folder: Option<String>,
}

/// Where blobs go, by the flags and by what a person answers.
pub fn destination(
    flags: DestinationFlags,
    ask: &mut dyn FnMut(&str, &str) -> Option<String>,
) -> Result<InitDestination, InitRefused> {
    let DestinationFlags { account, container, connection_string, sas, folder } = flags;
    if let Some(folder) = folder {
        return Ok(InitDestination::Folder(folder));
    }
    let named = |container: Option<String>| {
        container.ok_or_else(|| unusable("which container?\nhint: `--container landing`"))
    };
    if let Some(variable) = connection_string {
        return Ok(InitDestination::ConnectionString { variable, container: named(container)? });
    }
    if let Some(account) = account {
        let container = named(container)?;
        return Ok(match sas {
            Some(variable) => InitDestination::Sas { account, variable, container },
            None => InitDestination::Azure { account, container },
        });
    }
    if container.is_some() {
        return Err(unusable("`--container` needs `--account` or `--connection-string-env`"));
    }
    let Some(account) = ask("Storage account (empty: a local folder)", "") else {
        let folder = ask("Local folder", "ingested").unwrap_or_else(|| "ingested".into());
        return Ok(InitDestination::Folder(folder));
    };
    let container = ask("Container", "landing").unwrap_or_else(|| "landing".into());
    let string = "Environment variable that holds a connection string (empty: none)";
    if let Some(variable) = ask(string, "") {
        return Ok(InitDestination::ConnectionString { variable, container });
    }
    let sas =
        "Environment variable that holds a shared access signature (empty: a managed identity)";
    Ok(match ask(sas, "") {
        Some(variable) => InitDestination::Sas { account, variable, container },
        None => InitDestination::Azure { account, container },
    })
}
