//! Files that backups share: what becomes of them when one backup goes, or a file is written over.

use std::fs::{self, File};
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use medusafs::fs::{LookedUp, Reading, Stale};
use medusafs::model::UnixSeconds;
use nix::errno::Errno;

use crate::support::mounted::{Mounted, can_mount, shell};
use crate::support::tree::{Eyes, ME, Made, ORDERS, content};

fn name(number: usize) -> String {
    format!("nb-{number}-big-Data.db")
}

fn shown(backup: &str, number: usize) -> String {
    format!("backups/{backup}/n1/shop/{ORDERS}/{}", name(number))
}

fn stored(made: &Made, number: usize) -> PathBuf {
    made.root().join(format!("n1/data/shop/{ORDERS}/{}", name(number)))
}

/// As Medusa's purge does it, but for the files that others share.
fn purge(made: &Made, backup: &str) {
    fs::remove_dir_all(made.root().join(format!("index/backup_index/{backup}"))).unwrap();
    for node in ["n1", "n2"] {
        fs::remove_dir_all(made.root().join(format!("{node}/{backup}"))).unwrap();
    }
}

/// The same size, at another time.
fn write_over(made: &Made, number: usize, seconds: u64) -> String {
    let text = content("n1", number).replace('x', "y");
    fs::write(stored(made, number), &text).unwrap();
    let written = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
    File::options().write(true).open(stored(made, number)).unwrap().set_modified(written).unwrap();
    text
}

#[tokio::test]
async fn a_purge_of_one_backup_leaves_the_files_that_others_share() {
    let made = Made::usual();
    let eyes = Eyes::on(&made).await;
    let ino = eyes.ino(&shown("new", 3)).await;
    assert_eq!(eyes.ino(&shown("old", 3)).await, ino);
    purge(&made, "old");
    drop(eyes.fs.refresh().await);
    assert_eq!(eyes.attr("backups/old").await.map(|_| ()), Err(Errno::ENOENT));
    // The kernel goes on with the inode that it has from the other backup, and looks nothing up.
    let size = eyes.fs.getattr(ME, ino).await.unwrap().attr.size;
    assert_eq!(size, u64::try_from(content("n1", 3).len()).unwrap());
    let open = eyes.fs.open(ME, ino, false).await.unwrap();
    let bytes = eyes.fs.read(ME, open.handle, 0, 4096).await.unwrap();
    assert_eq!(bytes, content("n1", 3).into_bytes());
}

#[test]
fn a_backup_is_copied_out_after_another_that_shares_its_files_was_purged() {
    if !can_mount() {
        return;
    }
    for (passthrough, looked_at) in [(true, "old new"), (true, "new old"), (false, "new old")] {
        let made = Made::usual();
        let tree = Mounted::usual(&made, passthrough);
        let out = tempfile::tempdir().unwrap();
        let (root, out) = (tree.root(), out.path().display());
        let look =
            format!("for b in {looked_at}; do ls -lR $T/backups/$b > /dev/null || exit; done");
        shell(&root, &look);
        purge(&made, "old");
        let gone =
            "for i in $(seq 150); do [ -e $T/backups/old ] || exit 0; sleep 0.1; done; false";
        shell(&root, gone);
        shell(&root, &format!("cp -r $T/backups/new/n1 {out}/n1"));
        shell(&root, &format!("diff -r $T/backups/new/n1 {out}/n1"));
        shell(
            &root,
            &format!(
                "diff -r {out}/n1/shop/{ORDERS} {}/n1/data/shop/{ORDERS}",
                made.root().display()
            ),
        );
    }
}

#[tokio::test]
async fn a_file_that_is_missing_damages_every_backup_that_is_known_to_name_it() {
    let made = Made::usual();
    let eyes = Eyes::on(&made).await;
    for backup in ["new", "old"] {
        eyes.attr(&shown(backup, 2)).await.unwrap();
    }
    fs::remove_file(stored(&made, 2)).unwrap();
    assert_eq!(eyes.open(&shown("old", 2)).await, Err(Errno::EIO));
    for backup in ["new", "old"] {
        let state = eyes.text(&format!("backups/{backup}/.medusa/state")).await.unwrap();
        assert_eq!(state, "damaged\n", "{backup}");
    }
    let latest = eyes.ino("backups/latest").await;
    assert_eq!(eyes.fs.readlink(latest).unwrap(), b"whole");
}

