//! The kernel's side: the only folder that knows `fuser`.
