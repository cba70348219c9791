"""Made-up SSTables: a snapshot as Cassandra leaves it, of any size, in a node's real data directory."""
import json
import os
import shutil
import zlib

KEYSPACE = "bench"
# What a component weighs beside its data, in bytes; for Digest and TOC it is what they say.
AROUND = [("Index", 20_000), ("Filter", 5_000), ("Statistics", 5_000), ("CompressionInfo", 1_500), ("Summary", 500)]
COMPONENTS = len(AROUND) + 3
# Size-tiered: of 25 tables 16 are small, 6 four times as large, 3 sixteen times.
TIERS = [1] * 16 + [4] * 6 + [16] * 3


class Snapshot:
    """`with Snapshot(...)`: there are `files` files of `size` bytes in all, in `tables` tables."""

    def __init__(self, data, tag, files, size, tables=8):
        self.keyspace, self.tag = f"{data}/{KEYSPACE}", tag
        sstables = max(1, round(files / COMPONENTS))
        weights = [TIERS[n % len(TIERS)] for n in range(sstables)]
        around = sum(weight for _, weight in AROUND)
        # Many files of few bytes are many small components.
        self.scale = min(1, size / 2 / (sstables * around))
        for_data = max(0, size - sstables * around * self.scale)
        self.data_sizes = [int(for_data * weight / sum(weights)) for weight in weights]
        self.tables = [f"{KEYSPACE}/t{n}-{n:032x}" for n in range(min(tables, sstables))]
        self.directories = [f"{data}/{table}/snapshots/{tag}" for table in self.tables]
        self.files = self.bytes = 0

    def __enter__(self):
        try:
            self.make()
        except BaseException:
            self.remove()
            raise
        return self

    def __exit__(self, *_):
        self.remove()

    def remove(self):
        shutil.rmtree(self.keyspace, ignore_errors=True)

    def make(self):
        listed = {directory: [] for directory in self.directories}
        for directory in self.directories:
            os.makedirs(directory)
        for number, size in enumerate(self.data_sizes):
            directory = self.directories[number % len(self.directories)]
            base = f"nb-{number + 1}-big-"
            crc = self.write(f"{directory}/{base}Data.db", size)
            for component, weight in AROUND:
                self.write(f"{directory}/{base}{component}.db", int(weight * self.scale))
            self.write(f"{directory}/{base}Digest.crc32", content=str(crc).encode())
            toc = [f"{component}.db" for component, _ in AROUND] + ["Data.db", "Digest.crc32", "TOC.txt"]
            self.write(f"{directory}/{base}TOC.txt", content="\n".join(toc).encode() + b"\n")
            listed[directory].append(f"{base}Data.db")
        for directory, names in listed.items():
            with open(f"{directory}/manifest.json", "w") as manifest:
                json.dump({"files": names}, manifest)

    def write(self, path, size=None, content=None):
        crc, left = 0, size if content is None else len(content)
        self.files, self.bytes = self.files + 1, self.bytes + left
        with open(path, "wb") as file:
            while left:
                piece = os.urandom(min(left, 1 << 20)) if content is None else content
                file.write(piece)
                crc, left = zlib.crc32(piece, crc), left - len(piece)
        return crc
