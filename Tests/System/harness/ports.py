"""Free loopback ports for listeners and origins.

They come from below the kernel's range for outgoing connections: a port from that range could be
taken by any of the suite's thousands of client sockets between the choice and the listen.
"""

import contextlib
import itertools
import os
import random
import socket

_FIRST, _LAST = 12000, 31000


def _outgoing_range():
    try:
        with open("/proc/sys/net/ipv4/ip_local_port_range", encoding="ascii") as file:
            low, high = file.read().split()
            return range(int(low), int(high) + 1)
    except OSError:
        return range(32768, 61000)


_outgoing = _outgoing_range()
_start = random.Random(os.getpid()).randrange(_FIRST, _LAST)


def _from(start):
    all_of_them = [*range(start, _LAST), *range(_FIRST, start)]
    return itertools.cycle([port for port in all_of_them if port not in _outgoing] or all_of_them)


_candidates = _from(_start)


def start_elsewhere(part, parts):
    """For a fork(2) that goes on beside its parent: ports that begin as far away from the parent's as `part` of
    `parts` of the range."""
    global _candidates
    start = _start + (_LAST - _FIRST) * part // parts
    _candidates = _from(start if start < _LAST else start - (_LAST - _FIRST))


def free_port():
    """A port on which nothing listens, on any address; each call gives another one."""
    for port in itertools.islice(_candidates, _LAST - _FIRST):
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
            try:
                probe.bind(("0.0.0.0", port))
                return port
            except OSError:
                continue
    raise RuntimeError("no free port between %d and %d" % (_FIRST, _LAST))


def unused_outgoing(count):
    """The first of `count` ports in a row, in the kernel's range for outgoing connections, that no socket
    has. connect(2) takes no port that a listener holds, if only for its connections in TIME-WAIT."""
    for first in range(_outgoing.start + len(_outgoing) // 4, _outgoing.stop - count, count):
        with contextlib.ExitStack() as probes:
            try:
                for port in range(first, first + count):
                    probe = probes.enter_context(socket.socket())
                    probe.bind(("0.0.0.0", port))
                return first
            except OSError:
                continue
    raise RuntimeError("no %d unused ports in a row in %s" % (count, _outgoing))
