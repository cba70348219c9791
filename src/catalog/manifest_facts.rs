//! What a manifest says in sum, for judging a backup without keeping its files.

use std::collections::BTreeSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::Read;

use crate::medusa::{FormatError, Layout, ManifestVisitor, Mode, RecordedHash, read_manifest};
use crate::model::{BackupName, ByteSize, Fqdn, Keyspace, ObjectKey, TableDirectory};

use super::node_files_builder::{is_index, snapshot_of};

/// More than any cluster has; a manifest made to fill the memory is not followed.
const MOST_KEYSPACES: usize = 10_000;

/// So many files are looked through for two with one name: 16 bytes each, while it is read.
const MOST_NAMES: usize = 1 << 20;

/// What a manifest says in sum.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct ManifestFacts {
    pub(super) files: u64,
    pub(super) size: ByteSize,
    pub(super) keyspaces: BTreeSet<String>,
    /// None if it names no file, which any mode may.
    pub(super) mode: Option<Mode>,
    pub(super) refused: u64,
}

impl ManifestFacts {
    pub(super) fn read(
        manifest: impl Read,
        layout: &Layout,
        fqdn: &Fqdn,
        backup: &BackupName,
    ) -> Result<Self, FormatError> {
        let mut counting = Counting {
            facts: Self::default(),
            objects: 0,
            names: Vec::new(),
            of_section: 0,
            snapshot: snapshot_of(backup),
            layout,
            fqdn,
            pool: layout.pool(fqdn).ok().map(|pool| format!("{pool}/")),
        };
        read_manifest(manifest, &mut counting)?;
        let collisions = collisions(counting.names);
        let mut facts = counting.facts;
        facts.refused = facts.refused.saturating_add(collisions);
        Ok(facts)
    }

    /// True if it is a backup of nothing.
    pub(super) fn is_empty(&self) -> bool {
        self.files == 0
    }
}

struct Counting<'a> {
    facts: ManifestFacts,
    /// Of the section that is being read.
    objects: u64,
    /// Hashes of each file's name below its table, and of where it lies.
    names: Vec<(u64, u64)>,
    /// From here on they are of the section that is being read, and its table is not known yet.
    of_section: usize,
    snapshot: String,
    layout: &'a Layout,
    fqdn: &'a Fqdn,
    pool: Option<String>,
}

impl Counting<'_> {
    fn name(&mut self, key: &ObjectKey, size: u64) {
        let Some((directory, name)) = key.as_str().rsplit_once('/') else { return };
        if self.names.len() >= MOST_NAMES {
            return;
        }
        let last = directory.rsplit('/').next().unwrap_or_default();
        if is_index(last, &self.snapshot) {
            self.names.push((hash_of(&(last, name)), hash_of(&(key.as_str(), size))));
            // Nor may a file be called as the index's directory is.
            self.names.push((hash_of(&("", last)), 0));
        } else {
            self.names.push((hash_of(&("", name)), hash_of(&(key.as_str(), size))));
        }
    }
}

fn hash_of(thing: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    thing.hash(&mut hasher);
    hasher.finish()
}

/// How many have the name of another that is not the same file.
fn collisions(mut names: Vec<(u64, u64)>) -> u64 {
    names.sort_unstable();
    names.dedup();
    let is_taken = |pair: &&[(u64, u64)]| matches!(pair, [(one, _), (other, _)] if one == other);
    u64::try_from(names.windows(2).filter(is_taken).count()).unwrap_or(u64::MAX)
}

impl ManifestVisitor for Counting<'_> {
    fn object(&mut self, path: &str, size: u64, _hash: RecordedHash) {
        self.objects = self.objects.saturating_add(1);
        self.facts.size.0 = self.facts.size.0.saturating_add(size);
        match self.layout.object_of(self.fqdn, path) {
            Ok(key) => {
                let is_pool =
                    self.pool.as_deref().is_some_and(|pool| key.as_str().starts_with(pool));
                if is_pool || self.facts.mode.is_none() {
                    self.facts.mode = Some(Mode::of_marker(is_pool));
                }
                self.name(&key, size);
            }
            Err(_) => self.facts.refused = self.facts.refused.saturating_add(1),
        }
    }

    fn section(&mut self, keyspace: &str, columnfamily: &str) {
        let objects = std::mem::take(&mut self.objects);
        let table = hash_of(&(keyspace, columnfamily));
        for (name, _) in self.names.iter_mut().skip(self.of_section) {
            *name = hash_of(&(table, *name));
        }
        self.of_section = self.names.len();
        self.facts.files = self.facts.files.saturating_add(objects);
        let known = self.facts.keyspaces.len();
        if Keyspace::parse(keyspace).is_err()
            || TableDirectory::parse(columnfamily).is_err()
            || known >= MOST_KEYSPACES
        {
            self.facts.refused = self.facts.refused.saturating_add(objects.max(1));
        } else if !self.facts.keyspaces.contains(keyspace) {
            self.facts.keyspaces.insert(keyspace.to_owned());
        }
    }
}
