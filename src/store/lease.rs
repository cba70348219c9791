//! Who may change what: one lease for the cluster, one for each node, on the share itself.
//!
//! A lease is a directory of numbered generations, `leases/NAME/NUMBER/`. Only the highest counts.
//! It is held while its file `owner` has been touched within [`LEASE_TERM`] by the share's clock,
//! and free when that file has become `released`.
//!
//! - **Taking** a lease is giving the next number to a directory that was made elsewhere, with its
//!   owner in it. Renaming onto a directory that is not empty fails on every file system, so of any
//!   number of takers one gets the number.
//! - **Nothing that counts is ever removed**, so numbers never come again while they matter: a
//!   taker that was held up between looking and taking either finds its number taken, or takes one
//!   below the highest, sees that when it looks again, and withdraws. (Moving an expired lease out
//!   of the way instead would let such a taker move a new, living one.)
//! - **A holder counts from before its last renewal** that succeeded, and stops believing in its
//!   lease before others may take it: `lease_holding` does that.
//! - A taker asks the share for its time *before* it looks when the lease was renewed, so that a
//!   renewal between the two counts. It opens the file to look, which makes NFS ask the server.

use std::io::Read;
use std::time::{Duration, SystemTime};

use thiserror::Error;

use crate::model::{Fqdn, ObjectKey};

use super::lease_holding::{BELIEVED_FOR, Lease, uptime};
use super::lease_record::{RECORD_LIMIT, Record};
use super::put::unique_name;
use super::{EntryKind, Holder, Kind, Owner, Store, StoreError};

/// For how long a lease holds after its last renewal, by the share's clock.
pub const LEASE_TERM: Duration = Duration::from_mins(1);

/// What a taker that was killed has left unfinished is removed after so long.
const LITTER_AFTER: Duration = Duration::from_hours(24);

/// What a lease is for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum LeaseName {
    /// Backups, restores of the cluster, collecting.
    Cluster,
    /// Restores and imports of one node.
    Node(Fqdn),
}

impl LeaseName {
    fn directory(&self) -> String {
        match self {
            Self::Cluster => "cluster".to_owned(),
            Self::Node(fqdn) => format!("node-{fqdn}"),
        }
    }
}

/// Why a lease could not be had, or kept.
#[derive(Debug, Error)]
pub enum LeaseError {
    /// Another has it.
    #[error("in use: {0}")]
    Held(Holder),
    /// It was not renewed in time, or another has taken it: what it protected must stop.
    #[error("the lease is lost: the share did not answer in time, or another took over")]
    Lost,
    /// The share.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The leases of a store. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Leases {
    store: Store,
    directory: ObjectKey,
}

enum Seen {
    Free,
    Held(Holder),
    /// It was tidied away while we looked, so there is a newer one.
    Gone,
}

impl Leases {
    /// The leases in `directory`: `Layout::leases`. It is made when the first is taken.
    pub fn new(store: Store, directory: ObjectKey) -> Self {
        Self { store, directory }
    }

    /// Takes a lease that is free or over, and renews it from then on. One whose owner `is_dead`
    /// is over: only of a process that cannot be alive may that be said, for it is not asked.
    pub fn acquire(
        &self,
        name: &LeaseName,
        owner: &Owner,
        is_dead: impl Fn(&Owner) -> bool,
    ) -> Result<Lease, LeaseError> {
        let slot = self.slot(name)?;
        self.store.make_directory(&slot)?;
        // Each turn but the last was lost to another, who made progress.
        for _ in 0..64 {
            let now = self.store.share_time(&self.beside()?)?;
            let newest = self.newest(&slot)?;
            if let Some(newest) = newest {
                match self.look(&slot, newest, now)? {
                    Seen::Free => {}
                    Seen::Gone => continue,
                    Seen::Held(holder) if holder.owner.as_ref().is_some_and(&is_dead) => {}
                    Seen::Held(holder) => return Err(LeaseError::Held(holder)),
                }
            }
            let next = newest
                .unwrap_or(0)
                .checked_add(1)
                .ok_or_else(|| StoreError::plain(Kind::Failed, "number a lease after", &slot))?;
            let record = Record { version: 1, owner: owner.clone(), since: now.into() };
            if let Some(lease) = self.claim(&slot, next, &record)? {
                self.sweep(now);
                return Ok(lease);
            }
        }
        Err(StoreError::plain(Kind::Unavailable, "take the lease", &slot).into())
    }

