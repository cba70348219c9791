//! Telling the kernel what it must not believe any more.

use std::ffi::OsStr;
use std::io;
use std::sync::mpsc;
use std::thread;

use fuser::INodeNo;
use fuser::Notifier;

use crate::fs::Stale;

use super::FuseError;

/// Starts the thread that tells the kernel. It ends when the sender is dropped.
///
/// A thread of its own, never the path of a request: the kernel takes a directory's lock for a
/// notice, and whoever holds that lock may be waiting for our answer.
pub(super) fn start(notifier: Notifier) -> Result<mpsc::Sender<Stale>, FuseError> {
    let (sender, receiver) = mpsc::channel::<Stale>();
    let tell = move || {
        while let Ok(stale) = receiver.recv() {
            if let Err(error) = notice(&notifier, &stale)
                && error.raw_os_error() != Some(libc::ENOTCONN)
            {
                tracing::debug!(%error, ?stale, "the kernel did not take a notice");
            }
        }
    };
    thread::Builder::new()
        .name("medusafs-notice".to_owned())
        .spawn(tell)
        .map_err(FuseError::Thread)?;
    Ok(sender)
}

fn notice(notifier: &Notifier, stale: &Stale) -> io::Result<()> {
    match stale {
        Stale::Name(parent, name) => {
            notifier.inval_entry(INodeNo(parent.0), OsStr::new(name.as_str()))
        }
        Stale::Inode(ino) => notifier.inval_inode(INodeNo(ino.0), 0, 0),
    }
}
