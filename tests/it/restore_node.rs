//! A restore on the node: real directories and owners, a Cassandra that is played.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use medusafs::agent::restore::protocol::{Reached, RestoreRequest};
use medusafs::agent::restore::{Listener, Order, OtherKeyspaces, RestoreError};
use medusafs::model::{JobId, JobState};
use tokio_util::sync::CancellationToken;

use crate::support::mortal::Life;
use crate::support::node::{CASSANDRA, Node};
use crate::support::restoring::{Agent, JOB, NobodyListens, immortal, job, order, until};

#[tokio::test]
async fn a_restore_brings_back_the_backup_and_an_undo_what_was_there() {
    let node = Node::with_two_disks();
    let before = node.tree();
    let agent = immortal(&node);
    let plan = agent.plan(&order(JOB)).await.unwrap();
    assert_eq!(node.tree(), before, "a plan changes nothing");
    assert_eq!(plan.obstacles, Vec::<String>::new());
    assert!(plan.running);
    let report = agent.restore(&order(JOB)).await.unwrap();
    assert_eq!((report.state, report.reached), (JobState::Done, Reached::Started));
    assert!(!report.fenced && report.kept_until.is_some());
    node.assert_restored();
    node.cassandra_writes("shop/orders-1/oa-9-big-Data.db");
    let report = agent.undo().await.unwrap();
    assert_eq!(report.state, JobState::Undone);
    assert_eq!(node.tree(), before);
    assert!(node.cassandra().is_running());
}

#[tokio::test]
async fn a_plan_names_what_would_be_set_aside_and_what_is_here() {
    let node = Node::with_two_disks();
    let plan = immortal(&node).plan(&order(JOB)).await.unwrap();
    let shown = |tables: &[medusafs::agent::restore::protocol::TableOnDisk]| {
        let names = tables.iter().map(|it| format!("{}/{}", it.keyspace, it.directory));
        names.collect::<Vec<_>>()
    };
    assert_eq!(shown(&plan.set_aside.tables_not_in_backup), ["shop/later-3"]);
    assert_eq!(plan.set_aside.snapshots, ["mine"]);
    let keyspaces: Vec<_> = plan.set_aside.keyspaces.iter().map(ToString::to_string).collect();
    assert_eq!(keyspaces, ["shop", "system"]);
    assert!(plan.files_here > 0 && plan.files_here < plan.files, "{plan:?}");
}

#[tokio::test]
async fn files_that_the_node_has_are_linked_and_changed_ones_are_copied() {
    let node = Node::with_two_disks();
    let agent = immortal(&node);
    let staged = agent.stage(&order(JOB)).await.unwrap();
    // The unchanged SSTable but for its digest, which is read from the backup.
    assert_eq!(staged.linked_files, 2, "{staged:?}");
    let inode = |path: PathBuf| fs::metadata(path).unwrap().ino();
    let live = node.data(1).join("shop/orders-1/oa-1-big-Data.db");
    let staged = node.job_folder(1).join("stage/shop/orders-1/oa-1-big-Data.db");
    assert_eq!(inode(live), inode(staged));
    // The same name and size with another content: a TRUNCATE and a restart make such.
    let changed = node.job_folder(0).join("stage/shop/orders-1/oa-2-big-Data.db");
    assert_eq!(fs::read_to_string(changed).unwrap(), "orders two, as backed up");
}

#[tokio::test]
async fn what_is_placed_belongs_to_whom_the_data_directory_belongs() {
    let node = Node::with_two_disks();
    immortal(&node).restore(&order(JOB)).await.unwrap();
    for (path, found) in node.tree() {
        if path.starts_with(node.data(0)) || path.starts_with(node.data(1)) {
            assert_eq!((found.uid, found.gid), (CASSANDRA, CASSANDRA), "{}", path.display());
        }
    }
}

#[tokio::test]
async fn a_second_stage_copies_nothing_again() {
    let node = Node::with_two_disks();
    immortal(&node).stage(&order(JOB)).await.unwrap();
    node.share_gives_nothing();
    let again = immortal(&node).stage(&order(JOB)).await.unwrap();
    assert_eq!(again.kept_files, again.files);
}

