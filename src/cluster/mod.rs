//! Many nodes, over SSH.