    fn slot(&self, name: &LeaseName) -> Result<ObjectKey, StoreError> {
        below(&self.directory, &name.directory())
    }

    /// Where directories are made before they count, and go when they no longer do.
    fn beside(&self) -> Result<ObjectKey, StoreError> {
        below(&self.directory, "new")
    }

    fn newest(&self, slot: &ObjectKey) -> Result<Option<u64>, StoreError> {
        Ok(self.generations(slot)?.into_iter().max())
    }

    fn generations(&self, slot: &ObjectKey) -> Result<Vec<u64>, StoreError> {
        let names = self.store.names(Some(slot))?;
        let directories = names.into_iter().filter(|entry| entry.kind == EntryKind::Directory);
        Ok(directories.filter_map(|entry| entry.name.parse().ok()).collect())
    }

    fn look(&self, slot: &ObjectKey, generation: u64, now: SystemTime) -> Result<Seen, StoreError> {
        let directory = generation_key(slot, generation)?;
        let silent = |since| now.duration_since(since).unwrap_or(Duration::ZERO);
        match self.store.open_with_stat(&below(&directory, "owner")?) {
            Ok((file, stat)) => {
                let silent_for = silent(stat.modified);
                if silent_for > LEASE_TERM {
                    return Ok(Seen::Free);
                }
                let mut bytes = Vec::new();
                file.take(RECORD_LIMIT)
                    .read_to_end(&mut bytes)
                    .map_err(StoreError::about("read", &directory))?;
                let record = serde_json::from_slice::<Record>(&bytes).ok();
                let since = record.as_ref().map(|record| record.since);
                let owner = record.map(|record| record.owner);
                return Ok(Seen::Held(Holder { owner, since, silent_for }));
            }
            Err(error) if error.is_not_found() => {}
            Err(error) => return Err(error),
        }
        match self.store.stat(&below(&directory, "released")?) {
            Ok(_) => return Ok(Seen::Free),
            Err(error) if error.is_not_found() => {}
            Err(error) => return Err(error),
        }
        // Neither: nobody's work but a person's. It holds for a term, so that nothing is stuck.
        match self.store.stat_directory(Some(&directory)) {
            Ok(stat) if silent(stat.modified) > LEASE_TERM => Ok(Seen::Free),
            Ok(stat) => {
                let silent_for = silent(stat.modified);
                Ok(Seen::Held(Holder { owner: None, since: None, silent_for }))
            }
            Err(error) if error.is_not_found() => Ok(Seen::Gone),
            Err(error) => Err(error),
        }
    }

    /// Takes a number; none if another was faster.
    fn claim(
        &self,
        slot: &ObjectKey,
        generation: u64,
        record: &Record,
    ) -> Result<Option<Lease>, StoreError> {
        let begun = uptime();
        let made = below(&self.beside()?, &unique_name())?;
        let bytes = serde_json::to_vec(record)
            .map_err(|error| StoreError::of_io("write", &made, error.into()))?;
        self.store.put_new(&made, &below(&made, "owner")?, &bytes)?;
        let taken = Generation { leases: self.clone(), slot: slot.clone(), number: generation };
        match self.store.rename_tree(&made, &taken.directory()?) {
            Ok(()) => {}
            Err(error) => {
                self.discard(&made);
                return match error.kind {
                    Kind::Exists | Kind::NotEmpty => Ok(None),
                    _ => Err(error),
                };
            }
        }
        // It was written when it was made; what follows took time.
        let renewed = uptime();
        let mine = match taken.renew() {
            Ok(()) => true,
            Err(LeaseError::Store(error)) => return Err(error),
            Err(LeaseError::Lost | LeaseError::Held(_)) => false,
        };
        if !mine || uptime().saturating_sub(begun) > BELIEVED_FOR {
            taken.retire();
            return Ok(None);
        }
        for older in self.generations(slot)?.into_iter().filter(|number| *number < generation) {
            Generation { number: older, ..taken.clone() }.retire();
        }
        Lease::begin(taken, renewed).map(Some)
    }

