//! What Cassandra's own log says since a start.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::PathBuf;

/// No more of a log is read than this, its end.
const LIMIT: u64 = 4 << 20;

/// Lines that tell of a failed start are as many as a person reads.
const LINES: usize = 5;

/// A log from a given moment on.
#[derive(Debug, Clone)]
pub(super) struct StartupLog {
    path: PathBuf,
    from: u64,
}

impl StartupLog {
    /// The log at `path` from now on; it need not exist.
    pub(super) fn from_now(path: PathBuf) -> Self {
        let from = std::fs::metadata(&path).map_or(0, |found| found.len());
        Self { path, from }
    }

    /// Where it is.
    pub(super) fn path(&self) -> &std::path::Path {
        &self.path
    }

    fn text(&self) -> String {
        let read = || {
            let mut file = File::open(&self.path)?;
            let length = file.metadata()?.len();
            // Shorter than it was: another file has taken its place.
            let from = if length < self.from { 0 } else { self.from };
            file.seek(SeekFrom::Start(from.max(length.saturating_sub(LIMIT))))?;
            let mut bytes = Vec::new();
            file.take(LIMIT).read_to_end(&mut bytes)?;
            Ok::<_, std::io::Error>(bytes)
        };
        read().map_or_else(|_| String::new(), |bytes| String::from_utf8_lossy(&bytes).into_owned())
    }

    /// Whether Cassandra says that it is up.
    pub(super) fn says_startup_complete(&self) -> bool {
        self.text().contains("Startup complete")
    }

    /// The lines that tell why a start failed; empty if none does.
    pub(super) fn complaints(&self) -> String {
        complaints(&self.text())
    }
}

fn complaints(text: &str) -> String {
    let tells = |line: &&str| {
        line.starts_with("ERROR")
            || line.starts_with("Caused by:")
            || line.contains("Fatal ")
            || line.contains("Exception encountered during startup")
            || (line.contains("Exception: ") && !line.starts_with([' ', '\t']))
    };
    let lines = text.lines().filter(tells).map(|line| line.trim().chars().take(600).collect());
    lines.take(LINES).collect::<Vec<String>>().join(" | ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn only_what_came_since_the_start_is_told() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("system.log");
        std::fs::write(&path, "ERROR [main] of last week\n").unwrap();
        let log = StartupLog::from_now(path.clone());
        assert_eq!(log.complaints(), "");
        let mut file = File::options().append(true).open(&path).unwrap();
        let text = "INFO  [main] x\nERROR [main] 2026 CassandraDaemon.java:897 - Exception \
                    encountered during startup\njava.lang.RuntimeException: A node with address \
                    /198.51.100.12:7000 already exists, cancelling join.\n\tat org.apache\n";
        file.write_all(text.as_bytes()).unwrap();
        let said = log.complaints();
        assert!(said.contains("during startup | java.lang.RuntimeException: A node"), "{said}");
        assert!(!said.contains("last week") && !said.contains("at org"), "{said}");
    }

    #[test]
    fn a_log_that_was_rotated_is_read_from_its_beginning() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("system.log");
        std::fs::write(&path, "INFO  a long line of last week\n").unwrap();
        let log = StartupLog::from_now(path.clone());
        std::fs::write(&path, "INFO  Startup complete\n").unwrap();
        assert!(log.says_startup_complete());
    }
}
