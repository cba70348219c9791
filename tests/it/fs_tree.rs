//! The tree and its files, without a kernel: what `fs_semantics` leaves.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;

use medusafs::fs::{BackupBy, LookedUp};
use medusafs::model::{Fqdn, JobState, JobStatus, NodeStatus, Phase, Progress, UnixSeconds};
use medusafs::view::Kind;
use nix::errno::Errno;

use crate::support::tree::{Eyes, ME, Made, ORDERS, With, content, job};

fn nodes(names: &[&str]) -> Vec<Fqdn> {
    names.iter().map(|name| Fqdn::parse(name).unwrap()).collect()
}

#[tokio::test]
async fn restore_has_a_directory_for_every_node_of_the_ring() {
    let made = Made::usual();
    made.node("ancient", "n3", 1_790_000_000, true, 1);
    let eyes = Eyes::on(&made).await;
    // No ring was ever seen: that of the newest backup counts.
    assert_eq!(eyes.names("restore").await, ["n1", "n2"]);
    *eyes.jobs.ring.lock() = Some(nodes(&["n1", "n9"]));
    eyes.look().await;
    assert_eq!(eyes.names("restore").await, ["n1", "n9"]);
    assert_eq!(eyes.names("import").await, ["n1", "n9"]);
    assert_eq!(eyes.attr("restore/n2").await, Err(Errno::ENOENT));
}

#[tokio::test]
async fn a_node_that_left_the_ring_is_still_looked_at() {
    let made = Made::usual();
    made.node("ancient", "n3", 1_790_000_000, true, 1);
    let eyes = Eyes::on(&made).await;
    *eyes.jobs.ring.lock() = Some(nodes(&["n1", "n9"]));
    eyes.look().await;
    assert_eq!(eyes.names("nodes").await, ["n1", "n2", "n3", "n9"]);
    assert_eq!(eyes.names("nodes/n3").await, ["ancient"]);
    assert_eq!(eyes.names("nodes/n9").await, [""; 0]);
    let data = format!("nodes/n3/ancient/shop/{ORDERS}/nb-0-big-Data.db");
    assert_eq!(eyes.text(&data).await.unwrap(), content("n3", 0));
}

#[tokio::test]
async fn control_files_are_lines_of_text_or_are_written_to() {
    let made = Made::usual();
    let eyes = Eyes::on(&made).await;
    let mut seen = 0;
    for owner in
        ["", "backups/new", "backups/new/n1", "nodes/n1", "restore", "restore/n1", "import/n1"]
    {
        for name in eyes.names(&format!("{owner}/.medusa")).await {
            let path = format!("{owner}/.medusa/{name}");
            let attr = eyes.attr(&path).await.unwrap();
            if attr.kind == Kind::Directory || name == "wait" {
                continue;
            }
            seen += 1;
            if attr.mode & 0o222 != 0 {
                assert_eq!(eyes.open(&path).await, Err(Errno::EACCES), "{path}");
                continue;
            }
            let text = eyes.text(&path).await.unwrap();
            assert!(text.is_empty() || text.ends_with('\n'), "{path}: {text:?}");
            // `stat` says before what a read then gives.
            assert_eq!(attr.size, u64::try_from(text.len()).unwrap(), "{path}");
        }
    }
    assert!(seen > 50, "{seen}");
    for file in ["state", "progress", "nodes", "status.json", "log", "error", "wait"] {
        for owner in ["backups/new", "backups/new/n1", "nodes/n1", "restore/n1", "import/n1"] {
            eyes.attr(&format!("{owner}/.medusa/{file}")).await.unwrap();
        }
    }
    assert_eq!(eyes.text("backups/new/.medusa/verified").await.unwrap(), "never\n");
}

#[tokio::test]
async fn metrics_are_openmetrics_text() {
    let made = Made::usual();
    let eyes = Eyes::on(&made).await;
    let text = eyes.text(".medusa/metrics").await.unwrap();
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(lines.last(), Some(&"# EOF"));
    for family in lines[..lines.len() - 1].chunks(3) {
        let name = family[2].split(' ').next().unwrap();
        assert_eq!(family[0], format!("# TYPE {name} gauge"));
        assert!(family[1].starts_with(&format!("# HELP {name} ")), "{}", family[1]);
        family[2].split(' ').nth(1).unwrap().parse::<f64>().unwrap();
    }
    assert!(text.contains("\nmedusafs_backups 3\n"), "{text}");
}

#[tokio::test]
async fn a_mount_without_a_cluster_says_that_it_is_for_looking() {
    let made = Made::usual();
    let eyes = Eyes::with(&made, With { backup: BackupBy::NoCluster, ..With::default() }).await;
    assert!(eyes.text("README").await.unwrap().ends_with("it is for looking only.\n"));
}

#[tokio::test]
async fn stored_bytes_are_read_at_any_offset() {
    let made = Made::usual();
    let long: String = (b'a'..b'x').cycle().map(char::from).take(300_000).collect();
    let manifest = format!(
        r#"[{{"keyspace": "shop", "columnfamily": "{ORDERS}", "objects": [{{"path": "n1/long/data/shop/{ORDERS}/nb-1-big-Data.db", "MD5": null, "size": 300000}}]}}]"#
    );
    made.write(&format!("n1/long/data/shop/{ORDERS}/nb-1-big-Data.db"), &long);
    made.publish("long", "n1", 1_795_200_000, true, &manifest);
    let eyes = Eyes::on(&made).await;
    let path = format!("backups/long/n1/shop/{ORDERS}/nb-1-big-Data.db");
    let handle = eyes.open(&path).await.unwrap();
    for (from, size) in [(0_usize, 300_000_usize), (1, 4095), (131_072, 131_073), (299_999, 9)] {
        let offset = u64::try_from(from).unwrap();
        let read = eyes.fs.read(ME, handle, offset, u32::try_from(size).unwrap()).await.unwrap();
        let to = (from + size).min(long.len());
        assert!(read == long.as_bytes()[from..to], "{from} {size}");
    }
    assert_eq!(eyes.fs.read(ME, handle, 300_000, 9).await.unwrap(), b"");
    assert_eq!(eyes.fs.read(ME, handle, 1 << 40, 9).await.unwrap(), b"");
}

