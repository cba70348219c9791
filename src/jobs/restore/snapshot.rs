//! What the store says of the snapshot that is to be restored.

use std::time::Duration;

use crate::catalog::{Catalog, CatalogError, CatalogSettings, Completeness};
use crate::medusa::{ServerVersion, TokenmapNode};
use crate::model::{BackupName, Fqdn, UnixSeconds};
use crate::observe::ErrorChain;

use super::{Context, JobError};

/// For reading a backup's manifests: a large one, over NFS, for the first time.
const READ_WITHIN: Duration = Duration::from_mins(10);

/// What is known of the snapshot that is to be restored.
#[derive(Debug)]
pub(super) struct Snapshot {
    /// Why the backup does not count as complete and undamaged; empty if it does.
    pub(super) incomplete: Vec<String>,
    /// When it was begun.
    pub(super) started: UnixSeconds,
    /// The node's place in the ring then.
    pub(super) place: Option<TokenmapNode>,
    /// Cassandra's release then.
    pub(super) version: ServerVersion,
}

/// What the store says of one node's part of a backup.
pub(super) async fn read(
    cx: &Context,
    backup: &BackupName,
    node: &Fqdn,
) -> Result<Snapshot, JobError> {
    let catalog = Catalog::new(cx.store.clone(), cx.layout.clone(), CatalogSettings::default());
    let (backup, node) = (backup.clone(), node.clone());
    let read = move || -> Result<Snapshot, CatalogError> {
        catalog.refresh()?;
        if catalog.backups().get(&backup).is_none() {
            catalog.find_unindexed()?;
        }
        catalog.examine(&backup)?;
        let backups = catalog.backups();
        let no_backup = || CatalogError::NoBackup(backup.clone());
        let found = backups.get(&backup).ok_or_else(no_backup)?;
        let part = found.nodes.get(&node).ok_or_else(no_backup)?;
        let mut incomplete: Vec<String> = match &found.state {
            Completeness::Incomplete(reasons) => reasons.iter().map(ToString::to_string).collect(),
            Completeness::Complete => Vec::new(),
            Completeness::Unexamined => vec!["it was not looked into yet".to_owned()],
        };
        incomplete.extend(found.damage.iter().map(ToString::to_string));
        let tokenmap = catalog.tokenmap(&backup, &node)?;
        Ok(Snapshot {
            incomplete,
            started: part.started,
            place: tokenmap.get(&node).cloned(),
            version: catalog.server_version(&backup, &node)?.unwrap_or(ServerVersion {
                server_type: "cassandra".to_owned(),
                release_version: "unknown".to_owned(),
            }),
        })
    };
    let reading = cx.pool.run(READ_WITHIN, "for the share to tell of the backup", read);
    cx.unless_cancelled(reading)
        .await?
        .map_err(|error| JobError::silent_share(cx.store.path(), &error))?
        .map_err(|error| JobError::Host(ErrorChain(&error).to_string()))
}
