//! An error and its causes on one line.

use std::error::Error;
use std::fmt;

/// Prints an error, then each of its sources, parted by `: `.
///
/// Our errors never print their source themselves, so that nothing is said twice.
#[derive(Debug)]
pub struct ErrorChain<'a>(pub &'a (dyn Error + 'static));

impl fmt::Display for ErrorChain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)?;
        let mut source = self.0.source();
        while let Some(error) = source {
            write!(f, ": {error}")?;
            source = error.source();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io;
    use thiserror::Error;

    #[derive(Debug, Error)]
    #[error("cannot read a manifest")]
    struct Outer(#[source] io::Error);

    #[test]
    fn a_chain_says_each_cause_once() {
        let error = Outer(io::Error::other("disk on fire"));
        assert_eq!(ErrorChain(&error).to_string(), "cannot read a manifest: disk on fire");
    }
}
