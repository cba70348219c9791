//! Points in time, and who tells it.

use std::fmt;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

/// Whole seconds since 1970 UTC.
#[derive(
    Debug,
    Clone,
    Copy,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    serde::Serialize,
    serde::Deserialize,
)]
#[serde(transparent)]
pub struct UnixSeconds(pub i64);

impl UnixSeconds {
    /// Seconds from `earlier` to this, none if that is negative.
    pub fn since(self, earlier: Self) -> Option<u64> {
        u64::try_from(self.0.checked_sub(earlier.0)?).ok()
    }

    /// As `20261122T161400Z`, which sorts and stands in a file name.
    pub fn compact(self) -> String {
        self.format("%Y%m%dT%H%M%SZ")
    }

    /// By a `strftime` pattern, in UTC; `-` for a time that no calendar has.
    pub fn format(self, pattern: &str) -> String {
        jiff::Timestamp::from_second(self.0).map_or_else(
            |_| "-".to_owned(),
            |time| time.to_zoned(jiff::tz::TimeZone::UTC).strftime(pattern).to_string(),
        )
    }
}

impl fmt::Display for UnixSeconds {
    /// RFC 3339 in UTC: `2026-11-22T16:14:00Z`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.format("%Y-%m-%dT%H:%M:%SZ"))
    }
}

impl From<SystemTime> for UnixSeconds {
    /// Rounded down, also before 1970.
    fn from(time: SystemTime) -> Self {
        let seconds = |secs: u64| i64::try_from(secs).unwrap_or(i64::MAX);
        match time.duration_since(UNIX_EPOCH) {
            Ok(after) => Self(seconds(after.as_secs())),
            Err(before) => {
                let before = before.duration();
                Self(-seconds(before.as_secs()) - i64::from(before.subsec_nanos() > 0))
            }
        }
    }
}

/// Who tells the time of day. For how long something took, use `std::time::Instant`.
pub trait Clock: Send + Sync {
    /// The time now.
    fn now(&self) -> UnixSeconds;
}

/// The machine's clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "this is the one place that reads it")]
    fn now(&self) -> UnixSeconds {
        SystemTime::now().into()
    }
}

/// A clock that a test sets by hand.
#[derive(Debug, Default)]
pub struct HandClock(AtomicI64);

impl HandClock {
    /// A clock that stands at `now`.
    pub fn at(now: UnixSeconds) -> Self {
        Self(AtomicI64::new(now.0))
    }

    /// Sets it.
    pub fn set(&self, now: UnixSeconds) {
        self.0.store(now.0, Ordering::SeqCst);
    }
}

impl Clock for HandClock {
    fn now(&self) -> UnixSeconds {
        UnixSeconds(self.0.load(Ordering::SeqCst))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_time_prints_as_rfc_3339_and_sorts_in_file_names() {
        let time = UnixSeconds(1_795_364_040);
        assert_eq!(time.to_string(), "2026-11-22T16:14:00Z");
        assert_eq!(time.compact(), "20261122T161400Z");
    }

    #[test]
    fn half_a_second_before_1970_is_rounded_down() {
        let time = UNIX_EPOCH - Duration::from_millis(500);
        assert_eq!(UnixSeconds::from(time), UnixSeconds(-1));
    }
}
