//! Snapshots: taken by Cassandra, checked here, and cleared whatever happens.

use std::collections::BTreeMap;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::time::Duration;

use tokio::sync::{Mutex, MutexGuard};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout_at};
use tokio_util::task::task_tracker::TaskTrackerToken;
use tracing::{error, warn};

use super::error::AgentError;
use super::held_name::{HeldName, LOOK};
use super::protocol::{Fault, FaultKind, Snapshot, SnapshotTag, SnapshotTaken};
use super::snapshot_files::{Content, snapshot_directories, snapshot_files};
use super::task::{Cancelled, Task, on_a_thread};
use crate::cassandra::{Nodetool, NodetoolError, is_taking_snapshot};
use crate::tasks::Scope;

/// A flush of everything takes long on a node with much in its memtables.
const SNAPSHOT_LIMIT: Duration = Duration::from_mins(10);

/// nodetool is not killed when that is over: its end tells that of the snapshot, which Cassandra
/// takes to its end whoever waits.
const NODETOOL_LIMIT: Duration = Duration::from_hours(6);

/// What this process lets go of is held a moment longer by a child that does not run its program yet.
const FORK: Duration = Duration::from_secs(2);

/// How long a snapshot that is called off is waited for by the request that took it, and when the
/// agent goes.
const CALLED_OFF_LIMIT: Duration = Duration::from_secs(15);

/// How long clearing waits for the end of the taking: less than the job waits for the clearing.
const STILL_TAKEN_LIMIT: Duration = Duration::from_mins(8);

const CLEAR_LIMIT: Duration = Duration::from_secs(45);

/// What the lock of a snapshot that is taken or cleared is called.
const LOCK: &str = "snapshot";

/// The keyspace that every snapshot of a whole node has.
const ALWAYS_THERE: &str = "system_schema";

/// A conversation's snapshots. One is taken or cleared at a time: to clear what Cassandra still
/// takes would leave the part that comes afterwards. Another conversation's agent finds that out by
/// the snapshot's lock, which is held until nodetool has ended.
pub(super) struct Snapshots {
    nodetool: Nodetool,
    data_directories: Vec<PathBuf>,
    /// Where nodetool runs, which nobody may be waiting for.
    scope: Scope,
    mine: Mutex<Mine>,
}

#[derive(Default)]
struct Mine {
    /// Those that were begun, and are to be cleared when the conversation is over; with what was in
    /// them, once they were found to be whole.
    tags: BTreeMap<SnapshotTag, Option<Content>>,
    /// What nodetool was asked for and has not answered.
    pending: Option<Pending>,
}

struct Pending {
    tag: SnapshotTag,
    answer: JoinHandle<Option<Result<(), NodetoolError>>>,
}

impl Snapshots {
    /// Those of the node with these data directories; none has been taken.
    pub(super) fn new(nodetool: Nodetool, data_directories: Vec<PathBuf>) -> Self {
        let (scope, mine) = (Scope::new(), Mutex::default());
        Self { nodetool, data_directories, scope, mine }
    }

    /// Takes the snapshot and checks that it is whole. On failure, and when called off, it is
    /// cleared, or remembered as one that is to be cleared while Cassandra still takes it: the agent
    /// does not end before that.
    pub(super) async fn take(
        &self,
        request: &Snapshot,
        task: &Task,
    ) -> Result<SnapshotTaken, Fault> {
        let tag = &request.tag;
        let mut mine = self.mine(task).await?;
        if let Some(pending) = &mine.pending {
            return Err(still_taken(&pending.tag));
        }
        let lock = HeldName::wait(LOCK, &self.lock_of(tag), Instant::now() + FORK).await?;
        let lock = lock.ok_or_else(|| still_taken(tag))?;
        must_be_new(&self.data_directories, tag).await?;
        let vital = task.vital().map_err(AgentError::from)?;
        mine.tags.insert(tag.clone(), None);
        let started = Instant::now();
        mine.pending = Some(self.ask(request, lock, vital));
        let taken = match mine.answer(task).await {
            Ok(()) => check(&self.data_directories, tag).await,
            Err(fault) => Err(fault),
        };
        match taken {
            Ok(content) => {
                mine.tags.insert(tag.clone(), Some(content));
                let took_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
                let Content { tables, files, bytes } = content;
                Ok(SnapshotTaken { tables, files, bytes, took_ms })
            }
            Err(fault) if fault.kind == FaultKind::Exists => {
                // Somebody else was faster: it is his.
                mine.tags.remove(tag);
                Err(fault)
            }
            Err(fault) => {
                if let Err(error) = self.clear_of(&mut mine, tag, CALLED_OFF_LIMIT).await {
                    task.note(format!("the snapshot {tag} could not be cleared yet: {error}"));
                }
                Err(fault)
            }
        }
    }

