//! Which ranges of a file are proven.

/// Ranges of bytes, sorted, none touching another.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Extents(Vec<(u64, u64)>);

/// So many pieces a file may be written in out of order. A tool that needs more is not copying.
pub(super) const MOST_PIECES: usize = 4096;

impl Extents {
    /// Adds `start..end`. False if that would be too many pieces, and then nothing is added.
    pub(super) fn add(&mut self, start: u64, end: u64) -> bool {
        if start >= end {
            return true;
        }
        let first = self.0.partition_point(|(_, stop)| *stop < start);
        let last = self.0.partition_point(|(begin, _)| *begin <= end);
        let joined = self.0.get(first..last).unwrap_or_default();
        if joined.is_empty() && self.0.len() >= MOST_PIECES {
            return false;
        }
        let start = joined.first().map_or(start, |(begin, _)| start.min(*begin));
        let end = joined.last().map_or(end, |(_, stop)| end.max(*stop));
        self.0.splice(first..last, [(start, end)]);
        true
    }

    /// Forgets everything from `size` on.
    pub(super) fn cut(&mut self, size: u64) {
        self.0.retain(|(start, _)| *start < size);
        if let Some((_, end)) = self.0.last_mut() {
            *end = (*end).min(size);
        }
    }

    /// What of `0..size` is not here.
    pub(super) fn gaps(&self, size: u64) -> Vec<(u64, u64)> {
        let mut gaps = Vec::new();
        let mut at = 0;
        for (start, end) in &self.0 {
            if at < *start && at < size {
                gaps.push((at, (*start).min(size)));
            }
            at = at.max(*end);
        }
        if at < size {
            gaps.push((at, size));
        }
        gaps
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn extents_cover_what_was_added_and_not_cut(
            steps in proptest::collection::vec((0_u64..64, 0_u64..64, proptest::bool::weighted(0.2)), 0..40),
            size in 0_u64..80,
        ) {
            let (mut extents, mut bits) = (Extents::default(), [false; 128]);
            for (a, b, cut) in steps {
                if cut {
                    extents.cut(a);
                    bits[usize::try_from(a).unwrap()..].fill(false);
                } else {
                    prop_assert!(extents.add(a, a + b));
                    bits[usize::try_from(a).unwrap()..usize::try_from(a + b).unwrap()].fill(true);
                }
            }
            let mut free = [false; 128];
            for (start, end) in extents.gaps(size) {
                free[usize::try_from(start).unwrap()..usize::try_from(end).unwrap()].fill(true);
            }
            for (at, bit) in bits.iter().enumerate().take(usize::try_from(size).unwrap()) {
                prop_assert_eq!(free[at], !bit, "byte {}", at);
            }
        }
    }

    #[test]
    fn a_file_in_more_pieces_than_any_tool_writes_is_given_up() {
        let mut extents = Extents::default();
        let most = u64::try_from(MOST_PIECES).unwrap();
        assert!((0..most).all(|piece| extents.add(piece * 2, piece * 2 + 1)));
        assert!(!extents.add(most * 2, most * 2 + 1));
        assert!(extents.add(1, 2), "joining two is no new piece");
    }
}
