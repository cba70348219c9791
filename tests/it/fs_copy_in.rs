//! What copying into `restore/` means, over `CopyIn` without a kernel: what each tool does, and what
//! comes of it. `fs/SEMANTICS.md` says the same in words.

use medusafs::fs::{Caller, CopyIn, FsError, StagedParent};
use medusafs::model::{JobState, UnixSeconds};
use medusafs::view::{Area, ControlFile};
use test_case::test_case;

use super::support::copy_desk::{CopyDesk, ROOT, Told, place, until};
use super::support::copy_tools::{Copy, Flaw, TOOLS, Tool};
use super::support::copying::snapshot;

const OTHER: Caller = Caller { uid: 7, gid: 7, pid: 2 };

async fn remove_all(desk: &CopyDesk, caller: Caller, at: &StagedParent) -> Result<(), FsError> {
    for (name, entry) in desk.copies.children(at) {
        if entry.kind == medusafs::fs::StagedKind::Directory {
            let below = StagedParent::Inside(entry.id);
            Box::pin(remove_all(desk, caller, &below)).await?;
            desk.copies.rmdir(caller, at, &name).await?;
        } else {
            desk.copies.unlink(caller, at, &name).await?;
        }
    }
    Ok(())
}

#[tokio::test]
async fn every_tool_s_copy_of_a_snapshot_begins_its_restore_once() {
    for tool in TOOLS {
        for backup in ["full", "diff2"] {
            let state = tempfile::tempdir().unwrap();
            let desk = CopyDesk::new(state.path());
            let of = snapshot(backup, "node1");
            let errors = Copy::new(&desk, tool, &of).all().await;
            assert!(errors.is_empty(), "{tool:?}: {errors:?}");
            desk.until_begun(1).await;
            let orders = desk.begun();
            assert_eq!(orders.len(), 1, "{tool:?} of {backup}");
            let order = &orders[0];
            assert_eq!((order.target.as_str(), &order.source), ("node1", &of), "{tool:?}");
            assert_eq!((order.uid, order.last_file_at), (0, UnixSeconds(1000)));
            assert_eq!(order.hold, Vec::<String>::new());
            until("its state", || desk.state("node1") == "staging").await;
        }
    }
}

#[test_case("node1/"; "as cp -r NODE restore/NODE/ does")]
#[test_case("diff1/"; "as cp -r nodes/NODE/NAME restore/NODE/ does")]
#[tokio::test]
async fn a_set_may_stand_one_directory_down(below: &str) {
    let state = tempfile::tempdir().unwrap();
    let desk = CopyDesk::new(state.path());
    let of = snapshot("diff1", "node1");
    let mut copy = Copy::new(&desk, Tool::Cp, &of);
    let (directory, _) = desk.directory(ROOT, &copy.below, &format!("{below}x")).await.unwrap();
    copy.below = directory;
    assert!(copy.all().await.is_empty());
    desk.until_begun(1).await;
    // A second one beside it is not taken for a part of the first.
    let beside = Copy::new(&desk, Tool::Cp, &of).file("manifest.json").await;
    assert!(matches!(beside, Err(FsError::Invalid(_))), "{beside:?}");
}

#[tokio::test]
async fn a_snapshot_copied_under_its_backup_s_name_is_for_its_own_node() {
    let state = tempfile::tempdir().unwrap();
    let desk = CopyDesk::new(state.path());
    let of = snapshot("diff1", "node2");
    let restore = StagedParent::Area(Area::Restore);
    let made = desk.copies.mkdir(ROOT, &restore, "diff1", 0o755).await.unwrap();
    assert_eq!(desk.copies.lookup(&restore, "diff1").unwrap().id, made.id);
    let mut copy = Copy::new(&desk, Tool::Tar, &of);
    copy.below = StagedParent::Inside(made.id);
    assert!(copy.all().await.is_empty());
    until("a restore", || !desk.begun().is_empty()).await;
    assert_eq!(desk.begun()[0].target.as_str(), "node2");
}