#[tokio::test]
async fn a_damaged_object_is_named_and_nothing_is_stopped() {
    let node = Node::with_two_disks();
    node.share_garbles("oa-2-big-Data.db");
    let agent = immortal(&node);
    let error = agent.stage(&order(JOB)).await.unwrap_err();
    assert!(matches!(error, RestoreError::Damaged { .. }), "{error:?}");
    assert!(error.to_string().contains("oa-2-big-Data.db"), "{error}");
    assert!(matches!(agent.swap(Reached::Started).await, Err(RestoreError::Refused { .. })));
    assert!(node.cassandra().is_running());
}

#[tokio::test]
async fn a_share_that_hangs_costs_the_time_it_was_given_and_no_more() {
    let node = Node::with_two_disks();
    node.share_hangs();
    let patient = Order { share_seconds: 1, ..order(JOB) };
    let error = immortal(&node).stage(&patient).await.unwrap_err();
    assert!(matches!(error, RestoreError::Share { .. }), "{error:?}");
    node.share_answers_again();
}

#[tokio::test]
async fn another_manifest_than_the_planned_one_is_refused() {
    let node = Node::with_two_disks();
    let agent = immortal(&node);
    let plan = agent.plan(&order(JOB)).await.unwrap();
    let planned = Order { manifest: Some(plan.manifest), ..order(JOB) };
    agent.stage(&planned).await.unwrap();
    let other = medusafs::model::Md5([7; 16]);
    let other = Order { manifest: Some(other), ..order(JOB) };
    assert!(matches!(
        immortal(&node).stage(&other).await,
        Err(RestoreError::Refused { .. } | RestoreError::Busy(_))
    ));
}

#[tokio::test]
async fn a_stage_of_another_manifest_begins_anew() {
    let node = Node::with_two_disks();
    immortal(&node).stage(&order(JOB)).await.unwrap();
    let of_the_index = |number| node.job_folder(number).join("stage/shop/orders-1/.by_city");
    assert!([0, 1].into_iter().any(|number| of_the_index(number).exists()));
    node.share_forgets(".by_city/oa-1-big-Data.db");
    let staged = immortal(&node).stage(&order(JOB)).await.unwrap();
    assert_eq!(staged.kept_files, 0, "what has the same size may be another file");
    assert!([0, 1].into_iter().all(|number| !of_the_index(number).exists()));
}

#[tokio::test]
async fn one_conversation_stages_one_manifest() {
    let node = Node::with_two_disks();
    let agent = immortal(&node);
    agent.stage(&order(JOB)).await.unwrap();
    node.share_forgets(".by_city/oa-1-big-Data.db");
    let error = agent.stage(&order(JOB)).await.unwrap_err();
    assert!(matches!(error, RestoreError::Refused { .. }), "{error:?}");
    agent.report(RestoreRequest::Abort { job: job() }).await.unwrap();
    agent.stage(&order(JOB)).await.unwrap();
}

#[tokio::test]
async fn what_the_backup_does_not_hold_is_not_placed() {
    let node = Node::with_two_disks();
    let agent = immortal(&node);
    agent.stage(&order(JOB)).await.unwrap();
    let stage = node.job_folder(0).join("stage");
    let keyspace = fs::read_dir(&stage).unwrap().next().unwrap().unwrap().path();
    fs::write(keyspace.join("oa-7-big-Data.db"), "somebody else's").unwrap();
    let error = agent.swap(Reached::Started).await.unwrap_err();
    assert!(error.to_string().contains("oa-7-big-Data.db"), "{error}");
    assert!(node.cassandra().serves() && node.fence().is_none());
}

#[tokio::test]
async fn of_a_large_file_no_more_than_a_batch_waits_for_the_disk() {
    let node = Node::with_two_disks();
    let path = node.share_has_a_large_file(130 << 20);
    let agent = immortal(&node);
    agent.stage(&order(JOB)).await.unwrap();
    assert_eq!(agent.life.flushes(), 2);
    let staged = [0, 1].map(|number| node.job_folder(number).join("stage").join(&path));
    let lengths = staged.iter().filter_map(|path| Some(fs::metadata(path).ok()?.len()));
    assert_eq!(lengths.collect::<Vec<_>>(), [130 << 20]);
}

