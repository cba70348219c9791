//! Work as this host does it: by a process and a folder for each job.

use std::fs::File;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::sync::watch;

use crate::config::BackupMode;
use crate::jobs::AskedBy;
use crate::jobs::BackupRequest;
use crate::jobs::ConfigFrom;
use crate::jobs::Jobs;
use crate::jobs::JobsError;
use crate::jobs::Work;
use crate::medusa::Mode;
use crate::model::Clock;
use crate::model::Fqdn;
use crate::model::JobId;
use crate::model::JobKind;
use crate::model::JobStatus;
use crate::model::UnixSeconds;
use crate::observe::ErrorChain;

use super::BackupOrder;
use super::Doing;
use super::FsError;
use super::JobTable;
use super::JobText;

/// For how long a new backup can be taken back without a trace.
const NO_SNAPSHOT_SECONDS: i64 = 2;

/// For how long a removal waits for a process that has shown its end: well within a call.
const LET_GO: Duration = Duration::from_millis(500);

/// How often the jobs' folders are looked at: twice in the second that news may take.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// How many looks lie between two at whether jobs have died: ten seconds.
const RECOVER_EVERY: u32 = 20;

/// How many looks lie between two removals of what is old: an hour.
const TIDY_EVERY: u32 = 7200;

/// Jobs of this host, begun and watched through their folders.
pub struct ByJobs {
    pub(super) jobs: Jobs,
    pub(super) config: ConfigFrom,
    default_mode: Mode,
    clock: Arc<dyn Clock>,
    /// A job was begun: worth a look.
    news: Notify,
    pub(super) table: watch::Sender<JobTable>,
}

impl std::fmt::Debug for ByJobs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ByJobs").field("jobs", &self.jobs).finish_non_exhaustive()
    }
}

impl ByJobs {
    /// Begins jobs that read `config`. `default_mode` is that of a backup without a chosen one.
    pub fn new(jobs: Jobs, config: ConfigFrom, default_mode: Mode, clock: Arc<dyn Clock>) -> Self {
        let table = watch::Sender::new(JobTable::default());
        Self { jobs, config, default_mode, clock, news: Notify::new(), table }
    }

    /// Looks at the folders for ever, starts the recovery of jobs whose process has died, and
    /// removes folders of jobs that nobody needs any more; with `tends` false it only looks. A
    /// restore's folder stays longer than `undo_keep`. This host's disk alone is read, on a thread
    /// where that may take a while.
    pub async fn watch(self: Arc<Self>, tends: bool, undo_keep: Duration) {
        let mut every = tokio::time::interval(LOOK_EVERY);
        every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut looks = 0_u32;
        loop {
            tokio::select! {
                _ = every.tick() => {}
                () = self.news.notified() => {}
            }
            let here = Arc::clone(&self);
            let recovers = tends && looks.is_multiple_of(RECOVER_EVERY);
            let tidies = tends && looks.is_multiple_of(TIDY_EVERY);
            looks = looks.wrapping_add(1);
            let look = move || {
                if recovers {
                    here.recover();
                }
                if tidies {
                    here.jobs.tidy(undo_keep);
                }
                here.look();
            };
            if let Err(error) = tokio::task::spawn_blocking(look).await {
                tracing::error!(%error, "the jobs could not be looked at");
            }
        }
    }

    /// The mode in which a backup was first asked for, whatever came of that.
    fn mode_of_first(&self, order: &BackupOrder) -> Option<BackupMode> {
        let first = {
            let table = self.table.borrow();
            let is_its = |job: &&JobStatus| {
                let is_first = job.backup == order.name && job.node.is_none() && !job.withdrawn;
                job.kind == JobKind::Backup && is_first
            };
            table.iter().find(is_its)?.id.clone()
        };
        match self.jobs.folder(&first).ok()?.request().ok()?.work {
            Work::Backup(backup) => Some(backup.mode),
            Work::Restore(_) => None,
        }
    }

    /// Looks at the folders once.
    pub fn look(&self) {
        match self.jobs.table() {
            Ok(table) => {
                self.table.send_if_modified(|known| {
                    let is_news = **known != table;
                    if is_news {
                        *known = Arc::new(table);
                    }
                    is_news
                });
            }
            Err(error) => {
                tracing::warn!(error = %ErrorChain(&error), "the jobs cannot be listed");
            }
        }
    }

    /// Starts the recovery of jobs whose process has died.
    pub fn recover(&self) {
        match self.jobs.recover() {
            Ok(recovered) => {
                for job in recovered {
                    tracing::info!(%job, "its process had died: started again");
                }
            }
            Err(error) => {
                tracing::warn!(error = %ErrorChain(&error), "dead jobs were not looked for");
            }
        }
    }
}

fn backup_mode(mode: Mode) -> BackupMode {
    match mode {
        Mode::Full => BackupMode::Full,
        Mode::Differential => BackupMode::Differential,
    }
}

