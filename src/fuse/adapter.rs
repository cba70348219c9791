//! fuser's calls, each answered by `fs`: unpack, ask, pack. Nothing is decided here.

use std::ffi::OsStr;
use std::future::Future;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use fuser::{
    BsdFileFlags, CopyFileRangeFlags, Errno, FileHandle, Filesystem, INodeNo, IoctlFlags,
    KernelConfig, LockOwner, OpenAccMode, OpenFlags, RenameFlags, ReplyAttr, ReplyCreate,
    ReplyData, ReplyDirectory, ReplyDirectoryPlus, ReplyEmpty, ReplyEntry, ReplyIoctl, ReplyLseek,
    ReplyOpen, ReplyStatfs, ReplyWrite, ReplyXattr, Request, TimeOrNow, WriteFlags,
};

use crate::fs::Caller;
use crate::fs::FsError;
use crate::fs::Handle;
use crate::fs::MedusaFs;
use crate::fs::SetAttributes;

use super::answer::Answers;
use super::convert::{self, caller, ino};
use super::options::negotiate;
use super::passthrough::Passthrough;
use super::reply as say;

/// What the kernel talks to.
pub(super) struct Adapter {
    fs: Arc<MedusaFs>,
    answers: Answers,
    passthrough: Arc<Passthrough>,
}

impl Adapter {
    /// Answers for `fs`.
    pub(super) fn new(fs: Arc<MedusaFs>, answers: Answers, passthrough: Passthrough) -> Self {
        Self { fs, answers, passthrough: Arc::new(passthrough) }
    }

    /// Asks `fs`, and replies now or from a task.
    fn ask<T, F, R>(
        &self,
        call: &'static str,
        request: &Request,
        question: impl FnOnce(Arc<MedusaFs>, Caller) -> F,
        reply: R,
    ) where
        T: Send + 'static,
        F: Future<Output = Result<T, FsError>> + Send + 'static,
        R: FnOnce(Result<T, FsError>) + Send + 'static,
    {
        let (unique, pid) = (request.unique().0, request.pid());
        let span = tracing::debug_span!("call", call, req = unique, pid);
        self.answers.give(span, question(Arc::clone(&self.fs), caller(request)), reply);
    }
}

impl Filesystem for Adapter {
    fn init(&mut self, _request: &Request, config: &mut KernelConfig) -> io::Result<()> {
        if !negotiate(config, self.passthrough.is_allowed()) {
            self.passthrough.forbid();
        }
        Ok(())
    }

    fn lookup(&self, request: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let name = name.to_owned();
        let question =
            |fs: Arc<MedusaFs>, caller| async move { fs.lookup(caller, ino(parent), &name).await };
        self.ask("lookup", request, question, |looked| say::looked_up(reply, looked));
    }

    fn forget(&self, _request: &Request, number: INodeNo, lookups: u64) {
        self.fs.forget(ino(number), lookups);
    }

    fn getattr(
        &self,
        request: &Request,
        number: INodeNo,
        _handle: Option<FileHandle>,
        reply: ReplyAttr,
    ) {
        let question =
            |fs: Arc<MedusaFs>, caller| async move { fs.getattr(caller, ino(number)).await };
        self.ask("getattr", request, question, |found| say::attributes(reply, found));
    }

    fn setattr(
        &self,
        request: &Request,
        number: INodeNo,
        mode: Option<u32>,
        _uid: Option<u32>,
        _gid: Option<u32>,
        size: Option<u64>,
        _atime: Option<TimeOrNow>,
        mtime: Option<TimeOrNow>,
        _ctime: Option<SystemTime>,
        _handle: Option<FileHandle>,
        _crtime: Option<SystemTime>,
        _chgtime: Option<SystemTime>,
        _bkuptime: Option<SystemTime>,
        _flags: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        let set = SetAttributes { mode, size, modified: convert::modified(mtime) };
        let question =
            |fs: Arc<MedusaFs>, caller| async move { fs.setattr(caller, ino(number), set).await };
        self.ask("setattr", request, question, |found| say::attributes(reply, found));
    }

