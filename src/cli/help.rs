//! What `--help` says below the options: how it is used, and how it ends.

/// Of the program.
pub(super) const ALL: &str = "\
A first time:
  medusafs trust                       record the nodes' host keys
  medusafs check                       is everything there that a backup needs?
  medusafs mount /mnt/medusa           then: mkdir /mnt/medusa/backups/first
  cat /mnt/medusa/README               what each directory does

Settings stand in Medusa's own /etc/medusa/medusa.ini and in medusafs.ini beside it.

Exit codes of every command:
  0  it ended as wished, and nothing else
  1  it did not
  2  wrong usage or configuration; nothing was begun
  3  something that is needed could not be reached: the share, the nodes, /dev/fuse
  4  busy: somebody else has the cluster, the node or the mountpoint";

pub(super) const MOUNT: &str = "\
Examples:
  medusafs mount /mnt/medusa
  medusafs mount -o ro,read_group=backup /mnt/medusa
  medusafs mount --store /mnt/backup/medusa /mnt/old     only look, without a cluster

In /etc/fstab, with base_path in the place of /mnt/backup, and all in one line:
  /etc/medusa/medusa.ini  /mnt/medusa  medusafs
    nofail,_netdev,x-systemd.requires-mounts-for=/mnt/backup  0 0

-o takes every key of [medusafs], node.NAME.ssh and node.NAME.store, ro, and what mount(8) and
fstab add; a value with a comma stands in double quotes. A mount is not remounted: unmount it and
mount it again, jobs go on meanwhile.

Exit codes: 0 the tree answers, 1 it could not be mounted, 2 wrong usage, configuration or key
file, or no store, 3 the share is not there or there is no FUSE, 4 the mountpoint is in use.";

pub(super) const UNMOUNT: &str = "\
Examples:
  medusafs unmount /mnt/medusa
  medusafs unmount --now /mnt/medusa     take back first what runs

Exit codes: 0 it is gone, 1 it is not, 2 no medusafs is mounted there, 4 somebody uses it.";

pub(super) const CHECK: &str = "\
Logs in to every node, asks nodetool and CQL, and has every node write to the share and read what
the others wrote. It takes no snapshot and changes nothing.

Examples:
  medusafs check
  medusafs check --json | jq '.findings[]'

Exit codes: 0 nothing stands against a backup, 1 something does, 2 wrong configuration or key
file, or no cluster, 3 the share or every contact point could not be reached.";

pub(super) const TRUST: &str = "\
A key that is not known is shown, compared by you with what `ssh-keygen -lf` shows on that host,
and recorded when you say so. A changed key is never replaced: it has to be removed by hand.

With --node it is about a node's name instead: which node had it, which claims it now (after a
replacement, or a new host name), and with --yes the name is given to that node.

Examples:
  medusafs trust                          contact points and every node of the ring
  medusafs trust node4.example.com:2222   one host more
  medusafs trust --node node2             who is node2?
  medusafs trust --node node2 --yes       it has replaced the old one

Exit codes: 0 all is known, 1 something was not recorded, 2 wrong usage or configuration, 3 a host
or the share could not be reached, 4 a job has the cluster.";

pub(super) const LIST: &str = "\
Needs the share only: no cluster, no mount. A line for each, oldest first, parted by tabs: name,
state, mode, begin, end, nodes, size.

Examples:
  medusafs list
  medusafs list --json | jq -r '.[] | select(.state == \"complete\") | .name'

Exit codes: 0 listed, 2 wrong usage or configuration, 3 the share could not be reached.";

pub(super) const STATUS: &str = "\
Examples:
  medusafs status                 the newest complete backup, and the jobs that run on this host
  medusafs status nightly         one backup, with its nodes and what it lacks

Exit codes: 0 it is complete (without a name: shown), 1 it is not, or there is none of that name,
2 wrong usage or configuration, 3 the share could not be reached.";

pub(super) const WAIT: &str = "\
Example:
  mkdir /mnt/medusa/backups/nightly && medusafs wait /mnt/medusa/backups/nightly

Exit codes: 0 it ended as wished, 1 it failed, is incomplete, cancelled or held, 2 there is no such
directory, or you may not look, 3 the mount does not answer: what was begun goes on.";

pub(super) const BACKUP: &str = "\
The same as mkdir in the mount, for scripts and for hosts without FUSE. Ending the wait with ^C
does not end the backup: `medusafs jobs` shows it.

Examples:
  medusafs backup                    named by the time, such as 202611221614
  medusafs backup --full before-upgrade
  medusafs backup --node node2 nightly     finish nightly, which node2 failed

Exit codes: 0 complete, 1 failed, incomplete or cancelled, 2 wrong usage, configuration or name, 3
the share or every contact point could not be reached, 4 the cluster is in use.";

pub(super) const RESTORE: &str = "\
Stages the files while Cassandra runs, waits for restore_hold, then stops the node, puts them in
place and starts it. What is not the plain case is held: read the plan, then accept it by its ID.
What was there before stays on the node for `medusafs undo`.

Examples:
  medusafs restore nightly --node node2 --dry-run     only the plan
  medusafs restore nightly --node node2
  medusafs restore nightly --node node2 --accept 3f9c52d1

Exit codes: 0 restored and Up, 1 failed, held or cancelled, 2 wrong usage or configuration, or no
such backup, 3 the share or the node could not be reached, 4 the cluster or the node is in use.";

pub(super) const JOBS: &str = "\
A line for each, newest last, parted by tabs: id, state, phase, percent, error. Jobs whose process
has died are brought to their end.

Exit codes: 0 listed, 1 the jobs cannot be read, 2 wrong usage or configuration.";

pub(super) const CANCEL: &str = "\
A restore that has begun to stop Cassandra goes on to its end; `medusafs undo` then takes it back.

Example:
  medusafs cancel 20261122T161400Z-backup-nightly

Exit codes: 0 it is cancelled, 1 it came to another end meanwhile, 2 no such job, or one that had
ended before, 4 it cannot be cancelled any more.";

pub(super) const RESUME: &str = "\
Example:
  medusafs resume 20261122T161400Z-restore-node2

Exit codes: 0 it has ended as wished, 1 it has not, 2 no such job, 3 the share could not be
reached, 4 it is being done.";

pub(super) const UNDO: &str = "\
Stops the node, puts back the data that it had before the restore, and starts it.

Example:
  medusafs undo 20261122T161400Z-restore-node2

Exit codes: 0 it is as before, 1 it is not, 2 no such restore, 3 the share could not be reached, 4 it
is being done.";

pub(super) const COMPLETIONS: &str = "\
Examples:
  medusafs completions bash > /etc/bash_completion.d/medusafs
  medusafs completions zsh > /usr/share/zsh/site-functions/_medusafs";
