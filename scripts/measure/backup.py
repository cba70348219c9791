"""On the machine: a backup of the lab's whole cluster, by medusafs and by Medusa. backup.py RUNS"""
import collections
import os
import subprocess
import sys
import tempfile

from runs import BESIDE, OURS, cold, emit, load, note, seconds, turns

CLUSTER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "cluster")
SHARE = "/mnt/backup"
NODES = 3

# Reads what either wrote: files and bytes of each node.
COUNT = """
import glob, json, sys
for path in sorted(glob.glob(f"{sys.argv[1]}/*/{sys.argv[2]}/meta/manifest.json")):
    objects = [stored for table in json.load(open(path)) for stored in table["objects"]]
    print(len(objects), sum(stored["size"] for stored in objects))
"""

# `transfers` is Medusa's concurrent_transfers, files that a node copies at once.
Contestant = collections.namedtuple("Contestant", "role who pool transfers wanted command")


def ours(name, mode):
    return ["ctl", "medusafs", "backup", *(["--full"] if mode == "full" else []), name]


def medusas(*options):
    return lambda name, mode: ["exec", "1", "medusa", "backup-cluster", "--backup-name", name, "--mode", mode, *options]


CONTESTANTS = [
    Contestant(OURS, "medusafs backup", "medusafs", 4, "", ours),
    Contestant(BESIDE, "medusa --parallel-uploads 3, 4 transfers", "medusa", 4, "2 x", medusas("--parallel-uploads", "3")),
    Contestant(BESIDE, "medusa backup-cluster, its defaults", "medusa", 1, "4 x", medusas()),
]


def main():
    runs, failed = int(sys.argv[1]), set()
    for mode, title in [("full", "full"), ("differential", "differential, nothing changed")]:
        if mode == "differential":
            # What an unchanged cluster is found in again, made by the one that will look there.
            for contestant in CONTESTANTS[:2]:
                attempt(contestant, mode, "first", failed)
        for number, contestant in enumerate(turns(CONTESTANTS, runs)):
            load_then = load()
            took = attempt(contestant, mode, f"run{number}-{mode[0]}", failed)
            if took is not None:
                emit(f"cluster backup, {title}", contestant.role, contestant.who, took, wanted=contestant.wanted, load_then=load_then)
            if mode == "full":
                discard()
        discard()
    if failed:
        sys.exit(f"bench: failed: {', '.join(sorted(failed))}")


def attempt(contestant, mode, name, failed):
    """How many seconds it took until the share has it; None if it did not become a backup."""
    bucket = f"bench-{contestant.pool}"
    use(bucket, contestant.transfers)
    cold()
    try:
        took = seconds(lambda: backup(contestant.command(name, mode)))
        nodes = counted(bucket, name)
    except RuntimeError as error:
        failed.add(contestant.who)
        note(f"{mode}: {contestant.who}: {error}")
        return None
    note(f"{mode}: {contestant.who}: {took:.1f} s, {nodes}")
    return took


def backup(command):
    cluster(*command)
    cluster("ctl", "sync", "-f", SHARE)


def counted(bucket, name):
    """What the nodes have stored. Medusa can succeed with nothing."""
    lines = cluster("ctl", "python3", "-c", COUNT, f"{SHARE}/{bucket}", name).splitlines()
    nodes = [tuple(map(int, line.split())) for line in lines]
    if len(nodes) != NODES or not all(files for files, _ in nodes):
        raise RuntimeError(f"no backup of {NODES} nodes: {lines}")
    return "; ".join(f"{files:,} files, {size / 1e9:.2f} GB" for files, size in nodes)


def use(bucket, transfers):
    """All hosts write there from now on."""
    on_all(f"""sed -i 's/^bucket_name = .*/bucket_name = {bucket}/; s/^concurrent_transfers = .*/concurrent_transfers = {transfers}/' \
        /etc/medusa/medusa.ini && mkdir -p {SHARE}/{bucket}""")


def discard():
    cluster("ctl", "sh", "-c", f"rm -rf {SHARE}/bench-medusa*; sync -f {SHARE}")


def on_all(script):
    hosts = [["ctl"]] + [["exec", str(node + 1)] for node in range(NODES)]
    started = [subprocess.Popen([CLUSTER, *host, "sh", "-c", script], stdin=subprocess.DEVNULL) for host in hosts]
    if any([process.wait() for process in started]):
        raise RuntimeError(f"a host cannot: {script}")


def cluster(*arguments):
    """Its output. Into files and not pipes: a job that goes on by itself would hold a pipe."""
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        code = subprocess.run([CLUSTER, *arguments], stdin=subprocess.DEVNULL, stdout=out, stderr=err).returncode
        out.seek(0), err.seek(0)
        said, complained = out.read().decode(errors="replace"), err.read().decode(errors="replace")
    if code != 0:
        raise RuntimeError(f"exit {code} of {' '.join(arguments)}\n{said[-1000:]}{complained[-3000:]}")
    return said


main()
