//! Where one node's backup goes in the store.

use crate::medusa::{IndexEntry, Layout, MetaFile};
use crate::model::{BackupName, Fqdn, ObjectKey};
use crate::store::{Store, StoreError};

use super::error::AgentError;
use super::protocol::FaultKind;
use super::task::Task;

/// A node's backup in a store: the same names for upload, publishing and withdrawal.
#[derive(Debug, Clone)]
pub(super) struct BackupPlace {
    pub(super) store: Store,
    pub(super) layout: Layout,
    /// The directory for this job's temporary files of this node, whichever agent's.
    pub(super) temporary: ObjectKey,
    /// This agent's own part of it.
    pub(super) drafts: ObjectKey,
    pub(super) node: Fqdn,
    pub(super) backup: BackupName,
}

impl BackupPlace {
    /// Where a finished upload's manifest waits to be published. It is there exactly as long as
    /// the backup lies whole on the share and is not in Medusa's index.
    pub(super) fn record(&self) -> Result<ObjectKey, AgentError> {
        Ok(self.layout.upload_record(&self.node, &self.backup)?)
    }

    /// A file of the backup's `meta`.
    pub(super) fn meta(&self, file: MetaFile) -> Result<ObjectKey, AgentError> {
        Ok(self.layout.meta_file(&self.node, &self.backup, file)?)
    }

    /// The directory that holds this backup and nothing else.
    pub(super) fn own_directory(&self) -> Result<ObjectKey, AgentError> {
        Ok(self.layout.node_backup(&self.node, &self.backup)?)
    }

    /// Whether anything of this backup stands where Medusa would see it.
    pub(super) fn is_begun(&self) -> Result<bool, AgentError> {
        Ok(self.has(&self.meta(MetaFile::Schema)?)? || self.is_published()?)
    }

    /// Whether its manifest is written: from there on it is a backup, and nothing takes it back.
    pub(super) fn is_published(&self) -> Result<bool, AgentError> {
        self.has(&self.meta(MetaFile::Manifest)?)
    }

    /// Whether there is such an object.
    pub(super) fn has(&self, key: &ObjectKey) -> Result<bool, AgentError> {
        match self.store.stat(key) {
            Ok(_) => Ok(true),
            Err(error) if error.is_not_found() => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Fails if the store has a backup of this name for this node, whoever began it.
    pub(super) fn must_be_new(&self) -> Result<(), AgentError> {
        if !self.is_begun()? {
            return Ok(());
        }
        let what = format!("the store has a backup {} of {} already", self.backup, self.node);
        Err(AgentError::wrong(
            FaultKind::Exists,
            what,
            "choose another name, or delete that backup",
        ))
    }

    /// Takes back what an upload put here and no manifest names: tells how many files that were.
    /// Files of the pool stay, for the next backup or the collector.
    pub(super) fn withdraw(&self, task: &Task) -> Result<u64, AgentError> {
        let is_ours = self.has(&self.record()?)?;
        if self.is_published()? || (!is_ours && self.is_begun()?) {
            let what = format!(
                "the backup {} of {} is published, or another program's at work",
                self.backup, self.node
            );
            return Err(AgentError::wrong(FaultKind::Exists, what, "delete it as a backup"));
        }
        let mut lives = || task.lives();
        let mut files = self.store.remove_tree_telling(&self.temporary, &mut lives)?;
        if is_ours {
            files += self.take_back_index()?;
        }
        files += self.store.remove_tree_telling(&self.own_directory()?, &mut lives)?;
        match self.store.remove(&self.record()?) {
            Ok(()) => files += 1,
            Err(error) if error.is_not_found() => {}
            Err(error) => return Err(error.into()),
        }
        Ok(files)
    }

    /// Removes what a publishing that died before its manifest left in the index.
    fn take_back_index(&self) -> Result<u64, AgentError> {
        let directory = self.layout.backup_index_of(&self.backup)?;
        let mut removed = 0;
        for name in or_empty(self.store.names(Some(&directory)))? {
            let entry = IndexEntry::parse(&name.name);
            if entry.is_some_and(|entry| entry.fqdn == self.node) {
                self.store.remove(&directory.join(&name.name)?)?;
                removed += 1;
            }
        }
        Ok(removed)
    }
}

/// A directory that may not be there is as good as an empty one.
pub(super) fn or_empty<T>(listed: Result<Vec<T>, StoreError>) -> Result<Vec<T>, StoreError> {
    match listed {
        Err(error) if error.is_not_found() => Ok(Vec::new()),
        other => other,
    }
}
