//! Each promise of `src/fs/SEMANTICS.md`, without a kernel.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::path::Path;
use std::time::Duration;

use medusafs::fs::{BackupBy, Caller, FsError, LookedUp};
use medusafs::medusa::Mode;
use medusafs::model::{
    Fqdn, JobState, JobStatus, NodeStatus, Outcome, Phase, Progress, UnixSeconds,
};
use medusafs::store::PoolLimits;
use medusafs::view::Rights;
use nix::errno::Errno;
use test_case::test_case;

use crate::support::tree::{EMPTY, Eyes, ME, Made, NOW, ORDERS, With, content, job, user};

/// All test code, and what tests stand in the program's own files.
fn code(directory: &Path, into: &mut String) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            code(&path, into);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            into.push_str(&fs::read_to_string(&path).unwrap());
        }
    }
}

#[test]
fn every_promise_has_a_test_that_bears_its_name() {
    let page = fs::read_to_string("src/fs/SEMANTICS.md").unwrap();
    let page = page.split("\n## Where this differs").next().unwrap();
    let mut tests = String::new();
    code(Path::new("tests/it"), &mut tests);
    code(Path::new("src"), &mut tests);
    let mut promises: Vec<(&str, Vec<&str>)> = Vec::new();
    for line in page.lines() {
        let is_name = |word: &str| word.len() > 2 && word.starts_with('`') && word.ends_with('`');
        if line.starts_with(|first: char| first.is_ascii_digit()) {
            promises.push((line, Vec::new()));
        } else if line.starts_with("   ") && line.split_whitespace().all(is_name) {
            let names = line.split_whitespace().map(|word| word.trim_matches('`'));
            promises.last_mut().unwrap().1.extend(names);
        }
    }
    assert!(promises.len() > 60, "{}", promises.len());
    for (place, (promise, names)) in (1..).zip(promises) {
        assert!(promise.starts_with(&format!("{place}. ")), "not number {place}: {promise}");
        assert!(!names.is_empty(), "no test: {promise}");
        for name in names {
            assert!(tests.contains(&format!("fn {name}(")), "no test is called {name}: {promise}");
        }
    }
}

#[tokio::test]
async fn an_sstable_is_one_inode_in_every_view_and_after_a_remount() {
    let made = Made::usual();
    let paths = [
        format!("backups/old/n1/shop/{ORDERS}/nb-3-big-Data.db"),
        format!("backups/new/n1/shop/{ORDERS}/nb-3-big-Data.db"),
        format!("nodes/n1/new/shop/{ORDERS}/nb-3-big-Data.db"),
        "keyspaces/shop/orders/old/n1/nb-3-big-Data.db".to_owned(),
    ];
    let mut seen = BTreeSet::new();
    for _mount in 0..2 {
        let eyes = Eyes::on(&made).await;
        for path in &paths {
            let attr = eyes.attr(path).await.unwrap();
            assert_eq!(attr.links, 2);
            seen.insert(attr.ino);
        }
    }
    assert_eq!(seen.len(), 1, "{seen:?}");
}

#[tokio::test]
async fn a_node_s_directory_is_what_the_node_stored() {
    let made = Made::usual();
    let eyes = Eyes::on(&made).await;
    let meta = ["manifest.json", "schema.cql", "server_version.json", "tokenmap.json", "shop"];
    assert_eq!(eyes.names("backups/new/n1").await, meta);
    assert_eq!(eyes.names("nodes/n1/new").await, meta);
    assert_eq!(eyes.names("backups/new/n1/shop").await, [EMPTY, ORDERS]);
    assert_eq!(eyes.names(&format!("backups/new/n1/shop/{EMPTY}")).await, [""; 0]);
    let table = format!("backups/new/n1/shop/{ORDERS}");
    let files = eyes.names(&table).await;
    assert_eq!((files.len(), files[0].as_str()), (10, ".by_customer"));
    assert_eq!(
        eyes.text(&format!("{table}/.by_customer/nb-1-big-Data.db")).await.unwrap(),
        "index"
    );
    for number in [0, 8] {
        let text = eyes.text(&format!("{table}/nb-{number}-big-Data.db")).await.unwrap();
        assert_eq!(text, content("n1", number));
    }
    let stored = fs::read_to_string(made.root().join("n1/new/meta/manifest.json")).unwrap();
    assert_eq!(eyes.text("backups/new/n1/manifest.json").await.unwrap(), stored);
}

#[tokio::test]
async fn a_manifest_comes_first_by_inode_number() {
    let made = Made::usual();
    let eyes = Eyes::on(&made).await;
    let mut by_number = Vec::new();
    for name in eyes.names("backups/new/n1").await {
        by_number.push((eyes.ino(&format!("backups/new/n1/{name}")).await, name));
    }
    by_number.sort();
    assert_eq!(by_number[0].1, "manifest.json");
    assert_eq!(by_number.last().unwrap().1, "shop");
}

