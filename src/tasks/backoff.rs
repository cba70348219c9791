//! How long to wait between tries.

use std::time::Duration;

/// Waits that double from `base` to `cap`, each less a random part so that many callers do not
/// come back together.
#[derive(Debug, Clone)]
pub struct Backoff {
    next: Duration,
    cap: Duration,
}

impl Backoff {
    /// Begins with a wait of `base`; none is longer than `cap`.
    pub fn new(base: Duration, cap: Duration) -> Self {
        Self { next: base.min(cap), cap }
    }

    /// The next wait: between half and all of what has been doubled so far.
    pub fn next_wait(&mut self) -> Duration {
        let wait = self.next.mul_f64(rand::random_range(0.5..=1.0));
        self.next = self.next.saturating_mul(2).min(self.cap);
        wait
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_the_cap_and_never_past_it() {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(1));
        let waits: Vec<_> = (0..8).map(|_| backoff.next_wait()).collect();
        assert!(waits.iter().all(|wait| *wait <= Duration::from_secs(1)));
        assert!(waits[0] <= Duration::from_millis(100) && waits[7] >= Duration::from_millis(500));
    }
}
