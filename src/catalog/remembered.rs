//! What was read once and need not be read again after a restart.
//!
//! All of it stands beside the version (inode, size, times) of the file or directory that said it,
//! and counts only while the share still has that very version: an old memory, or one of another
//! store, costs a second look and no more.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::model::{BackupName, Fqdn};

use super::files_cache::Version;
use super::manifest_facts::ManifestFacts;
use super::state::FoundNode;

/// Written first; another one is not read.
const VERSION: u32 = 1;

#[derive(Default, Serialize, Deserialize)]
pub(super) struct Remembered {
    version: u32,
    pub(super) index: Vec<RememberedDirectory>,
    pub(super) manifests: Vec<RememberedManifest>,
}

/// A directory of the index that had come to rest.
#[derive(Serialize, Deserialize)]
pub(super) struct RememberedDirectory {
    pub(super) backup: BackupName,
    pub(super) version: Version,
    pub(super) nodes: Vec<(Fqdn, FoundNode)>,
}

/// What a manifest says in sum.
#[derive(Serialize, Deserialize)]
pub(super) struct RememberedManifest {
    pub(super) backup: BackupName,
    pub(super) node: Fqdn,
    pub(super) version: Version,
    pub(super) facts: Arc<ManifestFacts>,
}

impl Remembered {
    pub(super) fn new(index: Vec<RememberedDirectory>, manifests: Vec<RememberedManifest>) -> Self {
        Self { version: VERSION, index, manifests }
    }

    pub(super) fn to_bytes(&self) -> Vec<u8> {
        // Nothing in it can fail to be written but a time before 1970, and then there is nothing
        // to remember.
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// None if this program did not write it.
    pub(super) fn parse(bytes: &[u8]) -> Option<Self> {
        serde_json::from_slice(bytes).ok().filter(|read: &Self| read.version == VERSION)
    }
}
