//! From a whole set to a node that serves it.

use crate::agent::protocol::PlanFacts;
use crate::agent::restore::{Order, OtherKeyspaces};
use crate::cluster::{Purpose, Reached, Survey};
use crate::config::RestorePolicy;
use crate::model::{ByteSize, Cause, JobState, Phase};

use super::finish::{finish, swap};
use super::hold::{Held, VOID, until_accepted, wait_out};
use super::lease::{HeldLease, IfBusy, take_cluster, take_node};
use super::plan::{Plan, Sight, WRITTEN_ANEW};
use super::plan_text::plan_text;
use super::recover::{go_on_by_another, take_back_by_another};
use super::snapshot::{self, Snapshot};
use super::stand::Stand;
use super::take_back::{take_back, take_back_if_untouched};
use super::{Context, JobError, Record, RestoreRequest, STEP_LIMITS, survey};

/// Files that are staged at once.
const THREADS: u16 = 8;

/// Restores the node, and returns the end state with what is to be said.
pub(in crate::jobs) async fn run(
    cx: &Context,
    request: &RestoreRequest,
) -> Result<(JobState, String), JobError> {
    cx.board.set_nodes([request.node.clone()]);
    let (mut accepted, mut was_held) = (request.accept.clone(), false);
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
        let why = if plan.is_plain() || accepted.as_deref() == Some(plan.id.as_str()) {
            match held_if_busy(restore(cx, request, seen).await, was_held)? {
                Went::Ended(state, words) => return Ok((state, words)),
                Went::PlanIsVoid => continue,
                Went::Nowhere(busy) => {
                    cx.board.change(|status| status.cause = Some(Cause::Busy));
                    Some(busy)
                }
            }
        } else {
            // Nothing is kept open while a person thinks.
            drop(seen);
            accepted.is_some().then(|| VOID.to_owned())
        };
        accepted = Some(until_accepted(cx, &plan, why).await?);
        cx.board.change(|status| status.cause = None);
        was_held = true;
    }
}

/// What a person has accepted is held once more if another job, maybe of another host, is at work:
/// nothing was done, and nothing is to be copied again for that.
fn held_if_busy(went: Result<Went, JobError>, was_held: bool) -> Result<Went, JobError> {
    match went {
        Err(error @ JobError::Busy { .. }) if was_held => Ok(Went::Nowhere(error.in_words())),
        went => went,
    }
}

/// How a restore whose plan was good to begin with went.
#[derive(Debug)]
enum Went {
    /// To an end, with what is to be said.
    Ended(JobState, String),
    /// Something changed before the node was stopped. All is taken back: plan anew.
    PlanIsVoid,
    /// Another job was at work. Nothing was begun.
    Nowhere(String),
}

/// What was seen, and what is made of it.
pub(super) struct Seen {
    pub(super) survey: Survey,
    pub(super) target: Reached,
    pub(super) order: Order,
    pub(super) plan: Plan,
}

async fn see(cx: &Context, request: &RestoreRequest) -> Result<Seen, JobError> {
    let survey = survey::look(cx, &Purpose::Restore(request.node.clone())).await?;
    let target = survey
        .reached
        .get(&request.node)
        .cloned()
        .ok_or_else(|| JobError::Silent(format!("{} could not be reached", request.node)))?;
    let snapshot = snapshot::read(cx, &request.backup, &request.source).await?;
    let mut order = order(cx, request);
    let facts = cx.unless_cancelled(target.agent.restore_plan(&order)).await??;
    order.manifest = Some(facts.manifest);
    let plan = work_out(cx, request, &survey, &snapshot, &facts)?;
    cx.show(&request.node, |node| {
        node.progress.files_total = Some(facts.files);
        node.progress.bytes_total = Some(facts.bytes);
    });
    Ok(Seen { survey, target, order, plan })
}

fn work_out(
    cx: &Context,
    request: &RestoreRequest,
    survey: &Survey,
    snapshot: &Snapshot,
    facts: &PlanFacts,
) -> Result<Plan, JobError> {
    let sight = Sight {
        request,
        snapshot,
        release_version: &survey.release_version,
        ring: &survey.ring,
        tables: survey.tables.as_deref(),
        doubts: &survey.doubts,
        replaced: survey.known.named(&request.node).and_then(|known| known.replaced.as_ref()),
        facts,
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
        drain_seconds: STEP_LIMITS.drain.as_secs(),
        stop_seconds: STEP_LIMITS.stop.as_secs(),
        start_seconds: STEP_LIMITS.start.as_secs(),
    }
}

