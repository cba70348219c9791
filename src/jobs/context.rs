//! What a job's process has at hand.

use std::sync::Arc;

use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use crate::cluster::{Listener, Reach, SHARE_WITHIN};
use crate::config::Config;
use crate::medusa::Layout;
use crate::model::{Clock, Fqdn, NodeStatus, Progress};
use crate::store::{BlockingPool, Store};
use crate::tasks::Scope;

use super::job_error::JobError;
use super::{Board, Control, JobsError, Journal, Record};

/// The means of one job.
#[derive(Clone)]
pub(super) struct Context {
    /// The configuration, read afresh by this process.
    pub(super) config: Arc<Config>,
    /// What is shown.
    pub(super) board: Arc<Board>,
    /// What has been begun and finished.
    pub(super) journal: Arc<Mutex<Journal>>,
    /// What persons want.
    pub(super) control: Control,
    /// The way to nodes.
    pub(super) reach: Reach,
    /// The share, as this host sees it.
    pub(super) store: Store,
    /// Where things lie on it.
    pub(super) layout: Layout,
    /// The time of day.
    pub(super) clock: Arc<dyn Clock>,
    /// The job's tasks.
    pub(super) scope: Scope,
    /// Threads for the share.
    pub(super) pool: BlockingPool,
    /// This host's name.
    pub(super) host_name: String,
    /// Told when a person cancels.
    pub(super) cancelled: CancellationToken,
}

impl Context {
    /// Writes a record down, synced.
    pub(super) fn write(&self, record: Record) -> Result<(), JobsError> {
        self.journal.lock().write(record)
    }

    /// Ends with [`JobError::Cancelled`] if a person has cancelled.
    pub(super) fn still_wanted(&self) -> Result<(), JobError> {
        match self.control.cancelled() {
            Some(why) => Err(JobError::Cancelled(why)),
            None => Ok(()),
        }
    }

    /// Waits for `work`, but not longer than a person wants the job.
    pub(super) async fn unless_cancelled<T>(
        &self,
        work: impl Future<Output = T>,
    ) -> Result<T, JobError> {
        tokio::select! {
            done = work => Ok(done),
            () = self.cancelled.cancelled() => {
                Err(JobError::Cancelled(self.control.cancelled().unwrap_or_default()))
            }
        }
    }

    /// Does something small on the share, within [`SHARE_WITHIN`].
    pub(super) async fn on_share<T: Send + 'static>(
        &self,
        doing: &str,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, JobError> {
        let done = self.pool.run(SHARE_WITHIN, doing, work).await;
        done.map_err(|error| JobError::silent_share(self.store.path(), &error))
    }

    /// Shows a node's progress as it comes.
    pub(super) fn listener(&self, node: &Fqdn) -> Arc<dyn Listener> {
        Arc::new(OneNode { board: Arc::clone(&self.board), node: node.clone() })
    }

    /// Changes what is shown of a node.
    pub(super) fn show(&self, node: &Fqdn, change: impl FnOnce(&mut NodeStatus)) {
        self.board.node(node, change);
    }
}

struct OneNode {
    board: Arc<Board>,
    node: Fqdn,
}

impl Listener for OneNode {
    fn progress(&self, progress: Progress) {
        self.board.node(&self.node, |node| node.progress = progress);
    }

    fn note(&self, text: &str) {
        self.board.log(&format!("{}: {text}", self.node));
    }
}
