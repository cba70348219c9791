"""On the controller: one large file through the mount beside the file itself. read.py PROGRAM STORE RUNS"""
import glob
import os
import sys

from mounted import Mount
from runs import BESIDE, OURS, cold, emit, load, quietly, seconds, turns


def main():
    program, store, runs = sys.argv[1], sys.argv[2], int(sys.argv[3])
    stored, = sorted(glob.glob(f"{store}/*/stock/data/*/*/*-Data.db"), key=os.path.getsize)[-1:]
    size = os.path.getsize(stored) / 1e9
    with Mount(program, store) as plain, Mount(program, store, "passthrough=off") as bounced:
        def seen(mount):
            path, = glob.glob(f"{mount.point}/backups/stock/*/*/*/{os.path.basename(stored)}")
            return path

        contestants = [
            (OURS, "through the mount", seen(plain), ""),
            (BESIDE, "the share itself", stored, "0.95 x"),
            (BESIDE, "through the mount, passthrough=off", seen(bounced), ""),
        ]
        for _, _, path, _ in contestants:
            quietly("cmp", path, stored)
        for role, who, path, wanted in turns(contestants, runs):
            cold()
            for how in ["cold", "warm"]:
                load_then = load()
                took = seconds(lambda: quietly("dd", f"if={path}", "of=/dev/null", "bs=1M"))
                emit(f"reading {size:.2f} GB, {how}", role, who, took, wanted=wanted, load_then=load_then)


main()
