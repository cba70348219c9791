//! A settings file: sections, keys and values, each with its line.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;

use ini::{Ini, ParseOption};

use super::ConfigError;
use super::dialect::{DEFAULT_SECTION, Normal, normalise};
use super::origin::Place;

/// The most that a settings file may have, in bytes: a hundred times the largest one seen.
const LARGEST: u64 = 1 << 20;

/// A value and the line of its key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) value: String,
    pub(super) line: usize,
}

/// A settings file, read.
#[derive(Debug)]
pub(super) struct IniFile {
    /// Its path as it was named.
    pub(super) file: Arc<std::path::PathBuf>,
    /// Keys and values by section.
    pub(super) sections: BTreeMap<String, BTreeMap<String, Entry>>,
    /// Lines of heads, looked-like-keys and the mark.
    pub(super) normal: Normal,
}

impl IniFile {
    /// Reads a file; none if there is none.
    pub(super) fn read(file: &Path) -> Result<Option<Self>, ConfigError> {
        let unreadable = |what: &str, source| ConfigError::Unreadable {
            file: file.to_owned(),
            what: what.to_owned(),
            source,
        };
        // Asked before opening, for the open of a pipe would wait for its writer.
        let about = match std::fs::metadata(file) {
            Ok(about) => about,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(unreadable("its directory cannot be entered", Some(error))),
        };
        if about.is_dir() {
            return Err(unreadable("it is a directory; name the file in it", None));
        }
        if !about.is_file() {
            return Err(unreadable("it is no ordinary file", None));
        }
        let mut bytes = Vec::new();
        File::open(file)
            .and_then(|opened| opened.take(LARGEST + 1).read_to_end(&mut bytes))
            .map_err(|error| match error.kind() {
                io::ErrorKind::PermissionDenied => unreadable(
                    "this user may not; run as root, or let a group read it",
                    Some(error),
                ),
                _ => unreadable("the system refuses", Some(error)),
            })?;
        if bytes.len() as u64 > LARGEST {
            return Err(unreadable("it has more than 1 MiB, so it holds no settings", None));
        }
        let text = String::from_utf8(bytes).map_err(|error| {
            let before = error.as_bytes().iter().take(error.utf8_error().valid_up_to());
            ConfigError::Broken {
                file: file.to_owned(),
                line: before.filter(|byte| **byte == b'\n').count() + 1,
                what: "this line is not UTF-8; save the file as UTF-8".to_owned(),
            }
        })?;
        Self::parse(file, &text).map(Some)
    }

    /// Parses the text of a file.
    pub(super) fn parse(file: &Path, text: &str) -> Result<Self, ConfigError> {
        let broken = |line, what| ConfigError::Broken { file: file.to_owned(), line, what };
        let normal = normalise(text).map_err(|error| broken(error.line, error.what))?;
        let options = ParseOption {
            enabled_quote: true,
            enabled_escape: true,
            enabled_indented_mutiline_value: false,
            enabled_preserve_key_leading_whitespace: false,
        };
        let parsed = Ini::load_from_str_opt(&normal.text, options)
            .map_err(|error| broken(error.line, error.msg.into_owned()))?;
        let mut sections: BTreeMap<String, BTreeMap<String, Entry>> =
            normal.sections.keys().map(|name| (name.clone(), BTreeMap::new())).collect();
        let mut found = 0;
        for (quoted, properties) in &parsed {
            let name = quoted.and_then(|name| name.strip_prefix('"')?.strip_suffix('"'));
            for (key, value) in properties {
                let at = (name.unwrap_or_default().to_owned(), key.to_owned());
                let Some(line) = normal.keys.get(&at).copied() else { continue };
                let entry = Entry { value: value.to_owned(), line };
                found +=
                    usize::from(sections.entry(at.0).or_default().insert(at.1, entry).is_none());
            }
        }
        if found != normal.keys.len() {
            let what = "medusafs read this file in two ways that differ, which is a bug of its own; \
                        please report the file, without its passwords";
            return Err(broken(1, what.to_owned()));
        }
        Ok(Self { file: Arc::new(file.to_owned()), sections, normal })
    }

    /// A key's value in its own section.
    pub(super) fn get(&self, section: &str, key: &str) -> Option<&Entry> {
        self.sections.get(section)?.get(key)
    }

    /// A key's value in `[DEFAULT]`.
    pub(super) fn get_default(&self, key: &str) -> Option<&Entry> {
        self.get(DEFAULT_SECTION, key)
    }

    /// A line of this file, for a message.
    pub(super) fn line(&self, line: usize) -> Place {
        Place::Line(Arc::clone(&self.file), line)
    }

    /// The whole file, for a message.
    pub(super) fn whole(&self) -> Place {
        Place::File(Arc::clone(&self.file))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::Value;

    /// Sections with their keys and values, as Python prints them.
    type Plain = BTreeMap<String, BTreeMap<String, String>>;

    fn plain(text: &str) -> Result<Plain, ConfigError> {
        let sections = IniFile::parse(Path::new("x.ini"), text)?.sections.into_iter();
        let values = |keys: BTreeMap<String, Entry>| {
            keys.into_iter().map(|(key, entry)| (key, entry.value)).collect::<BTreeMap<_, _>>()
        };
        Ok(sections.map(|(name, keys)| (name, values(keys))).collect())
    }

    #[test]
    fn every_text_is_read_as_python_reads_it() {
        let cases = include_str!("../../tests/fixtures/config/configparser.json");
        let cases: Vec<Value> = serde_json::from_str(cases).unwrap();
        assert!(cases.len() > 200);
        for case in cases {
            let text = case["text"].as_str().unwrap();
            let read = plain(text);
            if case.get("error").is_some() {
                assert!(read.is_err(), "{text:?}: Python stops, got {read:?}");
                continue;
            }
            let mut read = read.unwrap_or_else(|error| panic!("{text:?}: {error}"));
            // Python has no section for [DEFAULT].
            read.retain(|name, keys| name != DEFAULT_SECTION || !keys.is_empty());
            let wanted: Plain = serde_json::from_value(case["sections"].clone()).unwrap();
            assert_eq!(read, wanted, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn no_text_is_read_in_two_ways(text in "(\\PC|[\\[\\]=:;#\"'\\\\\n\r\t ]){0,80}") {
            if let Err(error) = plain(&format!("[s]\n{text}")) {
                prop_assert!(!error.to_string().contains("bug"), "{}", error);
            }
        }

        #[test]
        fn values_of_one_line_are_read_as_they_are_written(
            values in prop::collection::btree_map("[a-z_]{1,12}", "([!-~é☃][ -~é☃]{0,20}[!-~é☃])?", 0..8)
        ) {
            let lines: Vec<_> = values.iter().map(|(key, value)| format!("{key} = {value}\n")).collect();
            let read = plain(&format!("[s]\n{}", lines.concat())).unwrap();
            prop_assert_eq!(&read["s"], &values);
        }
    }
}
