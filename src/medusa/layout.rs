//! Where everything lies: every object key, built and parsed.

use thiserror::Error;

use crate::model::{BackupName, Fqdn, Keyspace, Md5, NameError, ObjectKey, ObjectKeyError};
use crate::model::{JobId, TableDirectory};

use super::{IndexEntry, IndexFile, Mode};

/// A prefix that Medusa itself cannot work with.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum LayoutError {
    /// Not one directory name.
    #[error("the storage prefix cannot be a directory name")]
    Name(#[source] NameError),
    /// Medusa puts node data below such a prefix and the index beside it.
    #[error(
        "the storage prefix {0:?} has one character: Medusa writes the index of such a store \
         outside of it; use none or two characters and more"
    )]
    TooShort(String),
    /// It would hide one of the store's own directories.
    #[error("the storage prefix {0:?} is the name of one of the store's own directories")]
    Reserved(String),
}

/// The files of a node backup's `meta` directory that a reader knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum MetaFile {
    /// `manifest.json`: written last, its presence means finished.
    Manifest,
    /// `schema.cql`: written first, its presence means begun.
    Schema,
    /// `tokenmap.json`.
    Tokenmap,
    /// `server_version.json`: since 0.17.
    ServerVersion,
}

impl MetaFile {
    /// All of them, by name.
    pub const ALL: [Self; 4] = [Self::Manifest, Self::Schema, Self::ServerVersion, Self::Tokenmap];

    /// The file's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Manifest => "manifest.json",
            Self::Schema => "schema.cql",
            Self::Tokenmap => "tokenmap.json",
            Self::ServerVersion => "server_version.json",
        }
    }

    /// The file of that name.
    pub fn of_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|file| file.name() == name)
    }
}

/// What a key is the key of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// A known file of a node backup's `meta`.
    Meta(Fqdn, BackupName, MetaFile),
    /// The marker in `meta` that says differential, under its present or its old name.
    ModeMarker(Fqdn, BackupName),
    /// A file of a table: in the pool if there is no backup's name, else in that full backup.
    Data {
        /// Whose.
        fqdn: Fqdn,
        /// The full backup; none for the pool.
        backup: Option<BackupName>,
        /// The keyspace's directory.
        keyspace: Keyspace,
        /// The table's directory.
        table: TableDirectory,
        /// What follows: the file, or a directory of a secondary index and the file.
        file: String,
    },
    /// A file of the pool whose name was taken by another content.
    Variant {
        /// Whose.
        fqdn: Fqdn,
        /// Of its content.
        md5: Md5,
        /// The secondary index's directory, dot included.
        index: Option<String>,
        /// The file.
        file: String,
    },
    /// A file of the index.
    Index(BackupName, IndexEntry),
    /// What the index says of a node's newest backup: `tokenmap.json` or `backup_name.txt`.
    Latest(Fqdn, String),
    /// medusafs's own.
    Own,
    /// Nothing that Medusa or medusafs writes.
    Foreign,
}

/// Builds and parses keys of one store, with its prefix.
///
/// Building fails only if names are so long that no directory could hold them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Layout {
    /// With the slash; empty without a prefix.
    prefix: String,
}

type Key = Result<ObjectKey, ObjectKeyError>;

/// medusafs's own directory. Medusa's walks pass over it: it is no node, and nothing in it is
/// called `meta`, `index` or `data`.
const OWN: &str = ".medusafs";
const INDEX: &str = "index";
const POOL: &str = "data";
const META: &str = "meta";

/// Components of an SSTable that Cassandra writes anew under their names as long as it lives: after
/// a repair or a change of level, a resampling, a new index.
const WRITTEN_ANEW: [&str; 3] = ["-Statistics.db", "-Summary.db", "-TOC.txt"];

