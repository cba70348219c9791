//! Delete, truncate, garble each kind of object: what still works, in one table.

use std::fmt::Write as _;
use std::fs;
use std::io::Read;
use std::path::Path;

use medusafs::catalog::{Catalog, TableRef};
use medusafs::model::Fqdn;

use crate::support::archive::{backup, catalog, listing, node, unpacked};

const DATA: &str =
    "node1.example.com/data/shop/orders-1b255f4def2540a60000000000000005/nb-2-big-Data.db";

/// What stands in the store of `diff2` and node 1, the latest complete backup.
fn objects(store: &Path) -> Vec<String> {
    let mut objects = Vec::new();
    let mut add = |directory: &str, of_node: bool| {
        let mut names: Vec<_> = fs::read_dir(store.join(directory))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| !of_node || name.contains("_node1.example.com"))
            .collect();
        names.sort();
        objects.extend(names.into_iter().map(|name| format!("{directory}/{name}")));
    };
    add("node1.example.com/diff2/meta", false);
    add("index/backup_index/diff2", true);
    add("index/latest_backup/node1.example.com", false);
    objects.push(DATA.to_owned());
    objects
}

fn hurt(action: &str, path: &Path) {
    let len = fs::metadata(path).unwrap().len();
    match action {
        "delete" => fs::remove_file(path).unwrap(),
        "truncate" => {
            fs::OpenOptions::new().write(true).open(path).unwrap().set_len(len / 2).unwrap();
        }
        _ => fs::write(path, vec![0xfe; usize::try_from(len).unwrap()]).unwrap(),
    }
}

/// How many of a node's files can be opened and have the size they should.
fn readable(catalog: &Catalog, fqdn: &Fqdn) -> String {
    let files = match catalog.node_files(&backup("diff2"), fqdn) {
        Ok(files) => files,
        Err(error) => return error.to_string(),
    };
    let (mut good, mut all) = (0, 0);
    for file in files.tables().flat_map(TableRef::files) {
        all += 1;
        let mut bytes = Vec::new();
        if let Ok(mut opened) = catalog.open_file(&backup("diff2"), fqdn, file) {
            opened.file.read_to_end(&mut bytes).unwrap();
            good += usize::from(bytes.len() as u64 == file.size());
        }
    }
    format!("{good} of {all} files read")
}

#[test]
fn what_still_works_when_one_object_is_damaged() {
    let mut table = String::new();
    let whole = unpacked("whole");
    for object in objects(whole.path()) {
        for action in ["delete", "truncate", "garble"] {
            let store = unpacked("whole");
            hurt(action, &store.path().join(&object));
            let catalog = catalog(store.path(), None);
            let read = readable(&catalog, &node("node1.example.com"));
            let backups = catalog.backups();
            // The others never notice.
            for other in ["full1", "diff1"] {
                assert!(backups.get(&backup(other)).unwrap().is_good(), "{action} {object}");
            }
            let shown = listing(&backups);
            let line = shown.lines().find(|line| line.contains("diff2")).unwrap();
            // Times are of the day when the archive was made.
            let object = object.replace(|c: char| c.is_ascii_digit(), "#");
            writeln!(table, "{action} {object}\n    {read}\n    {line}").unwrap();
        }
    }
    insta::assert_snapshot!(table);
}

#[test]
fn a_pool_file_that_was_written_over_is_told_by_its_size_and_makes_the_backup_damaged() {
    let store = unpacked("whole");
    let catalog = catalog(store.path(), None);
    let before = fs::read(store.path().join(DATA)).unwrap();
    fs::write(store.path().join(DATA), "longer than any of the files was before: ".repeat(9))
        .unwrap();
    let fqdn = node("node1.example.com");
    let files = catalog.node_files(&backup("diff2"), &fqdn).unwrap();
    let table = files.table("shop", "orders-1b255f4def2540a60000000000000005").unwrap();
    let file = table.file(None, "nb-2-big-Data.db").unwrap();
    let stat = |catalog: &Catalog| catalog.stat_files(&backup("diff2"), &fqdn, &[file]).unwrap();
    assert_eq!(stat(&catalog)[0].unwrap().size, 369, "stat tells the truth");
    let shown = catalog.backups();
    assert!(!shown.get(&backup("diff2")).unwrap().is_good());
    assert_eq!(shown.latest().unwrap().name, backup("diff1"));
    assert!(!catalog.look_at_damage_again(9).unwrap(), "it still is");
    fs::write(store.path().join(DATA), before).unwrap();
    assert!(catalog.look_at_damage_again(9).unwrap());
    assert_eq!(catalog.backups().latest().unwrap().name, backup("diff2"));
}

/// Whether `diff2` is good when a component of its SSTable was written over.
fn is_good_with(component: &str, bytes: &str) -> bool {
    let store = unpacked("whole");
    let catalog = catalog(store.path(), None);
    fs::write(store.path().join(DATA.replace("Data.db", component)), bytes).unwrap();
    let fqdn = node("node1.example.com");
    let files = catalog.node_files(&backup("diff2"), &fqdn).unwrap();
    let table = files.table("shop", "orders-1b255f4def2540a60000000000000005").unwrap();
    let file = table.file(None, &format!("nb-2-big-{component}")).unwrap();
    let stat = catalog.stat_files(&backup("diff2"), &fqdn, &[file]).unwrap();
    assert_eq!(stat[0].unwrap().size, bytes.len() as u64);
    catalog.backups().get(&backup("diff2")).unwrap().is_good()
}

#[test]
fn statistics_that_cassandra_wrote_anew_are_no_damage() {
    for component in ["Statistics.db", "Summary.db", "TOC.txt"] {
        assert!(is_good_with(component, "other"), "{component}");
        assert!(!is_good_with(component, ""), "an empty {component}");
    }
    assert!(!is_good_with("Index.db", "other"));
}

#[test]
fn an_index_that_tells_of_a_directory_that_is_gone_is_not_believed() {
    let store = unpacked("whole");
    fs::remove_dir_all(store.path().join("node2.example.com/diff2")).unwrap();
    let catalog = catalog(store.path(), None);
    let shown = listing(&catalog.backups());
    let line = shown.lines().find(|line| line.contains("diff2")).unwrap();
    insta::assert_snapshot!(line.trim(), @"diff2 differential finished, 3 nodes, ? files: incomplete: node2.example.com is in the index, but its directory in the store is gone");
}
