"""Free loopback ports for listeners and origins.

They come from below the kernel's range for outgoing connections: a port from that range could be
taken by any of the suite's thousands of client sockets between the choice and the listen.
"""

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
_candidates = itertools.cycle(
    [port for port in [*range(_start, _LAST), *range(_FIRST, _start)] if port not in _outgoing]
    or list(range(_FIRST, _LAST))
)


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