#[tokio::test]
async fn sizes_blocks_and_times_are_those_of_the_stored_file() {
    let made = Made::usual();
    let file = made.root().join(format!("n1/data/shop/{ORDERS}/nb-8-big-Data.db"));
    let written = std::time::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
    fs::File::open(&file).unwrap().set_modified(written).unwrap();
    let eyes = Eyes::on(&made).await;
    let attr = eyes.attr(&format!("backups/new/n1/shop/{ORDERS}/nb-8-big-Data.db")).await.unwrap();
    assert_eq!(attr.size, u64::try_from(content("n1", 8).len()).unwrap());
    assert_eq!((attr.blocks(), attr.modified), (1, UnixSeconds(1_700_000_000)));
    assert_eq!(eyes.attr("backups/new").await.unwrap().modified, UnixSeconds(1_795_100_000));
}

#[tokio::test]
async fn a_listing_stays_as_it_was_while_it_is_read() {
    let made = Made::usual();
    let eyes = Eyes::on(&made).await;
    let backups = eyes.ino("backups").await;
    let open = eyes.fs.opendir(ME, backups).await.unwrap();
    let mut names: Vec<(u64, String)> = Vec::new();
    // One name a call, and a backup comes in between.
    while names.last().is_none_or(|(next, _)| *next < 6) {
        let offset = names.last().map_or(0, |(next, _)| *next);
        let mut first = None;
        eyes.fs
            .list(open.handle, offset, &mut |next, _ino, _kind, name| {
                let is_full = first.is_some();
                first.get_or_insert((next, name.to_str().unwrap().to_owned()));
                is_full
            })
            .unwrap();
        names.push(first.unwrap());
        made.backup("another", 1_795_110_000, true, 1);
        eyes.look().await;
    }
    let names: Vec<_> = names.into_iter().map(|(_, name)| name).collect();
    assert_eq!(names, [".", "..", "latest", "new", "old", "whole"]);
    assert!(eyes.names("backups").await.contains(&"another".to_owned()));
}

#[tokio::test]
async fn hidden_directories_are_named_and_never_listed() {
    let made = Made::usual();
    let eyes = Eyes::on(&made).await;
    let with_control = ["", "backups/new", "backups/new/n1", "nodes/n1", "nodes/n1/new"];
    let staged = ["restore", "restore/n1", "import", "import/n1"];
    for path in with_control.into_iter().chain(staged) {
        assert!(eyes.names(path).await.iter().all(|name| !name.starts_with('.')), "{path}");
        assert!(!eyes.names(&format!("{path}/.medusa")).await.is_empty(), "{path}");
    }
    for path in ["backups/.full", "backups/.differential", "backups/.trash", "nodes/n1/.full"] {
        assert_eq!(eyes.names(path).await, [""; 0], "{path}");
    }
    assert_eq!(eyes.attr("backups/.medusa").await, Err(Errno::ENOENT));
    assert_eq!(eyes.attr("keyspaces/.medusa").await, Err(Errno::ENOENT));
    assert_eq!(eyes.attr("backups/new/n1/shop/.medusa").await, Err(Errno::ENOENT));
}

#[tokio::test]
async fn latest_leads_to_the_newest_complete_backup() {
    let made = Made::usual();
    let eyes = Eyes::on(&made).await;
    let latest = eyes.ino("backups/latest").await;
    assert_eq!(eyes.fs.readlink(latest).unwrap(), b"new");
    // Newer, and of one node only.
    made.node("half", "n1", 1_795_200_000, true, 1);
    eyes.look().await;
    assert_eq!(eyes.fs.readlink(latest).unwrap(), b"new");
    made.node("half", "n2", 1_795_200_000, true, 1);
    eyes.look().await;
    assert_eq!(eyes.fs.readlink(latest).unwrap(), b"half");
}

#[tokio::test]
async fn keyspaces_are_looked_at_by_table() {
    let made = Made::usual();
    let eyes = Eyes::on(&made).await;
    assert_eq!(eyes.names("keyspaces").await, ["shop"]);
    assert_eq!(eyes.names("keyspaces/shop").await, ["orders"]);
    assert_eq!(eyes.names("keyspaces/shop/orders").await, ["new", "old", "whole"]);
    assert_eq!(eyes.names("keyspaces/shop/orders/whole").await, ["n1", "n2"]);
    let files = eyes.names("keyspaces/shop/orders/whole/n2").await;
    let data = "nb-0-big-Data.db";
    assert_eq!(files, [".by_customer", data, "nb-1-big-Data.db", "nb-2-big-Data.db"]);
    let path = format!("keyspaces/shop/orders/whole/n2/{data}");
    assert_eq!(eyes.text(&path).await.unwrap(), content("n2", 0));
}

