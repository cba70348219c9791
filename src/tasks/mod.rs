//! Work that ends when told: scopes, deadlines, retries.

mod backoff;
mod deadline;
mod scope;

pub use backoff::Backoff;
pub use deadline::{TimedOut, within};
pub use scope::Scope;
