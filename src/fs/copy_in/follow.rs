//! What comes of a set: its needs are found out, a whole one begins a job, its journal is written.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::model::JobId;
use crate::model::JobState;
use crate::model::JobStatus;
use crate::model::UnixSeconds;
use crate::observe::ErrorChain;
use crate::staging::State;
use crate::tasks::Backoff;

use super::FsError;
use super::RestoreOrder;
use super::copies::{Copies, HOST, Inner, Stage, live_restores};
use super::desk::{Staged, Top};
use super::journal::Line;
use super::keeper::Keeper;

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
        let own = desk.get(top)?.job.clone().map(|job| (desk.stage_of(&jobs, &job), job));
        let staged = desk.get_mut(top).ok()?;
        let is_asking = staged.set.pending().is_some();
        for (path, reason) in staged.set.take_findings() {
            tracing::warn!(%top, path, reason, "a copied file is wrong");
            staged.add_trouble(format!("{path}: {reason}"));
        }
        let records = staged.set.take_records();
        let report = staged.set.report();
        let live = own.as_ref().filter(|(stage, _)| *stage == Stage::Open).map(|(_, job)| job);
        // What the job of another set told stays to be seen until this is another one.
        let is_of_another =
            own.as_ref().is_some_and(|(stage, _)| *stage == Stage::Ended) && staged.is_new();
        if is_of_another {
            staged.job = None;
            (staged.is_touched, staged.is_untold) = (false, false);
        }
        let mut next = None;
        if is_asking && !staged.is_proving {
            staged.is_proving = true;
            next = Some(Next::Prove);
        } else if report.state == State::Whole {
            match live {
                Some(job) if staged.must_tell() => {
                    staged.is_settling = true;
                    next = Some(Next::Settle(job.clone()));
                }
                Some(_) => {}
                None if staged.is_new() && staged.job.is_none() && !staged.is_beginning => {
                    // A job that takes back what it did is waited for: its end comes back here.
                    if let Some(order) = order(top, staged, now)
                        && live_restores(&jobs, &order.target).next().is_none()
                    {
                        staged.is_beginning = true;
                        staged.answered = Some(staged.set.losses());
                        staged.trouble.clear();
                        next = Some(Next::Begin(Box::new(order)));
                    }
                }
                None => {}
            }
        } else if report.open_for_writing == 0
            && !is_asking
            && staged.must_tell()
            && let Some(job) = live
        {
            staged.is_settling = true;
            next = Some(Next::Cancel(job.clone()));
        }
        let is_blank = staged.set.is_blank() && matches!(top, Top::Node(_));
        if is_of_another {
            desk.outbox.push((top.clone(), Line::Unbegun));
        }
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
        let begin = move |inner: &Inner| inner.work.begin_restore(&order);
        let take_back = |inner: &Inner, job: JobId| {
            if let Err(error) = inner.work.cancel(&job, "it was begun too late to be expected") {
                tracing::error!(%job, error = %ErrorChain(&error), "it was not cancelled");
            }
        };
        let begun = self.on_host_or_back(HOST, "to begin a restore", begin, take_back).await;
        {
            let mut desk = self.inner.desk.lock();
            if let Ok(staged) = desk.get_mut(top) {
                staged.is_beginning = false;
                match &begun {
                    Ok(job) => {
                        staged.job = Some(job.clone());
                        (staged.is_touched, staged.is_untold) = (false, false);
                        desk.outbox.push((top.clone(), Line::Job(job.clone())));
                    }
                    Err(error) => staged.add_trouble(format!(
                        "the restore cannot be begun: {}; copy the same once more to try again, or \
                         take it back with rm -r {top}",
                        ErrorChain(error)
                    )),
                }
            }
        }
        if let Err(error) = &begun {
            tracing::error!(%top, error = %ErrorChain(error), "the restore cannot be begun");
        }
        self.inner.moved.notify_waiters();
        // It may have ended while it was being begun, when the set was not its own yet.
        self.look_at_jobs();
    }

    /// Tells a job that its set is whole again, once it is no longer written to: a tool that copies
    /// everything a second time opens and closes file after file. Tells it until it is told.
    async fn settle(&self, top: &Top, job: JobId) {
        let mut backoff = Backoff::new(FIRST_WAIT, LONGEST_WAIT);
        let mut seen = None;
        while let Some(turn) = self.turn_of(top) {
            let turn = turn.lock_owned().await;
            let since = {
                let jobs = self.jobs();
                let mut desk = self.inner.desk.lock();
                let is_live = desk.stage_of(&jobs, &job) == Stage::Open;
                let Ok(staged) = desk.get_mut(top) else { return };
                let is_its = staged.job.as_ref() == Some(&job) && is_live;
                if !is_its || staged.set.report().state != State::Whole {
                    staged.is_settling = false;
                    break;
                }
                let rests = seen == Some(staged.changes);
                seen = Some(staged.changes);
                // From here on a writer tells the job anew, once it has been told this.
                staged.is_touched &= !rests;
                staged.is_untold &= !rests;
                rests.then_some(staged.modified)
            };
            let Some(since) = since else {
                drop(turn);
                tokio::time::sleep(SETTLED_AFTER).await;
                continue;
            };
            let asked = job.clone();
            let tell = move |inner: &Inner| {
                let told = inner.work.is_settled(&asked, since);
                drop(turn);
                told
            };
            match self.on_host(HOST, "to tell a job", tell).await {
                Ok(()) => {
                    if let Ok(staged) = self.inner.desk.lock().get_mut(top) {
                        staged.is_settling = false;
                        staged.answered = Some(staged.set.losses());
                        staged.trouble.clear();
                    }
                    break;
                }
                Err(error) => {
                    self.not_told(top, &job, &error);
                    tokio::time::sleep(backoff.next_wait()).await;
                }
            }
        }
        // Somebody may have done something to it meanwhile.
        self.follow(top);
    }

    /// A set that was whole is no more: its job must not go on with it. Tells it until it is told.
    async fn cancel_broken(&self, top: &Top, job: JobId) {
        let mut backoff = Backoff::new(FIRST_WAIT, LONGEST_WAIT);
        while let Some(turn) = self.turn_of(top) {
            let turn = turn.lock_owned().await;
            {
                let mut desk = self.inner.desk.lock();
                let Ok(staged) = desk.get_mut(top) else { return };
                let is_whole = staged.set.report().state == State::Whole;
                if staged.job.as_ref() != Some(&job) || is_whole {
                    staged.is_settling = false;
                    break;
                }
            }
            let why = format!("{top} was copied into again and is no longer whole");
            let asked = job.clone();
            let tell = move |inner: &Inner| {
                let told = inner.work.cancel(&asked, &why);
                drop(turn);
                told
            };
            if let Err(error) = self.on_host(HOST, "to cancel a job", tell).await {
                self.not_told(top, &job, &error);
                tokio::time::sleep(backoff.next_wait()).await;
                continue;
            }
            let mut desk = self.inner.desk.lock();
            desk.taken_back.insert(job.clone());
            if let Ok(staged) = desk.get_mut(top) {
                staged.is_settling = false;
                if staged.job.as_ref() == Some(&job) {
                    staged.job = None;
                    (staged.is_touched, staged.is_untold) = (false, false);
                    // Whatever makes it whole again asks for a restore.
                    staged.answered = None;
                    desk.outbox.push((top.clone(), Line::Unbegun));
                }
            }
            break;
        }
        self.follow(top);
    }

    fn not_told(&self, top: &Top, job: &JobId, error: &FsError) {
        tracing::error!(%top, %job, error = %ErrorChain(error), "the job is not told: tried again");
        self.add_trouble(top, error);
    }

    /// Looks at the jobs whenever one has moved.
    pub(super) async fn follow_jobs(self) {
        let mut jobs = self.inner.work.jobs();
        loop {
            self.recall();
            jobs.mark_unchanged();
            self.look_at_jobs();
            if jobs.changed().await.is_err() {
                // Nobody tells of jobs any more: the mount ends.
                return std::future::pending().await;
            }
        }
    }

    /// Takes the names away of what is restored, and goes on with what waited for a job's end.
    fn look_at_jobs(&self) {
        let jobs = self.jobs();
        let those = |which: fn(&JobStatus) -> bool| -> BTreeSet<JobId> {
            jobs.iter().filter(|job| which(job)).map(|job| job.id.clone()).collect()
        };
        let done = those(|job| job.state == JobState::Done);
        let ended = those(|job| job.state.outcome().is_some());
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
                .filter(|(_, staged)| staged.is_new() || staged.must_tell())
                .map(|(top, _)| top.clone())
                .collect()
        };
        for top in &waiting {
            self.follow(top);
        }
        self.inner.lines.notify_one();
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
        let Keeper::Here(journal) = self.inner.keeper.borrow().clone() else { return };
        let lines = std::mem::take(&mut self.inner.desk.lock().outbox);
        if lines.is_empty() {
            return;
        }
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
        uid: staged.uid,
        pid: staged.pid,
        program: staged.program.clone(),
        last_file_at: now,
        hold: staged.hold.clone(),
    })
}
