//! A restore on the node: real directories and owners, a Cassandra that is played.
//!
//! The one thing that must never happen, whenever the machine dies, is a Cassandra that serves half
//! a restore: the played one looks at all of its data whenever anybody starts it.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use medusafs::agent::restore::protocol::{
    Commands, JobReport, NodeStep, PlanFacts, Reached, RestoreReply, RestoreRequest, Staged,
};
use medusafs::agent::restore::{
    Listener, Order, OtherKeyspaces, RestoreError, RestoreSession, Tools,
};
use medusafs::model::{BackupName, ByteSize, Fqdn, JobId, JobState, Progress};
use test_case::test_case;
use tokio_util::sync::CancellationToken;

use crate::support::mortal::{Life, MortalDisk};
use crate::support::node::{CASSANDRA, Node, PlayedCassandra};

const JOB: &str = "20261122T161400Z-restore-nightly";
const DAY: u64 = 86_400;

fn order(job: &str) -> Order {
    Order {
        job: JobId::parse(job).unwrap(),
        backup: BackupName::parse("nightly").unwrap(),
        node: Fqdn::parse("node1").unwrap(),
        store: "/mnt/backup/medusa".into(),
        prefix: None,
        manifest: None,
        other_keyspaces: OtherKeyspaces::Stay,
        stop_command: vec!["stop".to_owned()],
        start_command: vec!["start".to_owned()],
        bandwidth: ByteSize(0),
        threads: 2,
        undo_keep_seconds: 7 * DAY,
        share_seconds: 20,
        drain_seconds: 5,
        stop_seconds: 5,
        start_seconds: 5,
    }
}

struct NobodyListens;

impl Listener for NobodyListens {
    fn progress(&self, _: Progress) {}
    fn step(&self, _: NodeStep) {}
    fn note(&self, _: &str) {}
}

fn commands() -> Commands {
    Commands { stop: vec!["stop".to_owned()], start: vec!["start".to_owned()] }
}

/// One life of an agent: from its start to its end, or to the power cut.
struct Agent {
    session: RestoreSession,
    life: Arc<Life>,
}

type Failed = RestoreError;

impl Agent {
    fn born(node: &Node, life: Arc<Life>) -> Self {
        let tools = Tools {
            disk: Arc::new(MortalDisk(Arc::clone(&life))),
            daemon: Arc::new(PlayedCassandra::new(node.cassandra(), Arc::clone(&life))),
            clock: node.clock(),
        };
        let session = RestoreSession::new(node.directories(), tools, node.share());
        Self { session, life }
    }

    async fn ask(&self, request: RestoreRequest) -> Result<RestoreReply, Failed> {
        let listener: Arc<dyn Listener> = Arc::new(NobodyListens);
        self.session.handle(request, &CancellationToken::new(), &listener).await
    }

    async fn plan(&self, order: &Order) -> Result<PlanFacts, Failed> {
        match self.ask(RestoreRequest::Plan(order.clone())).await? {
            RestoreReply::Plan(facts) => Ok(facts),
            other => unreachable!("{other:?}"),
        }
    }

    async fn stage(&self, order: &Order) -> Result<Staged, Failed> {
        match self.ask(RestoreRequest::Stage(order.clone())).await? {
            RestoreReply::Staged(staged) => Ok(staged),
            other => unreachable!("{other:?}"),
        }
    }

    async fn report(&self, request: RestoreRequest) -> Result<JobReport, Failed> {
        match self.ask(request).await? {
            RestoreReply::Report(report) => Ok(report),
            other => unreachable!("{other:?}"),
        }
    }

    async fn swap(&self, until: Reached) -> Result<JobReport, Failed> {
        self.report(RestoreRequest::Swap { job: job(), until }).await
    }

    async fn undo(&self) -> Result<JobReport, Failed> {
        self.report(RestoreRequest::Undo { job: job(), commands: commands() }).await
    }

    async fn resume(&self) -> Result<JobReport, Failed> {
        self.report(RestoreRequest::Resume { job: job(), commands: commands() }).await
    }

    async fn restore(&self, order: &Order) -> Result<JobReport, Failed> {
        self.stage(order).await?;
        self.swap(Reached::Started).await
    }
}

fn job() -> JobId {
    JobId::parse(JOB).unwrap()
}

fn immortal(node: &Node) -> Agent {
    Agent::born(node, Life::endless())
}

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

/// What follows an error or a power cut.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Then {
    Resume,
    Undo,
}

