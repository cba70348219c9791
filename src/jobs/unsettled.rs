//! What a job that has ended may have left behind, by its journal: told to a person, with the
//! command that settles it.

use std::collections::BTreeMap;

use crate::model::{Fqdn, JobId};

use super::Record;

/// What a journal leaves open of one node.
#[derive(Debug, Default)]
struct Open {
    /// A snapshot of this tag may be there.
    snapshot: Option<String>,
    /// What it copied may be on the share, where nobody names it.
    copied: bool,
    /// It was told to publish, and has not finished as far as is known.
    publishing: Option<Publishing>,
    /// A stage may be there.
    staged: bool,
    /// Cassandra may be stopped and fenced.
    swapping: bool,
}

/// How far a node is known to have published.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Publishing {
    /// It was told to, and nobody knows what came of it.
    Told,
    /// Its manifest is there, and perhaps not all of the index.
    Whole,
}

/// Whether a node was told to publish, and may yet be at it.
pub(super) fn is_publishing(records: &[Record]) -> bool {
    open(records).values().any(|open| open.publishing.is_some())
}

/// What `job` may have left on its nodes and on the share, a sentence for each with what settles
/// it; none if everything that was begun has come to an end.
pub(super) fn unsettled(records: &[Record], job: &JobId) -> Vec<String> {
    open(records).into_iter().flat_map(|(node, open)| open.in_words(node, job)).collect()
}

fn open(records: &[Record]) -> BTreeMap<&Fqdn, Open> {
    let mut nodes: BTreeMap<&Fqdn, Open> = BTreeMap::new();
    for record in records {
        match record {
            Record::Taken { .. }
            | Record::Lacking { .. }
            | Record::Ended { .. }
            | Record::WasHeld {} => {}
            Record::SnapshotBegins { node, tag } => {
                nodes.entry(node).or_default().snapshot = Some(tag.clone());
            }
            Record::SnapshotCleared { node } => nodes.entry(node).or_default().snapshot = None,
            Record::UploadBegins { node } => nodes.entry(node).or_default().copied = true,
            Record::PublishBegins { node } => {
                nodes.entry(node).or_default().publishing = Some(Publishing::Told);
            }
            Record::Whole { node } => {
                nodes.entry(node).or_default().publishing = Some(Publishing::Whole);
            }
            Record::Published { node } | Record::Withdrawn { node } => {
                let open = nodes.entry(node).or_default();
                (open.copied, open.publishing) = (false, None);
            }
            Record::StageBegins { node } => nodes.entry(node).or_default().staged = true,
            Record::SwapBegins { node } | Record::UndoBegins { node } => {
                nodes.entry(node).or_default().swapping = true;
            }
            Record::Swapped { node }
            | Record::TakenBack { node }
            | Record::Undone { node }
            | Record::Gone { node } => {
                let open = nodes.entry(node).or_default();
                (open.staged, open.swapping) = (false, false);
            }
        }
    }
    nodes
}

impl Open {
    fn in_words(self, node: &Fqdn, job: &JobId) -> Vec<String> {
        let snapshot = self.snapshot.map(|tag| {
            format!(
                "{node} may still have the snapshot {tag}: `medusafs resume {job}` clears it when \
                 the node answers"
            )
        });
        // Finding out what was published settles this, too.
        let copied = (self.copied && self.publishing.is_none()).then(|| {
            format!(
                "{node} may have left on the share what it had copied: `medusafs resume {job}` takes \
                 it back when the node answers"
            )
        });
        let publishing = self.publishing.map(|publishing| match publishing {
            Publishing::Told => format!(
                "{node} was told to publish, and what came of it is not known: `medusafs resume \
                 {job}` finds out, and finishes it or takes it back"
            ),
            Publishing::Whole => format!(
                "{node} is whole on the share, and perhaps not in all of the index yet: `medusafs \
                 resume {job}` adds it when the node answers"
            ),
        });
        let restore = if self.swapping {
            Some(format!(
                "{node} may be stopped and fenced: `medusafs resume {job}` finishes the restore, \
                 `medusafs undo {job}` puts back what was there"
            ))
        } else {
            self.staged.then(|| {
                format!(
                    "{node} may still have what was staged beside its data; Cassandra was not \
                     touched: `medusafs undo {job}` removes it when the node answers; then copy again"
                )
            })
        };
        snapshot.into_iter().chain(copied).chain(publishing).chain(restore).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::JobState;
    use test_case::test_case;

    fn node() -> Fqdn {
        Fqdn::parse("n1").unwrap()
    }

    fn snapshot() -> Record {
        Record::SnapshotBegins { node: node(), tag: "medusafs-j".to_owned() }
    }

    #[test_case(&[snapshot()], "n1 may still have the snapshot medusafs-j: `medusafs resume j`"; "a snapshot")]
    #[test_case(
        &[Record::UploadBegins { node: node() }],
        "n1 may have left on the share what it had copied: `medusafs resume j`"; "a copy"
    )]
    #[test_case(
        &[Record::UploadBegins { node: node() }, Record::PublishBegins { node: node() }],
        "told to publish"; "publishing what was copied"
    )]
    #[test_case(&[Record::PublishBegins { node: node() }], "told to publish"; "publishing")]
    #[test_case(
        &[Record::PublishBegins { node: node() }, Record::Whole { node: node() }],
        "n1 is whole on the share, and perhaps not in all of the index yet: `medusafs resume j`";
        "a manifest without all of the index"
    )]
    #[test_case(&[Record::StageBegins { node: node() }], "`medusafs undo j` removes it"; "a stage")]
    #[test_case(
        &[Record::StageBegins { node: node() }, Record::SwapBegins { node: node() }],
        "n1 may be stopped and fenced: `medusafs resume j`"; "a swap"
    )]
    #[test_case(
        &[Record::Swapped { node: node() }, Record::UndoBegins { node: node() }],
        "may be stopped and fenced"; "an undo"
    )]
    fn what_was_begun_and_has_no_end_is_told_with_its_command(records: &[Record], words: &str) {
        let job = JobId::parse("j").unwrap();
        let told = unsettled(records, &job);
        assert!(told.len() == 1 && told[0].contains(words), "{told:?}");
    }

    #[test]
    fn what_has_come_to_an_end_is_not_told() {
        let job = JobId::parse("j").unwrap();
        let records = [
            snapshot(),
            Record::SnapshotCleared { node: node() },
            Record::UploadBegins { node: node() },
            Record::Lacking { what: vec!["n2 is not in it".to_owned()] },
            Record::PublishBegins { node: node() },
            Record::Withdrawn { node: node() },
            Record::PublishBegins { node: node() },
            Record::Whole { node: node() },
            Record::Published { node: node() },
            Record::Ended { state: JobState::Complete, why: String::new() },
            Record::StageBegins { node: node() },
            Record::TakenBack { node: node() },
            Record::SwapBegins { node: node() },
            Record::Swapped { node: node() },
            Record::UndoBegins { node: node() },
            Record::Undone { node: node() },
        ];
        assert_eq!(unsettled(&records, &job), Vec::<String>::new());
    }
}
