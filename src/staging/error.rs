//! What a copy is refused for.

use thiserror::Error;

/// What the caller can do about a refusal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// The name is in no backup that fits; copying it again changes nothing.
    Foreign,
    /// The bytes are not those of the backup, or cannot be shown to be.
    WrongBytes,
    /// Not in this version, or not by this verb.
    NotPermitted,
    /// The name is taken.
    Exists,
    /// There is no such name.
    NotFound,
    /// A name inside something that is no directory.
    NotADirectory,
    /// A directory where a file is meant.
    IsADirectory,
    /// A directory that has something in it.
    NotEmpty,
    /// The call makes no sense here; a tool may try another way (`cp` then reads and writes).
    Unsupported,
    /// More names than any snapshot could have.
    Full,
}

/// A call that changes nothing, and why.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{reason}")]
pub struct Refusal {
    /// What the caller can do about it.
    pub kind: Kind,
    /// For a person: what, why, and what to do next.
    pub reason: String,
}

impl Refusal {
    /// A refusal of `kind`, in words.
    pub fn new(kind: Kind, reason: impl Into<String>) -> Self {
        Self { kind, reason: reason.into() }
    }

    pub(super) fn gone() -> Self {
        Self::new(Kind::NotFound, "it is not there any more")
    }
}
