//! Who calls.

use std::fs;

/// The process whose call is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Caller {
    /// Its user.
    pub uid: u32,
    /// Its primary group.
    pub gid: u32,
    /// The thread that calls; 0 if it is of another PID namespace.
    pub pid: u32,
}

impl Caller {
    /// Whether the caller is root or of `group`, by his primary or a further group.
    ///
    /// The kernel tells us only the primary one; the others stand in `/proc`, which is memory.
    pub fn is_root_or_of(self, group: Option<u32>) -> bool {
        self.uid == 0
            || group.is_some_and(|group| self.gid == group || self.groups().contains(&group))
    }

    /// The program's name as `ps` shows it; empty if it has gone.
    pub fn program(self) -> String {
        if self.pid == 0 {
            return String::new();
        }
        fs::read_to_string(format!("/proc/{}/comm", self.pid))
            .map(|name| name.trim_end().to_owned())
            .unwrap_or_default()
    }

    /// The process that the calling thread belongs to; the thread itself if that is not known.
    pub fn process(self) -> u32 {
        self.status_line("Tgid:").and_then(|id| id.trim().parse().ok()).unwrap_or(self.pid)
    }

    fn groups(self) -> Vec<u32> {
        self.status_line("Groups:")
            .map(|line| line.split_whitespace().filter_map(|id| id.parse().ok()).collect())
            .unwrap_or_default()
    }

    fn status_line(self, key: &str) -> Option<String> {
        if self.pid == 0 {
            return None;
        }
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid)).ok()?;
        status.lines().find_map(|line| line.strip_prefix(key)).map(str::to_owned)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_caller_is_known_by_his_process() {
        let me = Caller { uid: 1, gid: 1, pid: std::process::id() };
        assert_eq!(me.process(), std::process::id());
        assert!(!me.program().is_empty());
        assert!(me.is_root_or_of(Some(1)));
        assert!(!me.is_root_or_of(None));
    }

    #[test]
    fn a_caller_of_another_namespace_has_only_the_group_that_the_kernel_tells() {
        let stranger = Caller { uid: 7, gid: 8, pid: 0 };
        assert!(stranger.is_root_or_of(Some(8)));
        assert!(!stranger.is_root_or_of(Some(9)));
        assert_eq!(stranger.process(), 0);
    }
}
