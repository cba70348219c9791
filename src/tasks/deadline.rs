//! "This answers by then", and the error when it does not.

use std::future::Future;
use std::time::Duration;

use thiserror::Error;

/// Something that should have answered did not, in the time it had.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("no answer within {} s while waiting {doing}", .after.as_secs())]
pub struct TimedOut {
    /// How long was waited.
    pub after: Duration,
    /// What for: "for node1 to answer".
    pub doing: String,
}

/// Waits for `future`, for `limit` at most; dropping it must stop what it does.
pub async fn within<F: Future>(
    limit: Duration,
    doing: impl Into<String>,
    future: F,
) -> Result<F::Output, TimedOut> {
    tokio::time::timeout(limit, future)
        .await
        .map_err(|_elapsed| TimedOut { after: limit, doing: doing.into() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_wait_that_is_over_says_what_for() {
        let never = std::future::pending::<()>();
        let error = within(Duration::from_secs(3), "for node1", never).await.unwrap_err();
        assert_eq!(error.to_string(), "no answer within 3 s while waiting for node1");
    }
}
