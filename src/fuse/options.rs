//! What is agreed with the kernel when the connection begins.

use std::ffi::OsString;
use std::path::PathBuf;

use fuser::InitFlags;
use fuser::KernelConfig;

/// The kernel takes no more than 256 pages a request, and without this gives 128 KiB.
const MAX_WRITE: u32 = 1 << 20;

/// Read-aheads that wait for us at once.
const MAX_BACKGROUND: u16 = 64;

/// How the tree is mounted.
#[derive(Debug, Clone)]
pub struct MountSettings {
    /// Where.
    pub mountpoint: PathBuf,
    /// What stands in the first column of `/proc/mounts`: the ini as fstab names it, or the store.
    pub source: OsString,
    /// Whether the kernel may read stored files by itself.
    pub passthrough: bool,
    /// Whether the kernel refuses every change, control files among them.
    pub read_only: bool,
}

/// Asks for what we want. Returns whether the kernel can pass reads through.
pub(super) fn negotiate(config: &mut KernelConfig, passthrough: bool) -> bool {
    for wish in [
        InitFlags::FUSE_ASYNC_READ,
        InitFlags::FUSE_PARALLEL_DIROPS,
        InitFlags::FUSE_DO_READDIRPLUS,
        InitFlags::FUSE_READDIRPLUS_AUTO,
        InitFlags::FUSE_CACHE_SYMLINKS,
        InitFlags::FUSE_MAX_PAGES,
    ] {
        if config.add_capabilities(wish).is_err() {
            tracing::debug!(?wish, "not known to this kernel");
        }
    }
    // Each says the nearest value that it would take; none of ours is out of range.
    if let Err(nearest) = config.set_max_write(MAX_WRITE) {
        tracing::debug!(nearest, "smaller writes");
    }
    if let Err(nearest) = config.set_max_background(MAX_BACKGROUND) {
        tracing::debug!(nearest, "fewer read-aheads");
    }
    // Depth 1 leaves the tree usable below an overlay; a store on an overlay is read without.
    passthrough
        && config.add_capabilities(InitFlags::FUSE_PASSTHROUGH).is_ok()
        && config.set_max_stack_depth(1).is_ok()
}
