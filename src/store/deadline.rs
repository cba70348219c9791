//! Blocking work whose callers never wait longer than they said.

use std::collections::{BTreeMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};
use thiserror::Error;
use tokio::sync::oneshot;

use crate::tasks::TimedOut;

/// How much a [`BlockingPool`] may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PoolLimits {
    /// Threads at work at once, the hung ones not counted.
    pub threads: usize,
    /// Threads that may hang on the share; each has been replaced. Beyond, every call fails.
    pub hung: usize,
    /// Calls that wait for a thread; beyond, a call fails.
    pub queue: usize,
}

impl Default for PoolLimits {
    /// What a mount needs on a host with a few cores.
    fn default() -> Self {
        Self { threads: 32, hung: 64, queue: 4096 }
    }
}

/// Why work was not done, or not in time.
#[derive(Debug, Clone, Error)]
pub enum PoolError {
    /// It was begun, or waited for a thread, and was not done by its deadline. It may be done yet.
    #[error(transparent)]
    TimedOut(TimedOut),
    /// So many earlier calls hang on the share that this one was not tried.
    #[error(
        "not tried: {hung} earlier calls hang on the share; it must answer, or be unmounted, first"
    )]
    Hung {
        /// What was to be done.
        doing: String,
        /// How many hang.
        hung: usize,
    },
    /// So many calls wait for a thread that this one was not tried.
    #[error("not tried: {waiting} calls to the share wait for their turn")]
    Busy {
        /// What was to be done.
        doing: String,
        /// How many wait.
        waiting: usize,
    },
    /// This host has no thread to give.
    #[error("not tried: this host gives no more threads")]
    NoThread {
        /// What was to be done.
        doing: String,
        /// What the system said.
        #[source]
        source: Arc<std::io::Error>,
    },
    /// A fault of this program: the work broke off.
    #[error("a fault of this program broke it off")]
    Panicked {
        /// What was to be done.
        doing: String,
    },
}

impl PoolError {
    /// What was to be done.
    pub fn doing(&self) -> &str {
        match self {
            Self::TimedOut(timed_out) => &timed_out.doing,
            Self::Hung { doing, .. }
            | Self::Busy { doing, .. }
            | Self::NoThread { doing, .. }
            | Self::Panicked { doing } => doing,
        }
    }
}

/// Threads for calls that may never return. Cheap to clone; all clones are the same.
///
/// A share that hangs costs a thread for each call, never the caller. Threads are made when they
/// are needed and end when they have been idle for a while.
#[derive(Debug, Clone)]
pub struct BlockingPool {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    limits: PoolLimits,
    state: Mutex<State>,
    work_came: Condvar,
}

#[derive(Default)]
struct State {
    queue: VecDeque<Job>,
    /// Until when each running job should be done, by the number of its run.
    running: BTreeMap<u64, Instant>,
    runs: u64,
    threads: usize,
    idle: usize,
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{} queued, {} running, {} threads",
            self.queue.len(),
            self.running.len(),
            self.threads
        )
    }
}

struct Job {
    until: Instant,
    work: Box<dyn FnOnce() + Send>,
}

impl State {
    fn hung(&self, now: Instant) -> usize {
        self.running.values().filter(|until| **until < now).count()
    }
}

const A_DAY: Duration = Duration::from_hours(24);

const IDLE_FOR: Duration = Duration::from_secs(30);

impl BlockingPool {
    /// A pool without threads yet.
    pub fn new(limits: PoolLimits) -> Self {
        let shared = Shared { limits, state: Mutex::default(), work_came: Condvar::new() };
        Self { shared: Arc::new(shared) }
    }

