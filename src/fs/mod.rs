//! What the calls mean, without a kernel.
