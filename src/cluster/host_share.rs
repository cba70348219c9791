//! The store as this host sees it: leases and catalogs are read here, so it must be the nodes' own.

use std::path::Path;

use crate::agent::nonces_on;
use crate::medusa::Layout;
use crate::observe::ErrorChain;
use crate::store::{BlockingPool, Store};

use super::{Finding, SHARE_WITHIN};

/// The store below this host's `base_path`.
#[derive(Debug, Clone)]
pub struct HostShare {
    store: Store,
    layout: Layout,
    pool: BlockingPool,
}

impl HostShare {
    /// What `store` is here; `pool` has the threads that wait for it.
    pub fn new(store: Store, layout: Layout, pool: BlockingPool) -> Self {
        Self { store, layout, pool }
    }

    /// Where it lies here.
    pub(super) fn root(&self) -> &Path {
        self.store.path()
    }

    /// Those of the nodes' nonces that are there.
    pub(super) async fn read(&self, nonces: Vec<String>) -> Result<Vec<String>, Finding> {
        let (store, layout) = (self.store.clone(), self.layout.clone());
        let read = move || nonces_on(&store, &layout, &nonces);
        let doing = "for the share to show what nodes write";
        let why = match self.pool.run(SHARE_WITHIN, doing, read).await {
            Ok(Ok(found)) => return Ok(found),
            Ok(Err(fault)) => fault.what,
            Err(error) => ErrorChain(&error).to_string(),
        };
        let what = format!("this host cannot read {}: {why}", self.root().display());
        let remedy = "look whether the share is mounted here and its server is up";
        Err(Finding::error(None, what, remedy))
    }
}