impl Layout {
    /// The layout of a store, with the prefix that Medusa's settings name.
    pub fn new(prefix: Option<&str>) -> Result<Self, LayoutError> {
        let Some(prefix) = prefix.filter(|prefix| !prefix.is_empty()) else {
            return Ok(Self::default());
        };
        let name = Fqdn::parse(prefix).map_err(LayoutError::Name)?;
        if prefix.chars().count() == 1 {
            return Err(LayoutError::TooShort(prefix.to_owned()));
        }
        if [OWN, INDEX, POOL, META].contains(&prefix) {
            return Err(LayoutError::Reserved(prefix.to_owned()));
        }
        Ok(Self { prefix: format!("{name}/") })
    }

    /// The prefix, without a slash.
    pub fn prefix(&self) -> Option<&str> {
        self.prefix.strip_suffix('/')
    }

    fn key(&self, path: &str) -> Key {
        ObjectKey::parse(&format!("{}{path}", self.prefix))
    }

    /// Where the nodes' directories and the index are; none if that is the store's root.
    pub fn top(&self) -> Option<ObjectKey> {
        // A prefix was checked to be one name, which is a key.
        ObjectKey::parse(self.prefix()?).ok()
    }

    /// `P<fqdn>`: all of a node.
    pub fn node(&self, fqdn: &Fqdn) -> Key {
        self.key(fqdn.as_str())
    }

    /// `P<fqdn>/<name>`: a node backup's own directory, differential ones have only `meta` there.
    pub fn node_backup(&self, fqdn: &Fqdn, name: &BackupName) -> Key {
        self.key(&format!("{fqdn}/{name}"))
    }

    /// `P<fqdn>/<name>/meta`.
    pub fn meta(&self, fqdn: &Fqdn, name: &BackupName) -> Key {
        self.key(&format!("{fqdn}/{name}/{META}"))
    }

    /// A file of `meta`.
    pub fn meta_file(&self, fqdn: &Fqdn, name: &BackupName, file: MetaFile) -> Key {
        self.key(&format!("{fqdn}/{name}/{META}/{}", file.name()))
    }

    /// `P<fqdn>/<name>/meta/differential`; its content is the word `differential`.
    pub fn mode_marker(&self, fqdn: &Fqdn, name: &BackupName) -> Key {
        self.key(&format!("{fqdn}/{name}/{META}/{}", Mode::Differential))
    }

    /// `P<fqdn>/data`: the pool that a node's differential backups share.
    pub fn pool(&self, fqdn: &Fqdn) -> Key {
        self.key(&format!("{fqdn}/{POOL}"))
    }

    /// Where a backup of this mode puts a table's files; the name counts for full ones only.
    pub fn table(
        &self,
        fqdn: &Fqdn,
        name: &BackupName,
        mode: Mode,
        keyspace: &Keyspace,
        table: &TableDirectory,
    ) -> Key {
        match mode {
            Mode::Full => self.key(&format!("{fqdn}/{name}/{POOL}/{keyspace}/{table}")),
            Mode::Differential => self.key(&format!("{fqdn}/{POOL}/{keyspace}/{table}")),
        }
    }

    /// Where a pool file goes whose name is taken by another content:
    /// `P<fqdn>/data/.medusafs/<md5>/v/<file>`, or with the secondary index's directory (which
    /// begins with a dot) in place of `v`.
    pub fn variant(&self, fqdn: &Fqdn, md5: Md5, index: Option<&str>, file: &str) -> Key {
        let directory = index.unwrap_or("v");
        self.key(&format!("{fqdn}/{POOL}/{OWN}/{md5}/{directory}/{file}"))
    }

    /// Whether an object may rightly be another than a manifest says: a component that Cassandra
    /// writes anew, in the pool, where Medusa's next backup then writes over it. It belongs to the
    /// SSTable as before. Nobody writes over the files of a full backup, or over a variant.
    pub fn may_be_written_anew(&self, key: &ObjectKey) -> bool {
        let name = key.file_name();
        WRITTEN_ANEW.iter().any(|component| name.ends_with(component))
            && matches!(self.place(key), Place::Data { backup: None, .. })
    }

