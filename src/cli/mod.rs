//! What a person types.
//!
//! The mount is the interface; the commands are for setting it up, for scripts that want one exit
//! code, and for hosts without FUSE.

mod args;
mod backup;
mod check;
mod exit;
mod follow;
mod help;
mod job;
mod jobs;
mod list;
mod mount;
mod mount_options;
mod output;
mod run;
mod settings;
mod share;
mod trust;
mod trust_node;
mod unmount;
mod wait;

pub use args::{Args, Command, ConfigArgs, MountArgs, UnmountArgs, environment};
pub use exit::{Exit, Failure};
pub use output::Output;
pub use run::run;
