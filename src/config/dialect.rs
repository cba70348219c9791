//! Text in the dialect of Python's `configparser`, as Medusa sets it up, made ready for `ini`.
//!
//! Medusa reads with `ConfigParser(interpolation=None)`: `=` and `:` part key and value, `#` and
//! `;` begin a comment only at the start of a line, a line that is indented deeper than its key goes
//! on with its value, keys have no case, sections have, a section or key that stands twice is an
//! error, and neither `%`, quotes nor backslashes mean anything. rust-ini has inline comments
//! refused, duplicates kept, quotes and escapes meant, and sections and keys trimmed. So each line
//! becomes one line that rust-ini can read in one way only, with the section and the value in
//! quotes; line numbers stay.
#![warn(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use std::collections::{BTreeMap, BTreeSet};

/// Where keys without a section of their own come from.
pub(super) const DEFAULT_SECTION: &str = "DEFAULT";

/// A text made ready, and what rust-ini forgets: lines.
#[derive(Debug, Default)]
pub(super) struct Normal {
    /// The text for rust-ini.
    pub(super) text: String,
    /// The line of each key, from 1, by section and key.
    pub(super) keys: BTreeMap<(String, String), usize>,
    /// The line of each section's head, from 1.
    pub(super) sections: BTreeMap<String, usize>,
    /// Lines that went on with a value and yet look like a key: line, that key, the line of the key
    /// whose value they went on with.
    pub(super) swallowed: Vec<(usize, String, usize)>,
    /// Whether the text begins with a byte order mark, at which Medusa stops.
    pub(super) marked: bool,
}

/// A line that is not in the dialect.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct BrokenLine {
    /// Its number, from 1.
    pub(super) line: usize,
    /// What is wrong. It never quotes a line, which may be half of a password.
    pub(super) what: String,
}

/// What Python's `str.isspace` says.
fn is_space(letter: char) -> bool {
    letter.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&letter)
}

fn strip(text: &str) -> &str {
    text.trim_matches(is_space)
}

/// Lines as Python's universal newlines part them.
fn physical_lines(text: &str) -> Vec<String> {
    let text = text.replace("\r\n", "\n").replace('\r', "\n");
    let mut lines: Vec<String> = text.split('\n').map(str::to_owned).collect();
    // What follows the last line's end is no line.
    if lines.last().is_some_and(String::is_empty) {
        lines.pop();
    }
    lines
}

/// A section's name, if the line is a head: `\[(.+)\]`, from the first bracket to the last.
fn head(line: &str) -> Option<&str> {
    let (name, _after) = line.strip_prefix('[')?.rsplit_once(']')?;
    (!name.is_empty()).then_some(name)
}

/// Key and value of a line, parted at the first `=` or `:`.
fn key_and_value(line: &str) -> Option<(String, &str)> {
    let (key, value) = line.split_once(['=', ':'])?;
    let key = key.trim_end_matches(is_space);
    (!key.is_empty()).then(|| (key.to_lowercase(), strip(value)))
}

fn escaped(text: &str, also: char) -> String {
    let mut escaped = String::with_capacity(text.len());
    for letter in text.chars() {
        if letter == '\n' {
            escaped.push_str("\\n");
            continue;
        }
        if letter == '\\' || letter == also {
            escaped.push('\\');
        }
        escaped.push(letter);
    }
    escaped
}

/// A key whose value may go on.
struct Open {
    key: String,
    line: usize,
    parts: Vec<String>,
}

struct Reader {
    normal: Normal,
    ready: BTreeMap<usize, String>,
    section: Option<String>,
    open: Option<Open>,
    heads: BTreeSet<String>,
    /// The column of the last head or key, from 0.
    indent: usize,
}

/// Makes a text ready for rust-ini.
///
/// # Errors
///
/// The first line at which Medusa would stop, a byte order mark excepted: that is only noted.
pub(super) fn normalise(text: &str) -> Result<Normal, BrokenLine> {
    let unmarked = text.strip_prefix('\u{feff}');
    let mut reader = Reader {
        normal: Normal { marked: unmarked.is_some(), ..Normal::default() },
        ready: BTreeMap::new(),
        section: None,
        open: None,
        heads: BTreeSet::new(),
        indent: 0,
    };
    let lines = physical_lines(unmarked.unwrap_or(text));
    for (line, number) in lines.iter().zip(1..) {
        reader.take(line, number)?;
    }
    reader.close();
    let Reader { mut normal, mut ready, .. } = reader;
    for (_, number) in lines.iter().zip(1..) {
        normal.text.push_str(&ready.remove(&number).unwrap_or_default());
        normal.text.push('\n');
    }
    Ok(normal)
}

