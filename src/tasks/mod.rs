//! Work that ends when told: scopes, deadlines, retries.

mod backoff;
mod deadline;
mod scope;
mod upkeep;

pub use backoff::Backoff;
pub use deadline::{TimedOut, within};
pub use scope::Scope;
pub use upkeep::Upkeep;