    /// What was in a snapshot when this conversation found it whole; none if it did not.
    pub(super) async fn content(
        &self,
        tag: &SnapshotTag,
        task: &Task,
    ) -> Result<Option<Content>, Fault> {
        Ok(self.mine(task).await?.tags.get(tag).copied().flatten())
    }

    /// Removes a snapshot, of this conversation or of one that died. Waits until Cassandra has
    /// taken it to its end, whichever agent asked for it, and fails if that takes too long. Tells
    /// how many directories there were.
    pub(super) async fn clear(&self, tag: &SnapshotTag, task: &Task) -> Result<u64, Fault> {
        let mut mine = self.mine(task).await?;
        tokio::select! {
            cleared = self.clear_of(&mut mine, tag, STILL_TAKEN_LIMIT) => cleared,
            () = task.cancelled() => Err(AgentError::from(Cancelled).into()),
        }
    }

    /// The conversation is over: clears all that is left.
    pub(super) async fn clear_all(&self) {
        let mut mine = self.mine.lock().await;
        for tag in mine.tags.keys().cloned().collect::<Vec<_>>() {
            if let Err(fault) = self.clear_of(&mut mine, &tag, CALLED_OFF_LIMIT).await {
                error!(%tag, %fault, "a snapshot is left");
            }
        }
    }

    async fn mine(&self, task: &Task) -> Result<MutexGuard<'_, Mine>, Fault> {
        tokio::select! {
            mine = self.mine.lock() => Ok(mine),
            () = task.cancelled() => Err(AgentError::from(Cancelled).into()),
        }
    }

    fn ask(&self, request: &Snapshot, lock: HeldName, vital: TaskTrackerToken) -> Pending {
        let (nodetool, tag) = (self.nodetool.clone(), request.tag.clone());
        let ttl = request.ttl_seconds.map(Duration::from_secs);
        let asked = async move {
            let _until_it_has_ended = (lock, vital);
            nodetool.snapshot(tag.as_str(), ttl, NODETOOL_LIMIT).await
        };
        Pending { tag: request.tag.clone(), answer: self.scope.spawn(asked) }
    }

    async fn clear_of(
        &self,
        mine: &mut Mine,
        tag: &SnapshotTag,
        patience: Duration,
    ) -> Result<u64, Fault> {
        let until = Instant::now() + patience;
        if let Some(pending) = mine.pending.as_mut().filter(|pending| pending.tag == *tag) {
            if timeout_at(until, &mut pending.answer).await.is_err() {
                return Err(still_taken(tag));
            }
            mine.pending = None;
        }
        let lock = HeldName::wait(LOCK, &self.lock_of(tag), until).await?;
        let _lock = lock.ok_or_else(|| still_taken(tag))?;
        // The agent that asked for it was killed, and let go of the lock.
        while is_taken_for_nobody(tag).await? {
            if Instant::now() >= until {
                return Err(still_taken(tag));
            }
            sleep(LOOK).await;
        }
        let directories = clear(&self.nodetool, &self.data_directories, tag).await?;
        mine.tags.remove(tag);
        Ok(directories)
    }

    /// What names a snapshot's lock: several Cassandras may share a kernel.
    fn lock_of<'a>(&'a self, tag: &'a SnapshotTag) -> [&'a [u8]; 2] {
        let first = self.data_directories.first();
        let first = first.map(|path| path.as_os_str().as_bytes()).unwrap_or_default();
        [first, tag.as_str().as_bytes()]
    }
}

