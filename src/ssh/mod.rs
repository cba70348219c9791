//! One remote machine, over SSH.
