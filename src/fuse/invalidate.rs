//! Telling the kernel what it must not believe any more.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::io;
use std::thread;

use fuser::INodeNo;
use fuser::Notifier;
use tokio::sync::mpsc;

use crate::fs::Stale;

use super::FuseError;

/// So many notices wait at most while the kernel takes one. Whoever has more waits for room: he
/// tells what is different since he last told, so that nothing is lost by that.
const WAITING: usize = 4096;

/// Starts the thread that tells the kernel. It ends when the sender is dropped.
///
/// A thread of its own, never the path of a request: the kernel takes a directory's lock for a
/// notice, and whoever holds that lock may be waiting for our answer.
pub(super) fn start(notifier: Notifier) -> Result<mpsc::Sender<Stale>, FuseError> {
    let (sender, receiver) = mpsc::channel(WAITING);
    let tell = move |stale: Stale| {
        if let Err(error) = notice(&notifier, &stale)
            && error.raw_os_error() != Some(libc::ENOTCONN)
        {
            tracing::debug!(%error, ?stale, "the kernel did not take a notice");
        }
    };
    thread::Builder::new()
        .name("medusafs-notice".to_owned())
        .spawn(move || tell_all(receiver, tell))
        .map_err(FuseError::Thread)?;
    Ok(sender)
}

/// Tells what comes until nobody sends any more; what came twice while the kernel took its time, once.
fn tell_all(mut receiver: mpsc::Receiver<Stale>, tell: impl Fn(Stale)) {
    let mut came = Vec::new();
    while receiver.blocking_recv_many(&mut came, WAITING) > 0 {
        came.drain(..).collect::<BTreeSet<_>>().into_iter().for_each(&tell);
    }
}

fn notice(notifier: &Notifier, stale: &Stale) -> io::Result<()> {
    match stale {
        Stale::Name(parent, name) => {
            notifier.inval_entry(INodeNo(parent.0), OsStr::new(name.as_str()))
        }
        Stale::Inode(ino) => notifier.inval_inode(INodeNo(ino.0), 0, 0),
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;
    use crate::view::Ino;

    #[test]
    fn what_came_twice_is_told_once_and_no_more_than_so_many_wait() {
        let (sender, receiver) = mpsc::channel(3);
        let name = Stale::Name(Ino(1), "nightly".to_owned());
        for stale in [&name, &Stale::Inode(Ino(1)), &name] {
            sender.try_send(stale.clone()).unwrap();
        }
        sender.try_send(name.clone()).unwrap_err();
        drop(sender);
        let told = RefCell::new(Vec::new());
        tell_all(receiver, |stale| told.borrow_mut().push(stale));
        assert_eq!(told.into_inner(), [name, Stale::Inode(Ino(1))]);
    }
}
