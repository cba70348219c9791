//! Backups that were asked for through this mount a moment ago.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use std::time::Instant;

use parking_lot::Mutex;

use crate::model::BackupName;
use crate::model::Fqdn;
use crate::model::JobId;
use crate::model::JobStatus;
use crate::view::Asked;

use super::FsError;

/// For how long nothing may be made below a new backup by whoever made it. No snapshot is taken
/// before.
const WATCHED: Duration = Duration::from_secs(2);

/// For how long a program that was found copying, and goes on trying, asks for no backup.
const COPIES: Duration = Duration::from_secs(10);

/// What was asked for, until its job shows it by itself.
#[derive(Debug, Default)]
pub(super) struct Begun {
    asked: Vec<New>,
    copying: Vec<Copying>,
    withdrawn: Arc<BTreeSet<JobId>>,
    /// The name that is just being asked for.
    making: Option<String>,
}

/// A backup that is being asked for, until this is dropped.
pub(super) struct Making<'a>(&'a Mutex<Begun>);

impl<'a> Making<'a> {
    /// Refuses if another one is being asked for: the cluster makes one at a time.
    pub(super) fn reserve(begun: &'a Mutex<Begun>, name: &str) -> Result<Self, FsError> {
        let mut state = begun.lock();
        if let Some(other) = &state.making {
            return Err(FsError::Busy(format!("the backup {other} is just being asked for")));
        }
        state.making = Some(name.to_owned());
        drop(state);
        Ok(Self(begun))
    }
}

impl Drop for Making<'_> {
    fn drop(&mut self) {
        self.0.lock().making = None;
    }
}

#[derive(Debug)]
struct New {
    asked: Asked,
    process: u32,
    at: Instant,
}

/// A program that copies into `backups/`.
#[derive(Debug)]
struct Copying {
    name: BackupName,
    process: u32,
    at: Instant,
}

impl Begun {
    /// A backup was begun.
    pub(super) fn add(&mut self, name: BackupName, node: Option<Fqdn>, job: JobId, process: u32) {
        let asked = Asked { name, node, job };
        self.asked.push(New { asked, process, at: Instant::now() });
    }

    /// What was asked for whose job is not in the table yet.
    pub(super) fn asked_and_not_among(&self, jobs: &[JobStatus]) -> Vec<Asked> {
        let listed = |asked: &Asked| jobs.iter().any(|job| job.id == asked.job);
        let asked = self.asked.iter().map(|new| &new.asked);
        asked.filter(|asked| !listed(asked)).cloned().collect()
    }

    /// Forgets what the table of jobs has, once nobody need be watched any more.
    pub(super) fn tidy(&mut self, jobs: &[JobStatus]) {
        let listed = |asked: &Asked| jobs.iter().any(|job| job.id == asked.job);
        self.asked.retain(|new| new.at.elapsed() < WATCHED || !listed(&new.asked));
        self.copying.retain(|copying| copying.at.elapsed() < COPIES);
        // What stays for what it has left on a node says by itself that it is withdrawn.
        let shows = |id: &&JobId| jobs.iter().any(|job| job.id == **id && !job.withdrawn);
        if !self.withdrawn.iter().all(|id| shows(&id)) {
            self.withdrawn = Arc::new(self.withdrawn.iter().filter(shows).cloned().collect());
        }
    }

    /// The job of the backup `name`, or of the part of `node` in it, if `process` asked for just
    /// that within the last two seconds: a tool that copies makes a directory and goes on in it, a
    /// person does not.
    pub(super) fn just_made_by(
        &self,
        name: &BackupName,
        node: Option<&Fqdn>,
        process: u32,
    ) -> Option<JobId> {
        let is_below = |asked: &Asked| asked.node.is_none() || asked.node.as_ref() == node;
        let new = self.asked.iter().find(|new| {
            new.asked.name == *name
                && is_below(&new.asked)
                && new.process == process
                && new.at.elapsed() < WATCHED
        })?;
        Some(new.asked.job.clone())
    }

    /// A program copies to `name`.
    pub(super) fn copies(&mut self, name: BackupName, process: u32) {
        self.copying.push(Copying { name, process, at: Instant::now() });
    }

    /// Whether a program that would ask for a backup was found copying a moment ago: `tar` makes
    /// a directory that has gone again, for each file anew.
    pub(super) fn is_copying(&mut self, name: &str, process: u32) -> bool {
        // Where processes cannot be told apart, the names must do.
        let same = |copying: &&mut Copying| {
            copying.process == process
                && (process != 0 || copying.name.as_str() == name)
                && copying.at.elapsed() < COPIES
        };
        let Some(copying) = self.copying.iter_mut().find(same) else { return false };
        copying.at = Instant::now();
        true
    }

    /// Takes a backup back: its job is shown to nobody any more.
    pub(super) fn withdraw(&mut self, job: &JobId) {
        self.asked.retain(|new| new.asked.job != *job);
        Arc::make_mut(&mut self.withdrawn).insert(job.clone());
    }

    /// The jobs that were taken back.
    pub(super) fn withdrawn(&self) -> Arc<BTreeSet<JobId>> {
        Arc::clone(&self.withdrawn)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(text: &str) -> JobId {
        JobId::parse(text).unwrap()
    }

    fn name() -> BackupName {
        BackupName::parse("b").unwrap()
    }

    #[test]
    fn a_new_backup_shows_before_its_job_does() {
        let mut begun = Begun::default();
        begun.add(name(), None, job("j"), 7);
        assert_eq!(begun.asked_and_not_among(&[])[0].name, name());
        begun.tidy(&[]);
        assert_eq!(begun.asked_and_not_among(&[]).len(), 1);
    }

    #[test]
    fn of_two_that_are_asked_for_at_once_one_is_refused() {
        let begun = Mutex::new(Begun::default());
        let first = Making::reserve(&begun, "a").unwrap();
        assert!(matches!(Making::reserve(&begun, "b"), Err(FsError::Busy(_))));
        drop(first);
        assert!(Making::reserve(&begun, "b").is_ok());
    }

    #[test]
    fn only_the_process_that_made_it_withdraws_it() {
        let mut begun = Begun::default();
        begun.add(name(), None, job("j"), 7);
        assert_eq!(begun.just_made_by(&name(), None, 8), None);
        assert_eq!(begun.just_made_by(&name(), None, 7), Some(job("j")));
        begun.withdraw(&job("j"));
        assert_eq!(begun.just_made_by(&name(), None, 7), None);
        assert!(begun.withdrawn().contains(&job("j")));
    }

    #[test]
    fn what_is_made_beside_a_new_part_of_a_backup_is_not_made_below_it() {
        let mut begun = Begun::default();
        let node = |name: &str| Fqdn::parse(name).unwrap();
        begun.add(name(), Some(node("n1")), job("j"), 7);
        assert_eq!(begun.just_made_by(&name(), None, 7), None);
        assert_eq!(begun.just_made_by(&name(), Some(&node("n2")), 7), None);
        assert_eq!(begun.just_made_by(&name(), Some(&node("n1")), 7), Some(job("j")));
    }

    #[test]
    fn a_program_that_copies_asks_for_no_other_backup() {
        let mut begun = Begun::default();
        assert!(!begun.is_copying("c", 7));
        begun.copies(name(), 7);
        begun.copies(name(), 0);
        assert!(begun.is_copying("b", 7) && begun.is_copying("c", 7));
        assert!(begun.is_copying("b", 0) && !begun.is_copying("c", 0));
        assert!(!begun.is_copying("b", 8));
    }
}