impl Mine {
    /// What nodetool says of the snapshot. It stays pending if that is not waited for.
    async fn answer(&mut self, task: &Task) -> Result<(), Fault> {
        let Some(pending) = self.pending.as_mut() else { return Ok(()) };
        let answer = tokio::select! {
            answer = &mut pending.answer => answer,
            () = task.cancelled() => return Err(AgentError::from(Cancelled).into()),
            () = sleep(SNAPSHOT_LIMIT) => {
                let limit = SNAPSHOT_LIMIT.as_secs();
                let what = format!("Cassandra has not taken the snapshot within {limit} s");
                let remedy = "see in its log what it flushes, and whether its disk keeps up";
                return Err(AgentError::wrong(FaultKind::TimedOut, what, remedy).into());
            }
        };
        self.pending = None;
        match answer {
            Ok(Some(asked)) => asked.map_err(|error| AgentError::from(error).into()),
            Ok(None) => Err(AgentError::from(Cancelled).into()),
            Err(died) => Err(AgentError::wrong(FaultKind::Bug, died.to_string(), "").into()),
        }
    }
}

async fn is_taken_for_nobody(tag: &SnapshotTag) -> Result<bool, Fault> {
    let tag = tag.clone();
    on_a_thread("look", move || {
        is_taking_snapshot(tag.as_str()).map_err(|error| {
            let what = format!("cannot see what runs on this node: {error}");
            AgentError::wrong(FaultKind::NodeFiles, what, "").into()
        })
    })
    .await
}

fn still_taken(tag: &SnapshotTag) -> Fault {
    let what = format!("Cassandra still takes the snapshot {tag}: it may appear yet");
    let remedy = format!(
        "when `nodetool snapshot` has ended on this node, it is cleared, or `nodetool \
         clearsnapshot -t {tag}` does it"
    );
    AgentError::wrong(FaultKind::TimedOut, what, remedy).into()
}

async fn must_be_new(data_directories: &[PathBuf], tag: &SnapshotTag) -> Result<(), Fault> {
    if directories_of(data_directories, tag).await?.is_empty() {
        return Ok(());
    }
    let what = format!("this node has a snapshot {tag} already, and it is not this job's");
    let remedy = "see whose it is, and clear it by `nodetool clearsnapshot -t` if nobody wants it";
    Err(AgentError::wrong(FaultKind::Exists, what, remedy).into())
}

/// Tells what is in the snapshot, if it is whole.
async fn check(data_directories: &[PathBuf], tag: &SnapshotTag) -> Result<Content, Fault> {
    let (directories, tag) = (data_directories.to_vec(), tag.clone());
    on_a_thread("check", move || {
        let tables = snapshot_files(&directories, &tag)?;
        if !tables.iter().any(|table| table.keyspace.as_str() == ALWAYS_THERE) {
            let what = format!(
                "nodetool took the snapshot {tag}, and the data directories of cassandra.yaml have \
                 nothing of it"
            );
            let remedy = "see whether nodetool talks to this node's Cassandra (nodetool_host), and \
                          whether that is the cassandra.yaml it runs with";
            return Err(AgentError::wrong(FaultKind::Damaged, what, remedy).into());
        }
        Ok(Content::of(&tables))
    })
    .await
}