#[tokio::test]
async fn what_is_put_back_is_damage_no_longer() {
    let made = Made::usual();
    let eyes = Eyes::on(&made).await;
    fs::remove_file(stored(&made, 2)).unwrap();
    write_over(&made, 4, 1_700_000_000);
    fs::write(stored(&made, 4), "shorter").unwrap();
    eyes.names(&format!("backups/new/n1/shop/{ORDERS}")).await;
    let error = eyes.text("backups/new/.medusa/error").await.unwrap();
    assert_eq!(error.lines().count(), 2, "{error}");
    fs::write(stored(&made, 2), content("n1", 2)).unwrap();
    for _round in 0..30 {
        drop(eyes.fs.refresh().await);
    }
    let error = eyes.text("backups/new/.medusa/error").await.unwrap();
    assert!(
        error.lines().count() == 1 && error.contains("nb-4-big-Data.db has 7 bytes"),
        "{error}"
    );
    fs::write(stored(&made, 4), content("n1", 4)).unwrap();
    for _round in 0..30 {
        drop(eyes.fs.refresh().await);
    }
    assert_eq!(eyes.text("backups/new/.medusa/state").await.unwrap(), "complete\n");
    assert_eq!(eyes.fs.readlink(eyes.ino("backups/latest").await).unwrap(), b"new");
}

#[tokio::test]
async fn pages_of_a_file_are_kept_while_its_bytes_are_the_same() {
    let made = Made::usual();
    let eyes = Eyes::on(&made).await;
    let keeps = async |backup: &str| {
        let opened = eyes.fs.open(ME, eyes.ino(&shown(backup, 5)).await, false).await.unwrap();
        let Reading::Stored { same_as_before, .. } = opened.reading else { panic!("it is stored") };
        same_as_before
    };
    eyes.names(&format!("backups/old/n1/shop/{ORDERS}")).await;
    assert_eq!([keeps("old").await, keeps("old").await, keeps("new").await], [false, true, true]);
    write_over(&made, 5, 1_800_000_000);
    // Its facts are read for the first time through this backup, and are those of the new bytes.
    eyes.names(&format!("backups/new/n1/shop/{ORDERS}")).await;
    assert_eq!([keeps("new").await, keeps("new").await], [false, true]);
    write_over(&made, 5, 1_800_000_009);
    assert!(!keeps("new").await);
    let ino = eyes.ino(&shown("new", 5)).await;
    assert!(eyes.fs.refresh().await.contains(&Stale::Inode(ino)), "the kernel has an old size");
    assert_eq!(eyes.attr(&shown("new", 5)).await.unwrap().modified, UnixSeconds(1_800_000_009));
}

#[test]
fn a_file_that_was_written_over_in_place_reads_as_it_is_now() {
    if !can_mount() {
        return;
    }
    let made = Made::usual();
    let tree = Mounted::usual(&made, false);
    let root = tree.root();
    assert_eq!(shell(&root, &format!("cat $T/{}", shown("old", 6))), content("n1", 6));
    let now = write_over(&made, 6, 1_800_000_000);
    shell(&root, &format!("ls -l $T/backups/new/n1/shop/{ORDERS}"));
    assert_eq!(shell(&root, &format!("cat $T/{}", shown("new", 6))), now);
}

#[tokio::test]
async fn one_file_is_asked_for_alone_and_a_time_that_is_not_known_soon_again() {
    let made = Made::usual();
    let eyes = Eyes::on(&made).await;
    fs::remove_file(stored(&made, 2)).unwrap();
    let table = eyes.ino(&format!("backups/new/n1/shop/{ORDERS}")).await;
    let believed = async |number: usize| {
        let looked = eyes.fs.lookup(ME, table, name(number).as_ref()).await.unwrap();
        let LookedUp::Found(found) = looked else { panic!("the manifest names it") };
        found.believe.attributes
    };
    assert_eq!(believed(3).await, Duration::from_hours(1));
    let state = || eyes.text("backups/new/.medusa/state");
    assert_eq!(state().await.unwrap(), "complete\n", "nobody has looked at another");
    assert_eq!(believed(2).await, Duration::from_secs(1));
    assert_eq!(state().await.unwrap(), "damaged\n");
    let opened = eyes.fs.opendir(ME, table).await.unwrap();
    let mut listed = Vec::new();
    eyes.fs
        .list_with_attributes(opened.handle, 2, &mut |_next, found, name| {
            listed.push((name.to_str().unwrap().to_owned(), found.believe.attributes));
            false
        })
        .unwrap();
    for (listed, time) in listed {
        let known = listed != name(2);
        assert_eq!(time, if known { Duration::from_hours(1) } else { Duration::from_secs(1) });
    }
}