#[tokio::test(start_paused = true)]
async fn a_directory_in_restore_that_stays_empty_goes_again() {
    let state = tempfile::tempdir().unwrap();
    let desk = CopyDesk::new(state.path());
    let restore = StagedParent::Area(Area::Restore);
    let minute = std::time::Duration::from_secs(61);
    let made = desk.copies.mkdir(ROOT, &restore, "diff1", 0o755).await.unwrap();
    tokio::time::sleep(minute).await;
    assert_eq!(desk.copies.lookup(&restore, "diff1"), None);
    assert_eq!(desk.copies.entry(made.id), None);
    let made = desk.copies.mkdir(ROOT, &restore, "diff1", 0o755).await.unwrap();
    let inside = StagedParent::Inside(made.id);
    desk.copies.mkdir(ROOT, &inside, "shop", 0o755).await.unwrap();
    tokio::time::sleep(minute).await;
    assert_eq!(desk.copies.lookup(&restore, "diff1").unwrap().id, made.id);
}

#[tokio::test]
async fn a_whole_backup_links_and_imports_are_refused_with_a_word() {
    let state = tempfile::tempdir().unwrap();
    let desk = CopyDesk::new(state.path());
    let restore = StagedParent::Area(Area::Restore);
    let made = desk.copies.mkdir(ROOT, &restore, "diff1", 0o755).await.unwrap();
    let inside = StagedParent::Inside(made.id);
    let import = StagedParent::Node(Area::Import, medusafs::model::Fqdn::parse("node1").unwrap());
    let link = "../backups/diff1/node1".into();
    for (what, refused) in [
        ("cluster", desk.copies.mkdir(ROOT, &inside, "node1", 0o755).await),
        ("link", desk.copies.symlink(ROOT, &restore, "node1", link).await),
        ("import", desk.copies.mkdir(ROOT, &import, "shop", 0o755).await),
        ("stranger", desk.copies.mkdir(ROOT, &restore, "no-such-backup", 0o755).await),
    ] {
        let Err(FsError::NotPermitted(reason)) = refused else {
            unreachable!("{what}: {refused:?}");
        };
        assert!(reason.contains("cp -r backups/NAME/"), "{what}: {reason}");
    }
}

#[tokio::test]
async fn a_copy_that_was_killed_is_partial_until_the_same_copy_completes_it() {
    for tool in TOOLS.into_iter().filter(|tool| *tool != Tool::CpLink) {
        let state = tempfile::tempdir().unwrap();
        let desk = CopyDesk::new(state.path());
        let of = snapshot("diff1", "node1");
        let copy = Copy::new(&desk, tool, &of);
        let paths = desk.paths(&of);
        let (half, rest) = paths.split_at(3);
        assert!(copy.paths(half).await.is_empty());
        until("partial", || desk.state("node1") == "partial").await;
        let missing = desk.copies.missing(&place("node1"));
        assert_eq!(missing, rest, "{tool:?}");
        assert!(copy.all().await.is_empty(), "{tool:?}");
        desk.until_begun(1).await;
        assert_eq!(desk.begun().len(), 1);
    }
}

#[tokio::test]
async fn a_file_that_was_cut_off_in_the_middle_does_not_count() {
    let state = tempfile::tempdir().unwrap();
    let desk = CopyDesk::new(state.path());
    let of = snapshot("full", "node1");
    let copy = Copy::new(&desk, Tool::Bytes, &of);
    let data = "shop/orders-1/nb-1-big-Data.db".to_owned();
    let others: Vec<String> = desk.paths(&of).into_iter().filter(|path| *path != data).collect();
    assert!(copy.paths(&others).await.is_empty());
    let (directory, name) = desk.directory(ROOT, &copy.below, &data).await.unwrap();
    let (_, handle) = desk.copies.create(ROOT, &directory, &name, 0o644, true).await.unwrap();
    desk.copies.write(handle, 0, desk.bytes(&of, &data)[..10].to_vec()).await.unwrap();
    let closed = desk.copies.flush(handle).await;
    assert!(matches!(closed, Err(FsError::WrongCopy(_))), "{closed:?}");
    desk.copies.release(handle).await;
    assert_eq!(desk.state("node1"), "partial");
    assert_eq!(desk.copies.missing(&place("node1")), [data]);
    assert!(desk.begun().is_empty());
}

