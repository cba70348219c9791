//! Exit codes: documented, never renumbered.

use std::error::Error;
use std::fmt;
use std::process::ExitCode;

use crate::observe::ErrorChain;

/// How a command ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// 0: the wished end, and nothing else.
    Wished,
    /// 1: not that.
    Unwished,
    /// 2: wrong usage or configuration; nothing was begun.
    Usage,
    /// 3: could not reach what is needed.
    Unreachable,
    /// 4: busy with something else.
    Busy,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(match exit {
            Exit::Wished => 0,
            Exit::Unwished => 1,
            Exit::Usage => 2,
            Exit::Unreachable => 3,
            Exit::Busy => 4,
        })
    }
}

/// Why a command ended otherwise than wished, in a sentence.
#[derive(Debug)]
pub struct Failure {
    /// The code it ends with.
    pub exit: Exit,
    /// What failed, where and why.
    pub message: String,
    /// What to do next, if we know; printed behind the message, below one of several lines.
    pub hint: Option<String>,
}

impl Failure {
    /// A failure in words.
    pub fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self { exit, message: message.into(), hint: None }
    }

    /// An error and its causes.
    pub fn of(exit: Exit, error: &(dyn Error + 'static)) -> Self {
        Self::new(exit, ErrorChain(error).to_string())
    }

    /// A failure that whoever failed has told already.
    pub fn told(exit: Exit) -> Self {
        Self::new(exit, "")
    }

    /// The same, with what to do next: it goes on with the sentence.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        let parted = if self.message.contains('\n') { "\n" } else { "; " };
        self.hint.as_ref().map_or(Ok(()), |hint| write!(f, "{parted}{hint}"))
    }
}