#[tokio::test]
async fn modes_let_in_who_may_look() {
    let made = Made::usual();
    let rights = Rights {
        read_group: Some(50),
        backup_group: Some(51),
        restore_group: Some(50),
        ..Rights::default()
    };
    let eyes = Eyes::with(&made, With { rights, ..With::default() }).await;
    let file = format!("backups/new/n1/shop/{ORDERS}/nb-0-big-Data.db");
    for (path, mode, gid) in [
        ("", 0o755, 50),
        ("README", 0o444, 50),
        ("status", 0o444, 50),
        (".medusa/version", 0o444, 50),
        (".medusa/config", 0o440, 50),
        ("backups", 0o775, 51),
        ("backups/new/n1", 0o750, 50),
        ("backups/new/n1/manifest.json", 0o440, 50),
        (&file, 0o440, 50),
        ("restore/n1", 0o770, 50),
        ("keyspaces", 0o750, 50),
        ("backups/new/.medusa/cancel", 0o222, 50),
    ] {
        let attr = eyes.attr(path).await.unwrap();
        assert_eq!((attr.mode, attr.gid, attr.uid), (mode, gid, 0), "{path}");
    }
}

#[tokio::test]
async fn a_lost_file_is_an_error_and_damages_its_backup() {
    let made = Made::usual();
    let eyes = Eyes::on(&made).await;
    let path = format!("backups/new/n1/shop/{ORDERS}/nb-2-big-Data.db");
    eyes.attr(&path).await.unwrap();
    fs::remove_file(made.root().join(format!("n1/data/shop/{ORDERS}/nb-2-big-Data.db"))).unwrap();
    assert_eq!(eyes.open(&path).await, Err(Errno::EIO));
    let told = eyes.text(".medusa/last_error").await.unwrap();
    assert!(told.contains("nb-2-big-Data.db"), "{told}");
    assert_eq!(eyes.text("backups/new/.medusa/state").await.unwrap(), "damaged\n");
    let why = eyes.text("backups/new/.medusa/error").await.unwrap();
    assert!(why.contains("nb-2-big-Data.db is missing"), "{why}");
    let latest = eyes.ino("backups/latest").await;
    assert_eq!(eyes.fs.readlink(latest).unwrap(), b"whole");
    // Medusa writes over files of its pool in place.
    let other = format!("backups/new/n1/shop/{ORDERS}/nb-4-big-Data.db");
    made.write(&format!("n1/data/shop/{ORDERS}/nb-4-big-Data.db"), "another");
    assert_eq!(eyes.open(&other).await, Err(Errno::EIO));
}

#[test_case(r#"[{"keyspace": "k", "columnfamily": "t", "objects": [{"path": "n1/../../etc/passwd", "MD5": null, "size": 1}]}]"#; "a path that climbs")]
#[test_case(r#"[{"keyspace": "k", "columnfamily": "t", "objects": [{"path": "/etc/passwd", "MD5": null, "size": 1}]}]"#; "a path from the root")]
#[test_case(r#"[{"keyspace": "k", "columnfamily": "t", "objects": [{"path": "n2/data/shop/t/x", "MD5": null, "size": 1}]}]"#; "another node's file")]
#[test_case("[[[[[[[[[[[[[[[["; "deep and broken")]
#[test_case("{}"; "no list")]
#[tokio::test]
async fn a_hostile_manifest_hurts_only_itself(manifest: &str) {
    let made = Made::usual();
    made.publish("evil", "n1", 1_795_300_000, true, manifest);
    let eyes = Eyes::on(&made).await;
    assert!(eyes.names("backups").await.contains(&"evil".to_owned()));
    assert_ne!(eyes.text("backups/evil/.medusa/state").await.unwrap(), "complete\n");
    for path in ["backups/evil/n1/k/t/passwd", "backups/evil/n1/k/t/x"] {
        assert!(eyes.attr(path).await.is_err(), "{path}");
    }
    assert_eq!(eyes.text("backups/evil/n1/manifest.json").await.unwrap(), manifest);
    let path = format!("backups/new/n1/shop/{ORDERS}/nb-1-big-Data.db");
    assert_eq!(eyes.text(&path).await.unwrap(), content("n1", 1));
}

