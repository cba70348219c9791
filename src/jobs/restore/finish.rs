//! The swap, and whether the node is back.

use crate::agent::protocol::{JobReport, Reached as Milestone};
use crate::cluster::{ClusterError, Reached, Survey};
use crate::model::{Fqdn, JobState, Phase};

use super::witness::until_up;
use super::{ASK_EVERY, Context, JobError, Record, RestoreRequest, survey};

/// Has the node stop, swap and start. From here on a person cannot take it back by removing the
/// set; `undo` can.
pub(super) async fn swap(
    cx: &Context,
    request: &RestoreRequest,
    target: &Reached,
) -> Result<(), JobError> {
    cx.write(Record::SwapBegins { node: request.node.clone() })?;
    cx.board.moves_to(JobState::Stopping, Phase::Stop);
    let job = cx.board.folder().id().clone();
    // No limit: each of its steps has one on the node.
    let listener = cx.listener(&request.node);
    let swapping = target.agent.restore_swap(&job, Milestone::Started, listener);
    match end_on_node(cx, request, watched(cx, &request.node, target, swapping).await)? {
        OnNode::Restored => Ok(()),
        OnNode::PutBack | OnNode::Untouched => Err(JobError::Node {
            node: request.node.clone(),
            what: "it took the restore back by itself".to_owned(),
            remedy: "its log beside its data says why; then copy the snapshot again".to_owned(),
        }),
    }
}

/// Waits for `work` on the node, and shows in the meantime what the node's journal says.
pub(super) async fn watched<T>(
    cx: &Context,
    node: &Fqdn,
    target: &Reached,
    work: impl Future<Output = T>,
) -> T {
    tokio::pin!(work);
    loop {
        tokio::select! {
            done = &mut work => return done,
            () = tokio::time::sleep(ASK_EVERY) => {}
        }
        let journal = target.agent.restore_journal();
        tokio::select! {
            done = &mut work => return done,
            reports = journal => {
                if let Some(report) = reports.ok().and_then(|all| of_job(cx, all)) {
                    show(cx, node, &report);
                }
            }
        }
    }
}

/// The report about this job.
pub(super) fn of_job(cx: &Context, reports: Vec<JobReport>) -> Option<JobReport> {
    reports.into_iter().find(|report| report.job == *cx.board.folder().id())
}

/// Shows what the node's journal says of a job that has not ended.
pub(super) fn show(cx: &Context, node: &Fqdn, report: &JobReport) {
    if report.state.outcome().is_none() {
        cx.board.moves_to(report.state, report.phase);
        cx.show(node, |node| {
            node.state = report.state;
            node.phase = report.phase;
        });
    }
}

/// How a restore ended on its node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum OnNode {
    /// Cassandra serves what was restored.
    Restored,
    /// What was there before is put back.
    PutBack,
    /// Nothing was changed, and the stage is gone.
    Untouched,
}

/// What came of what the node was asked, written down if it is an end.
pub(super) fn end_on_node(
    cx: &Context,
    request: &RestoreRequest,
    report: Result<JobReport, ClusterError>,
) -> Result<OnNode, JobError> {
    let (report, node) = (report?, request.node.clone());
    match report.state {
        JobState::Done => {
            cx.write(Record::Swapped { node })?;
            Ok(OnNode::Restored)
        }
        JobState::Undone => {
            cx.write(Record::Undone { node })?;
            Ok(OnNode::PutBack)
        }
        JobState::Cancelled => {
            cx.write(Record::TakenBack { node })?;
            Ok(OnNode::Untouched)
        }
        _ => {
            let what = report.error.unwrap_or_else(|| format!("stopped at {:?}", report.reached));
            Err(JobError::Unfinished { node, what })
        }
    }
}

/// Looks from elsewhere whether the node is Up and Normal, and tidies up.
pub(super) async fn finish(
    cx: &Context,
    request: &RestoreRequest,
    target: &Reached,
    survey: Option<&Survey>,
) -> Result<(JobState, String), JobError> {
    cx.board.moves_to(JobState::Starting, Phase::Check);
    cx.show(&request.node, |node| node.phase = Phase::Check);
    let host_id = match survey.and_then(|survey| survey.ring.get(&request.node)) {
        Some(node) => Some(node.host_id.clone()),
        None => match survey::memory(cx).await {
            Ok(memory) => memory.known.named(&request.node).map(|node| node.host_id.clone()),
            // The node is back whatever the share does: all nodes are to be up then.
            Err(error) => {
                cx.board.log(&format!("which host it is is not known: {}", error.in_words()));
                None
            }
        },
    };
    let said = until_up(cx, &request.node, target, host_id.as_deref()).await;
    if let Some((complaint, remedy)) = said.complaint(cx.board.folder().id()) {
        return Err(JobError::Node {
            node: request.node.clone(),
            what: format!("its data is restored and Cassandra runs, but {complaint}"),
            remedy,
        });
    }
    cx.board.moves_to(JobState::Starting, Phase::Clean);
    if let Err(error) = target.agent.restore_clean(cx.board.folder().id()).await {
        cx.board.log(&format!("tidying up: {}", error.in_words()));
    }
    cx.board.log(&format!("{} is back; run `nodetool repair -full` on it", request.node));
    Ok((JobState::Done, String::new()))
}
