//! Backups as the tree has them: made by `mkdir`, told of by control files, waited for and removed.
//! Without a kernel.

use std::ffi::OsStr;
use std::fs;
use std::time::Duration;

use medusafs::catalog::Completeness;
use medusafs::fs::{BackupBy, Caller};
use medusafs::medusa::Mode;
use medusafs::model::{
    Fqdn, JobId, JobKind, JobState, JobStatus, NodeStatus, Outcome, Phase, Progress, UnixSeconds,
};
use medusafs::view::Rights;
use nix::errno::Errno;

use crate::support::tree::{Eyes, ME, Made, NOW, With, job, user};

fn running() -> JobStatus {
    let progress = Progress {
        files_done: 3,
        files_total: Some(9),
        bytes_done: 40,
        bytes_total: Some(90),
        bytes_new: 7,
    };
    JobStatus {
        progress,
        nodes: vec![NodeStatus {
            name: Fqdn::parse("n1").unwrap(),
            state: JobState::Running,
            phase: Phase::Copy,
            progress,
            seconds: 5,
            error: None,
        }],
        ..job("tonight", JobState::Running)
    }
}

#[tokio::test]
async fn control_files_tell_where_a_backup_stands() {
    let made = Made::usual();
    let eyes = Eyes::on(&made).await;
    eyes.jobs.show(vec![running()]);
    let text = |file: &str| {
        let path = format!("backups/tonight/.medusa/{file}");
        let eyes = &eyes;
        async move { eyes.text(&path).await.unwrap() }
    };
    assert_eq!(text("state").await, "running\n");
    assert_eq!(text("nodes").await, "n1\trunning\tcopy\t3/9\t40/90\t5\t-\n");
    let progress = text("progress").await;
    assert_eq!(progress.lines().count(), 15);
    assert!(
        progress.contains("percent 44\n") && progress.contains("eta_seconds -\n"),
        "{progress}"
    );
    let json: serde_json::Value = serde_json::from_str(&text("status.json").await).unwrap();
    assert_eq!((&json["version"], &json["bytes_new"]), (&1.into(), &7.into()));
    assert_eq!(text("error").await, "");
    // The node's part can be named, and tells of itself.
    let node = eyes.text("backups/tonight/n1/.medusa/state").await.unwrap();
    assert_eq!(node, "running\n");
    assert_eq!(eyes.text("backups/new/.medusa/state").await.unwrap(), "complete\n");
    let id = running().id;
    assert_eq!(eyes.names(".medusa/jobs").await, [id.as_str()]);
    assert_eq!(eyes.text(&format!(".medusa/jobs/{id}/state")).await.unwrap(), "running\n");
}

#[tokio::test(start_paused = true)]
async fn wait_gives_lines_and_ends_as_the_job_ends() {
    let made = Made::usual();
    let eyes = Eyes::on(&made).await;
    for (end, outcome) in
        [(JobState::Failed, Errno::EIO), (JobState::Complete, Errno::UnknownErrno)]
    {
        eyes.jobs.show(vec![running()]);
        let handle = eyes.open("backups/tonight/.medusa/wait").await.unwrap();
        let read = || async {
            let bytes = eyes.fs.read(ME, handle, 0, 4096).await.map_err(|e| e.errno())?;
            Ok::<_, Errno>(String::from_utf8(bytes).unwrap())
        };
        assert_eq!(read().await.unwrap(), "16:14:00 copy 44% 40/90 B\n");
        let begun = tokio::time::Instant::now();
        assert_eq!(read().await, Err(Errno::EINTR));
        assert!(begun.elapsed() <= Duration::from_millis(1100), "{:?}", begun.elapsed());
        let mut more = running();
        more.progress.bytes_done = 80;
        eyes.jobs.show(vec![more.clone()]);
        assert_eq!(read().await.unwrap(), "16:14:00 copy 88% 80/90 B\n");
        more.state = end;
        more.finished = Some(NOW);
        eyes.jobs.show(vec![more]);
        if end == JobState::Complete {
            // Whoever waits copies from it next: it goes on until the tree shows it.
            assert_eq!(read().await, Err(Errno::EINTR));
            made.backup("tonight", NOW.0, false, 9);
            // The share is a real one, and takes real time.
            tokio::time::resume();
            drop(eyes.fs.refresh().await);
            tokio::time::pause();
        }
        assert!(read().await.unwrap().contains(&end.to_string()));
        for _again in 0..2 {
            match end.outcome().unwrap() {
                Outcome::Wished => assert_eq!(read().await.unwrap(), ""),
                Outcome::Unwished => assert_eq!(read().await, Err(outcome)),
            }
        }
    }
}

