//! A restore whose process or agent died, or that a person resumes or undoes.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use crate::agent::protocol::{Commands, FaultKind, JobReport};
use crate::cluster::{ClusterError, Reached};
use crate::model::{JobState, Outcome, Phase};

use super::finish::{OnNode, end_on_node, finish, of_job, show, watched};
use super::lease::{IfBusy, take_cluster, take_node};
use super::stand::Stand;
use super::take_back::is_taken_back;
use super::{
    ASK_EVERY, Context, JobError, Record, RestoreRequest, STEP_LIMITS, Wish, begin, survey,
};

/// How long an agent whose job is gone may take to finish alone.
const FINISHES_WITHIN: Duration = STEP_LIMITS
    .drain
    .saturating_add(STEP_LIMITS.stop)
    .saturating_add(STEP_LIMITS.start)
    .saturating_add(Duration::from_mins(1));

/// For how long a node whose line broke is tried to be reached again.
const REACHED_WITHIN: Duration = Duration::from_mins(2);

/// How often an agent that is lost is followed by another.
const AGENTS: u32 = 4;

/// Brings a restore to an end after its process died, or a person wants it otherwise.
pub(in crate::jobs) async fn recover(
    cx: &Context,
    request: &RestoreRequest,
    wish: Wish,
) -> Result<(JobState, String), JobError> {
    cx.board.set_nodes([request.node.clone()]);
    let stand = Stand::of(cx.journal.lock().records());
    match (stand, wish) {
        (Stand::Untouched | Stand::PutBack, Wish::Undo) => {
            return Ok((JobState::Undone, String::new()));
        }
        (Stand::Untouched, Wish::None | Wish::Resume) => {
            let mut again = request.clone();
            again.hold.push("medusafs was restarted since it was asked for".to_owned());
            return begin::run(cx, &again).await;
        }
        (Stand::PutBack, Wish::None | Wish::Resume) => {
            let words = "this restore was undone: copy the snapshot again to restore it";
            return Ok((JobState::Failed, words.to_owned()));
        }
        (Stand::Staged | Stand::Swapping | Stand::Swapped | Stand::Gone, _) => {}
    }
    let purpose = format!("recovery of the restore of {}", request.node);
    let cluster = take_cluster(cx, &purpose, IfBusy::Wait).await?;
    let ended = match take_node(cx, &request.node, &purpose, IfBusy::Wait).await {
        Ok(node) => {
            let ended = to_its_end(cx, request, wish, Duration::ZERO).await;
            node.give_back(cx).await;
            ended
        }
        Err(error) => Err(error),
    };
    cluster.give_back(cx).await;
    ended
}

/// Brings another agent to the node when the first was lost before Cassandra was stopped, so that
/// no stage stays there.
pub(super) async fn take_back_by_another(
    cx: &Context,
    request: &RestoreRequest,
    lost: &JobError,
) -> Result<(JobState, String), JobError> {
    cx.board.log(&format!("{}: {}; it is looked for again", request.node, lost.in_words()));
    let (state, found) = to_its_end(cx, request, Wish::None, REACHED_WITHIN).await?;
    Ok((state, format!("{}\n{found}", lost.in_words())))
}

/// Brings another agent to the node when the first was lost after it was told to swap: it waits
/// for the first to finish alone, or goes on where that died.
pub(super) async fn go_on_by_another(
    cx: &Context,
    request: &RestoreRequest,
    lost: &JobError,
) -> Result<(JobState, String), JobError> {
    cx.board.log(&format!("{}: {}; it is looked for again", request.node, lost.in_words()));
    to_its_end(cx, request, Wish::Resume, REACHED_WITHIN).await
}

/// Reaches the node, for as long as `patience` if it does not answer, and does there what is
/// wanted; an agent that is lost over it is followed by another.
async fn to_its_end(
    cx: &Context,
    request: &RestoreRequest,
    wish: Wish,
    patience: Duration,
) -> Result<(JobState, String), JobError> {
    let mut agents = 0;
    loop {
        let target = reach(cx, request, patience).await?;
        agents += 1;
        match on_node(cx, request, wish, &target).await {
            Err(error) if target.agent.is_broken() && agents < AGENTS => {
                cx.board.log(&format!("{}: {}", request.node, error.in_words()));
            }
            ended => return ended,
        }
    }
}

/// What is asked of the node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asked {
    Abort,
    Resume,
    Undo,
}

