//! A limit of bytes a second that many threads keep together.

use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use crate::model::ByteSize;

/// No thread waits longer than this without looking whether it is still wanted.
const SLICE: Duration = Duration::from_millis(100);

/// Hands out bytes at a steady rate.
#[derive(Debug)]
pub(super) struct Pace {
    bytes_per_second: u64,
    free_at: Mutex<Option<Instant>>,
}

impl Pace {
    /// A pace of that many bytes a second; 0 is none.
    pub(super) fn new(limit: ByteSize) -> Self {
        Self { bytes_per_second: limit.0, free_at: Mutex::new(None) }
    }

    /// When the caller may have `bytes` more, having asked at `now`.
    fn reserve(&self, bytes: u64, now: Instant) -> Instant {
        let Some(nanos) = bytes.saturating_mul(1_000_000_000).checked_div(self.bytes_per_second)
        else {
            return now;
        };
        let mut free_at = self.free_at.lock();
        let begin = free_at.map_or(now, |free_at| free_at.max(now));
        *free_at = begin.checked_add(Duration::from_nanos(nanos));
        begin
    }

    /// Waits until `bytes` may be moved, or the work is cancelled; calls `alive` at least ten times
    /// a second.
    ///
    /// For threads of the caller's own: it blocks.
    pub(super) fn wait(&self, bytes: u64, cancelled: &CancellationToken, alive: impl Fn()) {
        let turn = self.reserve(bytes, Instant::now());
        loop {
            alive();
            let left = turn.saturating_duration_since(Instant::now());
            if left.is_zero() || cancelled.is_cancelled() {
                return;
            }
            std::thread::park_timeout(left.min(SLICE));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_many_ask_for_is_handed_out_one_after_the_other() {
        let pace = Pace::new(ByteSize(1000));
        let now = Instant::now();
        let turns = [500, 250, 1].map(|bytes| pace.reserve(bytes, now) - now);
        assert_eq!(turns.map(|turn| turn.as_millis()), [0, 500, 750]);
    }

    #[test]
    fn a_pause_is_not_saved_up() {
        let pace = Pace::new(ByteSize(1000));
        let now = Instant::now();
        pace.reserve(1000, now);
        let later = now + Duration::from_mins(1);
        assert_eq!(pace.reserve(1000, later), later);
        assert_eq!(pace.reserve(1, later), later + Duration::from_secs(1));
    }

    #[test]
    fn no_limit_never_waits() {
        let pace = Pace::new(ByteSize(0));
        let now = Instant::now();
        assert_eq!(pace.reserve(u64::MAX, now), now);
        assert_eq!(pace.reserve(1, now), now);
    }
}
