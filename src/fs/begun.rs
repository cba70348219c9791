//! Backups that were asked for through this mount a moment ago.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use std::time::Instant;

use crate::model::BackupName;
use crate::model::Fqdn;
use crate::model::JobId;
use crate::model::JobStatus;
use crate::view::Asked;

/// For how long nothing may be made below a new backup by whoever made it. No snapshot is taken
/// before.
const WATCHED: Duration = Duration::from_secs(2);

/// What was asked for, until its job shows it by itself.
#[derive(Debug, Default)]
pub(super) struct Begun {
    asked: Vec<New>,
    withdrawn: Arc<BTreeSet<JobId>>,
}

#[derive(Debug)]
struct New {
    asked: Asked,
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
        if self.withdrawn.iter().any(|id| !jobs.iter().any(|job| job.id == *id)) {
            let there = |id: &&JobId| jobs.iter().any(|job| job.id == **id);
            self.withdrawn = Arc::new(self.withdrawn.iter().filter(there).cloned().collect());
        }
    }

    /// The job of the backup `name`, if `process` asked for it within the last two seconds: a tool
    /// that copies makes a directory and goes on in it, a person does not.
    pub(super) fn just_made_by(&self, name: &BackupName, process: u32) -> Option<JobId> {
        let new = self.asked.iter().find(|new| {
            new.asked.name == *name && new.process == process && new.at.elapsed() < WATCHED
        })?;
        Some(new.asked.job.clone())
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
    fn only_the_process_that_made_it_withdraws_it() {
        let mut begun = Begun::default();
        begun.add(name(), None, job("j"), 7);
        assert_eq!(begun.just_made_by(&name(), 8), None);
        assert_eq!(begun.just_made_by(&name(), 7), Some(job("j")));
        begun.withdraw(&job("j"));
        assert_eq!(begun.just_made_by(&name(), 7), None);
        assert!(begun.withdrawn().contains(&job("j")));
    }
}
