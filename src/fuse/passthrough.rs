//! Kernel passthrough: the kernel reads the stored file itself, and we never see the bytes.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;

use fuser::BackingId;
use fuser::ReplyOpen;
use parking_lot::Mutex;

use crate::view::Ino;

/// Which inodes are read through the kernel now.
///
/// All opens of an inode at one time must go one way, so the first one decides.
#[derive(Debug)]
pub(super) struct Passthrough {
    allowed: AtomicBool,
    open: Mutex<HashMap<Ino, Way>>,
}

#[derive(Debug)]
struct Way {
    opens: u32,
    backing: Option<Arc<BackingId>>,
}

impl Passthrough {
    /// Tried if `allowed`, until the kernel says that it is not.
    pub(super) fn new(allowed: bool) -> Self {
        Self { allowed: AtomicBool::new(allowed), open: Mutex::default() }
    }

    /// Whether it is still tried.
    pub(super) fn is_allowed(&self) -> bool {
        self.allowed.load(Ordering::Relaxed)
    }

    /// Not any more.
    pub(super) fn forbid(&self) {
        self.allowed.store(false, Ordering::Relaxed);
    }

    /// Counts one more open of `ino`; with what the kernel reads it by, if it does.
    pub(super) fn open(&self, ino: Ino, file: &File, reply: &ReplyOpen) -> Option<Arc<BackingId>> {
        let mut open = self.open.lock();
        if let Some(way) = open.get_mut(&ino) {
            way.opens = way.opens.saturating_add(1);
            return way.backing.clone();
        }
        let backing = if self.is_allowed() { self.back(file, reply) } else { None };
        open.insert(ino, Way { opens: 1, backing: backing.clone() });
        backing
    }

    /// One open less.
    pub(super) fn release(&self, ino: Ino) {
        let mut open = self.open.lock();
        if let Some(way) = open.get_mut(&ino) {
            way.opens = way.opens.saturating_sub(1);
            if way.opens == 0 {
                open.remove(&ino);
            }
        }
    }

    fn back(&self, file: &File, reply: &ReplyOpen) -> Option<Arc<BackingId>> {
        match reply.open_backing(file) {
            Ok(backing) => Some(Arc::new(backing)),
            Err(error) => {
                self.refused(&error);
                None
            }
        }
    }

    fn refused(&self, error: &io::Error) {
        match error.raw_os_error() {
            // Only for CAP_SYS_ADMIN in the first user namespace; or a kernel without it.
            Some(libc::EPERM | libc::ENOTTY | libc::EOPNOTSUPP) => {
                self.forbid();
                tracing::info!(%error, "reading without kernel passthrough");
            }
            Some(libc::ELOOP) => {
                self.forbid();
                tracing::info!(
                    "reading without kernel passthrough: the store lies on a stacked file system"
                );
            }
            _ => tracing::debug!(%error, "this file is read without kernel passthrough"),
        }
    }
}