    fn readlink(&self, request: &Request, number: INodeNo, reply: ReplyData) {
        let question = |fs: Arc<MedusaFs>, _caller| async move { fs.readlink(ino(number)) };
        self.ask("readlink", request, question, |target| say::data(reply, target));
    }

    fn mknod(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        _mode: u32,
        _umask: u32,
        _rdev: u32,
        reply: ReplyEntry,
    ) {
        let name = name.to_owned();
        let question =
            |fs: Arc<MedusaFs>, caller| async move { fs.mknod(caller, ino(parent), &name).await };
        self.ask("mknod", request, question, |found| say::entry(reply, found));
    }

    fn mkdir(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        umask: u32,
        reply: ReplyEntry,
    ) {
        let (name, mode) = (name.to_owned(), mode & !umask);
        let question = |fs: Arc<MedusaFs>, caller| async move {
            fs.mkdir(caller, ino(parent), &name, mode).await
        };
        self.ask("mkdir", request, question, |found| say::entry(reply, found));
    }

    fn unlink(&self, request: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let name = name.to_owned();
        let question =
            |fs: Arc<MedusaFs>, caller| async move { fs.unlink(caller, ino(parent), &name).await };
        self.ask("unlink", request, question, |done| say::empty(reply, done));
    }

    fn rmdir(&self, request: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let name = name.to_owned();
        let question =
            |fs: Arc<MedusaFs>, caller| async move { fs.rmdir(caller, ino(parent), &name).await };
        self.ask("rmdir", request, question, |done| say::empty(reply, done));
    }

    fn symlink(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        target: &Path,
        reply: ReplyEntry,
    ) {
        let (name, target) = (name.to_owned(), target.as_os_str().to_owned());
        let question = |fs: Arc<MedusaFs>, caller| async move {
            fs.symlink(caller, ino(parent), &name, target).await
        };
        self.ask("symlink", request, question, |found| say::entry(reply, found));
    }

    fn rename(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        to: INodeNo,
        new_name: &OsStr,
        flags: RenameFlags,
        reply: ReplyEmpty,
    ) {
        let (name, new_name) = (name.to_owned(), new_name.to_owned());
        let swap = flags.intersects(RenameFlags::RENAME_EXCHANGE | RenameFlags::RENAME_WHITEOUT);
        let replace = !flags.contains(RenameFlags::RENAME_NOREPLACE);
        let question = |fs: Arc<MedusaFs>, caller| async move {
            if swap {
                return Err(FsError::Invalid("names are not exchanged here".to_owned()));
            }
            fs.rename(caller, (ino(parent), &name), (ino(to), &new_name), replace).await
        };
        self.ask("rename", request, question, |done| say::empty(reply, done));
    }

    fn link(
        &self,
        request: &Request,
        number: INodeNo,
        parent: INodeNo,
        name: &OsStr,
        reply: ReplyEntry,
    ) {
        let name = name.to_owned();
        let question = |fs: Arc<MedusaFs>, caller| async move {
            fs.link(caller, ino(number), ino(parent), &name).await
        };
        self.ask("link", request, question, |found| say::entry(reply, found));
    }

    fn open(&self, request: &Request, number: INodeNo, flags: OpenFlags, reply: ReplyOpen) {
        let (number, passthrough) = (ino(number), Arc::clone(&self.passthrough));
        let write = flags.acc_mode() != OpenAccMode::O_RDONLY;
        let question =
            |fs: Arc<MedusaFs>, caller| async move { fs.open(caller, number, write).await };
        self.ask("open", request, question, move |open| {
            say::opened(reply, &passthrough, number, open);
        });
    }

