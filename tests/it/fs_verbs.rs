//! Verbs, and who may use them, without a kernel: what `fs_semantics` leaves.

use std::ffi::OsStr;
use std::io;
use std::sync::{Arc, mpsc};
use std::time::Duration;

use medusafs::fs::{Caller, CopyIn, StagedParent};
use medusafs::medusa::Mode;
use medusafs::model::{Fqdn, JobState};
use medusafs::view::{Area, Rights};
use nix::errno::Errno;
use parking_lot::Mutex;
use tracing_subscriber::fmt::MakeWriter;

use crate::support::copy_desk::{CopyDesk, until};
use crate::support::tree::{Eyes, ME, Made, With, job, user};

/// Beside other tests on a small machine a call may take its time; how long it waits by itself is
/// settled where the limit stands.
const PATIENCE: Duration = Duration::from_secs(20);

#[tokio::test]
async fn mkdir_in_a_backup_finishes_what_a_node_failed() {
    let made = Made::usual();
    made.node("half", "n1", 1_795_200_000, true, 1);
    let eyes = Eyes::on(&made).await;
    let within = eyes.ino("backups/half").await;
    eyes.mkdir("backups/half/n2").await.unwrap();
    let order = eyes.jobs.orders.lock().pop().unwrap();
    // As the other nodes' parts are, whatever the configuration says by now.
    let mode = Some(Mode::Full);
    assert_eq!((order.name.as_str(), order.finishes, order.mode), ("half", true, mode));
    assert_eq!(order.node.unwrap().as_str(), "n2");
    // One `mkdir` that is given two nodes does not copy: the cluster is at work.
    assert_eq!(eyes.jobs.cancelled.lock().len(), 0);
    assert_eq!(eyes.mkdir("backups/half/n1").await.map(|_| ()), Err(Errno::EEXIST));
    assert_eq!(eyes.mkdir("backups/half/n7").await.map(|_| ()), Err(Errno::EROFS));
    // Whoever stands in the directory of a backup that has gone begins none by it.
    let eyes = Eyes::on(&made).await;
    assert_eq!(eyes.ino("backups/half").await, within);
    std::fs::remove_dir_all(made.root().join("index/backup_index/half")).unwrap();
    std::fs::remove_dir_all(made.root().join("n1/half")).unwrap();
    eyes.look().await;
    let late = eyes.fs.mkdir(ME, within, OsStr::new("n2"), 0o755).await;
    assert_eq!(late.map(|_| ()).map_err(|error| error.errno()), Err(Errno::EROFS));
    assert!(eyes.jobs.orders.lock().is_empty());
}

#[tokio::test]
async fn a_disk_of_this_host_that_hangs_holds_up_no_call_longer_than_a_second() {
    let made = Made::usual();
    let eyes = Eyes::on(&made).await;
    let (hang, hangs) = mpsc::channel();
    *eyes.jobs.hangs.lock() = Some(hangs);
    // The disk hangs until the end of the test: whatever is answered before was not held up by it.
    let made = tokio::time::timeout(PATIENCE, eyes.mkdir("backups/tonight")).await.unwrap();
    assert_eq!(made.map(|_| ()), Err(Errno::ETIMEDOUT));
    let told = eyes.text(".medusa/last_error").await.unwrap();
    assert!(told.contains("/var/lib/medusafs"), "{told}");
    // What was told to have failed is not done behind anybody's back.
    drop(hang);
    until("its end", || eyes.jobs.cancelled.lock().len() == 1).await;
    assert!(!eyes.names("backups").await.contains(&"tonight".to_owned()));
    eyes.mkdir("backups/tonight").await.unwrap();
}

#[tokio::test]
async fn a_file_that_could_not_be_opened_does_not_keep_a_set_from_being_whole() {
    let (made, state) = (Made::usual(), tempfile::tempdir().unwrap());
    let desk = CopyDesk::new(state.path());
    let copy_in = Some(Arc::new(desk.copies.clone()) as Arc<dyn CopyIn>);
    let eyes = Eyes::with(&made, With { copy_in, ..With::default() }).await;
    let readme = eyes.ino("README").await;
    let place = eyes.ino("restore/n1").await;
    let mut open = Vec::new();
    while let Ok(opened) = eyes.fs.open(ME, readme, false).await {
        open.push(opened.handle);
    }
    let name = OsStr::new("manifest.json");
    let refused = eyes.fs.create(ME, place, name, 0o644, true).await;
    assert_eq!(refused.map(|_| ()).map_err(|error| error.errno()), Err(Errno::ENFILE));
    for handle in open {
        eyes.fs.release(handle).await;
    }
    // A file that is open lives on without a name, and its set with it.
    let of = StagedParent::Node(Area::Restore, Fqdn::parse("n1").unwrap());
    desk.copies.unlink(ME, &of, "manifest.json").await.unwrap();
    assert_eq!(desk.copies.set(&of), None);
}

