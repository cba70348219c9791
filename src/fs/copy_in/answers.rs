//! A set's refusals, as what a call answers.

use crate::staging::Kind;
use crate::staging::Refusal;

use super::FsError;

impl From<Refusal> for FsError {
    fn from(refusal: Refusal) -> Self {
        let Refusal { kind, reason } = refusal;
        match kind {
            // `cp` then reads and writes instead of copying a range.
            Kind::Foreign | Kind::Unsupported => Self::Invalid(reason),
            Kind::WrongBytes => Self::WrongCopy(reason),
            Kind::NotPermitted => Self::NotPermitted(reason),
            Kind::Exists => Self::Exists(reason),
            Kind::NotFound => Self::NotFound,
            Kind::NotADirectory => Self::NotADirectory,
            Kind::IsADirectory => Self::IsADirectory,
            Kind::NotEmpty => Self::NotEmpty,
            Kind::Full => Self::NoSpace(reason),
        }
    }
}
