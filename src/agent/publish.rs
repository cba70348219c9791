//! A finished upload becomes a backup that Medusa lists.
//!
//! What was written before `meta/manifest.json` is taken back if anything fails; from there on the
//! backup is whole, and only its index may lack something, which asking again mends.

use std::collections::BTreeMap;
use std::io::Write;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::error::AgentError;
use super::place::{BackupPlace, or_empty};
use super::protocol::{FaultKind, Publish, Published};
use super::record::{objects_by_directory, read_record};
use super::task::Task;
use super::workers::in_parallel;
use crate::medusa::{IndexFile, MetaFile, Mode};
use crate::model::{BackupName, ObjectKey, UnixSeconds};
use crate::store::{EntryKind, Kind, Stat, StoreError};

/// A backup's name is shorter.
const NAME_LIMIT: u64 = 4096;

/// Directories that are looked at together.
const LOOKS: usize = 8;

/// Publishes the upload that waits at `place`, or goes on where a publishing of it was cut off.
pub(super) fn publish(
    place: &BackupPlace,
    request: &Publish,
    task: &Task,
) -> Result<Published, AgentError> {
    let (finished, _written) = publish_in_order(place, request, task)?;
    Ok(Published { finished })
}

/// Tells when it was finished, and everything that was written, in its order.
fn publish_in_order(
    place: &BackupPlace,
    request: &Publish,
    task: &Task,
) -> Result<(UnixSeconds, Vec<ObjectKey>), AgentError> {
    let manifest = read_record(place)?;
    must_be_there(place, request.mode, &manifest, task)?;
    let mut writer = Writer { place, request, written: Vec::new(), undo: Vec::new() };
    let begun = task.still_wanted().map_err(AgentError::from).and_then(|()| writer.begin());
    let finished = begun.and_then(|()| {
        task.still_wanted()?;
        let finished = writer.put(&place.meta(MetaFile::Manifest)?, &manifest, None)?;
        Ok(seconds(&finished))
    });
    let finished = finished.inspect_err(|_| writer.take_back(task))?;
    writer.finish(&manifest, finished)?;
    place.store.remove(&place.record()?)?;
    Ok((finished, writer.written))
}

fn seconds(stat: &Stat) -> UnixSeconds {
    UnixSeconds::from(stat.modified)
}

struct Writer<'a> {
    place: &'a BackupPlace,
    request: &'a Publish,
    written: Vec<ObjectKey>,
    /// What this very call has made: it goes again if the manifest is never written.
    undo: Vec<ObjectKey>,
}

