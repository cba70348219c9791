//! What an entry of a manifest is called in the tree: the same for whoever shows, restores or only
//! counts it.

use crate::medusa::MetaFile;
use crate::model::{BackupName, Keyspace, ObjectKey, TableDirectory};

/// The table that a section of a manifest is about; none if no directory could hold it.
pub(super) fn table_of(keyspace: &str, columnfamily: &str) -> Option<(Keyspace, TableDirectory)> {
    // These stand beside the keyspaces in a node's directory.
    if keyspace == ".medusa" || MetaFile::of_name(keyspace).is_some() {
        return None;
    }
    Some((Keyspace::parse(keyspace).ok()?, TableDirectory::parse(columnfamily).ok()?))
}

/// An object, by where it lies and what it is called below its table.
#[derive(Debug, Clone, Copy)]
pub(super) struct Entry<'a> {
    /// Where it lies.
    pub(super) directory: &'a str,
    /// The secondary index whose directory that is. A table whose own directory looks like one has
    /// no index by that name.
    pub(super) index: Option<&'a str>,
    /// Its name.
    pub(super) name: &'a str,
}

/// Names the entries of one backup.
#[derive(Debug)]
pub(super) struct EntryNames {
    /// What the snapshot's directory was called: Medusa stores the files of a backup whose name
    /// ends in "nodes" in a directory of this name, below the table's.
    snapshot: String,
}

impl EntryNames {
    pub(super) fn new(backup: &BackupName) -> Self {
        Self { snapshot: format!("medusa-{backup}") }
    }

    /// None for a key of one name.
    pub(super) fn of<'a>(&self, key: &'a ObjectKey) -> Option<Entry<'a>> {
        let (directory, name) = key.as_str().rsplit_once('/')?;
        let last = directory.rsplit('/').next()?;
        let is_index = last.starts_with('.') || (last.ends_with("nodes") && last != self.snapshot);
        Some(Entry { directory, index: is_index.then_some(last), name })
    }
}
