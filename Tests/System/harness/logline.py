"""The proxy's log as values: `TIME level message key=value key="quoted value"`.

A line that does not have this form is an error of the proxy (or a crash report of its runtime), and
`parse` says so by returning None.
"""

import dataclasses
import re

_LINE = re.compile(
    r"(?P<time>\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z) "
    r"(?P<level>trace|debug|info|notice|warning|error|critical) "
    r"(?P<rest>.*)"
)
_PAIR = re.compile(r' ([a-z][A-Za-z0-9_.]*)=("(?:[^"\\]|\\.)*"|[^\s"]*)')


@dataclasses.dataclass(frozen=True)
class Line:
    """One line: its level, its message and its pairs, all as text."""

    time: str
    level: str
    message: str
    pairs: dict
    text: str

    def __getitem__(self, key):
        return self.pairs[key]

    def matches(self, message, wanted):
        if self.message != message:
            return False
        return all(self.pairs.get(key) == str(value) for key, value in wanted.items())


def parse(text):
    """The line's parts, or None where it is not a log line."""
    found = _LINE.fullmatch(text)
    if not found:
        return None
    rest = found["rest"]
    first = _PAIR.search(" " + rest)
    message = (" " + rest)[: first.start()].strip() if first else rest.strip()
    pairs = {}
    for key, value in _PAIR.findall(" " + rest):
        if value.startswith('"'):
            value = re.sub(r"\\(.)", r"\1", value[1:-1])
        pairs[key] = value
    return Line(found["time"], found["level"], message, pairs, text)
