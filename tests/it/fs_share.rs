//! Copying into `restore/` over stores that real Medusa wrote.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use medusafs::catalog::Catalog;
use medusafs::fs::copy_in::{Copies, CopyParts, RestoreWork, Share, SnapshotFiles, Stored};
use medusafs::fs::{CopyIn, CopySource, FsError, StagedParent, StoredSource};
use medusafs::model::{Clock, Fqdn, HandClock, ObjectKey, UnixSeconds};
use medusafs::staging::{Contents, Fact, Need, SnapshotId, Wanted};
use medusafs::store::{BlockingPool, PoolLimits};
use medusafs::tasks::{Scope, Upkeep};
use medusafs::view::{Area, NodeBackupId};

use super::support::archive::{archives, catalog, unpack, unpacked};
use super::support::copy_desk::{ROOT, Restores, Told, until};
use super::support::copying::md5;

const DEADLINE: Duration = Duration::from_secs(20);

fn share(catalog: &Catalog) -> Share {
    Share::new(catalog.clone(), BlockingPool::new(PoolLimits::default()), DEADLINE)
}

fn files(catalog: &Catalog, id: &SnapshotId) -> SnapshotFiles {
    SnapshotFiles::new(catalog.node_files(&id.backup, &id.node).unwrap())
}

fn all(files: &SnapshotFiles) -> Vec<(String, Wanted)> {
    (0..files.len()).map(|place| files.at(place).unwrap()).collect()
}

fn prefix(archive: &Path) -> Option<&'static str> {
    archive.to_str().unwrap().contains("prefix").then_some("east")
}

#[test]
fn every_file_of_a_snapshot_is_found_at_its_place() {
    let mut seen = 0;
    for archive in archives() {
        let store = unpack(&archive);
        let root = store.path().to_owned();
        let catalog = catalog(&root, prefix(&archive));
        for id in share(&catalog).snapshots() {
            let files = files(&catalog, &id);
            for (place, (path, wanted)) in all(&files).into_iter().enumerate() {
                assert_eq!(files.find(&path), Some(place), "{path} of {id}");
                assert_eq!(catalog.stat(&wanted.key).unwrap().size, wanted.size, "{path}");
                seen += 1;
            }
            assert_eq!(files.at(files.len()), None);
            for nothing in ["", "manifest", "a/b/c", "system", "system/local", "manifest.json/x"] {
                assert_eq!(files.find(nothing), None, "{nothing:?}");
            }
        }
    }
    assert!(seen > 100, "{seen} files");
}

/// What a set of one file, or of all, tells of its restore.
struct Desk {
    copies: Copies,
    restores: Arc<Restores>,
}

fn desk(catalog: &Catalog, state: &Path) -> Desk {
    let restores = Restores::new();
    let parts = CopyParts {
        stored: Arc::new(share(catalog)),
        work: Arc::clone(&restores) as Arc<dyn RestoreWork>,
        clock: Arc::new(HandClock::at(UnixSeconds(9))) as Arc<dyn Clock>,
        scope: Scope::new(),
        upkeep: Upkeep::default(),
        state_dir: state.to_owned(),
        mountpoint: "/mnt/medusa".into(),
    };
    Desk { copies: Copies::open(parts).unwrap(), restores }
}

async fn place(desk: &Desk, node: &Fqdn, path: &str) -> (StagedParent, String) {
    let mut at = StagedParent::Node(Area::Restore, node.clone());
    let mut names: Vec<&str> = path.split('/').collect();
    let last = names.pop().unwrap().to_owned();
    for name in names {
        let id = match desk.copies.lookup(&at, name) {
            Some(entry) => entry.id,
            None => desk.copies.mkdir(ROOT, &at, name, 0o755).await.unwrap().id,
        };
        at = StagedParent::Inside(id);
    }
    (at, last)
}

