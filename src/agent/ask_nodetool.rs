//! What nodetool says, in the words of the wire.

use std::time::Duration;

use super::error::AgentError;
use super::protocol::{
    AskNodetool, Fault, FaultKind, MemberState, NodeInfo, NodetoolFacts, NodetoolSettings,
    RingMember, SchemaVersion,
};
use crate::cassandra::{self, Nodetool, NodetoolError, ProcessError};
use crate::config::{self, NodetoolPassword, Secret};
use crate::observe::ErrorChain;

/// For one question: a Java start on a busy node, and a wait for gossip.
const QUESTION_LIMIT: Duration = Duration::from_mins(1);

/// nodetool as the job wants it called.
pub(super) fn nodetool(settings: &NodetoolSettings) -> Nodetool {
    let NodetoolSettings { program, flags, username, password, password_file, host, port, ssl } =
        settings.clone();
    let given = password.map(|secret| NodetoolPassword::Given(Secret::new(secret.expose())));
    let settings = config::NodetoolSettings {
        executable: program,
        flags,
        ssl,
        username,
        password: given.or(password_file.map(NodetoolPassword::File)),
        host,
        port,
    };
    Nodetool::new(settings)
}

/// Asks what is wished, all at once.
pub(super) async fn ask(nodetool: &Nodetool, wished: AskNodetool) -> NodetoolFacts {
    let (status, info, schema_versions, version) = tokio::join!(
        wish(wished.status, nodetool.status(QUESTION_LIMIT)),
        wish(wished.info, nodetool.info(QUESTION_LIMIT)),
        wish(wished.describecluster, nodetool.describe_cluster(QUESTION_LIMIT)),
        wish(wished.version, nodetool.version(QUESTION_LIMIT)),
    );
    NodetoolFacts {
        status: status.map(|answer| Ok(answer?.into_iter().map(member).collect())),
        info: info.map(|answer| answer.map(node_info)),
        schema_versions: schema_versions.map(|answer| {
            let versions = answer?.schema_versions.into_iter();
            Ok(versions.map(|(version, addresses)| SchemaVersion { version, addresses }).collect())
        }),
        version,
    }
}

async fn wish<T>(
    wished: bool,
    question: impl Future<Output = Result<T, NodetoolError>>,
) -> Option<Result<T, Fault>> {
    if !wished {
        return None;
    }
    Some(question.await.map_err(|error| AgentError::from(error).into()))
}

fn member(member: cassandra::RingMember) -> RingMember {
    RingMember {
        address: member.address,
        datacenter: member.datacenter,
        rack: member.rack,
        host_id: member.host_id,
        up: member.up,
        state: match member.state {
            cassandra::MemberState::Normal => MemberState::Normal,
            cassandra::MemberState::Leaving => MemberState::Leaving,
            cassandra::MemberState::Joining => MemberState::Joining,
            cassandra::MemberState::Moving => MemberState::Moving,
        },
    }
}

fn node_info(info: cassandra::NodeInfo) -> NodeInfo {
    let mut tokens = info.tokens;
    tokens.sort_unstable();
    NodeInfo {
        host_id: info.host_id,
        datacenter: info.datacenter,
        rack: info.rack,
        tokens,
        gossip_active: info.gossip_active,
        native_active: info.native_active,
    }
}

impl From<NodetoolError> for AgentError {
    /// What to do stands in the error's own words.
    fn from(error: NodetoolError) -> Self {
        let kind = match &error {
            NodetoolError::Absent(_) => FaultKind::NoProgram,
            NodetoolError::NotRunning { .. } | NodetoolError::Starting => FaultKind::CassandraDown,
            NodetoolError::WrongPassword { .. }
            | NodetoolError::PasswordWanted
            | NodetoolError::UnfitPassword => FaultKind::Credentials,
            NodetoolError::SnapshotExists { .. } => FaultKind::Exists,
            NodetoolError::NoAnswer { source: ProcessError::TimedOut { .. }, .. } => {
                FaultKind::TimedOut
            }
            NodetoolError::NoAnswer { .. }
            | NodetoolError::Failed { .. }
            | NodetoolError::Garbled { .. } => FaultKind::Nodetool,
        };
        Self::wrong(kind, ErrorChain(&error).to_string(), "")
    }
}