#[tokio::test]
async fn lists_answer_while_the_share_hangs() {
    let made = Made::usual();
    let known = Eyes::on(&made).await;
    // A pool without threads: whatever is asked of the share never comes back.
    let pool = PoolLimits { threads: 0, hung: 0, queue: 0 };
    let hung = With { pool, deadline: Duration::from_millis(50), ..With::default() };
    let eyes = Eyes::over(known.catalog.clone(), hung, made.root().join(".log")).await;
    assert_eq!(eyes.names("").await.len(), 7);
    assert_eq!(eyes.names("backups").await, ["latest", "new", "old", "whole"]);
    assert_eq!(eyes.names("nodes/n2").await, ["new", "old", "whole"]);
    assert!(eyes.text("status").await.unwrap().contains("store\t"));
    assert_eq!(eyes.open("backups/new/n1/manifest.json").await, Err(Errno::ETIMEDOUT));
}

#[tokio::test]
async fn what_the_kernel_forgets_is_forgotten() {
    let made = Made::usual();
    let eyes = Eyes::on(&made).await;
    let inodes = || async {
        let text = eyes.text(".medusa/cache").await.unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix("inodes ")).unwrap().to_owned();
        line.parse::<usize>().unwrap()
    };
    inodes().await;
    let before = inodes().await;
    let mut told = Vec::new();
    let table = format!("backups/new/n1/shop/{ORDERS}");
    // The way to each passes through those before it.
    let ends = table.match_indices('/').map(|(at, _)| at).chain([table.len()]);
    for (times, end) in (1..=5).rev().zip(ends) {
        told.push((eyes.ino(table.get(..end).unwrap()).await, times));
    }
    let open = eyes.fs.opendir(ME, told.last().unwrap().0).await.unwrap();
    eyes.fs
        .list_with_attributes(open.handle, 0, &mut |_next, found, name| {
            if ![".", ".."].contains(&name.to_str().unwrap()) {
                told.push((found.attr.ino, 1));
            }
            false
        })
        .unwrap();
    eyes.fs.releasedir(open.handle);
    assert_eq!(told.len(), 5 + 10);
    assert_eq!(inodes().await, before + 15);
    for (ino, times) in told {
        eyes.fs.forget(ino, times);
    }
    assert_eq!(inodes().await, before);
}

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
    assert_eq!(rmdir(ME, "failed").await, Ok(()));
    assert_eq!(*eyes.jobs.forgotten.lock(), [failed.id]);
    assert!(!eyes.names("backups").await.contains(&"failed".to_owned()));
}

#[tokio::test]
async fn every_other_change_is_refused() {
    let made = Made::usual();
    let eyes = Eyes::on(&made).await;
    let table = eyes.ino(&format!("backups/new/n1/shop/{ORDERS}")).await;
    let LookedUp::Found(found) =
        eyes.fs.lookup(ME, table, OsStr::new("nb-1-big-Data.db")).await.unwrap()
    else {
        panic!("it is there");
    };
    let (file, name) = (found.attr.ino, OsStr::new("x"));
    let backups = eyes.ino("backups").await;
    let set = medusafs::fs::SetAttributes { mode: Some(0o777), ..Default::default() };
    let refused: Vec<FsError> = vec![
        eyes.fs.create(ME, table, name, 0o644, false).await.unwrap_err(),
        eyes.fs.symlink(ME, table, name, "y".into()).await.unwrap_err(),
        eyes.fs.link(ME, file, table, name).await.unwrap_err(),
        eyes.fs.mknod(ME, table, name).await.unwrap_err(),
        eyes.fs.mkdir(ME, table, name, 0o755).await.unwrap_err(),
        eyes.fs.unlink(ME, table, OsStr::new("nb-1-big-Data.db")).await.unwrap_err(),
        eyes.fs.rmdir(ME, table, name).await.unwrap_err(),
        eyes.fs.setattr(ME, file, set).await.unwrap_err(),
        eyes.fs.open(ME, file, true).await.unwrap_err(),
        eyes.fs.rename(ME, (backups, OsStr::new("new")), (backups, name), true).await.unwrap_err(),
        eyes.fs.rename(ME, (table, name), (backups, name), true).await.unwrap_err(),
    ];
    for error in refused {
        assert!([Errno::EROFS, Errno::EPERM].contains(&error.errno()), "{error}");
    }
    let text = eyes.text(&format!("backups/new/n1/shop/{ORDERS}/nb-1-big-Data.db")).await.unwrap();
    assert_eq!(text, content("n1", 1));
}

#[tokio::test]
async fn everybody_reads_his_own_refusals() {
    let made = Made::usual();
    let eyes = Eyes::on(&made).await;
    assert_eq!(eyes.mkdir_as(user(9), "backups/his").await.map(|_| ()), Err(Errno::EACCES));
    let his = eyes.text_as(user(9), ".medusa/last_error").await.unwrap();
    assert!(his.contains("/backups/his: EACCES: only root and backup_group"), "{his}");
    assert_eq!(eyes.text(".medusa/last_error").await.unwrap(), "");
}