async fn copy(
    desk: &Desk,
    root: &Path,
    id: &SnapshotId,
    (path, wanted): &(String, Wanted),
    by_name: bool,
) -> Result<(), FsError> {
    let (directory, name) = place(desk, &id.node, path).await;
    let (_, handle) = desk.copies.create(ROOT, &directory, &name, 0o644, false).await?;
    let brought = if by_name {
        let source = CopySource::Stored(StoredSource {
            key: wanted.key.clone(),
            size: wanted.size,
            seen_in: NodeBackupId::new(id.backup.clone(), id.node.clone()),
        });
        desk.copies.copy_range(source, 0, handle, 0, u64::MAX).await.map(|_| ())
    } else {
        let bytes = std::fs::read(root.join(wanted.key.as_str())).unwrap();
        let mut brought = Ok(());
        for (number, piece) in bytes.chunks(1000).enumerate() {
            let at = u64::try_from(number * 1000).unwrap();
            brought = brought.and(desk.copies.write(handle, at, piece.to_vec()).await.map(|_| ()));
        }
        brought
    };
    let closed = desk.copies.flush(handle).await;
    desk.copies.release(handle).await;
    brought.and(closed)
}

#[tokio::test]
async fn every_snapshot_that_medusa_wrote_can_be_copied_by_name_and_by_bytes() {
    let store = unpacked("whole");
    let root = store.path().to_owned();
    let catalog = catalog(&root, None);
    let snapshots = share(&catalog).snapshots();
    assert!(snapshots.len() > 3, "{snapshots:?}");
    for id in &snapshots {
        let files = all(&files(&catalog, id));
        if files.is_empty() {
            continue;
        }
        for (by_name, backwards) in [(true, false), (false, false), (false, true), (true, true)] {
            let state = tempfile::tempdir().unwrap();
            let desk = desk(&catalog, state.path());
            let mut order: Vec<_> = files.iter().collect();
            if backwards {
                order.reverse();
            }
            for file in order {
                let copied = copy(&desk, &root, id, file, by_name).await;
                assert!(copied.is_ok(), "{} of {id}: {copied:?}", file.0);
            }
            until(&format!("a restore of {id}"), || !desk.restores.told.borrow().is_empty()).await;
            let told = desk.restores.told.borrow().clone();
            let Told::Begin(order) = &told[0] else { unreachable!("{told:?}") };
            // Two backups with the very same manifest have the very same files.
            let same = |other: &SnapshotId| {
                let manifest = |id: &SnapshotId| files_of_manifest(&catalog, &root, id);
                manifest(other) == manifest(id)
            };
            assert!(by_name && order.source == *id || !by_name && same(&order.source), "{order:?}");
        }
    }
}

fn files_of_manifest(catalog: &Catalog, root: &Path, id: &SnapshotId) -> Vec<u8> {
    let files = files(catalog, id);
    let (_, wanted) = files.at(files.find("manifest.json").unwrap()).unwrap();
    std::fs::read(root.join(wanted.key.as_str())).unwrap()
}

