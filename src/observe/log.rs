//! The subscriber that writes what `tracing` is told.

use std::fs::File;
use std::io;
use std::sync::Arc;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::time::FormatTime;

use crate::model::{Clock, SystemClock};

/// Where log lines go.
#[derive(Debug)]
pub enum LogTo {
    /// Standard error: a program in the foreground.
    Stderr,
    /// A file opened for appending: a job, a mount in the background.
    File(File),
}

struct Rfc3339;

impl FormatTime for Rfc3339 {
    fn format_time(
        &self,
        writer: &mut tracing_subscriber::fmt::format::Writer<'_>,
    ) -> std::fmt::Result {
        write!(writer, "{}", SystemClock.now())
    }
}

/// Starts the log, once in a process; a second call does nothing.
///
/// `filter` is in the syntax of `EnvFilter`, such as `info` or `medusafs=debug`; one that does not
/// parse counts as `info`.
pub fn start_log(to: LogTo, filter: &str) {
    // russh says once for each connection that it cannot lock memory, which is no news.
    let directives = format!("{filter},russh_cryptovec=error");
    let filter = EnvFilter::try_new(directives).unwrap_or_else(|_| EnvFilter::new("info"));
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_timer(Rfc3339)
        .with_target(false)
        // It would tell of a line that cannot be written by a macro that panics if it cannot write:
        // an agent whose connection broke would end in the middle of what it must finish.
        .log_internal_errors(false)
        .with_ansi(false);
    let started = match to {
        LogTo::Stderr => builder.with_writer(io::stderr).try_init(),
        LogTo::File(file) => builder.with_writer(Arc::new(file)).try_init(),
    };
    drop(started);
}
