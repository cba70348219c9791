//! Copying into `restore/` when a restart of the mount lies between: what stands in the journal, and
//! what comes of it.

use medusafs::fs::{Caller, CopyIn, SetAttributes};
use medusafs::model::JobState;
use test_case::test_case;

use super::support::copy_desk::{CopyDesk, ROOT, Told, place, until};
use super::support::copy_tools::{Copy, Tool};
use super::support::copying::{Shelf, snapshot};

const OTHER: Caller = Caller { uid: 7, gid: 7, pid: 2 };

/// The store that a desk had, for the one after a restart.
fn shelf_again(desk: CopyDesk) -> Shelf {
    let memory = desk.memory;
    let shelf = &memory.0;
    let (objects, snapshots) = (shelf.objects.clone(), shelf.snapshots.clone());
    Shelf { objects, snapshots }
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
    desk.copies.sync_journal().await;
    let (restores, scope) = (std::sync::Arc::clone(&desk.restores), desk.scope.clone());
    scope.close(std::time::Duration::ZERO).await;

    let desk = CopyDesk::over(shelf_again(desk), state.path(), restores);
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
    desk.copies.sync_journal().await;
    let (restores, scope) = (std::sync::Arc::clone(&desk.restores), desk.scope.clone());
    scope.close(std::time::Duration::ZERO).await;

    let desk = CopyDesk::over(shelf_again(desk), state.path(), restores);
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
    let (restores, scope) = (std::sync::Arc::clone(&desk.restores), desk.scope.clone());
    scope.close(std::time::Duration::ZERO).await;

    let desk = CopyDesk::over(shelf_again(desk), state.path(), restores);
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
    desk.copies.sync_journal().await;
    desk.scope.clone().close(std::time::Duration::ZERO).await;
    // The job's folder was lost with the restart.
    let state_dir = state.path();
    let shelf = shelf_again(desk);
    let none = CopyDesk::new(tempfile::tempdir().unwrap().path()).restores;
    let desk = CopyDesk::over(shelf, state_dir, none);
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
    desk.copies.sync_journal().await;
    desk.scope.clone().close(std::time::Duration::ZERO).await;
    let restores = std::sync::Arc::clone(&desk.restores);
    let mut shelf = shelf_again(desk);
    shelf.snapshots.remove(&of);
    let desk = CopyDesk::over(shelf, state.path(), restores);
    assert_eq!(desk.state("node1"), "empty");
}
