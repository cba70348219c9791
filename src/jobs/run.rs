//! Inside the job's process: what is at hand, recovery first, then the steps in order.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use crate::cluster::{Reach, SHARE_WITHIN};
use crate::config::{Config, Sources};
use crate::medusa::Layout;
use crate::model::{Clock, JobState, UnixSeconds};
use crate::observe::ErrorChain;
use crate::store::{BlockingPool, PoolLimits, Store};
use crate::tasks::Scope;

use super::context::Context;
use super::job_error::JobError;
use super::unsettled::unsettled;
use super::{Board, Control, Folder, Held, Jobs, JobsError, Record, Work, backup, restore};

/// How often it is looked whether a person cancels.
const TICK: Duration = Duration::from_millis(500);

/// How long agents and connections may take to end.
const GRACE: Duration = Duration::from_secs(20);

/// A job whose process has died so often is not taken up by itself any more.
const TRIES: usize = 3;

/// How often, and how soon again, a job is tried to be held that somebody else holds.
const HOLD_TRIES: u32 = 20;
const HOLD_AGAIN: Duration = Duration::from_millis(50);

/// What the process was given.
pub struct JobProcess {
    /// The job's folder.
    pub folder: Folder,
    /// This program.
    pub program: PathBuf,
    /// The environment, for settings that may stand there.
    pub environment: BTreeMap<String, String>,
    /// This host's name.
    pub host_name: String,
    /// The time of day.
    pub clock: Arc<dyn Clock>,
}

/// Does the job and returns the state that it ended in, which its folder shows too.
///
/// # Errors
///
/// Another process does the job, or the folder itself cannot be used: nothing was done, or its end
/// could not be shown and is for the next process to find.
pub async fn run_job(process: JobProcess) -> Result<JobState, JobsError> {
    let _held = hold(&process.folder).await?;
    let board = Arc::new(Board::open(process.folder.clone(), Arc::clone(&process.clock))?);
    let found = board.status().state;
    if found.outcome().is_some() {
        // Two were started at once, and the other has done it.
        return Ok(found);
    }
    forget_late_cancel(&process.folder);
    let scope = Scope::new();
    // It never ends by itself, and the job's own tasks are waited for.
    let listening = Scope::new();
    let cancelled = CancellationToken::new();
    drop(listening.spawn(listen(process.folder.control(), cancelled.clone())));
    let (ended, cx) = take_up(&process, &board, &scope, cancelled).await;
    let cause = ended.as_ref().err().and_then(JobError::cause);
    let (state, words) = ended.unwrap_or_else(|error| (error.state(), error.in_words()));
    listening.close(Duration::ZERO).await;
    // Agents see the end of their input, and take back what they have not finished.
    scope.close(GRACE).await;
    if let Some(cx) = &cx {
        clear_temporary(cx).await;
        if let Some(directory) = process.folder.path().parent().map(Path::to_owned) {
            let clock = Arc::clone(&process.clock);
            let jobs = Jobs::in_directory(directory, process.program.clone(), clock);
            jobs.tidy(cx.config.medusafs.undo_keep);
        }
    }
    board.change(|status| status.cause = cause);
    board.ends(state, &last_words(&process.folder, state, words));
    board.shown().await?;
    // Afterwards: one that dies before it has ended is followed by one with the same wish.
    process.folder.control().forget_wish();
    Ok(state)
}

/// Writes down that the job has ended, and returns its last words and whatever of it is left
/// anywhere, with the command that settles it.
fn last_words(folder: &Folder, state: JobState, words: String) -> String {
    let left = match folder.journal() {
        Ok(mut journal) => {
            if let Err(error) = journal.write(Record::Ended { state, why: words.clone() }) {
                tracing::warn!(error = %ErrorChain(&error), "its end is not in its journal");
            }
            unsettled(journal.records(), folder.id())
        }
        Err(error) => vec![format!(
            "what it may have left cannot be told: {}; `medusafs check` looks for it on the nodes",
            ErrorChain(&error)
        )],
    };
    let lines = Some(words).filter(|words| !words.is_empty()).into_iter().chain(left);
    lines.collect::<Vec<_>>().join("\n")
}

/// Whoever cancels while a node is being stopped is told that he is too late. If the job or its host
/// dies before that is taken away, it must not end the recovery.
fn forget_late_cancel(folder: &Folder) {
    if let Ok(journal) = folder.journal()
        && !restore::can_be_cancelled(journal.records())
    {
        folder.control().forget_cancel();
    }
}

