"""An agent of medusafs, spoken to as its job does: JSON lines, a heartbeat every two seconds."""
import json
import subprocess
import threading

MAGIC = "medusafs-agent "
HEARTBEAT = 2


class Agent:
    """Runs on the node that this runs on, as root. `with Agent(...)` ends it."""

    def __init__(self, program, store, job):
        self.process = subprocess.Popen([program, "agent"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.speaking = threading.Lock()
        self.over = threading.Event()
        self.last = 0
        for line in self.process.stdout:
            if line.decode(errors="replace").startswith(MAGIC):
                break
        else:
            raise RuntimeError(f"no agent answers: exit {self.process.wait()}")
        self.beating = threading.Thread(target=self.beat, daemon=True)
        self.beating.start()
        nodetool = dict(program="nodetool", flags=[], username=None, password=None, password_file=None)
        nodetool |= dict(host=None, port=None, ssl=False)
        self.ask("hello", job=job, store=store, prefix=None, cassandra_yaml="/etc/cassandra/cassandra.yaml",
                 medusa_ini="/etc/medusa/medusa.ini", resolve_ip_addresses=False, nodetool=nodetool,
                 storage_directory=None, share_seconds=60)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.over.set()
        self.beating.join()
        self.process.stdin.close()
        self.process.stdout.read()
        if self.process.wait(60) != 0:
            raise RuntimeError(f"the agent ended with {self.process.returncode}")

    def say(self, message):
        with self.speaking:
            self.process.stdin.write(json.dumps(message).encode() + b"\n")
            self.process.stdin.flush()

    def beat(self):
        try:
            while not self.over.wait(HEARTBEAT):
                self.say("heartbeat")
        except BrokenPipeError:
            pass  # whoever asks next hears that the agent is gone

    def ask(self, verb, **content):
        """Its answer's content, or RuntimeError with what the agent says."""
        self.last += 1
        self.say({"request": {"id": self.last, "request": {verb: content}}})
        for line in self.process.stdout:
            event = json.loads(line)
            if event == "heartbeat":
                continue
            (kind, told), = event.items()
            if told["id"] != self.last or kind in ("progress", "note"):
                continue
            if kind == "failed":
                raise RuntimeError(f"{verb}: {json.dumps(told['fault'])}")
            (_, reply), = told["reply"].items()
            return reply
        raise RuntimeError(f"{verb}: the agent ended with {self.process.wait()}")

    def read_bytes(self):
        """What it has asked the system to read so far, from memory or disk, and what came from the disk."""
        with open(f"/proc/{self.process.pid}/io") as lines:
            counts = dict(line.split(": ") for line in lines)
        return int(counts["rchar"]), int(counts["read_bytes"])
