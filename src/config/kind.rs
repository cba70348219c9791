//! Kinds of values: what a setting's text must be, and what it becomes.

use std::path::PathBuf;
use std::time::Duration;

use crate::model::ByteSize;

use super::Secret;
use super::duration::{parse_duration, show_duration};
use super::own::{Group, HostPort};
use super::words::{join_words, split_words};

/// What a setting's text must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Any text of one line.
    Text,
    /// A text that may go over several lines.
    Lines,
    /// A text that is never shown.
    Secret,
    /// A command, in words as Python's `shlex.split` parts them.
    Command,
    /// Words parted by blanks.
    Flags,
    /// Yes or no, as Medusa's `evaluate_boolean` takes it.
    Flag,
    /// The text `true`, and every other text is no.
    ExactlyTrue,
    /// A whole number from the first to the last, as Python's `int` reads it.
    Number(u64, u64),
    /// Bytes, or bytes a second.
    Size,
    /// A length of time.
    Time,
    /// A path on this host; `~/` is the user's home.
    HostPath,
    /// A path on the nodes.
    NodePath,
    /// One of these words.
    Choice(&'static [&'static str]),
    /// `HOST[:PORT]` several times, or `none`.
    Hosts,
    /// `HOST[:PORT]` once.
    Host,
    /// Several names, or `all`.
    Names,
    /// A group, by name or number.
    Group,
}

/// A port of TCP.
pub(super) const PORT: Kind = Kind::Number(1, 65_535);

/// What a text became.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Value {
    Text(String),
    Secret(Secret),
    Words(Vec<String>),
    Flag(bool),
    Number(u64),
    Size(ByteSize),
    Time(Duration),
    Path(PathBuf),
    Hosts(Vec<HostPort>),
    Group(Group),
}

impl Kind {
    /// Reads a text that stands for this kind; `home` is what `~` is.
    ///
    /// # Errors
    ///
    /// In words: what is wrong with the text, and what would be right. A secret is never in them.
    pub(super) fn read(self, text: &str, home: Option<&str>) -> Result<Value, String> {
        if text.contains('\n') && !matches!(self, Self::Lines | Self::Command | Self::Secret) {
            return Err("it goes on over several lines, because the lines after it are indented; \
                        begin each key in the first column"
                .to_owned());
        }
        if text.contains('\0') {
            return Err("it holds a NUL byte".to_owned());
        }
        match self {
            Self::Text | Self::Lines => Ok(Value::Text(text.to_owned())),
            Self::Secret => Ok(Value::Secret(Secret::new(text))),
            Self::Command => match split_words(text)? {
                words if words.is_empty() => Err("a command is not empty".to_owned()),
                words => Ok(Value::Words(words)),
            },
            Self::Flags => Ok(Value::Words(text.split_whitespace().map(str::to_owned).collect())),
            Self::Flag => flag(text),
            Self::ExactlyTrue => Ok(Value::Flag(text == "true")),
            Self::Number(least, most) => number(text, least, most),
            Self::Size => ByteSize::parse(text).map(Value::Size).map_err(|error| error.to_string()),
            Self::Time => parse_duration(text).map(Value::Time),
            Self::HostPath => path(text, home),
            Self::NodePath => path(text, None),
            Self::Choice(words) => choice(text, words),
            Self::Hosts => hosts(text),
            Self::Host => HostPort::parse(text).map(|host| Value::Hosts(vec![host])),
            Self::Names => Ok(Value::Words(parted(text).map(str::to_owned).collect())),
            Self::Group => group(text),
        }
    }
}

impl Value {
    /// The value as a person would write it.
    pub(super) fn show(&self) -> String {
        match self {
            Self::Text(text) => text.clone(),
            Self::Secret(secret) => secret.to_string(),
            Self::Words(words) => join_words(words),
            Self::Flag(flag) => flag.to_string(),
            Self::Number(number) => number.to_string(),
            Self::Size(size) if size.0 == 0 => "0".to_owned(),
            Self::Size(size) => size.to_string(),
            Self::Time(length) => show_duration(*length),
            Self::Path(path) => path.display().to_string(),
            Self::Hosts(hosts) if hosts.is_empty() => "none".to_owned(),
            Self::Hosts(hosts) => {
                hosts.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
            }
            Self::Group(group) => group.to_string(),
        }
    }
}

/// Medusa's `evaluate_boolean`, which is that of Python's configparser.
fn flag(text: &str) -> Result<Value, String> {
    match text.to_lowercase().as_str() {
        "1" | "true" | "yes" | "on" => Ok(Value::Flag(true)),
        "0" | "false" | "no" | "off" => Ok(Value::Flag(false)),
        _ => Err(format!("{text:?} is neither True (yes, on, 1) nor False (no, off, 0)")),
    }
}

/// Python's `int`: a sign, and `_` between digits, are fine.
fn number(text: &str, least: u64, most: u64) -> Result<Value, String> {
    let wrong = || match most {
        u64::MAX => format!("{text:?} is no whole number of at least {least}"),
        _ => format!("{text:?} is no whole number from {least} to {most}"),
    };
    let digits = text.strip_prefix('+').unwrap_or(text);
    let parted_well = digits
        .split('_')
        .all(|part| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit()));
    if !parted_well {
        return Err(wrong());
    }
    let number: u64 = digits.replace('_', "").parse().map_err(|_too_large| wrong())?;
    if (least..=most).contains(&number) { Ok(Value::Number(number)) } else { Err(wrong()) }
}

