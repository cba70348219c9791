//! One agent at a time works on one backup of a node.
//!
//! When a line breaks, the job starts another agent at once, while the first one may not know of it
//! for [`DEAD_AFTER`]: it would still publish what the second one withdraws.

use std::os::unix::ffi::OsStrExt;
use std::time::Duration;

use tokio::time::Instant;

use super::error::AgentError;
use super::held_name::HeldName;
use super::place::BackupPlace;
use super::protocol::{DEAD_AFTER, FaultKind};
use super::serve::{STOP_GRACE, UNDO_LIMIT};
use super::task::{Cancelled, Task};

/// Until the other agent knows, has stopped and taken back what it can, and a little longer.
const PATIENCE: Duration = DEAD_AFTER
    .saturating_add(STOP_GRACE)
    .saturating_add(UNDO_LIMIT)
    .saturating_add(Duration::from_secs(5));

/// Held by the agent that copies, publishes or withdraws a backup.
#[derive(Debug)]
pub(super) struct BackupLock {
    _name: HeldName,
}

impl BackupLock {
    /// Takes the lock, and waits for an agent that has it and is about to end.
    ///
    /// # Errors
    ///
    /// [`FaultKind::Busy`] if it does not end.
    pub(super) async fn take(place: &BackupPlace, task: &Task) -> Result<Self, AgentError> {
        let own = place.layout.own()?;
        let parts = [
            place.store.path().as_os_str().as_bytes(),
            own.as_str().as_bytes(),
            place.node.as_str().as_bytes(),
            place.backup.as_str().as_bytes(),
        ];
        let taken = tokio::select! {
            taken = HeldName::wait("backup", &parts, Instant::now() + PATIENCE) => taken?,
            () = task.cancelled() => return Err(Cancelled.into()),
        };
        taken.map(|name| Self { _name: name }).ok_or_else(|| {
            let what = format!(
                "what was begun on this node for the backup {} of {} has not ended yet",
                place.backup, place.node
            );
            let remedy = "see whether the share answers there: it ends when what it waits for does";
            AgentError::wrong(FaultKind::Busy, what, remedy)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::fixture::{Fixture, task};
    use crate::agent::protocol::Fault;
    use tokio::time::sleep;

    #[tokio::test(start_paused = true)]
    async fn a_second_agent_waits_for_the_first_and_not_for_ever() {
        let node = Fixture::new();
        let first = BackupLock::take(&node.place("one"), &task()).await.unwrap();
        drop(BackupLock::take(&node.place("two"), &task()).await.unwrap());
        let begun = Instant::now();
        let refused = BackupLock::take(&node.place("one"), &task()).await.unwrap_err();
        assert_eq!(Fault::from(refused).kind, FaultKind::Busy);
        assert!(begun.elapsed() >= DEAD_AFTER + STOP_GRACE + UNDO_LIMIT);
        let ends = async {
            sleep(DEAD_AFTER).await;
            drop(first);
        };
        let (place, second) = (node.place("one"), task());
        let (taken, ()) = tokio::join!(BackupLock::take(&place, &second), ends);
        taken.unwrap();
    }
}