/// Makes the job this process's. Whoever looks whether it lives holds it for a moment.
async fn hold(folder: &Folder) -> Result<Held, JobsError> {
    for _ in 0..HOLD_TRIES {
        match folder.hold() {
            Err(JobsError::Taken(_)) => tokio::time::sleep(HOLD_AGAIN).await,
            held => return held,
        }
    }
    folder.hold()
}

/// Writes down that this process has the job, and does it.
async fn take_up(
    process: &JobProcess,
    board: &Arc<Board>,
    scope: &Scope,
    cancelled: CancellationToken,
) -> (Result<(JobState, String), JobError>, Option<Context>) {
    match take(process, board, scope, cancelled).await {
        Ok((cx, taken)) => {
            let ended = work(&cx, &process.folder, taken).await;
            (ended, Some(cx))
        }
        Err(error) => (Err(error), None),
    }
}

/// The means of the job, and how it was taken up before.
async fn take(
    process: &JobProcess,
    board: &Arc<Board>,
    scope: &Scope,
    cancelled: CancellationToken,
) -> Result<(Context, Taken), JobError> {
    let mut journal = process.folder.journal()?;
    if board.status().state == JobState::Held {
        journal.write(Record::WasHeld {})?;
    }
    let taken = Taken::read(journal.records(), process.folder.control().wished_at());
    journal.write(Record::Taken { at: process.clock.now(), pid: std::process::id() })?;
    let cx = context(process, Arc::clone(board), journal, scope, cancelled).await?;
    Ok((cx, taken))
}

/// How a job was taken up before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Taken {
    /// It was not.
    is_first: bool,
    /// How many processes have died over it since a person last wished something of it.
    deaths: usize,
}

impl Taken {
    fn read(records: &[Record], wished_at: Option<UnixSeconds>) -> Self {
        let (mut is_first, mut deaths, mut last) = (true, 0, None);
        let mut died = |last: Option<UnixSeconds>| {
            deaths += usize::from(last.is_some_and(|at| wished_at.is_none_or(|wish| at > wish)));
        };
        for record in records {
            match record {
                Record::Taken { at, .. } => {
                    is_first = false;
                    died(last.replace(*at));
                }
                // While nothing was in hand, it was the host that went down.
                Record::Ended { .. } | Record::WasHeld {} => last = None,
                _ => {}
            }
        }
        died(last);
        Self { is_first, deaths }
    }
}

/// Takes away from the share what the job had not finished writing, when the agents have ended. What
/// cannot be removed wastes some bytes under a name that no other job uses.
async fn clear_temporary(cx: &Context) {
    let Ok(temporary) = cx.layout.temporary(cx.board.folder().id()) else { return };
    let store = cx.store.clone();
    let removed = cx.pool.run(GRACE, "to remove", move || store.remove_tree(&temporary)).await;
    match removed {
        Ok(Ok(_files)) => {}
        Ok(Err(error)) => tracing::warn!(error = %ErrorChain(&error), "the share is not clean"),
        Err(error) => tracing::warn!(%error, "the share is not clean"),
    }
}

async fn work(cx: &Context, folder: &Folder, taken: Taken) -> Result<(JobState, String), JobError> {
    let request = folder.request()?;
    if taken.deaths >= TRIES {
        let (job, times) = (folder.id().clone(), taken.deaths);
        let found = format!(
            "its process has died {times} times; look into its log for why, then `medusafs resume \
             {job}` tries once more"
        );
        return Err(JobError::Died { job, found });
    }
    cx.board.log(&format!(
        "asked by uid {}, process {} {:?}",
        request.asked_by.uid, request.asked_by.pid, request.asked_by.program
    ));
    match &request.work {
        Work::Backup(request) if taken.is_first => backup::run(cx, request).await,
        Work::Backup(request) => backup::recover(cx, request).await,
        Work::Restore(request) => {
            let ended = if taken.is_first {
                restore::run(cx, request).await
            } else {
                restore::recover(cx, request, cx.control.wish()).await
            };
            ended.inspect_err(|error| {
                if error.state() == JobState::Failed {
                    cx.board.node_failed(&request.node, &error.in_words());
                }
            })
        }
    }
}

