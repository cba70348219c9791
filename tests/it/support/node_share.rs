//! The share of a played node, with a backup on it.

use std::error::Error;
use std::fs::{self, File};
use std::path::Path;
use std::sync::Arc;

use md5::{Digest, Md5 as Hasher};
use medusafs::agent::restore::{BackupFile, Contents, Order, Source, Sources};
use medusafs::model::{Keyspace, Md5, ObjectKey, TableDirectory};
use parking_lot::{Condvar, Mutex};
use tempfile::TempDir;

pub(crate) fn put(root: &Path, files: &[(&str, &str)]) {
    for (path, content) in files {
        let path = root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
}

pub(crate) const UNCHANGED: &str = "orders one, as it always was";

/// What the backup holds: path, content, whether the manifest has its MD5.
pub(crate) const BACKUP: &[(&str, &str, bool)] = &[
    ("system/local-7ad5/oa-3-big-Data.db", "local, as backed up", true),
    ("system/_paxos_repair_state/oa-1-big-Data.db", "paxos, as backed up", true),
    ("shop/orders-1/oa-1-big-Data.db", UNCHANGED, false),
    ("shop/orders-1/oa-1-big-Statistics.db", "statistics", true),
    ("shop/orders-1/oa-1-big-Digest.crc32", "DIGEST", false),
    ("shop/orders-1/oa-2-big-Data.db", "orders two, as backed up", true),
    ("shop/orders-1/.by_city/oa-1-big-Data.db", "an index", true),
    ("fresh/only-2/oa-1-big-Data.db", "a keyspace that was dropped since", true),
];
/// A file that can be made large.
const LARGE: &str = "fresh/only-2/oa-1-big-Data.db";
const EMPTY_TABLE: (&str, &str) = ("shop", "empty-5");

pub(crate) fn content(text: &str) -> String {
    match text {
        "DIGEST" => format!("{}\n", crc32fast::hash(UNCHANGED.as_bytes())),
        text => text.to_owned(),
    }
}

#[derive(Debug, Default)]
struct Mood {
    broken: bool,
    hangs: bool,
    /// Whether anybody waits for it.
    is_waited_for: bool,
    /// The bytes of [`LARGE`].
    large: Option<u64>,
    forgotten: Option<String>,
}

/// The share, with the backup on it.
#[derive(Debug)]
pub(crate) struct Share {
    home: TempDir,
    mood: Mutex<Mood>,
    answers: Condvar,
}

impl Share {
    /// A share with [`BACKUP`] on it.
    pub(crate) fn with_backup() -> Self {
        let home = TempDir::new_in("/dev/shm").unwrap();
        for (path, text, _) in BACKUP {
            put(home.path(), &[(path, &content(text))]);
        }
        Self { home, mood: Mutex::default(), answers: Condvar::new() }
    }

    pub(crate) fn gives_nothing(&self) {
        self.mood.lock().broken = true;
    }

    pub(crate) fn garbles(&self, name: &str) {
        let (path, text, _) =
            BACKUP.iter().rfind(|(path, _, md5)| *md5 && path.ends_with(name)).unwrap();
        let garbled = content(text).replace('a', "b");
        assert_ne!(garbled, content(text));
        put(self.home.path(), &[(path, &garbled)]);
    }

    pub(crate) fn has_a_large_file(&self, bytes: u64) -> &'static str {
        let file = File::options().write(true).open(self.home.path().join(LARGE)).unwrap();
        file.set_len(bytes).unwrap();
        self.mood.lock().large = Some(bytes);
        LARGE
    }

    pub(crate) fn forgets(&self, name: &str) {
        assert!(BACKUP.iter().any(|(path, _, _)| path.ends_with(name)));
        self.mood.lock().forgotten = Some(name.to_owned());
    }

    pub(crate) fn hangs(&self) {
        self.mood.lock().hangs = true;
    }

    pub(crate) fn is_waited_for(&self) -> bool {
        self.mood.lock().is_waited_for
    }

    pub(crate) fn answers_again(&self) {
        self.mood.lock().hangs = false;
        self.answers.notify_all();
    }
}

#[derive(Debug)]
struct Handle(Arc<Share>);

/// The share of a node, as sessions take it.
#[derive(Debug)]
pub(crate) struct Shares(Arc<Share>);

impl Shares {
    pub(crate) fn of(share: &Arc<Share>) -> Self {
        Self(Arc::clone(share))
    }
}

impl Sources for Shares {
    fn of(&self, _: &Order) -> Result<Arc<dyn Source>, Box<dyn Error + Send + Sync>> {
        Ok(Arc::new(Handle(Arc::clone(&self.0))))
    }
}

impl Source for Handle {
    fn contents(&self) -> Result<(Md5, Contents), Box<dyn Error + Send + Sync>> {
        let mut contents = Contents::default();
        let mood = self.0.mood.lock();
        let is_known = |path: &str| mood.forgotten.as_ref().is_none_or(|it| !path.ends_with(it));
        for (path, text, hashed) in BACKUP.iter().filter(|(path, _, _)| is_known(path)) {
            let key = ObjectKey::parse(path)?;
            let mut names = key.names();
            let keyspace = Keyspace::parse(names.next().unwrap_or_default())?;
            let table = TableDirectory::parse(names.next().unwrap_or_default())?;
            let name = names.collect::<Vec<_>>().join("/");
            let text = content(text);
            let of = (keyspace.clone(), table.clone());
            if !contents.tables.contains(&of) {
                contents.tables.push(of);
            }
            let name = ObjectKey::parse(&name)?;
            let (size, md5) = match mood.large.filter(|_| *path == LARGE) {
                Some(bytes) => (bytes, None),
                None => (text.len() as u64, hashed.then(|| Md5(Hasher::digest(&text).into()))),
            };
            contents.files.push(BackupFile { keyspace, table, name, key, size, md5 });
        }
        let (keyspace, table) = EMPTY_TABLE;
        contents.tables.push((Keyspace::parse(keyspace)?, TableDirectory::parse(table)?));
        Ok((Md5([1 + u8::from(mood.forgotten.is_some()); 16]), contents))
    }

    fn open(&self, key: &ObjectKey) -> Result<File, Box<dyn Error + Send + Sync>> {
        let mut mood = self.0.mood.lock();
        while mood.hangs {
            mood.is_waited_for = true;
            self.0.answers.wait(&mut mood);
        }
        if mood.broken {
            return Err("the share is gone".into());
        }
        Ok(File::open(self.0.home.path().join(key.as_str()))?)
    }
}
