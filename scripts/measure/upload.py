"""On a node: the agent's copy of a snapshot beside `cp -r` of it. upload.py PROGRAM SHARE RUNS FILES BYTES"""
import shutil
import subprocess
import sys

from agent import Agent
from made import KEYSPACE, Snapshot
from runs import ALONE, BESIDE, OURS, cold, emit, load, note, quietly, seconds, sync_share, turns

DATA = "/var/lib/cassandra/data"
TAG = "medusafs-bench"
NODE = "node1.bench"
THREADS = 8  # what a backup tells the agents if nobody set more
COPY = "a node's upload, {files:,} files, {gb:.2f} GB, {how}"


def main():
    program, share, runs, files, size = sys.argv[1], sys.argv[2], *map(int, sys.argv[3:])
    store, copy_to = f"{share}/bench-upload", f"{share}/bench-cp"
    with Snapshot(DATA, TAG, files, size) as made:
        subprocess.run(["mkdir", "-p", store], check=True)
        try:
            measure(program, store, copy_to, runs, made)
        finally:
            shutil.rmtree(store, ignore_errors=True)
            shutil.rmtree(copy_to, ignore_errors=True)


def measure(program, store, copy_to, runs, made):
    source = f"{DATA}/{KEYSPACE}"
    new = dict(backup="bench", node=NODE)
    uploading = dict(tag=TAG, threads=THREADS, bytes_per_second=0)

    with Agent(program, store, "20261122T161400Z-backup-bench") as agent:
        def upload():
            told = agent.ask("upload", **new, mode="full", **uploading)
            sync_share(store)
            if (told["new_files"], told["new_bytes"]) != (made.files, made.bytes):
                raise RuntimeError(f"uploaded {told}, made {made.files} files, {made.bytes} bytes")

        def copy():
            quietly("cp", "-r", source, copy_to)
            sync_share(store)

        def clean():
            agent.ask("withdraw", **new)
            shutil.rmtree(copy_to, ignore_errors=True)

        for how, prepare in [("cold", cold), ("source in memory", lambda: warm(source))]:
            section = COPY.format(files=made.files, gb=made.bytes / 1e9, how=how)
            wanted = "0.9 x" if how == "cold" else ""
            for role, who, work, wanted in turns(
                    [(OURS, "medusafs agent", upload, ""), (BESIDE, "cp -r", copy, wanted)], runs):
                clean()
                prepare()
                load_then = load()
                emit(section, role, who, seconds(work), wanted=wanted, load_then=load_then)
                note(f"{how}: {who} done")
            clean()
    unchanged(program, store, runs, made, uploading)


def unchanged(program, store, runs, made, uploading):
    """Differential: the pool has it all. A new agent each time, so that its counts are of one upload."""
    section = "differential upload of the same, cold"
    for run in range(runs + 1):
        name = f"again{run}"
        with Agent(program, store, f"20261122T161400Z-backup-{name}") as agent:
            cold()
            read, fetched = agent.read_bytes()
            load_then, told = load(), []
            took = seconds(lambda: told.append(agent.ask(
                "upload", backup=name, node=NODE, mode="differential", **uploading)))
            read_after, fetched_after = agent.read_bytes()
            if run > 0:
                emit(section, ALONE, "medusafs agent", took, load_then=load_then)
                emit(section, ALONE, "read by it", (read_after - read) / 1e6, unit="MB")
                emit(section, ALONE, "of that, from disks", (fetched_after - fetched) / 1e6, unit="MB")
                note(f"differential: {told[0]['new_files']} of {told[0]['files']} files copied")
            agent.ask("publish", **publication(name, "differential"))


def publication(name, mode):
    """What a published backup is besides its data, for a ring of this one made-up node."""
    return dict(
        backup=name, node=NODE, mode=mode, started=1_795_364_040,
        tokenmap='{"%s": {"tokens": [0], "is_up": true, "rack": "r1", "dc": "dc1"}}' % NODE,
        schema=f"CREATE KEYSPACE {KEYSPACE} WITH replication = {{'class': 'SimpleStrategy', 'replication_factor': '1'}};",
        server_version='{"server_type": "cassandra", "release_version": "5.0.6"}')


def warm(directory):
    subprocess.run(["sync"], check=True)
    quietly("sh", "-c", f"find {directory} -type f -exec cat {{}} + >/dev/null")


if __name__ == "__main__":
    main()
