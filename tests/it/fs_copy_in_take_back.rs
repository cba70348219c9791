//! Taking a restore back with a removal, and what a refusal leaves as it was.

use std::sync::Arc;

use medusafs::fs::{CopyIn, FsError, StagedParent};
use medusafs::model::{JobState, Phase};
use medusafs::view::{Area, ControlFile};

use super::support::copy_desk::{CopyDesk, ROOT, Told, place, until};
use super::support::copy_tools::{Copy, Tool};
use super::support::copying::snapshot;

const RESTORE: StagedParent = StagedParent::Area(Area::Restore);

fn cancels(desk: &CopyDesk) -> usize {
    desk.restores.told.borrow().iter().filter(|told| matches!(told, Told::Cancel(_))).count()
}

#[tokio::test]
async fn a_restore_that_the_command_line_began_is_taken_back_until_the_node_is_stopped() {
    let state = tempfile::tempdir().unwrap();
    let desk = CopyDesk::new(state.path());
    desk.restores.add_job("20261101T000000Z-restore-node1", "node1", JobState::Staging);
    desk.copies.rmdir(ROOT, &RESTORE, "node1").await.unwrap();
    let Some(Told::Cancel(why)) = desk.restores.told.borrow().last().cloned() else {
        unreachable!("it goes on");
    };
    assert!(why.contains("restore/node1") && why.contains("user 0"), "{why}");
    assert_eq!(desk.state("node1"), "cancelled");
    // Now it clears what is left to be seen.
    desk.copies.rmdir(ROOT, &RESTORE, "node1").await.unwrap();
    assert_eq!((desk.state("node1").as_str(), cancels(&desk)), ("empty", 1));

    desk.restores.add_job("20261102T000000Z-restore-node1", "node1", JobState::Stopping);
    let refused = desk.copies.rmdir(ROOT, &RESTORE, "node1").await;
    assert!(matches!(refused, Err(FsError::Busy(_))), "{refused:?}");
    assert_eq!(cancels(&desk), 1);
}

#[tokio::test]
async fn an_undo_that_waits_for_its_turn_is_not_taken_back() {
    let state = tempfile::tempdir().unwrap();
    let desk = CopyDesk::new(state.path());
    desk.restores.add_job("20261101T000000Z-restore-node1", "node1", JobState::Pending);
    desk.restores.jobs.send_modify(|jobs| Arc::make_mut(jobs)[0].phase = Phase::Clean);
    let refused = desk.copies.rmdir(ROOT, &RESTORE, "node1").await;
    assert!(matches!(refused, Err(FsError::Busy(_))), "{refused:?}");
    assert_eq!(cancels(&desk), 0);
}

#[tokio::test]
async fn a_directory_that_holds_something_is_not_removed_and_its_restore_goes_on() {
    let state = tempfile::tempdir().unwrap();
    let desk = CopyDesk::new(state.path());
    let made = desk.copies.mkdir(ROOT, &RESTORE, "diff1", 0o755).await.unwrap();
    let mut copy = Copy::new(&desk, Tool::Cp, &snapshot("diff1", "node2"));
    copy.below = StagedParent::Inside(made.id);
    assert!(copy.all().await.is_empty());
    until("its job", || desk.copies.set(&copy.below).is_some_and(|set| set.job.is_some())).await;
    let copy = Copy::new(&desk, Tool::Cp, &snapshot("diff1", "node1"));
    assert!(copy.all().await.is_empty());
    until("its job", || desk.copies.set(&copy.below).is_some_and(|set| set.job.is_some())).await;
    for name in ["diff1", "node1"] {
        let refused = desk.copies.rmdir(ROOT, &RESTORE, name).await;
        assert!(matches!(refused, Err(FsError::NotEmpty)), "{name}: {refused:?}");
    }
    assert_eq!(cancels(&desk), 0, "{:?}", desk.restores.told.borrow());
}

#[tokio::test]
async fn an_undo_right_after_the_end_waits_for_the_process_to_end() {
    let state = tempfile::tempdir().unwrap();
    let desk = CopyDesk::new(state.path());
    desk.restores.add_job("20261101T000000Z-restore-node1", "node1", JobState::Done);
    desk.restores.is_still_there_once();
    desk.copies.told(ROOT, &place("node1"), ControlFile::Undo, "1").await.unwrap();
    assert_eq!(*desk.restores.told.borrow(), [Told::Undo]);
    // One that is at work is not waited for.
    desk.restores.moves_to(JobState::Placing);
    desk.restores.is_still_there_once();
    let refused = desk.copies.told(ROOT, &place("node1"), ControlFile::Undo, "1").await;
    assert!(matches!(refused, Err(FsError::Busy(_))), "{refused:?}");
}

#[tokio::test]
async fn the_names_of_a_restore_that_ends_while_it_is_being_begun_disappear_too() {
    let state = tempfile::tempdir().unwrap();
    let desk = CopyDesk::new(state.path());
    // No news of it comes later: the set is not its own yet when it ends.
    desk.restores.add_job("20261121T000000Z-restore-node1", "node1", JobState::Done);
    let copy = Copy::new(&desk, Tool::Cp, &snapshot("diff1", "node1"));
    assert!(copy.all().await.is_empty());
    until("an empty directory", || desk.copies.children(&copy.below).is_empty()).await;
    assert_eq!((desk.state("node1").as_str(), desk.begun().len()), ("done", 1));
}
