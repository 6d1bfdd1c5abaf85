//! `[[server]]`: how many logins a server takes, whichever sources need them.

use std::collections::BTreeMap;

use crate::config::text::{RawSection, SERVER};
use crate::settings::{Section, SettingError, SettingKey, ValueKind};
use crate::source::shared_cap::SharedCap;
use crate::transfer::settings::Source;

/// The settings of a `[[server]]`.
pub(crate) const KEYS: &[SettingKey] = &[
    SettingKey {
        name: "host",
        kind: ValueKind::Text,
        doc: "Its name, as URLs of sources spell it.",
    },
    SettingKey {
        name: "port",
        kind: ValueKind::Integer { min: 1, max: 65_535 },
        doc: "Only sources at this port. Default: at any.",
    },
    SettingKey {
        name: "user",
        kind: ValueKind::Text,
        doc: "Only sources of this user. Default: all users together.",
    },
    SettingKey {
        name: "connections",
        kind: ValueKind::Integer { min: 1, max: 256 },
        doc: "Cap on logins at once, over all of these sources.",
    },
];

/// One table.
#[derive(Clone, Debug)]
pub struct ServerSettings {
    host: String,
    port: Option<u16>,
    user: Option<String>,
    connections: usize,
}

/// Whom a source logs in to, and as whom.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct LoginPlace {
    host: String,
    port: u16,
    user: String,
}

impl LoginPlace {
    /// Where `user` logs in at `address`, as `sftp://host:22`; `None` where nobody logs in.
    pub fn of(address: &str, user: Option<&str>) -> Option<Self> {
        let (scheme, place) = address.split_once("://")?;
        let (host, port) = place.rsplit_once(':')?;
        let host = host.trim_start_matches('[').trim_end_matches(']').to_ascii_lowercase();
        let user = user.unwrap_or("anonymous").to_owned();
        (scheme != "file").then_some(())?;
        Some(Self { host, port: port.parse().ok()?, user })
    }
}

/// Reads a table.
pub(crate) fn parse(raw: RawSection) -> Result<ServerSettings, SettingError> {
    let RawSection { file, line, entries, .. } = raw;
    let section = Section::new(&file, SERVER, line, entries, KEYS.to_vec())?;
    let needed = |key: &str| section.error(key, "is missing");
    Ok(ServerSettings {
        host: section.text("host")?.ok_or_else(|| needed("host"))?.to_ascii_lowercase(),
        port: section.integer("port")?.and_then(|port| u16::try_from(port).ok()),
        user: section.text("user")?,
        connections: section
            .integer("connections")?
            .map(|n| usize::try_from(n).unwrap_or(1))
            .ok_or_else(|| needed("connections"))?,
    })
}

impl ServerSettings {
    fn is_for(&self, place: &LoginPlace) -> bool {
        self.host == place.host
            && self.port.is_none_or(|port| port == place.port)
            && self.user.as_ref().is_none_or(|user| *user == place.user)
    }
}

/// Gives sources that log in at the same place one cap: that of the first `[[server]]` that is for
/// them, else the largest of their own. Returns what is to be told of tables that are for none.
pub(crate) fn share(
    servers: &[ServerSettings],
    sources: &mut [Source],
    places: &[Option<LoginPlace>],
) -> Vec<String> {
    /// Which table, or which place without one.
    type Group<'a> = (Option<usize>, Option<&'a LoginPlace>);
    let mut groups: BTreeMap<Group<'_>, Vec<usize>> = BTreeMap::new();
    for (at, place) in places.iter().enumerate() {
        let Some(place) = place else { continue };
        let table = servers.iter().position(|server| server.is_for(place));
        let group = (table, table.is_none().then_some(place));
        groups.entry(group).or_default().push(at);
    }
    for ((table, _), members) in &groups {
        let largest = members.iter().map(|at| sources[*at].connections).max().unwrap_or(1);
        let cap = table.map_or(largest, |table| servers[table].connections);
        if table.is_none() && members.len() == 1 {
            continue;
        }
        let shared = SharedCap::new(cap);
        for at in members {
            sources[*at].connections = sources[*at].connections.min(cap);
            sources[*at].shared_cap = Some(shared.clone());
        }
    }
    let idle = servers
        .iter()
        .enumerate()
        .filter(|(at, _)| !groups.keys().any(|(table, _)| *table == Some(*at)));
    idle.map(|(_, server)| format!("`[[server]]` of `{}` is for no source", server.host)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_host_port_and_user_whatever_the_protocol() {
        let place = |address: &str, user: Option<&str>| LoginPlace::of(address, user);
        assert_eq!(
            place("sftp://A.example:22", Some("u")),
            place("sftp://a.example:22", Some("u"))
        );
        assert_eq!(place("ftp://a:21", None), place("ftpes://a:21", Some("anonymous")));
        assert_ne!(place("sftp://a:22", Some("u")), place("sftp://a:22", Some("v")));
        assert_ne!(place("sftp://a:22", Some("u")), place("sftp://a:2222", Some("u")));
        assert_eq!(place("file:///srv/share:1", None), None);
        assert!(place("sftp://[::1]:22", Some("u")).is_some());
    }
}
