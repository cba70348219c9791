//! Why bytes are not what Medusa writes.

use std::io;

use thiserror::Error;

use crate::model::ByteSize;

/// Bytes that are not in Medusa's format, or could not be had.
#[derive(Debug, Error)]
pub enum FormatError {
    /// Larger than anything Medusa writes: it is not read to its end.
    #[error("the {what} is larger than {limit}")]
    TooLarge {
        /// "manifest", "tokenmap", …
        what: &'static str,
        /// The most that is read.
        limit: ByteSize,
    },
    /// JSON in JSON in JSON: more than any of Medusa's files has.
    #[error("the {what} is nested deeper than {limit} levels")]
    TooDeep {
        /// "manifest", "tokenmap", …
        what: &'static str,
        /// The deepest that is read.
        limit: u32,
    },
    /// Half-written, garbled, or of another program.
    #[error("the {what} is not as Medusa writes it")]
    Malformed {
        /// "manifest", "tokenmap", …
        what: &'static str,
        /// Where it stops making sense.
        source: serde_json::Error,
    },
    /// Empty, or no text at all: what a crash or a bad disk leaves.
    #[error("the {what} is empty, or is no text")]
    NoText {
        /// "schema", …
        what: &'static str,
    },
    /// The bytes could not be read: nothing is known of their form.
    #[error("cannot read the {what}")]
    Read {
        /// "manifest", "tokenmap", …
        what: &'static str,
        /// What the system said.
        source: io::Error,
    },
}

impl FormatError {
    /// True if the bytes themselves are wrong: reading them again will not help.
    pub fn is_final(&self) -> bool {
        !matches!(self, Self::Read { .. })
    }
}
