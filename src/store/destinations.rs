//! The stores of destinations beside the first.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::OnceCell;

use super::contract::Store;

/// See the module: by their names in the configuration. Cloning it copies little.
#[derive(Clone, Debug, Default)]
pub struct Destinations(BTreeMap<String, NamedStore>);

#[derive(Clone, Debug)]
struct NamedStore {
    store: Arc<dyn Store>,
    is_prepared: Arc<OnceCell<()>>,
}

impl Destinations {
    /// Those of `places`, none of which is prepared.
    pub fn new(places: impl IntoIterator<Item = (String, Arc<dyn Store>)>) -> Self {
        let other = |(name, store)| (name, NamedStore { store, is_prepared: Arc::default() });
        Self(places.into_iter().map(other).collect())
    }

    fn other(&self, name: &str) -> &NamedStore {
        self.0.get(name).expect("a configuration with a source of no destination is refused")
    }

    /// The store of what goes to the destination `name`; `first` is the store of what names none.
    pub fn of(&self, name: Option<&str>, first: &Arc<dyn Store>) -> Arc<dyn Store> {
        name.map_or_else(|| first.clone(), |name| self.other(name).store.clone())
    }

    /// Whether the destination `name` was prepared: set by a caller that has done so.
    pub(crate) fn is_prepared(&self, name: &str) -> &OnceCell<()> {
        &self.other(name).is_prepared
    }

    /// All of them, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Arc<dyn Store>)> {
        self.0.iter().map(|(name, other)| (name.as_str(), &other.store))
    }

    /// These, each as `change` makes it.
    #[must_use]
    pub fn map(self, change: impl Fn(Arc<dyn Store>) -> Arc<dyn Store>) -> Self {
        Self::new(self.0.into_iter().map(|(name, other)| (name, change(other.store))))
    }
}
