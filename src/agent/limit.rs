//! No more than so many bytes a second, all threads together.

use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use super::task::{Cancelled, Task};

/// Unused time is saved up to this much, so that a slow moment is made up for without a burst
/// that anybody would feel.
const SAVED: Duration = Duration::from_millis(100);

/// How soon a waiting thread notices that it is cancelled.
const NOTICE: Duration = Duration::from_millis(50);

/// Gives each taker its own stretch of time, one after the other.
#[derive(Debug)]
pub(super) struct Limit {
    bytes_per_second: u64,
    free_from: Mutex<Instant>,
    never: Condvar,
}

impl Limit {
    /// `bytes_per_second` of 0 is no limit.
    pub(super) fn new(bytes_per_second: u64) -> Self {
        let free_from = Mutex::new(Instant::now());
        Self { bytes_per_second, free_from, never: Condvar::new() }
    }

    /// Returns when `bytes` more may go.
    pub(super) fn take(&self, bytes: usize, task: &Task) -> Result<(), Cancelled> {
        self.take_while(bytes, || task.still_wanted())
    }

    /// The same for work that is no request's own; `still_wanted` is asked before and while it
    /// waits.
    pub(super) fn take_while<E>(
        &self,
        bytes: usize,
        still_wanted: impl Fn() -> Result<(), E>,
    ) -> Result<(), E> {
        still_wanted()?;
        if self.bytes_per_second == 0 {
            return Ok(());
        }
        let mut free_from = self.free_from.lock();
        let go = free_from.max(Instant::now().checked_sub(SAVED).unwrap_or(*free_from));
        *free_from = go + stretch(bytes, self.bytes_per_second);
        while let Some(wait) = go.checked_duration_since(Instant::now()).filter(|it| !it.is_zero())
        {
            // Not a sleep: the lock is free for others meanwhile.
            self.never.wait_for(&mut free_from, wait.min(NOTICE));
            still_wanted()?;
        }
        Ok(())
    }
}

fn stretch(bytes: usize, bytes_per_second: u64) -> Duration {
    let nanos = (bytes as u128).saturating_mul(1_000_000_000) / u128::from(bytes_per_second.max(1));
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::protocol::RequestId;
    use tokio::sync::mpsc;
    use tokio_util::task::TaskTracker;

    fn task() -> Task {
        Task::new(RequestId(1), mpsc::channel(1).0, TaskTracker::new())
    }

    #[test]
    fn threads_together_keep_to_the_rate() {
        let (limit, task, begun) = (Limit::new(10 << 20), task(), Instant::now());
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..8).for_each(|_| limit.take(1 << 17, &task).unwrap()));
            }
        });
        // 4 MiB at 10 MiB/s, less the saved time and the last taker's own stretch.
        assert!(begun.elapsed() >= Duration::from_millis(270), "{:?}", begun.elapsed());
    }

    #[test]
    fn no_limit_never_waits_and_a_cancelled_wait_ends() {
        let task = task();
        Limit::new(0).take(usize::MAX, &task).unwrap();
        let slow = Limit::new(1);
        slow.take(1_000_000, &task).unwrap();
        std::thread::scope(|scope| {
            let waiter = scope.spawn(|| slow.take(1, &task));
            task.cancel();
            assert_eq!(waiter.join().unwrap(), Err(Cancelled));
        });
    }
}