#[tokio::test]
async fn one_changed_byte_fails_the_tool_and_never_begins_a_restore() {
    for tool in TOOLS.into_iter().filter(|tool| *tool != Tool::CpLink) {
        for path in ["schema.cql", "shop/orders-1/nb-1-big-Data.db", "manifest.json"] {
            for backup in ["full", "diff1"] {
                let state = tempfile::tempdir().unwrap();
                let desk = CopyDesk::new(state.path());
                let of = snapshot(backup, "node1");
                let mut copy = Copy::new(&desk, tool, &of);
                copy.flaw = Flaw { garbles: Some(path) };
                let errors = copy.all().await;
                // A name that tells nothing is judged behind a rename's back.
                if tool != Tool::Gio {
                    assert!(!errors.is_empty(), "{tool:?} of {path} in {backup} exits 0");
                    let expected = matches!(errors[0].1, FsError::WrongCopy(_));
                    assert!(expected, "{tool:?}, {path}: {errors:?}");
                }
                until("partial", || desk.state("node1") == "partial").await;
                assert!(desk.begun().is_empty());
                // The right file in its place makes it whole.
                copy.flaw = Flaw::default();
                assert!(copy.all().await.is_empty(), "{tool:?}, {path}");
                desk.until_begun(1).await;
            }
        }
    }
}

#[tokio::test]
async fn a_file_of_another_backup_is_refused_where_a_set_is_begun() {
    for tool in [Tool::Cp, Tool::Bytes, Tool::CpLink] {
        let state = tempfile::tempdir().unwrap();
        let desk = CopyDesk::new(state.path());
        Copy::new(&desk, Tool::Cp, &snapshot("full", "node1")).file("manifest.json").await.unwrap();
        let other = Copy::new(&desk, tool, &snapshot("diff1", "node1"));
        let refused = other.file("shop/orders-1/nb-1-big-Data.db").await;
        assert!(matches!(refused, Err(FsError::WrongCopy(_))), "{tool:?}: {refused:?}");
        let refused = other.file("schema.cql").await;
        assert!(matches!(refused, Err(FsError::WrongCopy(_))), "{tool:?}: {refused:?}");
        assert_eq!(desk.state("node1"), "partial");
    }
}

#[test_case("notes.txt"; "at the top")]
#[test_case("shop/orders-1/nb-9-big-Data.db"; "among the data")]
#[test_case("shop/orders-1/a/b/c"; "too deep")]
#[tokio::test]
async fn what_is_in_no_backup_is_einval(path: &str) {
    let state = tempfile::tempdir().unwrap();
    let desk = CopyDesk::new(state.path());
    let copy = Copy::new(&desk, Tool::Cp, &snapshot("diff1", "node1"));
    copy.file("manifest.json").await.unwrap();
    let (directory, name) = desk.directory(ROOT, &copy.below, path).await.unwrap();
    let refused = desk.copies.create(ROOT, &directory, &name, 0o644, true).await;
    assert!(matches!(refused, Err(FsError::Invalid(_))), "{refused:?}");
}

#[tokio::test]
async fn another_node_s_snapshot_is_whole_and_says_whose_it_is() {
    let state = tempfile::tempdir().unwrap();
    let desk = CopyDesk::new(state.path());
    let of = snapshot("diff1", "node2");
    let mut copy = Copy::new(&desk, Tool::Rsync, &of);
    copy.below = place("node1");
    assert!(copy.all().await.is_empty());
    desk.until_begun(1).await;
    let order = &desk.begun()[0];
    assert_eq!((order.target.as_str(), &order.source), ("node1", &of));
}

#[tokio::test]
async fn a_set_belongs_to_who_began_it_and_root_may_take_it_away() {
    let state = tempfile::tempdir().unwrap();
    let desk = CopyDesk::new(state.path());
    let of = snapshot("diff1", "node1");
    let mut copy = Copy::new(&desk, Tool::Cp, &of);
    copy.caller = OTHER;
    copy.file("manifest.json").await.unwrap();
    copy.caller = Caller { uid: 8, gid: 8, pid: 3 };
    let refused = copy.file("schema.cql").await;
    assert!(matches!(refused, Err(FsError::Denied(_))), "{refused:?}");
    let removed = remove_all(&desk, copy.caller, &copy.below).await;
    assert!(matches!(removed, Err(FsError::Denied(_))), "{removed:?}");
    remove_all(&desk, ROOT, &copy.below).await.unwrap();
    assert_eq!(desk.state("node1"), "empty");
    // What is empty belongs to nobody.
    copy.file("schema.cql").await.unwrap();
}

