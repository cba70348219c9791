//! What manifests were found to say in sum, so that a backup that grows is not read from its
//! beginning each time that another of its nodes has finished.

use std::sync::Arc;

use lru::LruCache;
use parking_lot::Mutex;

use crate::model::{BackupName, Fqdn};

use super::files_cache::Version;
use super::manifest_facts::ManifestFacts;

/// What all of them may take together; the one that was just put may take more.
const LIMIT: usize = 4 << 20;

/// What one takes beside the names of its keyspaces.
const EACH: usize = 256;

type Key = (BackupName, Fqdn);

/// Least recently used goes first.
#[derive(Default)]
pub(super) struct FactsCache {
    inner: Mutex<Inner>,
}

struct Inner {
    kept: LruCache<Key, (Version, Arc<ManifestFacts>)>,
    taken: usize,
}

impl Default for Inner {
    fn default() -> Self {
        Self { kept: LruCache::unbounded(), taken: 0 }
    }
}

impl Inner {
    fn remove(&mut self, key: &Key) {
        if let Some((_, facts)) = self.kept.pop(key) {
            self.taken = self.taken.saturating_sub(takes(&facts));
        }
    }
}

impl FactsCache {
    /// What is kept, if it is of this version.
    pub(super) fn get(&self, key: &Key, version: Version) -> Option<Arc<ManifestFacts>> {
        let mut inner = self.inner.lock();
        let (known, facts) = inner.kept.get(key)?;
        (*known == version).then(|| Arc::clone(facts))
    }

    pub(super) fn put(&self, key: Key, version: Version, facts: Arc<ManifestFacts>) {
        let mut inner = self.inner.lock();
        inner.remove(&key);
        inner.taken = inner.taken.saturating_add(takes(&facts));
        inner.kept.put(key, (version, facts));
        while inner.taken > LIMIT && inner.kept.len() > 1 {
            let Some((_, (_, facts))) = inner.kept.pop_lru() else { break };
            inner.taken = inner.taken.saturating_sub(takes(&facts));
        }
    }

    /// Lets go of backups that are no more.
    pub(super) fn keep_only(&self, is_there: impl Fn(&BackupName, &Fqdn) -> bool) {
        let mut inner = self.inner.lock();
        let all = inner.kept.iter().map(|(key, _)| key);
        let gone: Vec<Key> = all.filter(|(name, fqdn)| !is_there(name, fqdn)).cloned().collect();
        for key in gone {
            inner.remove(&key);
        }
    }
}

fn takes(facts: &ManifestFacts) -> usize {
    let names: usize = facts.keyspaces.iter().map(|name| name.len().saturating_add(48)).sum();
    names.saturating_add(EACH)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{EntryKind, Stat};
    use std::time::UNIX_EPOCH;

    #[test]
    fn an_enemy_s_thousand_manifests_take_no_more_than_the_limit() {
        let stat = Stat {
            kind: EntryKind::File,
            size: 1,
            blocks: 1,
            modified: UNIX_EPOCH,
            changed: UNIX_EPOCH,
            ino: 1,
            dev: 1,
            links: 1,
        };
        let cache = FactsCache::default();
        let key =
            |n: usize| (BackupName::parse(&format!("b{n}")).unwrap(), Fqdn::parse("n1").unwrap());
        for n in 0..1000 {
            let keyspaces = (0..200).map(|k| format!("{n}-{k}-{}", "x".repeat(200))).collect();
            let facts = ManifestFacts { keyspaces, ..ManifestFacts::default() };
            cache.put(key(n), Version::from(&stat), Arc::new(facts));
            assert!(cache.inner.lock().taken <= LIMIT);
        }
        assert!(cache.get(&key(999), Version::from(&stat)).is_some());
        assert!(cache.get(&key(0), Version::from(&stat)).is_none());
    }
}
