//! A snapshot goes to the share: what is new is copied, what the pool has is proven to be there.

use std::collections::{BTreeSet, HashMap};
use std::path::PathBuf;

use parking_lot::Mutex;

use super::copy::{Copier, Copy, How, Placed, hash_source, hash_stored, settle};
use super::error::AgentError;
use super::known::{Known, table_key};
use super::limit::Limit;
use super::place::BackupPlace;
use super::protocol::{FaultKind, SnapshotTag, Upload, Uploaded};
use super::record::write_record;
use super::reuse::{Decision, Evidence, Seen, decide, generation};
use super::snapshot_files::{Content, SnapshotFile, SnapshotTable, snapshot_files};
use super::task::Task;
use super::workers::in_parallel;
use crate::medusa::Mode;
use crate::model::{Md5, ObjectKey};

/// A share must have this much more than what is to be written: manifest and index.
const SPARE_BYTES: u64 = 16 << 20;

/// Uploading is in nobody's way: Cassandra's own threads go first.
const NICE: i32 = 10;

/// Copies a snapshot to the share and leaves a record of it there. Blocks until that is done; asks
/// `task` before every buffer. Nothing is in Medusa's index afterwards, and on failure nothing but
/// whole files in the pool is left. `taken` is what was in the snapshot when it was taken, if that
/// is known: with anything else it is none that may become a backup.
pub(super) fn upload(
    place: &BackupPlace,
    data_directories: &[PathBuf],
    taken: Option<Content>,
    request: &Upload,
    task: &Task,
) -> Result<Uploaded, AgentError> {
    place.must_be_new()?;
    // What an upload that was killed has left of this very backup.
    place.withdraw(task)?;
    let tables = snapshot_files(data_directories, &request.tag)?;
    must_be_as_taken(&request.tag, Content::of(&tables), taken)?;
    let work = Work::of(place, tables, request, task)?;
    let uploaded = work.run();
    if uploaded.is_err() && request.mode == Mode::Full {
        // The first error is the one to tell: what stays is taken back by the next try.
        if let Err(error) = place.withdraw(task) {
            task.note(format!("not everything could be taken back: {error}"));
        }
    }
    uploaded
}

/// A file of a snapshot: which table, and which file of it.
type FileIndex = (usize, usize);

struct Work<'a> {
    place: &'a BackupPlace,
    task: &'a Task,
    mode: Mode,
    threads: usize,
    limit: Limit,
    tables: Vec<SnapshotTable>,
    /// Of each table: where its files go.
    keys: Vec<ObjectKey>,
}

impl<'a> Work<'a> {
    fn of(
        place: &'a BackupPlace,
        tables: Vec<SnapshotTable>,
        request: &Upload,
        task: &'a Task,
    ) -> Result<Self, AgentError> {
        let keys = tables.iter().map(|table| table_key(place, request.mode, table));
        let work = Self {
            keys: keys.collect::<Result<_, _>>()?,
            place,
            task,
            mode: request.mode,
            threads: usize::try_from(request.threads.clamp(1, 64)).unwrap_or(1),
            limit: Limit::new(request.bytes_per_second),
            tables,
        };
        let Content { files, bytes, .. } = Content::of(&work.tables);
        task.advance(|progress| {
            (progress.files_total, progress.bytes_total) = (Some(files), Some(bytes));
        });
        Ok(work)
    }

    fn files(&self) -> impl Iterator<Item = (FileIndex, &SnapshotFile)> {
        self.tables.iter().enumerate().flat_map(|(at, table)| {
            table.files.iter().enumerate().map(move |(file_at, file)| ((at, file_at), file))
        })
    }

