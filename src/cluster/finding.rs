//! What is not as a backup or a restore needs it.

use std::fmt;

use serde::Serialize;

use crate::agent::protocol::Fault;

use super::ClusterError;

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Nothing can be begun.
    Error,
    /// It goes, but somebody should know.
    Warning,
}

/// One thing that was found, where, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// The node, by name or address; none if it is about the cluster or this host.
    pub node: Option<String>,
    /// What is wrong, in words.
    pub what: String,
    /// What to do next; empty where nothing is to be said.
    pub remedy: String,
}

impl Finding {
    /// Something that keeps everything from beginning.
    pub fn error(node: Option<&str>, what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self {
            severity: Severity::Error,
            node: node.map(str::to_owned),
            what: what.into(),
            remedy: remedy.into(),
        }
    }

    /// Something to know.
    pub fn warning(node: Option<&str>, what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, ..Self::error(node, what, remedy) }
    }

    /// A node that could not be reached, or could not do what was asked.
    pub fn of(node: &str, error: &ClusterError) -> Self {
        match error.fault() {
            Some(fault) => Self::fault(node, fault),
            None => Self::error(Some(node), error.in_words(), ""),
        }
    }

    /// What and what next, for where the node stands already.
    pub fn without_node(&self) -> String {
        Self { node: None, ..self.clone() }.to_string()
    }

    /// The same, about this node.
    #[must_use]
    pub fn at(mut self, node: &str) -> Self {
        self.node = Some(node.to_owned());
        self
    }

    /// What a node says itself.
    pub fn fault(node: &str, fault: &Fault) -> Self {
        Self::error(Some(node), fault.what.clone(), fault.remedy.clone())
    }
}

impl fmt::Display for Finding {
    /// On one line: `node2: what; remedy`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(node) = &self.node {
            write!(f, "{node}: ")?;
        }
        f.write_str(&self.what)?;
        if self.remedy.is_empty() { Ok(()) } else { write!(f, "; {}", self.remedy) }
    }
}