    fn discard(&self, directory: &ObjectKey) {
        if let Err(error) = self.store.remove_tree(directory) {
            tracing::debug!(%error, "what is left of a lease stays");
        }
    }

    /// Removes what takers have left that were killed before they had a number.
    fn sweep(&self, now: SystemTime) {
        let swept = self.beside().and_then(|beside| {
            for entry in self.store.list(Some(&beside))? {
                let age = now.duration_since(entry.stat.modified).unwrap_or(Duration::ZERO);
                let left = below(&beside, &entry.name)?;
                match entry.stat.kind {
                    _ if age < LITTER_AFTER => {}
                    EntryKind::Directory => self.discard(&left),
                    _ => self.store.remove(&left)?,
                }
            }
            Ok(())
        });
        if let Err(error) = swept {
            tracing::debug!(%error, "what is left of a lease stays");
        }
    }
}

/// A numbered directory of a lease.
#[derive(Debug, Clone)]
pub(super) struct Generation {
    leases: Leases,
    pub(super) slot: ObjectKey,
    pub(super) number: u64,
}

impl Generation {
    fn directory(&self) -> Result<ObjectKey, StoreError> {
        generation_key(&self.slot, self.number)
    }

    /// Lets it count for a term from now. [`LeaseError::Lost`] if a higher one counts.
    pub(super) fn renew(&self) -> Result<(), LeaseError> {
        match self.leases.store.touch(&below(&self.directory()?, "owner")?) {
            Err(error) if error.is_not_found() => return Err(LeaseError::Lost),
            other => other?,
        }
        if self.leases.newest(&self.slot)? == Some(self.number) {
            Ok(())
        } else {
            Err(LeaseError::Lost)
        }
    }

    /// Makes it free at once. Once released, or taken over, it is released.
    pub(super) fn release(&self) -> Result<(), StoreError> {
        let directory = self.directory()?;
        let (owner, released) = (below(&directory, "owner")?, below(&directory, "released")?);
        match self.leases.store.rename_replacing(&owner, &released) {
            Err(error) if error.is_not_found() => Ok(()),
            other => other,
        }
    }

    /// Takes it out of the way whole, so that it is never seen empty under its number.
    fn retire(&self) {
        let aside = || {
            let to = below(&self.leases.beside()?, &unique_name())?;
            self.leases.store.rename_tree(&self.directory()?, &to).map(|()| to)
        };
        match aside() {
            Ok(to) => self.leases.discard(&to),
            Err(error) if error.is_not_found() => {}
            Err(error) => tracing::debug!(%error, "an old lease stays"),
        }
    }
}

fn below(directory: &ObjectKey, name: &str) -> Result<ObjectKey, StoreError> {
    directory.join(name).map_err(|error| {
        StoreError::of_io("name a lease in", directory, std::io::Error::other(error))
    })
}

