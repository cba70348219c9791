//! Waiting for a person: until he accepts a plan, or does not take a restore back.

use std::time::{Duration, Instant};

use crate::cluster::{Reached, Survey};
use crate::model::{Fqdn, JobState, Phase, UnixSeconds};

use super::plan::Plan;
use super::second_look::second_look;
use super::{Context, JobError, RestoreRequest};

/// How often what persons say is looked for.
const LOOK_AGAIN: Duration = Duration::from_millis(250);

/// While a set is written to, the cluster is kept from everybody. Whoever writes may have died with
/// his mount: more than terabytes take is not waited for.
const WRITTEN_TO_AT_MOST: Duration = Duration::from_hours(6);

/// Why a restore is held again when another plan than its own was accepted.
pub(super) const VOID: &str =
    "the plan that was accepted is not the plan any more: something has changed";

/// Holds the restore until some plan's ID is accepted, and returns it; `why` is said before the
/// plan's own reasons. There is no deadline: a person asked for it, and ends it with `commit` or
/// `cancel`.
pub(super) async fn until_accepted(
    cx: &Context,
    plan: &Plan,
    why: Option<String>,
) -> Result<String, JobError> {
    let next = format!(
        "read `plan`; if that is what you want: echo {} > commit; else rm -r, or echo 1 > cancel",
        plan.id
    );
    let lines: Vec<&str> = why
        .as_deref()
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
    let mut written_to = WrittenTo::default();
    loop {
        cx.unless_cancelled(unless_broken(target, node, tokio::time::sleep(LOOK_AGAIN))).await??;
        if written_to.is_too_long(cx.control.is_touched(), Instant::now()) {
            return Err(JobError::Host(format!(
                "what was copied to {node} has been written to for {} hours and is not whole again: \
                 what was staged is taken back, and Cassandra was not touched; copy the snapshot \
                 again",
                WRITTEN_TO_AT_MOST.as_secs() / 3600
            )));
        }
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

/// Since when a set is being written to without a break.
#[derive(Default)]
struct WrittenTo {
    since: Option<Instant>,
}

impl WrittenTo {
    fn is_too_long(&mut self, is_touched: bool, now: Instant) -> bool {
        if !is_touched {
            self.since = None;
            return false;
        }
        let since = *self.since.get_or_insert(now);
        now.saturating_duration_since(since) >= WRITTEN_TO_AT_MOST
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_that_is_written_to_is_not_waited_for_for_ever() {
        let begun = Instant::now();
        let minutes = |minutes: u64| begun + Duration::from_mins(minutes);
        let mut written_to = WrittenTo::default();
        assert!(!written_to.is_too_long(true, minutes(0)));
        assert!(!written_to.is_too_long(true, minutes(359)));
        // It was whole in between.
        assert!(!written_to.is_too_long(false, minutes(360)));
        assert!(!written_to.is_too_long(true, minutes(361)));
        assert!(!written_to.is_too_long(true, minutes(720)));
        assert!(written_to.is_too_long(true, minutes(721)));
    }
}
