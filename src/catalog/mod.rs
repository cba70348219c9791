//! Which backups there are, and what is in them.
