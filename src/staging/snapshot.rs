//! A snapshot of one node, as far as copying it needs to know.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::model::BackupName;
use crate::model::Fqdn;
use crate::model::ObjectKey;

use super::content::Wanted;

/// The files beside the keyspaces in a snapshot's directory. The first one names all the others.
pub const METADATA: [&str; 4] =
    ["manifest.json", "schema.cql", "server_version.json", "tokenmap.json"];

/// The one that fixes which snapshot a set is.
pub(super) const MANIFEST: &str = "manifest.json";

/// One node's part of one backup.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SnapshotId {
    /// The backup.
    pub backup: BackupName,
    /// The node whose data it is, which need not be the one it is restored on.
    pub node: Fqdn,
}

impl std::fmt::Display for SnapshotId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "backup {} of {}", self.backup, self.node)
    }
}

/// A stored object that a tool copies from without reading it, or links to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// The object.
    pub key: ObjectKey,
    /// Its size in bytes.
    pub size: u64,
    /// The node whose object it is, by where it lies.
    pub node: Fqdn,
    /// The only backup that can name it; none for an object of the pool, which many share.
    pub backup: Option<BackupName>,
}

/// The files of a snapshot, with the metadata files that its directory shows beside them.
///
/// A place is a number from 0 to `len`, the same for the same file as long as the value lives.
pub trait Contents: Send + Sync {
    /// How many files there are.
    fn len(&self) -> usize;
    /// True if there are none, which no snapshot is: it has its manifest.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// Files that the manifest names and that cannot be shown, so that no set of it can be whole.
    fn unshown(&self) -> u64 {
        0
    }
    /// The place of `KEYSPACE/TABLE/FILE`, `KEYSPACE/TABLE/.INDEX/FILE` or a metadata file.
    fn find(&self, path: &str) -> Option<usize>;
    /// What stands there: its path below the snapshot's directory, and the object.
    fn at(&self, place: usize) -> Option<(String, Wanted)>;
}

/// [`Contents`] from a plain map.
#[derive(Debug, Clone, Default)]
pub struct Listing {
    paths: BTreeMap<Arc<str>, usize>,
    files: Vec<(Arc<str>, Wanted)>,
}

impl Listing {
    /// Takes paths below the snapshot's directory; the last of two with the same path counts.
    pub fn new(files: impl IntoIterator<Item = (String, Wanted)>) -> Self {
        let files: BTreeMap<Arc<str>, Wanted> =
            files.into_iter().map(|(path, wanted)| (Arc::from(path), wanted)).collect();
        let files: Vec<_> = files.into_iter().collect();
        let paths =
            files.iter().enumerate().map(|(place, (path, _))| (Arc::clone(path), place)).collect();
        Self { paths, files }
    }
}

impl Contents for Listing {
    fn len(&self) -> usize {
        self.files.len()
    }

    fn find(&self, path: &str) -> Option<usize> {
        self.paths.get(path).copied()
    }

    fn at(&self, place: usize) -> Option<(String, Wanted)> {
        self.files.get(place).map(|(path, wanted)| (path.to_string(), wanted.clone()))
    }
}
