//! `/README`: what each directory does, in one screen.

/// The text.
pub const README: &str = "\
Cassandra backups, in Medusa's own store. Looking never changes anything.

  status                      cluster, nodes, running jobs, newest complete backup
  backups/NAME/NODE/          what NODE stored in the backup NAME
  backups/latest              the newest backup that is complete and not damaged
  nodes/NODE/NAME/            the same, by node
  keyspaces/KS/TABLE/NAME/    the same, by table
  restore/NODE/               copy a node's snapshot in here to restore the node
  import/NODE/                takes nothing yet

Look, take out   ls, find, cp, tar, rsync, diff, as on any read-only disk
Back up          mkdir backups/NAME            (backups/.full/NAME, nodes/NODE/NAME)
Wait             cat backups/NAME/.medusa/wait (ends in an error if it did not succeed)
Restore a node   cp -r backups/NAME/NODE restore/
                 cat restore/NODE/.medusa/plan; echo PLAN-ID > restore/NODE/.medusa/commit
Take it back     rm -r restore/NODE            (until the node is stopped)
Remove           rmdir backups/NAME            (a failed one; others: by Medusa)

.medusa/ is in no listing, but can be named: state progress nodes status.json log error
wait plan missing verified, and cancel undo commit, which are written to.
Why something was refused:  cat .medusa/last_error   (at the top of this tree)
";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_fits_one_screen() {
        assert!(README.lines().count() <= 25, "{}", README.lines().count());
        assert!(README.lines().all(|line| line.len() <= 90));
    }
}
