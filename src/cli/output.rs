//! The only printer.

use std::fmt::Display;
use std::io::{self, IsTerminal, Write};

use serde::Serialize;

use super::{Exit, Failure};

/// Where a command's words go.
#[derive(Debug, Clone, Copy, Default)]
pub struct Output;

impl Output {
    /// A line on standard output.
    ///
    /// # Errors
    ///
    /// Whoever read it has gone, or its disk is full: the command ends, not wished.
    pub fn line(self, line: impl Display) -> Result<(), Failure> {
        writeln!(io::stdout().lock(), "{line}").map_err(|error| gone(&error))
    }

    /// Text as it is, without a line's end.
    pub fn text(self, text: &str) -> Result<(), Failure> {
        let mut stdout = io::stdout().lock();
        stdout
            .write_all(text.as_bytes())
            .and_then(|()| stdout.flush())
            .map_err(|error| gone(&error))
    }

    /// A value as JSON, on one line.
    pub fn json(self, value: &impl Serialize) -> Result<(), Failure> {
        let text =
            serde_json::to_string(value).map_err(|error| Failure::of(Exit::Unwished, &error))?;
        self.line(text)
    }

    /// What failed, on standard error, under the program's name; nothing if it was told already.
    pub fn failure(self, failure: &Failure) {
        if failure.message.is_empty() {
            return;
        }
        let written = writeln!(io::stderr().lock(), "medusafs: {failure}");
        // Nobody is left to tell.
        drop(written);
    }

    /// A remark on standard error.
    pub fn remark(self, remark: impl Display) {
        let written = writeln!(io::stderr().lock(), "medusafs: {remark}");
        drop(written);
    }

    /// Replaces the line that the cursor stands on, on standard error: a progress bar's step.
    pub fn over(self, line: &str) {
        let mut stderr = io::stderr().lock();
        let written = write!(stderr, "\r\x1b[K{line}").and_then(|()| stderr.flush());
        drop(written);
    }

    /// Whether a person watches standard error.
    pub fn is_watched(self) -> bool {
        io::stderr().is_terminal()
    }
}

fn gone(error: &io::Error) -> Failure {
    Failure::new(Exit::Unwished, format!("cannot write to standard output: {error}"))
}
