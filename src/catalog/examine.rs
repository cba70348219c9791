//! Is a backup whole? What its token maps, manifests and schemas say.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::Read;
use std::sync::Arc;

use crate::medusa::{
    FormatError, IndexFile, Layout, MANIFEST_LIMIT, MODE_MARKERS, MetaFile, Mode, TOKENMAP_LIMIT,
    Tokenmap, keyspaces_with_tables,
};
use crate::model::{BackupName, Fqdn, ObjectKey};
use crate::observe::ErrorChain;
use crate::store::{Stat, Store, StoreError};

use super::facts_cache::FactsCache;
use super::files_cache::Version;
use super::index_scan::is_its_own;
use super::manifest_facts::ManifestFacts;
use super::state::{Found, FoundNode, Sum, Verdict};
use super::{CatalogError, Completeness, Reason};

/// The largest `schema.cql` that is read.
pub(super) const SCHEMA_LIMIT: u64 = 64 << 20;

/// More than any ring has; a token map made to fill the memory is not followed.
const MOST_NODES: usize = 10_000;

/// So many keyspaces that lack are told by name.
const NAMED: usize = 10;

/// Looks into one backup.
pub(super) struct Examiner<'a> {
    pub(super) store: &'a Store,
    pub(super) layout: &'a Layout,
    pub(super) facts: &'a FactsCache,
    pub(super) name: &'a BackupName,
}

/// What a stored file says, or why it says nothing: in words that follow "the manifest of n1".
type Said<T> = Result<Result<T, String>, CatalogError>;

