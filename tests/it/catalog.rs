//! What the catalog promises, on small stores made by hand, some of them by an enemy.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::symlink;
use std::time::{Duration, Instant};

use medusafs::catalog::{Catalog, CatalogError, CatalogSettings, Completeness, Depth};
use medusafs::medusa::Layout;
use medusafs::model::{ByteSize, UnixSeconds};
use medusafs::store::Store;
use tempfile::TempDir;

use crate::support::archive::{HandMade, backup, catalog, folder, learn, listing, node};

fn made(nodes: usize) -> (TempDir, HandMade) {
    let directory = folder();
    let root = directory.path().to_owned();
    (directory, HandMade { root, nodes })
}

#[test]
fn a_store_without_anything_has_no_backups() {
    let (directory, _) = made(0);
    let catalog = catalog(directory.path(), None);
    assert!(catalog.backups().is_empty());
    assert!(catalog.backups().latest().is_none());
}

#[test]
fn a_backup_is_seen_to_grow_and_to_go() {
    let (directory, store) = made(2);
    let catalog = catalog(directory.path(), None);
    store.node("b1", 1, 100, "[]");
    learn(&catalog);
    insta::assert_snapshot!(listing(&catalog.backups()), @" b1 full open, 1 nodes, 0 files: incomplete: nodes of the ring have no part in it: n2; the manifest of n1 names no file: its snapshot had failed");
    store.backup("b1", 100);
    learn(&catalog);
    catalog.examine(&backup("b1")).unwrap();
    assert_eq!(catalog.backups().latest().unwrap().started, UnixSeconds(100));
    assert_eq!(catalog.backups().latest().unwrap().finished, Some(UnixSeconds(101)));
    assert!(!catalog.refresh().unwrap(), "nothing is new");
    fs::remove_dir_all(directory.path().join("index/backup_index/b1")).unwrap();
    for n in ["n1", "n2"] {
        fs::remove_dir_all(directory.path().join(n).join("b1")).unwrap();
    }
    learn(&catalog);
    assert!(catalog.backups().is_empty());
}

#[test]
fn a_picture_that_is_held_never_changes() {
    let (directory, store) = made(1);
    let catalog = catalog(directory.path(), None);
    let held = catalog.backups();
    store.backup("b1", 100);
    learn(&catalog);
    assert_eq!((held.len(), catalog.backups().len()), (0, 1));
}

#[test]
fn latest_is_known_after_looking_into_the_newest_only() {
    let (directory, store) = made(1);
    for (name, started) in [("a", 100), ("b", 200), ("c", 300)] {
        store.backup(name, started);
    }
    store.node("empty", 1, 400, "[]");
    let (share, layout) = (Store::open(directory.path()).unwrap(), Layout::new(None).unwrap());
    let catalog = Catalog::new(share, layout, CatalogSettings::default());
    catalog.refresh().unwrap();
    let done = catalog.deepen(Depth::Latest, usize::MAX);
    assert!(done.is_changed && done.left == 0);
    let backups = catalog.backups();
    assert_eq!(backups.latest().unwrap().name, backup("c"));
    assert_eq!(backups.get(&backup("b")).unwrap().state, Completeness::Unexamined);
    assert_eq!(catalog.deepen(Depth::All, 1).left, 1);
}

#[test]
fn a_manifest_that_lacks_a_keyspace_of_its_schema_makes_a_backup_incomplete() {
    let (directory, store) = made(1);
    store.backup("b1", 100);
    store.write("n1/b1/meta/schema.cql", "CREATE TABLE k.t (a int); CREATE TABLE lost.t (a int);");
    insta::assert_snapshot!(listing(&catalog(directory.path(), None).backups()), @r" b1 full finished, 1 nodes, 1 files: incomplete: the manifest of n1 lacks keyspaces that its schema has: lost");
}

