"""A store, mounted for looking, and what its process weighs."""
import os
import subprocess
import tempfile

from runs import quietly, seconds


class Mount:
    def __init__(self, program, store, options=None):
        self.program, self.point = program, tempfile.mkdtemp(prefix="medusafs-bench-")
        before = processes()
        options = ["-o", options] if options else []
        try:
            # Its log goes where the mount's own goes; a pipe of ours would be held open by it for ever.
            self.took = seconds(lambda: subprocess.run(
                [program, "mount", "--store", store, *options, self.point],
                check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL))
        except BaseException:
            os.rmdir(self.point)
            raise
        self.processes = processes() - before

    def __enter__(self):
        return self

    def __exit__(self, *_):
        quietly(self.program, "unmount", self.point)
        os.rmdir(self.point)

    def weight(self):
        """(RSS, PSS) in bytes, all its processes together."""
        rss = pss = 0
        for pid in self.processes:
            with open(f"/proc/{pid}/smaps_rollup") as lines:
                fields = dict(line.split(":", 1) for line in list(lines)[1:])
            rss += int(fields["Rss"].split()[0]) * 1024
            pss += int(fields["Pss"].split()[0]) * 1024
        return rss, pss


def processes():
    found = set()
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            if os.path.basename(os.readlink(f"/proc/{pid}/exe")) == "medusafs":
                found.add(int(pid))
        except OSError:
            pass  # it has ended, or is the kernel's
    return found
