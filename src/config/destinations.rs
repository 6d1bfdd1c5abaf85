//! Destinations beside the first, and which of them each source names: `[destinations.NAME]`,
//! `destination` and `container` of a source.

use std::collections::BTreeMap;
use std::path::Path;

use super::destination::{Destination, beside, check_container, place_key};
use super::faults::Faults;
use super::keys;
use super::text::{Environment, RawSection};
use crate::model::printable;
use crate::settings::{Section, SettingError, closest, listed};

/// What a source says of where its blobs go.
#[derive(Clone, Debug)]
pub enum WantedDestination {
    /// Nothing: to `[destination]`.
    First,
    /// To `[destinations.NAME]`.
    Named(String, SettingError),
    /// To another container of the account of `[destination]`.
    Container(String, SettingError),
}

/// Reads `destination` and `container` of a source. The errors are what it is told if the name
/// turns out to be wrong.
pub(crate) fn wanted(section: &Section) -> Result<WantedDestination, SettingError> {
    match (section.text("destination")?, section.text("container")?) {
        (None, None) => Ok(WantedDestination::First),
        (Some(name), None) => {
            let shown = printable(name.as_bytes());
            Ok(WantedDestination::Named(
                name,
                section.error("destination", format!("is \"{shown}\"")),
            ))
        }
        (None, Some(name)) => {
            check_container(section, &name)?;
            let error = section.error(
                "container",
                "needs a storage account, and `[destination]` names a folder; allowed is \
                `destination = \"NAME\"` with `[destinations.NAME]`",
            );
            Ok(WantedDestination::Container(name, error))
        }
        (Some(_), Some(_)) => {
            Err(section.error("container", "stands beside `destination`; allowed is one of both"))
        }
    }
}

/// The destinations beside the first, by name.
#[derive(Debug, Default)]
pub(crate) struct NamedDestinations(BTreeMap<String, Destination>);

impl NamedDestinations {
    /// Reads the tables of `raw`, each as `first` unless it says otherwise. They lie apart from
    /// each other, from `first` and from `state`: two names for one place would each be taken for
    /// another's.
    pub fn read(
        raw: BTreeMap<String, RawSection>,
        (first, state): (&Destination, Option<&Destination>),
        (file, folder): (&str, &Path),
        environment: &Environment,
        faults: &mut Faults,
    ) -> Self {
        let mut named = Self::default();
        for (name, raw) in raw {
            let whole = format!("destinations.{}", printable(name.as_bytes()));
            let RawSection { line, entries, .. } = raw;
            let section =
                Section::new(file, &whole, line.max(1), entries, keys::DESTINATION.to_vec());
            let read = section.and_then(|section| {
                let place = beside(&section, first, folder, environment)?;
                let others = named.0.iter().map(|(other, place)| {
                    (format!("`[destinations.{}]`", printable(other.as_bytes())), place)
                });
                let first = ("`[destination]`".to_owned(), first);
                let state = state.map(|state| ("`[state]`".to_owned(), state));
                let met = others.chain([first]).chain(state).find(|(_, other)| place.meets(other));
                match met {
                    None => Ok(place),
                    Some((other, _)) => Err(section.error(
                        place_key(&section),
                        format!("is the place of {other}, or one lies in the other"),
                    )),
                }
            });
            if let Some(place) = faults.take(read) {
                named.0.insert(name, place);
            }
        }
        named
    }

    /// The name of the destination that a source wants; `None` is the first.
    pub fn of(
        &mut self,
        wanted: WantedDestination,
        (first, state): (&Destination, Option<&Destination>),
    ) -> Result<Option<String>, SettingError> {
        match wanted {
            WantedDestination::First => Ok(None),
            WantedDestination::Named(name, _) if self.0.contains_key(&name) => Ok(Some(name)),
            WantedDestination::Named(name, error) => {
                let names: Vec<&str> = self.0.keys().map(String::as_str).collect();
                let hint = match closest(&name, &names) {
                    Some(near) => format!("did you mean `{near}`?"),
                    None if names.is_empty() => "there is no `[destinations.NAME]`".to_owned(),
                    None => format!("allowed are {}", listed(&names)),
                };
                Err(SettingError { problem: format!("{}; {hint}", error.problem), ..error })
            }
            WantedDestination::Container(name, error) => {
                let Some(place) = first.with_container(&name) else { return Err(error) };
                if place.meets(first) {
                    return Ok(None);
                }
                if state.is_some_and(|state| place.meets(state)) {
                    let problem = "is the place of `[state]`".to_owned();
                    return Err(SettingError { problem, ..error });
                }
                let same = self.0.iter().find(|(_, other)| place.meets(other));
                if let Some((name, _)) = same {
                    return Ok(Some(name.clone()));
                }
                // No name in a file holds a blank and a colon in this place by chance.
                let key = format!("container: {name}");
                self.0.insert(key.clone(), place);
                Ok(Some(key))
            }
        }
    }

    /// The destination called `name`; `first` is that of no name.
    pub fn place<'a>(&'a self, name: Option<&str>, first: &'a Destination) -> &'a Destination {
        name.and_then(|name| self.0.get(name)).unwrap_or(first)
    }

    /// All of them.
    pub(crate) fn into_places(self) -> BTreeMap<String, Destination> {
        self.0
    }
}
