//! The steps in order.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::agent::protocol::SnapshotTag;
use crate::cluster::{AgentLine, Purpose, Reached, RingNode, Survey};
use crate::config::BackupMode;
use crate::medusa::Mode;
use crate::model::{Fqdn, JobState, Phase, UnixSeconds};

use super::lease::{HeldLease, IfBusy, take_cluster};
use super::members::members;
use super::publish::{Edition, publish};
use super::settle::{Settled, settle};
use super::snapshot::{clear, take};
use super::upload::upload;
use super::withdraw::withdraw;
use super::{BackupRequest, Context, JobError, Record, survey};

/// What the job waits between two looks at the time, before the first snapshot.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// Backs up the cluster, or one node of it, and returns the end state with what is to be said.
pub(in crate::jobs) async fn run(
    cx: &Context,
    request: &BackupRequest,
) -> Result<(JobState, String), JobError> {
    cx.board.moves_to(JobState::Running, Phase::Check);
    let lease = take_cluster(cx, &format!("backup {}", request.name), IfBusy::Fail).await?;
    let ended = match survey::look(cx, &Purpose::Backup(request.node.clone())).await {
        Ok(looked) => {
            survey::remember(cx, &looked, &lease).await;
            work(cx, request, &looked, &lease).await
        }
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
        BackupMode::Full => Mode::Full,
        BackupMode::Differential => Mode::Differential,
    };
    let tag = SnapshotTag::of(cx.board.folder().id())
        .map_err(|error| JobError::Host(error.to_string()))?;
    let members = members(request.node.as_ref(), &cx.config.medusafs.datacenters, &looked.ring);
    let agents: BTreeMap<Fqdn, AgentLine> = looked
        .reached
        .iter()
        .filter(|(name, _)| members.contains(*name))
        .map(|(name, reached)| (name.clone(), reached.agent.clone()))
        .collect();
    cx.board.set_nodes(agents.keys().cloned());
    until(cx, request.no_snapshot_before).await?;
    let started = looked.share.clock.unwrap_or_else(|| cx.clock.now());

    let copying = async {
        take(cx, &agents, &tag, looked.snapshots_have_ttl()).await?;
        upload(cx, &agents, &request.name, mode, &tag).await
    };
    let copied = lease.while_held(copying).await;
    cx.board.moves_to(JobState::Running, Phase::Clear);
    let mut renewed = Renewed::default();
    let agents = renewed.lines(cx, agents).await;
    clear(cx, &agents, &tag).await;
    let ready = async {
        let copied = copied?;
        let changed = look_again(cx, looked, &renewed.0, request).await?;
        lease.still_held()?;
        let lacks = members.iter().filter(|name| !copied.contains_key(*name));
        let what = lacks.map(|name| not_in_it(cx, name)).chain(changed.iter().cloned()).collect();
        cx.write(Record::Lacking { what })?;
        Ok::<_, JobError>((copied, changed))
    };
    let (copied, changed) = match ready.await {
        Ok(ready) => ready,
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
    let unasked = publish(cx, &whole, &edition).await.err();
    let agents = renewed.lines(cx, agents).await;
    let settled = settle(cx, &request.name, &agents).await;
    for node in &settled.published {
        cx.show(node, |node| {
            node.state = JobState::Complete;
            node.error = None;
        });
    }
    withdraw(cx, &agents, &request.name, &settled.keep()).await;
    if !settled.published.is_empty() {
        let new = copied.values().map(|node| node.new_bytes).sum();
        cx.board.change(|status| status.unique_bytes = Some(new));
    }
    let found = changed.into_iter().chain(unasked.map(|error| error.in_words())).collect();
    Ok(end(cx, request, &members, &settled, found))
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
    renewed: &[Reached],
    request: &BackupRequest,
) -> Result<Vec<String>, JobError> {
    if request.node.is_some() {
        return Ok(Vec::new());
    }
    let now = cx.unless_cancelled(looked.ring_now(&cx.reach, renewed)).await?;
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

pub(super) fn not_in_it(cx: &Context, name: &Fqdn) -> String {
    let status = cx.board.status();
    let node = status.nodes.into_iter().find(|node| node.name == *name);
    let why = node
        .and_then(|node| node.error)
        .unwrap_or_else(|| "it was left out, for it is down".to_owned());
    format!("{name} is not in it: {why}")
}

/// What the job ends as: complete if every node that it is for is published and nothing else was
/// `found`. What is left of it and what is not known is told by its journal, and a snapshot that
/// could not be cleared takes nothing from the backup.
fn end(
    cx: &Context,
    request: &BackupRequest,
    members: &BTreeSet<Fqdn>,
    settled: &Settled,
    found: Vec<String>,
) -> (JobState, String) {
    let mut lines = Vec::new();
    for name in members.difference(&settled.keep()) {
        lines.push(not_in_it(cx, name));
        if !settled.published.is_empty() {
            let backup = &request.name;
            lines.push(format!("  when that is mended, `mkdir backups/{backup}/{name}` adds it"));
        }
    }
    let state = if settled.published.is_empty() {
        JobState::Failed
    } else if members.is_subset(&settled.published) && found.is_empty() {
        JobState::Complete
    } else {
        JobState::Incomplete
    };
    lines.extend(found);
    (state, lines.join("\n"))
}
