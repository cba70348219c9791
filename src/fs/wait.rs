//! Reading `wait`: a line when something has changed, and an end when there is one.

use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use crate::view::Owner;
use crate::view::Wait;
use crate::view::control;

use super::FsError;
use super::MedusaFs;
use super::in_time::CALL;
use super::texts::unexamined;

/// The longest that one read lasts, and the shortest time between two lines.
const SLICE: Duration = Duration::from_secs(1);

/// While a job says nothing, how often its folder's news of another kind are looked for.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// How far one reader is.
#[derive(Debug, Default)]
pub(super) struct Waiting(Mutex<Told>);

#[derive(Debug, Default)]
struct Told {
    /// What the last line said, and when.
    last: Option<(String, Instant)>,
    /// What did not fit into the last answer: some programs read byte after byte.
    rest: Vec<u8>,
    /// The end was said: what follows is the end of the file, or the error.
    end: Option<Wait>,
}

impl Waiting {
    /// As much of the line as was asked for; what is left of it comes first the next time.
    fn give(&self, line: Vec<u8>, size: u32) -> Vec<u8> {
        let mut told = self.0.lock();
        told.rest.extend(line);
        let size = usize::try_from(size).unwrap_or(usize::MAX).min(told.rest.len());
        told.rest.drain(..size).collect()
    }
}

impl MedusaFs {
    /// The next line, or `size` bytes of it. An empty answer is the end of the file: it ended as
    /// wished.
    pub(super) async fn wait(
        &self,
        owner: &Owner,
        waiting: &Waiting,
        size: u32,
    ) -> Result<Vec<u8>, FsError> {
        let rest = waiting.give(Vec::new(), size);
        if !rest.is_empty() {
            return Ok(rest);
        }
        let until = Instant::now() + SLICE;
        // What nobody has looked into yet would end a wait as incomplete.
        self.look_into(&self.world(), owner, CALL).await;
        let mut jobs = self.jobs();
        loop {
            if let Some(answer) = self.wait_news(owner, waiting) {
                return answer.map(|line| waiting.give(line, size));
            }
            if Instant::now() >= until {
                // `cat` reads on without a word, and a signal gets through in between.
                return Err(FsError::NoNews);
            }
            let next = until.min(Instant::now() + LOOK_EVERY);
            // Whether it was news or the time that ended this, the state is looked at again.
            let news = tokio::time::timeout_at(next, jobs.changed()).await;
            if matches!(news, Ok(Err(_))) {
                tokio::time::sleep_until(next).await;
            }
        }
    }

    fn wait_news(&self, owner: &Owner, waiting: &Waiting) -> Option<Result<Vec<u8>, FsError>> {
        let mut told = waiting.0.lock();
        match told.end {
            Some(Wait::Unwished) => {
                let why = format!("{} did not end as wished", owner.directory());
                return Some(Err(FsError::EndedOtherwise(why)));
            }
            Some(_) => return Some(Ok(Vec::new())),
            None => {}
        }
        let world = self.world();
        let Some(report) = self.report(&world, owner) else {
            let why = format!("{}: nothing to wait for", owner.directory());
            return Some(Err(FsError::EndedOtherwise(why)));
        };
        if unexamined(&world, owner, &report).is_some() {
            return None;
        }
        let state = report.state().wait();
        let news = control::wait_news(&report);
        let now = Instant::now();
        let is_news = told.last.as_ref().is_none_or(|(last, _)| *last != news);
        let too_soon = told.last.as_ref().is_some_and(|(_, at)| now.duration_since(*at) < SLICE);
        // How it ended is never held back.
        if state == Wait::GoesOn && (!is_news || too_soon) {
            return None;
        }
        if state != Wait::GoesOn {
            told.end = Some(state);
            if !is_news {
                drop(told);
                return self.wait_news(owner, waiting);
            }
        }
        told.last = Some((news, now));
        Some(Ok(format!("{}\n", control::wait_line(&report, world.now)).into_bytes()))
    }
}
