//! The swap, and whether the node is back.

use std::time::{Duration, Instant};

use crate::agent::protocol::{JobReport, MemberState, Reached as Milestone, RingMember};
use crate::cluster::{ClusterError, Reached, Survey};
use crate::model::{Fqdn, JobState, Phase};

use super::{Context, JobError, Record, RestoreRequest, survey};

/// How often the node is asked how far it is.
pub(super) const ASK_EVERY: Duration = Duration::from_secs(1);

/// Gossip marks a node up within seconds of its start.
const UP_WITHIN: Duration = Duration::from_mins(5);

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
    match judge(cx, request, watched(cx, &request.node, target, swapping).await)? {
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
pub(super) fn judge(
    cx: &Context,
    request: &RestoreRequest,
    report: Result<JobReport, ClusterError>,
) -> Result<OnNode, JobError> {
    let job = cx.board.folder().id();
    let node = request.node.clone();
    match report {
        Ok(report) => match report.state {
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
            _ => Err(JobError::Node {
                node,
                what: report.error.unwrap_or_else(|| format!("stopped at {:?}", report.reached)),
                remedy: report.remedy.unwrap_or_else(|| {
                    format!("`medusafs resume {job}` goes on, `medusafs undo {job}` takes it back")
                }),
            }),
        },
        Err(error) => Err(JobError::Node {
            node,
            what: error.in_words(),
            remedy: format!(
                "`medusafs resume {job}` looks, and goes on if need be; `medusafs undo {job}` \
                 takes it back"
            ),
        }),
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
        None => survey::memory(cx).await?.known.named(&request.node).map(|n| n.host_id.clone()),
    };
    let beside = survey::witness_beside(cx, &request.node).await;
    if beside.is_none() {
        cx.board.log(&format!(
            "no other node answers, so that {} is asked itself whether it is up",
            request.node
        ));
    }
    let witness = beside.as_ref().map_or(target, |(_, witness)| witness);
    let until = Instant::now() + UP_WITHIN;
    loop {
        let members = survey::ring_seen_from(witness).await;
        if members.is_some_and(|members| is_back(&members, host_id.as_deref())) {
            break;
        }
        if Instant::now() >= until {
            let job = cx.board.folder().id();
            return Err(JobError::Node {
                node: request.node.clone(),
                what:
                    "its data is restored and Cassandra runs, but other nodes do not say UN of it"
                        .to_owned(),
                remedy: format!(
                    "look at `nodetool status` and its system.log; `medusafs undo {job}` puts back \
                     what was there"
                ),
            });
        }
        tokio::time::sleep(ASK_EVERY).await;
    }
    cx.board.moves_to(JobState::Starting, Phase::Clean);
    if let Err(error) = target.agent.restore_clean(cx.board.folder().id()).await {
        cx.board.log(&format!("tidying up: {}", error.in_words()));
    }
    cx.board.log(&format!("{} is back; run `nodetool repair -full` on it", request.node));
    Ok((JobState::Done, String::new()))
}

/// Whether `nodetool status` says UN of the node; of every node, if its host id is not known.
fn is_back(members: &[RingMember], host_id: Option<&str>) -> bool {
    let is_un =
        |member: &RingMember| member.up == Some(true) && member.state == MemberState::Normal;
    match host_id {
        Some(id) => members.iter().any(|member| member.host_id == id && is_un(member)),
        None => !members.is_empty() && members.iter().all(is_un),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(host_id: &str, up: bool, state: MemberState) -> RingMember {
        RingMember {
            host_id: host_id.to_owned(),
            address: "198.51.100.11".to_owned(),
            datacenter: "dc1".to_owned(),
            rack: "r1".to_owned(),
            up: Some(up),
            state,
        }
    }

    #[test]
    fn a_node_that_nobody_lists_is_not_back() {
        assert!(!is_back(&[], Some("a")));
        assert!(!is_back(&[], None));
        assert!(!is_back(&[member("b", true, MemberState::Normal)], Some("a")));
    }

    #[test]
    fn a_node_is_back_when_it_is_up_and_normal() {
        let ring =
            [member("a", true, MemberState::Normal), member("b", false, MemberState::Normal)];
        assert!(is_back(&ring, Some("a")) && !is_back(&ring, Some("b")) && !is_back(&ring, None));
        assert!(!is_back(&[member("a", true, MemberState::Joining)], Some("a")));
    }
}
