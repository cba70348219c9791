//! A lock between the agents of a node: a name in the kernel's memory, an abstract socket's.
//!
//! There is no file that could be left, or that an agent of another user may not open, and the
//! kernel frees it when its holder ends, however it ends.

use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use md5::{Digest, Md5 as Hasher};
use tokio::time::{Instant, sleep};

use super::error::AgentError;
use super::protocol::FaultKind;
use crate::model::Md5;

/// How often it is looked whether the other one has gone.
pub(super) const LOOK: Duration = Duration::from_millis(250);

/// The lock, held until this is dropped.
#[derive(Debug)]
pub(super) struct HeldName {
    _socket: UnixDatagram,
}

impl HeldName {
    /// Takes the lock of `parts`, which may be as long as they are; none if somebody has it.
    fn take(kind: &str, parts: &[&[u8]]) -> Result<Option<Self>, AgentError> {
        match bind(kind, parts) {
            Ok(socket) => Ok(Some(Self { _socket: socket })),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => Ok(None),
            Err(error) => {
                let what = format!("cannot take the lock of the {kind}: {error}");
                Err(AgentError::wrong(FaultKind::NodeFiles, what, ""))
            }
        }
    }

    /// The same, once nobody has it; none if that is not before `until`.
    pub(super) async fn wait(
        kind: &str,
        parts: &[&[u8]],
        until: Instant,
    ) -> Result<Option<Self>, AgentError> {
        loop {
            let taken = Self::take(kind, parts)?;
            if taken.is_some() || Instant::now() >= until {
                return Ok(taken);
            }
            sleep(LOOK).await;
        }
    }
}

fn bind(kind: &str, parts: &[&[u8]]) -> io::Result<UnixDatagram> {
    let mut hasher = Hasher::new();
    for part in parts {
        hasher.update(part);
        hasher.update([0]);
    }
    let name = format!("medusafs-{kind}/{}", Md5(hasher.finalize().into()));
    UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(name)?)
}
