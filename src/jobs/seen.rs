//! Statuses as they were last read: a folder is parsed again only when it has changed.

use std::collections::BTreeMap;

use crate::model::{JobId, JobStatus};
use crate::observe::ErrorChain;

use super::Folder;
use super::folder::StatusVersion;

/// What was seen of each folder. One that cannot be read is remembered as such, so that it is said
/// once in the log and not at each look.
#[derive(Default)]
pub(super) struct Seen(BTreeMap<JobId, (Option<StatusVersion>, Option<JobStatus>)>);

impl Seen {
    /// The statuses of `folders` that can be read, in their order.
    pub(super) fn look(&mut self, folders: &[Folder]) -> Vec<JobStatus> {
        let mut before = std::mem::take(&mut self.0);
        for folder in folders {
            let version = folder.status_version();
            let status = match before.remove(folder.id()) {
                Some((known, status)) if known == version => status,
                _ => read(folder),
            };
            self.0.insert(folder.id().clone(), (version, status));
        }
        folders.iter().filter_map(|folder| self.0.get(folder.id())?.1.clone()).collect()
    }
}

fn read(folder: &Folder) -> Option<JobStatus> {
    let status = folder.status().inspect_err(|error| {
        tracing::warn!(job = %folder.id(), error = %ErrorChain(error), "unreadable job");
    });
    status.ok()
}