    fn run(&self) -> Result<Uploaded, AgentError> {
        let decisions = match self.mode {
            Mode::Full => HashMap::new(),
            Mode::Differential => self.decide_all()?,
        };
        let (mut copies, mut placed) = (Vec::new(), HashMap::new());
        for (index, file) in self.files() {
            let place = self.keys[index.0].join(&file.below_table())?;
            match decisions.get(&index) {
                Some(Decision::Reuse { key, md5, adopted }) => {
                    let how = if *adopted { How::Adopted } else { How::Reused };
                    let (key, md5) = (key.clone(), *md5);
                    placed.insert(index, Placed { key, bytes: file.bytes, md5, how });
                }
                Some(Decision::Copy { taken }) => {
                    copies.push(Copy { token: index, file, place, taken: *taken });
                }
                None => copies.push(Copy { token: index, file, place, taken: false }),
            }
        }
        self.must_fit(&copies)?;
        placed.extend(self.copy_all(copies)?);
        self.sync_adopted(&placed)?;
        self.sync_directories(&placed)?;
        self.record(&placed)
    }

    /// Decides about all files, a generation at a time.
    fn decide_all(&self) -> Result<HashMap<FileIndex, Decision>, AgentError> {
        let known = Known::of_pool(self.place, &self.tables, self.threads, self.task)?;
        let mut groups: HashMap<_, Vec<Seen<FileIndex>>> = HashMap::new();
        for (index, file) in self.files() {
            let of = generation(&file.name).map_or(file.name.as_str(), |(name, _)| name);
            let seen = known.see(&self.keys[index.0], file, index)?;
            groups.entry((index.0, file.index.as_deref(), of)).or_default().push(seen);
        }
        let groups: Vec<_> = groups.into_values().collect();
        let decisions = Mutex::new(HashMap::new());
        let begin = || Reader { work: self, decided: Vec::new() };
        let each = |reader: &mut Reader<'_, '_>, group: &Vec<Seen<FileIndex>>| {
            let decided = decide(group, reader)?;
            for (seen, decision) in group.iter().zip(decided) {
                if matches!(decision, Decision::Reuse { .. }) {
                    self.task.advance(|progress| {
                        progress.files_done += 1;
                        progress.bytes_done += seen.bytes;
                    });
                }
                reader.decided.push((seen.file, decision));
            }
            Ok(())
        };
        let finish = |reader: Reader<'_, '_>| {
            decisions.lock().extend(reader.decided);
            Ok::<(), AgentError>(())
        };
        in_parallel(self.threads, &groups, nicely(begin), each, finish)?;
        Ok(decisions.into_inner())
    }

