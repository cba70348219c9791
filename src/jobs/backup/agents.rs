//! The same work on the agents of many nodes.

use std::collections::BTreeMap;

use crate::cluster::{AgentLine, ClusterError, on_all};
use crate::model::Fqdn;

use super::Context;

/// Does `work` with every agent, `width` at a time, and has an answer for each: a node whose task
/// here broke off has failed.
pub(super) async fn on_agents<T, F>(
    cx: &Context,
    width: usize,
    agents: &BTreeMap<Fqdn, AgentLine>,
    work: impl Fn(Fqdn, AgentLine) -> F,
) -> BTreeMap<Fqdn, Result<T, ClusterError>>
where
    T: Send + 'static,
    F: Future<Output = Result<T, ClusterError>> + Send + 'static,
{
    let lines = agents.iter().map(|(name, agent)| (name.clone(), agent.clone()));
    let mut answers = on_all(&cx.scope, width, lines, work).await;
    for name in agents.keys() {
        answers.entry(name.clone()).or_insert_with(|| {
            let why = "the job's own task broke off; its log says why".to_owned();
            Err(ClusterError::Gone { node: name.to_string(), why })
        });
    }
    answers
}

/// What a node says itself, or what became of the line to it.
pub(super) fn why(error: &ClusterError) -> String {
    error.fault().map_or_else(|| error.in_words(), ToString::to_string)
}
