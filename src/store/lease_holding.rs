//! For how long the holder of a lease believes in it, and the thread that renews it.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use rustix::time::{ClockId, clock_gettime};

use super::StoreError;
use super::lease::{Generation, LEASE_TERM, LeaseError};

/// How often a holder renews.
const RENEW_EVERY: Duration = Duration::from_secs(10);

/// How soon a renewal that failed is tried again.
const RETRY_EVERY: Duration = Duration::from_secs(2);

/// How much earlier its holder gives it up.
const SAFETY: Duration = Duration::from_secs(10);

/// For how long a holder believes in its lease after it began a renewal that succeeded. A renewal
/// that takes so long is none.
pub(super) const BELIEVED_FOR: Duration = LEASE_TERM.saturating_sub(SAFETY);

/// Time since the host started, its sleep included.
pub(super) fn uptime() -> Duration {
    let time = clock_gettime(ClockId::Boottime);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    Duration::new(seconds, u32::try_from(time.tv_nsec).unwrap_or(0))
}

/// A lease that is held. A thread of its own renews it until it is released or dropped.
#[derive(Debug)]
pub struct Lease {
    held: Arc<Held>,
}

#[derive(Debug)]
struct Held {
    generation: Generation,
    state: Mutex<HeldState>,
    told: Condvar,
}

#[derive(Debug)]
struct HeldState {
    /// Before the last renewal that succeeded was begun.
    renewed: Duration,
    lost: bool,
    ended: bool,
}

impl Lease {
    /// Believes in a generation that was taken or renewed at `renewed`, and renews it from then on.
    pub(super) fn begin(generation: Generation, renewed: Duration) -> Result<Self, StoreError> {
        let state = Mutex::new(HeldState { renewed, lost: false, ended: false });
        let lease = Self { held: Arc::new(Held { generation, state, told: Condvar::new() }) };
        let held = Arc::clone(&lease.held);
        thread::Builder::new()
            .name("medusafs-lease".to_owned())
            .spawn(move || held.keep())
            .map_err(StoreError::about("start a thread for", &lease.held.generation.slot))?;
        Ok(lease)
    }

    /// True while nobody else can have it. Ask before each step that cannot be taken back.
    pub fn is_held(&self) -> bool {
        self.held.is_held()
    }

    /// [`LeaseError::Lost`] unless [`Lease::is_held`].
    pub fn check(&self) -> Result<(), LeaseError> {
        if self.is_held() { Ok(()) } else { Err(LeaseError::Lost) }
    }

    /// Its number: higher than that of any holder before.
    #[cfg(test)]
    pub(super) fn generation(&self) -> u64 {
        self.held.generation.number
    }

    /// Gives it up at once, rather than when its time is over.
    pub fn release(self) -> Result<(), StoreError> {
        self.held.state.lock().ended = true;
        self.held.generation.release()
        // Dropping `self` ends the thread, which may be waiting for the share.
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        // The thread releases it: nobody who drops a lease waits for the share.
        self.held.state.lock().ended = true;
        self.held.told.notify_all();
    }
}

impl Held {
    fn is_held(&self) -> bool {
        let state = self.state.lock();
        !state.lost && uptime().saturating_sub(state.renewed) <= BELIEVED_FOR
    }

    fn keep(&self) {
        let mut pause = RENEW_EVERY;
        loop {
            {
                let mut state = self.state.lock();
                if !state.ended {
                    self.told.wait_for(&mut state, pause);
                }
                if state.ended {
                    break;
                }
            }
            match self.renew() {
                Ok(()) => pause = RENEW_EVERY,
                Err(LeaseError::Store(error)) => {
                    tracing::warn!(%error, lease = %self.generation.slot, "cannot renew");
                    pause = RETRY_EVERY;
                }
                Err(error) => {
                    let mut state = self.state.lock();
                    // Its holder may have given it up meanwhile.
                    if !state.ended {
                        tracing::error!(%error, lease = %self.generation.slot, "lost");
                    }
                    state.lost = true;
                    return;
                }
            }
        }
        if let Err(error) = self.generation.release() {
            tracing::debug!(%error, "a lease is left to run out");
        }
    }

    fn renew(&self) -> Result<(), LeaseError> {
        if !self.is_held() {
            return Err(LeaseError::Lost);
        }
        let begun = uptime();
        self.generation.renew()?;
        // One that ended after others could take it says nothing, however well it ended.
        if !self.is_held() {
            return Err(LeaseError::Lost);
        }
        self.state.lock().renewed = begun;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::ObjectKey;
    use crate::store::{LeaseName, Leases, Owner, Store};
    use tempfile::TempDir;

    fn leases() -> (TempDir, Store, Leases) {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path()).unwrap();
        let leases = Leases::new(store.clone(), ObjectKey::parse("leases").unwrap());
        (directory, store, leases)
    }

    fn owner(purpose: &str) -> Owner {
        Owner { host: "host1".into(), pid: 1, job: None, purpose: purpose.into() }
    }

    #[test]
    fn a_holder_that_was_taken_over_learns_it_at_its_next_renewal() {
        let (_directory, store, leases) = leases();
        let lease = leases.acquire(&LeaseName::Cluster, &owner("a"), |_| false).unwrap();
        let now = store.share_time(&ObjectKey::parse("leases/new").unwrap()).unwrap();
        // As if the host had slept.
        let generation = lease.held.generation.slot.join("00000000000000000001").unwrap();
        let key = generation.join("owner").unwrap();
        store.set_modified(&key, now - Duration::from_secs(100)).unwrap();
        let other = leases.acquire(&LeaseName::Cluster, &owner("b"), |_| false).unwrap();
        assert!(matches!(lease.held.renew(), Err(LeaseError::Lost)));
        lease.release().unwrap();
        assert!(other.held.renew().is_ok(), "releasing what was lost takes nothing from others");
    }

    #[test]
    fn a_holder_stops_believing_before_others_may_take_over() {
        let (_directory, _store, leases) = leases();
        let lease = leases.acquire(&LeaseName::Cluster, &owner("a"), |_| false).unwrap();
        {
            let mut state = lease.held.state.lock();
            state.renewed = state.renewed.checked_sub(Duration::from_secs(51)).unwrap();
        }
        assert!(lease.check().is_err());
        assert!(matches!(lease.held.renew(), Err(LeaseError::Lost)), "it never comes back to life");
    }
}
