//! The manifest of an upload that is not published yet, on the share below medusafs's own directory.
//!
//! It is the very `manifest.json` that the backup will have. While it waits there, any agent can
//! publish the upload, or take it back: what the first agent knew dies with it.

use std::collections::BTreeMap;
use std::io::BufWriter;

use super::copy::Placed;
use super::error::AgentError;
use super::place::BackupPlace;
use super::protocol::FaultKind;
use super::snapshot_files::SnapshotTable;
use crate::medusa::{MANIFEST_LIMIT, ManifestVisitor, ManifestWriter, RecordedHash, read_manifest};
use crate::model::ObjectKey;
use crate::store::StoreError;

/// Writes the record, `placed` giving what became of each file in the tables' order.
pub(super) fn write_record(
    place: &BackupPlace,
    tables: &[SnapshotTable],
    placed: &[Vec<Placed>],
) -> Result<(), AgentError> {
    let key = place.record()?;
    let wrong = || StoreError::about("write", key.as_str());
    let draft = place.store.draft(&place.drafts)?;
    let buffered = BufWriter::with_capacity(1 << 18, draft);
    let mut writer = ManifestWriter::new(buffered).map_err(wrong())?;
    for (table, placed) in tables.iter().zip(placed) {
        writer.section(&table.keyspace, &table.table).map_err(wrong())?;
        for object in placed {
            writer.object(&object.key, object.bytes, Some(object.md5)).map_err(wrong())?;
        }
    }
    let buffered = writer.finish().map_err(wrong())?;
    let draft = buffered.into_inner().map_err(|error| wrong()(error.into_error()))?;
    draft.publish_replacing(&key)?;
    Ok(())
}

/// The record as it will be published.
pub(super) fn read_record(place: &BackupPlace) -> Result<Vec<u8>, AgentError> {
    let key = place.record()?;
    place.store.read(&key, MANIFEST_LIMIT.0).map_err(|error| {
        if !error.is_not_found() {
            return error.into();
        }
        let what = format!("no finished upload of {} of {} waits", place.backup, place.node);
        AgentError::wrong(FaultKind::Missing, what, "upload the snapshot first")
    })
}

/// The sizes of a record's objects, by directory and name.
pub(super) fn objects_by_directory(
    place: &BackupPlace,
    record: &[u8],
) -> Result<BTreeMap<ObjectKey, BTreeMap<String, u64>>, AgentError> {
    let mut objects = Objects { place, found: BTreeMap::new(), stray: None };
    let what = format!("the record of the upload of {} of {}", place.backup, place.node);
    read_manifest(record, &mut objects)
        .map_err(|source| AgentError::Format { what: what.clone(), source })?;
    match objects.stray {
        None => Ok(objects.found),
        Some(path) => {
            let what = format!("{what} names {path:?}, which is not this node's");
            Err(AgentError::wrong(FaultKind::Damaged, what, "withdraw it, and back up again"))
        }
    }
}

struct Objects<'a> {
    place: &'a BackupPlace,
    found: BTreeMap<ObjectKey, BTreeMap<String, u64>>,
    stray: Option<String>,
}

impl ManifestVisitor for Objects<'_> {
    fn object(&mut self, path: &str, size: u64, _hash: RecordedHash) {
        let key = self.place.layout.object_of(&self.place.node, path).ok();
        match key.and_then(|key| Some((key.parent()?, key))) {
            Some((directory, key)) => {
                let names = self.found.entry(directory).or_default();
                names.insert(key.file_name().to_owned(), size);
            }
            None => self.stray = Some(path.to_owned()),
        }
    }

    fn section(&mut self, _keyspace: &str, _columnfamily: &str) {}
}