impl Reader {
    fn take(&mut self, line: &str, number: usize) -> Result<(), BrokenLine> {
        let content = strip(line);
        if content.starts_with(['#', ';']) {
            return Ok(());
        }
        if content.is_empty() {
            if let Some(open) = &mut self.open {
                open.parts.push(String::new());
            }
            return Ok(());
        }
        let indent = line.chars().take_while(|letter| is_space(*letter)).count();
        if let Some(open) = self.open.as_mut().filter(|_| indent > self.indent) {
            if let Some((key, _)) = key_and_value(content) {
                self.normal.swallowed.push((number, key, open.line));
            }
            open.parts.push(content.to_owned());
            return Ok(());
        }
        self.indent = indent;
        if let Some(name) = head(content) {
            self.begin(name, number)
        } else {
            self.key(content, number)
        }
    }

    fn begin(&mut self, name: &str, number: usize) -> Result<(), BrokenLine> {
        self.close();
        if name != DEFAULT_SECTION && !self.heads.insert(name.to_owned()) {
            let first = self.normal.sections.get(name).copied().unwrap_or(number);
            let what = format!(
                "[{name}] stands here again, after line {first}; put its keys under one head"
            );
            return Err(BrokenLine { line: number, what });
        }
        self.normal.sections.entry(name.to_owned()).or_insert(number);
        self.ready.insert(number, format!("[\"{}\"]", escaped(name, ']')));
        self.section = Some(name.to_owned());
        Ok(())
    }

    fn key(&mut self, content: &str, number: usize) -> Result<(), BrokenLine> {
        self.close();
        let broken = |what: String| Err(BrokenLine { line: number, what });
        let Some(section) = &self.section else {
            return broken(
                "this line stands before the first [section]; begin the file with one".to_owned(),
            );
        };
        let Some((key, value)) = key_and_value(content) else {
            return broken(
                "this line is neither a comment, nor a [section], nor key = value; the file may be \
                 half written, or a value goes on here without being indented"
                    .to_owned(),
            );
        };
        let at = (section.clone(), key.clone());
        if let Some(first) = self.normal.keys.get(&at) {
            return broken(format!(
                "{key} of [{section}] stands here again, after line {first}; keep one of them"
            ));
        }
        self.normal.keys.insert(at, number);
        self.open = Some(Open { key, line: number, parts: vec![value.to_owned()] });
        Ok(())
    }

    /// Writes the key whose value has come to its end.
    fn close(&mut self) {
        if let Some(Open { key, line, parts }) = self.open.take() {
            let value = parts.join("\n");
            let value = escaped(value.trim_end_matches(is_space), '"');
            self.ready.insert(line, format!("{}=\"{value}\"", escaped(&key, '[')));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use test_case::test_case;

    #[test]
    fn the_text_for_rust_ini_has_a_line_for_each_line() {
        let text = "; c\n[s]\na = 1\n  \"2\\\n\n# c\n[t]x\nB:3";
        let normal = normalise(text).unwrap();
        let expected = "\n[\"s\"]\na=\"1\\n\\\"2\\\\\"\n\n\n\n[\"t\"]\nb=\"3\"\n";
        assert_eq!(normal.text, expected);
        assert_eq!(normal.keys.get(&("t".to_owned(), "b".to_owned())), Some(&8));
    }

    #[test_case("a = 1\n", 1, "before the first [section]"; "no section")]
    #[test_case("[s]\na = 1\nhunter2\n", 3, "neither a comment"; "half a line")]
    #[test_case("[s]\n\n= 1\n", 3, "neither a comment"; "no key")]
    #[test_case("[s]\na = 1\nA : 2\n", 3, "a of [s] stands here again, after line 2"; "a key twice")]
    #[test_case("[s]\na = 1\n[t]\n[s]\n", 4, "[s] stands here again, after line 1"; "a section twice")]
    fn a_line_at_which_medusa_stops_is_told(text: &str, line: usize, says: &str) {
        let broken = normalise(text).unwrap_err();
        assert_eq!(broken.line, line);
        assert!(broken.what.contains(says), "{}", broken.what);
    }

    #[test]
    fn a_broken_line_is_never_quoted_for_it_may_be_a_password() {
        let broken = normalise("[cassandra]\ncql_password = a\nhunter2\n").unwrap_err();
        assert!(!broken.what.contains("hunter2"), "{}", broken.what);
    }

    #[test]
    fn a_key_that_indentation_makes_part_of_a_value_is_noted() {
        let normal = normalise("[s]\na = 1\n  b = 2\n").unwrap();
        assert_eq!(normal.swallowed, [(3, "b".to_owned(), 2)]);
    }
}
