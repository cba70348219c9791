//! Reading the node's files without disturbing Cassandra.

use std::fs::File;
use std::io::{self, IoSliceMut};
use std::num::NonZeroU64;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rustix::fs::{Advice, OFlags, fadvise};
use rustix::io::{Errno, ReadWriteFlags, preadv2};

/// The shortest and longest piece that is fetched from the disk at once.
const PIECE: std::ops::RangeInclusive<usize> = (64 << 10)..=(1 << 20);

/// A file of a snapshot, read once from its beginning.
///
/// It is the same inode as Cassandra's live file, whose hot pages must stay in the page cache,
/// while a terabyte of cold ones must not drive others out. So what is in the cache is read from
/// there and left, and what had to be fetched is dropped again. Read-ahead would blur the
/// difference and is off; several files are read at once instead.
#[derive(Debug)]
pub(super) struct Source {
    file: File,
    at: u64,
    piece: usize,
    tells_cached: bool,
}

impl Source {
    /// Opens a regular file; anything else, also a link that has taken its place, is an error.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        // Without blocking, so that a pipe that has taken the file's place stops nobody.
        let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
        let flags = i32::try_from(flags.bits()).map_err(io::Error::other)?;
        let file = File::options().read(true).custom_flags(flags).open(path)?;
        if !file.metadata()?.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is no regular file"));
        }
        // Advice that a file system does not take changes speed only.
        let tells_cached = fadvise(&file, 0, None, Advice::Random).is_ok();
        Ok(Self { file, at: 0, piece: *PIECE.start(), tells_cached })
    }

    /// Fills the beginning of `buffer` with what comes next; 0 at the end of the file.
    pub(super) fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let got = match self.read_cached(buffer)? {
            Some(got) => got,
            None => self.fetch(buffer)?,
        };
        self.at = self.at.saturating_add(got as u64);
        Ok(got)
    }

    /// What the page cache has of it; none if that is nothing, or cannot be known.
    fn read_cached(&mut self, buffer: &mut [u8]) -> io::Result<Option<usize>> {
        while self.tells_cached {
            let mut into = [IoSliceMut::new(buffer)];
            match preadv2(&self.file, &mut into, self.at, ReadWriteFlags::NOWAIT) {
                Ok(got) => {
                    self.piece = *PIECE.start();
                    return Ok(Some(got));
                }
                Err(Errno::AGAIN) => return Ok(None),
                Err(Errno::INTR) => {}
                Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => self.tells_cached = false,
                Err(error) => return Err(error.into()),
            }
        }
        Ok(None)
    }

    /// Reads a piece from the disk and drops it from the cache: pieces grow while nothing is found
    /// cached, so that little that was cached is dropped by mistake.
    fn fetch(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let piece = if self.tells_cached { self.piece.min(buffer.len()) } else { buffer.len() };
        self.piece = self.piece.saturating_mul(2).min(*PIECE.end());
        let into = buffer.get_mut(..piece).unwrap_or_default();
        loop {
            match rustix::io::pread(&self.file, &mut *into, self.at) {
                Ok(got) => {
                    self.drop_cached(got);
                    return Ok(got);
                }
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Takes what was just fetched out of the page cache. If that fails it only stays there.
    fn drop_cached(&self, got: usize) {
        if let Some(got) = NonZeroU64::new(got as u64).filter(|_| self.tells_cached)
            && let Err(error) = fadvise(&self.file, self.at, Some(got), Advice::DontNeed)
        {
            tracing::trace!(%error, "not dropped from the page cache");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_all(path: &Path) -> Vec<u8> {
        let mut source = Source::open(path).unwrap();
        let (mut all, mut buffer) = (Vec::new(), vec![0; 300_000]);
        loop {
            match source.read(&mut buffer).unwrap() {
                0 => return all,
                got => all.extend_from_slice(&buffer[..got]),
            }
        }
    }

    #[test]
    fn a_file_reads_whole_whether_it_is_cached_or_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        let content: Vec<u8> = (0..3_000_001_u32).map(|n| (n % 251) as u8).collect();
        std::fs::write(&path, &content).unwrap();
        assert!(read_all(&path) == content);
        let file = File::open(&path).unwrap();
        file.sync_all().unwrap();
        fadvise(&file, 0, None, Advice::DontNeed).unwrap();
        assert!(read_all(&path) == content);
    }

    #[test]
    fn what_is_no_regular_file_is_refused_and_never_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let (pipe, link) = (folder.path().join("pipe"), folder.path().join("link"));
        nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRUSR).unwrap();
        std::os::unix::fs::symlink("/etc/passwd", &link).unwrap();
        assert!(Source::open(&pipe).is_err());
        assert!(Source::open(&link).is_err());
        assert!(Source::open(folder.path()).is_err());
    }
}