#[tokio::test]
async fn while_another_restore_of_the_node_runs_nothing_is_copied() {
    let state = tempfile::tempdir().unwrap();
    let desk = CopyDesk::new(state.path());
    desk.restores.add_job("20261101T000000Z-restore-node1", "node1", JobState::Placing);
    let refused = Copy::new(&desk, Tool::Cp, &snapshot("diff1", "node1")).file("schema.cql").await;
    assert!(matches!(refused, Err(FsError::Busy(_))), "{refused:?}");
    desk.restores.moves_to(JobState::Failed);
    Copy::new(&desk, Tool::Cp, &snapshot("diff1", "node1")).file("schema.cql").await.unwrap();
}

#[tokio::test]
async fn removing_what_was_copied_cancels_until_the_node_is_stopped() {
    let state = tempfile::tempdir().unwrap();
    let desk = CopyDesk::new(state.path());
    let copy = Copy::new(&desk, Tool::Cp, &snapshot("diff1", "node1"));
    assert!(copy.all().await.is_empty());
    desk.until_begun(1).await;
    remove_all(&desk, ROOT, &copy.below).await.unwrap();
    assert!(matches!(desk.restores.told.borrow().last(), Some(Told::Cancel(_))));
    assert_eq!(desk.state("node1"), "cancelled");
    // The first ends the `rm -r`, the second clears.
    for state in ["cancelled", "empty"] {
        desk.copies.rmdir(ROOT, &StagedParent::Area(Area::Restore), "node1").await.unwrap();
        assert_eq!(desk.state("node1"), state);
    }

    assert!(copy.all().await.is_empty());
    desk.until_begun(2).await;
    desk.restores.moves_to(JobState::Stopping);
    let removed = remove_all(&desk, ROOT, &copy.below).await;
    assert!(matches!(removed, Err(FsError::Busy(_))), "{removed:?}");
    let again = copy.all().await;
    assert!(again.iter().all(|(_, error)| matches!(error, FsError::Busy(_))), "{again:?}");
    assert_eq!(again.len(), desk.paths(&copy.of).len());
}

#[tokio::test]
async fn when_the_restore_is_done_the_names_disappear_and_its_state_stays() {
    let state = tempfile::tempdir().unwrap();
    let desk = CopyDesk::new(state.path());
    let copy = Copy::new(&desk, Tool::Cp, &snapshot("diff1", "node1"));
    assert!(copy.all().await.is_empty());
    desk.until_begun(1).await;
    until("its job", || desk.copies.set(&copy.below).is_some_and(|set| set.job.is_some())).await;
    desk.restores.moves_to(JobState::Done);
    until("an empty directory", || desk.copies.children(&copy.below).is_empty()).await;
    assert_eq!(desk.state("node1"), "done");
    // Next week's copy begins anew.
    assert!(copy.all().await.is_empty());
    desk.until_begun(2).await;
}

#[tokio::test]
async fn a_second_copy_while_the_job_waits_makes_it_wait_anew_and_no_more() {
    let state = tempfile::tempdir().unwrap();
    let desk = CopyDesk::new(state.path());
    let copy = Copy::new(&desk, Tool::Bytes, &snapshot("diff1", "node1"));
    assert!(copy.all().await.is_empty());
    desk.until_begun(1).await;
    until("its job", || desk.copies.set(&copy.below).is_some_and(|set| set.job.is_some())).await;
    desk.restores.moves_to(JobState::Waiting);
    desk.clock.set(UnixSeconds(2000));
    assert!(copy.all().await.is_empty());
    let settled = || desk.restores.told.borrow().contains(&Told::Settled(UnixSeconds(2000)));
    until("the word that it is whole", settled).await;
    let told = desk.restores.told.borrow().clone();
    assert_eq!(told[1..], [Told::Touched, Told::Settled(UnixSeconds(2000))]);
    assert_eq!(desk.state("node1"), "waiting");
}