    /// `Pindex/backup_index`: a directory for each backup's name.
    pub fn backup_index(&self) -> Key {
        self.key(&format!("{INDEX}/backup_index"))
    }

    /// `Pindex/backup_index/<name>`.
    pub fn backup_index_of(&self, name: &BackupName) -> Key {
        self.key(&format!("{INDEX}/backup_index/{name}"))
    }

    /// A file of the index.
    pub fn index_file(&self, name: &BackupName, fqdn: &Fqdn, file: IndexFile) -> Key {
        self.key(&format!("{INDEX}/backup_index/{name}/{}", file.file_name(fqdn)))
    }

    /// `Pindex/latest_backup`: a directory for each node that has ever finished a backup.
    pub fn latest_backups(&self) -> Key {
        self.key(&format!("{INDEX}/latest_backup"))
    }

    /// `Pindex/latest_backup/<fqdn>/tokenmap.json`.
    pub fn latest_tokenmap(&self, fqdn: &Fqdn) -> Key {
        self.key(&format!("{INDEX}/latest_backup/{fqdn}/tokenmap.json"))
    }

    /// `Pindex/latest_backup/<fqdn>/backup_name.txt`; its content is the name, no newline.
    pub fn latest_name(&self, fqdn: &Fqdn) -> Key {
        self.key(&format!("{INDEX}/latest_backup/{fqdn}/backup_name.txt"))
    }

    /// `P.medusafs`: what medusafs keeps on the share for itself.
    pub fn own(&self) -> Key {
        self.key(OWN)
    }

    /// `P.medusafs/leases`.
    pub fn leases(&self) -> Key {
        self.key(&format!("{OWN}/leases"))
    }

    /// `P.medusafs/tmp/<job>`: where new bytes lie until they are whole.
    pub fn temporary(&self, job: &JobId) -> Key {
        self.key(&format!("{OWN}/tmp/{job}"))
    }

    /// `P.medusafs/uploads/<fqdn>/<backup>.json`: the manifest of an upload that is whole on the
    /// share and not, or not all of it, in Medusa's index.
    pub fn upload_record(&self, fqdn: &Fqdn, name: &BackupName) -> Key {
        self.key(&format!("{OWN}/uploads/{fqdn}/{name}.json"))
    }

    /// A path as a manifest of `fqdn` has it, if it lies in that node's part of the store.
    ///
    /// Medusa before 0.5 left the prefix out of manifests: such a path is completed.
    pub fn object_of(&self, fqdn: &Fqdn, path: &str) -> Result<ObjectKey, ObjectKeyError> {
        let elsewhere = || ObjectKeyError {
            path: path.to_owned(),
            why: "it is not in its own node's part of the store",
        };
        let inside = |path: &str| {
            let below = path.strip_prefix(&*self.prefix)?.strip_prefix(fqdn.as_str())?;
            below.strip_prefix('/').map(|_| ())
        };
        if inside(path).is_some() {
            return ObjectKey::parse(path);
        }
        let completed = format!("{}{path}", self.prefix);
        inside(&completed).ok_or_else(elsewhere)?;
        ObjectKey::parse(&completed)
    }

    /// What `key` is the key of.
    pub fn place(&self, key: &ObjectKey) -> Place {
        let Some(path) = key.as_str().strip_prefix(&*self.prefix) else {
            return Place::Foreign;
        };
        self.place_below_prefix(path).unwrap_or(Place::Foreign)
    }

    #[expect(clippy::unused_self, reason = "reads as a part of `place`")]
    fn place_below_prefix(&self, path: &str) -> Option<Place> {
        let (first, rest) = path.split_once('/').unwrap_or((path, ""));
        match first {
            OWN => return Some(Place::Own),
            INDEX => return index_place(rest),
            _ => {}
        }
        let fqdn = Fqdn::parse(first).ok()?;
        let (second, rest) = rest.split_once('/')?;
        if second == POOL {
            if let Some(rest) = rest.strip_prefix(OWN) {
                return variant_place(fqdn, rest.strip_prefix('/')?);
            }
            return data_place(fqdn, None, rest);
        }
        let backup = BackupName::parse(second).ok()?;
        match rest.split_once('/')? {
            (META, "differential" | "incremental") => Some(Place::ModeMarker(fqdn, backup)),
            (META, file) => Some(Place::Meta(fqdn, backup, MetaFile::of_name(file)?)),
            (POOL, rest) => data_place(fqdn, Some(backup), rest),
            _ => None,
        }
    }
}

