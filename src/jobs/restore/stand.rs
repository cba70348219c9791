//! How far a restore came, by the job's own journal.

use super::Record;

/// What may be on the node, as far as the job knows: the node's journal tells more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stand {
    /// Nothing: it was not begun, or its stage was taken back.
    Untouched,
    /// A stage.
    Staged,
    /// It was told to swap, or to put back what it had; what came of it is not known.
    Swapping,
    /// The restored data; what was there before is set aside.
    Swapped,
    /// What was there before: it was swapped and put back.
    PutBack,
    /// Nothing any more of a restore that was told to swap.
    Gone,
}

impl Stand {
    pub(super) fn of(records: &[Record]) -> Self {
        records.iter().fold(Self::Untouched, |stand, record| match (record, stand) {
            (Record::StageBegins { .. }, _) => Self::Staged,
            (Record::SwapBegins { .. } | Record::UndoBegins { .. }, _) => Self::Swapping,
            (Record::Swapped { .. }, _) => Self::Swapped,
            (Record::TakenBack { .. }, _) => Self::Untouched,
            (Record::Undone { .. }, _) => Self::PutBack,
            (Record::Gone { .. }, _) => Self::Gone,
            (_, stand) => stand,
        })
    }
}

/// Whether a restore of which this is written down can be taken back by cancelling it.
pub(in crate::jobs) fn can_be_cancelled(records: &[Record]) -> bool {
    matches!(Stand::of(records), Stand::Untouched | Stand::Staged)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Fqdn;

    #[test]
    fn the_last_thing_that_was_begun_or_ended_tells_where_it_stands() {
        let node = Fqdn::parse("n1").unwrap();
        let mut records = Vec::new();
        assert_eq!(Stand::of(&records), Stand::Untouched);
        for (record, stand) in [
            (Record::StageBegins { node: node.clone() }, Stand::Staged),
            (Record::TakenBack { node: node.clone() }, Stand::Untouched),
            (Record::StageBegins { node: node.clone() }, Stand::Staged),
            (Record::SwapBegins { node: node.clone() }, Stand::Swapping),
            (Record::Swapped { node: node.clone() }, Stand::Swapped),
            (Record::UndoBegins { node: node.clone() }, Stand::Swapping),
            (Record::Undone { node: node.clone() }, Stand::PutBack),
            (Record::Gone { node }, Stand::Gone),
        ] {
            records.push(record);
            assert_eq!(Stand::of(&records), stand, "{records:?}");
        }
    }
}