/// Removes every directory of the snapshot and makes sure that it is gone. Tells how many there
/// were.
///
/// Cassandra finds its snapshots by looking for these directories, so that removing them is as
/// good as `nodetool clearsnapshot`, a Java start cheaper, and works while Cassandra is down. Where
/// this agent may not, Cassandra is asked.
async fn clear(
    nodetool: &Nodetool,
    data_directories: &[PathBuf],
    tag: &SnapshotTag,
) -> Result<u64, Fault> {
    let found = directories_of(data_directories, tag).await?;
    let count = found.len() as u64;
    let removed = on_a_thread("clear", move || {
        for directory in found {
            if let Err(error) = std::fs::remove_dir_all(&directory)
                && error.kind() != std::io::ErrorKind::NotFound
            {
                warn!(directory = %directory.display(), %error, "not removed");
            }
        }
        Ok(())
    });
    removed.await?;
    if directories_of(data_directories, tag).await?.is_empty() {
        return Ok(count);
    }
    let asked = nodetool.clear_snapshot(tag.as_str(), CLEAR_LIMIT).await;
    let left = directories_of(data_directories, tag).await?;
    let Some(left) = left.first() else { return Ok(count) };
    asked.map_err(AgentError::from)?;
    let what = format!("the snapshot {tag} is still there, in {}", left.display());
    let remedy = "remove it by `nodetool clearsnapshot -t` as a user who may";
    Err(AgentError::wrong(FaultKind::NodeFiles, what, remedy).into())
}