#[tokio::test]
async fn wait_is_read_in_pieces_of_any_size() {
    let made = Made::usual();
    let eyes = Eyes::on(&made).await;
    let handle = eyes.open("backups/new/.medusa/wait").await.unwrap();
    let (mut text, mut at) = (Vec::new(), 0);
    loop {
        let piece = eyes.fs.read(ME, handle, at, 3).await.unwrap();
        assert!(piece.len() <= 3, "{piece:?}");
        if piece.is_empty() {
            break;
        }
        at += 3;
        text.extend(piece);
    }
    let text = String::from_utf8(text).unwrap();
    assert!(text.ends_with('\n') && text.contains("complete"), "{text}");
    assert_eq!(text, eyes.text("backups/new/.medusa/wait").await.unwrap());
}

#[tokio::test]
async fn a_good_backup_that_nobody_has_looked_into_is_waited_for_and_synced() {
    let made = Made::usual();
    let eyes = Eyes::on(&made).await;
    for (name, started) in [("a1", 1_794_000_000), ("a2", 1_794_000_100), ("a3", 1_794_000_200)] {
        made.backup(name, started, true, 1);
    }
    drop(eyes.fs.refresh().await);
    let unknown = || {
        let backups = eyes.catalog.backups();
        let unknown = backups.iter().find(|it| it.state == Completeness::Unexamined);
        unknown.map(|it| it.name.to_string())
    };
    let name = unknown().expect("one is looked into in a round");
    let ino = eyes.ino(&format!("backups/{name}")).await;
    eyes.fs.fsyncdir(ME, ino).unwrap();
    assert_eq!(unknown(), Some(name.clone()), "fsync reads nothing");
    let waited = eyes.text(&format!("backups/{name}/.medusa/wait")).await.unwrap();
    assert!(waited.contains("complete"), "{waited}");
}

#[tokio::test]
async fn there_is_an_end_to_every_wait() {
    let made = Made::usual();
    made.node("half", "n1", 1_795_200_000, true, 1);
    let eyes = Eyes::on(&made).await;
    for path in ["backups/half", "restore/n1", "restore", "import/n2"] {
        assert_eq!(eyes.text(&format!("{path}/.medusa/wait")).await, Err(Errno::EIO), "{path}");
    }
    // A job that has ended leaves no node of its own to be waited for.
    let mut failed = JobStatus { state: JobState::Failed, ..running() };
    failed.error = "the cluster is not fit".to_owned();
    failed.nodes[0].state = JobState::Pending;
    eyes.jobs.show(vec![failed]);
    for path in ["backups/tonight", "backups/tonight/n1", "nodes/n1"] {
        assert_eq!(eyes.text(&format!("{path}/.medusa/wait")).await, Err(Errno::EIO), "{path}");
        assert_eq!(eyes.text(&format!("{path}/.medusa/state")).await.unwrap(), "failed\n");
        let error = eyes.text(&format!("{path}/.medusa/error")).await.unwrap();
        assert_eq!(error, "the cluster is not fit\n");
    }
    assert!(eyes.text("status").await.unwrap().contains("n1 failed"));
    let line = eyes.text("backups/new/.medusa/wait").await.unwrap();
    assert!(line.starts_with("16:14:00 complete 100%"), "{line}");
}

