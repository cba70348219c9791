//! A program and its arguments → one line that every login shell passes on unharmed.
//!
//! sshd hands a command to the login shell of the account, which may be bash, fish or tcsh, each
//! with other ideas of quoting. So the line is `exec /bin/sh -c '…'` and what stands between the
//! quotes is made of what all of them leave alone inside single quotes: printable ASCII, no quote,
//! no `!` (tcsh's history), no line end, and no backslash but before a `0` (fish takes `\\` and
//! `\'` as escapes there). What an argument has beyond that travels as octal digits.

use std::fmt;

use rand::Rng;
use thiserror::Error;

/// A program with its arguments and what its environment gets besides; no shell has a say in them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemoteCommand {
    environment: Vec<(String, String)>,
    argv: Vec<String>,
}

/// Why a command cannot be sent.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub(super) enum CommandError {
    #[error("there is no program to run")]
    Empty,
    #[error("an argument holds a NUL byte, which no program can be given: {0:?}")]
    Nul(String),
    #[error("an environment variable cannot be called {0:?}")]
    VariableName(String),
    #[error("the command has {0} bytes; the other side takes 120000 (give the rest on stdin)")]
    TooLong(usize),
}

/// Linux takes 128 KiB as one argument of the login shell.
const LINE_LIMIT: usize = 120_000;

impl RemoteCommand {
    /// The program, found by its path or in `PATH`, and its arguments. A login that is no login
    /// shell has a short `PATH`: give paths where it matters.
    pub fn new<I>(argv: I) -> Self
    where
        I: IntoIterator,
        I::Item: Into<String>,
    {
        let argv = argv.into_iter().map(Into::into).collect();
        Self { environment: Vec::new(), argv }
    }

    /// Sets a variable of the environment. Never for a secret: others on the host can read it.
    #[must_use]
    pub fn env(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.environment.push((name.into(), value.into()));
        self
    }

    /// The same by `sudo -n`, which never asks: it fails if a password would be needed.
    #[must_use]
    pub fn by_sudo(mut self) -> Self {
        self.argv.splice(0..0, ["sudo".to_owned(), "-n".to_owned()]);
        self
    }

    /// The program and its arguments.
    pub fn argv(&self) -> &[String] {
        &self.argv
    }

    /// The line for the login shell. It writes `mark` to stdout and stderr before the program runs,
    /// so that what start-up files print is told from what the program prints; and the number of
    /// its process, which is the program's too.
    ///
    /// With `login` it goes through a second shell, which reads the account's profile. That one
    /// must be of sh's kind: neither fish nor tcsh can be told so in one line.
    pub(super) fn line(&self, mark: &Mark, login: bool) -> Result<String, CommandError> {
        if self.argv.is_empty() {
            return Err(CommandError::Empty);
        }
        let mut words = Words::default();
        // In two parts: a shell that shows what it runs must not show the mark.
        let mark = format!("{}\"{}\"", mark.head, mark.tail);
        let mut run = format!("echo {mark} $$; echo {mark} $$ >&2; exec");
        if !self.environment.is_empty() {
            run.push_str(" env");
        }
        for (name, value) in &self.environment {
            let fine = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
            if name.is_empty() || !name.bytes().all(fine) {
                return Err(CommandError::VariableName(name.clone()));
            }
            run.push(' ');
            run.push_str(&words.quote(&format!("{name}={value}"))?);
        }
        for word in &self.argv {
            run.push(' ');
            run.push_str(&words.quote(word)?);
        }
        let by = if login { "$SHELL -lc 'exec /bin/sh -c \"$0\"'" } else { "/bin/sh -c" };
        let line = format!("exec {by} '{}{run}'", words.before);
        if line.len() > LINE_LIMIT {
            return Err(CommandError::TooLong(line.len()));
        }
        Ok(line)
    }
}

impl fmt::Display for RemoteCommand {
    /// For messages and logs: blanks between words, quotes where they help.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, word) in self.argv.iter().enumerate() {
            let gap = if index == 0 { "" } else { " " };
            if !word.is_empty() && word.bytes().all(stands_bare) {
                write!(f, "{gap}{word}")?;
            } else {
                write!(f, "{gap}{word:?}")?;
            }
        }
        Ok(())
    }
}

/// Words of the script, and the assignments that some of them need before it.
#[derive(Default)]
struct Words {
    before: String,
    variables: usize,
}

impl Words {
    fn quote(&mut self, word: &str) -> Result<String, CommandError> {
        if word.contains('\0') {
            return Err(CommandError::Nul(word.to_owned()));
        }
        if !word.is_empty() && word.bytes().all(stands_bare) {
            return Ok(word.to_owned());
        }
        if word.bytes().all(stands_in_double_quotes) {
            return Ok(format!("\"{word}\""));
        }
        let name = format!("w{}", self.variables);
        self.variables += 1;
        let mut octal = String::with_capacity(word.len() * 2);
        for byte in word.bytes() {
            if stands_bare(byte) {
                octal.push(char::from(byte));
            } else {
                octal.push_str("\\0");
                octal.extend([byte >> 6, byte >> 3 & 7, byte & 7].map(|d| char::from(b'0' + d)));
            }
        }
        // $(…) drops line ends at the end, so a dot stands guard there.
        self.before.extend([name.as_str(), "=$(printf %b. \"", &octal, "\"); "]);
        Ok(format!("\"${{{name}%.}}\""))
    }
}

/// Bytes that mean themselves to every shell, wherever they stand in a word.
fn stands_bare(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-_./:,+@%=".contains(&byte)
}

