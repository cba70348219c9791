//! What comes of a set: its needs are found out, a whole one begins a job, its journal is written.

use std::collections::BTreeSet;
use std::time::Duration;

use sha2::Digest as _;

use crate::model::JobId;
use crate::model::JobState;
use crate::model::JobStatus;
use crate::model::UnixSeconds;
use crate::observe::ErrorChain;
use crate::staging::Set;
use crate::staging::State;
use crate::tasks::Backoff;

use super::FsError;
use super::RestoreOrder;
use super::copies::{Copies, HOST, Stage, live_restores, stage};
use super::desk::{Staged, Top};
use super::journal::Line;

/// What is to be done next for a set.
enum Next {
    Prove,
    Begin(Box<RestoreOrder>),
    Settle(JobId),
    Cancel(JobId),
}

/// A set that is not written to for so long is taken to rest; until then its job only waits longer.
const SETTLED_AFTER: Duration = Duration::from_secs(1);
/// So often a share that does not answer is asked again.
const TRIES: u32 = 6;
const FIRST_WAIT: Duration = Duration::from_millis(500);
const LONGEST_WAIT: Duration = Duration::from_secs(30);

impl Copies {
    /// Looks at a set after something was done to it.
    pub(super) fn follow(&self, top: &Top) {
        let next = self.next(top);
        self.inner.lines.notify_one();
        let Some(next) = next else { return };
        let (copies, top) = (self.clone(), top.clone());
        let task = async move {
            match next {
                Next::Prove => copies.prove(&top).await,
                Next::Begin(order) => copies.begin(&top, *order).await,
                Next::Settle(job) => copies.settle(&top, job).await,
                Next::Cancel(job) => copies.cancel_broken(&top, job).await,
            }
        };
        drop(self.inner.scope.spawn(task));
    }

    fn next(&self, top: &Top) -> Option<Next> {
        let jobs = self.jobs();
        let now = self.inner.clock.now();
        let mut desk = self.inner.desk.lock();
        let staged = desk.get_mut(top).ok()?;
        let is_asking = staged.set.pending().is_some();
        for (path, reason) in staged.set.take_findings() {
            tracing::warn!(%top, path, reason, "a copied file is wrong");
            staged.add_trouble(format!("{path}: {reason}"));
        }
        let records = staged.set.take_records();
        let report = staged.set.report();
        let live = staged.job.clone().filter(|job| stage(&jobs, job) == Stage::Open);
        let mut next = None;
        if is_asking && !staged.is_proving {
            staged.is_proving = true;
            next = Some(Next::Prove);
        } else if report.state == State::Whole {
            staged.trouble.clear();
            match live {
                Some(job) if staged.is_touched && !staged.is_settling => {
                    staged.is_settling = true;
                    next = Some(Next::Settle(job));
                }
                Some(_) => {}
                None if staged.is_new && staged.job.is_none() && !staged.is_beginning => {
                    // A job that takes back what it did is waited for: its end comes back here.
                    if let Some(order) = order(top, staged, now)
                        && live_restores(&jobs, &order.target).next().is_none()
                    {
                        staged.is_beginning = true;
                        next = Some(Next::Begin(Box::new(order)));
                    }
                }
                None => {}
            }
        } else if report.open_for_writing == 0
            && !is_asking
            && staged.is_touched
            && let Some(job) = live
        {
            next = Some(Next::Cancel(job));
        }
        let is_blank = staged.set.is_blank() && matches!(top, Top::Node(_));
        desk.outbox.extend(records.into_iter().map(|record| (top.clone(), Line::File(record))));
        if is_blank {
            desk.remove(top);
        }
        next
    }