#[tokio::test]
async fn a_file_that_gets_shorter_while_it_is_open_is_an_error_and_damage() {
    let made = Made::usual();
    let eyes = Eyes::on(&made).await;
    let handle =
        eyes.open(&format!("backups/new/n1/shop/{ORDERS}/nb-8-big-Data.db")).await.unwrap();
    let stored = made.root().join(format!("n1/data/shop/{ORDERS}/nb-8-big-Data.db"));
    fs::OpenOptions::new().write(true).open(stored).unwrap().set_len(3).unwrap();
    let read = eyes.fs.read(ME, handle, 0, 4096).await.map_err(|error| error.errno());
    assert_eq!(read, Err(Errno::EIO));
    assert_eq!(eyes.text("backups/new/.medusa/state").await.unwrap(), "damaged\n");
}

#[tokio::test]
async fn a_name_that_cannot_be_is_not_there() {
    let made = Made::usual();
    let eyes = Eyes::on(&made).await;
    let backups = eyes.ino("backups").await;
    for name in [&b"\xff\xfe"[..], b"a b", b"\n", b"newer", b"ne", b"NEW"] {
        let looked = eyes.fs.lookup(ME, backups, OsStr::from_bytes(name)).await.unwrap();
        assert!(matches!(looked, LookedUp::Absent(_)), "{name:?}");
    }
    let long = "x".repeat(256);
    let looked = eyes.fs.lookup(ME, backups, OsStr::new(&long)).await;
    assert_eq!(looked.map(|_| ()).map_err(|error| error.errno()), Err(Errno::ENAMETOOLONG));
}

#[tokio::test]
async fn df_shows_the_share() {
    let made = Made::usual();
    let eyes = Eyes::on(&made).await;
    let share = nix::sys::statvfs::statvfs(made.root()).unwrap();
    let said = eyes.fs.statfs();
    assert_eq!(said.total, share.blocks() * share.fragment_size());
    assert!(said.available > 0 && said.available <= said.total);
}

#[tokio::test]
async fn a_backup_that_lacks_a_node_is_looked_at_by_table_and_a_bad_manifest_is_left_out() {
    let made = Made::usual();
    made.node("half", "n1", 1_795_200_000, true, 1);
    made.node("marred", "n1", 1_795_210_000, true, 1);
    made.publish("marred", "n2", 1_795_210_000, true, "[[[[[[[[[[[[");
    let eyes = Eyes::on(&made).await;
    let backups = eyes.names("keyspaces/shop/orders").await;
    assert_eq!(backups, ["half", "marred", "new", "old", "whole"]);
    for backup in ["half", "marred"] {
        assert_eq!(eyes.names(&format!("keyspaces/shop/orders/{backup}")).await, ["n1"]);
        let data = format!("keyspaces/shop/orders/{backup}/n1/nb-0-big-Data.db");
        assert_eq!(eyes.text(&data).await.unwrap(), content("n1", 0));
    }
    assert_eq!(eyes.attr("keyspaces/shop/orders/marred/n3").await, Err(Errno::ENOENT));
}

#[tokio::test]
async fn what_a_job_found_wanting_is_incomplete_and_not_latest_until_it_is_added() {
    let made = Made::usual();
    let eyes = Eyes::on(&made).await;
    let status = |name: &str, state| NodeStatus {
        name: Fqdn::parse(name).unwrap(),
        state,
        phase: Phase::Publish,
        progress: Progress::default(),
        seconds: 5,
        error: None,
    };
    let nodes = vec![
        status("n1", JobState::Complete),
        status("n2", JobState::Complete),
        // Of another data centre, whose token map nobody has stored.
        status("n7", JobState::Failed),
    ];
    let finished = Some(UnixSeconds(1_795_100_100));
    let first = JobStatus { nodes, finished, ..job("new", JobState::Incomplete) };
    eyes.jobs.show(vec![first.clone()]);
    let state = async || eyes.text("backups/new/.medusa/state").await.unwrap();
    let latest = async || {
        let latest = eyes.ino("backups/latest").await;
        String::from_utf8(eyes.fs.readlink(latest).unwrap()).unwrap()
    };
    assert_eq!((state().await.as_str(), latest().await.as_str()), ("incomplete\n", "whole"));
    let lines = eyes.text("backups/new/.medusa/nodes").await.unwrap();
    assert!(lines.contains("\nn7\tfailed\t"), "{lines}");
    let added = JobStatus {
        node: Some(Fqdn::parse("n7").unwrap()),
        nodes: vec![status("n7", JobState::Complete)],
        finished: Some(UnixSeconds(1_795_100_200)),
        ..job("new", JobState::Complete)
    };
    eyes.jobs.show(vec![first, added]);
    assert_eq!((state().await.as_str(), latest().await.as_str()), ("complete\n", "new"));
}
