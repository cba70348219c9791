//! Why the tree cannot be mounted or taken away.

use std::ffi::OsString;
use std::io;
use std::path::PathBuf;

use thiserror::Error;

/// A mount that did not come about, or does not go.
#[derive(Debug, Error)]
pub enum FuseError {
    /// There is no FUSE here.
    #[error("there is no FUSE on this host: cannot open /dev/fuse")]
    NoDevice(#[source] io::Error),
    /// Nothing to mount on.
    #[error("{0} does not exist: make it with `mkdir -p {0}` first")]
    Missing(PathBuf),
    /// No directory.
    #[error("{0} is no directory")]
    NotADirectory(PathBuf),
    /// Something is mounted there.
    #[error("{path} is in use: a file system of type {kind} from {source_name:?} is mounted there")]
    InUse {
        /// The mountpoint.
        path: PathBuf,
        /// The type of what is there.
        kind: String,
        /// Its source.
        source_name: String,
    },
    /// What is there would be hidden.
    #[error("{path} is not empty, and a mount would hide what is in it, such as {name:?}")]
    NotEmpty {
        /// The mountpoint.
        path: PathBuf,
        /// One of the names in it.
        name: OsString,
    },
    /// Nothing of ours is mounted there.
    #[error("{0} is no mountpoint of medusafs")]
    NotOurs(PathBuf),
    /// Somebody still has files of it open, or stands in it.
    #[error(
        "{0} is busy: somebody has files in it open or stands in it (`fuser -vm {0}` says who)"
    )]
    Busy(PathBuf),
    /// The system refused something about a path.
    #[error("cannot {doing} {path}")]
    Path {
        /// What, as a verb: "look at", "mount on".
        doing: &'static str,
        /// Where.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The helper that mounts for ordinary users is not there.
    #[error("there is no fusermount3 on this host, which mounts for ordinary users")]
    NoHelper(#[source] io::Error),
    /// The helper that mounts for ordinary users failed.
    #[error("fusermount3 did not {doing} {path}: {said}")]
    Helper {
        /// What, as a verb: "mount", "unmount".
        doing: &'static str,
        /// The mountpoint.
        path: PathBuf,
        /// What it said.
        said: String,
    },
    /// The kernel and we do not understand each other.
    #[error("the kernel refused to begin")]
    Handshake(#[source] io::Error),
    /// A thread could not be started.
    #[error("cannot start a thread")]
    Thread(#[source] io::Error),
    /// Reading from the kernel failed.
    #[error("the connection to the kernel broke")]
    Connection(#[source] io::Error),
    /// This program could not be started again in the background.
    #[error("cannot go to the background")]
    Background(#[source] io::Error),
}

impl FuseError {
    /// For `map_err`: the system's refusal, and what it was about.
    pub(super) fn path(
        doing: &'static str,
        path: &std::path::Path,
    ) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Path { doing, path, source }
    }
}
