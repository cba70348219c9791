//! The text of every control file that tells where something stands.

use std::fmt::Display;
use std::fmt::Write;

use serde::Serialize;

use crate::model::JobId;
use crate::model::UnixSeconds;

use super::Report;

/// The version of `status.json`'s form.
pub const STATUS_JSON_VERSION: u32 = 1;

/// `state`: one word.
pub fn state(report: &Report) -> String {
    format!("{}\n", report.state().word())
}

/// `progress`: a line for each key, all keys always, `-` for what is not known.
pub fn progress(report: &Report) -> String {
    let seconds = |time: Option<UnixSeconds>| time.map(|time| time.0);
    let lines = [
        ("job", known(report.job.as_ref())),
        ("phase", known(report.phase)),
        ("percent", known(report.percent())),
        ("nodes_done", known(report.nodes_done)),
        ("nodes_total", known(report.nodes_total)),
        ("files_done", known(report.files_done)),
        ("files_total", known(report.files_total)),
        ("bytes_done", known(report.bytes_done)),
        ("bytes_total", known(report.bytes_total)),
        ("bytes_new", known(report.bytes_new)),
        ("bytes_per_second", known(report.bytes_per_second)),
        ("eta_seconds", known(report.eta_seconds)),
        ("started", known(seconds(report.started))),
        ("finished", known(seconds(report.finished))),
        ("unique_bytes", known(report.unique_bytes)),
    ];
    lines.into_iter().fold(String::new(), |mut text, (key, value)| {
        let written = writeln!(text, "{key} {value}");
        debug_assert!(written.is_ok(), "a string takes everything");
        text
    })
}

/// `nodes`: a line for each node, columns parted by one tab.
pub fn nodes(report: &Report) -> String {
    report.nodes.iter().fold(String::new(), |mut text, node| {
        let written = writeln!(
            text,
            "{}\t{}\t{}\t{}/{}\t{}/{}\t{}\t{}",
            node.name,
            node.state.word(),
            known(node.phase),
            known(node.files_done),
            known(node.files_total),
            known(node.bytes_done),
            known(node.bytes_total),
            known(node.seconds),
            node.error.as_deref().map_or_else(|| "-".to_owned(), one_line),
        );
        debug_assert!(written.is_ok(), "a string takes everything");
        text
    })
}

/// `error`: words, and a line's end if there are any.
pub fn error(report: &Report) -> String {
    ended(&report.error)
}

/// `missing`: one path a line.
pub fn missing(paths: &[String]) -> String {
    paths.iter().fold(String::new(), |text, path| text + path + "\n")
}

/// Text as it is, ending in a newline unless empty.
pub fn ended(text: &str) -> String {
    let text = text.trim_end_matches('\n');
    if text.is_empty() { String::new() } else { format!("{text}\n") }
}

/// A line of `wait`, without its end: `16:14:05 copy 43% 1.2/2.8 GB 210 MB/s 8 s left`.
pub fn wait_line(report: &Report, now: UnixSeconds) -> String {
    format!("{} {}", now.format("%H:%M:%S"), wait_news(report))
}

/// The line without its time: what must differ for it to be news.
pub fn wait_news(report: &Report) -> String {
    let state = report.state();
    let mut parts = Vec::new();
    match (state.wait(), report.phase) {
        (super::Wait::GoesOn, Some(phase)) => parts.push(phase.to_string()),
        _ => parts.push(state.word()),
    }
    if state.wait() != super::Wait::Unwished {
        parts.extend(report.percent().map(|percent| format!("{percent}%")));
    }
    if let (Some(done), Some(total @ 1..)) = (report.bytes_done, report.bytes_total) {
        parts.push(part_of(done, total));
    }
    if state.wait() == super::Wait::GoesOn {
        parts.extend(report.bytes_per_second.map(|rate| format!("{}/s", short(rate))));
        parts.extend(report.eta_seconds.map(|eta| format!("{eta} s left")));
    }
    parts.join(" ")
}

/// `status.json`.
pub fn status_json(report: &Report) -> String {
    let seconds = |time: Option<UnixSeconds>| time.map(|time| time.0);
    let status = StatusJson {
        version: STATUS_JSON_VERSION,
        job: report.job.as_ref().map(JobId::as_str),
        state: report.state().word(),
        phase: report.phase.map(|phase| phase.to_string()),
        percent: report.percent(),
        nodes_done: report.nodes_done,
        nodes_total: report.nodes_total,
        files_done: report.files_done,
        files_total: report.files_total,
        bytes_done: report.bytes_done,
        bytes_total: report.bytes_total,
        bytes_new: report.bytes_new,
        bytes_per_second: report.bytes_per_second,
        eta_seconds: report.eta_seconds,
        started: seconds(report.started),
        finished: seconds(report.finished),
        unique_bytes: report.unique_bytes,
        nodes: report
            .nodes
            .iter()
            .map(|node| NodeJson {
                name: node.name.as_str(),
                state: node.state.word(),
                phase: node.phase.map(|phase| phase.to_string()),
                files_done: node.files_done,
                files_total: node.files_total,
                bytes_done: node.bytes_done,
                bytes_total: node.bytes_total,
                seconds: node.seconds,
                error: node.error.as_deref(),
            })
            .collect(),
        error: &report.error,
    };
    // Plain words and numbers always serialize; an empty file is what a reader of JSON notices.
    serde_json::to_string_pretty(&status).map_or_else(|_never| String::new(), |json| json + "\n")
}

