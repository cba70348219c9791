//! Tasks that must not end before their scope does.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use super::Scope;

/// How long to wait before what broke off is started again: it may break off at once.
const PAUSE: Duration = Duration::from_secs(1);

/// Tasks that go on for as long as their scope, and how often which of them broke off. Cheap to
/// clone; all clones are the same.
#[derive(Debug, Clone, Default)]
pub struct Upkeep {
    broken: Arc<Mutex<BTreeMap<&'static str, u64>>>,
}

impl Upkeep {
    /// Runs what `start` gives in `scope`. When it ends or panics, that is logged, and after a
    /// second it is started again. `what` says what it does: "looking at the share".
    pub fn keep<F>(
        &self,
        scope: &Scope,
        what: &'static str,
        start: impl Fn() -> F + Send + Sync + 'static,
    ) where
        F: Future<Output = ()> + Send + 'static,
    {
        let (upkeep, inside) = (self.clone(), scope.clone());
        let task = async move {
            loop {
                match inside.spawn(start()).await {
                    // The scope has closed.
                    Ok(None) => return,
                    Ok(Some(())) => tracing::error!("{what} has ended: started again"),
                    Err(error) => tracing::error!(%error, "{what} broke off: started again"),
                }
                upkeep.count(what);
                tokio::time::sleep(PAUSE).await;
            }
        };
        drop(scope.spawn(task));
    }

    fn count(&self, what: &'static str) {
        let mut broken = self.broken.lock();
        let times = broken.entry(what).or_default();
        *times = times.saturating_add(1);
    }

    /// What broke off, and how often.
    pub fn broken(&self) -> Vec<(&'static str, u64)> {
        self.broken.lock().iter().map(|(what, times)| (*what, *times)).collect()
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::watch;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_breaks_off_is_started_again_and_counted() {
        let (upkeep, scope) = (Upkeep::default(), Scope::new());
        let (started, mut starts) = watch::channel(0);
        upkeep.keep(&scope, "trying", move || {
            started.send_modify(|times| *times += 1);
            let times = *started.borrow();
            async move {
                assert!(times > 2, "it breaks off twice");
                std::future::pending::<()>().await;
            }
        });
        starts.wait_for(|times| *times == 3).await.unwrap();
        assert_eq!(upkeep.broken(), [("trying", 2)]);
        scope.close(Duration::ZERO).await;
    }
}