fn generation_key(slot: &ObjectKey, generation: u64) -> Result<ObjectKey, StoreError> {
    // Padded so that `ls` sorts them; read back with or without.
    below(slot, &format!("{generation:020}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::thread;
    use tempfile::TempDir;

    fn leases() -> (TempDir, Leases) {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path()).unwrap();
        (directory, Leases::new(store, ObjectKey::parse(".medusafs/leases").unwrap()))
    }

    fn owner(purpose: &str) -> Owner {
        Owner { host: "host1".into(), pid: 1, job: None, purpose: purpose.into() }
    }

    fn record(purpose: &str) -> Record {
        Record { version: 1, owner: owner(purpose), since: SystemTime::UNIX_EPOCH.into() }
    }

    /// Leaves a lease as a process leaves it that was killed `seconds` ago.
    fn left_behind(leases: &Leases, generation: u64, seconds: u64) -> ObjectKey {
        let slot = leases.slot(&LeaseName::Cluster).unwrap();
        let directory = generation_key(&slot, generation).unwrap();
        let key = below(&directory, "owner").unwrap();
        let bytes = serde_json::to_vec(&record("dead")).unwrap();
        leases.store.put_new(&leases.beside().unwrap(), &key, &bytes).unwrap();
        let now = leases.store.share_time(&leases.beside().unwrap()).unwrap();
        leases.store.set_modified(&key, now - Duration::from_secs(seconds)).unwrap();
        slot
    }

    #[test]
    fn a_lease_that_is_held_is_refused_with_its_holder() {
        let (_directory, leases) = leases();
        let lease = leases.acquire(&LeaseName::Cluster, &owner("backup a"), |_| false).unwrap();
        let error = leases.acquire(&LeaseName::Cluster, &owner("backup b"), |_| false).unwrap_err();
        let LeaseError::Held(holder) = error else { panic!("{error}") };
        assert_eq!(holder.owner, Some(owner("backup a")));
        assert!(lease.is_held());
    }

    #[test]
    fn a_lease_whose_owner_is_known_to_be_dead_is_taken_at_once_and_no_other() {
        let (_directory, leases) = leases();
        let dead = leases.acquire(&LeaseName::Cluster, &owner("dead"), |_| false).unwrap();
        let is_dead = |owner: &Owner| owner.purpose == "dead";
        let living = leases.acquire(&LeaseName::Cluster, &owner("b"), is_dead).unwrap();
        assert!(living.generation() > dead.generation());
        let refused = leases.acquire(&LeaseName::Cluster, &owner("c"), is_dead);
        assert!(matches!(refused, Err(LeaseError::Held(_))));
    }

    #[test]
    fn a_released_lease_is_free_at_once_and_its_number_never_comes_again() {
        let (_directory, leases) = leases();
        let first = leases.acquire(&LeaseName::Cluster, &owner("a"), |_| false).unwrap();
        let number = first.generation();
        first.release().unwrap();
        let second = leases.acquire(&LeaseName::Cluster, &owner("b"), |_| false).unwrap();
        assert!(second.generation() > number);
    }

    #[test]
    fn leases_of_different_names_do_not_meet() {
        let (_directory, leases) = leases();
        let node = |name| LeaseName::Node(Fqdn::parse(name).unwrap());
        let held = [LeaseName::Cluster, node("n1"), node("n10")]
            .map(|name| leases.acquire(&name, &owner("x"), |_| false).unwrap());
        assert!(held.iter().all(Lease::is_held));
    }

    #[test]
    fn a_lease_is_over_a_minute_after_its_last_renewal_and_no_sooner() {
        let (_directory, leases) = leases();
        let slot = left_behind(&leases, 7, 50);
        assert!(leases.acquire(&LeaseName::Cluster, &owner("b"), |_| false).is_err());
        let key = below(&generation_key(&slot, 7).unwrap(), "owner").unwrap();
        let now = leases.store.share_time(&leases.beside().unwrap()).unwrap();
        leases.store.set_modified(&key, now - Duration::from_secs(62)).unwrap();
        let lease = leases.acquire(&LeaseName::Cluster, &owner("b"), |_| false).unwrap();
        assert_eq!(lease.generation(), 8);
        assert_eq!(leases.generations(&slot).unwrap(), [8], "the old one was tidied away");
    }

    #[test]
    fn a_taker_that_was_held_up_takes_nothing_from_those_who_came_after() {
        let (_directory, leases) = leases();
        let slot = left_behind(&leases, 1, 100);
        // It looked when 1 was the newest and over. Then others took 2, released it, and took 3.
        leases.acquire(&LeaseName::Cluster, &owner("b"), |_| false).unwrap().release().unwrap();
        let living = leases.acquire(&LeaseName::Cluster, &owner("c"), |_| false).unwrap();
        assert_eq!(living.generation(), 3);
        // Its number is free again, for 2 was tidied away: it sees 3 and withdraws.
        assert!(leases.claim(&slot, 2, &record("late")).unwrap().is_none());
        assert!(leases.claim(&slot, 3, &record("late")).unwrap().is_none());
        assert_eq!(leases.generations(&slot).unwrap(), [3]);
        Generation { leases: leases.clone(), slot, number: 3 }.renew().unwrap();
        assert!(living.is_held());
    }

    #[test]
    fn what_a_killed_taker_left_is_removed_a_day_later_and_no_sooner() {
        let (_directory, leases) = leases();
        let beside = leases.beside().unwrap();
        let now = leases.store.share_time(&beside).unwrap();
        for (name, hours) in [("old", 25), ("young", 23)] {
            let directory = below(&beside, name).unwrap();
            leases.store.put_new(&beside, &below(&directory, "owner").unwrap(), b"{").unwrap();
            let draft = below(&beside, &format!("{name}-draft")).unwrap();
            leases.store.put_new(&beside, &draft, b"").unwrap();
            for left in [&directory, &draft] {
                let then = now - Duration::from_hours(hours);
                leases.store.set_modified(left, then).unwrap();
            }
        }
        let _lease = leases.acquire(&LeaseName::Cluster, &owner("b"), |_| false).unwrap();
        let names = leases.store.names(Some(&beside)).unwrap();
        let mut names: Vec<_> = names.into_iter().map(|entry| entry.name).collect();
        names.sort();
        assert_eq!(names, ["young", "young-draft"]);
    }

    #[test]
    fn a_lease_without_owner_or_end_holds_for_a_minute_and_blocks_nobody_for_ever() {
        let (_directory, leases) = leases();
        let slot = leases.slot(&LeaseName::Cluster).unwrap();
        let directory = generation_key(&slot, 1).unwrap();
        leases.store.make_directory(&directory).unwrap();
        assert!(leases.acquire(&LeaseName::Cluster, &owner("b"), |_| false).is_err());
        let now = leases.store.share_time(&leases.beside().unwrap()).unwrap();
        leases.store.set_modified(&directory, now - Duration::from_secs(100)).unwrap();
        assert!(leases.acquire(&LeaseName::Cluster, &owner("b"), |_| false).is_ok());
    }

    #[test]
    fn a_garbled_record_still_holds() {
        let (_directory, leases) = leases();
        let slot = leases.slot(&LeaseName::Cluster).unwrap();
        let key = below(&generation_key(&slot, 1).unwrap(), "owner").unwrap();
        leases.store.put_new(&leases.beside().unwrap(), &key, b"{").unwrap();
        let error = leases.acquire(&LeaseName::Cluster, &owner("b"), |_| false).unwrap_err();
        assert!(matches!(error, LeaseError::Held(Holder { owner: None, .. })));
    }

    #[test]
    fn of_many_who_take_over_one_gets_it() {
        let (_directory, leases) = leases();
        for round in 0..10 {
            let newest = leases.slot(&LeaseName::Cluster).ok();
            let newest = newest.and_then(|slot| leases.newest(&slot).ok().flatten());
            left_behind(&leases, newest.unwrap_or(0) + 1, 100);
            let got = thread::scope(|scope| {
                let takers: Vec<_> = (0..8)
                    .map(|_| {
                        scope.spawn(|| {
                            leases.acquire(&LeaseName::Cluster, &owner("t"), |_| false).ok()
                        })
                    })
                    .collect();
                takers.into_iter().filter_map(|taker| taker.join().unwrap()).collect::<Vec<_>>()
            });
            assert_eq!(got.len(), 1, "round {round}");
        }
    }

    #[test]
    fn never_do_two_threads_hold_a_lease_at_once() {
        let (_directory, leases) = leases();
        let (inside, turns) = (AtomicU32::new(0), AtomicU32::new(0));
        thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    while turns.load(Ordering::SeqCst) < 60 {
                        match leases.acquire(&LeaseName::Cluster, &owner("t"), |_| false) {
                            Ok(lease) => {
                                assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0);
                                turns.fetch_add(1, Ordering::SeqCst);
                                inside.fetch_sub(1, Ordering::SeqCst);
                                lease.release().unwrap();
                            }
                            Err(LeaseError::Held(_)) => thread::yield_now(),
                            Err(error) => panic!("{error}"),
                        }
                    }
                });
            }
        });
    }
}
