//! Where a value comes from.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

/// Where a value stands, as a message says it. Places of one file sort by line.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// Nowhere: Medusa's or medusafs's default.
    Default,
    /// A file as a whole.
    File(Arc<PathBuf>),
    /// A line of a file, from 1.
    Line(Arc<PathBuf>, usize),
    /// A variable of the environment.
    Variable(String),
    /// An option of mount or of the command line.
    Option(String),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File(file) => write!(f, "{}", file.display()),
            Self::Line(file, line) => write!(f, "{}:{line}", file.display()),
            Self::Variable(name) => write!(f, "variable {name}"),
            Self::Option(name) => write!(f, "option {name}"),
        }
    }
}