#[tokio::test]
async fn a_host_that_does_not_restore_takes_no_copy() {
    let (made, state) = (Made::usual(), tempfile::tempdir().unwrap());
    let desk = CopyDesk::new(state.path());
    let copy_in = Some(Arc::new(desk.copies.clone()) as Arc<dyn CopyIn>);
    let eyes = Eyes::with(&made, With { copy_in, restores: false, ..With::default() }).await;
    let place = eyes.ino("restore/n1").await;
    let name = OsStr::new("manifest.json");
    let made = eyes.fs.create(ME, place, name, 0o644, true).await.map(|_| ());
    assert_eq!(made.map_err(|error| error.errno()), Err(Errno::EPERM));
    assert_eq!(eyes.mkdir("restore/n1/shop").await.map(|_| ()), Err(Errno::EPERM));
    assert_eq!(eyes.tell("restore/n1/.medusa/commit", "now").await, Err(Errno::EPERM));
    let told = eyes.text(".medusa/last_error").await.unwrap();
    assert!(told.contains("restore = off"), "{told}");
}

#[tokio::test]
async fn only_root_and_restore_group_copy_in() {
    let made = Made::usual();
    let rights = Rights { restore_group: Some(77), ..Rights::default() };
    let eyes = Eyes::with(&made, With { rights, ..With::default() }).await;
    let member = Caller { uid: 9, gid: 77, pid: 0 };
    // Nothing is kept of what is copied in here: whoever may, hears that.
    for (who, errno) in [(user(9), Errno::EACCES), (member, Errno::EROFS), (ME, Errno::EROFS)] {
        for area in ["restore/n1", "import/n1", "restore"] {
            let ino = eyes.ino(area).await;
            let name = OsStr::new("manifest.json");
            let fs = &eyes.fs;
            let tried = [
                fs.create(who, ino, name, 0o644, true).await.map(|_| ()),
                fs.mkdir(who, ino, name, 0o755).await.map(|_| ()),
                fs.symlink(who, ino, name, "x".into()).await.map(|_| ()),
                fs.unlink(who, ino, name).await,
                fs.rmdir(who, ino, name).await,
                fs.rename(who, (ino, name), (ino, OsStr::new("x")), true).await,
            ];
            for tried in tried {
                assert_eq!(tried.map_err(|error| error.errno()), Err(errno), "{area} {who:?}");
            }
        }
    }
}

/// What is logged on this thread.
#[derive(Clone, Default)]
struct Logged(Arc<Mutex<Vec<u8>>>);

impl io::Write for Logged {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Logged {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

#[tokio::test]
async fn every_verb_is_logged_with_user_process_and_program() {
    let made = Made::usual();
    let rights = Rights { backup_group: Some(77), ..Rights::default() };
    let eyes = Eyes::with(&made, With { rights, ..With::default() }).await;
    let logged = Logged::default();
    let log = tracing_subscriber::fmt().with_writer(logged.clone()).with_ansi(false).finish();
    let _log = tracing::subscriber::set_default(log);
    let pid = std::process::id();
    let me = Caller { uid: 9, gid: 77, pid };
    eyes.mkdir_as(me, "backups/tonight").await.unwrap();
    eyes.jobs.show(vec![job("tonight", JobState::Running)]);
    let cancel = eyes.ino("backups/tonight/.medusa/cancel").await;
    let open = eyes.fs.open(me, cancel, true).await.unwrap();
    eyes.fs.write(me, open.handle, 0, b"1\n".to_vec()).await.unwrap();
    eyes.jobs.show(vec![job("tonight", JobState::Failed)]);
    let backups = eyes.ino("backups").await;
    eyes.fs.rmdir(me, backups, OsStr::new("tonight")).await.unwrap();
    let text = String::from_utf8(logged.0.lock().clone()).unwrap();
    let program = me.program();
    for verb in ["a backup was asked for", "told", "removed"] {
        let line = text.lines().find(|line| line.contains(&format!(" {verb} ")));
        let line = line.unwrap_or_else(|| panic!("{verb}: {text}"));
        for word in ["uid=9", &format!("pid={pid}"), &format!("program={program}")] {
            assert!(line.contains(word), "{word}: {line}");
        }
    }
}