#[test_case(Then::Resume; "resumed")]
#[test_case(Then::Undo; "undone")]
#[tokio::test]
async fn a_cassandra_that_does_not_stop_is_told_of_as_drained_and_serves_in_the_end(then: Then) {
    let node = Node::with_two_disks();
    let before = node.tree();
    let agent = immortal(&node);
    agent.stage(&order(JOB)).await.unwrap();
    node.cassandra().refuses_to_stop(true);
    let error = agent.swap(Reached::Started).await.unwrap_err();
    assert!(matches!(error, RestoreError::Cassandra { .. }), "{error:?}");
    assert!(error.to_string().contains("out of service: it is drained"), "{error}");
    assert_eq!(node.tree(), before);
    assert!(node.cassandra().is_running() && !node.cassandra().serves());
    // The same again, as long as it does not end; and what the job shows says why.
    agent.resume().await.unwrap_err();
    let RestoreReply::Journal(reports) = agent.ask(RestoreRequest::Journal {}).await.unwrap()
    else {
        unreachable!()
    };
    assert!(reports[0].error.as_ref().unwrap().contains("it is drained"), "{reports:?}");
    assert!(!reports[0].fenced);
    drop(agent);
    node.cassandra().refuses_to_stop(false);
    let agent = immortal(&node);
    match then {
        Then::Resume => {
            assert_eq!(agent.resume().await.unwrap().state, JobState::Done);
            node.assert_restored();
        }
        Then::Undo => {
            assert_eq!(agent.undo().await.unwrap().state, JobState::Undone);
            assert_eq!(node.tree(), before);
        }
    }
    assert!(node.cassandra().serves());
}

#[tokio::test]
async fn a_cassandra_that_ends_after_a_failed_stop_is_started_by_an_undo() {
    let node = Node::with_two_disks();
    let agent = immortal(&node);
    agent.stage(&order(JOB)).await.unwrap();
    node.cassandra().refuses_to_stop(true);
    agent.swap(Reached::Started).await.unwrap_err();
    node.cassandra().kill();
    assert_eq!(agent.undo().await.unwrap().state, JobState::Undone);
    assert!(node.cassandra().serves());
}

#[tokio::test]
async fn a_cassandra_that_is_started_again_and_ends_at_the_fence_is_waited_for() {
    let node = Node::with_two_disks();
    node.cassandra().is_restarted_for(3);
    immortal(&node).restore(&order(JOB)).await.unwrap();
    node.assert_restored();
}

#[tokio::test]
async fn an_undo_whose_stop_fails_leaves_what_was_restored_and_goes_on_later() {
    let node = Node::with_two_disks();
    let before = node.tree();
    let agent = immortal(&node);
    agent.restore(&order(JOB)).await.unwrap();
    node.cassandra().refuses_to_stop(true);
    let error = agent.undo().await.unwrap_err();
    assert!(error.to_string().contains("out of service"), "{error}");
    assert!(node.served_is_restored() && node.fence().is_none());
    node.cassandra().refuses_to_stop(false);
    assert_eq!(agent.undo().await.unwrap().state, JobState::Undone);
    assert_eq!(node.tree(), before);
}