#[tokio::test]
async fn a_set_that_is_broken_while_the_job_waits_takes_the_job_back() {
    let state = tempfile::tempdir().unwrap();
    let desk = CopyDesk::new(state.path());
    let mut copy = Copy::new(&desk, Tool::Bytes, &snapshot("diff1", "node1"));
    assert!(copy.all().await.is_empty());
    desk.until_begun(1).await;
    until("its job", || desk.copies.set(&copy.below).is_some_and(|set| set.job.is_some())).await;
    copy.flaw = Flaw { garbles: Some("schema.cql") };
    assert!(copy.file("schema.cql").await.is_err());
    until("its end", || matches!(desk.restores.told.borrow().last(), Some(Told::Cancel(_)))).await;
    until("partial", || desk.state("node1") == "partial").await;
}

#[tokio::test]
async fn after_a_failure_the_same_copy_begins_anew() {
    let state = tempfile::tempdir().unwrap();
    let desk = CopyDesk::new(state.path());
    let copy = Copy::new(&desk, Tool::Cp, &snapshot("diff1", "node1"));
    assert!(copy.all().await.is_empty());
    desk.until_begun(1).await;
    until("its job", || desk.copies.set(&copy.below).is_some_and(|set| set.job.is_some())).await;
    desk.restores.moves_to(JobState::Failed);
    assert_eq!(desk.state("node1"), "failed");
    assert!(!desk.copies.children(&copy.below).is_empty());
    assert!(copy.all().await.is_empty());
    desk.until_begun(2).await;
}

#[tokio::test]
async fn what_changes_no_file_of_a_set_begins_no_restore_and_hides_no_end() {
    let state = tempfile::tempdir().unwrap();
    let desk = CopyDesk::new(state.path());
    let copy = Copy::new(&desk, Tool::Cp, &snapshot("diff1", "node1"));
    let below = copy.below.clone();
    desk.directory(ROOT, &below, "shop/nothing-3/x").await.unwrap();
    assert!(copy.all().await.is_empty());
    desk.until_begun(1).await;
    until("its job", || desk.copies.set(&below).is_some_and(|set| set.job.is_some())).await;
    desk.restores.moves_to(JobState::Cancelled);
    let job = || desk.copies.set(&below).unwrap().job;
    let before = job();
    let shop = StagedParent::Inside(desk.id(&below, "shop").unwrap());

    // `mkdir`, `rmdir` of an empty table, `touch`, and what is refused.
    desk.copies.mkdir(ROOT, &below, "x", 0o755).await.unwrap();
    desk.copies.rmdir(ROOT, &shop, "nothing-3").await.unwrap();
    let manifest = desk.id(&below, "manifest.json").unwrap();
    let touched = desk.copies.open(ROOT, manifest, true).await.unwrap();
    desk.copies.flush(touched).await.unwrap();
    desk.copies.release(touched).await;
    assert!(matches!(desk.copies.rmdir(ROOT, &below, "shop").await, Err(FsError::NotEmpty)));
    assert!(desk.copies.create(ROOT, &below, "notes.txt", 0o644, true).await.is_err());
    assert_eq!((desk.state("node1"), job()), ("cancelled".to_owned(), before));

    // The first file that goes is what makes it another set; nothing is begun for what is left.
    desk.copies.unlink(ROOT, &below, "schema.cql").await.unwrap();
    assert_eq!((desk.state("node1").as_str(), job()), ("partial", None));
    remove_all(&desk, ROOT, &below).await.unwrap();
    assert_eq!(desk.begun().len(), 1);
    assert!(copy.all().await.is_empty());
    desk.until_begun(2).await;
}

