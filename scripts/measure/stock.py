"""On a node: a published backup of made-up files, for others to look at. stock.py PROGRAM STORE FILES BYTES [COPIES]

It is called `stock`. With COPIES it is differential, and there are so many more of the same content.
"""
import os
import shutil
import sys

from agent import Agent
from made import Snapshot
from runs import note
from upload import DATA, NODE, TAG, THREADS, publication

NAME = "stock"


def main():
    program, store, files, size, *copies = sys.argv[1:]
    os.makedirs(store)
    mode = "differential" if copies else "full"
    with Snapshot(DATA, TAG, int(files), int(size)) as made:
        note(f"{made.files:,} files, {made.bytes / 1e9:.2f} GB for {store}")
        with Agent(program, store, f"20261122T161400Z-backup-{NAME}") as agent:
            agent.ask("upload", backup=NAME, node=NODE, mode=mode, tag=TAG, threads=THREADS, bytes_per_second=0)
            agent.ask("publish", **publication(NAME, mode))
    for number in range(int(copies[0]) if copies else 0):
        # No file of a backup's own says its name, only the directories do.
        for of in (NODE, "index/backup_index"):
            shutil.copytree(f"{store}/{of}/{NAME}", f"{store}/{of}/{NAME}-{number:05}")
    os.sync()


main()
