//! What real Medusa wrote is listed, read to the last byte, and would be written the same.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use medusafs::catalog::TableRef;
use medusafs::medusa::{
    ManifestVisitor, ManifestWriter, Mode, RecordedHash, ServerVersion, Tokenmap, read_manifest,
};
use medusafs::model::{Keyspace, Md5, ObjectKey, TableDirectory};

use crate::support::archive::{archives, backup, catalog, learn, listing, node, unpack, unpacked};

fn prefix_of(archive: &Path) -> Option<&'static str> {
    archive.to_str().unwrap().contains("prefix").then_some("east")
}

fn files_below(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { found.extend(files_below(&path)) } else { found.push(path) }
    }
    found.sort();
    found
}

#[test]
fn a_whole_store_is_listed_and_latest_is_no_backup_of_nothing() {
    let store = unpacked("whole");
    let catalog = catalog(store.path(), None);
    insta::assert_snapshot!(listing(&catalog.backups()), @r"
     diff1 differential finished, 3 nodes, 168 files: complete
    *diff2 differential finished, 3 nodes, 216 files: complete
     empty1 differential finished, 3 nodes, 0 files: incomplete: the manifest of node1.example.com names no file: its snapshot had failed; the manifest of node2.example.com names no file: its snapshot had failed; the manifest of node3.example.com names no file: its snapshot had failed
     full1 full finished, 3 nodes, 168 files: complete
     inc1 differential open, 2 nodes, ? files: incomplete: nodes of the ring have no part in it: node3.example.com; nodes have not finished: node2.example.com
    ");
}

#[test]
fn a_store_with_a_prefix_is_listed() {
    let store = unpacked("prefix");
    let catalog = catalog(store.path(), Some("east"));
    insta::assert_snapshot!(listing(&catalog.backups()), @r"
    *diff1 differential finished, 3 nodes, 216 files: complete
     full1 full finished, 3 nodes, 216 files: complete
    ");
}

#[test]
fn a_store_that_lost_its_index_shows_all_its_backups() {
    let store = unpacked("index-lost");
    let catalog = catalog(store.path(), None);
    insta::assert_snapshot!(listing(&catalog.backups()), @r"
     diff1 differential finished, 3 nodes, 168 files, not in the index: complete
    *diff2 differential finished, 3 nodes, 216 files, not in the index: complete
     empty1 differential finished, 3 nodes, 0 files, not in the index: incomplete: the manifest of node1.example.com names no file: its snapshot had failed; the manifest of node2.example.com names no file: its snapshot had failed; the manifest of node3.example.com names no file: its snapshot had failed
     full1 full finished, 3 nodes, 168 files, not in the index: complete
     inc1 differential open, 2 nodes, ? files, not in the index: incomplete: nodes of the ring have no part in it: node3.example.com; nodes have not finished: node2.example.com
    ");
}

#[test]
fn a_differential_backup_stays_one_when_a_rebuilt_index_calls_it_full() {
    let store = unpacked("index-rebuilt");
    let catalog = catalog(store.path(), None);
    let backups = catalog.backups();
    assert_eq!(backups.get(&backup("diff2")).unwrap().mode, Mode::Differential);
    insta::assert_snapshot!(listing(&backups), @r"
     diff1 differential finished, 3 nodes, 168 files: complete
    *diff2 differential finished, 3 nodes, 216 files: complete
     empty1 differential finished, 3 nodes, 0 files: incomplete: the manifest of node1.example.com names no file: its snapshot had failed; the manifest of node2.example.com names no file: its snapshot had failed; the manifest of node3.example.com names no file: its snapshot had failed
     full1 full finished, 3 nodes, 168 files: complete
     inc1 differential open, 2 nodes, ? files, not in the index: incomplete: nodes of the ring have no part in it: node3.example.com; nodes have not finished: node2.example.com
    ");
}

#[test]
fn every_file_of_every_archive_is_found_and_has_the_size_and_content_that_were_recorded() {
    let mut read = 0;
    for archive in archives() {
        let store = unpack(&archive);
        let catalog = catalog(store.path(), prefix_of(&archive));
        for backup in catalog.backups().iter() {
            for (fqdn, _) in backup.nodes.iter().filter(|(_, node)| node.finished.is_some()) {
                let files = catalog.node_files(&backup.name, fqdn).unwrap();
                assert_eq!((files.refused_count(), files.meta().len()), (0, 4));
                for file in files.tables().flat_map(TableRef::files) {
                    let mut opened = catalog.open_file(&backup.name, fqdn, file).unwrap();
                    let mut bytes = Vec::new();
                    opened.file.read_to_end(&mut bytes).unwrap();
                    assert_eq!((opened.stat.size, bytes.len() as u64), (file.size(), file.size()));
                    if let Some(recorded) = file.md5() {
                        assert_eq!(md5(&bytes), recorded, "{}", file.key());
                    }
                    read += 1;
                }
            }
        }
        assert!(catalog.backups().iter().all(|backup| backup.damage.is_empty()));
    }
    assert!(read > 1000, "{read} files");
}

fn md5(bytes: &[u8]) -> Md5 {
    use md5::Digest as _;
    Md5(md5::Md5::digest(bytes).into())
}

#[test]
fn a_table_s_secondary_index_is_a_directory_in_it_and_an_empty_table_is_there() {
    let store = unpacked("whole");
    let catalog = catalog(store.path(), None);
    let files = catalog.node_files(&backup("diff2"), &node("node1.example.com")).unwrap();
    let orders = files.table("shop", "orders-1b255f4def2540a60000000000000005").unwrap();
    assert_eq!(orders.indexes().collect::<Vec<_>>(), [".orders_status_idx"]);
    assert_eq!(orders.files_in(Some(".orders_status_idx")).len(), 16);
    let empty = files.table("shop", "empty_table-3b255f4def2540a60000000000000007").unwrap();
    assert_eq!(empty.files().len(), 0);
    let keyspaces: Vec<_> = files.keyspaces().map(Keyspace::as_str).collect();
    assert_eq!(keyspaces, ["Camel", "shop", "system", "system_auth", "system_schema"]);
}

#[test]
fn what_medusa_wrote_would_be_written_byte_for_byte_the_same() {
    let mut compared = 0;
    for archive in archives() {
        let store = unpack(&archive);
        for path in files_below(store.path()) {
            let name = path.file_name().unwrap().to_str().unwrap();
            if Path::new(name).extension().is_none_or(|ending| ending != "json") {
                continue;
            }
            let bytes = fs::read(&path).unwrap();
            let again = if name.starts_with("manifest") {
                rewritten(&bytes)
            } else if name.starts_with("tokenmap") {
                Tokenmap::parse(&bytes).unwrap().to_json().into_bytes()
            } else {
                ServerVersion::parse(&bytes).unwrap().to_json().into_bytes()
            };
            assert_eq!(again, bytes, "{}", path.display());
            compared += 1;
        }
    }
    assert!(compared > 100, "{compared} files");
}

/// Writes a manifest again as it is read.
struct Rewriter {
    writer: ManifestWriter<Vec<u8>>,
    objects: Vec<(ObjectKey, u64, Option<Md5>)>,
}

impl ManifestVisitor for Rewriter {
    fn object(&mut self, path: &str, size: u64, hash: RecordedHash) {
        self.objects.push((ObjectKey::parse(path).unwrap(), size, hash.content()));
    }

    fn section(&mut self, keyspace: &str, columnfamily: &str) {
        let keyspace = Keyspace::parse(keyspace).unwrap();
        let table = TableDirectory::parse(columnfamily).unwrap();
        self.writer.section(&keyspace, &table).unwrap();
        for (key, size, md5) in self.objects.drain(..) {
            self.writer.object(&key, size, md5).unwrap();
        }
    }
}

fn rewritten(manifest: &[u8]) -> Vec<u8> {
    let writer = ManifestWriter::new(Vec::new()).unwrap();
    let mut rewriter = Rewriter { writer, objects: Vec::new() };
    read_manifest(manifest, &mut rewriter).unwrap();
    rewriter.writer.finish().unwrap()
}

#[test]
fn a_purged_node_makes_a_backup_incomplete_when_it_is_looked_at_again() {
    let store = unpacked("whole");
    let catalog = catalog(store.path(), None);
    let index = store.path().join("index/backup_index/diff2");
    for path in files_below(&index) {
        if path.to_str().unwrap().contains("_node3.example.com") {
            fs::remove_file(path).unwrap();
        }
    }
    fs::remove_dir_all(store.path().join("node3.example.com/diff2")).unwrap();
    learn(&catalog);
    let backups = catalog.backups();
    assert_eq!(backups.latest().unwrap().name, backup("diff1"));
    assert_eq!(backups.of_node(&node("node3.example.com")).count(), 3);
}
