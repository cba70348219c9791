//! The steps in order.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use crate::agent::protocol::{SnapshotTag, UploadMode, Withdraw};
use crate::cluster::{AgentLine, Deaf, Reached, RingNode, Survey, on_all};
use crate::config::BackupMode;
use crate::model::{BackupName, Fqdn, JobState, Phase, UnixSeconds};

use super::publish::{Edition, publish};
use super::recover::{Journaled, finish_publishing, snapshot_left};
use super::snapshot::{clear, take};
use super::survey::HeldLease;
use super::upload::upload;
use super::{BackupRequest, Context, JobError, survey};

/// For removing what was not published.
const WITHDRAW_WITHIN: Duration = Duration::from_mins(10);

/// What the job waits between two looks at the time, before the first snapshot.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// Backs up the cluster, or one node of it, and returns the end state with what is to be said.
pub(in crate::jobs) async fn run(
    cx: &Context,
    request: &BackupRequest,
) -> Result<(JobState, String), JobError> {
    cx.board.moves_to(JobState::Running, Phase::Check);
    let lease = survey::take_cluster_lease(cx, &format!("backup {}", request.name)).await?;
    let ended = match survey::look(cx, request.node.as_ref()).await {
        Ok(looked) => work(cx, request, &looked, &lease).await,
        Err(error) => Err(error),
    };
    lease.give_back(cx).await;
    ended
}

async fn work(
    cx: &Context,
    request: &BackupRequest,
    looked: &Survey,
    lease: &HeldLease,
) -> Result<(JobState, String), JobError> {
    let mode = match request.mode {
        BackupMode::Full => UploadMode::Full,
        BackupMode::Differential => UploadMode::Differential,
    };
    let tag = SnapshotTag::of(&request.name).map_err(|error| JobError::Host(error.to_string()))?;
    let agents: BTreeMap<Fqdn, AgentLine> = looked
        .reached
        .iter()
        .filter(|(name, _)| request.node.as_ref().is_none_or(|only| only == *name))
        .map(|(name, reached)| (name.clone(), reached.agent.clone()))
        .collect();
    cx.board.set_nodes(agents.keys().cloned());
    until(cx, request.no_snapshot_before).await?;
    let started = looked.share.clock.unwrap_or_else(|| cx.clock.now());

    let copied = match take(cx, &agents, &tag, looked.snapshots_have_ttl()).await {
        Ok(()) => upload(cx, &agents, &request.name, mode, &tag).await,
        Err(error) => Err(error),
    };
    cx.board.moves_to(JobState::Running, Phase::Clear);
    let mut renewed = Renewed::default();
    let agents = renewed.lines(cx, agents).await;
    let left = clear(cx, &agents, &tag).await;
    let left: Vec<String> =
        left.iter().map(|(node, why)| snapshot_left(cx, request, node, why)).collect();
    let copied = match copied {
        Ok(copied) => copied,
        Err(error) => {
            withdraw(cx, &agents, &request.name, &BTreeSet::new()).await;
            return if left.is_empty() { Err(error) } else { Ok(failed(&error, &left)) };
        }
    };

    let again = look_again(cx, looked, request).await;
    let changed = match again.and_then(|changed| lease.still_held().map(|()| changed)) {
        Ok(changed) => changed,
        Err(error) => {
            withdraw(cx, &agents, &request.name, &BTreeSet::new()).await;
            return Err(error);
        }
    };
    let whole: BTreeMap<_, _> = agents
        .iter()
        .filter(|(name, _)| copied.contains_key(*name))
        .map(|(name, agent)| (name.clone(), agent.clone()))
        .collect();
    let edition = Edition {
        backup: &request.name,
        mode,
        started,
        schema: &looked.schema,
        release_version: &looked.release_version,
        ring: &looked.ring,
    };
    publish(cx, &whole, &edition).await?;
    let agents = renewed.lines(cx, agents).await;
    let journaled = Journaled::read(cx.journal.lock().records());
    let mut found = left;
    let published = finish_publishing(cx, request, &journaled, &agents, &mut found).await?;
    for node in &published {
        cx.show(node, |node| {
            node.state = JobState::Complete;
            node.error = None;
        });
    }
    withdraw(cx, &agents, &request.name, &published).await;
    if !published.is_empty() {
        let new = copied.values().map(|node| node.new_bytes).sum();
        cx.board.change(|status| status.unique_bytes = Some(new));
    }
    Ok(end(request, looked, &published, &changed, found, cx))
}

/// Nodes that were logged in to once more, for their agent was lost.
#[derive(Default)]
struct Renewed(Vec<Reached>);

