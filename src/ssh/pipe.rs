//! Bytes from and to the other side, with bounds and deadlines on both.
//!
//! A connection reads all its channels all the time, or one that nobody reads would stop the
//! others and the keepalive. So what comes waits here, up to a bound, and past it the channel ends.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes};
use tokio::io::{AsyncBufRead, AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::{mpsc, watch};
use tokio::time::Sleep;
use tokio_util::sync::{CancellationToken, DropGuard, PollSender};

use super::{Exit, SshError, SshErrorKind, Stage};

/// Bytes that may wait for a reader.
const BACKLOG_LIMIT: usize = 16 << 20;

/// Pieces that may wait for the connection.
const OUTGOING_QUEUE: usize = 8;

/// The most that one piece holds.
const PIECE_LIMIT: usize = 256 << 10;

/// What the other side writes. Dropping it ends what runs there.
#[derive(Debug)]
pub(super) struct Incoming {
    pieces: mpsc::UnboundedReceiver<Bytes>,
    current: Bytes,
    backlog: Arc<AtomicUsize>,
    end: watch::Receiver<Option<Arc<End>>>,
    about: About,
    _stop: DropGuard,
}

/// What the other side reads. Dropping it is the end of that.
#[derive(Debug)]
pub(super) struct Outgoing {
    pieces: PollSender<Bytes>,
    patience: Duration,
    /// Runs while the other side takes nothing.
    stalled: Option<Pin<Box<Sleep>>>,
    about: About,
}

/// The connection's ends of both.
#[derive(Debug)]
pub(super) struct Ends {
    pub(super) outgoing: mpsc::Receiver<Bytes>,
    pub(super) incoming: Inlet,
    /// Cancelled when the reader is gone.
    pub(super) stop: CancellationToken,
}

/// Where the connection puts what comes.
#[derive(Debug)]
pub(super) struct Inlet {
    pieces: mpsc::UnboundedSender<Bytes>,
    backlog: Arc<AtomicUsize>,
    end: watch::Sender<Option<Arc<End>>>,
}

/// How it ended, or why nothing more can be heard.
#[derive(Debug)]
pub(super) enum End {
    /// A program ended, or a tunnel was closed (status 0).
    Exited(Exit),
    /// Anything else.
    Failed { kind: SshErrorKind, message: String },
}

/// Whom errors are about.
#[derive(Debug, Clone)]
pub(super) struct About {
    pub(super) host: Arc<str>,
    pub(super) stage: Stage,
}

impl About {
    pub(super) fn error(&self, kind: SshErrorKind, message: impl Into<String>) -> SshError {
        SshError::new(&self.host, self.stage, kind, message)
    }
}

/// Both ends of a new pipe. `patience` is for a write that the other side does not take.
pub(super) fn pipe(about: About, patience: Duration) -> (Incoming, Outgoing, Ends) {
    let (sender, outgoing) = mpsc::channel(OUTGOING_QUEUE);
    let (inlet, pieces) = mpsc::unbounded_channel();
    let (end_sender, end) = watch::channel(None);
    let backlog = Arc::<AtomicUsize>::default();
    let stop = CancellationToken::new();
    let incoming = Incoming {
        pieces,
        current: Bytes::new(),
        backlog: Arc::clone(&backlog),
        end,
        about: about.clone(),
        _stop: stop.clone().drop_guard(),
    };
    let pieces = PollSender::new(sender);
    let ends = Ends { outgoing, incoming: Inlet { pieces: inlet, backlog, end: end_sender }, stop };
    (incoming, Outgoing { pieces, patience, stalled: None, about }, ends)
}

impl Inlet {
    /// Takes what came. False if too much waits already, or nobody will read it.
    pub(super) fn push(&self, piece: Bytes) -> bool {
        let weight = weight(&piece);
        let waiting = self.backlog.fetch_add(weight, Ordering::Relaxed);
        waiting + weight <= BACKLOG_LIMIT && self.pieces.send(piece).is_ok()
    }

    /// Says how it ended; what waits can still be read.
    pub(super) fn finish(self, end: End) {
        self.end.send_replace(Some(Arc::new(end)));
    }
}

/// What a waiting piece costs, so that empty ones cannot pile up for ever.
fn weight(piece: &Bytes) -> usize {
    piece.len() + 64
}

impl Incoming {
    /// Waits for the end; what waits can still be read.
    pub(super) async fn exit(&mut self) -> Result<Exit, SshError> {
        // An error means that the sender is gone, which `ended` tells.
        let waited = self.end.wait_for(Option::is_some).await.is_ok();
        tracing::trace!(waited, "a remote program ended");
        self.ended()
    }

    fn ended(&self) -> Result<Exit, SshError> {
        match self.end.borrow().as_deref() {
            Some(End::Exited(exit)) => Ok(exit.clone()),
            Some(End::Failed { kind, message }) => Err(self.about.error(*kind, message)),
            None => Err(self.about.error(SshErrorKind::Lost, "the connection was closed")),
        }
    }
}

impl AsyncBufRead for Incoming {
    fn poll_fill_buf(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<&[u8]>> {
        let this = self.get_mut();
        while this.current.is_empty() {
            if let Some(piece) = ready!(this.pieces.poll_recv(cx)) {
                this.backlog.fetch_sub(weight(&piece), Ordering::Relaxed);
                this.current = piece;
            } else {
                let end = this.ended().map_err(|error| io::Error::other(Box::new(error)));
                return Poll::Ready(end.map(|_exit| [].as_slice()));
            }
        }
        Poll::Ready(Ok(&this.current))
    }

    fn consume(self: Pin<&mut Self>, amount: usize) {
        let this = self.get_mut();
        this.current.advance(amount.min(this.current.len()));
    }
}

impl AsyncRead for Incoming {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let taken = {
            let ready = ready!(self.as_mut().poll_fill_buf(cx))?;
            let taken = ready.len().min(buffer.remaining());
            buffer.put_slice(ready.get(..taken).unwrap_or_default());
            taken
        };
        self.consume(taken);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Outgoing {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if data.is_empty() {
            return Poll::Ready(Ok(0));
        }
        let closed = || io::Error::new(io::ErrorKind::BrokenPipe, "the other side takes no more");
        if let Poll::Ready(reserved) = this.pieces.poll_reserve(cx) {
            this.stalled = None;
            reserved.map_err(|_closed| closed())?;
            let taken = data.get(..PIECE_LIMIT).unwrap_or(data);
            this.pieces.send_item(Bytes::copy_from_slice(taken)).map_err(|_closed| closed())?;
            return Poll::Ready(Ok(taken.len()));
        }
        let patience = this.patience;
        let stalled = this.stalled.get_or_insert_with(|| Box::pin(tokio::time::sleep(patience)));
        ready!(stalled.as_mut().poll(cx));
        this.stalled = None;
        let error = this.about.error(
            SshErrorKind::TimedOut,
            "it does not take what it is sent; look whether the program there hangs",
        );
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, error)))
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().pieces.close();
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    fn new() -> (Incoming, Outgoing, Ends) {
        let about = About { host: Arc::from("root@node1"), stage: Stage::Run };
        pipe(about, Duration::from_secs(30))
    }

    #[tokio::test]
    async fn what_waits_is_read_before_the_end() {
        let (mut incoming, _outgoing, ends) = new();
        assert!(ends.incoming.push(Bytes::from("one ")));
        assert!(ends.incoming.push(Bytes::from("two")));
        ends.incoming.finish(End::Exited(Exit::Status(3)));
        assert_eq!(incoming.exit().await.unwrap(), Exit::Status(3));
        let mut text = String::new();
        incoming.read_to_string(&mut text).await.unwrap();
        assert_eq!(text, "one two");
        assert_eq!(incoming.exit().await.unwrap(), Exit::Status(3));
    }

    #[tokio::test]
    async fn a_broken_connection_is_no_end_of_file() {
        let (mut incoming, _outgoing, ends) = new();
        let message = "the connection broke".to_owned();
        ends.incoming.finish(End::Failed { kind: SshErrorKind::Lost, message });
        let error = incoming.read_u8().await.unwrap_err().to_string();
        assert_eq!(error, "cannot run a program on root@node1: the connection broke");
        let (mut incoming, _outgoing, ends) = new();
        drop(ends);
        assert!(incoming.read_u8().await.is_err());
        assert_eq!(incoming.exit().await.unwrap_err().kind, SshErrorKind::Lost);
    }

    #[test]
    fn no_more_waits_than_the_bound_however_small_the_pieces() {
        let (_incoming, _outgoing, ends) = new();
        let pieces = (0..BACKLOG_LIMIT).find(|_| !ends.incoming.push(Bytes::new())).unwrap();
        assert_eq!(pieces, BACKLOG_LIMIT / 64);
        let (_incoming, _outgoing, ends) = new();
        assert!(!ends.incoming.push(Bytes::from(vec![0; BACKLOG_LIMIT])));
    }

    #[tokio::test]
    async fn reading_makes_room_again() {
        let (mut incoming, _outgoing, ends) = new();
        for _ in 0..3 {
            assert!(ends.incoming.push(Bytes::from(vec![0; BACKLOG_LIMIT / 2])));
            incoming.read_exact(&mut vec![0; BACKLOG_LIMIT / 2]).await.unwrap();
        }
    }

    #[tokio::test]
    async fn dropping_the_reader_tells_the_other_side_to_end() {
        let (incoming, _outgoing, ends) = new();
        assert!(!ends.stop.is_cancelled());
        drop(incoming);
        ends.stop.cancelled().await;
    }

    #[tokio::test]
    async fn dropping_or_shutting_the_writer_is_the_end_of_input() {
        let (_incoming, mut outgoing, mut ends) = new();
        outgoing.write_all(b"last").await.unwrap();
        outgoing.shutdown().await.unwrap();
        assert_eq!(ends.outgoing.recv().await.unwrap(), "last");
        assert_eq!(ends.outgoing.recv().await, None);
    }

    #[tokio::test(start_paused = true)]
    async fn what_the_other_side_does_not_take_is_waited_for_no_longer_than_said() {
        let (_incoming, mut outgoing, _ends) = new();
        let mut sent = 0;
        let error = loop {
            match outgoing.write_all(b"line\n").await {
                Ok(()) => sent += 1,
                Err(error) => break error,
            }
        };
        assert_eq!((sent, error.kind()), (OUTGOING_QUEUE, io::ErrorKind::TimedOut));
    }

    #[tokio::test]
    async fn writing_to_what_has_ended_fails_at_once() {
        let (_incoming, mut outgoing, ends) = new();
        drop(ends);
        let error = outgoing.write_all(b"x").await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
    }
}