#[tokio::test]
async fn the_share_answers_what_a_set_asks() {
    let store = unpacked("whole");
    let root = store.path().to_owned();
    let catalog = catalog(&root, None);
    let share = share(&catalog);
    // One of them is a failed backup, whose manifest is `[]`.
    let most = share.snapshots().into_iter().max_by_key(|id| files(&catalog, id).len());
    let id = most.unwrap();
    let files = files(&catalog, &id);
    let (_, manifest) = files.at(files.find("manifest.json").unwrap()).unwrap();
    let bytes = std::fs::read(root.join(manifest.key.as_str())).unwrap();
    let size = manifest.size;

    let need = Need::Manifest { size, md5: md5(&bytes) };
    let Fact::Manifest { of, .. } = share.find_out(need, None).await.unwrap() else {
        unreachable!("another fact");
    };
    assert!(of.contains(&id), "{of:?}");
    let need = Need::Manifest { size, md5: md5(b"another") };
    let Fact::Manifest { of, .. } = share.find_out(need, None).await.unwrap() else {
        unreachable!("another fact");
    };
    assert!(of.is_empty(), "{of:?}");

    for (len, expected) in [(10, Some(md5(&bytes[..10]))), (size + 1, None)] {
        let need = Need::Digest { key: manifest.key.clone(), len };
        let Fact::Digest { md5, .. } = share.find_out(need, None).await.unwrap() else {
            unreachable!("another fact");
        };
        assert_eq!(md5, expected, "of {len} bytes");
    }

    let zeros = ObjectKey::parse("zeros").unwrap();
    std::fs::write(root.join("zeros"), [0, 0, 0, 1]).unwrap();
    for (start, end, expected) in [(0, 3, true), (0, 4, false), (2, 5, false)] {
        let need = Need::Zeros { key: zeros.clone(), start, end };
        let Fact::Zeros { zeros, .. } = share.find_out(need, None).await.unwrap() else {
            unreachable!("another fact");
        };
        assert_eq!(zeros, expected, "{start} to {end}");
    }

    let keys = vec![manifest.key.clone(), zeros];
    let same = share.equal(keys, 5, Arc::new(bytes[5..20].to_vec())).await.unwrap();
    assert_eq!(same.as_slice(), std::slice::from_ref(&manifest.key));
    assert_eq!(share.read(&manifest.key, size - 3, 100).await.unwrap(), bytes[bytes.len() - 3..]);

    let gone = SnapshotId { backup: id.backup.clone(), node: Fqdn::parse("nobody").unwrap() };
    let fact = share.find_out(Need::Contents(gone), None).await.unwrap();
    assert!(matches!(fact, Fact::Contents(_, Err(_))));

    // A manifest that is replaced in its place is found by what it is then.
    let other = vec![b'x'; bytes.len() + 7];
    std::fs::write(root.join(manifest.key.as_str()), &other).unwrap();
    let (size, hash) = (u64::try_from(other.len()).unwrap(), md5(&other));
    let need = Need::Manifest { size, md5: hash };
    let Fact::Manifest { of, .. } = share.find_out(need, None).await.unwrap() else {
        unreachable!("another fact");
    };
    assert_eq!(of, [id]);
}

#[tokio::test]
async fn an_object_tells_whose_it_is_by_where_it_lies() {
    let store = unpacked("whole");
    let root = store.path().to_owned();
    let catalog = catalog(&root, None);
    let share = share(&catalog);
    for id in share.snapshots() {
        for (path, wanted) in all(&files(&catalog, &id)) {
            let source = share.source(&wanted.key, wanted.size, &id);
            assert_eq!(source.node, id.node, "{path}");
            let pooled = wanted.key.as_str().starts_with(&format!("{}/data/", id.node));
            assert_eq!(source.backup, (!pooled).then(|| id.backup.clone()), "{path} of {id}");
        }
    }
}

#[tokio::test]
async fn a_snapshot_with_entries_that_are_not_shown_says_that_it_cannot_be_copied() {
    let store = unpacked("whole");
    let root = store.path().to_owned();
    let manifest = root.join("node1.example.com/diff2/meta/manifest.json");
    let text = std::fs::read_to_string(&manifest).unwrap();
    let more = r#""objects": [{"path": "/etc/passwd", "MD5": null, "size": 1}, {"#;
    std::fs::write(&manifest, text.replacen(r#""objects": [{"#, more, 1)).unwrap();
    let catalog = catalog(&root, None);
    let snapshots = share(&catalog).snapshots();
    let is_it = |id: &&SnapshotId| id.backup.as_str() == "diff2" && id.node.as_str().contains('1');
    let id = snapshots.iter().find(is_it).unwrap();
    let state = tempfile::tempdir().unwrap();
    let desk = desk(&catalog, state.path());
    for file in all(&files(&catalog, id)) {
        copy(&desk, &root, id, &file, true).await.unwrap();
    }
    let parent = StagedParent::Node(Area::Restore, id.node.clone());
    let set = || desk.copies.set(&parent).unwrap();
    until("it is partial", || set().state == "partial").await;
    let error = set().error;
    assert!(error.contains("names 1 entries that are not shown: it cannot be restored"), "{error}");
}
