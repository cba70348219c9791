//! Everything that the tree is made of, as it is at one moment.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::sync::Arc;

use crate::catalog::Backup;
use crate::catalog::Backups;
use crate::model::BackupName;
use crate::model::Fqdn;
use crate::model::JobId;
use crate::model::JobKind;
use crate::model::JobState;
use crate::model::JobStatus;
use crate::model::Keyspace;
use crate::model::NodeStatus;
use crate::model::Outcome;
use crate::model::UnixSeconds;

use super::NodeBackupId;

/// For how long a backup whose job has ended well is shown from its job: until then the share has
/// been looked at again, and NFS, which believes a directory's time for a minute, has asked anew.
const UNTIL_SEEN_SECONDS: u64 = 90;

/// By how much the share's clock and this host's may differ.
const CLOCKS_DIFFER_SECONDS: i64 = 3600;

/// Keyspaces and the tables in them, over all backups.
pub type Tables = BTreeMap<Keyspace, BTreeSet<Arc<str>>>;

/// A backup that was asked for a moment ago, whose job may not show yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    /// Its name.
    pub name: BackupName,
    /// The one node, if it is of one.
    pub node: Option<Fqdn>,
    /// Its job.
    pub job: JobId,
}

/// What the tree is made of. Cheap to take: everything is shared.
#[derive(Debug, Clone, Default)]
pub struct World {
    /// What the share holds.
    pub backups: Arc<Backups>,
    /// What this host does and did, oldest first.
    pub jobs: Arc<Vec<JobStatus>>,
    /// What was asked for and is not in `jobs` yet.
    pub asked: Vec<Asked>,
    /// Jobs that were taken back as soon as they were asked for: shown to nobody.
    pub withdrawn: Arc<BTreeSet<JobId>>,
    /// The nodes of the ring, if one was ever seen.
    pub ring: Option<Arc<Vec<Fqdn>>>,
    /// Keyspaces and tables, as far as they were looked for.
    pub tables: Arc<Tables>,
    /// Now.
    pub now: UnixSeconds,
    /// When the tree was mounted: the age of what has none.
    pub mounted: UnixSeconds,
}

impl World {
    /// What the share holds of a backup.
    pub fn stored(&self, name: &BackupName) -> Option<&Arc<Backup>> {
        self.backups.get(name)
    }

    /// The job that makes a backup of this name, else the newest that did: one that was refused for
    /// another was at work says nothing of that.
    pub fn job_of(&self, name: &BackupName) -> Option<&JobStatus> {
        self.backup_jobs().filter(|job| job.backup == *name).reduce(told_by)
    }

    /// A job by its id.
    pub fn job(&self, id: &JobId) -> Option<&JobStatus> {
        self.jobs.iter().find(|job| job.id == *id)
    }

    /// A job that is at work now, other than one that was taken back.
    pub fn busy(&self) -> Option<&JobStatus> {
        let live =
            |job: &&JobStatus| job.state.outcome().is_none() && !self.withdrawn.contains(&job.id);
        self.jobs.iter().rev().filter(|job| job.state != JobState::Held).find(live)
    }

    /// Every backup that is shown, by name.
    pub fn backup_names(&self) -> BTreeSet<BackupName> {
        let stored = self.backups.iter().map(|backup| backup.name.clone());
        let worked_on = self.shown_jobs().map(|job| job.backup.clone());
        let asked = self.asked.iter().map(|asked| asked.name.clone());
        stored.chain(worked_on).chain(asked).collect()
    }

    /// Whether a backup of that name is shown.
    pub fn has_backup(&self, name: &BackupName) -> bool {
        self.stored(name).is_some()
            || self.job_of(name).is_some_and(|job| self.shows(job))
            || self.asked.iter().any(|asked| asked.name == *name)
    }

    /// The nodes that are listed in a backup: what the share holds, and the node of a backup of one
    /// node that is being made.
    pub fn nodes_of(&self, name: &BackupName) -> BTreeSet<Fqdn> {
        let stored = self.stored(name).into_iter().flat_map(|backup| backup.nodes.keys().cloned());
        let job = self.job_of(name).filter(|job| self.shows(job));
        let worked_on = job.and_then(|job| job.node.clone());
        let asked = self.asked.iter().filter(|asked| asked.name == *name);
        stored.chain(worked_on).chain(asked.filter_map(|asked| asked.node.clone())).collect()
    }

    /// Whether a node's part of a backup can be named: it is listed, or its job works on it. A node
    /// that a backup lacks when its job has ended cannot, so that `mkdir` can add it.
    pub fn has_node_backup(&self, of: &NodeBackupId) -> bool {
        let stored = self.stored(&of.backup);
        let is_open = |job: &JobStatus, node: &NodeStatus| {
            stored.is_none()
                || job.state.outcome().is_none()
                || node.state.outcome() == Some(Outcome::Wished)
        };
        stored.is_some_and(|backup| backup.nodes.contains_key(&of.node))
            || self.nodes_of(&of.backup).contains(&of.node)
            || self.job_of(&of.backup).is_some_and(|job| {
                let mut nodes = job.nodes.iter();
                self.shows(job) && nodes.any(|node| node.name == of.node && is_open(job, node))
            })
    }

    /// Every node that any backup, job or ring names.
    pub fn nodes(&self) -> BTreeSet<Fqdn> {
        let stored = self.backups.nodes().cloned();
        let ring = self.ring.iter().flat_map(|ring| ring.iter().cloned());
        let worked_on = self.backup_jobs().filter_map(|job| job.node.clone());
        stored.chain(ring).chain(worked_on).collect()
    }

