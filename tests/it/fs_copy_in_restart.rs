//! Copying into `restore/` when a restart of the mount lies between: what stands in the journal, and
//! what comes of it.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use medusafs::fs::{Caller, CopyIn, FsError, SetAttributes};
use medusafs::model::JobState;
use test_case::test_case;

use super::support::copy_desk::{CopyDesk, ROOT, Restores, Told, place, until};
use super::support::copy_tools::{Copy, Tool};
use super::support::copying::{Shelf, snapshot};

const PATIENCE: Duration = Duration::from_secs(20);
const OTHER: Caller = Caller { uid: 7, gid: 7, pid: 2 };

/// The store that a desk has, for another one.
fn same_shelf(desk: &CopyDesk) -> Shelf {
    let shelf = desk.shelf();
    Shelf { objects: shelf.objects.clone(), snapshots: shelf.snapshots.clone() }
}

/// The next mount.
async fn begun(shelf: Shelf, state_dir: &Path, restores: Arc<Restores>) -> CopyDesk {
    let desk = CopyDesk::over(shelf, state_dir, restores);
    desk.copies.until_it_takes(PATIENCE).await;
    desk
}

/// The mount ends: the store that it had, for the one after the restart.
async fn ended(desk: CopyDesk) -> Shelf {
    desk.copies.sync_journal().await;
    desk.scope.close(Duration::ZERO).await;
    same_shelf(&desk)
}

#[tokio::test]
async fn after_a_restart_a_partial_set_is_partial_and_can_be_completed() {
    let state = tempfile::tempdir().unwrap();
    let desk = CopyDesk::new(state.path());
    let of = snapshot("diff1", "node1");
    let paths = desk.paths(&of);
    let mut copy = Copy::new(&desk, Tool::Bytes, &of);
    copy.caller = OTHER;
    assert!(copy.paths(&paths[..4]).await.is_empty());
    let restores = Arc::clone(&desk.restores);
    let desk = begun(ended(desk).await, state.path(), restores).await;
    until("partial", || desk.state("node1") == "partial").await;
    let missing = || desk.copies.missing(&place("node1"));
    until("what was there", || missing() == paths[4..]).await;
    let mut copy = Copy::new(&desk, Tool::Cp, &of);
    copy.caller = OTHER;
    assert!(copy.all().await.is_empty());
    desk.until_begun(1).await;
    let order = &desk.begun()[0];
    assert_eq!(order.uid, OTHER.uid);
    assert!(order.hold[0].contains("restarted"), "a restart lies between: {order:?}");
}

#[tokio::test]
async fn after_a_restart_a_job_keeps_its_set_and_is_not_begun_twice() {
    let state = tempfile::tempdir().unwrap();
    let desk = CopyDesk::new(state.path());
    let of = snapshot("diff1", "node1");
    assert!(Copy::new(&desk, Tool::Tar, &of).all().await.is_empty());
    desk.until_begun(1).await;
    until("its job", || desk.copies.set(&place("node1")).is_some_and(|s| s.job.is_some())).await;
    let restores = Arc::clone(&desk.restores);
    let desk = begun(ended(desk).await, state.path(), restores).await;
    until("its job", || desk.copies.set(&place("node1")).is_some_and(|s| s.job.is_some())).await;
    assert!(!desk.copies.children(&place("node1")).is_empty());
    assert_eq!(desk.begun().len(), 1);
    desk.restores.moves_to(JobState::Done);
    until("an empty directory", || desk.copies.children(&place("node1")).is_empty()).await;
}

/// The mount dies while a second copy writes to a set whose job waits.
#[test_case(None, true; "a file was open and is as it was")]
#[test_case(Some(0), false; "a file was cut off")]
#[tokio::test]
async fn after_a_restart_a_job_hears_what_has_become_of_its_set(cut: Option<u64>, is_whole: bool) {
    let state = tempfile::tempdir().unwrap();
    let desk = CopyDesk::new(state.path());
    let of = snapshot("diff1", "node1");
    assert!(Copy::new(&desk, Tool::Cp, &of).all().await.is_empty());
    desk.until_begun(1).await;
    until("its job", || desk.copies.set(&place("node1")).is_some_and(|s| s.job.is_some())).await;
    desk.restores.moves_to(JobState::Waiting);
    let file = desk.id(&place("node1"), "schema.cql").unwrap();
    desk.copies.open(ROOT, file, true).await.unwrap();
    if cut.is_some() {
        let cut = SetAttributes { size: cut, ..SetAttributes::default() };
        desk.copies.set_attributes(ROOT, file, cut).await.unwrap();
    }
    assert_eq!(desk.restores.told.borrow().last(), Some(&Told::Touched));
    desk.copies.sync_journal().await;
    let restores = Arc::clone(&desk.restores);
    let desk = begun(ended(desk).await, state.path(), restores).await;
    let last = || desk.restores.told.borrow().last().cloned();
    until("a word", || last() != Some(Told::Touched)).await;
    match last() {
        Some(Told::Settled(_)) => assert!(is_whole),
        Some(Told::Cancel(_)) => assert!(!is_whole),
        other => unreachable!("{other:?}"),
    }
}

