//! What became of the nodes that were told to publish: the store tells it, whoever died.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::agent::protocol::Publish;
use crate::cluster::{AgentLine, Deaf};
use crate::medusa::{IndexEntry, IndexFile, Layout, MetaFile, Mode};
use crate::model::{BackupName, Fqdn, ObjectKey, UnixSeconds};
use crate::observe::ErrorChain;
use crate::store::Store;

use super::agents::why;
use super::publish::PUBLISH_WITHIN;
use super::{Context, JobError, Record};

/// The most that a schema or a token map has.
const META_LIMIT: u64 = 256 << 20;

/// Nodes that were told to publish, as far as it could be found out.
#[derive(Debug, Default)]
pub(super) struct Settled {
    /// Their part is whole on the share, and no more taken back.
    pub(super) published: BTreeSet<Fqdn>,
    /// The share did not tell.
    pub(super) unknown: BTreeSet<Fqdn>,
}

impl Settled {
    /// Those of which nothing may be taken back.
    pub(super) fn keep(&self) -> BTreeSet<Fqdn> {
        self.published.union(&self.unknown).cloned().collect()
    }
}

/// Finds out what became of the nodes that were told to publish, and has those finish that had
/// written their manifest and not yet all of the index. What could not be done is in the journal,
/// and why in the log.
pub(super) async fn settle(
    cx: &Context,
    backup: &BackupName,
    agents: &BTreeMap<Fqdn, AgentLine>,
) -> Settled {
    let told = Told::read(cx.journal.lock().records());
    let open: Vec<Fqdn> = told.all.difference(&told.published).cloned().collect();
    let mut settled = Settled { published: told.published, unknown: BTreeSet::new() };
    for node in open {
        let (store, layout) = (cx.store.clone(), cx.layout.clone());
        let (name, of) = (backup.clone(), node.clone());
        let look = move || look_in_store(&store, &layout, &name, &of);
        let looked = cx.on_share("for the share to tell what was published", look).await;
        match looked.and_then(|looked| looked) {
            Ok(InStore::Nothing) => continue,
            Ok(InStore::Indexed) => write(cx, Record::Published { node: node.clone() }),
            Ok(InStore::NotIndexed(again)) => match finish(agents.get(&node), *again).await {
                Ok(()) => write(cx, Record::Published { node: node.clone() }),
                Err(why) => {
                    cx.board.log(&format!("{node}: its index entries are not finished: {why}"));
                    write(cx, Record::Whole { node: node.clone() });
                }
            },
            Err(error) => {
                let why = error.in_words();
                cx.board.log(&format!("{node}: what it published is not known: {why}"));
                if !told.whole.contains(&node) {
                    settled.unknown.insert(node);
                    continue;
                }
            }
        }
        settled.published.insert(node);
    }
    settled
}

async fn finish(agent: Option<&AgentLine>, again: Publish) -> Result<(), String> {
    let agent = agent.ok_or_else(|| "the node does not answer".to_owned())?;
    let finished = agent.ask(again, Some(PUBLISH_WITHIN), Arc::new(Deaf)).await;
    finished.map(drop).map_err(|error| why(&error))
}

/// The store tells it too.
fn write(cx: &Context, record: Record) {
    if let Err(error) = cx.write(record) {
        cx.board.log(&format!("what is published is not written down: {}", ErrorChain(&error)));
    }
}

/// Nodes that were told to publish, and how far they are known to have.
#[derive(Debug, Default)]
struct Told {
    all: BTreeSet<Fqdn>,
    /// Their manifest is there.
    whole: BTreeSet<Fqdn>,
    published: BTreeSet<Fqdn>,
}

impl Told {
    fn read(records: &[Record]) -> Self {
        let mut this = Self::default();
        for record in records {
            match record {
                Record::PublishBegins { node } => {
                    this.all.insert(node.clone());
                }
                Record::Whole { node } => {
                    this.whole.insert(node.clone());
                }
                Record::Published { node } => {
                    this.published.insert(node.clone());
                }
                Record::Withdrawn { node } => {
                    this.all.remove(node);
                    this.whole.remove(node);
                }
                _ => {}
            }
        }
        this
    }
}