#[tokio::test]
async fn a_disk_that_is_slow_to_take_a_line_keeps_nobody_else_waiting() {
    let node = Node::with_two_disks();
    let agent = Agent::born(&node, Life::slow());
    let order = order(JOB);
    let letting = async {
        loop {
            agent.life.lets_append();
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::select! {
        report = agent.restore(&order) => assert_eq!(report.unwrap().state, JobState::Done),
        () = letting => {}
    }
    node.assert_restored();
}

#[tokio::test]
async fn a_live_file_that_cannot_be_opened_is_copied_instead() {
    let node = Node::with_two_disks();
    node.share_hangs();
    let agent = immortal(&node);
    let order = order(JOB);
    let (staged, ()) = tokio::join!(agent.stage(&order), async {
        // By then it was seen, and its SSTable waits for its digest.
        until(|| node.job_folder(1).join("part").exists()).await;
        let live = node.data(1).join("shop/orders-1/oa-1-big-Data.db");
        fs::remove_file(&live).unwrap();
        fs::create_dir(&live).unwrap();
        node.share_answers_again();
    });
    assert_eq!(staged.unwrap().linked_files, 1, "its Statistics.db alone");
}

#[tokio::test]
async fn a_conversation_that_breaks_before_the_stop_leaves_nothing() {
    let node = Node::with_two_disks();
    let before = node.tree_with_hidden();
    let agent = immortal(&node);
    agent.stage(&order(JOB)).await.unwrap();
    agent.session.is_over().await;
    assert_eq!(node.tree_with_hidden(), before);
}

#[tokio::test]
async fn a_conversation_that_breaks_after_the_stop_leaves_the_node_stopped_and_fenced() {
    let node = Node::with_two_disks();
    let agent = immortal(&node);
    agent.stage(&order(JOB)).await.unwrap();
    let report = agent.swap(Reached::Stopped).await.unwrap();
    assert!(report.fenced && report.remedy.is_some());
    agent.session.is_over().await;
    drop(agent);
    node.somebody_starts_cassandra();
    assert!(!node.cassandra().is_running());
    let report = immortal(&node).swap(Reached::Started).await.unwrap();
    assert_eq!(report.state, JobState::Done);
    node.assert_restored();
}

#[tokio::test]
async fn two_agents_never_work_on_one_node() {
    let node = Node::with_two_disks();
    let (one, other) = (immortal(&node), immortal(&node));
    one.stage(&order(JOB)).await.unwrap();
    let error = other.swap(Reached::Started).await.unwrap_err();
    assert!(matches!(error, RestoreError::Busy(_)), "{error:?}");
    one.session.is_over().await;
}

#[tokio::test]
async fn an_unfinished_restore_stops_another_from_beginning() {
    let node = Node::with_two_disks();
    let one = immortal(&node);
    one.stage(&order(JOB)).await.unwrap();
    one.swap(Reached::Placed).await.unwrap();
    drop(one);
    let next = immortal(&node);
    let other = order("20261123T000000Z-restore-nightly");
    let plan = next.plan(&other).await.unwrap();
    assert!(plan.obstacles.iter().any(|it| it.contains(JOB)), "{:?}", plan.obstacles);
    assert!(matches!(next.stage(&other).await, Err(RestoreError::Refused { .. })));
}

#[tokio::test]
async fn a_node_that_was_down_is_restored_and_stays_down_when_undone() {
    let node = Node::with_two_disks();
    node.cassandra().kill();
    let before = node.tree();
    let agent = immortal(&node);
    agent.restore(&order(JOB)).await.unwrap();
    node.assert_restored();
    agent.undo().await.unwrap();
    assert_eq!(node.tree(), before);
    assert!(!node.cassandra().is_running());
}

#[tokio::test]
async fn keyspaces_that_the_backup_lacks_stay_unless_the_whole_cluster_goes_back() {
    let node = Node::with_two_disks();
    immortal(&node).restore(&order(JOB)).await.unwrap();
    assert!(node.data(0).join("newer/things-4").is_dir());
    let node = Node::with_two_disks();
    let before = node.tree();
    let whole = Order { other_keyspaces: OtherKeyspaces::SetAside, ..order(JOB) };
    let agent = immortal(&node);
    agent.restore(&whole).await.unwrap();
    assert!(!node.data(0).join("newer").exists());
    agent.undo().await.unwrap();
    assert_eq!(node.tree(), before);
}

#[tokio::test]
async fn what_was_set_aside_goes_when_its_time_is_over() {
    let node = Node::with_two_disks();
    immortal(&node).restore(&order(JOB)).await.unwrap();
    assert!(node.job_folder(0).join("aside/shop").is_dir());
    let next = order("20261123T000000Z-restore-nightly");
    immortal(&node).stage(&next).await.unwrap();
    assert!(node.job_folder(0).join("aside/shop").is_dir());
    node.days_pass(8);
    let later = order("20261130T000000Z-restore-nightly");
    immortal(&node).session.is_over().await;
    let error = immortal(&node).stage(&later).await.unwrap_err();
    assert!(matches!(error, RestoreError::Refused { .. }), "the second one has not ended: {error}");
    assert!(!node.job_folder(0).exists());
}

#[tokio::test]
async fn any_agent_removes_what_is_over_but_not_what_it_was_asked_about() {
    let node = Node::with_two_disks();
    let before = node.tree();
    immortal(&node).restore(&order(JOB)).await.unwrap();
    node.days_pass(8);
    let agent = immortal(&node);
    agent.session.sweep(&job());
    assert_eq!(agent.undo().await.unwrap().state, JobState::Undone);
    assert_eq!(node.tree(), before);
    node.days_pass(8);
    drop(agent);
    immortal(&node).session.sweep(&JobId::parse("20261123T000000Z-backup-nightly").unwrap());
    until(|| !node.data(0).join(".medusafs").exists()).await;
    assert!(!node.data(1).join(".medusafs").exists());
}

#[tokio::test]
async fn threads_that_hang_on_the_share_change_nothing_after_the_stage_was_called_off() {
    let node = Node::with_two_disks();
    let before = node.tree_with_hidden();
    node.share_hangs();
    let agent = immortal(&node);
    let (cancelled, listener) = (CancellationToken::new(), Arc::new(NobodyListens));
    let listener: Arc<dyn Listener> = listener;
    let request = RestoreRequest::Stage(order(JOB));
    let (staged, ()) = tokio::join!(agent.session.handle(request, &cancelled, &listener), async {
        until(|| node.is_share_waited_for()).await;
        cancelled.cancel();
    });
    assert!(matches!(staged, Err(RestoreError::CalledOff)), "{staged:?}");
    assert_eq!(node.tree_with_hidden(), before);
    drop(agent);
    assert!(node.is_share_in_use());
    node.share_answers_again();
    until(|| !node.is_share_in_use()).await;
    assert_eq!(node.tree_with_hidden(), before);
}

#[tokio::test]
async fn a_forgotten_restore_leaves_no_trace() {
    let node = Node::with_two_disks();
    let agent = immortal(&node);
    agent.restore(&order(JOB)).await.unwrap();
    agent.report(RestoreRequest::Clean { job: job(), forget: true }).await.unwrap();
    let hidden: Vec<_> =
        node.tree_with_hidden().into_keys().filter(|path| path.ends_with(".medusafs")).collect();
    assert_eq!(hidden, Vec::<PathBuf>::new());
    assert!(matches!(agent.undo().await, Err(RestoreError::Refused { .. })));
}

#[tokio::test]
async fn a_fence_says_what_to_do_where_cassandra_points_to_it() {
    let node = Node::with_two_disks();
    let agent = immortal(&node);
    agent.stage(&order(JOB)).await.unwrap();
    agent.swap(Reached::Stopped).await.unwrap();
    for number in [0, 1] {
        let found = fs::metadata(node.data(number)).unwrap();
        assert_eq!((found.uid(), found.mode() & 0o7777), (0, 0o700), "closed to all but root");
    }
    let text = fs::read_to_string(node.fence().unwrap()).unwrap();
    assert!(text.contains(&format!("medusafs resume {JOB}")), "{text}");
    assert!(text.contains(&format!("chown {CASSANDRA}:{CASSANDRA}")), "{text}");
}