/// Bytes that mean themselves in sh's double quotes inside any shell's single quotes.
fn stands_in_double_quotes(byte: u8) -> bool {
    matches!(byte, b' '..=b'~') && !b"$`\"\\'!".contains(&byte)
}

/// What tells the program's output from what start-up files print before it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mark {
    head: &'static str,
    tail: String,
}

impl Mark {
    /// A mark that nobody has printed before.
    pub(super) fn new() -> Self {
        Self::of(rand::rng().random())
    }

    fn of(nonce: u64) -> Self {
        Self { head: "medusafs-", tail: format!("{nonce:016x}") }
    }

    /// What the output has before the program's own: this, a process's number, a line end.
    pub(super) fn bytes(&self) -> Vec<u8> {
        format!("{}{} ", self.head, self.tail).into_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::process::{Command, Output};

    #[expect(clippy::disallowed_methods, reason = "the test asks the real shell")]
    fn by_shell(shell: &str, line: &str) -> Output {
        Command::new(shell).arg("-c").arg(line).output().unwrap()
    }

    /// What a program is given, each argument followed by a NUL.
    fn received(shell: &str, argv: &[String]) -> Vec<u8> {
        let printf = ["printf", "%s\\0"].map(str::to_owned);
        let command = RemoteCommand::new(printf.iter().chain(argv));
        let mark = Mark::of(7);
        let output = by_shell(shell, &command.line(&mark, false).unwrap());
        assert!(output.status.success(), "{output:?}");
        let after = |bytes: &[u8]| {
            let rest = bytes.strip_prefix(mark.bytes().as_slice()).unwrap();
            let end = rest.iter().position(|byte| *byte == b'\n').unwrap();
            std::str::from_utf8(&rest[..end]).unwrap().parse::<u32>().unwrap();
            rest[end + 1..].to_vec()
        };
        assert_eq!(after(&output.stderr), b"");
        after(&output.stdout)
    }

    fn with_nuls(argv: &[String]) -> Vec<u8> {
        argv.iter().flat_map(|word| word.bytes().chain([0])).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(120))]
        #[test]
        fn what_sh_receives_is_what_was_given(
            argv in proptest::collection::vec("[^\\x00]{0,20}|[ -~\n\t]{0,30}", 1..5),
        ) {
            prop_assert_eq!(received("/bin/sh", &argv), with_nuls(&argv));
        }

        #[test]
        fn the_line_holds_nothing_that_a_login_shell_minds(
            argv in proptest::collection::vec("[^\\x00]{0,20}|[ -~\n\t]{0,30}", 1..5),
        ) {
            let line = RemoteCommand::new(argv).line(&Mark::of(7), false).unwrap();
            let inner = line.strip_prefix("exec /bin/sh -c '").unwrap().strip_suffix('\'').unwrap();
            prop_assert!(inner.bytes().all(|b| matches!(b, b' '..=b'~') && b != b'\'' && b != b'!'));
            prop_assert!(inner.split('\\').skip(1).all(|rest| rest.starts_with('0')));
        }
    }

    #[test]
    fn awkward_arguments_arrive_as_they_are() {
        let awkward = [
            "",
            " ",
            "a b",
            "it's",
            "\"",
            "\\",
            "\\\\",
            "!",
            "$HOME",
            "`id`",
            "\n",
            "end\n\n",
            "\t",
            "é\u{1f980}",
            "-n",
            "%s",
            "\\0041",
            "*",
            "~",
            "a;b",
            "#x",
            "\u{7f}",
        ]
        .map(str::to_owned);
        assert_eq!(received("/bin/sh", &awkward), with_nuls(&awkward));
        assert_eq!(received("/bin/bash", &awkward), with_nuls(&awkward));
    }

    #[test]
    fn a_variable_of_the_environment_reaches_the_program() {
        let command = RemoteCommand::new(["printenv", "WORD"]).env("WORD", "two words");
        let output = by_shell("/bin/sh", &command.line(&Mark::of(7), false).unwrap());
        assert!(output.stdout.ends_with(b"\ntwo words\n"), "{output:?}");
    }

    #[test]
    fn through_a_login_shell_the_arguments_are_the_same() {
        let awkward = ["it's", "\\", "!", "$HOME", "a b", "\n"].map(str::to_owned);
        let command =
            RemoteCommand::new(["printf", "%s\\0"].map(str::to_owned).iter().chain(&awkward));
        let line = command.line(&Mark::of(7), true).unwrap();
        let output = by_shell("/bin/bash", &format!("SHELL=/bin/bash; {line}"));
        assert!(output.stdout.ends_with(&with_nuls(&awkward)), "{output:?}");
    }

    #[test]
    fn what_no_program_can_be_given_is_refused() {
        let mark = Mark::new();
        let none: [&str; 0] = [];
        assert_eq!(RemoteCommand::new(none).line(&mark, false), Err(CommandError::Empty));
        assert!(matches!(
            RemoteCommand::new(["a\0b"]).line(&mark, false),
            Err(CommandError::Nul(_))
        ));
        let long = RemoteCommand::new(["x".repeat(LINE_LIMIT)]).line(&mark, false);
        assert!(matches!(long, Err(CommandError::TooLong(_))));
        let name = RemoteCommand::new(["x"]).env("A;B", "").line(&mark, false);
        assert!(matches!(name, Err(CommandError::VariableName(_))));
    }

    #[test]
    fn a_command_prints_so_that_a_person_can_try_it() {
        let command = RemoteCommand::new(["cat", "a b"]).by_sudo();
        assert_eq!(command.to_string(), "sudo -n cat \"a b\"");
    }
}
