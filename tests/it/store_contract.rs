//! What `Store` promises, on this disk, on a full one, and on one that an enemy filled.

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::Barrier;
use std::time::{Duration, UNIX_EPOCH};

use medusafs::model::ObjectKey;
use medusafs::store::{EntryKind, Kind, Store, StoreError};
use tempfile::TempDir;
use test_case::test_case;

fn key(path: &str) -> ObjectKey {
    ObjectKey::parse(path).unwrap()
}

fn temporary() -> ObjectKey {
    key(".medusafs/tmp/job")
}

fn store() -> (TempDir, Store) {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(directory.path()).unwrap();
    (directory, store)
}

fn kind<T: std::fmt::Debug>(result: Result<T, StoreError>) -> Kind {
    result.unwrap_err().kind
}

fn left_behind(store: &Store) -> usize {
    store.names(Some(&temporary())).map_or(0, |names| names.len())
}

#[test]
fn a_store_that_is_not_there_is_not_made() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("none");
    assert_eq!(kind(Store::open(&path)), Kind::NotFound);
    assert!(!path.exists());
}

#[test]
fn what_is_put_is_read_back_and_nothing_else_stays() {
    let (_directory, store) = store();
    let stat = store.put_new(&temporary(), &key("a/b/c"), b"content").unwrap();
    assert_eq!((stat.kind, stat.size, stat.links), (EntryKind::File, 7, 1));
    assert_eq!(store.read(&key("a/b/c"), 7).unwrap(), b"content");
    assert_eq!(store.stat(&key("a/b/c")).unwrap(), stat);
    assert_eq!(left_behind(&store), 0);
}

#[test]
fn a_name_that_is_taken_is_never_given_again() {
    let (_directory, store) = store();
    store.put_new(&temporary(), &key("a"), b"first").unwrap();
    assert_eq!(kind(store.put_new(&temporary(), &key("a"), b"second")), Kind::Exists);
    assert_eq!(store.read(&key("a"), 100).unwrap(), b"first");
    assert_eq!(left_behind(&store), 0);
}

#[test]
fn of_many_who_put_one_name_one_succeeds_and_its_bytes_are_whole() {
    let (_directory, store) = store();
    let start = Barrier::new(8);
    let won: usize = std::thread::scope(|scope| {
        let writers: Vec<_> = (0..8_u8)
            .map(|number| {
                let (store, start) = (&store, &start);
                scope.spawn(move || {
                    start.wait();
                    store.put_new(&temporary(), &key("x/y"), &vec![number; 50_000]).is_ok()
                })
            })
            .collect();
        writers.into_iter().map(|writer| usize::from(writer.join().unwrap())).sum()
    });
    assert_eq!(won, 1);
    let bytes = store.read(&key("x/y"), 1 << 20).unwrap();
    assert_eq!(bytes.len(), 50_000);
    assert_eq!(bytes.iter().collect::<BTreeSet<_>>().len(), 1);
}

#[test]
fn replacing_shows_the_old_or_the_new() {
    let (_directory, store) = store();
    store.put_replacing(&temporary(), &key("a"), b"first").unwrap();
    let mut old = store.open_file(&key("a")).unwrap();
    store.put_replacing(&temporary(), &key("a"), b"second").unwrap();
    let mut text = String::new();
    old.read_to_string(&mut text).unwrap();
    assert_eq!(text, "first");
    assert_eq!(store.read(&key("a"), 100).unwrap(), b"second");
}

#[test]
fn a_draft_that_is_dropped_leaves_nothing() {
    let (_directory, store) = store();
    let mut draft = store.draft(&temporary()).unwrap();
    draft.write_all(b"half").unwrap();
    assert_eq!(left_behind(&store), 1);
    drop(draft);
    assert_eq!(left_behind(&store), 0);
}

#[test]
fn a_time_that_was_set_before_publishing_is_the_file_s_time() {
    let (_directory, store) = store();
    let mut draft = store.draft(&temporary()).unwrap();
    draft.write_all(b"x").unwrap();
    let time = UNIX_EPOCH + Duration::from_secs(1_795_364_041);
    draft.set_modified(time).unwrap();
    assert_eq!(draft.publish_new(&key("a")).unwrap().modified, time);
}