    fn copy_all(
        &self,
        mut copies: Vec<Copy<'_, FileIndex>>,
    ) -> Result<Vec<(FileIndex, Placed)>, AgentError> {
        // Large ones first, so that no thread is left alone with one at the end.
        copies.sort_by_key(|copy| std::cmp::Reverse(copy.file.bytes));
        let placed = Mutex::new(Vec::new());
        let begin = || Copier::new(self.place, self.mode, &self.limit, self.task);
        let finish = |copier: Copier<'_, FileIndex>| {
            let done = copier.finish()?;
            placed.lock().extend(done);
            Ok(())
        };
        in_parallel(self.threads, &copies, nicely(begin), Copier::copy, finish)?;
        Ok(placed.into_inner())
    }

    fn must_fit(&self, copies: &[Copy<'_, FileIndex>]) -> Result<(), AgentError> {
        let needed: u64 = copies.iter().map(|copy| copy.file.bytes).sum();
        let space = self.place.store.space()?;
        if needed.saturating_add(SPARE_BYTES) <= space.available {
            return Ok(());
        }
        let what = format!(
            "the share at {} has {} left, and {} are to be written",
            self.place.store.path().display(),
            crate::model::ByteSize(space.available),
            crate::model::ByteSize(needed)
        );
        Err(AgentError::wrong(
            FaultKind::ShareFull,
            what,
            "free space on the share, or raise the quota",
        ))
    }

    /// Brings to disk what others wrote: a Medusa that died has not, and what was hashed may have
    /// been in memory alone.
    fn sync_adopted(&self, placed: &HashMap<FileIndex, Placed>) -> Result<(), AgentError> {
        let adopted: Vec<_> = placed.values().filter(|it| it.how == How::Adopted).collect();
        let each = |(): &mut (), adopted: &&Placed| {
            self.task.still_wanted()?;
            settle(self.place, &adopted.key)
        };
        in_parallel(self.threads, &adopted, || (), each, |()| Ok(()))
    }

    /// Brings the new names to disk.
    fn sync_directories(&self, placed: &HashMap<FileIndex, Placed>) -> Result<(), AgentError> {
        let new = placed.values().filter(|placed| placed.how != How::Reused);
        let directories: BTreeSet<_> = new.filter_map(|placed| placed.key.parent()).collect();
        let directories: Vec<_> = directories.into_iter().collect();
        let each = |(): &mut (), directory: &ObjectKey| {
            self.task.still_wanted()?;
            Ok(self.place.store.sync_directory(Some(directory))?)
        };
        in_parallel(self.threads, &directories, || (), each, |()| Ok(()))
    }

    fn record(&self, placed: &HashMap<FileIndex, Placed>) -> Result<Uploaded, AgentError> {
        let mut by_table: Vec<Vec<Placed>> = vec![Vec::new(); self.tables.len()];
        for (index, file) in self.files() {
            let Some(placed) = placed.get(&index) else {
                let what = format!("nothing became of {}", file.path.display());
                return Err(AgentError::wrong(FaultKind::Bug, what, ""));
            };
            by_table[index.0].push(placed.clone());
        }
        write_record(self.place, &self.tables, &by_table)?;
        let Content { files, bytes, .. } = Content::of(&self.tables);
        let new = placed.values().filter(|placed| placed.how == How::New);
        let (new_files, new_bytes) =
            new.fold((0, 0), |(files, bytes), placed| (files + 1, bytes + placed.bytes));
        Ok(Uploaded { files, bytes, new_files, new_bytes })
    }
}

fn must_be_as_taken(
    tag: &SnapshotTag,
    found: Content,
    taken: Option<Content>,
) -> Result<(), AgentError> {
    if found.files == 0 {
        let what = format!("the snapshot {tag} has no files");
        return Err(AgentError::wrong(FaultKind::Missing, what, "take the snapshot first"));
    }
    let Some(taken) = taken.filter(|taken| *taken != found) else { return Ok(()) };
    let what = format!(
        "the snapshot {tag} had {} tables with {} files and {} bytes when it was taken, and now has \
         {} with {} and {}",
        taken.tables, taken.files, taken.bytes, found.tables, found.files, found.bytes
    );
    let remedy = "see whether a disk of Cassandra's data has gone, or who clears snapshots, and back \
                  up again";
    Err(AgentError::wrong(FaultKind::Damaged, what, remedy))
}

/// Has a thread step back before it begins.
fn nicely<T>(begin: impl Fn() -> T + Sync) -> impl Fn() -> T + Sync {
    move || {
        // Linux keeps this by thread, whatever the name says. Without it only speed differs.
        if let Err(error) = rustix::process::setpriority_process(None, NICE) {
            tracing::debug!(%error, "uploads at full priority");
        }
        begin()
    }
}

/// One thread's part of deciding.
struct Reader<'w, 'a> {
    work: &'w Work<'a>,
    decided: Vec<(FileIndex, Decision)>,
}

impl Evidence<FileIndex> for Reader<'_, '_> {
    type Error = AgentError;

    fn of_source(&mut self, (table, file): &FileIndex) -> Result<Md5, AgentError> {
        hash_source(&self.work.tables[*table].files[*file], self.work.task)
    }

