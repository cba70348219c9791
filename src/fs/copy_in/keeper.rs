//! Which mount takes what is copied: of those of one configuration one, until it ends.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::observe::ErrorChain;

use super::FsError;
use super::copies::{Copies, HOST};
use super::journal::{Journal, JournalError, Opened};

/// Who takes it.
#[derive(Clone)]
pub(super) enum Keeper {
    /// This mount.
    Here(Arc<Journal>),
    /// Another one: where it stands.
    Elsewhere(String),
    /// Nobody: nothing is changed on this mount.
    Nobody,
}

impl Keeper {
    fn is_here(&self) -> bool {
        matches!(self, Self::Here(_))
    }
}

impl fmt::Debug for Keeper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Here(_) => "here",
            Self::Elsewhere(place) => place,
            Self::Nobody => "nobody",
        })
    }
}

/// How often is looked whether the other mount has ended.
const LOOK_EVERY: Duration = Duration::from_millis(200);

impl Copies {
    /// Whether this mount takes what is copied.
    pub(super) fn takes(&self) -> Result<(), FsError> {
        match &*self.inner.keeper.borrow() {
            Keeper::Here(_) => Ok(()),
            Keeper::Elsewhere(place) => Err(FsError::Busy(format!(
                "another mount of this configuration, on {place}, takes what is copied into \
                 restore/: copy there, or unmount that one first"
            ))),
            Keeper::Nobody => Err(FsError::ReadOnly("this is mounted read-only".to_owned())),
        }
    }

    /// Waits until this mount takes what is copied, for `limit` at most: the one before may just
    /// be coming to its end.
    pub async fn until_it_takes(&self, limit: Duration) {
        let mut keeper = self.inner.keeper.subscribe();
        if tokio::time::timeout(limit, keeper.wait_for(Keeper::is_here)).await.is_err() {
            tracing::warn!(keeper = ?*self.inner.keeper.borrow(), "copies are taken by another mount");
        }
    }

    /// Takes what is copied from now on, unless another mount does.
    pub(super) fn keep(&self) -> Result<(), JournalError> {
        if self.takes().is_ok() {
            return Ok(());
        }
        let keeper = match Journal::open(&self.inner.state_dir, &self.inner.mountpoint)? {
            Opened::Ours(journal) => {
                // First what was there, so that nobody begins a set in a place that is taken.
                *self.inner.to_recall.lock() = journal.read()?;
                Keeper::Here(Arc::new(journal))
            }
            Opened::Others(place) => Keeper::Elsewhere(place),
        };
        self.inner.keeper.send_replace(keeper);
        Ok(())
    }

    /// Takes what is copied when the mount that does so now has ended.
    pub(super) async fn keep_in_turn(self) {
        while self.takes().is_err() {
            tokio::time::sleep(LOOK_EVERY).await;
            let copies = self.clone();
            let kept =
                self.inner.host.run(HOST, "for the other mount", move || copies.keep()).await;
            let failure = match kept {
                Ok(Ok(())) => continue,
                Ok(Err(error)) => ErrorChain(&error).to_string(),
                Err(error) => error.to_string(),
            };
            tracing::warn!(error = failure, "whether the other mount has ended is not known");
            tokio::time::sleep(HOST).await;
        }
        self.recall();
        std::future::pending::<()>().await;
    }
}
