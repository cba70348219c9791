//! Work on this host's own disk, for callers who do not wait for it longer than a call may take.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use crate::store::BlockingPool;
use crate::store::PoolError;

use super::FsError;

/// How long a call waits for this host's own disk.
pub(super) const CALL: Duration = Duration::from_millis(900);

/// How far work is, between the one who does it and the one who waits.
enum Turn<T> {
    Waits,
    Done(Result<T, FsError>),
    GivenUp,
}

/// Does `work` and waits for it, for `limit` at most. What is done later than that, `take_back`
/// takes back: whoever asked was told that it failed.
pub(super) async fn in_time<T: Send + 'static>(
    (pool, limit): (&BlockingPool, Duration),
    doing: &str,
    work: impl FnOnce() -> Result<T, FsError> + Send + 'static,
    take_back: impl FnOnce(T) + Send + 'static,
) -> Result<T, FsError> {
    let turn = Arc::new(Mutex::new(Turn::Waits));
    let theirs = Arc::clone(&turn);
    let does = move || {
        let done = work();
        let late = {
            let mut turn = theirs.lock();
            if matches!(*turn, Turn::GivenUp) {
                Some(done)
            } else {
                *turn = Turn::Done(done);
                None
            }
        };
        if let Some(Ok(done)) = late {
            take_back(done);
        }
    };
    let waited = pool.run(limit, doing, does).await;
    let done = std::mem::replace(&mut *turn.lock(), Turn::GivenUp);
    match (done, waited) {
        (Turn::Done(done), _) => done,
        (_, Err(PoolError::TimedOut(_))) => Err(FsError::HostSilent(doing.to_owned())),
        (_, Err(error)) => {
            Err(FsError::failed(format!("this host does not answer {doing}"), error))
        }
        (_, Ok(())) => Err(FsError::Bug(format!("nothing was done {doing}"))),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;
    use crate::store::PoolLimits;

    #[tokio::test]
    async fn what_is_done_too_late_is_taken_back() {
        let pool = BlockingPool::new(PoolLimits { threads: 1, hung: 1, queue: 1 });
        let (hang, hangs) = mpsc::channel::<()>();
        let (taken, takes) = mpsc::channel();
        let work = move || {
            hangs.recv().unwrap_err();
            Ok(7)
        };
        let limit = Duration::from_millis(10);
        let late = in_time((&pool, limit), "for a test", work, move |seven| {
            taken.send(seven).unwrap();
        });
        assert!(late.await.is_err());
        drop(hang);
        assert_eq!(takes.recv().unwrap(), 7);
    }

    #[tokio::test]
    async fn what_is_done_in_time_stays() {
        let pool = BlockingPool::new(PoolLimits { threads: 1, hung: 1, queue: 1 });
        let never = |_seven| unreachable!("it was waited for");
        let done = in_time((&pool, CALL), "for a test", || Ok(7), never).await;
        assert_eq!(done.unwrap(), 7);
    }
}
