//! How the tools that people copy with bring a snapshot's files, call by call.

use medusafs::fs::{Caller, CopyIn, FsError, SetAttributes, StagedParent};
use medusafs::model::UnixSeconds;
use medusafs::staging::SnapshotId;

use super::copy_desk::{CopyDesk, ROOT, place};

/// How a tool brings one file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tool {
    /// `cp` of coreutils 9: a range by name.
    Cp,
    /// `cp` of uutils: truncates first, sets modes before and after.
    Uutils,
    /// `cp -rl`: a hard link.
    CpLink,
    /// busybox, Python's shutil, old `cp`: bytes in 64 KiB pieces.
    Bytes,
    /// `tar`: small pieces.
    Tar,
    /// `rsync -a`: a temporary name.
    Rsync,
    /// `rsync --inplace`: bytes, then a truncation to the size it has.
    RsyncInplace,
    /// `rsync --delay-updates`: a directory of its own until the end.
    RsyncDelayed,
    /// `gio copy` onto a file that is there, a file manager: a name that tells nothing.
    Gio,
    /// A tool that leaves holes, and fills back to front.
    Sparse,
}

pub(crate) const TOOLS: [Tool; 10] = [
    Tool::Cp,
    Tool::Uutils,
    Tool::CpLink,
    Tool::Bytes,
    Tool::Tar,
    Tool::Rsync,
    Tool::RsyncInplace,
    Tool::RsyncDelayed,
    Tool::Gio,
    Tool::Sparse,
];

/// A copy that changes one byte of one file on its way.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Flaw<'a> {
    pub(crate) garbles: Option<&'a str>,
}

pub(crate) struct Copy<'a> {
    pub(crate) desk: &'a CopyDesk,
    pub(crate) tool: Tool,
    pub(crate) caller: Caller,
    pub(crate) below: StagedParent,
    pub(crate) of: SnapshotId,
    pub(crate) flaw: Flaw<'a>,
}

impl<'a> Copy<'a> {
    pub(crate) fn new(desk: &'a CopyDesk, tool: Tool, of: &SnapshotId) -> Self {
        let below = place(of.node.as_str());
        Self { desk, tool, caller: ROOT, below, of: of.clone(), flaw: Flaw::default() }
    }

    /// Everything, as `cp -r` goes: errors are told, and it goes on.
    pub(crate) async fn all(&self) -> Vec<(String, FsError)> {
        self.paths(&self.desk.paths(&self.of)).await
    }

    pub(crate) async fn paths(&self, paths: &[String]) -> Vec<(String, FsError)> {
        let mut errors = Vec::new();
        for path in paths {
            if let Err(error) = self.file(path).await {
                errors.push((path.clone(), error));
            }
        }
        if self.tool == Tool::RsyncDelayed {
            for path in paths {
                if let Err(error) = self.publish(path).await {
                    errors.push((path.clone(), error));
                }
            }
        }
        errors
    }

    pub(crate) async fn publish(&self, path: &str) -> Result<(), FsError> {
        let (directory, name) = self.desk.directory(self.caller, &self.below, path).await?;
        let held = format!("{}.~tmp~/{name}", prefix(path));
        let (from, _) = self.desk.directory(self.caller, &self.below, &held).await?;
        self.desk.copies.rename(self.caller, (&from, &name), (&directory, &name), true).await
    }

    pub(crate) async fn file(&self, path: &str) -> Result<(), FsError> {
        let (copies, caller) = (&self.desk.copies, self.caller);
        let (directory, name) = self.desk.directory(caller, &self.below, path).await?;
        if self.tool == Tool::CpLink {
            let source = self.desk.stored(&self.of, path);
            return match copies.lookup(&directory, &name) {
                Some(_) => Err(FsError::Exists(name)),
                None => copies.link(caller, source, &directory, &name).await.map(|_| ()),
            };
        }
        let opened = match self.tool {
            Tool::Rsync => format!("{}.{name}.x7Yz12", prefix(path)),
            Tool::RsyncDelayed => format!("{}.~tmp~/{name}", prefix(path)),
            Tool::Gio => format!("{}.goutputstream-A1B2C3", prefix(path)),
            _ => path.to_owned(),
        };
        let (place, last) = self.desk.directory(caller, &self.below, &opened).await?;
        let handle = match copies.lookup(&place, &last) {
            Some(entry) => {
                let handle = copies.open(caller, entry.id, true).await?;
                let cut = SetAttributes { size: Some(0), ..SetAttributes::default() };
                copies.set_attributes(caller, entry.id, cut).await?;
                handle
            }
            None => copies.create(caller, &place, &last, 0o644, true).await?.1,
        };
        let id = copies.lookup(&place, &last).unwrap().id;
        let mut bytes = self.desk.bytes(&self.of, path);
        if self.flaw.garbles == Some(path) {
            bytes[0] ^= 1;
        }
        let brought = self.bring(path, handle, id, &bytes).await;
        let closed = copies.flush(handle).await;
        copies.release(handle).await;
        brought.and(closed)?;
        let times =
            SetAttributes { mode: Some(0o444), modified: Some(UnixSeconds(77)), size: None };
        copies.set_attributes(caller, id, times).await?;
        match self.tool {
            Tool::Rsync | Tool::Gio => {
                copies.rename(caller, (&place, &last), (&directory, &name), true).await
            }
            _ => Ok(()),
        }
    }

    pub(crate) async fn bring(
        &self,
        path: &str,
        handle: medusafs::fs::StagedHandle,
        id: medusafs::view::StagedId,
        bytes: &[u8],
    ) -> Result<(), FsError> {
        let (copies, caller) = (&self.desk.copies, self.caller);
        let size = |size| SetAttributes { size: Some(size), ..SetAttributes::default() };
        match self.tool {
            Tool::Cp | Tool::Uutils if self.flaw.garbles != Some(path) => {
                if self.tool == Tool::Uutils {
                    copies.set_attributes(caller, id, size(0)).await?;
                }
                let mut at = 0;
                // As `cp` does, until nothing more comes.
                loop {
                    let source = self.desk.stored(&self.of, path);
                    let took = copies.copy_range(source, at, handle, at, 1 << 62).await?;
                    if took == 0 {
                        return Ok(());
                    }
                    at += took;
                }
            }
            Tool::Sparse => {
                let whole = u64::try_from(bytes.len()).unwrap();
                let halves = bytes.len() / 2;
                for (from, half) in [(halves, &bytes[halves..]), (0, &bytes[..halves])] {
                    let from = u64::try_from(from).unwrap();
                    copies.write(handle, from, half.to_vec()).await?;
                }
                copies.set_attributes(caller, id, size(whole)).await.map(|_| ())
            }
            _ => {
                let piece = if self.tool == Tool::Tar { 3 } else { 64 << 10 };
                for (number, piece_of) in bytes.chunks(piece).enumerate() {
                    let at = u64::try_from(number * piece).unwrap();
                    copies.write(handle, at, piece_of.to_vec()).await?;
                }
                if self.tool == Tool::RsyncInplace {
                    let whole = u64::try_from(bytes.len()).unwrap();
                    copies.set_attributes(caller, id, size(whole)).await?;
                }
                Ok(())
            }
        }
    }
}

fn prefix(path: &str) -> String {
    path.rsplit_once('/').map(|(directory, _)| format!("{directory}/")).unwrap_or_default()
}
