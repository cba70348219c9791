//! What is done about a backup whose process died.
//!
//! It is not gone on with: its snapshots are of a moment that has passed, and its agents have
//! already cleared what they could when their lines broke. It is brought to an end: snapshots that
//! are left are cleared, unpublished bytes withdrawn, and `error` says what there is.

use std::collections::{BTreeMap, BTreeSet};

use crate::agent::protocol::SnapshotTag;
use crate::cluster::AgentLine;
use crate::model::{Fqdn, JobState, Phase};

use super::run::withdraw;
use super::snapshot::clear;
use super::{BackupRequest, Context, JobError, Record, survey};

/// Brings a dead backup to its end.
pub(in crate::jobs) async fn recover(
    cx: &Context,
    request: &BackupRequest,
) -> Result<(JobState, String), JobError> {
    let journaled = Journaled::read(cx.journal.lock().records());
    let phase = cx.board.status().phase;
    let mut found = vec![format!("the process that did it died while it was at {phase:?} phase")];
    if journaled.snapshots.is_empty() {
        found.push("nothing had been begun on any node".to_owned());
        return Err(died(cx, &found));
    }
    cx.board.moves_to(JobState::Running, Phase::Clear);
    let lease =
        survey::take_cluster_lease(cx, &format!("recovery of backup {}", request.name)).await?;
    let tag = SnapshotTag::of(&request.name).map_err(|error| JobError::Host(error.to_string()))?;
    let reached = survey::reach_known(cx, &journaled.snapshots).await;
    let agents: BTreeMap<Fqdn, AgentLine> = reached
        .iter()
        .filter_map(|(name, node)| Some((name.clone(), node.as_ref().ok()?.agent.clone())))
        .collect();
    let left = clear(cx, &agents, &tag).await;
    let unpublished: BTreeMap<_, _> = agents
        .iter()
        .filter(|(name, _)| !journaled.published.contains(*name))
        .map(|(name, agent)| (name.clone(), agent.clone()))
        .collect();
    withdraw(cx, &unpublished, &request.name).await;
    lease.give_back(cx).await;
    let unreachable = reached.iter().filter_map(|(name, node)| Some((name, node.as_ref().err()?)));
    for (name, why) in unreachable
        .map(|(name, why)| (name, why.as_str()))
        .chain(left.iter().map(|(name, why)| (name, why.as_str())))
    {
        found.push(format!(
            "{name} may still have the snapshot medusa-{} ({why}): `medusafs resume {}` clears it \
             when the node answers",
            request.name,
            cx.board.folder().id()
        ));
    }
    if journaled.published.is_empty() {
        found.push("nothing of it is in the index; the name can be used again".to_owned());
    } else {
        let names: Vec<_> = journaled.published.iter().map(Fqdn::as_str).collect();
        found.push(format!(
            "published before that, and whole: {}; `mkdir backups/{}/NODE` adds each other node",
            names.join(", "),
            request.name
        ));
    }
    if journaled.published == journaled.snapshots {
        return Ok((JobState::Complete, String::new()));
    }
    if journaled.published.is_empty() {
        Err(died(cx, &found))
    } else {
        Ok((JobState::Incomplete, found.join("\n")))
    }
}

fn died(cx: &Context, found: &[String]) -> JobError {
    JobError::Died { job: cx.board.folder().id().clone(), found: found.join("\n") }
}

/// What the journal tells.
struct Journaled {
    /// Nodes that may have a snapshot of ours, or had.
    snapshots: BTreeSet<Fqdn>,
    /// Nodes whose backup is in the index.
    published: BTreeSet<Fqdn>,
}

impl Journaled {
    fn read(records: &[Record]) -> Self {
        let mut this = Self { snapshots: BTreeSet::new(), published: BTreeSet::new() };
        for record in records {
            match record {
                Record::SnapshotBegins { node, .. } => {
                    this.snapshots.insert(node.clone());
                }
                Record::Published { node } => {
                    this.published.insert(node.clone());
                }
                Record::Taken { .. }
                | Record::SnapshotCleared { .. }
                | Record::PublishBegins { .. }
                | Record::StageBegins { .. }
                | Record::SwapBegins { .. }
                | Record::Swapped { .. }
                | Record::Undone { .. } => {}
            }
        }
        this
    }
}
