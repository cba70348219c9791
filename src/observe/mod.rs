//! How we tell what happens: error chains and the log.

mod chain;
mod log;

pub use chain::ErrorChain;
pub use log::{LogTo, start_log};