/// The ring as the newest job met it that found the whole cluster fit.
fn ring_among(jobs: &[JobStatus]) -> Option<Vec<Fqdn>> {
    let met = jobs.iter().rev().find(|job| job.has_met_the_ring())?;
    Some(met.nodes.iter().map(|node| node.name.clone()).collect())
}

pub(super) fn failed(doing: &str) -> impl FnOnce(JobsError) -> FsError {
    let doing = doing.to_owned();
    move |error| FsError::failed(doing, error)
}

impl Doing for ByJobs {
    fn jobs(&self) -> watch::Receiver<JobTable> {
        self.table.subscribe()
    }

    fn ring(&self) -> Option<Vec<Fqdn>> {
        ring_among(&self.table.borrow())
    }

    fn begin_backup(&self, order: &BackupOrder) -> Result<JobId, FsError> {
        let first = if order.finishes { self.mode_of_first(order) } else { None };
        let mode = match (order.mode, first) {
            (Some(mode), _) => backup_mode(mode),
            (None, Some(mode)) => mode,
            (None, None) => backup_mode(self.default_mode),
        };
        let now = self.clock.now();
        let backup = BackupRequest {
            name: order.name.clone(),
            mode,
            node: order.node.clone(),
            no_snapshot_before: UnixSeconds(now.0.saturating_add(NO_SNAPSHOT_SECONDS)),
        };
        let asked_by = AskedBy {
            uid: order.caller.uid,
            pid: order.caller.pid,
            program: order.program.clone(),
        };
        let begun = self.jobs.begin(&Work::Backup(backup), &asked_by, &self.config);
        let job = begun.map_err(failed("cannot begin a backup"))?;
        self.news.notify_one();
        Ok(job)
    }

    fn cancel(&self, job: &JobId, why: &str) -> Result<(), FsError> {
        let doing = format!("cannot cancel {job}");
        let folder = self.jobs.folder(job).map_err(failed(&doing))?;
        folder.control().cancel(why).map_err(failed(&doing))
    }

    fn forget(&self, jobs: &[JobId]) -> Result<(), FsError> {
        // One that has gone meanwhile is none to remove.
        let folders: Vec<_> = jobs.iter().filter_map(|job| self.jobs.folder(job).ok()).collect();
        let removed = self.jobs.forget(&folders, LET_GO).map_err(|error| match error {
            JobsError::Taken(job) => {
                FsError::Busy(format!("the process of {job} has not ended yet: try it again"))
            }
            JobsError::Unsettled { left } => {
                FsError::Busy(format!("{left}; until then its name is not free"))
            }
            error => FsError::failed("cannot remove a job", error),
        });
        self.look();
        removed
    }

