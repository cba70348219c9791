//! Lines of bounded length out of a stream of bytes.
#![warn(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use std::io;

use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};

use super::protocol::LINE_LIMIT;

/// Reads the lines that a job says.
#[derive(Debug)]
pub(super) struct Lines<R> {
    reader: BufReader<R>,
    line: Vec<u8>,
    limit: usize,
}

impl<R: AsyncRead + Unpin> Lines<R> {
    /// Lines of up to [`LINE_LIMIT`] bytes.
    pub(super) fn new(reader: R) -> Self {
        Self::with_limit(reader, LINE_LIMIT)
    }

    fn with_limit(reader: R, limit: usize) -> Self {
        Self { reader: BufReader::new(reader), line: Vec::new(), limit }
    }

    /// The next line without its newline; none at the end of the stream, where a last line that
    /// was not ended is dropped: its writer died in it. Loses nothing when dropped half-way.
    ///
    /// # Errors
    ///
    /// The stream's own, and `InvalidData` for a line that is too long. Either is final.
    pub(super) async fn next(&mut self) -> io::Result<Option<Vec<u8>>> {
        loop {
            let bytes = self.reader.fill_buf().await?;
            if bytes.is_empty() {
                return Ok(None);
            }
            let (part, ended) = match bytes.iter().position(|byte| *byte == b'\n') {
                Some(at) => (bytes.get(..at).unwrap_or(bytes), true),
                None => (bytes, false),
            };
            if self.line.len().saturating_add(part.len()) > self.limit {
                let text = format!("a line is longer than {} bytes", self.limit);
                return Err(io::Error::new(io::ErrorKind::InvalidData, text));
            }
            self.line.extend_from_slice(part);
            let used = part.len().saturating_add(usize::from(ended));
            self.reader.consume(used);
            if ended {
                return Ok(Some(std::mem::take(&mut self.line)));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn lines_come_whole_and_an_unfinished_last_one_never() {
        let mut lines = Lines::new(&b"one\n\nthree\nfou"[..]);
        let mut got = Vec::new();
        while let Some(line) = lines.next().await.unwrap() {
            got.push(String::from_utf8(line).unwrap());
        }
        assert_eq!(got, ["one", "", "three"]);
    }

    #[tokio::test]
    async fn an_endless_line_is_refused_before_it_fills_the_memory() {
        let mut lines = Lines::with_limit(tokio::io::repeat(b'y'), 100_000);
        let error = lines.next().await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        assert!(lines.line.len() <= 100_000);
    }
}