    /// Does `work` on a thread and waits for it, for `limit` at most. `doing` says what for: "for
    /// the share to list index/backup_index".
    ///
    /// If the wait ends early, by the deadline or because the future is dropped, work that has
    /// not begun never will, and work that has goes on alone.
    pub async fn run<T, W>(
        &self,
        limit: Duration,
        doing: impl Into<String> + Send,
        work: W,
    ) -> Result<T, PoolError>
    where
        T: Send + 'static,
        W: FnOnce() -> T + Send + 'static,
    {
        let doing = doing.into();
        let (answer, answered) = oneshot::channel();
        let work = Box::new(move || {
            if answer.is_closed() {
                return;
            }
            // The receiver is gone if nobody waits any more.
            drop(answer.send(catch_unwind(AssertUnwindSafe(work))));
        });
        let now = Instant::now();
        // Some clocks end before "for ever".
        let until = now.checked_add(limit.min(A_DAY)).unwrap_or(now);
        self.submit(Job { until, work }, &doing)?;
        match tokio::time::timeout(limit, answered).await {
            Ok(Ok(Ok(value))) => Ok(value),
            Ok(Ok(Err(_)) | Err(_)) => Err(PoolError::Panicked { doing }),
            Err(_elapsed) => {
                // Others may wait behind what hangs.
                if let Err(error) = self.shared.grow(&mut self.shared.state.lock(), Instant::now())
                {
                    tracing::warn!(%error, "no thread in place of one that hangs");
                }
                Err(PoolError::TimedOut(TimedOut { after: limit, doing }))
            }
        }
    }

    /// How many calls are past their deadline and still hold a thread.
    pub fn hung(&self) -> usize {
        self.shared.state.lock().hung(Instant::now())
    }

    fn submit(&self, job: Job, doing: &str) -> Result<(), PoolError> {
        let limits = self.shared.limits;
        let now = Instant::now();
        let mut state = self.shared.state.lock();
        let hung = state.hung(now);
        if hung >= limits.hung {
            return Err(PoolError::Hung { doing: doing.to_owned(), hung });
        }
        if state.queue.len() >= limits.queue {
            // Nobody waits any more for those that are late.
            state.queue.retain(|job| job.until > now);
        }
        let waiting = state.queue.len();
        if waiting >= limits.queue {
            return Err(PoolError::Busy { doing: doing.to_owned(), waiting });
        }
        state.queue.push_back(job);
        match self.shared.grow(&mut state, now) {
            Err(source) if state.threads == 0 => {
                state.queue.pop_back();
                let source = Arc::new(source);
                Err(PoolError::NoThread { doing: doing.to_owned(), source })
            }
            // Too few threads are a slow pool, not a broken one.
            _ => {
                self.shared.work_came.notify_one();
                Ok(())
            }
        }
    }
}

impl Shared {
    /// Starts as many threads as waiting jobs need and limits allow.
    fn grow(self: &Arc<Self>, state: &mut State, now: Instant) -> std::io::Result<()> {
        let most = self.limits.threads + state.hung(now).min(self.limits.hung);
        while state.queue.len() > state.idle && state.threads < most {
            let shared = Arc::clone(self);
            let name = "medusafs-share".to_owned();
            thread::Builder::new().name(name).spawn(move || shared.serve())?;
            state.threads += 1;
            // It counts as idle from here on, or each caller would start one for the same job.
            state.idle += 1;
        }
        Ok(())
    }

