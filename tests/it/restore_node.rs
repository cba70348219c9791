//! A restore on the node: real directories and owners, a Cassandra that is played.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::Arc;

use medusafs::agent::restore::protocol::{Reached, RestoreRequest};
use medusafs::agent::restore::{
    Listener, OnTheShare, Order, OtherKeyspaces, RestoreError, Sources,
};
use medusafs::model::{JobId, JobState};
use tokio_util::sync::CancellationToken;

use crate::support::archive::{backup as backup_name, node, unpacked};
use crate::support::node::{CASSANDRA, Node};
use crate::support::restoring::{JOB, NobodyListens, immortal, job, order, until};

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

const STATISTICS: &str = "shop/orders-1/oa-1-big-Statistics.db";

/// As Cassandra 5.0.6 wrote it.
const WRITTEN_ANEW: &[u8] = include_bytes!("../fixtures/cassandra/oa-2-big-Statistics.db");

#[tokio::test]
async fn statistics_that_were_written_anew_are_staged_as_they_are_stored() {
    let node = Node::with_two_disks();
    fs::remove_file(node.data(1).join(STATISTICS)).unwrap();
    node.share_writes_over(STATISTICS, WRITTEN_ANEW);
    let agent = immortal(&node);
    let plan = agent.plan(&order(JOB)).await.unwrap();
    assert_eq!((plan.written_anew, plan.obstacles), (1, Vec::new()));
    let staged = agent.stage(&order(JOB)).await.unwrap();
    assert_eq!(staged.written_anew, 1, "{staged:?}");
    let path = node.job_folder(1).join("stage").join(STATISTICS);
    assert_eq!(fs::read(path).unwrap(), WRITTEN_ANEW);
    drop(agent);
    node.share_gives_nothing();
    let again = immortal(&node).stage(&order(JOB)).await.unwrap();
    assert_eq!(again.kept_files, again.files);
}

#[tokio::test]
async fn statistics_that_the_node_has_as_they_were_are_those() {
    let node = Node::with_two_disks();
    node.share_writes_over(STATISTICS, WRITTEN_ANEW);
    let staged = immortal(&node).stage(&order(JOB)).await.unwrap();
    assert_eq!((staged.written_anew, staged.linked_files), (0, 2), "{staged:?}");
}

#[tokio::test]
async fn statistics_that_were_written_over_with_half_a_file_are_damage() {
    let half = WRITTEN_ANEW.len() / 2;
    for bytes in [&WRITTEN_ANEW[..half], b"", b"statistixs"] {
        let node = Node::with_two_disks();
        fs::remove_file(node.data(1).join(STATISTICS)).unwrap();
        node.share_writes_over(STATISTICS, bytes);
        let error = immortal(&node).stage(&order(JOB)).await.unwrap_err();
        assert!(matches!(error, RestoreError::Damaged { .. }), "{error:?}");
        assert!(error.to_string().contains(STATISTICS), "{error}");
    }
}

#[test]
fn what_was_written_over_is_counted_on_the_share() {
    let store = unpacked("whole");
    let of = |backup: &str| {
        let (node, backup) = (node("node1.example.com"), backup_name(backup));
        let order = Order { store: store.path().to_owned(), node, backup, ..order(JOB) };
        let source = OnTheShare.of(&order).unwrap();
        let (_, contents) = source.contents().unwrap();
        source.written_anew(&contents).unwrap()
    };
    let table = "data/shop/orders-1b255f4def2540a60000000000000005";
    for (at, generation) in [("node1.example.com", "nb-2"), ("node1.example.com/full1", "nb-1")] {
        for component in ["Statistics.db", "Data.db"] {
            let name = format!("{table}/{generation}-big-{component}");
            let path = store.path().join(at).join(name);
            assert!(path.exists(), "{}", path.display());
            fs::write(path, "other").unwrap();
        }
    }
    assert_eq!((of("diff2"), of("full1")), (1, 0));
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
        until(|| node.job_folder(0).join("part").exists()).await;
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
