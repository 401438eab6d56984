"""What a process holds: memory, descriptors by kind, listening sockets."""

import collections
import os
import re
import statistics
import threading
import time


class Sampler(threading.Thread):
    """Memory and descriptors of the processes of a day, once a second: `taken[pid]` is a list of (time, bytes, count)."""

    def __init__(self):
        super().__init__(name="sampler", daemon=True)
        self.taken = {}
        self.ends = threading.Event()

    def watch(self, pid):
        self.taken[pid] = []

    def run(self):
        while not self.ends.wait(1):
            for pid, taken in list(self.taken.items()):
                try:
                    taken.append((time.monotonic(), resident_bytes(pid), len(os.listdir(f"/proc/{pid}/fd"))))
                except OSError:
                    continue  # it has ended, which others judge

    def memory(self, pid, begins, ends):
        """The median of what it had between two times; None without a sample."""
        found = [size for at, size, _ in self.taken[pid] if begins <= at <= ends]
        return statistics.median(found) if found else None

    def descriptors_most(self, pid):
        return max((count for _, _, count in self.taken[pid]), default=0)


def resident_bytes(pid):
    with open(f"/proc/{pid}/status", encoding="ascii", errors="replace") as status:
        found = re.search(r"VmRSS:\s*(\d+) kB", status.read())
    if not found:
        raise OSError("no VmRSS: the process has ended")
    return int(found[1]) * 1024


def descriptors(pid, audit):
    """How many of each kind; segments of the audit log apart, which come and go."""
    kinds = collections.Counter()
    for name in os.listdir(f"/proc/{pid}/fd"):
        try:
            target = os.readlink(f"/proc/{pid}/fd/{name}")
        except OSError:
            continue
        if target.startswith(f"{audit}/w"):
            kinds["segments"] += 1
        elif target.startswith("/"):
            kinds["files"] += 1
        else:
            kinds[re.sub(r":\[\d+\]", "", target)] += 1
    return kinds


def listening_ports():
    """Ports on which a socket of this network namespace listens on an IPv4 address."""
    with open("/proc/net/tcp", encoding="ascii") as table:
        rows = [line.split() for line in table.readlines()[1:]]
    return {int(row[1].rpartition(":")[2], 16) for row in rows if row[3] == "0A"}