    fn of_stored(&mut self, key: &ObjectKey) -> Result<Md5, AgentError> {
        hash_stored(self.work.place, key, self.work.task)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::fixture::{Fixture, ORDERS, task};
    use crate::agent::protocol::Fault;
    use crate::agent::publish::publish;
    use std::fs;
    use std::time::{Duration, UNIX_EPOCH};

    fn back_up(node: &Fixture, backup: &str, mode: Mode) -> Uploaded {
        let (place, task) = (node.place(backup), task());
        let request = node.upload_request(backup, mode);
        let uploaded = upload(&place, &[node.data()], None, &request, &task).unwrap();
        let (done, progress) = (uploaded.bytes, task.progress());
        assert_eq!((progress.bytes_done, progress.bytes_total), (done, Some(done)));
        assert_eq!(progress.files_done, uploaded.files);
        assert_eq!(progress.bytes_new, uploaded.new_bytes);
        publish(&place, &node.publish_request(backup, mode), &task).unwrap();
        assert_eq!(node.restored(backup), node.live());
        uploaded
    }

    /// How many files lie beside one of the same name and other content.
    fn variants(node: &Fixture) -> usize {
        node.stored().keys().filter(|key| key.contains("/data/.medusafs/")).count()
    }

    #[test]
    fn a_second_backup_of_unchanged_data_copies_nothing() {
        let node = Fixture::new();
        node.sstable(ORDERS, "nb-1-big", "first rows");
        node.sstable(ORDERS, "nb-2-big", "second rows");
        node.sstable(&format!("{ORDERS}/.orders_idx"), "nb-1-big", "indexed");
        let first = back_up(&node, "one", Mode::Differential);
        assert_eq!((first.files, first.new_files), (18, 18));
        let second = back_up(&node, "two", Mode::Differential);
        assert_eq!((second.files, second.new_files, second.new_bytes), (18, 0, 0));
    }

    #[test]
    fn a_name_that_comes_again_with_other_bytes_lies_beside_the_old_one() {
        let node = Fixture::new();
        node.sstable(ORDERS, "nb-1-big", "before the truncate");
        back_up(&node, "one", Mode::Differential);
        let old = node.restored("one");
        node.sstable(ORDERS, "nb-1-big", "since the truncate!");
        back_up(&node, "two", Mode::Differential);
        assert_eq!(variants(&node), 3, "Data, Index and Digest");
        assert_eq!(node.restored("one"), old);
        // The variant is found again, and the first content, should it come back, too.
        assert_eq!(back_up(&node, "three", Mode::Differential).new_files, 0);
        node.sstable(ORDERS, "nb-1-big", "before the truncate");
        assert_eq!(back_up(&node, "four", Mode::Differential).new_files, 0);
    }

    #[test]
    fn a_damaged_variant_gets_its_content_back_and_with_it_the_backups_that_name_it() {
        let node = Fixture::new();
        node.sstable(ORDERS, "nb-1-big", "before the truncate");
        back_up(&node, "one", Mode::Differential);
        node.sstable(ORDERS, "nb-1-big", "since the truncate!");
        back_up(&node, "two", Mode::Differential);
        let variants = node.stored().into_keys().filter(|key| key.contains("/data/.medusafs/"));
        for variant in variants {
            // As a crash of the share's server leaves it.
            fs::write(node.root().join(variant), "").unwrap();
        }
        back_up(&node, "three", Mode::Differential);
        assert_eq!(node.restored("two"), node.live());
    }

    #[test]
    fn full_and_differential_backups_stand_beside_each_other() {
        let node = Fixture::new();
        node.sstable(ORDERS, "nb-1-big", "rows");
        back_up(&node, "d1", Mode::Differential);
        assert_eq!(back_up(&node, "f1", Mode::Full).new_files, 6);
        assert_eq!(back_up(&node, "d2", Mode::Differential).new_files, 0);
    }

    #[test]
    fn what_a_killed_upload_named_is_adopted_and_its_temporary_files_go() {
        let node = Fixture::new();
        node.sstable(ORDERS, "nb-1-big", "rows");
        let place = node.place("one");
        // A kill leaves whole files under their names, and half ones in the temporary directory.
        let pool = node.root().join("node1.example.com/data").join(ORDERS);
        fs::create_dir_all(&pool).unwrap();
        let data = pool.join("nb-1-big-Data.db");
        fs::write(&data, "rows").unwrap();
        let long_ago = UNIX_EPOCH + Duration::from_hours(1);
        fs::File::options().write(true).open(&data).unwrap().set_modified(long_ago).unwrap();
        fs::write(pool.join("nb-1-big-Filter.db"), "FILTER").unwrap();
        let half = node.root().join(place.temporary.as_str()).join("agent-of-the-killed");
        fs::create_dir_all(&half).unwrap();
        fs::write(half.join("4711-0-x"), "ro").unwrap();
        let uploaded = back_up(&node, "one", Mode::Differential);
        assert_eq!((uploaded.files, uploaded.new_files, variants(&node)), (6, 5, 1));
        // Medusa's purge takes what no manifest names and is as old as its grace period.
        let modified = fs::metadata(&data).unwrap().modified().unwrap();
        assert!(modified > long_ago + Duration::from_hours(1));
        assert_eq!(node.stored().keys().filter(|key| key.contains("/tmp/")).count(), 0);
    }

    #[test]
    fn a_backup_that_medusa_is_writing_under_the_same_name_is_not_withdrawn() {
        let node = Fixture::new();
        let meta = node.root().join("node1.example.com/one/meta");
        fs::create_dir_all(&meta).unwrap();
        fs::write(meta.join("schema.cql"), "CREATE KEYSPACE shop;").unwrap();
        let before = node.stored();
        let fault = Fault::from(node.place("one").withdraw(&task()).unwrap_err());
        assert_eq!(fault.kind, FaultKind::Exists);
        assert_eq!(node.stored(), before);
    }

    #[test]
    fn a_cancelled_full_upload_leaves_nothing() {
        let node = Fixture::new();
        node.sstable(ORDERS, "nb-1-big", "rows");
        let (place, task) = (node.place("one"), task());
        let request = node.upload_request("one", Mode::Full);
        task.cancel();
        let error = upload(&place, &[node.data()], None, &request, &task).unwrap_err();
        assert_eq!(Fault::from(error).kind, FaultKind::Cancelled);
        assert!(node.stored().is_empty(), "{:?}", node.stored());
    }

    #[test]
    fn a_snapshot_that_is_not_there_is_no_empty_backup() {
        let node = Fixture::new();
        let request = node.upload_request("one", Mode::Full);
        let error =
            upload(&node.place("one"), &[node.data()], None, &request, &task()).unwrap_err();
        assert_eq!(Fault::from(error).kind, FaultKind::Missing);
    }

    #[test]
    fn a_snapshot_that_has_lost_a_table_since_it_was_taken_is_not_uploaded() {
        let node = Fixture::new();
        node.sstable(ORDERS, "nb-1-big", "rows");
        node.write("shop/users-2", "nb-1-big-Data.db", "rows");
        let request = node.upload_request("one", Mode::Full);
        let tables = snapshot_files(&[node.data()], &request.tag).unwrap();
        let taken = Some(Content::of(&tables));
        fs::remove_dir_all(node.data().join("shop/users-2")).unwrap();
        let place = node.place("one");
        let error = upload(&place, &[node.data()], taken, &request, &task()).unwrap_err();
        let fault = Fault::from(error);
        assert_eq!(fault.kind, FaultKind::Damaged);
        assert!(fault.what.contains("had 2 tables"), "{fault}");
        assert!(node.stored().is_empty());
    }

    #[test]
    fn a_name_that_the_store_has_is_refused_before_anything_is_written() {
        let node = Fixture::new();
        node.sstable(ORDERS, "nb-1-big", "rows");
        back_up(&node, "one", Mode::Full);
        let before = node.stored();
        let request = node.upload_request("two", Mode::Full);
        let request = Upload { backup: node.place("one").backup, ..request };
        let error =
            upload(&node.place("one"), &[node.data()], None, &request, &task()).unwrap_err();
        assert_eq!(Fault::from(error).kind, FaultKind::Exists);
        assert_eq!(node.stored(), before);
    }
}
