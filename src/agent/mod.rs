//! What runs on one Cassandra node for the length of a job.
