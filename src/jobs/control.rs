//! What persons want of a running job: small files that the job looks for.

use std::fs;
use std::io::{self, Write};
use std::path::PathBuf;

use super::JobsError;

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

    fn say(&self, name: &'static str, text: &str) -> Result<(), JobsError> {
        let path = self.path.join(name);
        let draft = self.path.join(format!(".{name}"));
        let written = || -> io::Result<()> {
            let mut file = fs::File::create(&draft)?;
            file.write_all(text.as_bytes())?;
            file.sync_data()?;
            fs::rename(&draft, &path)
        };
        written().map_err(|source| JobsError::Folder { doing: "write", path, source })
    }

    fn said(&self, name: &str) -> Option<String> {
        let text = fs::read_to_string(self.path.join(name)).ok()?;
        Some(text.trim().to_owned())
    }
}
