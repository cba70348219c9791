//! Which folders of jobs that have ended are kept, and which go.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::Path;
use std::time::Duration;

use crate::model::{Fqdn, JobId, JobKind, JobState, JobStatus, UnixSeconds};

/// For so long a job's log and error can be looked at.
const KEPT_FOR: Duration = Duration::from_hours(30 * 24);

/// A restore is kept so much longer than it can be undone.
const LONGER_THAN_UNDO: Duration = Duration::from_hours(24);

/// Of each kind so many are kept at most.
const KEPT_OF_A_KIND: usize = 200;

/// What a crash left of a folder that was being made or removed is swept up after this.
const HALF_FOR: Duration = Duration::from_hours(1);

/// The jobs that nobody needs any more, `jobs` being all there are, oldest first. Those of which
/// something is left somewhere are for the caller to spare.
///
/// Always kept: the newest job that met the whole ring, from which `restore/` has its directories;
/// the newest job of each node; a restore as long as it can be undone; and a backup that ended
/// incomplete.
pub(super) fn superfluous(jobs: &[JobStatus], now: UnixSeconds, undo_keep: Duration) -> Vec<JobId> {
    let old = seconds(KEPT_FOR.max(undo_keep.saturating_add(LONGER_THAN_UNDO)));
    let mut of_kind: BTreeMap<&'static str, usize> = BTreeMap::new();
    let mut nodes_met: BTreeSet<&Fqdn> = BTreeSet::new();
    let mut ring_met = false;
    let mut found = Vec::new();
    for job in jobs.iter().rev() {
        let mut is_newest_of_a_node = false;
        for node in job.node.iter().chain(job.nodes.iter().map(|node| &node.name)) {
            is_newest_of_a_node |= nodes_met.insert(node);
        }
        let is_ring = !ring_met && job.has_met_the_ring();
        ring_met |= is_ring;
        let newer = of_kind
            .entry(match job.kind {
                JobKind::Backup => "backup",
                JobKind::Restore => "restore",
            })
            .or_default();
        let is_beyond = *newer >= KEPT_OF_A_KIND;
        *newer += 1;
        let ended = job.finished.unwrap_or(job.started);
        let age = now.0.saturating_sub(ended.0);
        let can_be_undone = job.state == JobState::Done && age <= seconds(undo_keep);
        let is_kept = job.state.outcome().is_none()
            || is_newest_of_a_node
            || is_ring
            || can_be_undone
            // That the ring changed meanwhile, no other place tells.
            || job.state == JobState::Incomplete
            || !(is_beyond || age > old);
        if !is_kept {
            found.push(job.id.clone());
        }
    }
    found
}

fn seconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_secs()).unwrap_or(i64::MAX)
}

/// Removes what a crash left of folders that were being made or removed: names with a dot.
pub(super) fn sweep(directory: &Path, now: UnixSeconds) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let modified = UnixSeconds::from(entry.metadata()?.modified()?);
        let is_half = entry.file_name().to_string_lossy().starts_with('.');
        if is_half && now.0.saturating_sub(modified.0) > seconds(HALF_FOR) {
            fs::remove_dir_all(entry.path())?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{BackupName, NodeStatus, Phase, Progress, STATUS_VERSION};

    const DAY: i64 = 24 * 3600;
    const NOW: i64 = 1_795_364_040;

    fn job(days_ago: i64, kind: JobKind, state: JobState, nodes: &[&str]) -> JobStatus {
        let at = UnixSeconds(NOW - days_ago * DAY);
        let node = |name: &&str| NodeStatus {
            name: Fqdn::parse(name).unwrap(),
            state,
            phase: Phase::Copy,
            progress: Progress::default(),
            seconds: 0,
            error: None,
        };
        JobStatus {
            version: STATUS_VERSION,
            id: JobId::new(at, kind, "b").unwrap(),
            kind,
            backup: BackupName::parse("b").unwrap(),
            node: (kind == JobKind::Restore).then(|| Fqdn::parse(nodes[0]).unwrap()),
            state,
            phase: Phase::Publish,
            progress: Progress::default(),
            bytes_per_second: None,
            eta_seconds: None,
            started: at,
            finished: state.outcome().map(|_| at),
            unique_bytes: None,
            nodes: nodes.iter().map(node).collect(),
            error: String::new(),
            withdrawn: false,
            cause: None,
        }
    }

    fn gone(jobs: &[JobStatus], undo_keep_days: u64) -> Vec<i64> {
        let undo_keep = Duration::from_hours(24 * undo_keep_days);
        let ids = superfluous(jobs, UnixSeconds(NOW), undo_keep);
        let age = |job: &JobStatus| (NOW - job.started.0) / DAY;
        jobs.iter().filter(|job| ids.contains(&job.id)).map(age).collect()
    }

    #[test]
    fn what_is_old_goes_but_for_the_newest_of_each_node_and_what_runs() {
        use JobKind::{Backup, Restore};
        let jobs = [
            job(90, Backup, JobState::Running, &["n1"]),
            job(80, Backup, JobState::Complete, &["n1", "n9"]),
            job(75, Backup, JobState::Incomplete, &["n1"]),
            job(70, Backup, JobState::Complete, &["n1", "n2"]),
            job(60, Restore, JobState::Done, &["n1"]),
            job(50, Restore, JobState::Failed, &["n1"]),
            job(20, Restore, JobState::Cancelled, &["n2"]),
            job(10, Restore, JobState::Cancelled, &["n1"]),
        ];
        // Of n9 there is no other, and 70 days ago the whole ring was met last.
        assert_eq!(gone(&jobs, 7), [60, 50]);
    }

    #[test]
    fn a_restore_stays_as_long_as_it_can_be_undone() {
        use JobKind::Restore;
        let jobs = [
            job(60, Restore, JobState::Done, &["n1"]),
            job(40, Restore, JobState::Done, &["n1"]),
            job(1, Restore, JobState::Done, &["n1"]),
        ];
        assert_eq!(gone(&jobs, 45), [60]);
        assert_eq!(gone(&jobs, 7), [60, 40]);
    }

    #[test]
    fn no_more_than_so_many_of_a_kind_stay() {
        let jobs: Vec<_> = (0..203)
            .rev()
            .map(|minutes| {
                let mut one = job(0, JobKind::Backup, JobState::Complete, &["n1"]);
                one.started = UnixSeconds(NOW - minutes * 60);
                one.finished = Some(one.started);
                one.id = JobId::new(one.started, one.kind, "b").unwrap();
                one
            })
            .collect();
        let ids = superfluous(&jobs, UnixSeconds(NOW), Duration::ZERO);
        let oldest: Vec<_> = jobs[..3].iter().rev().map(|job| job.id.clone()).collect();
        assert_eq!(ids, oldest);
    }

    #[test]
    fn half_a_folder_is_swept_up_after_an_hour_and_a_job_s_never() {
        let directory = tempfile::tempdir().unwrap();
        for name in [".20261122T161400Z-backup-b", ".gone-20261122T161400Z-backup-b", "a-job"] {
            fs::create_dir_all(directory.path().join(name).join("control")).unwrap();
        }
        let made = fs::metadata(directory.path().join("a-job")).unwrap().modified().unwrap();
        let left = || fs::read_dir(directory.path()).unwrap().count();
        sweep(directory.path(), UnixSeconds(UnixSeconds::from(made).0 + 3590)).unwrap();
        assert_eq!(left(), 3);
        sweep(directory.path(), UnixSeconds(UnixSeconds::from(made).0 + 3700)).unwrap();
        assert_eq!(left(), 1);
    }
}
