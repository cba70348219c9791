//! One request at work, as the code that does it sees it.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use thiserror::Error;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;
use tracing::warn;

use super::protocol::{Event, Fault, FaultKind, RequestId};
use crate::model::Progress;

/// The request was told to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("it was told to stop")]
pub(super) struct Cancelled;

/// A handle to one running request: is it still wanted, how far is it, what is to be told.
/// Clones are the same request; threads hold one each.
#[derive(Debug, Clone)]
pub(super) struct Task {
    id: RequestId,
    cancelled: CancellationToken,
    events: mpsc::Sender<Event>,
    progress: Arc<Mutex<Progress>>,
    signs_of_life: Arc<AtomicU64>,
    vital: TaskTracker,
}

impl Task {
    pub(super) fn new(id: RequestId, events: mpsc::Sender<Event>, vital: TaskTracker) -> Self {
        let cancelled = CancellationToken::new();
        let (progress, signs_of_life) = (Arc::default(), Arc::default());
        Self { id, cancelled, events, progress, signs_of_life, vital }
    }

    /// Which request.
    pub(super) fn id(&self) -> RequestId {
        self.id
    }

    /// Fails once the request has been cancelled. Cheap: ask before every buffer, and before
    /// everything else that waits for a disk or a share. Who asks lives.
    pub(super) fn still_wanted(&self) -> Result<(), Cancelled> {
        self.lives();
        if self.cancelled.is_cancelled() { Err(Cancelled) } else { Ok(()) }
    }

    /// A sign that the work gets on, for what is done whether it is wanted or not.
    pub(super) fn lives(&self) {
        self.signs_of_life.fetch_add(1, Ordering::Relaxed);
    }

    /// How many signs there were: with none in a while the work hangs.
    pub(super) fn signs_of_life(&self) -> u64 {
        self.signs_of_life.load(Ordering::Relaxed)
    }

    /// Done when the request has been cancelled.
    pub(super) async fn cancelled(&self) {
        self.cancelled.cancelled().await;
    }

    /// What is cancelled with it, for code that knows no task.
    pub(super) fn token(&self) -> &CancellationToken {
        &self.cancelled
    }

    /// Cancels it.
    pub(super) fn cancel(&self) {
        self.cancelled.cancel();
    }

    /// Changes the progress; the job hears of it within half a second.
    pub(super) fn advance(&self, change: impl FnOnce(&mut Progress)) {
        change(&mut self.progress.lock());
    }

    /// How far it is.
    pub(super) fn progress(&self) -> Progress {
        *self.progress.lock()
    }

    /// Says a line for the job's log. Where the job does not listen it goes to standard error.
    pub(super) fn note(&self, text: impl Into<String>) {
        let note = Event::Note { id: self.id, text: text.into().replace(['\n', '\r'], " ") };
        if let Err(unsent) = self.events.try_send(note) {
            warn!(request = %self.id, "not told: {unsent}");
        }
    }

    /// From here on the request is finished even if the job is gone: the agent does not end while
    /// the token is held. Fails if the request has been cancelled before.
    pub(super) fn vital(&self) -> Result<TaskTrackerToken, Cancelled> {
        // Taken before asked: who cancels afterwards finds the token and waits for it.
        let token = self.vital.token();
        self.still_wanted().map(|()| token)
    }
}

/// Runs blocking work on a thread of its own and waits for it without blocking.
///
/// Dropping the future leaves the thread to end by itself: what is long asks
/// [`Task::still_wanted`]. A panic in it becomes a fault.
pub(super) fn on_a_thread<T, F>(
    name: &str,
    work: F,
) -> impl Future<Output = Result<T, Fault>> + use<T, F>
where
    T: Send + 'static,
    F: FnOnce() -> Result<T, Fault> + Send + 'static,
{
    let (tell, told) = oneshot::channel();
    let begun = std::thread::Builder::new().name(name.to_owned()).spawn(move || {
        // Nobody listens any more where the request was dropped.
        drop(tell.send(work()));
    });
    let name = name.to_owned();
    async move {
        let bug = |what: String| Fault { kind: FaultKind::Bug, what, remedy: String::new() };
        begun.map_err(|error| bug(format!("cannot start the thread {name:?}: {error}")))?;
        told.await.map_err(|_gone| bug(format!("the thread {name:?} died: see the agent's log")))?
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_on_a_thread_is_a_fault_and_no_more() {
        let fault = on_a_thread("test", || -> Result<(), Fault> { panic!("as the test wants it") })
            .await
            .unwrap_err();
        assert_eq!(fault.kind, FaultKind::Bug);
        assert_eq!(on_a_thread("test", || Ok(7)).await, Ok(7));
    }
}
