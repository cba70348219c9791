"""Taking times, and one line for each: what every measurement shares."""
import os
import subprocess
import sys
import time


def note(text):
    print(f"bench: {text}", file=sys.stderr, flush=True)


def cold():
    """Nothing of any file is in memory, and nothing waits to be written."""
    os.sync()
    with open("/proc/sys/vm/drop_caches", "w") as drop:
        drop.write("3")


def sync_share(directory):
    subprocess.run(["sync", "-f", directory], check=True)


def load():
    """Processes that wanted to run in the last minute, ours among them."""
    return os.getloadavg()[0]


def seconds(work):
    begun = time.monotonic()
    work()
    return time.monotonic() - begun


def quietly(*command):
    """A command whose output is made, and thrown away by somebody who reads it all."""
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)}: exit {done.returncode}: {done.stderr.decode(errors='replace')[-2000:]}")


# What a line of the table is: of medusafs, of what medusafs is compared with, or neither.
OURS, BESIDE, ALONE = "ours", "beside", "alone"


def emit(section, role, who, value, unit="s", wanted="", load_then=None):
    """A value of the table's line `who` in `section`."""
    load_then = load() if load_then is None else load_then
    print(section, role, who, unit, value, wanted, f"{load_then:.2f}", sep="\t", flush=True)


def turns(contestants, runs):
    """All of them in each round, and each round another of them first."""
    for run in range(runs):
        at = run % len(contestants)
        yield from contestants[at:] + contestants[:at]