    fn serve(&self) {
        let mut state = self.state.lock();
        loop {
            let now = Instant::now();
            if state.threads > self.limits.threads + state.hung(now) {
                break;
            }
            if let Some(job) = state.queue.pop_front() {
                if job.until <= now {
                    continue;
                }
                let run = state.runs;
                state.runs += 1;
                state.idle -= 1;
                state.running.insert(run, job.until);
                parking_lot::MutexGuard::unlocked(&mut state, job.work);
                state.running.remove(&run);
                state.idle += 1;
            } else if self.work_came.wait_for(&mut state, IDLE_FOR).timed_out()
                && state.queue.is_empty()
            {
                break;
            }
        }
        state.threads -= 1;
        state.idle -= 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    const LONG: Duration = Duration::from_secs(20);
    const SHORT: Duration = Duration::from_millis(20);

    fn pool(threads: usize, hung: usize, queue: usize) -> BlockingPool {
        BlockingPool::new(PoolLimits { threads, hung, queue })
    }

    /// Work that hangs until the sender is dropped.
    fn hang() -> (mpsc::Sender<()>, impl FnOnce() + Send + 'static) {
        let (release, released) = mpsc::channel::<()>();
        (release, move || assert!(released.recv().is_err()))
    }

    #[tokio::test]
    async fn a_call_that_hangs_costs_a_thread_and_not_its_caller() {
        let pool = pool(1, 4, 4);
        let (_release, work) = hang();
        let error = pool.run(SHORT, "for a", work).await.unwrap_err();
        assert!(matches!(error, PoolError::TimedOut(_)), "{error}");
        assert_eq!(pool.hung(), 1);
        assert_eq!(pool.run(LONG, "for b", || 7).await.unwrap(), 7);
    }

    #[tokio::test]
    async fn when_too_many_hang_a_new_call_fails_at_once_and_later_ones_work_again() {
        let pool = pool(1, 2, 4);
        let (first, work) = hang();
        pool.run(SHORT, "for a", work).await.unwrap_err();
        let (second, work) = hang();
        pool.run(SHORT, "for b", work).await.unwrap_err();
        let begun = Instant::now();
        let error = pool.run(LONG, "for c", || ()).await.unwrap_err();
        assert!(matches!(error, PoolError::Hung { hung: 2, .. }), "{error}");
        assert!(begun.elapsed() < Duration::from_secs(1));
        drop((first, second));
        let deadline = Instant::now() + LONG;
        while pool.hung() > 0 {
            assert!(Instant::now() < deadline);
            tokio::task::yield_now().await;
        }
        assert_eq!(pool.run(LONG, "for d", || 1).await.unwrap(), 1);
    }

    #[tokio::test]
    async fn those_who_wait_behind_what_hangs_get_a_thread_of_their_own() {
        let pool = pool(1, 4, 4);
        let (_release, work) = hang();
        let (hung, waited) =
            tokio::join!(pool.run(SHORT, "for a", work), pool.run(LONG, "for b", || 5),);
        assert!(hung.is_err());
        assert_eq!(waited.unwrap(), 5);
    }

    #[tokio::test]
    async fn a_full_queue_refuses_at_once() {
        let pool = pool(1, 4, 1);
        let (release, work) = hang();
        let (begun, has_begun) = mpsc::channel::<()>();
        let first = pool.run(LONG, "for a", move || {
            drop(begun);
            work();
        });
        let others = async {
            // The first holds the thread from here on.
            while has_begun.try_recv() != Err(mpsc::TryRecvError::Disconnected) {
                tokio::task::yield_now().await;
            }
            let (queued, refused) = tokio::join!(pool.run(LONG, "for b", || 1), async {
                let refused = pool.run(LONG, "for c", || 2).await;
                drop(release);
                refused
            });
            assert_eq!(queued.unwrap(), 1);
            assert!(matches!(refused, Err(PoolError::Busy { waiting: 1, .. })));
        };
        let (first, ()) = tokio::join!(first, others);
        first.unwrap();
    }

    #[tokio::test]
    async fn work_that_nobody_waits_for_any_more_is_not_begun() {
        let pool = pool(1, 1, 4);
        let ran = Arc::new(Mutex::new(false));
        let (release, work) = hang();
        let first = pool.run(LONG, "for a", work);
        let second = async {
            let ran = Arc::clone(&ran);
            let late = pool.run(SHORT, "for b", move || *ran.lock() = true).await;
            assert!(late.is_err());
            drop(release);
        };
        let (first, ()) = tokio::join!(first, second);
        first.unwrap_or(());
        pool.run(LONG, "for c", || ()).await.unwrap();
        assert!(!*ran.lock());
    }

    #[tokio::test]
    async fn a_panic_is_an_error_and_the_pool_goes_on() {
        let pool = pool(1, 1, 1);
        let error = pool.run(LONG, "for a", || panic!("on purpose")).await.unwrap_err();
        assert!(matches!(error, PoolError::Panicked { .. }));
        assert_eq!(pool.run(LONG, "for b", || 3).await.unwrap(), 3);
    }
}