#[tokio::test]
async fn a_cassandra_that_does_not_start_can_be_tried_again_or_undone() {
    let node = Node::with_two_disks();
    let before = node.tree();
    let agent = immortal(&node);
    agent.stage(&order(JOB)).await.unwrap();
    node.cassandra().refuses_to_start(true);
    agent.swap(Reached::Started).await.unwrap_err();
    let report = agent.report(RestoreRequest::Swap { job: job(), until: Reached::Started }).await;
    assert!(report.is_err());
    node.cassandra().refuses_to_start(false);
    assert_eq!(agent.undo().await.unwrap().state, JobState::Undone);
    assert_eq!(node.tree(), before);
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

/// Polls until `is_so`; the deadline is that of a machine with other things to do.
async fn until(is_so: impl Fn() -> bool) {
    let until = std::time::Instant::now() + Duration::from_secs(60);
    while !is_so() {
        assert!(std::time::Instant::now() < until, "it does not come about");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
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

/// The machine dies before each single change that a restore makes to the disk, one after the
/// other; then it boots, and its init system starts Cassandra.
#[test_case(Then::Resume; "resumed")]
#[test_case(Then::Undo; "undone")]
#[tokio::test]
async fn whenever_the_machine_dies_no_half_restore_is_served_and_it_ends_as_asked(then: Then) {
    for breaths in 0.. {
        let node = Node::with_two_disks_in_memory();
        let before = node.tree();
        let agent = Agent::born(&node, Life::of(breaths));
        let ended = agent.restore(&order(JOB)).await;
        let died = agent.life.is_over();
        drop(agent);
        if !died {
            ended.unwrap();
            assert!(breaths > 100, "only {breaths} changes were seen");
            break;
        }
        node.power_cut();
        node.somebody_starts_cassandra();
        let agent = immortal(&node);
        match then {
            Then::Undo => match agent.undo().await {
                Ok(_) | Err(RestoreError::Refused { .. }) => {
                    assert_eq!(node.tree(), before, "dead before change {breaths}");
                }
                Err(error) => unreachable!("dead before change {breaths}: {error:?}"),
            },
            Then::Resume => {
                match agent.resume().await {
                    Ok(_) | Err(RestoreError::Refused { .. }) => {}
                    Err(error) => unreachable!("dead before change {breaths}: {error:?}"),
                }
                // Where it had not come to the stop, or to a first line, the job asks again.
                if agent.swap(Reached::Started).await.is_err() {
                    agent.restore(&order(JOB)).await.unwrap();
                }
                node.assert_restored();
            }
        }
    }
}

/// Ends what an agent left, as a job does it that is told to.
async fn mend(agent: &Agent, then: Then) {
    if then == Then::Undo {
        match agent.undo().await {
            Ok(_) | Err(RestoreError::Refused { .. }) => {}
            Err(error) => unreachable!("{error:?}"),
        }
        return;
    }
    match agent.resume().await {
        Ok(_) | Err(RestoreError::Refused { .. }) => {}
        Err(error) => unreachable!("{error:?}"),
    }
    // Where it had not come to the stop, or to a first line, the job asks again.
    if agent.swap(Reached::Started).await.is_err() {
        agent.restore(&order(JOB)).await.unwrap();
    }
}

/// The agent alone dies before each single change; Cassandra may run on, drained.
#[test_case(Then::Resume; "resumed")]
#[test_case(Then::Undo; "undone")]
#[tokio::test]
async fn whenever_the_agent_dies_cassandra_serves_again_in_the_end(then: Then) {
    for breaths in 0.. {
        let node = Node::with_two_disks_in_memory();
        let before = node.tree();
        let agent = Agent::born(&node, Life::of(breaths));
        drop(agent.restore(&order(JOB)).await);
        if !agent.life.is_over() {
            break;
        }
        drop(agent);
        mend(&immortal(&node), then).await;
        assert!(node.cassandra().serves(), "dead before change {breaths}");
        match then {
            Then::Undo => assert_eq!(node.tree(), before, "dead before change {breaths}"),
            Then::Resume => node.assert_restored(),
        }
    }
}

/// Each single change fails once, as on a full disk, of a line of the journal half; the agent lives.
#[test_case(Then::Resume; "resumed")]
#[test_case(Then::Undo; "undone")]
#[tokio::test]
async fn whatever_fails_once_the_node_serves_or_is_said_not_to_and_it_ends_as_asked(then: Then) {
    for breaths in 0.. {
        let node = Node::with_two_disks_in_memory();
        let before = node.tree();
        let agent = Agent::born(&node, Life::fainting_after(breaths));
        let ended = agent.restore(&order(JOB)).await;
        if !agent.life.is_over() {
            ended.unwrap();
            break;
        }
        if let Err(error) = ended {
            let is_closed = fs::metadata(node.data(0)).unwrap().uid() == 0;
            let is_on_its_way = is_closed || node.served_is_restored();
            let is_told = error.to_string().contains("out of service");
            let serves = node.cassandra().serves();
            assert!(serves || is_told || is_on_its_way, "change {breaths} failed: {error:?}");
        }
        mend(&agent, then).await;
        assert!(node.cassandra().serves(), "change {breaths} failed");
        match then {
            Then::Undo => assert_eq!(node.tree(), before, "change {breaths} failed"),
            Then::Resume => node.assert_restored(),
        }
    }
}

/// The machine dies while what a finished restore set aside is removed, of a tree half.
#[tokio::test]
async fn whenever_the_machine_dies_while_a_restore_is_forgotten_it_is_whole_or_forgotten() {
    let next = order("20261123T000000Z-restore-nightly");
    for breaths in 0.. {
        let node = Node::with_two_disks_in_memory();
        let before = node.tree();
        immortal(&node).restore(&order(JOB)).await.unwrap();
        let agent = Agent::born(&node, Life::of(breaths));
        let ended = agent.report(RestoreRequest::Clean { job: job(), forget: true }).await;
        let died = agent.life.is_over();
        drop(agent);
        node.power_cut();
        node.somebody_starts_cassandra();
        node.assert_restored();
        match immortal(&node).undo().await {
            Ok(_) => assert_eq!(node.tree(), before, "dead before change {breaths}"),
            Err(RestoreError::Refused { .. }) => {
                node.assert_restored();
                let plan = immortal(&node).plan(&next).await.unwrap();
                assert_eq!(plan.obstacles, Vec::<String>::new(), "dead before change {breaths}");
                immortal(&node).stage(&next).await.unwrap();
                for number in [0, 1] {
                    let left = fs::read_dir(node.data(number).join(".medusafs/backups")).unwrap();
                    assert_eq!(left.count(), 1, "dead before change {breaths}");
                }
            }
            Err(error) => unreachable!("dead before change {breaths}: {error:?}"),
        }
        if !died {
            ended.unwrap();
            break;
        }
    }
}

/// The same for an undo of a finished restore.
#[tokio::test]
async fn whenever_the_machine_dies_in_an_undo_no_half_of_it_is_served_and_it_ends() {
    for breaths in 0.. {
        let node = Node::with_two_disks_in_memory();
        let before = node.tree();
        immortal(&node).restore(&order(JOB)).await.unwrap();
        let agent = Agent::born(&node, Life::of(breaths));
        let ended = agent.undo().await;
        let died = agent.life.is_over();
        drop(agent);
        if !died {
            ended.unwrap();
            break;
        }
        node.power_cut();
        node.somebody_starts_cassandra();
        let report = immortal(&node).undo().await.unwrap();
        assert_eq!(report.state, JobState::Undone);
        assert_eq!(node.tree(), before, "dead before change {breaths}");
    }
}

/// It dies twice: in the restore, and in what was to mend it.
#[test_case(Then::Resume; "resumed")]
#[test_case(Then::Undo; "undone")]
#[tokio::test]
async fn a_second_power_cut_while_the_first_is_mended_changes_nothing(then: Then) {
    for first in (60..).step_by(7) {
        let mut first_survived = false;
        for second in (0..).step_by(5) {
            let node = Node::with_two_disks_in_memory();
            let before = node.tree();
            let agent = Agent::born(&node, Life::of(first));
            drop(agent.restore(&order(JOB)).await);
            first_survived = !agent.life.is_over();
            drop(agent);
            node.power_cut();
            node.somebody_starts_cassandra();
            let agent = Agent::born(&node, Life::of(second));
            let mended = match then {
                Then::Undo => agent.undo().await,
                Then::Resume => agent.resume().await,
            };
            let died = agent.life.is_over();
            drop((agent, mended));
            node.power_cut();
            node.somebody_starts_cassandra();
            let agent = immortal(&node);
            match then {
                Then::Undo => {
                    drop(agent.undo().await);
                    assert_eq!(node.tree(), before, "dead before {first}, then before {second}");
                }
                Then::Resume => {
                    drop(agent.resume().await);
                    if agent.swap(Reached::Started).await.is_err() {
                        agent.restore(&order(JOB)).await.unwrap();
                    }
                    node.assert_restored();
                }
            }
            if !died {
                break;
            }
        }
        if first_survived {
            break;
        }
    }
}

#[tokio::test]
async fn what_stands_in_the_way_of_a_repeated_step_is_kept_and_not_mixed_in() {
    let node = Node::with_two_disks_in_memory();
    let before = node.tree();
    let mut kept = 0;
    for breaths in (90..).step_by(3) {
        let node = Node::with_two_disks_in_memory();
        let agent = Agent::born(&node, Life::of(breaths));
        let ended = agent.restore(&order(JOB)).await;
        if ended.is_ok() {
            break;
        }
        drop(agent);
        node.power_cut();
        // Somebody took the fence away and started Cassandra, which made a new node of it, and put
        // the fence back.
        let is_aside = !node.data(0).join("system").exists();
        if is_aside {
            node.cassandra_writes("system/local-7ad5/oa-1-big-Data.db");
        }
        let agent = immortal(&node);
        drop(agent.resume().await);
        if agent.swap(Reached::Started).await.is_err() {
            agent.restore(&order(JOB)).await.unwrap();
        }
        node.assert_restored();
        if is_aside {
            kept += 1;
            let fresh = "in-the-way/0/system/local-7ad5/oa-1-big-Data.db";
            assert!(node.job_folder(0).join(fresh).exists());
        }
        agent.undo().await.unwrap();
        assert_eq!(node.tree().len(), before.len());
    }
    assert!(kept > 3, "{kept}");
}
