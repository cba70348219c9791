//! What is wrong with the settings, and where.

use std::fmt;
use std::io;
use std::path::PathBuf;

use thiserror::Error;

use super::origin::Place;

/// One wrong setting: a whole sentence with place, key, and what would be right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Where it stands.
    pub place: Place,
    /// `[section] key`, or what the sentence is about; empty if the place says it.
    pub about: String,
    /// What is wrong with it and what would be right. Never holds a secret.
    pub what: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.place)?;
        if !self.about.is_empty() {
            write!(f, "{}: ", self.about)?;
        }
        f.write_str(&self.what)
    }
}

/// Something to know that stops nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Warning {
    /// Where it stands.
    pub place: Place,
    /// What is odd about it, and what would be better. Never holds a secret.
    pub what: String,
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.what)
    }
}

/// Why there are no settings. Each is wrong configuration: exit 2.
#[derive(Debug, Error)]
pub enum ConfigError {
    /// The file cannot be had.
    #[error("cannot read {}: {what}", file.display())]
    Unreadable {
        /// The file.
        file: PathBuf,
        /// What stands in the way, and what to do.
        what: String,
        /// What the system said, if it did.
        #[source]
        source: Option<io::Error>,
    },
    /// The file is not in the dialect that Medusa reads, from `line` on.
    #[error("{}:{line}: {what}", file.display())]
    Broken {
        /// The file.
        file: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong with it.
        what: String,
    },
    /// It asks for something that Medusa has and medusafs has not.
    #[error("{0}")]
    NotSupported(Problem),
    /// Values are wrong or missing; all of them, a line for each.
    #[error("{}", lines(.0))]
    Wrong(Vec<Problem>),
}

fn lines(problems: &[Problem]) -> String {
    problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}
