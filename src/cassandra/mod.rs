//! One Cassandra process, as seen on its node; and CQL over any stream.
