//! Backups that the index has lost: found by their `meta` directories.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::medusa::{Layout, MODE_MARKERS, MetaFile, TimeSources};
use crate::model::{BackupName, Fqdn};
use crate::store::{EntryKind, Store};

use super::CatalogError;
use super::files_cache::Version;
use super::index_scan::{is_its_own, is_quiet, written};
use super::state::{Found, FoundBackups, FoundNode};

/// Remembers each node's directory, and which of its names are no backups.
#[derive(Default)]
pub(super) struct UnindexedScan {
    nodes: BTreeMap<Fqdn, NodeDirectory>,
    was_cut: bool,
}

struct NodeDirectory {
    version: Version,
    is_settled: bool,
    names: Vec<BackupName>,
    /// Purged backups leave their directories behind, empty, for ever.
    dismissed: BTreeSet<BackupName>,
}

impl UnindexedScan {
    /// What lies in the store and is not in `indexed`. Looks into at most `limit` directories; if
    /// that was not enough, also true, and the next scan goes on with the others.
    ///
    /// Costs one listing for each node, and one more for each name in it that is not indexed.
    pub(super) fn scan(
        &mut self,
        store: &Store,
        layout: &Layout,
        indexed: &FoundBackups,
        limit: usize,
    ) -> Result<(FoundBackups, bool), CatalogError> {
        self.list_nodes(store, layout)?;
        let mut found = BTreeMap::<BackupName, Found>::new();
        let (mut looked, mut is_cut) = (0, false);
        for (fqdn, directory) in &mut self.nodes {
            for name in &directory.names {
                let is_known = indexed.get(name).is_some_and(|nodes| nodes.contains_key(fqdn));
                if is_known || directory.dismissed.contains(name) {
                    continue;
                }
                if looked >= limit {
                    is_cut = true;
                    break;
                }
                looked += 1;
                match look(store, layout, fqdn, name)? {
                    Some(node) => {
                        found.entry(name.clone()).or_default().insert(fqdn.clone(), node);
                    }
                    None => {
                        directory.dismissed.insert(name.clone());
                    }
                }
            }
        }
        self.was_cut = is_cut;
        let found = found.into_iter().map(|(name, nodes)| (name, Arc::new(nodes))).collect();
        Ok((found, is_cut))
    }

    fn list_nodes(&mut self, store: &Store, layout: &Layout) -> Result<(), CatalogError> {
        let listed = match store.list(layout.top().as_ref()) {
            Err(error) if error.is_not_found() => Vec::new(),
            other => other?,
        };
        let newest = listed.iter().map(|entry| entry.stat.modified).max();
        let mut nodes = BTreeMap::new();
        for entry in listed {
            // Servers show their snapshots under such names, and medusafs's own is one.
            let is_node = entry.stat.kind == EntryKind::Directory
                && !entry.name.starts_with('.')
                && entry.name != "index";
            let Some(fqdn) = Fqdn::parse(&entry.name).ok().filter(|_| is_node) else { continue };
            let version = Version::from(&entry.stat);
            let old = self.nodes.remove(&fqdn);
            let is_unchanged = old.as_ref().is_some_and(|old| old.version == version);
            let dismissed = match old {
                Some(old) if is_unchanged && old.is_settled => {
                    nodes.insert(fqdn, old);
                    continue;
                }
                // One that has changed is looked into anew, but not before the first look is over.
                Some(old) if is_unchanged || self.was_cut => old.dismissed,
                _ => BTreeSet::new(),
            };
            let names = match store.names(Some(&layout.node(&fqdn)?)) {
                Err(error) if is_its_own(&error) => continue,
                other => other?,
            };
            let names = names
                .into_iter()
                .filter(|entry| entry.kind == EntryKind::Directory && entry.name != "data")
                .filter_map(|entry| BackupName::parse(&entry.name).ok())
                .collect();
            let is_settled = is_quiet(entry.stat.modified, newest);
            nodes.insert(fqdn, NodeDirectory { version, is_settled, names, dismissed });
        }
        self.nodes = nodes;
        Ok(())
    }
}

/// A node backup by its `meta` alone; none if there is neither schema nor manifest in it.
fn look(
    store: &Store,
    layout: &Layout,
    fqdn: &Fqdn,
    name: &BackupName,
) -> Result<Option<FoundNode>, CatalogError> {
    let names = match store.names(Some(&layout.meta(fqdn, name)?)) {
        Err(error) if is_its_own(&error) => return Ok(None),
        other => other?,
    };
    let has = |file: &str| names.iter().any(|entry| entry.name == file);
    let time = |file: MetaFile| {
        let is_there = has(file.name());
        if is_there { written(store, &layout.meta_file(fqdn, name, file)?) } else { Ok(None) }
    };
    let meta_manifest = time(MetaFile::Manifest)?;
    // Without a schema Medusa would not know of it; its manifest still tells what it holds.
    let meta_schema = time(MetaFile::Schema)?.or(meta_manifest);
    let times = TimeSources { meta_schema, meta_manifest, ..TimeSources::default() }.times();
    Ok(times.started.map(|started| FoundNode {
        started,
        finished: times.finished,
        is_marked_differential: MODE_MARKERS.into_iter().any(has),
        is_indexed: false,
    }))
}
