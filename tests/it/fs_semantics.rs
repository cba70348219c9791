//! Each promise of `src/fs/SEMANTICS.md`, without a kernel.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::path::Path;
use std::time::Duration;

use medusafs::fs::{FsError, LookedUp};
use medusafs::model::UnixSeconds;
use medusafs::store::PoolLimits;
use medusafs::view::Rights;
use nix::errno::Errno;
use test_case::test_case;

use crate::support::tree::{EMPTY, Eyes, ME, Made, ORDERS, With, content, user};

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