#[test]
fn a_backup_of_two_data_centres_needs_the_nodes_of_both() {
    let (directory, store) = made(1);
    store.backup("b1", 100);
    // Another data centre: its node has a token map of its own, and its neighbour nothing.
    let manifest = r#"[{"keyspace": "k", "columnfamily": "t-1", "objects": [{"path": "n7/b1/data/k/t-1/nb-1-big-Data.db", "MD5": null, "size": 4}]}]"#;
    store.node("b1", 7, 101, manifest);
    let tokenmap = r#"{"n7": {"tokens": [1]}, "n8": {"tokens": [2]}}"#;
    store.write("index/backup_index/b1/tokenmap_n7.json", tokenmap);
    store.write("n7/b1/meta/tokenmap.json", tokenmap);
    let catalog = catalog(directory.path(), None);
    insta::assert_snapshot!(listing(&catalog.backups()), @r" b1 full open, 2 nodes, 2 files: incomplete: nodes of the ring have no part in it: n8");
    let backups = catalog.backups();
    let ring = backups.get(&backup("b1")).unwrap().ring.clone().unwrap();
    assert_eq!(
        ring.iter().map(medusafs::model::Fqdn::as_str).collect::<Vec<_>>(),
        ["n1", "n7", "n8"]
    );
}

#[test]
fn strays_in_the_index_are_passed_over() {
    let (directory, store) = made(1);
    store.backup("b1", 100);
    for stray in [".nfs000000001234", "tmpfile", "sub/started_n1_5.timestamp", "notes_n1.txt"] {
        store.write(&format!("index/backup_index/b1/{stray}"), "x");
    }
    store.write("index/backup_index/a-file", "x");
    symlink("/etc", directory.path().join("index/backup_index/etc")).unwrap();
    let catalog = catalog(directory.path(), None);
    assert_eq!(catalog.backups().len(), 1);
    assert_eq!(catalog.backups().latest().unwrap().nodes.len(), 1);
}

#[test]
fn times_come_from_names_then_from_files() {
    let (directory, store) = made(1);
    store.backup("b1", 100);
    let index = directory.path().join("index/backup_index/b1");
    fs::remove_file(index.join("started_n1_100.timestamp")).unwrap();
    fs::remove_file(index.join("finished_n1_101.timestamp")).unwrap();
    fs::remove_file(index.join("manifest_n1.json")).unwrap();
    let share = Store::open(directory.path()).unwrap();
    let key = |path: &str| medusafs::model::ObjectKey::parse(path).unwrap();
    let at = |seconds: u64| std::time::UNIX_EPOCH + Duration::from_millis(seconds * 1000 + 999);
    share.set_modified(&key("index/backup_index/b1/schema_n1.cql"), at(7)).unwrap();
    share.set_modified(&key("n1/b1/meta/manifest.json"), at(9)).unwrap();
    let catalog = catalog(directory.path(), None);
    let backups = catalog.backups();
    let shown = backups.get(&backup("b1")).unwrap();
    assert_eq!((shown.started, shown.finished), (UnixSeconds(7), Some(UnixSeconds(9))));
}

#[test]
fn a_backup_outside_of_the_index_is_found_and_one_that_was_purged_is_not() {
    let (directory, store) = made(2);
    store.backup("b1", 100);
    fs::remove_dir_all(directory.path().join("index")).unwrap();
    // What Medusa's purge leaves.
    fs::create_dir_all(directory.path().join("n1/purged/meta")).unwrap();
    fs::create_dir_all(directory.path().join("n1/data/k")).unwrap();
    let catalog = catalog(directory.path(), None);
    assert_eq!(catalog.backups().len(), 1);
    let latest = catalog.backups().latest().unwrap().name.clone();
    assert_eq!(latest, backup("b1"));
    assert!(!catalog.backups().get(&latest).unwrap().is_indexed());
}

#[test]
fn a_scan_that_would_look_into_too_many_directories_is_cut_and_goes_on_next_time() {
    let (directory, store) = made(1);
    for name in ["a", "b", "c"] {
        store.backup(name, 100);
        fs::create_dir_all(directory.path().join(format!("n1/purged-{name}/meta"))).unwrap();
    }
    fs::remove_dir_all(directory.path().join("index")).unwrap();
    let (share, layout) = (Store::open(directory.path()).unwrap(), Layout::new(None).unwrap());
    let settings = CatalogSettings { scan_limit: 4, ..CatalogSettings::default() };
    let catalog = Catalog::new(share, layout, settings);
    catalog.find_unindexed().unwrap();
    assert!(catalog.backups().is_scan_cut());
    catalog.find_unindexed().unwrap();
    catalog.find_unindexed().unwrap();
    assert_eq!(catalog.backups().len(), 3);
}

