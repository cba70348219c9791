//! The kernel's side: the only folder that knows `fuser`.

mod adapter;
mod answer;
mod background;
mod convert;
mod error;
mod helper;
mod invalidate;
mod mount;
mod mounts;
mod options;
mod passthrough;
mod reply;
mod session;

pub use background::{Started, leave_terminal, ready, start_in_background};
pub use error::FuseError;
pub use mount::can_mount_on;
pub use mount::must_be_ours;
pub use mount::unmount;
pub use mounts::is_mountpoint;
pub use options::MountSettings;
pub use session::Mount;
