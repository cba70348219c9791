//! What the share refused, and whether it is worth another try.

use std::fmt;
use std::io;

use rustix::io::Errno;
use thiserror::Error;

use crate::model::ObjectKey;

use super::PoolError;

/// A store's refusal or silence, with what it was about.
#[derive(Debug, Error)]
#[error("cannot {doing} {what}: {kind}")]
pub struct StoreError {
    /// What the caller can do about it.
    pub kind: Kind,
    /// What was being done, as a verb: "read", "list", "write".
    pub doing: &'static str,
    /// The object's key, or the store's path.
    pub what: String,
    /// What the system said.
    #[source]
    pub source: Option<io::Error>,
}

/// What a caller can do about a [`StoreError`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// There is no such object.
    NotFound,
    /// The name is taken: nothing was overwritten.
    Exists,
    /// The directory is not empty.
    NotEmpty,
    /// A directory where a file was wanted or the reverse, a socket, a pipe, a device.
    WrongKind,
    /// A link on the way, or a path that leaves the store.
    Outside,
    /// Permissions, or a server that maps root to nobody.
    Denied,
    /// The share is mounted for reading only.
    ReadOnly,
    /// The disk or the quota is full: what was being written is not there.
    Full,
    /// Larger than the caller would take.
    TooLarge,
    /// The file system cannot do this at all.
    Unsupported,
    /// This host lacks memory or descriptors.
    Exhausted,
    /// The share did not answer, or not now; a file that was replaced while it was open.
    Unavailable,
    /// No answer before the deadline; the call may still be going on.
    TimedOut,
    /// Too many earlier calls hang on the share: this one was not even tried.
    Overloaded,
    /// Anything else.
    Failed,
}

impl Kind {
    /// True if the same call may succeed in a while without anybody doing anything.
    pub fn is_retryable(self) -> bool {
        matches!(self, Self::Exhausted | Self::Unavailable | Self::TimedOut | Self::Overloaded)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotFound => "it is not there",
            Self::Exists => "it exists already",
            Self::NotEmpty => "the directory is not empty",
            Self::WrongKind => "it is not what was expected: a file or a directory",
            Self::Outside => "a link is in the way, and links are not followed",
            Self::Denied => "permission denied",
            Self::ReadOnly => "the share is mounted read-only",
            Self::Full => "no space is left on the share, or the quota is used up",
            Self::TooLarge => "it is larger than anything that belongs there",
            Self::Unsupported => "the share's file system cannot do this",
            Self::Exhausted => "this host is out of memory or of file descriptors",
            Self::Unavailable => "the share does not answer",
            Self::TimedOut => "the share did not answer in time",
            Self::Overloaded => "too many calls hang on the share already",
            Self::Failed => "the share refused",
        })
    }
}

impl StoreError {
    /// An error without a system's word behind it.
    pub(super) fn plain(kind: Kind, doing: &'static str, what: impl fmt::Display) -> Self {
        Self { kind, doing, what: what.to_string(), source: None }
    }

    /// What the system said, sorted.
    pub(super) fn of_io(doing: &'static str, what: impl fmt::Display, source: io::Error) -> Self {
        Self { kind: kind_of(&source), doing, what: what.to_string(), source: Some(source) }
    }

    /// For `map_err`: turns what the system says into an error about `what`. `doing` is a verb:
    /// "write".
    pub fn about<E: Into<io::Error>>(
        doing: &'static str,
        what: impl fmt::Display,
    ) -> impl FnOnce(E) -> Self {
        move |source| Self::of_io(doing, what, source.into())
    }

    /// Of what went wrong with an object that was opened, while it was read or written.
    pub fn while_using(doing: &'static str, key: &ObjectKey, source: io::Error) -> Self {
        Self::of_io(doing, key, source)
    }

    /// True if the same call may succeed in a while without anybody doing anything.
    pub fn is_retryable(&self) -> bool {
        self.kind.is_retryable()
    }
}

impl From<PoolError> for StoreError {
    fn from(error: PoolError) -> Self {
        let kind = match &error {
            PoolError::TimedOut(_) => Kind::TimedOut,
            PoolError::Hung { .. } | PoolError::Busy { .. } => Kind::Overloaded,
            PoolError::NoThread { .. } => Kind::Exhausted,
            PoolError::Panicked { .. } => Kind::Failed,
        };
        let what = error.doing().to_owned();
        Self { kind, doing: "finish waiting", what, source: Some(io::Error::other(error)) }
    }
}

fn kind_of(error: &io::Error) -> Kind {
    let Some(errno) = Errno::from_io_error(error) else {
        return match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Kind::Full,
            _ => Kind::Failed,
        };
    };
    match errno {
        Errno::NOENT => Kind::NotFound,
        Errno::EXIST => Kind::Exists,
        Errno::NOTEMPTY => Kind::NotEmpty,
        Errno::NOTDIR | Errno::ISDIR | Errno::NXIO | Errno::NODEV => Kind::WrongKind,
        // RESOLVE_NO_SYMLINKS and RESOLVE_BENEATH say these.
        Errno::LOOP | Errno::XDEV => Kind::Outside,
        Errno::ACCESS | Errno::PERM => Kind::Denied,
        Errno::ROFS => Kind::ReadOnly,
        Errno::NOSPC | Errno::DQUOT => Kind::Full,
        Errno::FBIG => Kind::TooLarge,
        Errno::NOSYS | Errno::OPNOTSUPP | Errno::INVAL | Errno::NAMETOOLONG | Errno::MLINK => {
            Kind::Unsupported
        }
        Errno::MFILE | Errno::NFILE | Errno::NOMEM => Kind::Exhausted,
        Errno::STALE
        | Errno::IO
        | Errno::TIMEDOUT
        | Errno::HOSTDOWN
        | Errno::HOSTUNREACH
        | Errno::NETDOWN
        | Errno::NETUNREACH
        | Errno::CONNREFUSED
        | Errno::CONNRESET
        | Errno::NOTCONN
        | Errno::REMOTEIO
        | Errno::INTR
        | Errno::AGAIN
        | Errno::BUSY
        | Errno::NOLCK => Kind::Unavailable,
        _ => Kind::Failed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use test_case::test_case;

    #[test_case(libc::ENOSPC, Kind::Full, false; "a full disk")]
    #[test_case(libc::EDQUOT, Kind::Full, false; "a used up quota")]
    #[test_case(libc::ESTALE, Kind::Unavailable, true; "a file that was replaced")]
    #[test_case(libc::EIO, Kind::Unavailable, true; "a disk error, or NFS giving up")]
    #[test_case(libc::ELOOP, Kind::Outside, false; "a link")]
    #[test_case(libc::EROFS, Kind::ReadOnly, false; "mounted for reading")]
    fn what_the_system_says_is_sorted_by_what_one_can_do(errno: i32, kind: Kind, again: bool) {
        let error = StoreError::of_io("write", "x", io::Error::from_raw_os_error(errno));
        assert_eq!((error.kind, error.is_retryable()), (kind, again));
    }
}
