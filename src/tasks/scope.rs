//! Tasks that belong to somebody.

use std::future::Future;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Tasks that end together: nobody spawns outside of one.
#[derive(Debug, Clone, Default)]
pub struct Scope {
    tracker: TaskTracker,
    cancelled: CancellationToken,
}

impl Scope {
    /// A scope without tasks.
    pub fn new() -> Self {
        Self::default()
    }

    /// Starts a task. When the scope closes, it is dropped at its next await.
    #[expect(clippy::disallowed_methods, reason = "this is what everybody else is sent to")]
    pub fn spawn<F>(&self, task: F) -> JoinHandle<Option<F::Output>>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        let cancelled = self.cancelled.clone();
        let task = async move { cancelled.run_until_cancelled_owned(task).await };
        tokio::spawn(self.tracker.track_future(task))
    }

    /// Waits for the tasks for up to `grace`, then drops those that are left. No task may be
    /// spawned afterwards.
    pub async fn close(&self, grace: Duration) {
        self.tracker.close();
        if tokio::time::timeout(grace, self.tracker.wait()).await.is_err() {
            self.cancelled.cancel();
            self.tracker.wait().await;
        }
        self.cancelled.cancel();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn closing_drops_what_outlives_the_grace() {
        let scope = Scope::new();
        let quick = scope.spawn(async { 7 });
        let endless = scope.spawn(std::future::pending::<()>());
        scope.close(Duration::from_secs(1)).await;
        assert_eq!(quick.await.unwrap(), Some(7));
        assert_eq!(endless.await.unwrap(), None);
    }
}
