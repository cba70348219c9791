//! From a whole set to a node that serves it.

use crate::agent::protocol::PlanFacts;
use crate::agent::restore::{Order, OtherKeyspaces};
use crate::cluster::{Reached, Survey};
use crate::config::RestorePolicy;
use crate::model::{ByteSize, JobState, Phase};

use super::finish::{finish, swap};
use super::hold::{take_back, until_accepted, wait_out};
use super::plan::{Plan, Sight, Snapshot};
use super::plan_text::plan_text;
use super::recover::take_back_by_another;
use super::survey::HeldLease;
use super::{Context, JobError, Record, RestoreRequest, survey};

/// Files that are staged at once.
const THREADS: u16 = 8;

/// Restores the node, and returns the end state with what is to be said.
pub(in crate::jobs) async fn run(
    cx: &Context,
    request: &RestoreRequest,
) -> Result<(JobState, String), JobError> {
    cx.board.set_nodes([request.node.clone()]);
    let mut accepted = request.accept.clone();
    loop {
        cx.board.moves_to(JobState::Pending, Phase::Plan);
        let seen = see(cx, request).await?;
        let plan = seen.plan.clone();
        if request.dry_run {
            return Ok((JobState::Done, String::new()));
        }
        if !plan.refusals.is_empty() {
            return Err(JobError::Refused(plan.refusals));
        }
        if plan.is_plain() || accepted.as_deref() == Some(plan.id.as_str()) {
            return restore(cx, request, seen).await;
        }
        // Nothing is kept open while a person thinks.
        drop(seen);
        accepted = Some(until_accepted(cx, &plan, accepted.is_some()).await?);
    }
}

/// What was seen, and what is made of it.
pub(super) struct Seen {
    pub(super) survey: Survey,
    pub(super) target: Reached,
    pub(super) order: Order,
    pub(super) plan: Plan,
}

async fn see(cx: &Context, request: &RestoreRequest) -> Result<Seen, JobError> {
    let memory = survey::memory(cx).await?;
    let cluster_before = memory.known.cluster_name;
    let survey = survey::look(cx, Some(&request.node)).await?;
    let target = survey
        .reached
        .get(&request.node)
        .cloned()
        .ok_or_else(|| JobError::Host(format!("{} could not be reached", request.node)))?;
    let snapshot = survey::snapshot(cx, &request.backup, &request.source).await?;
    let mut order = order(cx, request);
    let facts = cx.unless_cancelled(target.agent.restore_plan(&order)).await??;
    order.manifest = Some(facts.manifest);
    let plan = judge(cx, request, &survey, &snapshot, &facts, &cluster_before)?;
    cx.show(&request.node, |node| {
        node.progress.files_total = Some(facts.files);
        node.progress.bytes_total = Some(facts.bytes);
    });
    Ok(Seen { survey, target, order, plan })
}

fn judge(
    cx: &Context,
    request: &RestoreRequest,
    survey: &Survey,
    snapshot: &Snapshot,
    facts: &PlanFacts,
    cluster_before: &str,
) -> Result<Plan, JobError> {
    let sight = Sight {
        request,
        snapshot,
        cluster_name: &survey.cluster_name,
        release_version: &survey.release_version,
        ring: &survey.ring,
        tables: &survey.cql.tables,
        facts,
        cluster_before,
        now: cx.clock.now(),
        is_manual: cx.config.medusafs.restore == RestorePolicy::Manual,
    };
    let plan = Plan::work_out(&sight);
    cx.board.folder().write_text("plan", &plan_text(&plan, &sight))?;
    Ok(plan)
}

fn order(cx: &Context, request: &RestoreRequest) -> Order {
    let (cassandra, own) = (&cx.config.cassandra, &cx.config.medusafs);
    Order {
        job: cx.board.folder().id().clone(),
        backup: request.backup.clone(),
        node: request.source.clone(),
        store: cx.config.store_root_on(&request.node),
        prefix: cx.config.storage.prefix.clone(),
        manifest: None,
        other_keyspaces: OtherKeyspaces::Stay,
        stop_command: cassandra.stop_cmd.clone(),
        start_command: cassandra.start_cmd.clone(),
        bandwidth: own.bandwidth_node.unwrap_or(ByteSize(0)),
        threads: THREADS,
        undo_keep_seconds: own.undo_keep.as_secs(),
        share_seconds: own.deadline.as_secs().max(60),
        drain_seconds: 120,
        stop_seconds: 300,
        start_seconds: 900,
    }
}

async fn restore(
    cx: &Context,
    request: &RestoreRequest,
    seen: Seen,
) -> Result<(JobState, String), JobError> {
    let purpose = format!("restore of {} from {}", request.node, request.backup);
    let cluster = survey::take_cluster_lease(cx, &purpose).await?;
    let node = match survey::take_node_lease(cx, &request.node, &purpose).await {
        Ok(node) => node,
        Err(error) => {
            cluster.give_back(cx).await;
            return Err(error);
        }
    };
    let ended = match work(cx, request, &seen, [&cluster, &node]).await {
        // After the swap has begun the node may be finishing alone; before, nobody does.
        Err(error) if seen.target.agent.is_broken() && !has_swap_begun(cx) => {
            take_back_by_another(cx, request, &error).await
        }
        ended => ended,
    };
    node.give_back(cx).await;
    cluster.give_back(cx).await;
    ended
}

fn has_swap_begun(cx: &Context) -> bool {
    cx.journal.lock().records().iter().any(|record| matches!(record, Record::SwapBegins { .. }))
}

async fn work(
    cx: &Context,
    request: &RestoreRequest,
    seen: &Seen,
    leases: [&HeldLease; 2],
) -> Result<(JobState, String), JobError> {
    cx.still_wanted()?;
    cx.write(Record::StageBegins { node: request.node.clone() })?;
    cx.board.moves_to(JobState::Staging, Phase::Stage);
    cx.show(&request.node, |node| {
        node.state = JobState::Staging;
        node.phase = Phase::Stage;
    });
    let staging = seen.target.agent.restore_stage(&seen.order, cx.listener(&request.node));
    // Dropped, the request is cancelled on the node, which takes the stage back.
    let staged = cx.unless_cancelled(staging).await??;
    cx.board.log(&format!(
        "{}: {} files, {} bytes on the node; {} files of it linked from what it has",
        request.node, staged.files, staged.bytes, staged.linked_files
    ));
    if staged.by_size_only > 0 {
        cx.board.log(&format!(
            "{}: of {} files the backup has no hash; their sizes are right",
            request.node, staged.by_size_only
        ));
    }
    wait_out(cx, &request.node, &seen.target, request.complete_since).await?;
    if let Err(lost) = leases.into_iter().try_for_each(HeldLease::still_held) {
        take_back(cx, &seen.target).await;
        return Err(lost);
    }
    swap(cx, request, &seen.target).await?;
    finish(cx, request, &seen.target, Some(&seen.survey)).await
}
