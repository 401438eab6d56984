"""What every client shares: how it is run, and what it is expected to see."""

import dataclasses

import exchanges


@dataclasses.dataclass
class Variant:
    """One way to reach the proxy."""

    name: str
    tls: bool
    version: str = "2"
    """The version of HTTP that the client is asked for."""

    def options(self, _folder):
        return {}


BOTH = [
    Variant("tls, http/2", True),
    Variant("clear, http/2", False),
    Variant("tls, http/1.1", True, "1.1"),
    Variant("clear, http/1.1", False, "1.1"),
]
HTTP2 = BOTH[:2]
HTTP1 = BOTH[2:]
ALL = list(exchanges.EXPECTED)


class BaseClient:
    """A method for each exchange that the client can do; it gives the line that is expected."""

    different = {}
    """Expectations that are this client's own; None: the client cannot do it."""

    def __init__(self, target, variant):
        self.target = target
        self.variant = variant

    def expected(self, name):
        if name in self.different:
            return self.different[name]
        if name == "parallel" and self.variant.version != "2":
            # A connection each.
            return f"{exchanges.TOGETHER} times 200, connections {exchanges.TOGETHER}"
        return exchanges.EXPECTED[name]

    def close(self):
        pass


def times(statuses):
    """"3 times 200", or what there was instead."""
    kinds = sorted(set(map(str, statuses)))
    return ", ".join(f"{list(map(str, statuses)).count(kind)} times {kind}" for kind in kinds)