#[tokio::test]
async fn a_log_that_was_opened_before_its_job_was_there_grows_too() {
    let made = Made::usual();
    let eyes = Eyes::on(&made).await;
    fs::write(&eyes.jobs.log, "one\n").unwrap();
    let handle = eyes.open("nodes/n1/.medusa/log").await.unwrap();
    assert_eq!(eyes.fs.read(ME, handle, 0, 4096).await.unwrap(), b"");
    eyes.jobs.show(vec![running()]);
    assert_eq!(eyes.fs.read(ME, handle, 0, 4096).await.unwrap(), b"one\n");
}

#[tokio::test]
async fn a_log_grows_under_its_reader() {
    let made = Made::usual();
    let eyes = Eyes::on(&made).await;
    eyes.jobs.show(vec![running()]);
    fs::write(&eyes.jobs.log, "one\n").unwrap();
    let path = "backups/tonight/.medusa/log";
    let handle = eyes.open(path).await.unwrap();
    assert_eq!(eyes.fs.read(ME, handle, 0, 4096).await.unwrap(), b"one\n");
    assert_eq!(eyes.fs.read(ME, handle, 4, 4096).await.unwrap(), b"");
    fs::write(&eyes.jobs.log, "one\ntwo\n").unwrap();
    assert_eq!(eyes.attr(path).await.unwrap().size, 8);
    assert_eq!(eyes.fs.read(ME, handle, 4, 4096).await.unwrap(), b"two\n");
}

#[tokio::test]
async fn fsync_of_a_directory_answers_at_once() {
    let made = Made::usual();
    let eyes = Eyes::on(&made).await;
    eyes.jobs.show(vec![running()]);
    let sync = |path: &str| {
        let (path, eyes) = (path.to_owned(), &eyes);
        async move {
            let ino = eyes.ino(&path).await;
            eyes.fs.fsyncdir(ME, ino).map_err(|error| error.errno())
        }
    };
    assert_eq!(sync("backups/new").await, Ok(()));
    assert_eq!(sync("backups/tonight").await, Err(Errno::EIO));
    assert_eq!(sync("restore/n1").await, Ok(()));
    assert_eq!(sync("").await, Ok(()));
}

#[tokio::test]
async fn mkdir_asks_for_a_backup() {
    let made = Made::usual();
    let orders = [
        ("backups/a1", None, None),
        ("backups/.full/a2", Some(Mode::Full), None),
        ("backups/.differential/a3", Some(Mode::Differential), None),
        ("nodes/n1/a4", None, Some("n1")),
        ("nodes/n2/.full/a5", Some(Mode::Full), Some("n2")),
    ];
    for (path, mode, node) in orders {
        let eyes = Eyes::on(&made).await;
        eyes.mkdir(path).await.unwrap_or_else(|errno| panic!("{path}: {errno}"));
        let order = eyes.jobs.orders.lock().pop().unwrap();
        let name = path.rsplit('/').next().unwrap();
        assert_eq!(order.name.as_str(), name);
        assert_eq!((order.mode, order.node.as_ref().map(Fqdn::as_str)), (mode, node), "{path}");
        assert!(eyes.names("backups").await.contains(&name.to_owned()));
        let state = eyes.text(&format!("backups/{name}/.medusa/state")).await.unwrap();
        assert_eq!(state, "pending\n");
        if let Some(node) = node {
            assert!(eyes.names(&format!("nodes/{node}")).await.contains(&name.to_owned()));
        }
        if path.contains("/.") {
            let link = eyes.ino(path).await;
            assert_eq!(eyes.fs.readlink(link).unwrap(), format!("../{name}").into_bytes());
        }
    }
}