impl Renewed {
    /// The agents, with another in the place of each that was lost, as far as its node answers.
    async fn lines(
        &mut self,
        cx: &Context,
        mut agents: BTreeMap<Fqdn, AgentLine>,
    ) -> BTreeMap<Fqdn, AgentLine> {
        let lost = agents.iter().filter(|(_, agent)| agent.is_broken());
        let lost: BTreeSet<Fqdn> = lost.map(|(name, _)| name.clone()).collect();
        if lost.is_empty() {
            return agents;
        }
        for (name, reached) in survey::reach_known(cx, &lost).await {
            match reached {
                Ok(reached) => {
                    cx.board.log(&format!("{name}: another agent is there"));
                    agents.insert(name, reached.agent.clone());
                    self.0.push(reached);
                }
                Err(why) => cx.board.log(&format!("{name}: it cannot be reached again: {why}")),
            }
        }
        agents
    }
}

/// The end of a backup that failed and left something behind.
fn failed(error: &JobError, left: &[String]) -> (JobState, String) {
    (error.state(), format!("{}\n{}", error.in_words(), left.join("\n")))
}

/// Waits until a snapshot may be taken; whoever made the directory may yet withdraw it.
async fn until(cx: &Context, not_before: UnixSeconds) -> Result<(), JobError> {
    while cx.clock.now() < not_before {
        cx.unless_cancelled(tokio::time::sleep(LOOK_AGAIN)).await?;
    }
    cx.still_wanted()
}

/// The ring as it is now, against what it was: each difference in words.
async fn look_again(
    cx: &Context,
    looked: &Survey,
    request: &BackupRequest,
) -> Result<Vec<String>, JobError> {
    if request.node.is_some() {
        return Ok(Vec::new());
    }
    let now = cx.unless_cancelled(looked.ring_now(&cx.reach)).await?;
    Ok(match now {
        Err(finding) => vec![format!("the ring could not be looked at again: {finding}")],
        Ok(now) => differences(&looked.ring, &now),
    })
}

fn differences(before: &BTreeMap<Fqdn, RingNode>, now: &[RingNode]) -> Vec<String> {
    let gone = before
        .iter()
        .filter(|(_, node)| !now.iter().any(|other| other.host_id == node.host_id))
        .map(|(name, _)| format!("{name} left the ring while it was backed up"));
    let new = now
        .iter()
        .filter(|node| !before.values().any(|other| other.host_id == node.host_id))
        .map(|node| format!("{} joined the ring while it was backed up", node.address));
    let moved = before
        .iter()
        .filter(|(_, node)| {
            now.iter().any(|other| other.host_id == node.host_id && other.tokens != node.tokens)
        })
        .map(|(name, _)| format!("{name} changed its tokens while it was backed up"));
    gone.chain(new).chain(moved).collect()
}

/// Takes back what was copied by nodes that are not among the `published`. What fails here is bytes
/// that nobody names.
pub(super) async fn withdraw(
    cx: &Context,
    agents: &BTreeMap<Fqdn, AgentLine>,
    backup: &BackupName,
    published: &BTreeSet<Fqdn>,
) {
    let unpublished = agents.iter().filter(|(name, _)| !published.contains(*name));
    let lines = unpublished.map(|(name, agent)| (name.clone(), agent.clone()));
    let answers = on_all(&cx.scope, agents.len(), lines, |node, agent| {
        let request = Withdraw { backup: backup.clone(), node };
        async move { agent.ask(request, Some(WITHDRAW_WITHIN), Arc::new(Deaf)).await }
    })
    .await;
    for (node, answer) in answers {
        if let Err(error) = answer {
            cx.board.log(&format!("{node}: left unnamed files on the share: {}", error.in_words()));
        }
    }
}

/// What the job ends as: complete if every node that it is for is published and the ring stood
/// still. A snapshot that could not be cleared is said, and takes nothing from the backup.
fn end(
    request: &BackupRequest,
    looked: &Survey,
    published: &BTreeSet<Fqdn>,
    changed: &[String],
    found: Vec<String>,
    cx: &Context,
) -> (JobState, String) {
    let datacenters = &cx.config.medusafs.datacenters;
    let missing: Vec<&Fqdn> = looked
        .ring
        .iter()
        .filter(|(_, node)| datacenters.contains(&node.datacenter))
        .map(|(name, _)| name)
        .filter(|name| request.node.as_ref().is_none_or(|only| only == *name))
        .filter(|name| !published.contains(*name))
        .collect();
    let status = cx.board.status();
    let mut lines = Vec::new();
    for name in &missing {
        let node = status.nodes.iter().find(|node| node.name == **name);
        let why = node
            .and_then(|node| node.error.clone())
            .unwrap_or_else(|| "it was left out, for it is down".to_owned());
        lines.push(format!("{name} is not in it: {why}"));
        if !published.is_empty() {
            let backup = &request.name;
            lines.push(format!("  when that is mended, `mkdir backups/{backup}/{name}` adds it"));
        }
    }
    lines.extend(changed.iter().cloned());
    lines.extend(found);
    let state = if published.is_empty() {
        JobState::Failed
    } else if missing.is_empty() && changed.is_empty() {
        JobState::Complete
    } else {
        JobState::Incomplete
    };
    (state, lines.join("\n"))
}