#[tokio::test]
async fn after_a_restart_a_whole_set_without_a_job_is_held() {
    let state = tempfile::tempdir().unwrap();
    let desk = CopyDesk::new(state.path());
    let of = snapshot("full", "node1");
    assert!(Copy::new(&desk, Tool::Cp, &of).all().await.is_empty());
    desk.until_begun(1).await;
    until("its job", || desk.copies.set(&place("node1")).is_some_and(|s| s.job.is_some())).await;
    // The job's folder was lost with the restart.
    let desk = begun(ended(desk).await, state.path(), Restores::new()).await;
    until("a restore", || !desk.begun().is_empty()).await;
    assert!(desk.begun()[0].hold[0].contains("restarted"));
}

#[tokio::test]
async fn after_a_restart_a_set_of_a_backup_that_is_gone_is_empty() {
    let state = tempfile::tempdir().unwrap();
    let desk = CopyDesk::new(state.path());
    let of = snapshot("full", "node1");
    let paths = desk.paths(&of);
    assert!(Copy::new(&desk, Tool::Cp, &of).paths(&paths[1..]).await.is_empty());
    let restores = Arc::clone(&desk.restores);
    let mut shelf = ended(desk).await;
    shelf.snapshots.remove(&of);
    let desk = begun(shelf, state.path(), restores).await;
    assert_eq!(desk.state("node1"), "empty");

    // Nor does it stand before what is copied there next, after another restart.
    let of = snapshot("diff1", "node1");
    assert!(Copy::new(&desk, Tool::Cp, &of).all().await.is_empty());
    until("its job", || desk.copies.set(&place("node1")).is_some_and(|s| s.job.is_some())).await;
    let restores = Arc::clone(&desk.restores);
    let desk = begun(ended(desk).await, state.path(), restores).await;
    assert!(!desk.copies.children(&place("node1")).is_empty());
    assert!(desk.copies.set(&place("node1")).is_some_and(|set| set.job.is_some()));
}

#[tokio::test]
async fn a_mount_that_is_read_only_begins_nothing_that_was_left() {
    let state = tempfile::tempdir().unwrap();
    let desk = CopyDesk::new(state.path());
    let of = snapshot("full", "node1");
    assert!(Copy::new(&desk, Tool::Cp, &of).all().await.is_empty());
    until("its job", || desk.copies.set(&place("node1")).is_some_and(|s| s.job.is_some())).await;
    let desk = CopyDesk::looking(ended(desk).await, state.path(), Restores::new());
    desk.restores.add_job("20261101T000000Z-restore-node1", "node1", JobState::Placing);
    assert_eq!(desk.state("node1"), "placing");
    let refused = desk.copies.mkdir(ROOT, &place("node1"), "shop", 0o755).await;
    assert!(matches!(refused, Err(FsError::ReadOnly(_))), "{refused:?}");
    // Whatever it may have begun has come to its end by then.
    desk.scope.close(Duration::from_secs(5)).await;
    assert!(desk.begun().is_empty());
}

#[tokio::test]
async fn of_two_mounts_one_takes_copies_and_when_it_ends_the_other_does() {
    let state = tempfile::tempdir().unwrap();
    let first = CopyDesk::new(state.path());
    let of = snapshot("diff1", "node1");
    let paths = first.paths(&of);
    assert!(Copy::new(&first, Tool::Cp, &of).paths(&paths[..4]).await.is_empty());

    let restores = Arc::clone(&first.restores);
    let second = CopyDesk::over(same_shelf(&first), state.path(), restores);
    let refused = Copy::new(&second, Tool::Cp, &of).file("manifest.json").await;
    let Err(FsError::Busy(why)) = refused else { unreachable!("{refused:?}") };
    assert!(why.contains("/mnt/medusa"), "{why}");
    assert!(second.copies.children(&place("node1")).is_empty());

    drop(ended(first).await);
    second.copies.until_it_takes(PATIENCE).await;
    until("what was copied", || second.state("node1") == "partial").await;
    assert_eq!(second.copies.missing(&place("node1")), paths[4..]);
    assert!(Copy::new(&second, Tool::Cp, &of).all().await.is_empty());
    second.until_begun(1).await;
}
