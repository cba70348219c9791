//! What start-up files print before our program does, and where it ends.

use bytes::{Bytes, BytesMut};

use super::command::Mark;

/// Bytes before the mark that are shown when it never comes.
const SHOWN: usize = 2000;

/// Passes on what comes after the mark.
#[derive(Debug)]
pub(super) struct Preamble {
    mark: Vec<u8>,
    state: State,
    shown: Vec<u8>,
    skipped: usize,
}

#[derive(Debug)]
enum State {
    /// The end of what came, which may be the beginning of the mark.
    Before(BytesMut),
    /// The number that came with the mark.
    After(Option<u32>),
}

/// The longest number of a process, and its line end.
const NUMBER_LIMIT: usize = 12;

impl Preamble {
    pub(super) fn before(mark: &Mark) -> Self {
        let state = State::Before(BytesMut::new());
        Self { mark: mark.bytes(), state, shown: Vec::new(), skipped: 0 }
    }

    /// What of the next bytes is the program's own; empty before the mark.
    pub(super) fn pass(&mut self, data: Bytes) -> Bytes {
        let State::Before(held) = &mut self.state else { return data };
        held.extend_from_slice(&data);
        let at = held.windows(self.mark.len()).position(|window| window == self.mark);
        let before = at.unwrap_or_else(|| (held.len() + 1).saturating_sub(self.mark.len()));
        let skipped = held.split_to(before);
        self.skipped = self.skipped.saturating_add(skipped.len());
        let room = SHOWN.saturating_sub(self.shown.len());
        self.shown.extend_from_slice(skipped.get(..room).unwrap_or(&skipped));
        let number = match at {
            Some(_) => held.get(self.mark.len()..).unwrap_or_default(),
            None => return Bytes::new(),
        };
        let end = number.iter().position(|byte| *byte == b'\n');
        let Some(end) = end.or_else(|| (number.len() > NUMBER_LIMIT).then_some(NUMBER_LIMIT))
        else {
            return Bytes::new();
        };
        let digits = std::str::from_utf8(number.get(..end).unwrap_or_default());
        let process = digits.ok().and_then(|digits| digits.parse().ok());
        let after = held.split_off((self.mark.len() + end + 1).min(held.len())).freeze();
        self.state = State::After(process);
        after
    }

    /// Whether the mark has come.
    pub(super) fn is_over(&self) -> bool {
        matches!(self.state, State::After(_))
    }

    /// The number of the program's process, which is its process group's too; never one that means
    /// more than a group.
    pub(super) fn process(&self) -> Option<u32> {
        match self.state {
            State::After(process) => process.filter(|process| *process > 1),
            State::Before(_) => None,
        }
    }

    /// Bytes that came before the mark so far.
    pub(super) fn skipped(&self) -> usize {
        self.skipped
    }

    /// The beginning of what came before the mark, in one line.
    pub(super) fn shown(&self) -> String {
        let held: &[u8] = match &self.state {
            State::Before(held) if self.shown.len() < SHOWN => held,
            State::Before(_) | State::After(_) => &[],
        };
        let text = String::from_utf8_lossy(&self.shown) + String::from_utf8_lossy(held);
        text.split_whitespace().collect::<Vec<_>>().join(" ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_follows_the_mark_does_not_depend_on_how_it_arrives(
            noise in "[a-z\n-]{0,40}",
            own in "[a-z\n-]{0,40}",
            sizes in proptest::collection::vec(1_usize..9, 140),
        ) {
            let mark = Mark::new();
            let mut preamble = Preamble::before(&mark);
            let all = [noise.as_bytes(), &mark.bytes(), b"4711\n", own.as_bytes()].concat();
            let (mut rest, mut passed) = (all.as_slice(), Vec::new());
            for size in sizes {
                let (now, later) = rest.split_at(size.min(rest.len()));
                passed.extend(preamble.pass(Bytes::copy_from_slice(now)));
                rest = later;
            }
            prop_assert!(preamble.is_over());
            prop_assert_eq!(preamble.process(), Some(4711));
            prop_assert_eq!(String::from_utf8(passed).unwrap(), own);
            prop_assert_eq!(preamble.skipped(), noise.len());
        }
    }

    #[test]
    fn what_comes_instead_of_the_mark_is_shown_but_not_all_of_it() {
        let mut preamble = Preamble::before(&Mark::new());
        let said = Bytes::from("This account is\n currently not available.\n");
        assert!(preamble.pass(said).is_empty());
        assert!(!preamble.is_over());
        assert_eq!(preamble.shown(), "This account is currently not available.");
        for _ in 0..100 {
            assert!(preamble.pass(Bytes::from(vec![b'x'; 1000])).is_empty());
        }
        assert!(preamble.shown().len() <= SHOWN);
        assert!(preamble.skipped() > 99_000);
    }
}
