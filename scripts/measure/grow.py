"""On a node: makes its tables weigh so much, with copies of its own SSTables. grow.py FILES BYTES

They are copies of real ones under other numbers, taken in with `nodetool import`, so Cassandra knows and snapshots them.
"""
import configparser
import glob
import os
import shutil
import subprocess
import sys

from runs import note

DATA = "/var/lib/cassandra/data"
# Neither indexes nor views to build again, no counters to count twice.
LARGE, SMALL = ("shop", "blobs"), ("shop", "plain")
INCOMING = "/var/lib/cassandra/bench-incoming"


def main():
    files, size = map(int, sys.argv[1:])
    live = live_files()
    missing_files, missing_bytes = files - len(live), size - weight(live)
    large, small = sstable(*LARGE, max), sstable(*SMALL, min)
    larges = max(0, missing_bytes // weight(large))
    smalls = max(0, missing_files // len(small) - larges)
    for table, sample, copies in [(LARGE, large, larges), (SMALL, small, smalls)]:
        if copies:
            take_in(*table, sample, copies)
    live = live_files()
    note(f"{os.uname().nodename} has {len(live):,} files, {weight(live) / 1e9:.2f} GB")
    # With files that it does not like, nodetool import still succeeds.
    if len(live) < files * 0.95 or weight(live) < size * 0.95:
        sys.exit("bench: Cassandra did not take them in")


def live_files():
    return glob.glob(f"{DATA}/*/*/*-big-*") + glob.glob(f"{DATA}/*/*/.*/*-big-*")


def sstable(keyspace, table, choose):
    """The components of the largest or smallest SSTable of a table."""
    data = glob.glob(f"{DATA}/{keyspace}/{table}-*/*-big-Data.db")
    if not data:
        sys.exit(f"bench: {keyspace}.{table} has no SSTable of the big format")
    return glob.glob(choose(data, key=os.path.getsize).removesuffix("Data.db") + "*")


def weight(components):
    return sum(map(os.path.getsize, components))


def take_in(keyspace, table, sample, copies):
    # Cassandra takes keyspace and table from the names of the directories, and passes over what is of another.
    directory = f"{INCOMING}/{keyspace}/{table}"
    os.makedirs(directory)
    for number in range(copies):
        for component in sample:
            version, _, kind, what = os.path.basename(component).split("-")
            shutil.copyfile(component, f"{directory}/{version}-{number + 1_000_000}-{kind}-{what}")
    subprocess.run(["chown", "-R", "cassandra:", INCOMING], check=True)
    ini = configparser.ConfigParser(interpolation=None)
    ini.read("/etc/medusa/medusa.ini")
    subprocess.run(["nodetool", "-u", ini["cassandra"]["nodetool_username"],
                    "-pwf", ini["cassandra"]["nodetool_password_file_path"],
                    "import", "--quick", keyspace, table, directory], check=True, stdout=subprocess.DEVNULL)
    shutil.rmtree(INCOMING)


main()
