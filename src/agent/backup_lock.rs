//! One agent at a time works on one backup of a node.
//!
//! When a line breaks, the job starts another agent at once, while the first one may not know of it
//! for [`DEAD_AFTER`]: it would still publish what the second one withdraws.

use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use md5::{Digest, Md5 as Hasher};
use tokio::time::{Instant, sleep};

use super::error::AgentError;
use super::place::BackupPlace;
use super::protocol::{DEAD_AFTER, FaultKind};
use super::serve::STOP_GRACE;
use super::task::Task;
use crate::model::Md5;

/// Until the other agent knows, and has stopped, and a little longer.
const PATIENCE: Duration =
    DEAD_AFTER.saturating_add(STOP_GRACE).saturating_add(Duration::from_secs(5));

/// How often it is looked whether the other one has gone.
const LOOK: Duration = Duration::from_millis(250);

/// Held by the agent that copies, publishes or withdraws a backup.
///
/// It is a name in the kernel's memory, an abstract socket's: there is no file that could be left,
/// or that an agent of another user may not open, and the kernel frees it when its holder ends,
/// however it ends.
#[derive(Debug)]
pub(super) struct BackupLock {
    _name: UnixDatagram,
}

impl BackupLock {
    /// Takes the lock, and waits for an agent that has it and is about to end.
    ///
    /// # Errors
    ///
    /// [`FaultKind::Busy`] if it does not end.
    pub(super) async fn take(place: &BackupPlace, task: &Task) -> Result<Self, AgentError> {
        let until = Instant::now() + PATIENCE;
        loop {
            task.still_wanted()?;
            match bind(place) {
                Ok(name) => return Ok(Self { _name: name }),
                Err(error) if error.kind() == io::ErrorKind::AddrInUse => {}
                Err(error) => {
                    let what = format!("cannot take the lock of the backup: {error}");
                    return Err(AgentError::wrong(FaultKind::NodeFiles, what, ""));
                }
            }
            if Instant::now() >= until {
                let what = format!(
                    "what was begun on this node for the backup {} of {} has not ended yet",
                    place.backup, place.node
                );
                let remedy = "see whether the share answers there: it ends when what it waits for \
                              does";
                return Err(AgentError::wrong(FaultKind::Busy, what, remedy));
            }
            sleep(LOOK).await;
        }
    }
}

fn bind(place: &BackupPlace) -> io::Result<UnixDatagram> {
    let mut hasher = Hasher::new();
    for part in [
        place.store.path().as_os_str().as_bytes(),
        place.layout.own().map_err(io::Error::other)?.as_str().as_bytes(),
        place.node.as_str().as_bytes(),
        place.backup.as_str().as_bytes(),
    ] {
        hasher.update(part);
        hasher.update([0]);
    }
    let name = format!("medusafs-agent/{}", Md5(hasher.finalize().into()));
    UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(name)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::fixture::{Fixture, task};
    use crate::agent::protocol::Fault;

    #[tokio::test(start_paused = true)]
    async fn a_second_agent_waits_for_the_first_and_not_for_ever() {
        let node = Fixture::new();
        let first = BackupLock::take(&node.place("one"), &task()).await.unwrap();
        drop(BackupLock::take(&node.place("two"), &task()).await.unwrap());
        let begun = Instant::now();
        let refused = BackupLock::take(&node.place("one"), &task()).await.unwrap_err();
        assert_eq!(Fault::from(refused).kind, FaultKind::Busy);
        assert!(begun.elapsed() >= DEAD_AFTER + STOP_GRACE);
        let ends = async {
            sleep(DEAD_AFTER).await;
            drop(first);
        };
        let (place, second) = (node.place("one"), task());
        let (taken, ()) = tokio::join!(BackupLock::take(&place, &second), ends);
        taken.unwrap();
    }
}
