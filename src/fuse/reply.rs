//! Our answers, said to the kernel.

use std::panic::AssertUnwindSafe;
use std::panic::catch_unwind;
use std::time::Duration;

use fuser::{
    FileHandle, FopenFlags, Generation, ReplyAttr, ReplyCreate, ReplyData, ReplyEmpty, ReplyEntry,
    ReplyLseek, ReplyOpen, ReplyWrite,
};

use crate::fs::Created;
use crate::fs::Found;
use crate::fs::FsError;
use crate::fs::LookedUp;
use crate::fs::Opened;
use crate::fs::OpenedDirectory;
use crate::fs::Reading;
use crate::view::Ino;

use super::convert;
use super::passthrough::Passthrough;

/// A number never stands for two things, so all are of one generation.
pub(super) const GENERATION: Generation = Generation(0);

/// A call whose reply is filled while memory is read.
pub(super) fn caught(call: impl FnOnce() -> Result<(), FsError>) -> Result<(), fuser::Errno> {
    match catch_unwind(AssertUnwindSafe(call)) {
        Ok(done) => done.map_err(|error| convert::errno(&error)),
        Err(_panic) => {
            tracing::error!("a listing panicked: a bug of medusafs");
            Err(fuser::Errno::EIO)
        }
    }
}

pub(super) fn looked_up(reply: ReplyEntry, looked: Result<LookedUp, FsError>) {
    match looked {
        Ok(LookedUp::Absent(time)) => {
            reply.entry_with_ttls(&Duration::ZERO, &time, &convert::no_attr(), GENERATION);
        }
        Ok(LookedUp::Found(found)) => entry(reply, Ok(found)),
        Err(error) => entry(reply, Err(error)),
    }
}

pub(super) fn entry(reply: ReplyEntry, found: Result<Found, FsError>) {
    match found {
        Ok(Found { attr, believe }) => {
            let attr = convert::attr(&attr);
            reply.entry_with_ttls(&believe.attributes, &believe.name, &attr, GENERATION);
        }
        Err(error) => reply.error(convert::errno(&error)),
    }
}

pub(super) fn empty(reply: ReplyEmpty, done: Result<(), FsError>) {
    match done {
        Ok(()) => reply.ok(),
        Err(error) => reply.error(convert::errno(&error)),
    }
}

pub(super) fn attributes(reply: ReplyAttr, found: Result<Found, FsError>) {
    match found {
        Ok(Found { attr, believe }) => reply.attr(&believe.attributes, &convert::attr(&attr)),
        Err(error) => reply.error(convert::errno(&error)),
    }
}

pub(super) fn data(reply: ReplyData, bytes: Result<Vec<u8>, FsError>) {
    match bytes {
        Ok(bytes) => reply.data(&bytes),
        Err(error) => reply.error(convert::errno(&error)),
    }
}

pub(super) fn written(reply: ReplyWrite, bytes: Result<u32, FsError>) {
    match bytes {
        Ok(bytes) => reply.written(bytes),
        Err(error) => reply.error(convert::errno(&error)),
    }
}

pub(super) fn created(reply: ReplyCreate, created: Result<Created, FsError>) {
    match created {
        Ok(Created { found: Found { attr, believe }, handle }) => reply.created(
            &believe.name,
            &convert::attr(&attr),
            GENERATION,
            FileHandle(handle.0),
            FopenFlags::empty(),
        ),
        Err(error) => reply.error(convert::errno(&error)),
    }
}

pub(super) fn opened(
    reply: ReplyOpen,
    passthrough: &Passthrough,
    ino: Ino,
    open: Result<Opened, FsError>,
) {
    let Opened { handle, reading } = match open {
        Ok(opened) => opened,
        Err(error) => return reply.error(convert::errno(&error)),
    };
    let handle = FileHandle(handle.0);
    match reading {
        Reading::Made => reply.opened(handle, FopenFlags::FOPEN_DIRECT_IO),
        Reading::Staged => reply.opened(handle, FopenFlags::empty()),
        Reading::Stored { file, same_as_before } => {
            // Nothing is written, so `close` has nothing to say.
            let mut flags = FopenFlags::FOPEN_NOFLUSH;
            if let Some(backing) = passthrough.open(ino, &file, &reply) {
                reply.opened_passthrough(handle, flags, &backing);
            } else {
                flags.set(FopenFlags::FOPEN_KEEP_CACHE, same_as_before);
                reply.opened(handle, flags);
            }
        }
    }
}

pub(super) fn opened_directory(reply: ReplyOpen, open: Result<OpenedDirectory, FsError>) {
    match open {
        Ok(OpenedDirectory { handle, keep }) => {
            let flags = if keep {
                FopenFlags::FOPEN_CACHE_DIR | FopenFlags::FOPEN_KEEP_CACHE
            } else {
                FopenFlags::empty()
            };
            reply.opened(FileHandle(handle.0), flags);
        }
        Err(error) => reply.error(convert::errno(&error)),
    }
}

/// Where data or a hole is next: files have no holes but the one behind their end.
pub(super) fn sought(reply: ReplyLseek, offset: i64, whence: i32, found: Result<Found, FsError>) {
    let size = match found {
        Ok(found) => i64::try_from(found.attr.size).unwrap_or(i64::MAX),
        Err(error) => return reply.error(convert::errno(&error)),
    };
    match whence {
        libc::SEEK_DATA if offset < size => reply.offset(offset),
        libc::SEEK_HOLE if offset < size => reply.offset(size),
        libc::SEEK_DATA | libc::SEEK_HOLE => reply.error(fuser::Errno::ENXIO),
        _ => reply.error(fuser::Errno::EINVAL),
    }
}