async fn directories_of(
    data_directories: &[PathBuf],
    tag: &SnapshotTag,
) -> Result<Vec<PathBuf>, Fault> {
    let (directories, tag) = (data_directories.to_vec(), tag.clone());
    on_a_thread("look", move || {
        let mut found = Vec::new();
        for data in &directories {
            let here = snapshot_directories(data, &tag)?;
            found.extend(here.into_iter().map(|(_, _, directory)| directory));
        }
        Ok(found)
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::fixture::task;
    use crate::agent::protocol::RequestId;
    use crate::config::NodetoolSettings;
    use std::fs;
    use std::path::Path;
    use tokio::sync::mpsc;
    use tokio::time::timeout;
    use tokio_util::task::TaskTracker;

    /// A node whose nodetool is this shell script, `$TABLE` being where the second of two tables
    /// has its snapshots.
    fn snapshots(folder: &Path, script: &str) -> Snapshots {
        let table = folder.join("ks/b-2/snapshots");
        let settings = NodetoolSettings {
            executable: "/bin/sh".to_owned(),
            flags: vec![
                "-c".to_owned(),
                format!("cd {}; TABLE={}; {script}", folder.display(), table.display()),
                "sh".to_owned(),
            ],
            ssl: false,
            username: None,
            password: None,
            host: None,
            port: None,
        };
        fs::create_dir_all(folder.join("ks/a-1/snapshots")).unwrap();
        fs::create_dir_all(table).unwrap();
        let nodetool = Nodetool::new(settings);
        Snapshots::new(nodetool, vec![folder.to_owned()])
    }

    fn request() -> Snapshot {
        Snapshot { tag: SnapshotTag::parse("medusafs-x").unwrap(), ttl_seconds: None }
    }

    /// Takes the snapshot of one table, and that of the other once there is a file `go`.
    const SLOW: &str = "mkdir ks/a-1/snapshots/medusafs-x; until [ -e go ]; do sleep 0.02; done; \
                        mkdir $TABLE/medusafs-x";

    /// Calls a snapshot off that Cassandra has begun to take. Tells the directory that it has by
    /// then.
    async fn called_off(folder: &Path, snapshots: &Snapshots, task: &Task) -> PathBuf {
        let begun = folder.join("ks/a-1/snapshots/medusafs-x");
        let call_off = async {
            while !begun.exists() {
                tokio::task::yield_now().await;
            }
            task.cancel();
        };
        let request = request();
        let (taken, ()) = tokio::join!(snapshots.take(&request, task), call_off);
        assert_eq!(taken.unwrap_err().kind, FaultKind::Cancelled);
        begun
    }

    #[tokio::test(start_paused = true)]
    async fn another_agent_counts_a_snapshot_as_cleared_only_once_it_has_been_taken() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        let (first, second) = (snapshots(folder, SLOW), snapshots(folder, SLOW));
        let vital = TaskTracker::new();
        let asked = Task::new(RequestId(1), mpsc::channel(64).0, vital.clone());
        let begun = called_off(folder, &first, &asked).await;
        vital.close();
        let goes = timeout(Duration::from_hours(1), vital.wait()).await;
        assert!(goes.is_err(), "the agent that asked ends while nodetool runs");
        let (request, task) = (request(), task());
        let fault = second.clear(&request.tag, &task).await.unwrap_err();
        assert_eq!(fault.kind, FaultKind::TimedOut);
        assert!(fault.to_string().contains("nodetool clearsnapshot -t medusafs-x"), "{fault}");
        assert!(begun.exists());
        tokio::time::resume();
        fs::write(folder.join("go"), "").unwrap();
        assert_eq!(second.clear(&request.tag, &task).await, Ok(2));
        assert!(!begun.exists() && !folder.join("ks/b-2/snapshots/medusafs-x").exists());
        vital.wait().await;
    }

    #[tokio::test(start_paused = true)]
    async fn what_cassandra_still_takes_counts_as_cleared_only_once_it_has_been_taken() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        let snapshots = snapshots(folder, SLOW);
        let begun = called_off(folder, &snapshots, &task()).await;
        let (request, again) = (request(), task());
        let fault = snapshots.clear(&request.tag, &again).await.unwrap_err();
        assert_eq!(fault.kind, FaultKind::TimedOut);
        assert!(begun.exists());
        let fault = snapshots.take(&request, &again).await.unwrap_err();
        assert_eq!(fault.kind, FaultKind::TimedOut);
        tokio::time::resume();
        fs::write(folder.join("go"), "").unwrap();
        assert_eq!(snapshots.clear(&request.tag, &again).await, Ok(2));
        assert!(!begun.exists() && !folder.join("ks/b-2/snapshots/medusafs-x").exists());
    }

    #[tokio::test]
    #[expect(clippy::disallowed_methods, reason = "a nodetool whose agent was killed")]
    async fn a_nodetool_that_outlived_its_agent_is_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        let snapshots = snapshots(folder, "exit 1");
        let tag = SnapshotTag::parse("medusafs-y").unwrap();
        let last = folder.join("ks/b-2/snapshots/medusafs-y");
        let script = format!(
            "until [ -e {0}/go ]; do sleep 0.02; done; mkdir {1}",
            folder.display(),
            last.display()
        );
        let mut nodetool = std::process::Command::new("/bin/sh")
            .args([
                "-c",
                &script,
                "org.apache.cassandra.tools.NodeTool",
                "snapshot",
                "-t",
                tag.as_str(),
            ])
            .spawn()
            .unwrap();
        let task = task();
        let clear = snapshots.clear(&tag, &task);
        tokio::pin!(clear);
        assert!(timeout(Duration::from_secs(1), &mut clear).await.is_err(), "it is taken yet");
        fs::write(folder.join("go"), "").unwrap();
        nodetool.wait().unwrap();
        assert_eq!(clear.await, Ok(1));
        assert!(!last.exists());
    }

    #[tokio::test]
    async fn a_snapshot_that_somebody_else_took_at_the_same_moment_is_his() {
        let folder = tempfile::tempdir().unwrap();
        let script =
            "mkdir $TABLE/medusafs-x; echo 'error: Snapshot x already exists.' >&2; exit 2";
        let snapshots = snapshots(folder.path(), script);
        let fault = snapshots.take(&request(), &task()).await.unwrap_err();
        assert_eq!(fault.kind, FaultKind::Exists);
        snapshots.clear_all().await;
        let his = folder.path().join("ks/b-2/snapshots/medusafs-x");
        assert!(his.exists());
        let fault = snapshots.take(&request(), &task()).await.unwrap_err();
        assert_eq!(fault.kind, FaultKind::Exists);
        assert!(his.exists());
    }
}
