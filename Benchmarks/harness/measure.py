"""Processor time: of one process to the nanosecond, its split in user and system, and the busy time
of the whole machine. It reads clocks and /proc and refuses to estimate."""

import os
import resource
import time
from dataclasses import dataclass

TICK_NANOSECONDS = 1_000_000_000 // os.sysconf("SC_CLK_TCK")


def process_clock(pid):
    """The clock that clock_getcpuclockid(3) gives: every thread of the process, those that ended
    included, io_uring's kernel workers too. /proc/PID/schedstat knows the first thread only."""
    return (~pid << 3) | 2


def _process_ticks(pid):
    with open(f"/proc/{pid}/stat") as file:
        fields = file.read().rpartition(")")[2].split()
    return int(fields[11]), int(fields[12])  # utime, stime: proc(5), fields 14 and 15


def _machine_busy_ticks():
    with open("/proc/stat") as file:
        fields = [int(word) for word in file.readline().split()[1:9]]
    user, nice, system, _idle, _wait, irq, softirq, steal = fields
    return user + nice + system + irq + softirq + steal


@dataclass(frozen=True)
class Used:
    """Processor time between two samples, in nanoseconds. `user` and `system` share out the exact
    `process` in the proportion of the kernel's sampled ticks; all three are None where there is no
    process to count."""

    process: int | None
    user: float | None
    system: float | None
    machine: int


def ended_children():
    """Nanoseconds of processor time, user and system, of all children that were waited for: to the
    microsecond, their threads and io_uring's kernel workers included (getrusage(2))."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return round(used.ru_utime * 1e9), round(used.ru_stime * 1e9)


class Meter:
    """Taken before the load, read after it."""

    def __init__(self, pid):
        self.pid = pid
        self._start = self._sample()

    def _sample(self):
        machine = _machine_busy_ticks()
        if self.pid is None:
            return machine, None, None, None
        user, system = _process_ticks(self.pid)
        return machine, user, system, time.clock_gettime_ns(process_clock(self.pid))

    def read(self):
        end = self._sample()
        machine = (end[0] - self._start[0]) * TICK_NANOSECONDS
        if self.pid is None:
            return Used(None, None, None, machine)
        user, system, process = (end[i] - self._start[i] for i in (1, 2, 3))
        share = user / max(1, user + system)
        return Used(process, process * share, process * (1 - share), machine)
