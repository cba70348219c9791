//! What is asked of a node about a restore, each with its own answer.

use std::sync::Arc;
use std::time::Duration;

use crate::agent::protocol::{
    Ask, Commands, JobReport, PlanFacts, ProtocolError, Reached, Reply, Request, RestoreReply,
    RestoreRequest, Staged,
};
use crate::agent::restore::Order;
use crate::model::JobId;

use super::{AgentLine, ClusterError, Deaf, Listener};

/// A small question to the agent.
const BRIEFLY: Duration = Duration::from_mins(1);

/// Reading a manifest and looking at every table's directory of a large node.
const PLAN_WITHIN: Duration = Duration::from_mins(10);

/// Removing stages: directories of files and links.
const TIDY_WITHIN: Duration = Duration::from_mins(30);

impl From<RestoreRequest> for Request {
    fn from(request: RestoreRequest) -> Self {
        Self::Restore(request)
    }
}

impl Ask for RestoreRequest {
    type Answer = RestoreReply;
}

impl TryFrom<Reply> for RestoreReply {
    type Error = ProtocolError;

    fn try_from(reply: Reply) -> Result<Self, ProtocolError> {
        match reply {
            Reply::Restore(reply) => Ok(reply),
            _ => Err(ProtocolError::WrongReply { asked: "Restore" }),
        }
    }
}

impl AgentLine {
    /// What a restore would find and do; changes nothing.
    pub async fn restore_plan(&self, order: &Order) -> Result<PlanFacts, ClusterError> {
        let request = RestoreRequest::Plan(order.clone());
        match self.ask(request, Some(PLAN_WITHIN), Arc::new(Deaf)).await? {
            RestoreReply::Plan(facts) => Ok(facts),
            _ => Err(self.wrong_reply("Plan")),
        }
    }

    /// Brings the files to the node, beside its data. No limit: the node's heartbeats tell that it
    /// works. Dropping the future takes the stage back.
    pub async fn restore_stage(
        &self,
        order: &Order,
        listener: Arc<dyn Listener>,
    ) -> Result<Staged, ClusterError> {
        match self.ask(RestoreRequest::Stage(order.clone()), None, listener).await? {
            RestoreReply::Staged(staged) => Ok(staged),
            _ => Err(self.wrong_reply("Stage")),
        }
    }

    /// Stops Cassandra, swaps, starts. Once begun it is done to its end, whatever becomes of us.
    pub async fn restore_swap(
        &self,
        job: &JobId,
        until: Reached,
        listener: Arc<dyn Listener>,
    ) -> Result<JobReport, ClusterError> {
        let request = RestoreRequest::Swap { job: job.clone(), until };
        self.report("Swap", request, None, listener).await
    }

    /// Goes on with what was broken off.
    pub async fn restore_resume(
        &self,
        job: &JobId,
        commands: Commands,
        listener: Arc<dyn Listener>,
    ) -> Result<JobReport, ClusterError> {
        let request = RestoreRequest::Resume { job: job.clone(), commands };
        self.report("Resume", request, None, listener).await
    }

    /// Puts everything back.
    pub async fn restore_undo(
        &self,
        job: &JobId,
        commands: Commands,
        listener: Arc<dyn Listener>,
    ) -> Result<JobReport, ClusterError> {
        let request = RestoreRequest::Undo { job: job.clone(), commands };
        self.report("Undo", request, None, listener).await
    }

    /// Takes the stage back; refused once Cassandra was touched.
    pub async fn restore_abort(&self, job: &JobId) -> Result<JobReport, ClusterError> {
        let request = RestoreRequest::Abort { job: job.clone() };
        self.report("Abort", request, Some(TIDY_WITHIN), Arc::new(Deaf)).await
    }

    /// Removes what is not needed any more; what was set aside stays for an undo.
    pub async fn restore_clean(&self, job: &JobId) -> Result<JobReport, ClusterError> {
        let request = RestoreRequest::Clean { job: job.clone(), forget: false };
        self.report("Clean", request, Some(TIDY_WITHIN), Arc::new(Deaf)).await
    }

    /// Every restore that left anything on the node.
    pub async fn restore_journal(&self) -> Result<Vec<JobReport>, ClusterError> {
        match self.ask(RestoreRequest::Journal {}, Some(BRIEFLY), Arc::new(Deaf)).await? {
            RestoreReply::Journal(reports) => Ok(reports),
            _ => Err(self.wrong_reply("Journal")),
        }
    }

    async fn report(
        &self,
        asked: &'static str,
        request: RestoreRequest,
        limit: Option<Duration>,
        listener: Arc<dyn Listener>,
    ) -> Result<JobReport, ClusterError> {
        match self.ask(request, limit, listener).await? {
            RestoreReply::Report(report) => Ok(report),
            _ => Err(self.wrong_reply(asked)),
        }
    }

    fn wrong_reply(&self, asked: &'static str) -> ClusterError {
        let source = ProtocolError::WrongReply { asked };
        ClusterError::Wire { node: self.node().to_owned(), source }
    }
}
