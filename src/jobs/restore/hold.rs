//! Waiting for a person: until he accepts a plan, or does not take a restore back.

use std::time::Duration;

use crate::cluster::Reached;
use crate::model::{Fqdn, JobState, Phase, UnixSeconds};

use super::plan::Plan;
use super::{Context, JobError};

/// How often what persons say is looked for.
const LOOK_AGAIN: Duration = Duration::from_millis(250);

/// Holds the restore until some plan's ID is accepted, and returns it. There is no deadline: a
/// person asked for it, and ends it with `commit` or `cancel`.
pub(super) async fn until_accepted(
    cx: &Context,
    plan: &Plan,
    is_void: bool,
) -> Result<String, JobError> {
    let void = "the plan that was accepted is not the plan any more: something has changed";
    let next = format!(
        "read `plan`; if that is what you want: echo {} > commit; else rm -r, or echo 1 > cancel",
        plan.id
    );
    let lines: Vec<&str> = is_void
        .then_some(void)
        .into_iter()
        .chain(plan.reasons.iter().map(String::as_str))
        .chain([next.as_str()])
        .collect();
    let words = lines.join("\n");
    cx.board.change(|status| status.error.clone_from(&words));
    cx.board.moves_to(JobState::Held, Phase::Plan);
    loop {
        cx.unless_cancelled(tokio::time::sleep(LOOK_AGAIN)).await?;
        if let Some(said) = cx.control.take_commit() {
            cx.board.log(&format!("plan {said} was accepted"));
            cx.board.change(|status| status.error.clear());
            return Ok(said);
        }
    }
}

/// Takes back what was staged; Cassandra has not been touched.
pub(super) async fn take_back(cx: &Context, target: &Reached) {
    if let Err(error) = target.agent.restore_abort(cx.board.folder().id()).await {
        cx.board.log(&format!("taking back the stage: {}", error.in_words()));
    }
}

/// Waits until the hold time is over, `now` is committed, or the restore is taken back.
pub(super) async fn wait_out(
    cx: &Context,
    node: &Fqdn,
    target: &Reached,
    complete_since: UnixSeconds,
) -> Result<(), JobError> {
    let hold = i64::try_from(cx.config.medusafs.restore_hold.as_secs()).unwrap_or(i64::MAX);
    cx.board.moves_to(JobState::Waiting, Phase::Stage);
    cx.show(node, |node| node.state = JobState::Waiting);
    loop {
        let broken = target.agent.broken();
        let cancelled = tokio::select! {
            cancelled = cx.unless_cancelled(tokio::time::sleep(LOOK_AGAIN)) => cancelled,
            why = broken => {
                return Err(JobError::Host(format!(
                    "the connection to {node} broke before it was stopped ({why}); it takes back \
                     what was staged by itself, and was not changed: copy again"
                )));
            }
        };
        if let Err(cancelled) = cancelled {
            take_back(cx, target).await;
            return Err(cancelled);
        }
        let at_once = cx.control.take_commit().is_some_and(|said| said == "now");
        if at_once {
            cx.board.log("the hold time was ended by a person");
        }
        let since = cx.control.settled_since().unwrap_or(complete_since);
        let not_before = UnixSeconds(since.0.saturating_add(hold));
        if !at_once && cx.clock.now() < not_before || cx.control.is_touched() {
            continue;
        }
        // First shown, then looked: whoever touches the set or cancels first says so, then looks at
        // what is shown. So one of the two always sees the other.
        cx.board.moves_to(JobState::Stopping, Phase::Stop);
        if !cx.control.is_touched() && cx.control.cancelled().is_none() {
            return Ok(());
        }
        cx.board.moves_to(JobState::Waiting, Phase::Stage);
    }
}