    /// Finds out what a set needs to know about files that no call waits for.
    async fn prove(&self, top: &Top) {
        let mut backoff = Backoff::new(FIRST_WAIT, LONGEST_WAIT);
        let mut tries = 0;
        loop {
            let (need, target) = {
                let mut desk = self.inner.desk.lock();
                let Ok(staged) = desk.get_mut(top) else { return };
                let target = staged.target(top);
                match staged.set.pending() {
                    Some(need) if tries < TRIES => (need, target),
                    _ => {
                        staged.is_proving = false;
                        break;
                    }
                }
            };
            match self.inner.stored.find_out(need, target.as_ref()).await {
                Ok(fact) => {
                    tries = 0;
                    if let Ok(staged) = self.inner.desk.lock().get_mut(top) {
                        staged.set.learn(fact);
                    }
                }
                Err(error) => {
                    tries += 1;
                    tracing::warn!(%top, error = %ErrorChain(&error), "a copied file is not proven");
                    self.add_trouble(top, &error);
                    if tries < TRIES {
                        tokio::time::sleep(backoff.next_wait()).await;
                    }
                }
            }
        }
        // A share that stays silent is asked again with the next call on the set.
        if tries < TRIES {
            self.follow(top);
        }
    }

    fn add_trouble(&self, top: &Top, error: &FsError) {
        if let Ok(staged) = self.inner.desk.lock().get_mut(top) {
            staged.add_trouble(ErrorChain(error).to_string());
        }
    }

    async fn begin(&self, top: &Top, order: RestoreOrder) {
        tracing::info!(%top, backup = %order.source.backup, source = %order.source.node,
            target = %order.target, uid = order.uid, pid = order.pid, program = order.program,
            "a whole snapshot was copied: its restore begins");
        let begun =
            self.on_host("to begin a restore", move |inner| inner.work.begin_restore(&order)).await;
        {
            let mut desk = self.inner.desk.lock();
            if let Ok(staged) = desk.get_mut(top) {
                staged.is_beginning = false;
                staged.is_new = false;
                match &begun {
                    Ok(job) => {
                        staged.job = Some(job.clone());
                        desk.outbox.push((top.clone(), Line::Job(job.clone())));
                    }
                    Err(error) => staged.add_trouble(ErrorChain(error).to_string()),
                }
            }
        }
        if let Err(error) = &begun {
            tracing::error!(%top, error = %ErrorChain(error), "the restore cannot be begun");
        }
        self.inner.moved.notify_waiters();
        self.inner.lines.notify_one();
    }

    /// Tells a job that its set is whole again, once it is no longer written to: a tool that copies
    /// everything a second time opens and closes file after file.
    async fn settle(&self, top: &Top, job: JobId) {
        let mut seen = None;
        let (since, _turn) = loop {
            let turn = self.inner.telling.lock().await;
            {
                let mut desk = self.inner.desk.lock();
                let Ok(staged) = desk.get_mut(top) else { return };
                if staged.job.as_ref() != Some(&job) || staged.set.report().state != State::Whole {
                    // Whoever changes it next brings it back here.
                    staged.is_settling = false;
                    return;
                }
                if seen == Some(staged.changes) {
                    // From here on a writer tells the job anew, once it has been told this.
                    staged.is_settling = false;
                    staged.is_touched = false;
                    staged.is_new = false;
                    break (staged.modified, turn);
                }
                seen = Some(staged.changes);
            }
            drop(turn);
            tokio::time::sleep(SETTLED_AFTER).await;
        };
        let asked = job.clone();
        let told =
            self.on_host("to tell a job", move |inner| inner.work.is_settled(&asked, since)).await;
        if let Err(error) = told {
            tracing::error!(%top, %job, error = %ErrorChain(&error), "the job was not told");
            self.add_trouble(top, &error);
        }
    }

