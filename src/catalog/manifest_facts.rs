//! What a manifest says in sum, for judging a backup without keeping its files.

use std::collections::BTreeSet;
use std::io::Read;

use crate::medusa::{FormatError, Layout, ManifestVisitor, Mode, RecordedHash, read_manifest};
use crate::model::{ByteSize, Fqdn, Keyspace, TableDirectory};

/// More than any cluster has; a manifest made to fill the memory is not followed.
const MOST_KEYSPACES: usize = 100_000;

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
    ) -> Result<Self, FormatError> {
        let mut counting = Counting {
            facts: Self::default(),
            objects: 0,
            layout,
            fqdn,
            pool: layout.pool(fqdn).ok().map(|pool| format!("{pool}/")),
        };
        read_manifest(manifest, &mut counting)?;
        Ok(counting.facts)
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
    layout: &'a Layout,
    fqdn: &'a Fqdn,
    pool: Option<String>,
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
            }
            Err(_) => self.facts.refused = self.facts.refused.saturating_add(1),
        }
    }

    fn section(&mut self, keyspace: &str, columnfamily: &str) {
        let objects = std::mem::take(&mut self.objects);
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