    fn open_text(&self, job: &JobId, text: JobText) -> io::Result<File> {
        let folder = self.jobs.folder(job).map_err(io::Error::other)?;
        File::open(folder.path().join(match text {
            JobText::Log => "log",
            JobText::Plan => "plan",
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::jobs::Folder;
    use crate::jobs::Record;
    use crate::model::BackupName;
    use crate::model::JobState;
    use crate::model::NodeStatus;
    use crate::model::Phase;
    use crate::model::Progress;
    use crate::model::STATUS_VERSION;

    fn job(kind: JobKind, of: Option<&str>, phase: Phase, nodes: &[&str]) -> JobStatus {
        let name = |name: &&str| Fqdn::parse(name).unwrap();
        let progress = Progress::default();
        let node = |of: &&str| NodeStatus {
            name: name(of),
            state: JobState::Running,
            phase,
            progress,
            seconds: 0,
            error: None,
        };
        JobStatus {
            version: STATUS_VERSION,
            id: JobId::new(UnixSeconds(0), kind, "b").unwrap(),
            kind,
            backup: BackupName::parse("b").unwrap(),
            node: of.as_ref().map(name),
            state: JobState::Failed,
            phase,
            progress,
            bytes_per_second: None,
            eta_seconds: None,
            started: UnixSeconds(0),
            finished: None,
            unique_bytes: None,
            nodes: nodes.iter().map(node).collect(),
            error: String::new(),
            withdrawn: false,
            cause: None,
        }
    }

    #[test]
    fn a_check_that_failed_tells_nothing_of_the_ring() {
        use JobKind::{Backup, Restore};
        let unfit = job(Backup, None, Phase::Check, &["10.0.0.1"]);
        let of_one = job(Backup, Some("n2"), Phase::Copy, &["n2"]);
        let restore = job(Restore, Some("n2"), Phase::Stop, &["n2"]);
        let later = [unfit, of_one, restore];
        assert_eq!(ring_among(&later), None);
        let met = job(Backup, None, Phase::Clear, &["n1", "n2"]);
        let jobs: Vec<_> = [met].into_iter().chain(later).collect();
        let names: Vec<_> = ring_among(&jobs).unwrap().iter().map(ToString::to_string).collect();
        assert_eq!(names, ["n1", "n2"]);
    }

    fn in_directory(state: &std::path::Path) -> ByJobs {
        let clock = Arc::new(crate::model::HandClock::at(UnixSeconds(1_795_364_040)));
        let program = std::path::PathBuf::from("/bin/true");
        let jobs = Jobs::open(state, program, Arc::<crate::model::HandClock>::clone(&clock));
        let config = ConfigFrom { medusa_ini: "/medusa.ini".into(), options: Vec::new() };
        ByJobs::new(jobs, config, Mode::Differential, clock)
    }

    fn order(mode: Option<Mode>, node: Option<&str>) -> BackupOrder {
        BackupOrder {
            name: BackupName::parse("b").unwrap(),
            mode,
            node: node.map(|node| Fqdn::parse(node).unwrap()),
            finishes: node.is_some(),
            caller: crate::fs::Caller { uid: 0, gid: 0, pid: 1 },
            program: String::new(),
        }
    }

    #[test]
    fn whoever_finishes_a_backup_makes_it_in_the_mode_of_the_first() {
        let state = tempfile::tempdir().unwrap();
        let doing = in_directory(state.path());
        let mode_of = |job: &JobId| match doing.jobs.folder(job).unwrap().request().unwrap().work {
            Work::Backup(backup) => backup.mode,
            Work::Restore(_) => unreachable!("it is a backup"),
        };
        let first = doing.begin_backup(&order(Some(Mode::Full), None)).unwrap();
        assert_eq!(mode_of(&first), BackupMode::Full);
        doing.look();
        let second = doing.begin_backup(&order(None, Some("n2"))).unwrap();
        assert_eq!(mode_of(&second), BackupMode::Full);
    }

    /// A backup that has failed, with this in its journal.
    fn failed_with(doing: &ByJobs, records: Vec<Record>) -> Folder {
        let job = doing.begin_backup(&order(None, None)).unwrap();
        let folder = doing.jobs.folder(&job).unwrap();
        let mut journal = folder.journal().unwrap();
        for record in records {
            journal.write(record).unwrap();
        }
        let status = JobStatus { state: JobState::Failed, ..folder.status().unwrap() };
        folder.write_status(&status).unwrap();
        folder
    }

    fn snapshot() -> Record {
        let node = Fqdn::parse("n1").unwrap();
        Record::SnapshotBegins { node, tag: "medusafs-b".to_owned() }
    }

    #[test]
    fn what_a_removed_backup_left_on_a_node_stays_to_be_settled() {
        let state = tempfile::tempdir().unwrap();
        let doing = in_directory(state.path());
        let left = failed_with(&doing, vec![snapshot()]);
        let clean = failed_with(&doing, Vec::new());
        doing.forget(&[left.id().clone(), clean.id().clone()]).unwrap();
        assert!(!clean.path().exists());
        let kept: Vec<_> = doing.table.borrow().iter().cloned().collect();
        assert_eq!((kept.len(), &kept[0].id, kept[0].withdrawn), (1, left.id(), true));
        // Whoever takes it up again does not bring it back.
        doing.jobs.reopen(&left).unwrap();
        assert!(left.status().unwrap().withdrawn);
        // A backup of that name is another one from now on, and so is its mode.
        let full = doing.begin_backup(&order(Some(Mode::Full), None)).unwrap();
        doing.look();
        let added = doing.begin_backup(&order(None, Some("n2"))).unwrap();
        for job in [full, added] {
            let Work::Backup(work) = doing.jobs.folder(&job).unwrap().request().unwrap().work
            else {
                unreachable!("it is a backup")
            };
            assert_eq!(work.mode, BackupMode::Full);
        }
    }

    #[test]
    fn a_backup_that_may_have_published_keeps_its_name() {
        let state = tempfile::tempdir().unwrap();
        let doing = in_directory(state.path());
        let publishing = Record::PublishBegins { node: Fqdn::parse("n1").unwrap() };
        let clean = failed_with(&doing, Vec::new());
        let open = failed_with(&doing, vec![snapshot(), publishing]);
        let both = [clean.id().clone(), open.id().clone()];
        let error = doing.forget(&both).unwrap_err();
        let told = error.to_string();
        assert!(matches!(error, FsError::Busy(_)) && told.contains("`medusafs resume"), "{told}");
        assert!(clean.path().exists() && !open.status().unwrap().withdrawn);
    }

    #[test]
    fn a_backup_whose_process_has_not_let_go_stays_whole() {
        let state = tempfile::tempdir().unwrap();
        let doing = in_directory(state.path());
        let (first, second) = (failed_with(&doing, Vec::new()), failed_with(&doing, Vec::new()));
        let both = [first.id().clone(), second.id().clone()];
        let held = second.hold().unwrap();
        let error = doing.forget(&both).unwrap_err();
        assert!(matches!(error, FsError::Busy(_)), "{error}");
        assert!(first.path().exists() && second.path().exists());
        // It lets go while it is waited for, or did already.
        std::thread::scope(|scope| {
            let removed = scope.spawn(|| doing.forget(&both));
            drop(held);
            removed.join().unwrap().unwrap();
        });
        assert!(!first.path().exists() && !second.path().exists());
    }
}
