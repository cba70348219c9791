//! A program on another machine, while it runs.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Buf, BytesMut};
use parking_lot::Mutex;
use tokio::io::{AsyncBufRead, AsyncRead, AsyncWrite, ReadBuf};

use super::pipe::{About, Ends, Incoming, Outgoing, pipe};
use super::{Exit, SshError, Stage};

/// Bytes of stderr that are kept, the last ones.
pub(super) const STDERR_LIMIT: usize = 64 << 10;

/// A running program, in parts that may go to different tasks.
#[derive(Debug)]
pub struct RemoteProcess {
    /// What it reads.
    pub stdin: ProcessStdin,
    /// What it writes. Dropping this ends the program.
    pub stdout: ProcessStdout,
    /// What it complains about.
    pub stderr: StderrTail,
}

/// Writes to a program. Dropping it, or shutting it down, is the end of its input.
///
/// A write fails with `TimedOut` if the program takes nothing for as long as
/// [`Patience::write`](super::Patience) says, and with `BrokenPipe` once it has ended.
#[derive(Debug)]
pub struct ProcessStdin(Outgoing);

/// Reads what a program writes, without what start-up files wrote before it.
///
/// Reading ends when the program does; if the connection breaks it fails, so that half an output
/// is not taken for all of it. Up to 16 MiB wait for a reader; a program that is further ahead is
/// ended, and reading fails.
#[derive(Debug)]
pub struct ProcessStdout(Incoming);

/// The last 64 KiB of a program's stderr.
#[derive(Clone, Default)]
pub struct StderrTail(Arc<Mutex<Tail>>);

/// The last [`STDERR_LIMIT`] bytes of what was pushed.
#[derive(Debug, Default)]
pub(super) struct Tail(BytesMut);

/// A process on `host` (for messages), and what a connection, or a script, has of it.
pub(super) fn process(host: &str, patience: Duration) -> (RemoteProcess, Ends, StderrTail) {
    let about = About { host: Arc::from(host), stage: Stage::Run };
    let (incoming, outgoing, ends) = pipe(about, patience);
    let stderr = StderrTail::default();
    let process = RemoteProcess {
        stdin: ProcessStdin(outgoing),
        stdout: ProcessStdout(incoming),
        stderr: stderr.clone(),
    };
    (process, ends, stderr)
}

impl ProcessStdout {
    /// Waits for the program's end. What it wrote can still be read.
    ///
    /// # Errors
    ///
    /// The connection broke, or the program was ended because of what it wrote.
    pub async fn exit(&mut self) -> Result<Exit, SshError> {
        self.0.exit().await
    }
}

impl AsyncRead for ProcessStdout {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().0).poll_read(cx, buffer)
    }
}

impl AsyncBufRead for ProcessStdout {
    fn poll_fill_buf(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<&[u8]>> {
        Pin::new(&mut self.get_mut().0).poll_fill_buf(cx)
    }

    fn consume(self: Pin<&mut Self>, amount: usize) {
        Pin::new(&mut self.get_mut().0).consume(amount);
    }
}

impl AsyncWrite for ProcessStdin {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().0).poll_write(cx, data)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().0).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().0).poll_shutdown(cx)
    }
}

impl Tail {
    pub(super) fn push(&mut self, data: &[u8]) {
        let keep = data.len().saturating_sub(STDERR_LIMIT);
        self.0.extend_from_slice(data.get(keep..).unwrap_or_default());
        let surplus = self.0.len().saturating_sub(STDERR_LIMIT);
        self.0.advance(surplus);
    }

    pub(super) fn into_bytes(self) -> Vec<u8> {
        self.0.to_vec()
    }
}

impl StderrTail {
    pub(super) fn push(&self, data: &[u8]) {
        self.0.lock().push(data);
    }

    /// What is kept so far, as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock().0).into_owned()
    }
}

impl fmt::Debug for StderrTail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("StderrTail").field(&self.text()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tail_of_stderr_is_the_last_of_it() {
        let tail = StderrTail::default();
        tail.push(&vec![b'a'; STDERR_LIMIT]);
        tail.push(b"the end");
        let text = tail.text();
        assert_eq!(text.len(), STDERR_LIMIT);
        assert!(text.ends_with("aaathe end"));
        tail.push(&vec![b'b'; STDERR_LIMIT * 3]);
        assert_eq!(tail.text(), "b".repeat(STDERR_LIMIT));
    }
}
