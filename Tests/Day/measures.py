"""What a process holds: memory, descriptors by kind, listening sockets."""

import collections
import os
import re
import signal
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


STATES = {1: "ESTABLISHED", 4: "FIN_WAIT1", 5: "FIN_WAIT2", 8: "CLOSE_WAIT", 9: "LAST_ACK", 10: "LISTEN"}
"""Of include/net/tcp_states.h, those that a socket of a process can be in for long."""


def sockets():
    """(state, local port, remote port) of the TCP sockets over IPv4 in this network namespace. Other than
    /proc/PID/fd it has those that an io_uring holds as direct descriptors."""
    with open("/proc/net/tcp", encoding="ascii") as table:
        for line in table.readlines()[1:]:
            _, local, remote, state = line.split()[:4]
            yield int(state, 16), *(int(end.rpartition(":")[2], 16) for end in (local, remote))


def listening_ports():
    return {local for state, local, _ in sockets() if STATES.get(state) == "LISTEN"}


def open_connections(ports):
    """How many there are with one of these ports at either end, by state."""
    return dict(collections.Counter(
        STATES[state] for state, *ends in sockets()
        if ports & {*ends} and STATES.get(state, "LISTEN") != "LISTEN"))


def connections(process):
    """Of a proxy whose workers may have ended, by one line of counters for each worker that has not; -1: not all of
    them have answered."""
    if not process.is_running:
        return 0
    tasks = os.listdir(f"/proc/{process.pid}/task")
    names = [_name(process.pid, task) for task in tasks]
    workers = sum(re.fullmatch(r"millrace-\d+", name) is not None for name in names)
    before = len(process.find("counters"))
    process.signal(signal.SIGUSR1)
    deadline = time.monotonic() + 1
    while len(lines := process.find("counters")[before:]) < workers:
        if time.monotonic() > deadline:
            return -1
        time.sleep(0.02)
    return sum(int(line["connections"]) for line in lines)


def _name(pid, task):
    try:
        with open(f"/proc/{pid}/task/{task}/comm", encoding="ascii") as file:
            return file.read().strip()
    except OSError:
        return ""