    fn create(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        umask: u32,
        flags: i32,
        reply: ReplyCreate,
    ) {
        let (name, mode) = (name.to_owned(), mode & !umask);
        let exclusive = flags & libc::O_EXCL != 0;
        let question = |fs: Arc<MedusaFs>, caller| async move {
            fs.create(caller, ino(parent), &name, mode, exclusive).await
        };
        self.ask("create", request, question, |created| say::created(reply, created));
    }

    fn read(
        &self,
        request: &Request,
        _number: INodeNo,
        handle: FileHandle,
        offset: u64,
        size: u32,
        _flags: OpenFlags,
        _owner: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let question = |fs: Arc<MedusaFs>, caller| async move {
            fs.read(caller, Handle(handle.0), offset, size).await
        };
        self.ask("read", request, question, |bytes| say::data(reply, bytes));
    }

    fn write(
        &self,
        request: &Request,
        _number: INodeNo,
        handle: FileHandle,
        offset: u64,
        data: &[u8],
        _write_flags: WriteFlags,
        _flags: OpenFlags,
        _owner: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        let bytes = data.to_vec();
        let question = |fs: Arc<MedusaFs>, caller| async move {
            fs.write(caller, Handle(handle.0), offset, bytes).await
        };
        self.ask("write", request, question, |count| say::written(reply, count));
    }

    fn copy_file_range(
        &self,
        request: &Request,
        from: INodeNo,
        _from_handle: FileHandle,
        from_offset: u64,
        _to: INodeNo,
        to: FileHandle,
        to_offset: u64,
        size: u64,
        _flags: CopyFileRangeFlags,
        reply: ReplyWrite,
    ) {
        let question = |fs: Arc<MedusaFs>, caller| async move {
            let (from, to) = ((ino(from), from_offset), (Handle(to.0), to_offset));
            fs.copy_range(caller, from, to, size).await
        };
        self.ask("copy_file_range", request, question, |count| say::written(reply, count));
    }

    fn flush(
        &self,
        request: &Request,
        _number: INodeNo,
        handle: FileHandle,
        _owner: LockOwner,
        reply: ReplyEmpty,
    ) {
        let question =
            |fs: Arc<MedusaFs>, caller| async move { fs.flush(caller, Handle(handle.0)).await };
        self.ask("flush", request, question, |done| say::empty(reply, done));
    }

    fn fsync(
        &self,
        request: &Request,
        _number: INodeNo,
        handle: FileHandle,
        _datasync: bool,
        reply: ReplyEmpty,
    ) {
        let question =
            |fs: Arc<MedusaFs>, caller| async move { fs.fsync(caller, Handle(handle.0)).await };
        self.ask("fsync", request, question, |done| say::empty(reply, done));
    }

    fn release(
        &self,
        request: &Request,
        number: INodeNo,
        handle: FileHandle,
        _flags: OpenFlags,
        _owner: Option<LockOwner>,
        _flush: bool,
        reply: ReplyEmpty,
    ) {
        let passthrough = Arc::clone(&self.passthrough);
        let question = |fs: Arc<MedusaFs>, _caller| async move {
            if fs.release(Handle(handle.0)).await {
                passthrough.release(ino(number));
            }
            Ok(())
        };
        self.ask("release", request, question, |done| say::empty(reply, done));
    }

    fn opendir(&self, request: &Request, number: INodeNo, _flags: OpenFlags, reply: ReplyOpen) {
        let question =
            |fs: Arc<MedusaFs>, caller| async move { fs.opendir(caller, ino(number)).await };
        self.ask("opendir", request, question, |open| say::opened_directory(reply, open));
    }

    fn readdir(
        &self,
        _request: &Request,
        _number: INodeNo,
        handle: FileHandle,
        offset: u64,
        mut reply: ReplyDirectory,
    ) {
        let listed = say::caught(|| {
            self.fs.list(Handle(handle.0), offset, &mut |next, number, kind, name| {
                reply.add(INodeNo(number.0), next, convert::kind(kind), name)
            })
        });
        match listed {
            Ok(()) => reply.ok(),
            Err(errno) => reply.error(errno),
        }
    }

