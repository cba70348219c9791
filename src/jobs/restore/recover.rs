//! A restore whose process died, or that a person resumes or undoes.

use std::collections::BTreeSet;

use crate::agent::protocol::{Commands, JobReport, Reached as Milestone};
use crate::cluster::Reached;
use crate::model::{JobState, Phase};

use super::finish::{finish, judge, of_job, watched};
use super::{Context, JobError, Record, RestoreRequest, begin, survey};

/// What is wanted of a restore that was broken off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::jobs) enum Wish {
    /// Nobody has said: bring it to a safe end.
    None,
    /// Go on to its end.
    Resume,
    /// Put everything back.
    Undo,
}

/// Brings a restore to an end after its process died.
pub(in crate::jobs) async fn recover(
    cx: &Context,
    request: &RestoreRequest,
    wish: Wish,
) -> Result<(JobState, String), JobError> {
    let begun = cx
        .journal
        .lock()
        .records()
        .iter()
        .any(|record| matches!(record, Record::StageBegins { .. } | Record::SwapBegins { .. }));
    cx.board.set_nodes([request.node.clone()]);
    if !begun {
        return match wish {
            Wish::Undo => Ok((JobState::Undone, String::new())),
            Wish::None | Wish::Resume => {
                let mut again = request.clone();
                again.hold.push("medusafs was restarted since it was asked for".to_owned());
                begin::run(cx, &again).await
            }
        };
    }
    let purpose = format!("recovery of the restore of {}", request.node);
    let cluster = survey::take_cluster_lease(cx, &purpose).await?;
    let ended = match survey::take_node_lease(cx, &request.node, &purpose).await {
        Ok(node) => {
            let ended = on_node(cx, request, wish).await;
            node.give_back(cx).await;
            ended
        }
        Err(error) => Err(error),
    };
    cluster.give_back(cx).await;
    ended
}

async fn on_node(
    cx: &Context,
    request: &RestoreRequest,
    wish: Wish,
) -> Result<(JobState, String), JobError> {
    let target = reach(cx, request).await?;
    let Some(report) = report(cx, request, &target).await? else {
        let ended = if wish == Wish::Undo { JobState::Undone } else { JobState::Failed };
        return Ok((ended, untouched(request, wish)));
    };
    match wish {
        Wish::Undo => undo(cx, request, &target).await,
        Wish::None if report.reached < Milestone::Stopped && !report.fenced => {
            target.agent.restore_abort(&report.job).await?;
            Ok((JobState::Failed, untouched(request, wish)))
        }
        Wish::None | Wish::Resume => {
            cx.board.moves_to(JobState::Stopping, Phase::Stop);
            let resuming =
                target.agent.restore_resume(&report.job, commands(cx), cx.listener(&request.node));
            let resumed = watched(cx, &request.node, &target, resuming).await;
            judge(cx, request, resumed)?;
            finish(cx, request, &target, None).await
        }
    }
}

/// Brings another agent to the node when the first was lost before Cassandra was stopped, so that
/// no stage stays there.
pub(super) async fn take_back_by_another(
    cx: &Context,
    request: &RestoreRequest,
    lost: &JobError,
) -> Result<(JobState, String), JobError> {
    cx.board.log(&format!("{}: {}; it is looked for again", request.node, lost.in_words()));
    let (state, found) = on_node(cx, request, Wish::None).await?;
    Ok((state, format!("{}\n{found}", lost.in_words())))
}

/// As they are now: that they were wrong may be why it was broken off.
fn commands(cx: &Context) -> Commands {
    let cassandra = &cx.config.cassandra;
    Commands { stop: cassandra.stop_cmd.clone(), start: cassandra.start_cmd.clone() }
}

async fn undo(
    cx: &Context,
    request: &RestoreRequest,
    target: &Reached,
) -> Result<(JobState, String), JobError> {
    cx.board.moves_to(JobState::Stopping, Phase::Stop);
    let job = cx.board.folder().id().clone();
    let undoing = target.agent.restore_undo(&job, commands(cx), cx.listener(&request.node));
    let report = watched(cx, &request.node, target, undoing).await;
    match report {
        Ok(report) if report.error.is_none() => {
            cx.write(Record::Undone { node: request.node.clone() })?;
            Ok((JobState::Undone, String::new()))
        }
        Ok(report) => Err(JobError::Node {
            node: request.node.clone(),
            what: report.error.unwrap_or_default(),
            remedy: report
                .remedy
                .unwrap_or_else(|| format!("mend that, then `medusafs undo {job}` again")),
        }),
        Err(error) => Err(JobError::Node {
            node: request.node.clone(),
            what: error.in_words(),
            remedy: format!("mend that, then `medusafs undo {job}` again"),
        }),
    }
}

async fn reach(cx: &Context, request: &RestoreRequest) -> Result<Reached, JobError> {
    let job = cx.board.folder().id();
    let names = BTreeSet::from([request.node.clone()]);
    let reached = survey::reach_known(cx, &names).await.remove(&request.node);
    reached.unwrap_or_else(|| Err("it is not known".to_owned())).map_err(|what| JobError::Node {
        node: request.node.clone(),
        what: format!("the restore was broken off, and the node cannot be reached: {what}"),
        remedy: format!(
            "when it can, `medusafs resume {job}` goes on and `medusafs undo {job}` takes it back"
        ),
    })
}

/// What the node's own journal says of this job; none if it knows nothing of it.
async fn report(
    cx: &Context,
    request: &RestoreRequest,
    target: &Reached,
) -> Result<Option<JobReport>, JobError> {
    let reports = target.agent.restore_journal().await?;
    let report = of_job(cx, reports);
    if let Some(report) = &report {
        cx.board.log(&format!("{}: its journal says {:?}", request.node, report.reached));
    }
    Ok(report)
}

fn untouched(request: &RestoreRequest, wish: Wish) -> String {
    if wish == Wish::Undo {
        return String::new();
    }
    format!(
        "the restore was broken off before Cassandra on {} was stopped; what was staged has been \
         taken back and nothing was changed: copy the snapshot again",
        request.node
    )
}