    /// The backups in which a node has a part.
    pub fn backups_of(&self, node: &Fqdn) -> BTreeSet<BackupName> {
        let stored = self.backups.of_node(node).cloned();
        let worked_on = self.shown_jobs().filter(|job| job.node.as_ref() == Some(node));
        let asked = self.asked.iter().filter(|asked| asked.node.as_ref() == Some(node));
        stored
            .chain(worked_on.map(|job| job.backup.clone()))
            .chain(asked.map(|asked| asked.name.clone()))
            .collect()
    }

    /// The nodes that can be restored: those of the ring as last seen, else those of the newest
    /// backup, else all.
    pub fn nodes_to_restore(&self) -> BTreeSet<Fqdn> {
        if let Some(ring) = &self.ring {
            return ring.iter().cloned().collect();
        }
        if let Some(ring) = self.backups.newest_ring() {
            return ring.iter().cloned().collect();
        }
        self.nodes()
    }

    /// The newest backup by start that is complete, of the whole cluster, and not damaged.
    pub fn latest(&self) -> Option<&Arc<Backup>> {
        let newest = self.backups.latest()?;
        if self.found_wanting(newest).is_none() {
            return Some(newest);
        }
        let mut others = self.backups.newest_first().into_iter();
        others.find(|backup| backup.is_good() && self.found_wanting(backup).is_none())
    }

    /// The job of this host that made a backup and knows that it lacks what the share cannot tell:
    /// the ring changed meanwhile, or of a data centre there is no node's token map in it. None
    /// any more when jobs for the nodes that lacked have ended well.
    pub(super) fn found_wanting(&self, stored: &Backup) -> Option<&JobStatus> {
        let mut added = BTreeSet::new();
        for job in self.jobs_for(stored) {
            let Some(node) = &job.node else {
                let mut failed =
                    job.nodes.iter().filter(|node| node.state.outcome() != Some(Outcome::Wished));
                let is_mended = !added.is_empty() && failed.all(|node| added.contains(&node.name));
                return (job.state == JobState::Incomplete && !is_mended).then_some(job);
            };
            if job.state == JobState::Complete {
                added.insert(node);
            }
        }
        None
    }

    /// The jobs of this host that made what the share holds of a backup, newest first: that for
    /// the cluster last, and those before it that added a node.
    pub(super) fn jobs_for(&self, stored: &Backup) -> impl Iterator<Item = &JobStatus> {
        // What ended long before the backup was begun made another one of the same name.
        let earliest = UnixSeconds(stored.started.0.saturating_sub(CLOCKS_DIFFER_SECONDS));
        let name = stored.name.clone();
        let mut is_over = false;
        self.backup_jobs().rev().filter(move |job| job.backup == name).take_while(move |job| {
            let before = is_over || job.finished.is_some_and(|at| at < earliest);
            is_over = job.node.is_none();
            !before
        })
    }

    /// When a backup was begun, for the time of its directory.
    pub fn started(&self, name: &BackupName) -> UnixSeconds {
        self.stored(name)
            .map(|backup| backup.started)
            .or_else(|| self.job_of(name).map(|job| job.started))
            .unwrap_or(self.now)
    }

    /// Whether a backup can no longer change: nobody works on it, and the share holds it.
    pub fn is_settled(&self, name: &BackupName) -> bool {
        self.stored(name).is_some_and(|backup| backup.finished.is_some())
            && self.job_of(name).is_none_or(|job| job.state.outcome().is_some())
    }

    /// The jobs by which a backup of that name is shown though the share may hold none, oldest
    /// first.
    pub fn jobs_shown_as(&self, name: &BackupName) -> Vec<&JobStatus> {
        self.backup_jobs().filter(|job| job.backup == *name && self.shows(job)).collect()
    }

    /// Of each name the job that tells of it, if it shows a backup: what is listed can be named.
    fn shown_jobs(&self) -> impl Iterator<Item = &JobStatus> {
        let mut of_names: BTreeMap<&BackupName, &JobStatus> = BTreeMap::new();
        for job in self.backup_jobs() {
            let told = of_names.entry(&job.backup).or_insert(job);
            *told = told_by(told, job);
        }
        of_names.into_values().filter(|job| self.shows(job))
    }

    fn backup_jobs(&self) -> impl DoubleEndedIterator<Item = &JobStatus> {
        self.jobs.iter().filter(|job| job.kind == JobKind::Backup && !self.is_withdrawn(job))
    }

    /// Whether what a job made was taken back or removed, so that the tree does not show it.
    pub(super) fn is_withdrawn(&self, job: &JobStatus) -> bool {
        job.withdrawn || self.withdrawn.contains(&job.id)
    }

    /// A backup that is only a job's is shown while it is made and when it failed; once it is
    /// complete the share shows it.
    fn shows(&self, job: &JobStatus) -> bool {
        match job.state {
            JobState::Complete | JobState::Incomplete | JobState::Done | JobState::Undone => {
                self.has_just_ended(job)
            }
            _ => true,
        }
    }

    /// Whether the share may not have been looked at again since this job ended.
    pub(super) fn has_just_ended(&self, job: &JobStatus) -> bool {
        job.finished.is_some_and(|at| {
            self.now.since(at).is_none_or(|seconds| seconds <= UNTIL_SEEN_SECONDS)
        })
    }
}

/// Of two jobs of one name, which tells where its backup stands.
fn told_by<'a>(older: &'a JobStatus, newer: &'a JobStatus) -> &'a JobStatus {
    let is_at_work = |job: &JobStatus| job.state.outcome().is_none();
    if is_at_work(older) && !is_at_work(newer) { older } else { newer }
}
