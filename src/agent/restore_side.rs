//! The restore's own session, in the words of this conversation.

use std::error::Error;
use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::error::{AgentError, HANGS, of_node, of_store};
use super::protocol::{Fault, FaultKind, Hello, NodeStep, RestoreReply, RestoreRequest};
use super::restore::{
    Listener, LiveCassandra, LocalDisk, OnTheShare, RestoreError, RestoreSession, Tools,
    directories,
};
use super::task::Task;
use crate::cassandra::{CassandraYaml, Nodetool};
use crate::catalog::CatalogError;
use crate::model::{Clock, Progress};
use crate::store::{Kind, StoreError};

/// What a conversation may ask about restores.
pub(super) struct RestoreSide(RestoreSession);

impl RestoreSide {
    pub(super) fn new(
        nodetool: Nodetool,
        hello: &Hello,
        yaml: &CassandraYaml,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let daemon = LiveCassandra::new(nodetool, hello.cassandra_yaml.clone(), yaml);
        let tools = Tools { disk: Arc::new(LocalDisk), daemon: Arc::new(daemon), clock };
        let session = RestoreSession::new(directories(yaml), tools, Arc::new(OnTheShare));
        // Others can neither remove what is root's nor see whether its time is over.
        if rustix::process::geteuid().is_root() {
            session.sweep(&hello.job);
        }
        Self(session)
    }

    /// Answers a request. It is never left half-way, also when the job is gone: what can be called
    /// off ends soon, and what cannot is finished.
    pub(super) async fn handle(
        &self,
        request: RestoreRequest,
        task: &Task,
    ) -> Result<RestoreReply, Fault> {
        let _vital = task.vital().map_err(AgentError::from)?;
        let listener: Arc<dyn Listener> = Arc::new(Told(task.clone()));
        let cancelled: &CancellationToken = task.token();
        Ok(self.0.handle(request, cancelled, &listener).await?)
    }

    /// The conversation is over: a stage is taken back.
    pub(super) async fn is_over(&self) {
        self.0.is_over().await;
    }
}

/// Tells the job.
struct Told(Task);

impl Listener for Told {
    fn progress(&self, progress: Progress) {
        self.0.advance(|so_far| *so_far = progress);
    }

    fn step(&self, step: NodeStep) {
        // By the name that it has in journals.
        if let Ok(serde_json::Value::String(name)) = serde_json::to_value(step) {
            self.0.note(format!("step {name}"));
        }
    }

    fn note(&self, text: &str) {
        self.0.note(text);
    }
}

/// What helps where a backup has lost something.
const ANOTHER: &str = "restore another backup, or make a new one";

impl From<RestoreError> for Fault {
    /// What to do stands in the error's own words, or follows from what the share or the disk said.
    fn from(error: RestoreError) -> Self {
        let (kind, remedy) = match &error {
            RestoreError::Refused { .. } => (FaultKind::Refused, ""),
            RestoreError::Busy(_) => (FaultKind::Busy, ""),
            RestoreError::Share { source, .. } => {
                of_share(source.as_ref()).unwrap_or((FaultKind::ShareHangs, HANGS))
            }
            RestoreError::Backup(source) => {
                of_share(source.as_ref()).unwrap_or((FaultKind::Damaged, ANOTHER))
            }
            RestoreError::Damaged { .. } => (FaultKind::Damaged, ANOTHER),
            RestoreError::Disk { source, .. } => of_node(source.kind()),
            RestoreError::Cassandra { .. } => (FaultKind::CassandraDown, ""),
            RestoreError::Unexpected { .. } => (FaultKind::NodeFiles, ""),
            RestoreError::CalledOff => (FaultKind::Cancelled, ""),
            RestoreError::Bug(_) => (FaultKind::Bug, ""),
        };
        Self::new(kind, &error, remedy)
    }
}

/// Of an error of the share, while a backup is read.
fn of_share(error: &(dyn Error + 'static)) -> Option<(FaultKind, &'static str)> {
    let store = match (error.downcast_ref(), error.downcast_ref()) {
        (Some(store), _) | (None, Some(CatalogError::Store(store))) => store,
        (None, Some(catalog)) if catalog.is_retryable() => {
            return Some((FaultKind::ShareHangs, HANGS));
        }
        _ => return None,
    };
    let StoreError { kind, .. } = store;
    Some(match kind {
        Kind::NotFound => (
            FaultKind::Missing,
            "see that the share is mounted on this node; if it is, the backup has lost this: \
             restore another one, or make a new one",
        ),
        Kind::Denied => (
            FaultKind::ShareRefuses,
            "root must be able to read there: see root_squash in the export, and its owner and mode",
        ),
        kind => of_store(*kind),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::ObjectKey;
    use test_case::test_case;

    #[test_case(libc::ENOENT, FaultKind::Missing, "restore another one"; "a lost file")]
    #[test_case(libc::EACCES, FaultKind::ShareRefuses, "root_squash"; "a file that may not be read")]
    #[test_case(libc::EIO, FaultKind::ShareHangs, "server answers"; "a share that gives up")]
    fn what_the_share_said_of_a_file_tells_what_to_do(errno: i32, kind: FaultKind, remedy: &str) {
        let key = ObjectKey::parse("node1/data/shop/orders-1/oa-1-big-Data.db").unwrap();
        let store = || {
            let said = std::io::Error::from_raw_os_error(errno);
            StoreError::while_using("read", &key, said)
        };
        let of_a_file = RestoreError::Share { key: key.clone(), source: store().into() };
        let of_a_manifest = RestoreError::Backup(CatalogError::Store(store()).into());
        for error in [of_a_file, of_a_manifest] {
            let fault = Fault::from(error);
            assert_eq!(fault.kind, kind, "{fault}");
            assert!(fault.remedy.contains(remedy), "{fault}");
        }
    }

    #[test]
    fn who_meets_damage_or_a_full_disk_is_told_what_to_do() {
        let key = ObjectKey::parse("node1/data/x").unwrap();
        let fault = Fault::from(RestoreError::Damaged { key, why: "it is short".to_owned() });
        assert_eq!((fault.kind, fault.remedy.as_str()), (FaultKind::Damaged, ANOTHER));
        let full = std::io::Error::from_raw_os_error(libc::ENOSPC);
        let fault = Fault::from(RestoreError::disk("write", "/data".as_ref())(full));
        assert_eq!(fault.kind, FaultKind::NodeFull);
        assert!(fault.remedy.contains("free space"), "{fault}");
    }

    #[test]
    fn what_a_source_refuses_is_refused() {
        let own = RestoreError::refused("it changed", "plan again");
        let fault = Fault::from(RestoreError::backup(own.into()));
        assert_eq!(
            (fault.kind, fault.what.as_str()),
            (FaultKind::Refused, "it changed; plan again")
        );
        let fault = Fault::from(RestoreError::backup("it is garbled".into()));
        assert_eq!((fault.kind, fault.remedy.as_str()), (FaultKind::Damaged, ANOTHER));
    }
}