#[tokio::test]
async fn a_restore_that_cannot_be_begun_says_so_until_the_set_is_changed() {
    let state = tempfile::tempdir().unwrap();
    let desk = CopyDesk::new(state.path());
    let copy = Copy::new(&desk, Tool::Cp, &snapshot("diff1", "node1"));
    desk.restores.fail_once();
    assert!(copy.all().await.is_empty());
    until("its failure", || desk.state("node1") == "failed").await;
    let error = || desk.copies.set(&copy.below).unwrap().error;
    assert!(error().contains("copy the same once more"), "{}", error());
    desk.copies.mkdir(ROOT, &copy.below, "x", 0o755).await.unwrap();
    assert_eq!(desk.state("node1"), "failed");
    assert!(copy.all().await.is_empty());
    desk.until_begun(1).await;
    assert_eq!(error(), "");
}

#[tokio::test]
async fn a_job_that_was_not_told_that_its_set_is_whole_is_told_again() {
    let state = tempfile::tempdir().unwrap();
    let desk = CopyDesk::new(state.path());
    let copy = Copy::new(&desk, Tool::Bytes, &snapshot("diff1", "node1"));
    assert!(copy.all().await.is_empty());
    desk.until_begun(1).await;
    until("its job", || desk.copies.set(&copy.below).is_some_and(|set| set.job.is_some())).await;
    desk.restores.moves_to(JobState::Waiting);
    assert!(copy.all().await.is_empty());
    desk.restores.fail_once();
    let settled = || desk.restores.told.borrow().contains(&Told::Settled(UnixSeconds(1000)));
    until("the word that it is whole", settled).await;
}

#[tokio::test]
async fn a_new_restore_is_being_staged_and_never_pending() {
    let state = tempfile::tempdir().unwrap();
    let desk = CopyDesk::new(state.path());
    let copy = Copy::new(&desk, Tool::Cp, &snapshot("diff1", "node1"));
    assert!(copy.all().await.is_empty());
    desk.until_begun(1).await;
    until("its job", || desk.copies.set(&copy.below).is_some_and(|set| set.job.is_some())).await;
    desk.restores.moves_to(JobState::Pending);
    assert_eq!(desk.state("node1"), "staging");
}

#[tokio::test]
async fn what_is_written_to_control_files_reaches_the_job() {
    let state = tempfile::tempdir().unwrap();
    let desk = CopyDesk::new(state.path());
    let copy = Copy::new(&desk, Tool::Cp, &snapshot("diff1", "node1"));
    let below = copy.below.clone();
    let nothing = desk.copies.told(ROOT, &below, ControlFile::Commit, "now").await;
    assert!(matches!(nothing, Err(FsError::Invalid(_))), "{nothing:?}");
    assert!(copy.all().await.is_empty());
    desk.until_begun(1).await;
    until("its job", || desk.copies.set(&below).is_some_and(|set| set.job.is_some())).await;
    desk.copies.told(ROOT, &below, ControlFile::Commit, "now").await.unwrap();
    desk.copies.told(ROOT, &below, ControlFile::Cancel, "1").await.unwrap();
    desk.copies.told(ROOT, &below, ControlFile::Undo, "1").await.unwrap();
    let told = desk.restores.told.borrow().clone();
    assert!(told.contains(&Told::Commit("now".to_owned())) && told.contains(&Told::Undo));
    assert_eq!(desk.state("node1"), "cancelled");
}

#[tokio::test]
async fn what_was_copied_reads_back_as_it_is_stored() {
    for tool in TOOLS {
        let state = tempfile::tempdir().unwrap();
        let desk = CopyDesk::new(state.path());
        let of = snapshot("diff2", "node1");
        let copy = Copy::new(&desk, tool, &of);
        assert!(copy.all().await.is_empty());
        desk.until_begun(1).await;
        for path in desk.paths(&of) {
            let id = desk.id(&copy.below, &path).unwrap();
            let entry = desk.copies.entry(id).unwrap();
            let bytes = desk.bytes(&of, &path);
            assert_eq!(entry.size, u64::try_from(bytes.len()).unwrap(), "{tool:?} {path}");
            let handle = desk.copies.open(OTHER, id, false).await.unwrap();
            let mut read = desk.copies.read(handle, 0, 7).await.unwrap();
            read.extend(desk.copies.read(handle, 7, 1 << 20).await.unwrap());
            desk.copies.release(handle).await;
            assert_eq!(read, bytes, "{tool:?} {path}");
        }
    }
}
