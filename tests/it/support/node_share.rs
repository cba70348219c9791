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

    /// Writes over an object in its place, as Medusa does.
    pub(crate) fn writes_over(&self, path: &str, bytes: &[u8]) {
        fs::write(self.home.path().join(path), bytes).unwrap();
    }

    pub(crate) fn hangs(&self) {
        self.mood.lock().hangs = true;
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
        for (path, text, hashed) in BACKUP {
            let key = ObjectKey::parse(path)?;
            let mut names = key.names();
            let keyspace = Keyspace::parse(names.next().unwrap_or_default())?;
            let table = TableDirectory::parse(names.next().unwrap_or_default())?;
            let name = names.collect::<Vec<_>>().join("/");
            let text = content(text);
            let md5 = hashed.then(|| Md5(Hasher::digest(&text).into()));
            let of = (keyspace.clone(), table.clone());
            if !contents.tables.contains(&of) {
                contents.tables.push(of);
            }
            let (name, size) = (ObjectKey::parse(&name)?, text.len() as u64);
            let may_be_written_anew = name.as_str().ends_with("-Statistics.db");
            contents.files.push(BackupFile {
                keyspace,
                table,
                name,
                key,
                size,
                md5,
                may_be_written_anew,
            });
        }
        let (keyspace, table) = EMPTY_TABLE;
        contents.tables.push((Keyspace::parse(keyspace)?, TableDirectory::parse(table)?));
        Ok((Md5([1; 16]), contents))
    }

    fn written_anew(&self, contents: &Contents) -> Result<u64, Box<dyn Error + Send + Sync>> {
        if self.0.mood.lock().broken {
            return Err("the share is gone".into());
        }
        let is_another = |file: &&BackupFile| {
            let stored = fs::metadata(self.0.home.path().join(file.key.as_str()));
            stored.is_ok_and(|stored| stored.len() != file.size)
        };
        let anew = contents.files.iter().filter(|file| file.may_be_written_anew);
        Ok(anew.filter(is_another).count() as u64)
    }

    fn open(&self, key: &ObjectKey) -> Result<File, Box<dyn Error + Send + Sync>> {
        let mut mood = self.0.mood.lock();
        while mood.hangs {
            self.0.answers.wait(&mut mood);
        }
        if mood.broken {
            return Err("the share is gone".into());
        }
        Ok(File::open(self.0.home.path().join(key.as_str()))?)
    }
}