impl Examiner<'_> {
    /// Complete or not, and why not. An error only if the share does not answer.
    pub(super) fn verdict(&self, found: Arc<Found>) -> Result<Verdict, CatalogError> {
        let mut reasons = Vec::new();
        let mut sums = BTreeMap::new();
        let ring = match self.ring(&found)? {
            Ok(ring) => Some(Arc::new(ring)),
            Err(reason) => {
                reasons.push(reason);
                None
            }
        };
        let wanted: Vec<&Fqdn> = match &ring {
            Some(ring) => ring.iter().collect(),
            None => found.keys().collect(),
        };
        let missing: Vec<Fqdn> =
            wanted.iter().filter(|fqdn| !found.contains_key(**fqdn)).copied().cloned().collect();
        let is_open = |fqdn: &Fqdn| found.get(fqdn).is_some_and(|node| node.finished.is_none());
        let unfinished: Vec<Fqdn> =
            wanted.iter().filter(|fqdn| is_open(fqdn)).copied().cloned().collect();
        if !missing.is_empty() {
            reasons.push(Reason::Missing(missing));
        }
        if !unfinished.is_empty() {
            reasons.push(Reason::Unfinished(unfinished));
        }
        for (fqdn, node) in found.iter().filter(|(_, node)| node.finished.is_some()) {
            let is_wanted = wanted.contains(&fqdn);
            match self.facts(fqdn, node)? {
                Ok(said) => {
                    if is_wanted {
                        self.judge(fqdn, node, &said.1, &mut reasons)?;
                    }
                    let (mode, said) = (said.0, &said.1);
                    let sum = Sum { mode, files: said.files, size: said.size };
                    sums.insert(fqdn.clone(), sum);
                }
                Err(reason) if is_wanted => reasons.push(reason),
                Err(_) => {}
            }
        }
        let state = if reasons.is_empty() {
            Completeness::Complete
        } else {
            Completeness::Incomplete(reasons)
        };
        Ok(Verdict { basis: found, state, ring, sums })
    }

    /// Is there something of every keyspace that the schema has?
    fn judge(
        &self,
        fqdn: &Fqdn,
        node: &FoundNode,
        facts: &ManifestFacts,
        reasons: &mut Vec<Reason>,
    ) -> Result<(), CatalogError> {
        if facts.is_empty() {
            reasons.push(Reason::Empty(fqdn.clone()));
            return Ok(());
        }
        if facts.refused > 0 {
            reasons.push(Reason::Refused { node: fqdn.clone(), count: facts.refused });
        }
        match self.schema(fqdn, node.is_indexed)? {
            Ok(schema) => {
                let mut keyspaces = keyspaces_with_tables(&schema);
                keyspaces.retain(|keyspace| !facts.keyspaces.contains(keyspace));
                if !keyspaces.is_empty() {
                    let count = keyspaces.len();
                    let keyspaces = keyspaces.into_iter().take(NAMED).collect();
                    let node = fqdn.clone();
                    reasons.push(Reason::LacksKeyspaces { node, keyspaces, count });
                }
            }
            Err(why) => reasons.push(Reason::NoSchema { node: fqdn.clone(), why }),
        }
        Ok(())
    }

    /// The ring, by the token map of the node that began first, and by those of the nodes that it
    /// lacks: each names its own data centre only.
    fn ring(&self, found: &Found) -> Result<Result<BTreeSet<Fqdn>, Reason>, CatalogError> {
        let mut order: Vec<(&Fqdn, &FoundNode)> = found.iter().collect();
        order.sort_by_key(|(fqdn, node)| (node.started, *fqdn));
        let mut ring = BTreeSet::new();
        for (fqdn, node) in order {
            if ring.contains(fqdn) {
                continue;
            }
            match self.tokenmap(fqdn, node.is_indexed)? {
                Ok(map) => ring.extend(map.nodes().map(|(fqdn, _)| fqdn.clone())),
                Err(why) => return Ok(Err(Reason::NoRing { node: fqdn.clone(), why })),
            }
            if ring.len() > MOST_NODES {
                let why = format!("names more than {MOST_NODES} nodes");
                return Ok(Err(Reason::NoRing { node: fqdn.clone(), why }));
            }
        }
        if ring.is_empty() {
            let node = found.keys().next().cloned();
            let why = "names no node".to_owned();
            return Ok(match node {
                Some(node) => Err(Reason::NoRing { node, why }),
                None => Ok(ring),
            });
        }
        Ok(Ok(ring))
    }

    /// A node's token map.
    pub(super) fn tokenmap(&self, fqdn: &Fqdn, is_indexed: bool) -> Said<Tokenmap> {
        let keys = self.copies(fqdn, MetaFile::Tokenmap, is_indexed)?;
        self.first_good(&keys, |file, _| {
            let what = "tokenmap";
            let bytes = read_up_to(file, TOKENMAP_LIMIT.0, what)?;
            Tokenmap::parse(&bytes)
        })
    }

    /// A node's schema.
    pub(super) fn schema(&self, fqdn: &Fqdn, is_indexed: bool) -> Said<String> {
        let keys = self.copies(fqdn, MetaFile::Schema, is_indexed)?;
        self.first_good(&keys, |file, _| {
            let bytes = read_up_to(file, SCHEMA_LIMIT, "schema")?;
            let text = String::from_utf8(bytes).ok().filter(|text| !text.is_empty());
            text.ok_or(FormatError::NoText { what: "schema" })
        })
    }

    /// What a node's manifest says in sum, and its mode: by its files, or by the marker beside it.
    fn facts(
        &self,
        fqdn: &Fqdn,
        node: &FoundNode,
    ) -> Result<Result<(Mode, Arc<ManifestFacts>), Reason>, CatalogError> {
        let keys = self.copies(fqdn, MetaFile::Manifest, node.is_indexed)?;
        // The index outlives what it tells of; its copy of a manifest proves nothing alone.
        let meta = match self.store.names(Some(&self.layout.meta(fqdn, self.name)?)) {
            Err(error) if is_its_own(&error) => {
                return Ok(Err(Reason::DirectoryGone(fqdn.clone())));
            }
            other => other?,
        };
        let is_marked = meta.iter().any(|entry| MODE_MARKERS.contains(&&*entry.name));
        let place = (self.name.clone(), fqdn.clone());
        let said = self.first_good(&keys, |file, stat| {
            let version = Version::from(stat);
            if let Some(facts) = self.facts.get(&place, version) {
                return Ok(facts);
            }
            let limit = MANIFEST_LIMIT;
            if stat.size > limit.0 {
                return Err(FormatError::TooLarge { what: "manifest", limit });
            }
            let facts = Arc::new(ManifestFacts::read(file, self.layout, fqdn, self.name)?);
            self.facts.put(place.clone(), version, Arc::clone(&facts));
            Ok(facts)
        })?;
        let mode = |facts: &ManifestFacts| facts.mode.unwrap_or(Mode::of_marker(is_marked));
        let said = said.map(|facts| (mode(&facts), facts));
        Ok(said.map_err(|why| Reason::NoManifest { node: fqdn.clone(), why }))
    }

    /// Where a file of `meta` lies, and its copy in the index.
    pub(super) fn copies(
        &self,
        fqdn: &Fqdn,
        file: MetaFile,
        is_indexed: bool,
    ) -> Result<Vec<ObjectKey>, CatalogError> {
        let mut keys = vec![self.layout.meta_file(fqdn, self.name, file)?];
        let copy = match file {
            MetaFile::Manifest => Some(IndexFile::Manifest),
            MetaFile::Schema => Some(IndexFile::Schema),
            MetaFile::Tokenmap => Some(IndexFile::Tokenmap),
            MetaFile::ServerVersion => None,
        };
        if let Some(copy) = copy.filter(|_| is_indexed) {
            keys.push(self.layout.index_file(self.name, fqdn, copy)?);
        }
        Ok(keys)
    }

    /// What the first of several copies says that can be read.
    fn first_good<T>(
        &self,
        keys: &[ObjectKey],
        read: impl Fn(File, &Stat) -> Result<T, FormatError>,
    ) -> Said<T> {
        let mut why = "is gone".to_owned();
        for key in keys {
            match self.store.open_with_stat(key) {
                Ok((file, stat)) => match read(file, &stat) {
                    Ok(said) => return Ok(Ok(said)),
                    Err(FormatError::Read { source, .. }) if is_of_the_share(&source) => {
                        return Err(StoreError::while_using("read", key, source).into());
                    }
                    Err(error) => why = format!("cannot be read: {}", ErrorChain(&error)),
                },
                Err(error) if error.is_not_found() => {}
                Err(error) if is_its_own(&error) => {
                    why = format!("cannot be read: {}", ErrorChain(&error));
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(Err(why))
    }
}

/// True unless it is one bad spot: a file that a disk cannot give is damaged, not unavailable.
fn is_of_the_share(error: &std::io::Error) -> bool {
    error.raw_os_error() != Some(libc::EIO)
}

fn read_up_to(file: File, limit: u64, what: &'static str) -> Result<Vec<u8>, FormatError> {
    let mut bytes = Vec::new();
    file.take(limit.saturating_add(1))
        .read_to_end(&mut bytes)
        .map_err(|source| FormatError::Read { what, source })?;
    if u64::try_from(bytes.len()).map_or(true, |len| len > limit) {
        let limit = crate::model::ByteSize(limit);
        return Err(FormatError::TooLarge { what, limit });
    }
    Ok(bytes)
}
