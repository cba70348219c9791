//! Work on this host's own disk, for callers who do not wait for it longer than a call may take.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use crate::store::BlockingPool;
use crate::store::PoolError;

use super::FsError;

/// How long a call waits for this host's own disk, and for what it can do without.
pub(super) const CALL: Duration = Duration::from_millis(900);

/// The promise, with room for the way there and back.
const _: () = assert!(CALL.as_millis() < 1000);

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
        (_, Err(error)) => Err(not_done(error)),
        (_, Ok(())) => Err(FsError::Bug(format!("nothing was done {doing}"))),
    }
}

/// Why work on this host's disk was not done. A pool speaks of the share, and nobody is to look at
/// the share for a disk of this host.
fn not_done(error: PoolError) -> FsError {
    FsError::HostSilent(match error {
        PoolError::TimedOut(late) => format!(
            "this host's own disk does not answer {}; what was asked may still be done when it does",
            late.doing
        ),
        PoolError::Hung { doing, hung } => {
            format!("nothing was done {doing}: {hung} earlier calls hang on this host's own disk")
        }
        PoolError::Busy { doing, waiting } => {
            format!("nothing was done {doing}: {waiting} calls wait for this host's own disk")
        }
        PoolError::NoThread { doing, source } => {
            format!("nothing was done {doing}: this host gives no more threads ({source})")
        }
        PoolError::Panicked { doing } => return FsError::Bug(format!("work broke off {doing}")),
    })
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use nix::errno::Errno;

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
    async fn a_disk_of_this_host_that_hangs_is_never_taken_for_the_share() {
        let pool = BlockingPool::new(PoolLimits { threads: 1, hung: 1, queue: 1 });
        let (hang, hangs) = mpsc::channel::<()>();
        let limit = Duration::from_millis(10);
        let work = move || {
            hangs.recv().unwrap_err();
            Ok(())
        };
        let late = in_time((&pool, limit), "for a", work, drop).await.unwrap_err();
        let refused = in_time((&pool, limit), "for b", || Ok(()), drop).await.unwrap_err();
        for error in [late, refused] {
            let told = error.to_string();
            assert_eq!(error.errno(), Errno::ETIMEDOUT, "{told}");
            assert!(told.contains("this host's own disk") && !told.contains("share"), "{told}");
        }
        drop(hang);
    }

    #[tokio::test]
    async fn what_is_done_in_time_stays() {
        let pool = BlockingPool::new(PoolLimits { threads: 1, hung: 1, queue: 1 });
        let never = |_seven| unreachable!("it was waited for");
        let done = in_time((&pool, CALL), "for a test", || Ok(7), never).await;
        assert_eq!(done.unwrap(), 7);
    }
}
