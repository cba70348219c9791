//! Stores to look at: those that real Medusa wrote, and small ones made by hand.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use medusafs::catalog::{Backups, Catalog, CatalogSettings, Completeness, Depth};
use medusafs::medusa::Layout;
use medusafs::model::{BackupName, Fqdn};
use medusafs::store::Store;
use tempfile::TempDir;

/// Every archive that real Medusa wrote, by release and name.
pub(crate) fn archives() -> Vec<PathBuf> {
    let mut found = Vec::new();
    for release in fs::read_dir("tests/fixtures").unwrap().map(|entry| entry.unwrap().path()) {
        let name = release.file_name().unwrap().to_str().unwrap();
        if name.starts_with("medusa-") {
            found.extend(fs::read_dir(&release).unwrap().map(|entry| entry.unwrap().path()));
        }
    }
    found.sort();
    found
}

/// A directory that goes away; in memory where the system has such a place, for what is tested
/// here is how much is read, not how fast a disk forgets.
pub(crate) fn folder() -> TempDir {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() {
        tempfile::tempdir_in(memory).unwrap()
    } else {
        tempfile::tempdir().unwrap()
    }
}

/// One of them, unpacked.
#[expect(clippy::disallowed_methods, reason = "tar is no child of the program under test")]
pub(crate) fn unpack(archive: &Path) -> TempDir {
    let store = folder();
    let mut tar = std::process::Command::new("tar");
    let status = tar.arg("-xzf").arg(archive).arg("-C").arg(store.path()).status().unwrap();
    assert!(status.success(), "{}", archive.display());
    store
}

/// The archive of today's release of that name, unpacked.
pub(crate) fn unpacked(name: &str) -> TempDir {
    unpack(&Path::new("tests/fixtures/medusa-0.31.0").join(format!("{name}.tar.gz")))
}

/// A catalog of the store at `root` that knows all there is to know.
pub(crate) fn catalog(root: &Path, prefix: Option<&str>) -> Catalog {
    let store = Store::open(root).unwrap();
    let layout = Layout::new(prefix).unwrap();
    let catalog = Catalog::new(store, layout, CatalogSettings::default());
    learn(&catalog);
    catalog
}

/// Learns all there is to know now.
pub(crate) fn learn(catalog: &Catalog) {
    catalog.refresh().unwrap();
    catalog.find_unindexed().unwrap();
    let done = catalog.deepen(Depth::All, usize::MAX);
    assert!(done.error.is_none(), "{:?}", done.error);
    assert_eq!(done.left, 0);
}

pub(crate) fn backup(name: &str) -> BackupName {
    BackupName::parse(name).unwrap()
}

pub(crate) fn node(name: &str) -> Fqdn {
    Fqdn::parse(name).unwrap()
}

/// A line for each backup, the latest marked.
pub(crate) fn listing(backups: &Backups) -> String {
    let mut text = String::new();
    for backup in backups.iter() {
        let state = match &backup.state {
            Completeness::Unexamined => "unexamined".to_owned(),
            Completeness::Complete if backup.damage.is_empty() => "complete".to_owned(),
            Completeness::Complete => format!("damaged: {}", backup.damage[0]),
            Completeness::Incomplete(reasons) => {
                let reasons: Vec<_> = reasons.iter().map(ToString::to_string).collect();
                format!("incomplete: {}", reasons.join("; "))
            }
        };
        let latest = backups.latest().is_some_and(|latest| latest.name == backup.name);
        let files = backup.files().map_or("?".to_owned(), |files| files.to_string());
        writeln!(
            text,
            "{}{} {} {}, {} nodes, {files} files{}: {state}",
            if latest { "*" } else { " " },
            backup.name,
            backup.mode,
            if backup.finished.is_some() { "finished" } else { "open" },
            backup.nodes.len(),
            if backup.is_indexed() { "" } else { ", not in the index" },
        )
        .unwrap();
    }
    text
}

/// A store made by hand, as small as can be: one table with one file for each node and backup.
pub(crate) struct HandMade {
    pub(crate) root: PathBuf,
    pub(crate) nodes: usize,
}

impl HandMade {
    pub(crate) fn write(&self, path: &str, content: &str) {
        let path = self.root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    pub(crate) fn tokenmap(&self) -> String {
        let nodes: Vec<String> = (1..=self.nodes)
            .map(|n| {
                format!(r#""n{n}": {{"tokens": [{n}], "is_up": true, "rack": "r", "dc": "d"}}"#)
            })
            .collect();
        format!("{{{}}}", nodes.join(", "))
    }

    /// A full backup of all nodes that is complete.
    pub(crate) fn backup(&self, name: &str, started: u64) {
        for n in 1..=self.nodes {
            let manifest = format!(
                r#"[{{"keyspace": "k", "columnfamily": "t-1", "objects": [{{"path": "n{n}/{name}/data/k/t-1/nb-1-big-Data.db", "MD5": null, "size": 4}}]}}]"#
            );
            self.node(name, n, started, &manifest);
        }
    }

    pub(crate) fn node(&self, name: &str, n: usize, started: u64, manifest: &str) {
        let schema = "CREATE TABLE k.t (a int PRIMARY KEY);";
        let (meta, index) = (format!("n{n}/{name}/meta"), format!("index/backup_index/{name}"));
        self.write(&format!("n{n}/{name}/data/k/t-1/nb-1-big-Data.db"), "data");
        self.write(&format!("{meta}/schema.cql"), schema);
        self.write(&format!("{meta}/tokenmap.json"), &self.tokenmap());
        self.write(
            &format!("{meta}/server_version.json"),
            r#"{"server_type": "cassandra", "release_version": "5.0.6"}"#,
        );
        self.write(&format!("{meta}/manifest.json"), manifest);
        self.write(&format!("{index}/tokenmap_n{n}.json"), &self.tokenmap());
        self.write(&format!("{index}/schema_n{n}.cql"), schema);
        self.write(&format!("{index}/started_n{n}_{started}.timestamp"), &started.to_string());
        self.write(&format!("{index}/manifest_n{n}.json"), manifest);
        self.write(&format!("{index}/finished_n{n}_{}.timestamp", started + 1), "x");
    }
}