#[tokio::test]
async fn mkdir_is_refused_with_a_reason() {
    let made = Made::usual();
    let rights = Rights { backup_group: Some(77), ..Rights::default() };
    let with = || With { rights, ..With::default() };
    let eyes = Eyes::with(&made, with()).await;
    for (path, errno) in [
        ("backups/a b", Errno::EINVAL),
        ("backups/Untitled Folder", Errno::EINVAL),
        ("backups/metal", Errno::EINVAL),
        ("backups/data", Errno::EINVAL),
        ("backups/n1", Errno::EINVAL),
        ("backups/newer", Errno::EINVAL),
        ("backups/ol", Errno::EINVAL),
        ("backups/new", Errno::EEXIST),
        ("nodes/n1/whole", Errno::EEXIST),
        ("backups/new/n1", Errno::EEXIST),
        ("backups/new/x", Errno::EROFS),
        ("backups/.trash/x", Errno::EROFS),
        ("keyspaces/x", Errno::EROFS),
        ("nodes/x", Errno::EROFS),
        ("x", Errno::EROFS),
    ] {
        let path = format!("/{path}");
        assert_eq!(eyes.mkdir(&path).await.map(|_| ()), Err(errno), "{path}");
        let told = eyes.text(".medusa/last_error").await.unwrap();
        let last = told.lines().last().unwrap();
        assert!(last.contains(&format!("mkdir {path}: {errno:?}: ")), "{last}");
    }
    assert_eq!(eyes.mkdir_as(user(9), "backups/fine").await.map(|_| ()), Err(Errno::EACCES));
    let member = Caller { uid: 9, gid: 77, pid: 0 };
    eyes.mkdir_as(member, "backups/fine").await.unwrap();
    assert_eq!(eyes.mkdir("backups/second").await.map(|_| ()), Err(Errno::EBUSY));
    let told = eyes.text(".medusa/last_error").await.unwrap();
    assert!(told.contains("in use by 20261122T161400Z-backup-fine"), "{told}");
    for (backup, errno) in [
        (BackupBy::NoCluster, Errno::EROFS),
        (BackupBy::Off, Errno::EPERM),
        (BackupBy::Command, Errno::EPERM),
    ] {
        let eyes = Eyes::with(&made, With { backup, ..with() }).await;
        assert_eq!(eyes.mkdir("backups/fine").await.map(|_| ()), Err(errno));
    }
}

#[tokio::test]
async fn a_copy_into_backups_takes_the_backup_back() {
    let made = Made::usual();
    let eyes = Eyes::on(&made).await;
    let tool = Caller { uid: 0, gid: 0, pid: std::process::id() };
    let directory = eyes.mkdir_as(tool, "backups/copied").await.unwrap().ino;
    let shown = eyes.names("backups").await;
    assert!(shown.contains(&"copied".to_owned()));
    // Another process may look and fail there without harm.
    let other = eyes.fs.create(ME, directory, OsStr::new("x"), 0o644, true).await;
    assert_eq!(other.map(|_| ()).map_err(|e| e.errno()), Err(Errno::EROFS));
    assert_eq!(eyes.jobs.cancelled.lock().len(), 0);
    let made = eyes.fs.create(tool, directory, OsStr::new("x"), 0o644, true).await;
    assert_eq!(made.map(|_| ()).map_err(|e| e.errno()), Err(Errno::EROFS));
    assert_eq!(eyes.jobs.cancelled.lock().len(), 1);
    assert!(!eyes.names("backups").await.contains(&"copied".to_owned()));
}

#[tokio::test]
async fn cancel_is_written_to() {
    let made = Made::usual();
    let eyes = Eyes::on(&made).await;
    eyes.jobs.show(vec![running()]);
    let cancel = "backups/tonight/.medusa/cancel";
    assert_eq!(eyes.tell(cancel, "please").await, Err(Errno::EINVAL));
    assert_eq!(eyes.open(cancel).await, Err(Errno::EACCES), "it is not read");
    eyes.tell(cancel, "1").await.unwrap();
    assert_eq!(*eyes.jobs.cancelled.lock(), [running().id]);
    assert_eq!(eyes.tell("backups/new/.medusa/cancel", "1").await, Err(Errno::EINVAL));
}

