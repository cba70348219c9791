//! The tree one sees, as data.
