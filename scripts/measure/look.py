"""On the controller: looking at a store, and what that costs. look.py PROGRAM STORE RUNS CALLED"""
import functools
import glob
import os
import subprocess
import sys

from mounted import Mount
from runs import ALONE, BESIDE, OURS, cold, emit, load, quietly, seconds


def main():
    program, store, runs, called = sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4]
    for _ in range(runs):
        cold()
        load_then = load()
        with Mount(program, store) as mount:
            first_answers(mount, called, load_then)
            if called == "many files":
                listing(mount, store)
    cold()
    with Mount(program, store) as mount:
        weigh(mount, called, files_of(store))


def first_answers(mount, called, load_then):
    section = "mount, caches cold: " + called
    emit(section, ALONE, "until the prompt is back", mount.took, load_then=load_then)
    emit(section, ALONE, "then `ls /`", seconds(lambda: quietly("ls", mount.point)), wanted="at most 0.2 s")
    emit(section, ALONE, "then `ls backups/`", seconds(lambda: quietly("ls", f"{mount.point}/backups")))
    emit(section, ALONE, "then `readlink backups/latest`", seconds(lambda: quietly("readlink", f"{mount.point}/backups/latest")))


def listing(mount, store):
    """The same files in both trees: one full backup of one node."""
    shown, = glob.glob(f"{mount.point}/backups/stock/*")
    stored, = glob.glob(f"{store}/*/stock/data")
    files = sum(len(names) for _, _, names in os.walk(stored))
    for role, who, tree in [(OURS, "through the mount", shown), (BESIDE, "ext4", stored)]:
        if role == BESIDE:
            cold()
        for name, command, wanted in [
            ("`ls -lR` first", ["ls", "-lR", tree], "0.33 x"),
            ("`ls -lR` again", ["ls", "-lR", tree], "1 x"),
            ("`find` after it", ["find", tree, "-type", "f"], "0.5 x"),
            ("`find -size` after it", ["find", tree, "-size", "+1"], "0.5 x"),
        ]:
            load_then = load()
            took = seconds(functools.partial(quietly, *command))
            emit(f"{name}, {files:,} files", role, who, took, wanted=wanted if role == BESIDE else "", load_then=load_then)


def weigh(mount, called, files):
    section = f"memory of the mount: {called}, {files:,} files"
    allowed = 30 + files * 120 / 2**20

    def tell(when):
        rss, pss = mount.weight()
        emit(section, ALONE, f"PSS {when}", pss / 2**20, unit="MiB", wanted=f"at most {allowed:.0f} MiB")
        emit(section, ALONE, f"RSS {when}", rss / 2**20, unit="MiB")

    tell("at first")
    for command in (["ls", "-lR", mount.point], ["find", mount.point, "-type", "f", "-size", "+0"]):
        quietly(*command)
        tell(f"after `{command[0]}{' -lR' if command[0] == 'ls' else ''}` of all")


def files_of(store):
    """Stored files of data, each once, whatever number of backups name it."""
    found = subprocess.run(
        ["sh", "-c", 'find "$1" -path "*/data/*" -type f | wc -l', "sh", store], check=True, stdout=subprocess.PIPE)
    return int(found.stdout)


main()