    fn readdirplus(
        &self,
        _request: &Request,
        _number: INodeNo,
        handle: FileHandle,
        offset: u64,
        mut reply: ReplyDirectoryPlus,
    ) {
        let listed = say::caught(|| {
            self.fs.list_with_attributes(Handle(handle.0), offset, &mut |next, found, name| {
                let attr = convert::attr(&found.attr);
                reply.add(attr.ino, next, name, &found.believe.all(), &attr, say::GENERATION)
            })
        });
        match listed {
            Ok(()) => reply.ok(),
            Err(errno) => reply.error(errno),
        }
    }

    fn releasedir(
        &self,
        _request: &Request,
        _number: INodeNo,
        handle: FileHandle,
        _flags: OpenFlags,
        reply: ReplyEmpty,
    ) {
        self.fs.releasedir(Handle(handle.0));
        reply.ok();
    }

    /// The kernel holds the directory while it waits for this: never wait here.
    fn fsyncdir(
        &self,
        request: &Request,
        number: INodeNo,
        _handle: FileHandle,
        _datasync: bool,
        reply: ReplyEmpty,
    ) {
        let question = |fs: Arc<MedusaFs>, caller| async move { fs.fsyncdir(caller, ino(number)) };
        self.ask("fsyncdir", request, question, |done| say::empty(reply, done));
    }

    fn statfs(&self, _request: &Request, _number: INodeNo, reply: ReplyStatfs) {
        let said = self.fs.statfs();
        let blocks = |bytes: u64| bytes / 4096;
        let (total, free) = (blocks(said.total), blocks(said.free));
        let (available, files) = (blocks(said.available), said.files);
        reply.statfs(total, free, available, files, said.files_free, 4096, 255, 4096);
    }

    /// ENOSYS, once: the kernel then asks for no attribute any more, and `ls -l` is ten times as
    /// fast. No other call answers so.
    fn getxattr(&self, _: &Request, _: INodeNo, _: &OsStr, _: u32, reply: ReplyXattr) {
        reply.error(Errno::ENOSYS);
    }

    fn listxattr(&self, _: &Request, _: INodeNo, _: u32, reply: ReplyXattr) {
        reply.error(Errno::ENOSYS);
    }

    fn removexattr(&self, _: &Request, _: INodeNo, _: &OsStr, reply: ReplyEmpty) {
        reply.error(Errno::ENOSYS);
    }

    fn setxattr(
        &self,
        _request: &Request,
        _number: INodeNo,
        _name: &OsStr,
        _value: &[u8],
        _flags: i32,
        _position: u32,
        reply: ReplyEmpty,
    ) {
        reply.error(Errno::ENOSYS);
    }

    fn fallocate(
        &self,
        _request: &Request,
        _number: INodeNo,
        _handle: FileHandle,
        _offset: u64,
        _length: u64,
        _mode: i32,
        reply: ReplyEmpty,
    ) {
        reply.error(Errno::EOPNOTSUPP);
    }

    fn ioctl(
        &self,
        _request: &Request,
        _number: INodeNo,
        _handle: FileHandle,
        _flags: IoctlFlags,
        _command: u32,
        _in_data: &[u8],
        _out_size: u32,
        reply: ReplyIoctl,
    ) {
        reply.error(Errno::ENOTTY);
    }

    fn lseek(
        &self,
        request: &Request,
        number: INodeNo,
        _handle: FileHandle,
        offset: i64,
        whence: i32,
        reply: ReplyLseek,
    ) {
        let question =
            |fs: Arc<MedusaFs>, caller| async move { fs.getattr(caller, ino(number)).await };
        self.ask("lseek", request, question, move |found| {
            say::sought(reply, offset, whence, found);
        });
    }
}