#[test]
fn hashes_of_a_release_that_wrote_other_things_are_not_believed() {
    let (directory, store) = made(1);
    store.backup("b1", 100);
    let manifest = fs::read_to_string(directory.path().join("n1/b1/meta/manifest.json")).unwrap();
    let manifest = manifest.replace("null", r#""d1f12c37c9d318a711062bf4fee2ba71""#);
    store.write("n1/b1/meta/manifest.json", &manifest);
    let first_md5 = || {
        let catalog = catalog(directory.path(), None);
        let files = catalog.node_files(&backup("b1"), &node("n1")).unwrap();
        let table = files.tables().next().unwrap();
        table.files().next().unwrap().md5()
    };
    assert!(first_md5().is_some());
    fs::remove_file(directory.path().join("n1/b1/meta/server_version.json")).unwrap();
    assert!(first_md5().is_none());
}

#[test]
fn files_of_node_backups_are_forgotten_when_memory_is_short_and_read_again() {
    let (directory, store) = made(3);
    store.backup("b1", 100);
    let (share, layout) = (Store::open(directory.path()).unwrap(), Layout::new(None).unwrap());
    let name = backup("b1");
    let roomy = Catalog::new(share.clone(), layout.clone(), CatalogSettings::default());
    learn(&roomy);
    roomy.node_files(&name, &node("n1")).unwrap();
    // Half of it is for what is known: two of three nodes.
    let memory = ByteSize(roomy.memory().0 * 5);
    let settings = CatalogSettings { memory, ..CatalogSettings::default() };
    let catalog = Catalog::new(share, layout, settings);
    learn(&catalog);
    for n in ["n1", "n2", "n3"] {
        catalog.node_files(&name, &node(n)).unwrap();
        assert!(catalog.memory() <= settings.memory);
    }
    assert!(catalog.node_files_cached(&name, &node("n1")).is_none());
    assert!(catalog.node_files_cached(&name, &node("n3")).is_some());
    assert_eq!(catalog.node_files(&name, &node("n1")).unwrap().len(), 1);
}

#[test]
fn a_manifest_that_changed_is_read_again() {
    let (directory, store) = made(1);
    store.backup("b1", 100);
    let catalog = catalog(directory.path(), None);
    let name = backup("b1");
    assert_eq!(catalog.node_files(&name, &node("n1")).unwrap().len(), 1);
    store.write("n1/b1/meta/manifest.json", "[]");
    assert_eq!(catalog.node_files(&name, &node("n1")).unwrap().len(), 0);
    catalog.examine(&name).unwrap();
    assert!(catalog.backups().latest().is_none(), "never a backup of nothing");
}

#[test]
fn an_enemy_s_manifests_make_their_own_backup_unreadable_and_no_other() {
    let (directory, store) = made(1);
    store.backup("good", 100);
    let outside = r#"[{"keyspace": "k", "columnfamily": "t-1", "objects": [{"path": "n1/../../etc/passwd", "MD5": null, "size": 4}, {"path": "/etc/passwd", "MD5": null, "size": 4}, {"path": "n2/data/k/t-1/x", "MD5": null, "size": 4}]}]"#;
    store.node("outside", 1, 200, outside);
    store.node("deep", 1, 300, &"[".repeat(100_000));
    store.node("half", 1, 400, r#"[{"keyspace": "k", "columnf"#);
    store.node("large", 1, 500, "[");
    for path in ["n1/large/meta/manifest.json", "index/backup_index/large/manifest_n1.json"] {
        let file = fs::OpenOptions::new().write(true).open(directory.path().join(path)).unwrap();
        file.set_len((1 << 30) + 1).unwrap();
    }
    store.node("pipe", 1, 600, "[]");
    let (pipe, device) = ("n1/pipe/meta/manifest.json", "index/backup_index/pipe/manifest_n1.json");
    fs::remove_file(directory.path().join(pipe)).unwrap();
    nix::unistd::mkfifo(&directory.path().join(pipe), nix::sys::stat::Mode::S_IRWXU).unwrap();
    fs::remove_file(directory.path().join(device)).unwrap();
    symlink("/dev/zero", directory.path().join(device)).unwrap();
    let begun = Instant::now();
    let catalog = catalog(directory.path(), None);
    assert!(begun.elapsed() < Duration::from_secs(5), "nothing was waited for, nothing read on");
    let shown = catalog.backups();
    assert_eq!(shown.latest().unwrap().name, backup("good"));
    for name in ["deep", "half", "large", "pipe"] {
        assert!(catalog.node_files(&backup(name), &node("n1")).is_err(), "{name}");
    }
    let files = catalog.node_files(&backup("outside"), &node("n1")).unwrap();
    assert_eq!((files.len(), files.refused_count()), (0, 3));
    insta::assert_snapshot!(listing(&shown), @r"
     deep full finished, 1 nodes, ? files: incomplete: the manifest of n1 cannot be read: the manifest is nested deeper than 8 levels
    *good full finished, 1 nodes, 1 files: complete
     half full finished, 1 nodes, ? files: incomplete: the manifest of n1 cannot be read: the manifest is not as Medusa writes it: EOF while parsing a string at line 1 column 27
     large full finished, 1 nodes, ? files: incomplete: the manifest of n1 cannot be read: the manifest is larger than 1.0 GB
     outside full finished, 1 nodes, 3 files: incomplete: the manifest of n1 names 3 entries that are not shown, for they lie elsewhere, no directory could hold them, or two have one name: it cannot be restored by copying
     pipe full finished, 1 nodes, ? files: incomplete: the manifest of n1 cannot be read: cannot open index/backup_index/pipe/manifest_n1.json: a link is in the way, and links are not followed: Too many levels of symbolic links (os error 40)
    ");
}

#[test]
fn a_node_s_directory_that_is_a_link_out_of_the_store_is_not_followed() {
    let (directory, store) = made(1);
    store.backup("b1", 100);
    let outside = folder();
    fs::rename(directory.path().join("n1"), outside.path().join("n1")).unwrap();
    symlink(outside.path().join("n1"), directory.path().join("n1")).unwrap();
    let catalog = catalog(directory.path(), None);
    assert!(catalog.backups().latest().is_none());
    // The index's copy of the manifest can be read; what it names cannot.
    let files = catalog.node_files(&backup("b1"), &node("n1")).unwrap();
    let table = files.tables().next().unwrap();
    let file = table.files().next().unwrap();
    assert!(catalog.open_file(&backup("b1"), &node("n1"), file).is_err());
}

#[test]
fn two_entries_with_one_name_make_a_backup_incomplete_for_only_one_can_be_shown() {
    let (directory, store) = made(1);
    store.backup("fine", 100);
    let entry = |path: &str| format!(r#"{{"path": "n1/{path}", "MD5": null, "size": 4}}"#);
    let cases = [
        ("elsewhere", ["data/k/t-1/a.db", "data/k/t-1/a.db", "data/k/t-2/a.db"]),
        ("as-an-index", ["data/k/t-1/.idx", "data/k/t-1/.idx/a.db", "data/k/t-1/a.db"]),
    ];
    for (name, paths) in cases {
        let objects = paths.map(|path| entry(&format!("{name}/{path}"))).join(", ");
        let manifest =
            format!(r#"[{{"keyspace": "k", "columnfamily": "t-1", "objects": [{objects}]}}]"#);
        store.node(name, 1, 200, &manifest);
    }
    let catalog = catalog(directory.path(), None);
    let shown = catalog.backups();
    assert_eq!(shown.latest().unwrap().name, backup("fine"));
    for (name, _) in cases {
        let state = &shown.get(&backup(name)).unwrap().state;
        let Completeness::Incomplete(reasons) = state else { panic!("{state:?}") };
        let words = reasons[0].to_string();
        assert!(words.contains("names 1 entries that are not shown"), "{words}");
        let files = catalog.node_files(&backup(name), &node("n1")).unwrap();
        assert_eq!(files.refused_count(), 1, "as the listing has it");
    }
}

#[test]
fn what_has_not_finished_for_a_day_is_asked_for_now_and_then() {
    let (directory, store) = made(1);
    for name in ["new", "stuck"] {
        store.backup(name, 100);
    }
    let root = directory.path();
    for file in ["finished_n1_101.timestamp", "manifest_n1.json"] {
        fs::remove_file(root.join("index/backup_index/stuck").join(file)).unwrap();
    }
    let manifest = root.join("n1/stuck/meta/manifest.json");
    let text = fs::read(&manifest).unwrap();
    fs::remove_file(&manifest).unwrap();
    let (share, layout) = (Store::open(root).unwrap(), Layout::new(None).unwrap());
    let index = layout.backup_index_of(&backup("stuck")).unwrap();
    share.set_modified(&index, std::time::UNIX_EPOCH + Duration::from_secs(100)).unwrap();
    let catalog = Catalog::new(share, layout, CatalogSettings::default());
    let is_finished = || {
        catalog.refresh().unwrap();
        catalog.backups().get(&backup("stuck")).unwrap().finished.is_some()
    };
    assert!(!is_finished());
    fs::write(&manifest, text).unwrap();
    let scans = (1..100).find(|_| is_finished()).unwrap();
    assert_eq!(scans, 30);
    assert!(is_finished(), "nor is it forgotten");
}

#[test]
fn a_name_that_nobody_has_is_said_to_be_nobody_s() {
    let (directory, store) = made(1);
    store.backup("b1", 100);
    let catalog = catalog(directory.path(), None);
    let files = |name: &str, fqdn: &str| catalog.node_files(&backup(name), &node(fqdn));
    assert!(matches!(files("b2", "n1"), Err(CatalogError::NoBackup(_))));
    assert!(matches!(files("b1", "n2"), Err(CatalogError::NoNode(..))));
}

#[test]
fn what_a_node_stored_of_the_ring_the_schema_and_its_server_can_be_asked_for() {
    let (directory, store) = made(2);
    store.backup("b1", 100);
    fs::remove_file(directory.path().join("n1/b1/meta/schema.cql")).unwrap();
    fs::remove_file(directory.path().join("n2/b1/meta/server_version.json")).unwrap();
    let catalog = catalog(directory.path(), None);
    let name = backup("b1");
    assert_eq!(catalog.tokenmap(&name, &node("n1")).unwrap().len(), 2);
    assert!(catalog.schema(&name, &node("n1")).unwrap().starts_with("CREATE"), "the index's copy");
    let version = catalog.server_version(&name, &node("n1")).unwrap().unwrap();
    assert_eq!(version.major(), Some(5));
    assert_eq!(catalog.server_version(&name, &node("n2")).unwrap(), None);
}

#[test]
fn a_thousand_backups_of_three_nodes_are_listed_fast_and_again_without_reading_them() {
    let (directory, store) = made(3);
    for day in 0..1000 {
        store.backup(&format!("b{day:04}"), 1000 + day);
    }
    let (share, layout) = (Store::open(directory.path()).unwrap(), Layout::new(None).unwrap());
    // All but the newest are old.
    for day in 0..999 {
        let index = layout.backup_index_of(&backup(&format!("b{day:04}"))).unwrap();
        share.set_modified(&index, std::time::UNIX_EPOCH + Duration::from_secs(day)).unwrap();
    }
    let catalog = Catalog::new(share, layout, CatalogSettings::default());
    let timed = |doing: &str, work: &dyn Fn() -> bool| {
        let begun = Instant::now();
        assert!(work(), "{doing}");
        println!("{doing}: {:?}", begun.elapsed());
        begun.elapsed()
    };
    timed("first refresh", &|| catalog.refresh().unwrap());
    assert_eq!(catalog.backups().len(), 1000);
    let latest = timed("latest", &|| catalog.deepen(Depth::Latest, usize::MAX).is_changed);
    assert!(latest < Duration::from_secs(1), "{latest:?}");
    assert_eq!(catalog.backups().latest().unwrap().name, backup("b0999"));
    timed("second refresh", &|| !catalog.refresh().unwrap());
    timed("unindexed", &|| !catalog.find_unindexed().unwrap());
    timed("deepen all", &|| catalog.deepen(Depth::All, usize::MAX).is_changed);
    let third = timed("third refresh", &|| !catalog.refresh().unwrap());
    assert!(third < Duration::from_secs(1), "{third:?}");
    let nodes: BTreeSet<_> = catalog.backups().nodes().cloned().collect();
    assert_eq!(nodes.len(), 3);
}