/// Whether the index has anything of a backup, of whichever node. Blocks for as long as the share
/// takes.
pub(super) fn is_in_index(
    store: &Store,
    layout: &Layout,
    backup: &BackupName,
) -> Result<bool, JobError> {
    match store.names(Some(&layout.backup_index_of(backup)?)) {
        Err(error) if error.is_not_found() => Ok(false),
        names => Ok(!names?.is_empty()),
    }
}

/// What the store has of a node that was told to publish.
#[derive(Debug)]
enum InStore {
    /// No manifest, so nothing counts, and the node takes back the rest.
    Nothing,
    /// All of it.
    Indexed,
    /// The manifest, but perhaps not all of the index: the same request again mends that.
    NotIndexed(Box<Publish>),
}

/// Blocks for as long as the share takes.
fn look_in_store(
    store: &Store,
    layout: &Layout,
    backup: &BackupName,
    node: &Fqdn,
) -> Result<InStore, JobError> {
    let meta = |file| layout.meta_file(node, backup, file);
    let text = |key: &ObjectKey| -> Result<String, JobError> {
        Ok(String::from_utf8_lossy(&store.read(key, META_LIMIT)?).into_owned())
    };
    let is_there = |key: &ObjectKey| match store.stat(key) {
        Err(error) if error.is_not_found() => Ok(false),
        stat => stat.map(|_| true),
    };
    if !is_there(&meta(MetaFile::Manifest)?)? {
        return Ok(InStore::Nothing);
    }
    let index = match store.names(Some(&layout.backup_index_of(backup)?)) {
        Err(error) if error.is_not_found() => Vec::new(),
        names => names?,
    };
    // Medusa's order: the time of the end is the last file of the index, and what is newest of all
    // comes after. The record of the upload goes when that is written too.
    let is_finished = index
        .iter()
        .filter_map(|entry| IndexEntry::parse(&entry.name))
        .any(|entry| entry.fqdn == *node && matches!(entry.file, IndexFile::Finished(_)));
    if is_finished && !is_there(&layout.upload_record(node, backup)?)? {
        return Ok(InStore::Indexed);
    }
    let schema = meta(MetaFile::Schema)?;
    Ok(InStore::NotIndexed(Box::new(Publish {
        backup: backup.clone(),
        node: node.clone(),
        mode: Mode::of_marker(is_there(&layout.mode_marker(node, backup)?)?),
        started: UnixSeconds::from(store.stat(&schema)?.modified),
        tokenmap: text(&meta(MetaFile::Tokenmap)?)?,
        schema: text(&schema)?,
        server_version: text(&meta(MetaFile::ServerVersion)?)?,
    })))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::*;

    fn look(root: &Path) -> InStore {
        let store = Store::open(root).unwrap();
        let (name, node) = (BackupName::for_new("one").unwrap(), Fqdn::parse("n1").unwrap());
        look_in_store(&store, &Layout::new(None).unwrap(), &name, &node).unwrap()
    }

    fn put(root: &Path, key: &str, text: &str) {
        let path = root.join(key);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    #[test]
    fn whether_a_node_was_published_is_read_from_the_store() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path();
        assert!(matches!(look(root), InStore::Nothing));
        for (key, text) in [
            ("n1/one/meta/schema.cql", "CREATE"),
            ("n1/one/meta/tokenmap.json", "{}"),
            ("n1/one/meta/server_version.json", "{\"v\": 1}"),
            ("n1/one/meta/differential", "differential"),
            ("index/backup_index/one/tokenmap_n1.json", "{}"),
            ("index/backup_index/one/finished_n2_1795000000.timestamp", "1795000000"),
        ] {
            put(root, key, text);
        }
        assert!(matches!(look(root), InStore::Nothing), "nothing counts before the manifest");
        put(root, "n1/one/meta/manifest.json", "[]");
        let InStore::NotIndexed(again) = look(root) else { panic!("{:?}", look(root)) };
        assert_eq!((again.schema.as_str(), again.tokenmap.as_str()), ("CREATE", "{}"));
        assert_eq!((again.mode, again.server_version.as_str()), (Mode::Differential, "{\"v\": 1}"));
        put(root, "index/backup_index/one/finished_n1_1795000000.timestamp", "1795000000");
        put(root, ".medusafs/uploads/n1/one.json", "[]");
        assert!(matches!(look(root), InStore::NotIndexed(_)), "what is newest comes last");
        fs::remove_file(root.join(".medusafs/uploads/n1/one.json")).unwrap();
        assert!(matches!(look(root), InStore::Indexed));
    }
}