#[test]
fn names_published_without_sync_are_there_and_can_be_synced_together() {
    let (_directory, store) = store();
    for name in ["d/a", "d/b"] {
        store.draft(&temporary()).unwrap().publish_new_unsynced(&key(name)).unwrap();
    }
    store.sync_directory(Some(&key("d"))).unwrap();
    assert_eq!(store.names(Some(&key("d"))).unwrap().len(), 2);
}

#[test]
fn more_than_the_limit_is_not_read() {
    let (_directory, store) = store();
    store.put_new(&temporary(), &key("a"), b"12345").unwrap();
    assert_eq!(kind(store.read(&key("a"), 4)), Kind::TooLarge);
    assert_eq!(store.read(&key("a"), 5).unwrap(), b"12345");
}

#[test]
fn what_nfs_keeps_of_removed_files_is_not_listed() {
    let (directory, store) = store();
    for name in [".nfs00000000012345", "a", ".hidden"] {
        fs::write(directory.path().join(name), "x").unwrap();
    }
    let names: BTreeSet<_> =
        store.list(None).unwrap().into_iter().map(|entry| entry.name).collect();
    assert_eq!(names, ["a", ".hidden"].map(String::from).into());
    assert_eq!(store.names(None).unwrap().len(), 2);
}

/// An enemy's store: every way out of it that a file system knows.
fn hostile() -> (TempDir, TempDir, Store) {
    let (outside, (directory, store)) = (tempfile::tempdir().unwrap(), store());
    fs::write(outside.path().join("secret"), "secret").unwrap();
    let at = |name: &str| directory.path().join(name);
    symlink(outside.path(), at("away")).unwrap();
    symlink("..", at("up")).unwrap();
    symlink("/proc/self/root", at("magic")).unwrap();
    fs::create_dir(at("inside")).unwrap();
    fs::write(at("inside/file"), "mine").unwrap();
    symlink("inside", at("near")).unwrap();
    symlink("inside/file", at("alias")).unwrap();
    nix::unistd::mkfifo(&at("pipe"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    drop(UnixListener::bind(at("socket")).unwrap());
    (outside, directory, store)
}

#[test_case("away/secret", Kind::Outside; "a link out of the store")]
#[test_case("up/etc/passwd", Kind::Outside; "a link upwards")]
#[test_case("magic/etc/passwd", Kind::Outside; "a link of proc")]
#[test_case("near/file", Kind::Outside; "a link within the store")]
#[test_case("alias", Kind::Outside; "a link in place of the file")]
#[test_case("inside", Kind::WrongKind; "a directory")]
#[test_case("pipe", Kind::WrongKind; "a pipe that nobody writes to")]
#[test_case("socket", Kind::WrongKind; "a socket")]
#[test_case("inside/file/more", Kind::WrongKind; "a file in place of a directory")]
#[test_case("nothing", Kind::NotFound; "nothing")]
fn what_is_no_plain_file_in_the_store_is_not_opened(path: &str, wanted: Kind) {
    let (_outside, _directory, store) = hostile();
    assert_eq!(kind(store.open_file(&key(path))), wanted);
    assert_eq!(kind(store.read(&key(path), 100)), wanted);
}

#[test]
fn nothing_is_written_moved_or_removed_through_a_link() {
    let (outside, directory, store) = hostile();
    let through = [
        kind(store.put_new(&temporary(), &key("away/new"), b"x")),
        kind(store.put_replacing(&temporary(), &key("away/secret"), b"x")),
        kind(store.put_new(&key("away/tmp"), &key("new"), b"x")),
        kind(store.make_directory(&key("away/new"))),
        kind(store.remove(&key("away/secret"))),
        kind(store.remove_tree(&key("up/anything"))),
        kind(store.rename_tree(&key("inside"), &key("away/inside"))),
        kind(store.rename_replacing(&key("inside/file"), &key("away/file"))),
        kind(store.set_modified(&key("away/secret"), UNIX_EPOCH)),
        kind(store.list(Some(&key("away")))),
        kind(store.sync_directory(Some(&key("near")))),
    ];
    assert_eq!(through, [Kind::Outside; 11]);
    assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 1);
    // A link itself is removed, and not what it leads to.
    store.remove(&key("alias")).unwrap();
    store.make_directory(&key("tree")).unwrap();
    symlink(outside.path(), directory.path().join("tree/link")).unwrap();
    store.put_new(&temporary(), &key("tree/a/b/c"), b"x").unwrap();
    assert_eq!(store.remove_tree(&key("tree")).unwrap(), 2);
    assert_eq!(fs::read_to_string(outside.path().join("secret")).unwrap(), "secret");
    assert_eq!(fs::read_to_string(directory.path().join("inside/file")).unwrap(), "mine");
}

#[test]
fn what_is_no_file_or_directory_is_listed_as_something_else() {
    let (_outside, _directory, store) = hostile();
    let other: BTreeSet<_> = store
        .names(None)
        .unwrap()
        .into_iter()
        .filter(|entry| entry.kind == EntryKind::Other)
        .map(|entry| entry.name)
        .collect();
    let wanted = ["away", "up", "magic", "near", "alias", "pipe", "socket"];
    assert_eq!(other, wanted.map(String::from).into());
    assert_eq!(store.stat(&key("alias")).unwrap().kind, EntryKind::Other);
}

#[test]
fn a_tree_moves_whole_to_a_free_name_only() {
    let (_directory, store) = store();
    store.put_new(&temporary(), &key("a/b/c"), b"x").unwrap();
    store.put_new(&temporary(), &key("taken/y"), b"y").unwrap();
    assert_eq!(kind(store.rename_tree(&key("a"), &key("taken"))), Kind::Exists);
    assert_eq!(kind(store.rename_tree(&key("a/b/c"), &key("z"))), Kind::WrongKind);
    assert_eq!(kind(store.rename_tree(&key("none"), &key("z"))), Kind::NotFound);
    store.rename_tree(&key("a"), &key("trash/job/a")).unwrap();
    assert_eq!(store.read(&key("trash/job/a/b/c"), 1).unwrap(), b"x");
    assert_eq!(kind(store.stat(&key("a"))), Kind::NotFound);
}

#[test]
fn removing_says_what_was_there() {
    let (_directory, store) = store();
    store.put_new(&temporary(), &key("d/a"), b"x").unwrap();
    assert_eq!(kind(store.remove_directory(&key("d"))), Kind::NotEmpty);
    assert_eq!(kind(store.remove(&key("d/b"))), Kind::NotFound);
    store.remove(&key("d/a")).unwrap();
    store.remove_directory(&key("d")).unwrap();
    assert_eq!(store.remove_tree(&key("d")).unwrap(), 0);
}

/// A file system of 64 KiB, unmounted when it is dropped.
struct Small(TempDir);

impl Small {
    fn mount() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let options = c"size=64k";
        let flags = rustix::mount::MountFlags::empty();
        rustix::mount::mount("none", directory.path(), "tmpfs", flags, options).unwrap();
        Self(directory)
    }

    fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        rustix::mount::unmount(self.path(), rustix::mount::UnmountFlags::DETACH).unwrap();
    }
}

#[test]
fn a_full_disk_is_told_as_such_and_leaves_no_half_file() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let small = Small::mount();
    let store = Store::open(small.path()).unwrap();
    store.put_new(&temporary(), &key("a"), &[7; 10_000]).unwrap();
    let error = store.put_new(&temporary(), &key("b"), &vec![8; 100_000]).unwrap_err();
    assert_eq!((error.kind, error.is_retryable()), (Kind::Full, false));
    assert_eq!(kind(store.stat(&key("b"))), Kind::NotFound);
    assert_eq!(left_behind(&store), 0);
    assert_eq!(store.read(&key("a"), 10_000).unwrap(), [7; 10_000]);
    assert!(store.space().unwrap().total <= 65_536);
}

#[test]
fn the_share_s_time_goes_forward() {
    let (_directory, store) = store();
    let first = store.share_time(&temporary()).unwrap();
    let stat = store.put_new(&temporary(), &key("a"), b"x").unwrap();
    assert!(stat.modified >= first);
    assert!(store.share_time(&temporary()).unwrap() >= stat.modified);
    assert_eq!(left_behind(&store), 0);
}
