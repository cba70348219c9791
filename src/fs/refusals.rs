//! `last_error`: to each user his own last refusals, since an errno is all that `mkdir` sees.

use std::collections::HashMap;
use std::collections::VecDeque;
use std::fmt::Write;

use nix::errno::Errno;
use parking_lot::Mutex;

use crate::model::UnixSeconds;

/// How many a user is shown.
const KEPT_EACH: usize = 20;

/// For how many users: whoever was refused longest ago is forgotten first.
const USERS: usize = 256;

/// The last refusals of every user.
#[derive(Debug, Default)]
pub(super) struct Refusals {
    users: Mutex<HashMap<u32, VecDeque<Kept>>>,
}

/// One call that was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refusal {
    /// When.
    pub time: UnixSeconds,
    /// The calling process.
    pub pid: u32,
    /// Its program's name; empty if that is not known any more.
    pub program: String,
    /// What it called: "mkdir".
    pub call: &'static str,
    /// On what, from the mount's root.
    pub path: String,
    /// What it was told.
    pub errno: Errno,
    /// Why, in words.
    pub reason: String,
}

/// A refusal, and how often the same program met it again.
#[derive(Debug)]
struct Kept {
    last: Refusal,
    before: u64,
}

impl Kept {
    /// `rm -r` meets the same thousands of times: that must not push out what else there was.
    fn is_of(&self, other: &Refusal) -> bool {
        let Refusal { time: _, pid, program: _, call, path: _, errno, reason } = &self.last;
        (*pid, *call, *errno) == (other.pid, other.call, other.errno) && *reason == other.reason
    }
}

impl Refusals {
    /// Keeps one.
    pub(super) fn keep(&self, uid: u32, refusal: Refusal) {
        let mut users = self.users.lock();
        if users.len() >= USERS && !users.contains_key(&uid) {
            let oldest = users
                .iter()
                .min_by_key(|(_, refusals)| refusals.back().map(|last| last.last.time))
                .map(|(uid, _)| *uid);
            if let Some(oldest) = oldest {
                users.remove(&oldest);
            }
        }
        let mine = users.entry(uid).or_default();
        let same = mine.iter().position(|kept| kept.is_of(&refusal));
        let before = same
            .and_then(|place| mine.remove(place))
            .map_or(0, |kept| kept.before.saturating_add(1));
        if mine.len() >= KEPT_EACH {
            mine.pop_front();
        }
        mine.push_back(Kept { last: refusal, before });
    }

    /// What a user reads: a line each, the newest last.
    pub(super) fn text(&self, uid: u32) -> String {
        let users = self.users.lock();
        users.get(&uid).into_iter().flatten().fold(String::new(), |mut text, kept| {
            let Refusal { time, pid, program, call, path, errno, reason } = &kept.last;
            let reason = reason.split_whitespace().collect::<Vec<_>>().join(" ");
            let before = match kept.before {
                0 => String::new(),
                times => format!(" (and {times} before)"),
            };
            let who = match program.as_str() {
                "" => format!("pid {pid}"),
                program => format!("pid {pid} ({program})"),
            };
            let written = writeln!(text, "{time} {who} {call} {path}: {errno:?}: {reason}{before}");
            debug_assert!(written.is_ok(), "a string takes everything");
            text
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(path: &str) -> Refusal {
        Refusal {
            time: UnixSeconds(1_795_364_040),
            pid: 7,
            program: "mkdir".to_owned(),
            call: "mkdir",
            path: path.to_owned(),
            errno: Errno::EINVAL,
            reason: "no name\nfor a backup".to_owned(),
        }
    }

    #[test]
    fn everybody_reads_his_own() {
        let refusals = Refusals::default();
        refusals.keep(1, refusal("/backups/a b"));
        assert_eq!(refusals.text(2), "");
        assert_eq!(
            refusals.text(1),
            "2026-11-22T16:14:00Z pid 7 (mkdir) mkdir /backups/a b: EINVAL: no name for a backup\n"
        );
    }

    #[test]
    fn the_last_twenty_are_kept() {
        let refusals = Refusals::default();
        for number in 0..25 {
            refusals.keep(1, Refusal { pid: number, ..refusal(&format!("/{number}")) });
        }
        let text = refusals.text(1);
        assert_eq!(text.lines().count(), KEPT_EACH);
        assert!(text.contains(" /5: ") && text.contains(" /24: ") && !text.contains(" /4: "));
    }

    #[test]
    fn what_a_program_meets_again_and_again_is_one_line() {
        let refusals = Refusals::default();
        refusals.keep(1, Refusal { pid: 6, ..refusal("/backups/a b") });
        for number in 0..1000 {
            refusals.keep(1, refusal(&format!("/{number}")));
            refusals.keep(1, Refusal { pid: 6, ..refusal("/backups/a b") });
            refusals.keep(1, refusal(&format!("/{number}")));
        }
        let text = refusals.text(1);
        assert_eq!(text.lines().count(), 2);
        assert!(
            text.ends_with("mkdir /999: EINVAL: no name for a backup (and 1999 before)\n"),
            "{text}"
        );
    }

    #[test]
    fn a_crowd_of_users_takes_no_more_memory() {
        let refusals = Refusals::default();
        for uid in 0..1000 {
            refusals.keep(uid, refusal("/x"));
        }
        assert_eq!(refusals.users.lock().len(), USERS);
    }
}