#[derive(Serialize)]
struct StatusJson<'a> {
    version: u32,
    job: Option<&'a str>,
    state: String,
    phase: Option<String>,
    percent: Option<u64>,
    nodes_done: Option<u64>,
    nodes_total: Option<u64>,
    files_done: Option<u64>,
    files_total: Option<u64>,
    bytes_done: Option<u64>,
    bytes_total: Option<u64>,
    bytes_new: Option<u64>,
    bytes_per_second: Option<u64>,
    eta_seconds: Option<u64>,
    started: Option<i64>,
    finished: Option<i64>,
    unique_bytes: Option<u64>,
    nodes: Vec<NodeJson<'a>>,
    error: &'a str,
}

#[derive(Serialize)]
struct NodeJson<'a> {
    name: &'a str,
    state: String,
    phase: Option<String>,
    files_done: Option<u64>,
    files_total: Option<u64>,
    bytes_done: Option<u64>,
    bytes_total: Option<u64>,
    seconds: Option<u64>,
    error: Option<&'a str>,
}

/// A column holds no tab and a line no newline, whatever an error says.
pub(super) fn one_line(text: &str) -> String {
    let words: Vec<_> = text.split_whitespace().collect();
    if words.is_empty() { "-".to_owned() } else { words.join(" ") }
}

fn known(value: Option<impl Display>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| value.to_string())
}

const UNITS: [(u64, &str); 5] =
    [(1 << 50, "PB"), (1 << 40, "TB"), (1 << 30, "GB"), (1 << 20, "MB"), (1 << 10, "KB")];

fn unit(bytes: u64) -> (u64, &'static str) {
    UNITS.into_iter().find(|(size, _)| bytes >= *size).unwrap_or((1, "B"))
}

/// `1.2/2.8 GB`: both in the unit of the whole.
fn part_of(done: u64, total: u64) -> String {
    let (size, name) = unit(total);
    format!("{}/{} {name}", scaled(done, size), scaled(total, size))
}

/// `210 MB`, `1.2 GB`.
pub(super) fn short(bytes: u64) -> String {
    let (size, name) = unit(bytes);
    format!("{} {name}", scaled(bytes, size))
}

/// A digit after the point below a hundred, none above or for plain bytes.
fn scaled(bytes: u64, size: u64) -> String {
    let tenths = u128::from(bytes) * 10 / u128::from(size);
    if size == 1 || tenths >= 1000 {
        (tenths / 10).to_string()
    } else {
        format!("{}.{}", tenths / 10, tenths % 10)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Fqdn;
    use crate::model::JobState;
    use crate::model::Phase;
    use crate::view::NodeReport;
    use crate::view::State;

    fn copying() -> Report {
        Report {
            job: Some(JobId::parse("20261122T161400Z-backup-nightly").unwrap()),
            state: Some(State::Job(JobState::Running)),
            phase: Some(Phase::Copy),
            nodes_done: Some(1),
            nodes_total: Some(3),
            files_done: Some(40),
            files_total: Some(100),
            bytes_done: Some(1_300_000_000),
            bytes_total: Some(3_010_000_000),
            bytes_new: Some(7),
            bytes_per_second: Some(221_000_000),
            eta_seconds: Some(8),
            started: Some(UnixSeconds(1_795_364_040)),
            nodes: vec![NodeReport {
                name: Fqdn::parse("node1").unwrap(),
                state: State::Job(JobState::Failed),
                phase: Some(Phase::Copy),
                files_done: Some(3),
                files_total: None,
                bytes_done: Some(9),
                bytes_total: Some(9),
                seconds: Some(12),
                error: Some("no space\tleft\non the share".to_owned()),
            }],
            ..Report::default()
        }
    }

    #[test]
    fn progress_has_every_key_whatever_is_known() {
        let nothing = progress(&Report::default());
        let keys: Vec<_> = nothing.lines().filter_map(|line| line.strip_suffix(" -")).collect();
        assert_eq!(
            keys.join(" "),
            "job phase percent nodes_done nodes_total files_done files_total bytes_done \
             bytes_total bytes_new bytes_per_second eta_seconds started finished unique_bytes"
        );
        let everything = progress(&copying());
        assert!(everything.contains("\npercent 43\n"), "{everything}");
        assert!(everything.contains("\nstarted 1795364040\n"), "{everything}");
    }

    #[test]
    fn a_line_of_nodes_is_one_line_of_seven_columns() {
        assert_eq!(
            nodes(&copying()),
            "node1\tfailed\tcopy\t3/-\t9/9\t12\tno space left on the share\n"
        );
    }

    #[test]
    fn a_line_of_wait_says_how_far_and_for_how_long() {
        let line = wait_line(&copying(), UnixSeconds(1_795_364_045));
        assert_eq!(line, "16:14:05 copy 43% 1.2/2.8 GB 210 MB/s 8 s left");
    }

    #[test]
    fn a_state_is_one_word_on_a_line() {
        assert_eq!(state(&copying()), "running\n");
        assert_eq!(state(&Report::default()), "empty\n");
    }

    #[test]
    fn status_json_says_the_same_for_programs() {
        let value: serde_json::Value = serde_json::from_str(&status_json(&copying())).unwrap();
        assert_eq!(value["version"], 1);
        assert_eq!(value["state"], "running");
        assert_eq!(value["nodes"][0]["files_total"], serde_json::Value::Null);
    }

    #[test]
    fn what_is_not_ended_is_never_shown_as_a_hundred_percent() {
        let all = Report { bytes_done: Some(5), bytes_total: Some(5), ..copying() };
        assert_eq!(all.percent(), Some(99));
    }
}