fn index_place(rest: &str) -> Option<Place> {
    let (kind, rest) = rest.split_once('/')?;
    let (name, file) = rest.split_once('/')?;
    match kind {
        "backup_index" => {
            Some(Place::Index(BackupName::parse(name).ok()?, IndexEntry::parse(file)?))
        }
        "latest_backup" if !file.contains('/') => {
            Some(Place::Latest(Fqdn::parse(name).ok()?, file.to_owned()))
        }
        _ => None,
    }
}

fn data_place(fqdn: Fqdn, backup: Option<BackupName>, rest: &str) -> Option<Place> {
    let (keyspace, rest) = rest.split_once('/')?;
    let (table, file) = rest.split_once('/')?;
    let keyspace = Keyspace::parse(keyspace).ok()?;
    let table = TableDirectory::parse(table).ok()?;
    Some(Place::Data { fqdn, backup, keyspace, table, file: file.to_owned() })
}

fn variant_place(fqdn: Fqdn, rest: &str) -> Option<Place> {
    let (md5, rest) = rest.split_once('/')?;
    let (directory, file) = rest.split_once('/')?;
    let index = (directory != "v").then(|| directory.to_owned());
    let md5 = Md5::parse_hex(md5).ok()?;
    Some(Place::Variant { fqdn, md5, index, file: file.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::UnixSeconds;
    use proptest::prelude::*;
    use test_case::test_case;

    fn names() -> (Fqdn, BackupName, Keyspace, TableDirectory) {
        (
            Fqdn::parse("node1.example.com").unwrap(),
            BackupName::parse("b1").unwrap(),
            Keyspace::parse("shop").unwrap(),
            TableDirectory::parse("orders-1b255f4def2540a60000000000000005").unwrap(),
        )
    }

    #[test_case("p"; "one character, which Medusa breaks on")]
    #[test_case("a/b"; "two names")]
    #[test_case(".."; "the parent")]
    #[test_case("index"; "the index")]
    fn a_prefix_that_medusa_cannot_use_is_refused(prefix: &str) {
        assert!(Layout::new(Some(prefix)).is_err());
    }

    #[test]
    fn keys_are_where_medusa_has_them() {
        let (fqdn, name, keyspace, table) = names();
        let layout = Layout::new(Some("east")).unwrap();
        let keys = [
            layout.meta_file(&fqdn, &name, MetaFile::Schema),
            layout.table(&fqdn, &name, Mode::Full, &keyspace, &table),
            layout.table(&fqdn, &name, Mode::Differential, &keyspace, &table),
            layout.index_file(&name, &fqdn, IndexFile::Started(UnixSeconds(7))),
            layout.latest_name(&fqdn),
            layout.leases(),
        ];
        let keys = keys.map(|key| key.unwrap().as_str().to_owned());
        let id = "1b255f4def2540a60000000000000005";
        assert_eq!(
            keys,
            [
                "east/node1.example.com/b1/meta/schema.cql".to_owned(),
                format!("east/node1.example.com/b1/data/shop/orders-{id}"),
                format!("east/node1.example.com/data/shop/orders-{id}"),
                "east/index/backup_index/b1/started_node1.example.com_7.timestamp".to_owned(),
                "east/index/latest_backup/node1.example.com/backup_name.txt".to_owned(),
                "east/.medusafs/leases".to_owned(),
            ]
        );
    }

    #[test_case("data/shop/orders-1/nb-2-big-Statistics.db", true; "statistics of the pool")]
    #[test_case("data/shop/orders-1/nb-2-big-Summary.db", true; "a summary")]
    #[test_case("data/shop/orders-1/nb-2-big-TOC.txt", true; "a list of components")]
    #[test_case("data/shop/orders-1/.by_day/nb-2-big-Statistics.db", true; "those of an index")]
    #[test_case("data/shop/orders-1/nb-2-big-Data.db", false; "what is written once")]
    #[test_case("data/shop/orders-1/nb-2-big-SAI+aa+by_day+Meta.db", false; "a part of an index")]
    #[test_case("data/shop/orders-1/Statistics.db", false; "what is of no SSTable")]
    #[test_case("b1/data/shop/orders-1/nb-2-big-Statistics.db", false; "a full backup's")]
    #[test_case("data/.medusafs/0123456789abcdef0123456789abcdef/v/nb-2-big-Statistics.db", false; "a variant")]
    fn what_cassandra_writes_anew_may_be_another_in_the_pool_alone(below: &str, may: bool) {
        let layout = Layout::new(Some("east")).unwrap();
        let key = ObjectKey::parse(&format!("east/node1.example.com/{below}")).unwrap();
        assert_eq!(layout.may_be_written_anew(&key), may);
    }

    #[test_case("node1.example.com/b1/data/k/t/f", true; "its own")]
    #[test_case("east/node1.example.com/data/k/t/f", true; "its own, with the prefix")]
    #[test_case("node1.example.com.evil/data/k/t/f", false; "a node whose name begins alike")]
    #[test_case("node2.example.com/data/k/t/f", false; "another node's")]
    #[test_case("/node1.example.com/data/k/t/f", false; "absolute")]
    #[test_case("node1.example.com/../node2/f", false; "out by dots")]
    #[test_case("node1.example.com", false; "the node itself")]
    fn a_manifest_s_path_must_lie_in_its_node_s_part(path: &str, allowed: bool) {
        let layout = Layout::new(Some("east")).unwrap();
        let found = layout.object_of(&names().0, path);
        assert_eq!(found.is_ok(), allowed);
        if let Ok(key) = found {
            assert!(key.as_str().starts_with("east/node1.example.com/"));
        }
    }

    proptest! {
        #[test]
        fn a_key_parses_back_to_what_it_was_built_from(
            prefix in prop::option::of("[a-z]{2,5}"), md5: [u8; 16], full: bool,
            second_index in prop::option::of("\\.[a-z]{1,5}"), file in "[a-zA-Z+-]{1,9}\\.db",
        ) {
            let layout = Layout::new(prefix.as_deref().filter(|p| *p != "data" && *p != "index" && *p != "meta")).unwrap();
            let (fqdn, backup, keyspace, table) = names();
            let mode = if full { Mode::Full } else { Mode::Differential };
            let file = match &second_index {
                Some(index) => format!("{index}/{file}"),
                None => file,
            };
            let key = layout.table(&fqdn, &backup, mode, &keyspace, &table).unwrap();
            let wanted = Place::Data {
                fqdn: fqdn.clone(), backup: full.then(|| backup.clone()), keyspace, table, file: file.clone(),
            };
            prop_assert_eq!(layout.place(&key.join(&file).unwrap()), wanted);

            let key = layout.variant(&fqdn, Md5(md5), second_index.as_deref(), "f.db").unwrap();
            let wanted = Place::Variant {
                fqdn: fqdn.clone(), md5: Md5(md5), index: second_index, file: "f.db".to_owned(),
            };
            prop_assert_eq!(layout.place(&key), wanted);

            let key = layout.meta_file(&fqdn, &backup, MetaFile::Tokenmap).unwrap();
            prop_assert_eq!(layout.place(&key), Place::Meta(fqdn, backup, MetaFile::Tokenmap));
        }

        #[test]
        fn any_key_has_some_place(path in "[a-z./_-]{0,40}") {
            if let Ok(key) = ObjectKey::parse(&path) {
                drop(Layout::default().place(&key));
            }
        }
    }
}
