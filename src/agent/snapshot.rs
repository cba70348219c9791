//! Snapshots: taken by Cassandra, checked here, and cleared whatever happens.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use tracing::warn;

use super::error::AgentError;
use super::protocol::{Fault, FaultKind, Snapshot, SnapshotTag, SnapshotTaken};
use super::snapshot_files::{snapshot_directories, snapshot_files};
use super::task::{Cancelled, Task, on_a_thread};
use crate::cassandra::Nodetool;
use crate::model::Clock;

/// A flush of everything takes long on a node with much in its memtables.
const SNAPSHOT_LIMIT: Duration = Duration::from_mins(10);

/// A snapshot that is called off is taken to its end by Cassandra, if this agent waits or not. It
/// waits so long, so that what is cleared afterwards is all of it.
const CALLED_OFF_LIMIT: Duration = Duration::from_secs(15);

const CLEAR_LIMIT: Duration = Duration::from_secs(45);

/// The keyspace that every snapshot of a whole node has.
const ALWAYS_THERE: &str = "system_schema";

/// Takes the snapshot and checks that it is whole. On failure, and when called off, it is cleared.
pub(super) async fn take(
    nodetool: &Nodetool,
    data_directories: &[PathBuf],
    request: &Snapshot,
    clock: &dyn Clock,
    task: &Task,
) -> Result<SnapshotTaken, Fault> {
    let tag = &request.tag;
    must_be_new(data_directories, tag).await?;
    task.still_wanted().map_err(AgentError::from)?;
    let (begun, started) = (clock.now(), Instant::now());
    let taken = match ask(nodetool, request, task).await {
        Ok(()) => check(data_directories, tag).await,
        Err(error) => Err(error),
    };
    match taken {
        Ok((tables, files, bytes)) => {
            let took_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
            Ok(SnapshotTaken { tables, files, bytes, begun, took_ms })
        }
        Err(fault) => {
            if let Err(error) = clear(nodetool, data_directories, tag).await {
                task.note(format!("the snapshot {tag} could not be cleared: {error}"));
            }
            Err(fault)
        }
    }
}

async fn ask(nodetool: &Nodetool, request: &Snapshot, task: &Task) -> Result<(), Fault> {
    let ttl = request.ttl_seconds.map(Duration::from_secs);
    let asked = nodetool.snapshot(request.tag.as_str(), ttl, SNAPSHOT_LIMIT);
    tokio::pin!(asked);
    tokio::select! {
        answer = &mut asked => return answer.map_err(|error| AgentError::from(error).into()),
        () = task.cancelled() => {}
    }
    if tokio::time::timeout(CALLED_OFF_LIMIT, asked).await.is_err() {
        warn!(tag = %request.tag, "Cassandra still takes a snapshot that nobody wants");
    }
    Err(AgentError::from(Cancelled).into())
}

async fn must_be_new(data_directories: &[PathBuf], tag: &SnapshotTag) -> Result<(), Fault> {
    if directories_of(data_directories, tag).await?.is_empty() {
        return Ok(());
    }
    let what = format!("this node has a snapshot {tag} already");
    let remedy =
        "another backup of that name is at work here, or one was killed: clear the snapshot";
    Err(AgentError::wrong(FaultKind::Exists, what, remedy).into())
}

/// Counts tables, files and bytes, if the snapshot is whole.
async fn check(data_directories: &[PathBuf], tag: &SnapshotTag) -> Result<(u64, u64, u64), Fault> {
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
        let files = tables.iter().flat_map(|table| &table.files);
        let (count, bytes) =
            files.fold((0, 0), |(count, bytes), file| (count + 1, bytes + file.bytes));
        Ok((tables.len() as u64, count, bytes))
    })
    .await
}

/// Removes every directory of the snapshot and makes sure that it is gone. Tells how many there
/// were.
///
/// Cassandra finds its snapshots by looking for these directories, so that removing them is as
/// good as `nodetool clearsnapshot`, a Java start cheaper, and works while Cassandra is down. Where
/// this agent may not, Cassandra is asked.
pub(super) async fn clear(
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
