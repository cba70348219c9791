//! What persons want of a running job: small files that the job looks for.

use std::fs;
use std::io;
use std::path::PathBuf;

use crate::model::UnixSeconds;

use super::JobsError;
use super::replace::replace;

/// The texts of a wish.
const RESUME: &str = "resume";
const UNDO: &str = "undo";

/// What a person wishes of a job that was broken off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wish {
    /// Nobody has said: bring it to a safe end.
    None,
    /// Go on to its end.
    Resume,
    /// Put everything back.
    Undo,
}

/// The `control/` directory of a job.
#[derive(Debug, Clone)]
pub struct Control {
    path: PathBuf,
}

impl Control {
    pub(super) fn at(path: PathBuf) -> Self {
        Self { path }
    }

    /// Asks the job to take everything back; `why` is shown as its error.
    pub fn cancel(&self, why: &str) -> Result<(), JobsError> {
        self.say("cancel", why)
    }

    /// Why the job is to be cancelled, if it is.
    pub fn cancelled(&self) -> Option<String> {
        self.said("cancel")
    }

    /// Accepts a held plan by its ID, or ends the hold time with `now`.
    pub fn commit(&self, word: &str) -> Result<(), JobsError> {
        self.say("commit", word)
    }

    /// What was last committed, taken away so that it counts once.
    pub fn take_commit(&self) -> Option<String> {
        let said = self.said("commit")?;
        fs::remove_file(self.path.join("commit")).ok()?;
        Some(said)
    }

    /// Whether a person has said something to a held restore that its job has not heard yet.
    pub fn is_answered(&self) -> bool {
        self.said("commit").is_some() || self.cancelled().is_some()
    }

    /// Asks a job that was broken off to go on.
    pub fn resume(&self) -> Result<(), JobsError> {
        self.say("wish", RESUME)
    }

    /// Asks a restore to put back what it set aside.
    pub fn undo(&self) -> Result<(), JobsError> {
        self.say("wish", UNDO)
    }

    /// The last of `resume` and `undo` that was asked for. It holds until the job has ended, so
    /// that a process that dies over it is followed by one with the same wish.
    pub(super) fn wish(&self) -> Wish {
        match self.said("wish").as_deref() {
            Some(RESUME) => Wish::Resume,
            Some(UNDO) => Wish::Undo,
            _ => Wish::None,
        }
    }

    /// When that was asked for, by this host's clock.
    pub(super) fn wished_at(&self) -> Option<UnixSeconds> {
        let written = fs::metadata(self.path.join("wish")).and_then(|stat| stat.modified());
        written.ok().map(UnixSeconds::from)
    }

    /// The job has ended: what was wished of it counts no more.
    pub(super) fn forget_wish(&self) {
        self.forget("wish");
    }

    /// The job is wanted: it is taken up again, or it was to be cancelled when it was too late.
    pub fn forget_cancel(&self) {
        self.forget("cancel");
    }

    fn forget(&self, name: &str) {
        match fs::remove_file(self.path.join(name)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::warn!(%error, name, "what a person wanted cannot be taken away");
            }
            _ => {}
        }
    }

    /// Somebody changes the set that a restore stands on: the node is not to be stopped until
    /// [`settle`](Self::settle). Look at the job's status afterwards: if it stops the node already,
    /// this came too late.
    pub fn touch(&self) -> Result<(), JobsError> {
        self.say("set", "touched")
    }

    /// The set is whole again; the hold time counts from `since`.
    pub fn settle(&self, since: UnixSeconds) -> Result<(), JobsError> {
        self.say("set", &since.0.to_string())
    }

    /// Whether somebody changes the set now.
    pub fn is_touched(&self) -> bool {
        self.said("set").is_some_and(|said| said == "touched")
    }

    /// Since when the set is whole again, if it was changed.
    pub fn settled_since(&self) -> Option<UnixSeconds> {
        self.said("set")?.parse().ok().map(UnixSeconds)
    }

    fn say(&self, name: &'static str, text: &str) -> Result<(), JobsError> {
        let path = self.path.join(name);
        replace(&self.path, name, text.as_bytes()).map_err(|source| JobsError::Folder {
            doing: "write",
            path,
            source,
        })
    }

    fn said(&self, name: &str) -> Option<String> {
        let text = fs::read_to_string(self.path.join(name)).ok()?;
        Some(text.trim().to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_wish_counts_until_it_is_forgotten() {
        let directory = tempfile::tempdir().unwrap();
        let control = Control::at(directory.path().to_owned());
        assert_eq!(control.wish(), Wish::None);
        control.resume().unwrap();
        assert_eq!(control.wish(), Wish::Resume);
        control.undo().unwrap();
        assert_eq!(control.wish(), Wish::Undo);
        control.forget_wish();
        assert_eq!(control.wish(), Wish::None);
    }
}
