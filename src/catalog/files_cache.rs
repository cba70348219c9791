//! Files of node backups, as many as memory allows, those used last kept longest.

use std::sync::Arc;

use lru::LruCache;
use parking_lot::Mutex;

use crate::model::{BackupName, ByteSize, Fqdn};
use crate::store::Stat;

use super::NodeFiles;

/// Tells one version of a stored file from another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Version {
    ino: u64,
    size: u64,
    modified: std::time::SystemTime,
    changed: std::time::SystemTime,
}

impl From<&Stat> for Version {
    fn from(stat: &Stat) -> Self {
        let Stat { ino, size, modified, changed, .. } = *stat;
        Self { ino, size, modified, changed }
    }
}

type Key = (BackupName, Fqdn);

/// Least recently used goes first; counted in bytes.
pub(super) struct FilesCache {
    limit: ByteSize,
    inner: Mutex<Inner>,
}

struct Inner {
    kept: LruCache<Key, Kept>,
    bytes: u64,
}

struct Kept {
    version: Version,
    bytes: u64,
    files: Arc<NodeFiles>,
}

impl FilesCache {
    pub(super) fn new(limit: ByteSize) -> Self {
        Self { limit, inner: Mutex::new(Inner { kept: LruCache::unbounded(), bytes: 0 }) }
    }

    pub(super) fn limit(&self) -> ByteSize {
        self.limit
    }

    /// What is kept, if it is of this version; of whatever version if none is given.
    pub(super) fn get(&self, key: &Key, version: Option<Version>) -> Option<Arc<NodeFiles>> {
        let mut inner = self.inner.lock();
        let kept = inner.kept.get(key)?;
        if version.is_some_and(|version| version != kept.version) {
            return None;
        }
        Some(Arc::clone(&kept.files))
    }

    pub(super) fn put(&self, key: Key, version: Version, files: Arc<NodeFiles>) {
        let bytes = u64::try_from(files.heap_size()).unwrap_or(u64::MAX);
        let mut inner = self.inner.lock();
        if let Some(old) = inner.kept.put(key, Kept { version, bytes, files }) {
            inner.bytes = inner.bytes.saturating_sub(old.bytes);
        }
        inner.bytes = inner.bytes.saturating_add(bytes);
        // The one that was just put may stay alone, whatever it takes.
        while inner.bytes > self.limit.0 && inner.kept.len() > 1 {
            let Some((_, old)) = inner.kept.pop_lru() else { break };
            inner.bytes = inner.bytes.saturating_sub(old.bytes);
        }
    }

    /// All that is kept of a node.
    pub(super) fn of_node(&self, fqdn: &Fqdn) -> Vec<(BackupName, Arc<NodeFiles>)> {
        let inner = self.inner.lock();
        let of_node = inner.kept.iter().filter(|((_, node), _)| node == fqdn);
        of_node.map(|((name, _), kept)| (name.clone(), Arc::clone(&kept.files))).collect()
    }

    /// Lets go of backups that are no more.
    pub(super) fn keep_only(&self, is_there: impl Fn(&BackupName, &Fqdn) -> bool) {
        let mut inner = self.inner.lock();
        let gone: Vec<Key> = inner
            .kept
            .iter()
            .map(|(key, _)| key)
            .filter(|(name, fqdn)| !is_there(name, fqdn))
            .cloned()
            .collect();
        for key in gone {
            if let Some(old) = inner.kept.pop(&key) {
                inner.bytes = inner.bytes.saturating_sub(old.bytes);
            }
        }
    }

    /// What is kept, in bytes.
    pub(super) fn bytes(&self) -> ByteSize {
        ByteSize(self.inner.lock().bytes)
    }
}
