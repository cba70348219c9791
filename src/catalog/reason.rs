//! Why a backup is not complete, in words.

use std::fmt;

use crate::model::Fqdn;

/// Why a backup is not complete.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reason {
    /// Nodes of the ring that have nothing in it.
    Missing(Vec<Fqdn>),
    /// Nodes that began and did not finish.
    Unfinished(Vec<Fqdn>),
    /// Nobody can say which nodes it should have.
    NoRing {
        /// Whose token map it is.
        node: Fqdn,
        /// Why it says nothing.
        why: String,
    },
    /// It is in the index, and its directory is gone.
    DirectoryGone(Fqdn),
    /// The manifest is gone, or cannot be read, in both of its copies.
    NoManifest {
        /// Whose.
        node: Fqdn,
        /// Why it says nothing.
        why: String,
    },
    /// The manifest names no file at all: its snapshot had failed, and Medusa did not notice.
    Empty(Fqdn),
    /// The schema names keyspaces with tables that the manifest has not.
    LacksKeyspaces {
        /// Whose.
        node: Fqdn,
        /// The first of them by name.
        keyspaces: Vec<String>,
        /// How many there are.
        count: usize,
    },
    /// The schema cannot be read, so nobody can say whether all keyspaces are there.
    NoSchema {
        /// Whose.
        node: Fqdn,
        /// Why it says nothing.
        why: String,
    },
    /// Entries of the manifest that are not shown: they lie outside of the node's part of the
    /// store, have no name that a directory could hold, or one that another entry has too.
    Refused {
        /// Whose.
        node: Fqdn,
        /// How many.
        count: u64,
    },
}

impl Reason {
    /// Whom it is about.
    pub fn nodes(&self) -> &[Fqdn] {
        match self {
            Self::Missing(nodes) | Self::Unfinished(nodes) => nodes,
            Self::DirectoryGone(node)
            | Self::Empty(node)
            | Self::NoRing { node, .. }
            | Self::NoManifest { node, .. }
            | Self::LacksKeyspaces { node, .. }
            | Self::NoSchema { node, .. }
            | Self::Refused { node, .. } => std::slice::from_ref(node),
        }
    }
}

fn names(nodes: &[Fqdn]) -> String {
    const SHOWN: usize = 10;
    let text = nodes.iter().take(SHOWN).map(Fqdn::as_str).collect::<Vec<_>>().join(", ");
    match nodes.len().checked_sub(SHOWN) {
        Some(more @ 1..) => format!("{text} and {more} more"),
        _ => text,
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing(nodes) => {
                write!(f, "nodes of the ring have no part in it: {}", names(nodes))
            }
            Self::Unfinished(nodes) => write!(f, "nodes have not finished: {}", names(nodes)),
            Self::NoRing { node, why } => {
                write!(f, "its nodes are not known, for the token map of {node} {why}")
            }
            Self::DirectoryGone(node) => {
                write!(f, "{node} is in the index, but its directory in the store is gone")
            }
            Self::NoManifest { node, why } => write!(f, "the manifest of {node} {why}"),
            Self::Empty(node) => {
                write!(f, "the manifest of {node} names no file: its snapshot had failed")
            }
            Self::LacksKeyspaces { node, keyspaces, count } => {
                let text = keyspaces.join(", ");
                write!(f, "the manifest of {node} lacks keyspaces that its schema has: {text}")?;
                match count.saturating_sub(keyspaces.len()) {
                    0 => Ok(()),
                    more => write!(f, " and {more} more"),
                }
            }
            Self::NoSchema { node, why } => write!(f, "the schema of {node} {why}"),
            Self::Refused { node, count } => write!(
                f,
                "the manifest of {node} names {count} entries that are not shown, for they lie \
                 elsewhere, no directory could hold them, or two have one name: it cannot be \
                 restored by copying"
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_nodes_are_named_up_to_ten() {
        let nodes: Vec<_> = (0..12).map(|n| Fqdn::parse(&format!("n{n}")).unwrap()).collect();
        insta::assert_snapshot!(
            Reason::Missing(nodes),
            @"nodes of the ring have no part in it: n0, n1, n2, n3, n4, n5, n6, n7, n8, n9 and 2 more"
        );
    }
}