async fn restore(cx: &Context, request: &RestoreRequest, seen: Seen) -> Result<Went, JobError> {
    let purpose = format!("restore of {} from {}", request.node, request.backup);
    let cluster = take_cluster(cx, &purpose, IfBusy::Fail).await?;
    let node = match take_node(cx, &request.node, &purpose, IfBusy::Fail).await {
        Ok(node) => node,
        Err(error) => {
            cluster.give_back(cx).await;
            return Err(error);
        }
    };
    survey::remember(cx, &seen.survey, &cluster).await;
    let went = match Box::pin(work(cx, request, &seen, [&cluster, &node])).await {
        Err(error) => after_failure(cx, request, &seen.target, error).await,
        went => went,
    };
    node.give_back(cx).await;
    cluster.give_back(cx).await;
    went
}

/// Brings a restore that failed to an end that is as good as can be: before the swap all is taken
/// back; once the node was told to swap it finishes alone, and is only to be asked again.
async fn after_failure(
    cx: &Context,
    request: &RestoreRequest,
    target: &Reached,
    error: JobError,
) -> Result<Went, JobError> {
    let stand = Stand::of(cx.journal.lock().records());
    let is_told = matches!(stand, Stand::Swapping | Stand::Swapped);
    let ended = match (target.agent.is_broken(), is_told) {
        (true, true) => go_on_by_another(cx, request, &error).await,
        (true, false) => take_back_by_another(cx, request, &error).await,
        (false, true) => {
            if take_back_if_untouched(cx, &request.node, target).await {
                return Err(JobError::Host(format!(
                    "{}; Cassandra was left as it was, and what was staged is taken back: copy the \
                     snapshot again when that is put right",
                    error.in_words()
                )));
            }
            Err(error)
        }
        (false, false) => {
            take_back(cx, &request.node, target).await;
            Err(error)
        }
    };
    ended.map(|(state, words)| Went::Ended(state, words))
}

async fn work(
    cx: &Context,
    request: &RestoreRequest,
    seen: &Seen,
    leases: [&HeldLease; 2],
) -> Result<Went, JobError> {
    cx.still_wanted()?;
    cx.write(Record::StageBegins { node: request.node.clone() })?;
    cx.board.moves_to(JobState::Staging, Phase::Stage);
    cx.show(&request.node, |node| {
        node.state = JobState::Staging;
        node.phase = Phase::Stage;
    });
    let staging = async {
        let staged = seen.target.agent.restore_stage(&seen.order, cx.listener(&request.node));
        // Dropped, the request is cancelled on the node, which takes the stage back.
        Ok(cx.unless_cancelled(staged).await??)
    };
    let [cluster, node] = leases;
    let staged = cluster.while_held(node.while_held(staging)).await?;
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
    if staged.written_anew > 0 {
        cx.board.log(&format!(
            "{}: {} files are not those of the backup's manifest, but later ones of the same \
             SSTables: {}",
            request.node, staged.written_anew, WRITTEN_ANEW
        ));
    }
    let hold = wait_out(cx, request, &seen.target, &seen.survey).await?;
    leases.into_iter().try_for_each(HeldLease::still_held)?;
    if let Held::RingChanged(changes) = hold {
        let words = changes.join("; ");
        cx.board.log(&format!("{}: planned anew, for {words}", request.node));
        take_back(cx, &request.node, &seen.target).await;
        return Ok(Went::PlanIsVoid);
    }
    swap(cx, request, &seen.target).await?;
    let (state, words) = finish(cx, request, &seen.target, Some(&seen.survey)).await?;
    Ok(Went::Ended(state, words))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_accepted_while_another_host_is_at_work_is_held_again() {
        let busy = || Err(JobError::Busy { holder: "backup b on host h".to_owned() });
        let again = held_if_busy(busy(), true);
        assert!(matches!(&again, Ok(Went::Nowhere(why)) if why.contains("host h")), "{again:?}");
        assert!(matches!(held_if_busy(busy(), false), Err(JobError::Busy { .. })));
        let other = Err(JobError::Host("broken".to_owned()));
        assert!(matches!(held_if_busy(other, true), Err(JobError::Host(_))));
    }
}
