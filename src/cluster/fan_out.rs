//! The same on many nodes.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;

use tokio::sync::Semaphore;

use crate::model::Fqdn;
use crate::tasks::Scope;

/// Does `work` for every item, `width` at a time, and waits for all: one that fails does not end
/// the others. A task that was dropped because the scope closed has no answer.
///
/// Dropping the future ends the tasks.
pub async fn on_all<I, T, F, W>(
    scope: &Scope,
    width: usize,
    items: impl IntoIterator<Item = (Fqdn, I)>,
    work: W,
) -> BTreeMap<Fqdn, T>
where
    T: Send + 'static,
    F: Future<Output = T> + Send + 'static,
    W: Fn(Fqdn, I) -> F,
{
    let permits = Arc::new(Semaphore::new(width.max(1)));
    let tasks: Vec<_> = items
        .into_iter()
        .map(|(name, item)| {
            let permits = Arc::clone(&permits);
            let work = work(name.clone(), item);
            let task = scope.spawn(async move {
                // The semaphore is never closed.
                let _permit = permits.acquire_owned().await.ok();
                work.await
            });
            (name, EndOnDrop(task))
        })
        .collect();
    let mut answers = BTreeMap::new();
    for (name, mut task) in tasks {
        if let Ok(Some(answer)) = (&mut task.0).await {
            answers.insert(name, answer);
        }
    }
    answers
}

/// A task that ends when nobody waits for it any more.
struct EndOnDrop<T>(tokio::task::JoinHandle<T>);

impl<T> Drop for EndOnDrop<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[tokio::test]
    async fn no_more_than_the_width_run_at_once_and_all_answer() {
        let scope = Scope::new();
        let (running, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let nodes = (0..9).map(|n| (Fqdn::parse(&format!("node{n}")).unwrap(), n));
        let answers = on_all(&scope, 3, nodes, |_, n| {
            let (running, most) = (Arc::clone(&running), Arc::clone(&most));
            async move {
                most.fetch_max(running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                for _ in 0..5 {
                    tokio::task::yield_now().await;
                }
                running.fetch_sub(1, Ordering::SeqCst);
                n * 2
            }
        })
        .await;
        assert_eq!(answers.len(), 9);
        assert_eq!(most.load(Ordering::SeqCst), 3);
    }
}