async fn context(
    process: &JobProcess,
    board: Arc<Board>,
    journal: super::Journal,
    scope: &Scope,
    cancelled: CancellationToken,
) -> Result<Context, JobError> {
    let request = process.folder.request()?;
    let config = Config::load(&Sources {
        medusa_ini: request.config.medusa_ini,
        options: request.config.options,
        environment: process.environment.clone(),
    })?;
    for warning in &config.warnings {
        board.log(&warning.to_string());
    }
    let pool = BlockingPool::new(PoolLimits::default());
    let root = config.store_root();
    let opening = root.clone();
    let store = pool
        .run(SHARE_WITHIN, "for the share to open the store", move || Store::open(&opening))
        .await
        .map_err(|error| JobError::silent_share(&root, &error))??;
    let layout = Layout::new(config.storage.prefix.as_deref())?;
    let config = Arc::new(config);
    let reach = Reach {
        config: Arc::clone(&config),
        program: program(&process.program)?,
        job: process.folder.id().clone(),
        scope: scope.clone(),
        home: process.environment.get("HOME").map(PathBuf::from),
        agent_socket: process.environment.get("SSH_AUTH_SOCK").map(PathBuf::from),
        storage_directories: Arc::default(),
    };
    Ok(Context {
        config,
        board,
        journal: Arc::new(Mutex::new(journal)),
        control: process.folder.control(),
        reach,
        store,
        layout,
        clock: Arc::clone(&process.clock),
        scope: scope.clone(),
        pool,
        host_name: process.host_name.clone(),
        cancelled,
    })
}

/// This program's own bytes, to be pushed to nodes.
fn program(path: &Path) -> Result<Bytes, JobError> {
    fs::read(path).map(Bytes::from).map_err(|error| {
        JobError::Host(format!(
            "cannot read this program at {} to bring it to the nodes: {}",
            path.display(),
            ErrorChain(&error)
        ))
    })
}

/// Looks whether a person cancels, until the scope closes.
async fn listen(control: Control, cancelled: CancellationToken) {
    let mut ticks = tokio::time::interval(TICK);
    loop {
        ticks.tick().await;
        if !cancelled.is_cancelled() && control.cancelled().is_some() {
            cancelled.cancel();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::jobs::{AskedBy, ConfigFrom, RestoreRequest};
    use crate::model::{BackupName, Fqdn, HandClock};

    #[test]
    fn a_cancel_that_came_too_late_does_not_end_the_recovery() {
        let state = tempfile::tempdir().unwrap();
        let clock = Arc::new(HandClock::at(UnixSeconds(0)));
        let jobs = Jobs::open(state.path(), "/bin/true".into(), clock);
        let node = Fqdn::parse("n1").unwrap();
        let work = Work::Restore(RestoreRequest {
            node: node.clone(),
            backup: BackupName::parse("nightly").unwrap(),
            source: node.clone(),
            complete_since: UnixSeconds(0),
            hold: Vec::new(),
            accept: None,
            dry_run: false,
        });
        let asked_by = AskedBy { uid: 0, pid: 1, program: "cp".to_owned() };
        let config = ConfigFrom { medusa_ini: "/medusa.ini".into(), options: Vec::new() };
        let job = jobs.begin(&work, &asked_by, &config).unwrap();
        let folder = jobs.folder(&job).unwrap();
        folder.control().cancel("by a person").unwrap();
        for (record, is_cancelled) in [
            (Record::StageBegins { node: node.clone() }, true),
            (Record::SwapBegins { node }, false),
        ] {
            folder.journal().unwrap().write(record).unwrap();
            forget_late_cancel(&folder);
            assert_eq!(folder.control().cancelled().is_some(), is_cancelled);
        }
    }

    fn taken(at: i64) -> Record {
        Record::Taken { at: UnixSeconds(at), pid: 1 }
    }

    fn deaths(records: &[Record], wished_at: Option<i64>) -> usize {
        Taken::read(records, wished_at.map(UnixSeconds)).deaths
    }

    #[test]
    fn a_wish_counts_the_deaths_anew_and_not_for_ever() {
        let records = [10, 20, 30, 40].map(taken);
        assert_eq!(deaths(&records, None), 4);
        assert_eq!(deaths(&records, Some(25)), 2);
        assert_eq!(deaths(&records, Some(50)), 0);
        assert!(!Taken::read(&records, None).is_first && Taken::read(&[], None).is_first);
    }

    #[test]
    fn no_reboot_while_a_restore_waits_for_a_person_is_a_death_over_it() {
        let held = || Record::WasHeld {};
        let records = [taken(10), held(), taken(20), held(), taken(30), held()];
        assert_eq!(deaths(&records, None), 0);
        let ended = Record::Ended { state: JobState::Failed, why: String::new() };
        let records = [taken(10), taken(20), ended, taken(30)];
        assert_eq!(deaths(&records, None), 2);
    }
}
