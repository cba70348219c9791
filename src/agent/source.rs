//! Reading the node's files without disturbing Cassandra.

use std::fs::File;
use std::io::{self, IoSliceMut};
use std::num::NonZeroU64;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rustix::fs::{Advice, OFlags, fadvise};
use rustix::io::{Errno, ReadWriteFlags, preadv2};

/// The shortest and longest piece that is looked for in the cache, and fetched if it is not there.
const PIECE: std::ops::RangeInclusive<usize> = (64 << 10)..=(256 << 10);

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

    /// The file itself.
    pub(super) fn file(&self) -> &File {
        &self.file
    }

    /// Fills `buffer` with what comes next, less than all of it only at the end of the file.
    pub(super) fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut filled = 0;
        while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            match self.read_piece(rest)? {
                0 => break,
                got => filled += got,
            }
        }
        Ok(filled)
    }

    /// A piece of the file: from the cache if it has the beginning of it, else from the disk.
    /// Pieces grow while nothing is found cached, and are small beside what is, so that little
    /// that was cached is dropped by mistake.
    fn read_piece(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let longest = if self.tells_cached { self.piece.min(into.len()) } else { into.len() };
        let piece = into.get_mut(..longest).unwrap_or_default();
        let got = match self.read_cached(piece)? {
            Some(got) => {
                self.piece = *PIECE.start();
                got
            }
            None => self.fetch(piece)?,
        };
        self.at = self.at.saturating_add(got as u64);
        Ok(got)
    }

    /// What the page cache has at the beginning of this piece; none if that is nothing, or cannot
    /// be known. If it is nothing, the kernel has begun to fetch all of the piece.
    fn read_cached(&mut self, piece: &mut [u8]) -> io::Result<Option<usize>> {
        while self.tells_cached {
            let mut into = [IoSliceMut::new(piece)];
            match preadv2(&self.file, &mut into, self.at, ReadWriteFlags::NOWAIT) {
                Ok(got) => return Ok(Some(got)),
                Err(Errno::AGAIN) => return Ok(None),
                Err(Errno::INTR) => {}
                Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => self.tells_cached = false,
                Err(error) => return Err(error.into()),
            }
        }
        Ok(None)
    }

    /// Reads a piece from the disk and drops all of it from the cache.
    fn fetch(&mut self, piece: &mut [u8]) -> io::Result<usize> {
        self.piece = self.piece.saturating_mul(2).min(*PIECE.end());
        loop {
            match rustix::io::pread(&self.file, &mut *piece, self.at) {
                Ok(got) => {
                    self.drop_cached(piece.len());
                    return Ok(got);
                }
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Takes what was just fetched out of the page cache. If that fails it only stays there.
    fn drop_cached(&self, bytes: usize) {
        if let Some(bytes) = NonZeroU64::new(bytes as u64).filter(|_| self.tells_cached)
            && let Err(error) = fadvise(&self.file, self.at, Some(bytes), Advice::DontNeed)
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

    /// How much of a file the page cache has: what can be read without waiting.
    fn cached_bytes(path: &Path) -> usize {
        let file = File::open(path).unwrap();
        let (mut page, mut cached) = (vec![0; 4096], 0);
        for at in (0..file.metadata().unwrap().len()).step_by(4096) {
            // Without a fetch of its own on a miss, which would count for the next page.
            fadvise(&file, 0, None, Advice::Random).unwrap();
            let mut into = [IoSliceMut::new(&mut page)];
            cached += preadv2(&file, &mut into, at, ReadWriteFlags::NOWAIT).unwrap_or(0);
        }
        cached
    }

    #[test]
    fn what_was_cached_stays_and_what_was_fetched_goes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        std::fs::write(&path, vec![7; 2 << 20]).unwrap();
        let file = File::open(&path).unwrap();
        file.sync_all().unwrap();
        let cached = cached_bytes(&path);
        read_all(&path);
        assert!(cached_bytes(&path) >= cached / 2, "Cassandra's pages were driven out");
        fadvise(&file, 0, None, Advice::DontNeed).unwrap();
        if cached_bytes(&path) == 2 << 20 {
            // A file system in memory: there is no disk to fetch from, and nothing to drop.
            return;
        }
        read_all(&path);
        assert!(cached_bytes(&path) <= 1 << 20, "a backup's pages stay");
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