async fn on_node(
    cx: &Context,
    request: &RestoreRequest,
    wish: Wish,
    target: &Reached,
) -> Result<(JobState, String), JobError> {
    let until = Instant::now() + FINISHES_WITHIN;
    let (mut waits, mut was_refused) = (false, false);
    let answer = loop {
        let Some(report) = report(cx, target).await? else {
            return nothing_there(cx, request, wish, target).await;
        };
        let asked = match wish {
            Wish::Undo => Asked::Undo,
            Wish::None if report.is_untouched() && !was_refused => Asked::Abort,
            // Without having been told to, a node is not stopped, however long ago it was planned.
            Wish::Resume if report.is_untouched() && !was_refused && !was_told(cx) => Asked::Abort,
            Wish::None | Wish::Resume => Asked::Resume,
        };
        if report.state.outcome().is_none() {
            show(cx, &request.node, &report);
        } else if asked != Asked::Abort && !waits {
            cx.board.moves_to(JobState::Stopping, Phase::Stop);
        }
        let answer = ask(cx, request, target, &report, asked).await?;
        match answer.as_ref().err().and_then(ClusterError::fault).map(|fault| fault.kind) {
            // The agent of the process that died finishes alone.
            Some(FaultKind::Busy) if Instant::now() < until => {
                if !waits {
                    let node = &request.node;
                    cx.board.log(&format!("{node}: waits for the agent that works there alone"));
                    waits = true;
                }
                tokio::time::sleep(ASK_EVERY).await;
            }
            // It has touched Cassandra meanwhile.
            Some(FaultKind::Refused) if asked == Asked::Abort && !was_refused => was_refused = true,
            _ => break answer,
        }
    };
    match (end_on_node(cx, request, answer)?, wish) {
        (OnNode::Restored, Wish::None | Wish::Resume) => finish(cx, request, target, None).await,
        (OnNode::PutBack | OnNode::Untouched, Wish::Undo) => Ok((JobState::Undone, String::new())),
        (OnNode::PutBack, Wish::None | Wish::Resume) => {
            let words = "it was being taken back, and that is done: the node has what it had";
            Ok((JobState::Undone, words.to_owned()))
        }
        (OnNode::Untouched, Wish::None | Wish::Resume) => {
            Ok((JobState::Failed, untouched(request)))
        }
        (OnNode::Restored, Wish::Undo) => Err(JobError::Node {
            node: request.node.clone(),
            what: "it has not put back what it had".to_owned(),
            remedy: format!("`medusafs undo {}` again", cx.board.folder().id()),
        }),
    }
}

fn was_told(cx: &Context) -> bool {
    Stand::of(cx.journal.lock().records()) != Stand::Staged
}

async fn ask(
    cx: &Context,
    request: &RestoreRequest,
    target: &Reached,
    report: &JobReport,
    asked: Asked,
) -> Result<Result<JobReport, ClusterError>, JobError> {
    let (agent, job, node) = (&target.agent, &report.job, request.node.clone());
    let is_open = report.state.outcome() != Some(Outcome::Wished);
    Ok(match asked {
        Asked::Abort => agent.restore_abort(job).await,
        Asked::Resume => {
            if is_open && Stand::of(cx.journal.lock().records()) != Stand::Swapping {
                cx.write(Record::SwapBegins { node: node.clone() })?;
            }
            watched(cx, &node, target, agent.restore_resume(job, commands(cx), cx.listener(&node)))
                .await
        }
        Asked::Undo => {
            if !report.is_untouched() && Stand::of(cx.journal.lock().records()) != Stand::Swapping {
                cx.write(Record::UndoBegins { node: node.clone() })?;
            }
            watched(cx, &node, target, agent.restore_undo(job, commands(cx), cx.listener(&node)))
                .await
        }
    })
}

/// As they are now: that they were wrong may be why it was broken off.
fn commands(cx: &Context) -> Commands {
    let cassandra = &cx.config.cassandra;
    Commands { stop: cassandra.stop_cmd.clone(), start: cassandra.start_cmd.clone() }
}

/// The node has nothing of this job. That is well if it was never told to swap.
async fn nothing_there(
    cx: &Context,
    request: &RestoreRequest,
    wish: Wish,
    target: &Reached,
) -> Result<(JobState, String), JobError> {
    let stand = Stand::of(cx.journal.lock().records());
    let node = request.node.clone();
    match (stand, wish) {
        (Stand::Untouched | Stand::Staged | Stand::PutBack, _) => {
            is_taken_back(cx, &node);
            Ok(match wish {
                Wish::Undo => (JobState::Undone, String::new()),
                Wish::None | Wish::Resume => (JobState::Failed, untouched(request)),
            })
        }
        (Stand::Swapped, Wish::None | Wish::Resume) => finish(cx, request, target, None).await,
        (Stand::Swapping | Stand::Swapped | Stand::Gone, _) => {
            cx.write(Record::Gone { node: node.clone() })?;
            Err(JobError::Node {
                node,
                what:
                    "nothing was put back and nothing was done: what this restore staged and set \
                       aside is no longer on the node, for its time is over or it was removed"
                        .to_owned(),
                remedy: "see in `nodetool status` whether it is UN, and copy the snapshot that it \
                         is to have"
                    .to_owned(),
            })
        }
    }
}

async fn reach(
    cx: &Context,
    request: &RestoreRequest,
    patience: Duration,
) -> Result<Reached, JobError> {
    let names = BTreeSet::from([request.node.clone()]);
    let until = Instant::now() + patience;
    loop {
        let reached = survey::reach_known(cx, &names).await.remove(&request.node);
        let what = match reached.unwrap_or_else(|| Err("it is not known".to_owned())) {
            Ok(reached) => return Ok(reached),
            Err(what) => what,
        };
        if Instant::now() >= until {
            let (node, what) = (request.node.clone(), format!("it cannot be reached: {what}"));
            return Err(match Stand::of(cx.journal.lock().records()) {
                Stand::Staged | Stand::Swapping => JobError::Unfinished { node, what },
                Stand::Untouched | Stand::Swapped | Stand::PutBack | Stand::Gone => {
                    let remedy = "ask for the same again when it can".to_owned();
                    JobError::Node { node, what, remedy }
                }
            });
        }
        tokio::time::sleep(ASK_EVERY).await;
    }
}

/// What the node's own journal says of this job; none if it knows nothing of it.
async fn report(cx: &Context, target: &Reached) -> Result<Option<JobReport>, JobError> {
    let reports = target.agent.restore_journal().await?;
    Ok(of_job(cx, reports))
}

fn untouched(request: &RestoreRequest) -> String {
    format!(
        "the restore was broken off before Cassandra on {} was stopped; what was staged has been \
         taken back and nothing was changed: copy the snapshot again",
        request.node
    )
}
