//! Pools that the passes of a run share: sources that log in at one server in the same way.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, Weak};

use crate::source::contract::Endpoint;
use crate::source::pool::Pool;
use crate::source::shared_cap::SharedCap;

/// The pools of a run, by how they log in. A pool lives as long as a pass has it; what was refused
/// in a run is refused for all of its sources that log in in the same way, and forgotten after it.
#[derive(Debug, Default)]
pub struct SharedPools {
    pools: Mutex<HashMap<(String, usize), Weak<Pool>>>,
}

impl SharedPools {
    /// The pool of those who log in as `login` tells and want as many `connections`; the first of
    /// them decides about the priority `within` the cap.
    pub fn of(
        &self,
        (login, connections): (&str, usize),
        endpoint: &Arc<dyn Endpoint>,
        within: (Arc<SharedCap>, u64),
    ) -> Arc<Pool> {
        let key = (login.to_owned(), connections);
        let mut pools = self.pools.lock().expect("no code panics while it holds this lock");
        if let Some(pool) = pools.get(&key).and_then(Weak::upgrade) {
            return pool;
        }
        let pool = Pool::within(endpoint.clone(), connections, Some(within));
        pool.become_common();
        pools.insert(key, Arc::downgrade(&pool));
        pool
    }
}
