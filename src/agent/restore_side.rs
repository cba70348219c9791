//! The restore's own session, in the words of this conversation.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::error::AgentError;
use super::protocol::{Fault, FaultKind, Hello, NodeStep, RestoreReply, RestoreRequest};
use super::restore::{
    Listener, LiveCassandra, LocalDisk, OnTheShare, RestoreError, RestoreSession, Tools,
    directories,
};
use super::task::Task;
use crate::cassandra::{CassandraYaml, Nodetool};
use crate::model::{Clock, Progress};
use crate::observe::ErrorChain;

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

impl From<RestoreError> for Fault {
    /// What to do stands in the error's own words, where there is something.
    fn from(error: RestoreError) -> Self {
        let kind = match &error {
            RestoreError::Refused { .. } => FaultKind::Refused,
            RestoreError::Busy(_) => FaultKind::Busy,
            RestoreError::Share { .. } => FaultKind::ShareHangs,
            RestoreError::Backup(_) | RestoreError::Damaged { .. } => FaultKind::Damaged,
            RestoreError::Disk { source, .. } => match source.kind() {
                std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => {
                    FaultKind::NodeFull
                }
                _ => FaultKind::NodeFiles,
            },
            RestoreError::Cassandra { .. } => FaultKind::CassandraDown,
            RestoreError::Unexpected { .. } => FaultKind::NodeFiles,
            RestoreError::CalledOff => FaultKind::Cancelled,
            RestoreError::Bug(_) => FaultKind::Bug,
        };
        Self { kind, what: ErrorChain(&error).to_string(), remedy: String::new() }
    }
}
