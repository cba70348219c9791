//! What the share remembers of nodes: `.medusafs/nodes.json`, and the names in its token maps.

use std::collections::BTreeMap;

use crate::medusa::{Layout, TOKENMAP_LIMIT, Tokenmap};
use crate::model::{Fqdn, JobId, ObjectKey, Token};
use crate::store::{Kind, Store, StoreError};

use super::{ClusterError, KnownNodes};

/// The most that is read of it: a hundred thousand nodes.
const LIMIT: u64 = 16 << 20;

impl KnownNodes {
    /// What jobs wrote down; nothing if nothing was. Blocks for as long as the share takes.
    ///
    /// # Errors
    ///
    /// What is there cannot be read: then nobody may go on as if for the first time, for a name
    /// would pass to another node without a word.
    pub fn read(store: &Store, layout: &Layout) -> Result<Self, ClusterError> {
        let Some(key) = key(layout) else { return Ok(Self::default()) };
        let bytes = match store.read(&key, LIMIT) {
            Err(error) if error.is_not_found() => return Ok(Self::default()),
            read => read.map_err(ClusterError::Unread)?,
        };
        serde_json::from_slice(&bytes).map_err(|source| ClusterError::Damaged {
            path: store.path().join(key.as_str()),
            source,
        })
    }

    /// Writes it down for the next job. Blocks for as long as the share takes.
    pub fn write(&self, store: &Store, layout: &Layout, job: &JobId) -> Result<(), StoreError> {
        let bug = || StoreError {
            kind: Kind::Failed,
            doing: "write",
            what: "nodes.json".to_owned(),
            source: None,
        };
        let key = key(layout).ok_or_else(bug)?;
        let temporary = layout.temporary(job).map_err(|_invalid| bug())?;
        let bytes = serde_json::to_vec_pretty(self).map_err(|_unwritable| bug())?;
        store.put_replacing(&temporary, &key, &bytes).map(drop)
    }
}

fn key(layout: &Layout) -> Option<ObjectKey> {
    layout.own().ok()?.join("nodes.json").ok()
}

/// The names under which the store has nodes, from the token map of each node's latest backup.
/// Blocks for as long as the share takes.
pub fn stored_names(store: &Store, layout: &Layout) -> BTreeMap<Vec<Token>, Fqdn> {
    let mut names = BTreeMap::new();
    let latest = layout.latest_backups().ok();
    let nodes = latest.and_then(|latest| store.names(Some(&latest)).ok()).unwrap_or_default();
    for node in nodes.iter().filter_map(|entry| Fqdn::parse(&entry.name).ok()) {
        let tokenmap = layout
            .latest_tokenmap(&node)
            .ok()
            .and_then(|key| store.read(&key, TOKENMAP_LIMIT.0).ok())
            .and_then(|bytes| Tokenmap::parse(&bytes).ok());
        // Only what a node said of itself: another's token map may have it by another name.
        if let Some(own) = tokenmap.as_ref().and_then(|tokenmap| tokenmap.get(&node)) {
            let mut tokens = own.tokens.clone();
            tokens.sort_unstable();
            names.insert(tokens, node);
        }
    }
    names
}