    /// A set that was whole is no more: its job must not go on with it.
    async fn cancel_broken(&self, top: &Top, job: JobId) {
        let why = format!("{top} was copied into again and is no longer whole");
        let _turn = self.inner.telling.lock().await;
        let asked = job.clone();
        let told =
            self.on_host("to cancel a job", move |inner| inner.work.cancel(&asked, &why)).await;
        if let Err(error) = told {
            tracing::error!(%top, %job, error = %ErrorChain(&error), "the job was not told");
            return self.add_trouble(top, &error);
        }
        let mut desk = self.inner.desk.lock();
        desk.taken_back.insert(job.clone());
        if let Ok(staged) = desk.get_mut(top)
            && staged.job.as_ref() == Some(&job)
        {
            staged.job = None;
            staged.is_touched = false;
            desk.outbox.push((top.clone(), Line::Unbegun));
        }
    }

    /// Takes the names away of what is restored.
    pub(super) async fn follow_jobs(self) {
        let mut jobs = self.inner.work.jobs();
        loop {
            self.recall();
            let (done, ended) = {
                let jobs = jobs.borrow_and_update();
                let those = |which: fn(&JobStatus) -> bool| -> BTreeSet<JobId> {
                    jobs.iter().filter(|job| which(job)).map(|job| job.id.clone()).collect()
                };
                let done = those(|job| job.state == JobState::Done);
                (done, those(|job| job.state.outcome().is_some()))
            };
            let waiting: Vec<Top> = {
                let mut desk = self.inner.desk.lock();
                desk.taken_back.retain(|job| !ended.contains(job));
                let is_done = |job: &Option<JobId>| job.as_ref().is_some_and(|j| done.contains(j));
                let over: Vec<Top> = desk
                    .iter()
                    .filter(|(_, staged)| is_done(&staged.job))
                    .map(|(top, _)| top.clone())
                    .collect();
                for top in &over {
                    desk.remove(top);
                }
                desk.iter()
                    .filter(|(_, staged)| staged.is_new && staged.job.is_none())
                    .map(|(top, _)| top.clone())
                    .collect()
            };
            for top in &waiting {
                self.follow(top);
            }
            self.inner.lines.notify_one();
            if jobs.changed().await.is_err() {
                return;
            }
        }
    }

    /// Writes down what has happened, as it happens.
    pub(super) async fn write_journal(self) {
        loop {
            self.inner.lines.notified().await;
            self.sync_journal().await;
        }
    }

    /// Writes down all that has happened so far: before the mount ends.
    pub async fn sync_journal(&self) {
        let _turn = self.inner.writing.lock().await;
        let lines = std::mem::take(&mut self.inner.desk.lock().outbox);
        if lines.is_empty() {
            return;
        }
        let journal = self.inner.journal.clone();
        let doing = "to write down what was copied";
        let written = self.inner.host.run(HOST, doing, move || journal.write(&lines)).await;
        // What is not written down is copied again after a restart: nothing is lost but time.
        match written {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, "cannot write down what was copied"),
            Err(error) => tracing::warn!(%error, "cannot write down what was copied"),
        }
    }
}

/// What a whole set asks for.
fn order(top: &Top, staged: &Staged, now: UnixSeconds) -> Option<RestoreOrder> {
    let source = staged.set.report().snapshot?;
    Some(RestoreOrder {
        target: staged.target(top)?,
        source,
        set: fingerprint(&staged.set),
        uid: staged.uid,
        pid: staged.pid,
        program: staged.program.clone(),
        last_file_at: now,
        hold: staged.hold.clone(),
    })
}

/// SHA-256 over what every file of a set must be.
fn fingerprint(set: &Set) -> String {
    let mut hasher = sha2::Sha256::new();
    set.for_each_wanted(|path, wanted| {
        let md5 = wanted.md5.map(|md5| md5.to_string()).unwrap_or_default();
        let line = format!("{path}\0{}\0{}\0{md5}\n", wanted.key, wanted.size);
        hasher.update(line.as_bytes());
    });
    let digit = |nibble: u8| char::from_digit(u32::from(nibble), 16).unwrap_or('0');
    let bytes = hasher.finalize();
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}