impl Writer<'_> {
    /// All that Medusa writes before the data: its files 1 to 8.
    fn begin(&mut self) -> Result<(), AgentError> {
        let (place, request) = (self.place, self.request);
        let (layout, node, backup) = (&place.layout, &place.node, &place.backup);
        let start = u64::try_from(request.started.0).unwrap_or(0);
        let start = UNIX_EPOCH.checked_add(Duration::from_secs(start));
        let schema = request.schema.as_bytes();
        let tokenmap = request.tokenmap.as_bytes();
        let stat = self.put(&place.meta(MetaFile::Schema)?, schema, start)?;
        let started = seconds(&stat);
        self.put(&place.meta(MetaFile::Tokenmap)?, tokenmap, None)?;
        let version = request.server_version.as_bytes();
        self.put(&place.meta(MetaFile::ServerVersion)?, version, None)?;
        let marker = Mode::Differential.to_string();
        if request.mode == Mode::Differential {
            self.put(&layout.mode_marker(node, backup)?, marker.as_bytes(), None)?;
        }
        let index = |file| layout.index_file(backup, node, file);
        self.put(&index(IndexFile::Tokenmap)?, tokenmap, None)?;
        self.put(&index(IndexFile::Schema)?, schema, start)?;
        let text = started.0.to_string();
        self.put(&index(IndexFile::Started(started))?, text.as_bytes(), None)?;
        if request.mode == Mode::Differential {
            self.put(&index(IndexFile::Differential)?, marker.as_bytes(), None)?;
        }
        Ok(())
    }

    /// All that Medusa writes after `meta/manifest.json`: its files 11 to 14.
    fn finish(&mut self, manifest: &[u8], finished: UnixSeconds) -> Result<(), AgentError> {
        let place = self.place;
        let (layout, node, backup) = (&place.layout, &place.node, &place.backup);
        let index = |file| layout.index_file(backup, node, file);
        self.put(&index(IndexFile::Manifest)?, manifest, None)?;
        let text = finished.0.to_string();
        self.put(&index(IndexFile::Finished(finished))?, text.as_bytes(), None)?;
        if self.is_overtaken(finished)? {
            return Ok(());
        }
        let tokenmap = self.request.tokenmap.as_bytes();
        for (key, bytes) in [
            (layout.latest_tokenmap(node)?, tokenmap),
            (layout.latest_name(node)?, backup.as_str().as_bytes()),
        ] {
            place.store.put_replacing(&place.drafts, &key, bytes)?;
            self.written.push(key);
        }
        Ok(())
    }

    /// Whether the node's latest backup is a later one than this: a publishing that is finished
    /// days after it died must not become the latest again.
    fn is_overtaken(&self, finished: UnixSeconds) -> Result<bool, AgentError> {
        let BackupPlace { store, layout, node, backup, .. } = self.place;
        let named = match store.read(&layout.latest_name(node)?, NAME_LIMIT) {
            Ok(text) => text,
            Err(error) if error.is_not_found() || error.kind == Kind::TooLarge => return Ok(false),
            Err(error) => return Err(error.into()),
        };
        let named =
            std::str::from_utf8(&named).ok().and_then(|it| BackupName::parse(it.trim()).ok());
        let Some(latest) = named.filter(|latest| latest != backup) else { return Ok(false) };
        match store.stat(&layout.meta_file(node, &latest, MetaFile::Manifest)?) {
            Ok(stat) => Ok(seconds(&stat) > finished),
            Err(error) if error.is_not_found() => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Writes an object that must not be there, or must be just this: then a publishing that died
    /// has written it. `time` is set where the object tells the backup's start.
    fn put(
        &mut self,
        key: &ObjectKey,
        bytes: &[u8],
        time: Option<SystemTime>,
    ) -> Result<Stat, AgentError> {
        let store = &self.place.store;
        let mut draft = store.draft(&self.place.drafts)?;
        draft.write_all(bytes).map_err(StoreError::about("write", key.as_str()))?;
        if let Some(time) = time {
            draft.set_modified(time)?;
        }
        let stat = match draft.publish_new(key) {
            Err(error) if error.is_exists() && is_same(self.place, key, bytes)? => {
                store.stat(key)?
            }
            Err(error) => return Err(error.into()),
            Ok(stat) => {
                self.undo.push(key.clone());
                stat
            }
        };
        self.written.push(key.clone());
        Ok(stat)
    }

    /// Removes what this call has made, newest first, and the directories that were only for it:
    /// unless there is a manifest, which needs all of it. That of an earlier call counts, and one
    /// that was named before its writing failed. The index's directory is left: other nodes write
    /// there at this moment.
    fn take_back(&self, task: &Task) {
        let store = &self.place.store;
        match self.place.is_published() {
            Ok(false) => {}
            Ok(true) => {
                task.note("it is published already, and asking again completes its index");
                return;
            }
            Err(error) => {
                task.note(format!("nothing is taken back, as it may be published: {error}"));
                return;
            }
        }
        let files = self.undo.iter().rev().map(|key| store.remove(key));
        let meta = self.place.layout.meta(&self.place.node, &self.place.backup);
        let own = self.place.own_directory().ok();
        let directories = meta.ok().into_iter().chain(own).map(|key| store.remove_directory(&key));
        for error in files.chain(directories).filter_map(Result::err) {
            // A full backup's own directory has its data.
            if !error.is_not_found() && error.kind != Kind::NotEmpty {
                task.note(format!("not everything could be taken back: {error}"));
            }
        }
    }
}

fn is_same(place: &BackupPlace, key: &ObjectKey, bytes: &[u8]) -> Result<bool, AgentError> {
    match place.store.read(key, bytes.len() as u64) {
        Ok(found) => Ok(found == bytes),
        Err(error) if error.kind == Kind::TooLarge => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Looks once more, a listing for each directory, whether every object that the manifest names
/// is there with its size: Medusa's purge may have taken, since it was found, what an expired
/// backup had. A full backup's directories must hold nothing else, or Medusa's `verify` objects.
fn must_be_there(
    place: &BackupPlace,
    mode: Mode,
    manifest: &[u8],
    task: &Task,
) -> Result<(), AgentError> {
    let directories: Vec<_> = objects_by_directory(place, manifest)?.into_iter().collect();
    must_be_of_mode(place, mode, &directories)?;
    let wrong = |what: String| {
        let remedy = "something else removes or writes files of this store: back up again";
        Err(AgentError::wrong(FaultKind::Damaged, what, remedy))
    };
    let look = |(): &mut (), (directory, names): &(ObjectKey, BTreeMap<String, u64>)| {
        task.still_wanted()?;
        let mut left = names.clone();
        for entry in or_empty(place.store.list(Some(directory)))? {
            let is_file = entry.stat.kind == EntryKind::File;
            match left.remove(&entry.name) {
                Some(bytes) if is_file && entry.stat.size == bytes => {}
                Some(bytes) => {
                    let (name, size) = (&entry.name, entry.stat.size);
                    return wrong(format!("{directory}/{name} has {size} bytes, not {bytes}"));
                }
                None if is_file && mode == Mode::Full => {
                    return wrong(format!("{directory}/{} is not of this backup", entry.name));
                }
                None => {}
            }
        }
        match left.keys().next() {
            None => Ok(()),
            Some(name) => wrong(format!("{directory}/{name} has gone since it was found there")),
        }
    };
    in_parallel(LOOKS, &directories, || (), look, |()| Ok(()))
}

/// A backup that uses the pool and is not marked so would have its files purged by Medusa.
fn must_be_of_mode(
    place: &BackupPlace,
    mode: Mode,
    directories: &[(ObjectKey, BTreeMap<String, u64>)],
) -> Result<(), AgentError> {
    let node = place.layout.node(&place.node)?;
    for (directory, names) in directories {
        let Some(name) = names.keys().next() else { continue };
        let found = Mode::of_object(&node, &directory.join(name)?);
        if found != mode {
            let what =
                format!("the upload that waits is {found}, and was to be published as {mode}");
            return Err(AgentError::wrong(FaultKind::OutOfOrder, what, ""));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::fixture::{Fixture, ORDERS, task};
    use crate::agent::protocol::Fault;
    use crate::agent::upload::upload;
    use std::fs;

    fn uploaded(mode: Mode) -> Fixture {
        let node = Fixture::new();
        node.sstable(ORDERS, "nb-1-big", "rows");
        let request = node.upload_request("one", mode);
        upload(&node.place("one"), &[node.data()], None, &request, &task()).unwrap();
        node
    }

    #[test]
    fn a_backup_is_written_in_medusas_order_with_the_start_that_was_asked_for() {
        let node = uploaded(Mode::Differential);
        let request = node.publish_request("one", Mode::Differential);
        let (finished, written) = publish_in_order(&node.place("one"), &request, &task()).unwrap();
        let written: Vec<_> = written.iter().map(ObjectKey::as_str).collect();
        let index = "index/backup_index/one";
        assert_eq!(
            written,
            [
                "node1.example.com/one/meta/schema.cql".to_owned(),
                "node1.example.com/one/meta/tokenmap.json".to_owned(),
                "node1.example.com/one/meta/server_version.json".to_owned(),
                "node1.example.com/one/meta/differential".to_owned(),
                format!("{index}/tokenmap_node1.example.com.json"),
                format!("{index}/schema_node1.example.com.cql"),
                format!("{index}/started_node1.example.com_1795364040.timestamp"),
                format!("{index}/differential_node1.example.com"),
                "node1.example.com/one/meta/manifest.json".to_owned(),
                format!("{index}/manifest_node1.example.com.json"),
                format!(
                    "{index}/finished_node1.example.com_{finished}.timestamp",
                    finished = finished.0
                ),
                "index/latest_backup/node1.example.com/tokenmap.json".to_owned(),
                "index/latest_backup/node1.example.com/backup_name.txt".to_owned(),
            ]
        );
        let stored = node.stored();
        assert_eq!(stored[&format!("{index}/differential_node1.example.com")], "differential");
        assert_eq!(stored["index/latest_backup/node1.example.com/backup_name.txt"], "one");
        assert_eq!(stored.keys().filter(|key| key.starts_with(".medusafs")).count(), 0);
        let schema = node.root().join("node1.example.com/one/meta/schema.cql");
        let modified = fs::metadata(schema).unwrap().modified().unwrap();
        assert_eq!(UnixSeconds::from(modified), UnixSeconds(1_795_364_040));
    }

    #[test]
    fn a_failure_before_the_manifest_takes_everything_back_and_the_next_try_succeeds() {
        let node = uploaded(Mode::Differential);
        let before = node.stored();
        let in_the_way = node.root().join("index/backup_index/one/differential_node1.example.com");
        fs::create_dir_all(&in_the_way).unwrap();
        let request = node.publish_request("one", Mode::Differential);
        publish(&node.place("one"), &request, &task()).unwrap_err();
        assert_eq!(node.stored(), before);
        fs::remove_dir(in_the_way).unwrap();
        publish(&node.place("one"), &request, &task()).unwrap();
        assert_eq!(node.restored("one"), node.live());
    }

    /// Puts a directory where each object is to lie, one after the other, and tells what becomes
    /// of the rest. The record of the upload is put back first, as if nobody had removed it.
    fn fail_at_each_step(second_time: bool) {
        let done = uploaded(Mode::Differential);
        let request = done.publish_request("one", Mode::Differential);
        let (_, steps) = publish_in_order(&done.place("one"), &request, &task()).unwrap();
        let manifest = "node1.example.com/one/meta/manifest.json";
        let last_to_be_made = steps.len() - 2;
        for failing in &steps[..last_to_be_made] {
            let node = uploaded(Mode::Differential);
            let (place, task) = (node.place("one"), task());
            let record = node.root().join(place.record().unwrap().as_str());
            let kept = fs::read(&record).unwrap();
            // The time in the name of the last one is the manifest's, which is not written yet.
            let finishes = failing.as_str().contains("/finished_");
            let in_the_way = node.root().join(failing.as_str());
            if second_time {
                publish(&place, &request, &task).unwrap();
                fs::create_dir_all(record.parent().unwrap()).unwrap();
                fs::write(&record, kept).unwrap();
                let written = node.stored();
                let lost = written.keys().find(|key| {
                    key.as_str() == failing.as_str() || finishes && key.contains("/finished_")
                });
                let lost = node.root().join(lost.unwrap());
                fs::remove_file(&lost).unwrap();
                fs::create_dir(&lost).unwrap();
            } else if finishes || failing.as_str() == manifest {
                // Whatever stands where the manifest goes is taken for one, and left alone.
                continue;
            } else {
                fs::create_dir_all(&in_the_way).unwrap();
            }
            let before = node.stored();
            publish(&place, &request, &task).unwrap_err();
            let after = node.stored();
            for (key, content) in &before {
                assert_eq!(after.get(key), Some(content), "{key} is lost by failing at {failing}");
            }
            if !after.contains_key(manifest) {
                assert_eq!(after, before, "failing at {failing}");
            }
        }
    }

    #[test]
    fn a_first_publishing_that_fails_at_any_step_leaves_nothing_or_a_whole_backup() {
        fail_at_each_step(false);
    }

    #[test]
    fn a_second_publishing_that_fails_at_any_step_takes_nothing_of_the_first_away() {
        fail_at_each_step(true);
    }

    #[test]
    fn what_a_manifest_needs_stays_if_its_own_writing_failed_after_it_was_named() {
        let node = uploaded(Mode::Differential);
        let (place, task) = (node.place("one"), task());
        let request = node.publish_request("one", Mode::Differential);
        let mut writer = Writer { place: &place, request: &request, written: vec![], undo: vec![] };
        writer.begin().unwrap();
        let manifest = place.meta(MetaFile::Manifest).unwrap();
        place.store.put_new(&place.drafts, &manifest, b"[]").unwrap();
        let before = node.stored();
        writer.take_back(&task);
        assert_eq!(node.stored(), before);
        fs::remove_file(node.root().join(manifest.as_str())).unwrap();
        writer.take_back(&task);
        assert_eq!(node.stored().keys().filter(|key| key.contains("/meta/")).count(), 0);
    }

    #[test]
    fn a_publishing_that_is_finished_late_is_not_the_latest_again() {
        let node = uploaded(Mode::Full);
        let (place, task) = (node.place("one"), task());
        let record = node.root().join(place.record().unwrap().as_str());
        let kept = fs::read(&record).unwrap();
        let request = node.publish_request("one", Mode::Full);
        publish(&place, &request, &task).unwrap();
        fs::write(&record, kept).unwrap();
        let later = node.root().join("node1.example.com/two/meta/manifest.json");
        fs::create_dir_all(later.parent().unwrap()).unwrap();
        fs::write(&later, "[]").unwrap();
        // In the year 2100.
        let time = UNIX_EPOCH + Duration::from_hours(130 * 365 * 24);
        fs::File::options().write(true).open(&later).unwrap().set_modified(time).unwrap();
        let latest = node.root().join("index/latest_backup/node1.example.com/backup_name.txt");
        fs::write(&latest, "two").unwrap();
        publish(&place, &request, &task).unwrap();
        assert_eq!(fs::read_to_string(&latest).unwrap(), "two");
        assert!(!record.exists());
    }

    #[test]
    fn an_object_that_vanished_since_it_was_uploaded_is_noticed_before_anything_is_written() {
        let node = uploaded(Mode::Differential);
        let object = format!("node1.example.com/data/{ORDERS}/nb-1-big-Data.db");
        fs::remove_file(node.root().join(object)).unwrap();
        let before = node.stored();
        let request = node.publish_request("one", Mode::Differential);
        let error = publish(&node.place("one"), &request, &task()).unwrap_err();
        assert_eq!(Fault::from(error).kind, FaultKind::Damaged);
        assert_eq!(node.stored(), before);
    }

    #[test]
    fn an_upload_into_the_pool_cannot_be_published_as_a_full_backup() {
        let node = uploaded(Mode::Differential);
        let before = node.stored();
        let request = node.publish_request("one", Mode::Full);
        let error = publish(&node.place("one"), &request, &task()).unwrap_err();
        assert_eq!(Fault::from(error).kind, FaultKind::OutOfOrder);
        assert_eq!(node.stored(), before);
    }

    #[test]
    fn a_publishing_that_died_anywhere_is_finished_or_taken_back_by_another_agent() {
        let done = uploaded(Mode::Full);
        let request = done.publish_request("one", Mode::Full);
        let (_, steps) = publish_in_order(&done.place("one"), &request, &task()).unwrap();
        for died_after in 0..steps.len() {
            for finish in [true, false] {
                let node = uploaded(Mode::Full);
                let (place, task) = (node.place("one"), task());
                let before = node.stored();
                let record = node.root().join(place.record().unwrap().as_str());
                let kept = fs::read(&record).unwrap();
                let (_, written) = publish_in_order(&place, &request, &task).unwrap();
                for key in &written[died_after..] {
                    fs::remove_file(node.root().join(key.as_str())).unwrap();
                }
                fs::create_dir_all(record.parent().unwrap()).unwrap();
                fs::write(&record, kept).unwrap();
                let manifest = "node1.example.com/one/meta/manifest.json";
                if finish {
                    publish(&place, &request, &task).unwrap();
                    assert_eq!(node.restored("one"), node.live());
                } else if written[..died_after].iter().any(|key| key.as_str() == manifest) {
                    place.withdraw(&task).unwrap_err();
                } else {
                    place.withdraw(&task).unwrap();
                    assert!(node.stored().is_empty(), "{before:?}");
                }
            }
        }
    }
}
