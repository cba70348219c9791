//! Taking back what was copied and is not published.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use crate::agent::protocol::Withdraw;
use crate::cluster::{AgentLine, Deaf};
use crate::model::{BackupName, Fqdn};

use super::agents::{on_agents, why};
use super::{Context, Record};

/// For removing what was not published.
const WITHDRAW_WITHIN: Duration = Duration::from_mins(10);

/// Takes back what was copied by nodes that are not to be kept. What fails here stays open in the
/// journal, so that the job's `error` names it.
pub(super) async fn withdraw(
    cx: &Context,
    agents: &BTreeMap<Fqdn, AgentLine>,
    backup: &BackupName,
    keep: &BTreeSet<Fqdn>,
) {
    let unpublished = agents.iter().filter(|(name, _)| !keep.contains(*name));
    let unpublished: BTreeMap<_, _> =
        unpublished.map(|(name, agent)| (name.clone(), agent.clone())).collect();
    let answers = on_agents(cx, unpublished.len(), &unpublished, |node, agent| {
        let request = Withdraw { backup: backup.clone(), node };
        async move { agent.ask(request, Some(WITHDRAW_WITHIN), Arc::new(Deaf)).await }
    })
    .await;
    for (node, answer) in answers {
        let written = match answer {
            Ok(_) => cx.write(Record::Withdrawn { node: node.clone() }),
            Err(error) => {
                cx.board.log(&format!("{node}: left unnamed files on the share: {}", why(&error)));
                continue;
            }
        };
        if let Err(error) = written {
            cx.board.log(&format!("{node}: that all is taken back is not written down: {error}"));
        }
    }
}
