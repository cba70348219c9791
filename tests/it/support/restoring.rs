//! An agent's restore side, as tests ask it.

use std::sync::Arc;
use std::time::Duration;

use medusafs::agent::restore::protocol::{
    Commands, JobReport, NodeStep, PlanFacts, Reached, RestoreReply, RestoreRequest, Staged,
};
use medusafs::agent::restore::{
    Listener, Order, OtherKeyspaces, RestoreError, RestoreSession, Tools,
};
use medusafs::model::{BackupName, ByteSize, Fqdn, JobId, Progress};
use tokio_util::sync::CancellationToken;

use super::mortal::{Life, MortalDisk};
use super::node::{Node, PlayedCassandra};

pub(crate) const JOB: &str = "20261122T161400Z-restore-nightly";
const DAY: u64 = 86_400;

pub(crate) fn order(job: &str) -> Order {
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

pub(crate) struct NobodyListens;

impl Listener for NobodyListens {
    fn progress(&self, _: Progress) {}
    fn step(&self, _: NodeStep) {}
    fn note(&self, _: &str) {}
}

fn commands() -> Commands {
    Commands { stop: vec!["stop".to_owned()], start: vec!["start".to_owned()] }
}

/// One life of an agent: from its start to its end, or to the power cut.
pub(crate) struct Agent {
    pub(crate) session: RestoreSession,
    pub(crate) life: Arc<Life>,
}

type Failed = RestoreError;

impl Agent {
    pub(crate) fn born(node: &Node, life: Arc<Life>) -> Self {
        let tools = Tools {
            disk: Arc::new(MortalDisk(Arc::clone(&life))),
            daemon: Arc::new(PlayedCassandra::new(node.cassandra(), Arc::clone(&life))),
            clock: node.clock(),
        };
        let session = RestoreSession::new(node.directories(), tools, node.share());
        Self { session, life }
    }

    pub(crate) async fn ask(&self, request: RestoreRequest) -> Result<RestoreReply, Failed> {
        let listener: Arc<dyn Listener> = Arc::new(NobodyListens);
        self.session.handle(request, &CancellationToken::new(), &listener).await
    }

    pub(crate) async fn plan(&self, order: &Order) -> Result<PlanFacts, Failed> {
        match self.ask(RestoreRequest::Plan(order.clone())).await? {
            RestoreReply::Plan(facts) => Ok(facts),
            other => unreachable!("{other:?}"),
        }
    }

    pub(crate) async fn stage(&self, order: &Order) -> Result<Staged, Failed> {
        match self.ask(RestoreRequest::Stage(order.clone())).await? {
            RestoreReply::Staged(staged) => Ok(staged),
            other => unreachable!("{other:?}"),
        }
    }

    pub(crate) async fn report(&self, request: RestoreRequest) -> Result<JobReport, Failed> {
        match self.ask(request).await? {
            RestoreReply::Report(report) => Ok(report),
            other => unreachable!("{other:?}"),
        }
    }

    pub(crate) async fn swap(&self, until: Reached) -> Result<JobReport, Failed> {
        self.report(RestoreRequest::Swap { job: job(), until }).await
    }

    pub(crate) async fn undo(&self) -> Result<JobReport, Failed> {
        self.report(RestoreRequest::Undo { job: job(), commands: commands() }).await
    }

    pub(crate) async fn resume(&self) -> Result<JobReport, Failed> {
        self.report(RestoreRequest::Resume { job: job(), commands: commands() }).await
    }

    pub(crate) async fn restore(&self, order: &Order) -> Result<JobReport, Failed> {
        self.stage(order).await?;
        self.swap(Reached::Started).await
    }
}

pub(crate) fn job() -> JobId {
    JobId::parse(JOB).unwrap()
}

pub(crate) fn immortal(node: &Node) -> Agent {
    Agent::born(node, Life::endless())
}

/// What follows an error or a power cut.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Then {
    Resume,
    Undo,
}

/// Ends what an agent left, as a job does it that is told to.
pub(crate) async fn mend(agent: &Agent, then: Then) {
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

/// Polls until `is_so`; the deadline is that of a machine with other things to do.
pub(crate) async fn until(is_so: impl Fn() -> bool) {
    let until = std::time::Instant::now() + Duration::from_mins(1);
    while !is_so() {
        assert!(std::time::Instant::now() < until, "it does not come about");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
