//! Waiting for a person: until he accepts a plan, or does not take a restore back.

use std::time::Duration;

use crate::cluster::{Reached, Survey};
use crate::model::{Fqdn, JobState, Phase, UnixSeconds};

use super::plan::Plan;
use super::second_look::second_look;
use super::{Context, JobError, RestoreRequest};

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

/// How the hold time ended.
#[derive(Debug)]
pub(super) enum Held {
    /// The node is shown as being stopped, and nobody can take it back any more.
    Over,
    /// The ring is not as it was planned with; nothing is shown yet.
    RingChanged(Vec<String>),
}

/// Waits until the hold time is over, `now` is committed, or the restore is taken back.
pub(super) async fn wait_out(
    cx: &Context,
    request: &RestoreRequest,
    target: &Reached,
    planned: &Survey,
) -> Result<Held, JobError> {
    let node = &request.node;
    let hold = i64::try_from(cx.config.medusafs.restore_hold.as_secs()).unwrap_or(i64::MAX);
    cx.board.moves_to(JobState::Waiting, Phase::Stage);
    cx.show(node, |node| node.state = JobState::Waiting);
    let (mut at_once, mut looked) = (false, false);
    loop {
        cx.unless_cancelled(unless_broken(target, node, tokio::time::sleep(LOOK_AGAIN))).await??;
        if cx.control.take_commit().is_some_and(|said| said == "now") {
            cx.board.log("the hold time was ended by a person");
            at_once = true;
        }
        let since = cx.control.settled_since().unwrap_or(request.complete_since);
        let not_before = UnixSeconds(since.0.saturating_add(hold));
        if !at_once && cx.clock.now() < not_before || cx.control.is_touched() {
            (at_once, looked) = (at_once && !cx.control.is_touched(), false);
            continue;
        }
        if !looked {
            // It takes seconds, in which the set may be touched again.
            let looking = unless_broken(target, node, second_look(cx, node, planned));
            let changes = cx.unless_cancelled(looking).await??;
            if !changes.is_empty() {
                return Ok(Held::RingChanged(changes));
            }
            looked = true;
            continue;
        }
        // First shown, then looked: whoever touches the set or cancels first says so, then looks at
        // what is shown. So one of the two always sees the other.
        cx.board.moves_to(JobState::Stopping, Phase::Stop);
        cx.board.shown().await?;
        if !cx.control.is_touched() && cx.control.cancelled().is_none() {
            return Ok(Held::Over);
        }
        cx.board.moves_to(JobState::Waiting, Phase::Stage);
    }
}

async fn unless_broken<T>(
    target: &Reached,
    node: &Fqdn,
    work: impl Future<Output = T>,
) -> Result<T, JobError> {
    tokio::select! {
        done = work => Ok(done),
        why = target.agent.broken() => Err(JobError::Host(format!(
            "the connection to {node} broke before it was stopped ({why})"
        ))),
    }
}
