//! Snapshots: taken on all nodes together, and gone afterwards whatever happens.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::agent::protocol::{Clear, Snapshot, SnapshotTag};
use crate::cluster::{AgentLine, Deaf};
use crate::model::{Fqdn, JobState, Phase};
use crate::observe::ErrorChain;

use super::agents::{on_agents, why};
use super::{Context, JobError, Record};

/// Flushing all memtables of a busy node, and a hard link for each file.
const SNAPSHOT_WITHIN: Duration = Duration::from_mins(15);

/// A snapshot that nobody could clear goes away by itself after this long, from Cassandra 4.1 on.
const SNAPSHOT_TTL: Duration = Duration::from_hours(72);

/// For removing directories of hard links.
const CLEAR_WITHIN: Duration = Duration::from_mins(10);

/// Takes a snapshot on every node, all at once.
///
/// # Errors
///
/// If one node fails, all are cleared: a backup is of one moment, and nodetool's refusal is the
/// same as a failed check.
pub(in crate::jobs) async fn take(
    cx: &Context,
    agents: &BTreeMap<Fqdn, AgentLine>,
    tag: &SnapshotTag,
    has_ttl: bool,
) -> Result<(), JobError> {
    cx.board.moves_to(JobState::Running, Phase::Snapshot);
    for node in agents.keys() {
        cx.write(Record::SnapshotBegins { node: node.clone(), tag: tag.as_str().to_owned() })?;
        cx.show(node, |node| {
            node.state = JobState::Running;
            node.phase = Phase::Snapshot;
        });
    }
    let ttl_seconds = has_ttl.then_some(SNAPSHOT_TTL.as_secs());
    let taking = on_agents(cx, agents.len(), agents, |_, agent| {
        let request = Snapshot { tag: tag.clone(), ttl_seconds };
        async move { agent.ask(request, Some(SNAPSHOT_WITHIN), Arc::new(Deaf)).await }
    });
    let taken = cx.unless_cancelled(taking).await?;
    let mut failed = Vec::new();
    for (node, answer) in taken {
        match answer {
            Ok(taken) => {
                cx.board.log(&format!(
                    "{node}: snapshot of {} tables, {} files, in {} ms",
                    taken.tables, taken.files, taken.took_ms
                ));
                cx.show(&node, |node| {
                    node.progress.files_total = Some(taken.files);
                    node.progress.bytes_total = Some(taken.bytes);
                });
            }
            Err(error) => {
                let why = why(&error);
                cx.board.node_failed(&node, &why);
                failed.push((node, why));
            }
        }
    }
    if failed.is_empty() {
        Ok(())
    } else {
        Err(JobError::Nodes { doing: "taking the snapshots", nodes: failed })
    }
}

/// Clears the snapshot on every node that still answers. What could not be done the journal does
/// not say to be done, and the log says why.
pub(in crate::jobs) async fn clear(
    cx: &Context,
    agents: &BTreeMap<Fqdn, AgentLine>,
    tag: &SnapshotTag,
) {
    let cleared = on_agents(cx, agents.len(), agents, |_, agent| {
        let request = Clear { tag: tag.clone() };
        async move { agent.ask(request, Some(CLEAR_WITHIN), Arc::new(Deaf)).await }
    })
    .await;
    for (node, answer) in cleared {
        match answer {
            Ok(_) => {
                if let Err(error) = cx.write(Record::SnapshotCleared { node: node.clone() }) {
                    cx.board.log(&format!(
                        "{node}: the snapshot {tag} is cleared, which could not be written down: {}",
                        ErrorChain(&error)
                    ));
                }
            }
            Err(error) => {
                let why = why(&error);
                cx.board.log(&format!("{node}: the snapshot {tag} could not be cleared: {why}"));
            }
        }
    }
}
