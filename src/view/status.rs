//! `/status`: the whole on one screen, from memory, with the age of each line.

use std::fmt::Write;

use crate::model::UnixSeconds;

use super::Report;
use super::World;
use super::control;

/// What the mount knows of the share and the cluster beside the tree.
#[derive(Debug, Clone, Default)]
pub struct Surroundings {
    /// The cluster's name, as the share remembers it, and when a job last met it.
    pub cluster: Option<(String, UnixSeconds)>,
    /// The store's path.
    pub store: String,
    /// When the share last answered.
    pub answered: Option<UnixSeconds>,
    /// Why it did not, since then; none while it answers.
    pub silent: Option<String>,
    /// What keeps the tree up to date and broke off, and how often: it was started again.
    pub broken: Vec<(&'static str, u64)>,
}

/// The text: a word, what there is to say, and how old that is, parted by tabs.
pub fn status(world: &World, around: &Surroundings) -> String {
    let mut lines = Lines { world, text: String::new() };
    let nodes = world.nodes_to_restore();
    let (cluster, met) = match &around.cluster {
        Some((name, met)) => (name.as_str(), Some(*met)),
        None => ("-", around.answered),
    };
    lines.add("cluster", &format!("{cluster} ({} nodes)", nodes.len()), met);
    match &around.silent {
        None => lines.add("store", &format!("{} answers", around.store), around.answered),
        Some(why) => lines.add("store", &format!("{}: {why}", around.store), around.answered),
    }
    if world.backups.is_scan_cut() {
        let says = "too many directories that are not in the index: not all were looked into yet, \
                    so that backups may lack here";
        lines.add("scan", says, around.answered);
    }
    for (what, times) in &around.broken {
        let says = format!("{what} broke off {times} times and goes on: see the log");
        lines.add("upkeep", &says, None);
    }
    for node in &nodes {
        let said = world.report_of_node(node);
        let last = said.as_ref().and_then(|report| report.finished.or(report.started));
        let said =
            said.map_or_else(|| "no backup".to_owned(), |report| control::wait_news(&report));
        lines.add("node", &format!("{node} {said}"), last);
    }
    for job in world.jobs.iter().filter(|job| job.state.outcome().is_none()) {
        let news = control::wait_news(&Report::of_job(job));
        lines.add("job", &format!("{} {news}", job.id), Some(job.started));
    }
    match world.latest() {
        Some(latest) => {
            let size = latest.size().map(|size| control::short(size.0)).unwrap_or_default();
            lines.add("latest", format!("{} {size}", latest.name).trim_end(), latest.finished);
        }
        None => lines.add("latest", "no complete backup is known", None),
    }
    lines.text
}

struct Lines<'a> {
    world: &'a World,
    text: String,
}

impl Lines<'_> {
    fn add(&mut self, what: &str, says: &str, at: Option<UnixSeconds>) {
        let age = at.and_then(|at| self.world.now.since(at));
        let age = age.map_or_else(|| "-".to_owned(), |seconds| format!("{} ago", lasting(seconds)));
        let written = writeln!(self.text, "{what}\t{}\t{age}", control::one_line(says));
        debug_assert!(written.is_ok(), "a string takes everything");
    }
}

/// `12 s`, `5 min`, `3 h`, `2 d`.
fn lasting(seconds: u64) -> String {
    match seconds {
        0..=119 => format!("{seconds} s"),
        120..=7_199 => format!("{} min", seconds / 60),
        7_200..=172_799 => format!("{} h", seconds / 3_600),
        _ => format!("{} d", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_store_says_so_with_the_age_of_what_is_known() {
        let world = World { now: UnixSeconds(1_000), ..World::default() };
        let around = Surroundings {
            store: "/nfs/store".to_owned(),
            answered: Some(UnixSeconds(995)),
            ..Surroundings::default()
        };
        let known =
            Surroundings { cluster: Some(("lab".to_owned(), UnixSeconds(700))), ..around.clone() };
        assert!(status(&world, &known).starts_with("cluster\tlab (0 nodes)\t5 min ago\n"));
        assert_eq!(
            status(&world, &around),
            "cluster\t- (0 nodes)\t5 s ago\n\
             store\t/nfs/store answers\t5 s ago\n\
             latest\tno complete backup is known\t-\n"
        );
    }

    #[test]
    fn a_share_that_hangs_is_said_with_how_long() {
        let world = World { now: UnixSeconds(1_000), ..World::default() };
        let around = Surroundings {
            store: "/nfs".to_owned(),
            answered: Some(UnixSeconds(700)),
            silent: Some("no answer\nwithin 30 s".to_owned()),
            broken: vec![("looking at the share", 2)],
            ..Surroundings::default()
        };
        let broken = "upkeep\tlooking at the share broke off 2 times";
        assert!(status(&world, &around).contains(broken));
        assert!(
            status(&world, &around).contains("store\t/nfs: no answer within 30 s\t5 min ago\n")
        );
    }
}