fn path(text: &str, home: Option<&str>) -> Result<Value, String> {
    let expanded = match (text.strip_prefix("~/"), home) {
        (Some(below), Some(home)) => PathBuf::from(home).join(below),
        _ => PathBuf::from(text),
    };
    if expanded.is_absolute() {
        Ok(Value::Path(expanded))
    } else {
        Err(format!("{text:?} is no path from the root, which begins with /"))
    }
}

fn choice(text: &str, words: &[&str]) -> Result<Value, String> {
    if words.contains(&text) {
        Ok(Value::Text(text.to_owned()))
    } else {
        Err(format!("{text:?} is none of {}", words.join(", ")))
    }
}

/// What stands between commas, semicolons and blanks.
fn parted(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| c == ',' || c == ';' || c.is_whitespace()).filter(|part| !part.is_empty())
}

fn hosts(text: &str) -> Result<Value, String> {
    if text == "none" {
        return Ok(Value::Hosts(Vec::new()));
    }
    let hosts = parted(text).map(HostPort::parse).collect::<Result<Vec<_>, _>>()?;
    if hosts.is_empty() {
        return Err("it names no host; write none if there is none".to_owned());
    }
    Ok(Value::Hosts(hosts))
}

fn group(text: &str) -> Result<Value, String> {
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        let id = text.parse().map_err(|_too_large| format!("{text:?} is no number of a group"))?;
        return Ok(Value::Group(Group::Id(id)));
    }
    if text.is_empty() || text.contains([':', ',', '\n']) || text.contains(char::is_whitespace) {
        return Err(format!("{text:?} is no group: a name as in /etc/group, or a number"));
    }
    Ok(Value::Group(Group::Name(text.to_owned())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use test_case::test_case;

    fn read(kind: Kind, text: &str) -> Result<String, String> {
        kind.read(text, Some("/root")).map(|value| value.show())
    }

    #[test_case(Kind::Flag, "Yes", "true"; "a flag in any case")]
    #[test_case(Kind::Flag, "off", "false"; "a flag that is off")]
    #[test_case(Kind::ExactlyTrue, "True", "false"; "only the very word")]
    #[test_case(Kind::Number(0, 9), "+7", "7"; "a sign")]
    #[test_case(Kind::Number(0, u64::MAX), "1_000", "1000"; "digits in groups")]
    #[test_case(Kind::Size, "100MB/s", "100.0 MB"; "a rate")]
    #[test_case(Kind::Time, "90m", "1h30m"; "a length of time")]
    #[test_case(Kind::HostPath, "~/.ssh/id_rsa", "/root/.ssh/id_rsa"; "a path at home")]
    #[test_case(Kind::NodePath, "/etc/x y", "/etc/x y"; "a path with a blank")]
    #[test_case(Kind::Command, "sudo 'a b'\n c", "sudo 'a b' c"; "a command")]
    #[test_case(Kind::Hosts, "a, b:2222;[::1]:22 fe80::1%eth0", "a, b:2222, [::1]:22, fe80::1%eth0"; "hosts")]
    #[test_case(Kind::Hosts, "none", "none"; "no hosts")]
    #[test_case(Kind::Group, "104", "104"; "a group by number")]
    #[test_case(Kind::Group, "backup", "backup"; "a group by name")]
    #[test_case(Kind::Names, "dc1, dc2", "dc1 dc2"; "names")]
    fn a_right_text_is_read(kind: Kind, text: &str, shown: &str) {
        assert_eq!(read(kind, text), Ok(shown.to_owned()));
    }

    #[test_case(Kind::Flag, "maybe"; "no flag")]
    #[test_case(Kind::Flag, ""; "an empty flag")]
    #[test_case(Kind::Number(0, 9), "10"; "too large")]
    #[test_case(Kind::Number(1, 9), "0"; "too small")]
    #[test_case(Kind::Number(0, 9), "-1"; "negative")]
    #[test_case(Kind::Number(0, 9), "1__0"; "two underscores")]
    #[test_case(Kind::Number(0, 9), "22 ; ssh"; "a comment behind")]
    #[test_case(Kind::Size, "fast"; "no size")]
    #[test_case(Kind::NodePath, "~/x"; "a home on another host")]
    #[test_case(Kind::HostPath, "x/y"; "a relative path")]
    #[test_case(Kind::HostPath, "/x\n/y"; "a path over two lines")]
    #[test_case(Kind::Command, "service 'cassandra"; "an open quote")]
    #[test_case(Kind::Command, " "; "no command")]
    #[test_case(Kind::Hosts, ""; "nobody")]
    #[test_case(Kind::Host, "a:0"; "port 0")]
    #[test_case(Kind::Host, "-oProxyCommand=x"; "an option for ssh")]
    #[test_case(Kind::Host, "[::1"; "an open bracket")]
    #[test_case(Kind::Host, "a:b:"; "a colon too many")]
    #[test_case(Kind::Host, "user@host"; "a user")]
    #[test_case(Kind::Group, "a b"; "a blank in a group")]
    fn a_wrong_text_is_refused(kind: Kind, text: &str) {
        assert!(read(kind, text).is_err());
    }
}