#[tokio::test]
async fn rmdir_removes_a_failed_backup_only() {
    let made = Made::usual();
    let eyes = Eyes::on(&made).await;
    let mut failed = job("failed", JobState::Failed);
    failed.error = "node n1 is down".to_owned();
    eyes.jobs.show(vec![failed.clone(), running()]);
    let backups = eyes.ino("backups").await;
    let rmdir = |who: Caller, name: &'static str| {
        let eyes = &eyes;
        async move {
            let removed = eyes.fs.rmdir(who, backups, OsStr::new(name)).await;
            removed.map_err(|error| error.errno())
        }
    };
    assert_eq!(eyes.text("backups/failed/.medusa/error").await.unwrap(), "node n1 is down\n");
    assert_eq!(rmdir(ME, "tonight").await, Err(Errno::EBUSY));
    assert_eq!(rmdir(ME, "new").await, Err(Errno::EPERM));
    assert_eq!(rmdir(ME, "nothing").await, Err(Errno::ENOENT));
    assert_eq!(rmdir(user(9), "failed").await, Err(Errno::EACCES));
    // Nothing has gone while it is not removed.
    *eyes.jobs.keeps.lock() = Some("its process has not ended".to_owned());
    assert_eq!(rmdir(ME, "failed").await, Err(Errno::EBUSY));
    assert!(eyes.names("backups").await.contains(&"failed".to_owned()));
    *eyes.jobs.keeps.lock() = None;
    assert_eq!(rmdir(ME, "failed").await, Ok(()));
    assert_eq!(*eyes.jobs.forgotten.lock(), [failed.id]);
    assert!(!eyes.names("backups").await.contains(&"failed".to_owned()));
}

#[tokio::test]
async fn a_backup_that_failed_twice_is_removed_at_once_and_its_name_is_free() {
    let made = Made::usual();
    let eyes = Eyes::on(&made).await;
    let of_all = job("failed", JobState::Failed);
    let again = JobId::new(UnixSeconds(NOW.0 + 1), JobKind::Backup, "failed").unwrap();
    let of_one = JobStatus {
        id: again,
        node: Some(Fqdn::parse("n1").unwrap()),
        ..job("failed", JobState::Cancelled)
    };
    let at_work = JobStatus { state: JobState::Running, ..of_all.clone() };
    let backups = eyes.ino("backups").await;
    let rmdir = async || {
        let removed = eyes.fs.rmdir(ME, backups, OsStr::new("failed")).await;
        removed.map_err(|error| error.errno())
    };
    // The later one was refused by the one that is at work.
    eyes.jobs.show(vec![at_work, of_one.clone()]);
    assert_eq!(eyes.text("backups/failed/.medusa/state").await.unwrap(), "running\n");
    assert_eq!(rmdir().await, Err(Errno::EBUSY));
    eyes.jobs.show(vec![of_all.clone(), of_one.clone()]);
    assert_eq!(rmdir().await, Ok(()));
    assert_eq!(*eyes.jobs.forgotten.lock(), [of_all.id.clone(), of_one.id.clone()]);
    assert!(!eyes.names("backups").await.contains(&"failed".to_owned()));
    // Where a later job made it, and somebody has deleted it since, there is none to be seen.
    let eyes = Eyes::on(&made).await;
    let made_since = JobStatus { state: JobState::Complete, ..of_one.clone() };
    eyes.jobs.show(vec![of_all.clone(), made_since]);
    assert!(!eyes.names("backups").await.contains(&"failed".to_owned()));
    eyes.mkdir("backups/failed").await.unwrap();
    // One that left something on a node stays among the jobs, and says so also after a restart.
    let eyes = Eyes::on(&made).await;
    eyes.jobs.show(vec![JobStatus { withdrawn: true, ..of_all }]);
    assert!(!eyes.names("backups").await.contains(&"failed".to_owned()));
    assert_eq!(eyes.names(".medusa/jobs").await.len(), 1);
    eyes.mkdir("backups/failed").await.unwrap();
}
