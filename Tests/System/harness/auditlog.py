"""The audit log as its readers see it: JSON Lines in segments, and `millrace audit verify`.

This reads with Python's own JSON and joins `begin` with `end` or `abort` by their id; it knows
nothing of how the proxy writes.
"""

import json
import pathlib

from . import settings
from .proxy import run_to_end


class AuditLog:
    def __init__(self, directory):
        self.directory = pathlib.Path(directory)

    def segments(self):
        return sorted(self.directory.glob("*.jsonl"))

    def entries(self):
        """Every line of every segment that is not empty, as a dictionary; a bad one is an error."""
        for segment in self.segments():
            with open(segment, "rb") as file:
                for number, line in enumerate(file, 1):
                    if not line.strip(b"\n"):
                        continue
                    try:
                        yield json.loads(line)
                    except ValueError as error:
                        raise AssertionError(
                            f"{segment.name}:{number}: {error}: {line[:200]!r}"
                        ) from None

    def of_kind(self, *kinds):
        return [entry for entry in self.entries() if entry.get("kind") in kinds]

    def requests(self):
        """One entry per exchange: `exchange`, or a `begin`."""
        return self.of_kind("exchange", "begin")

    def paths(self):
        """path → how often it was recorded as committed to be sent."""
        counts = {}
        for entry in self.requests():
            counts[entry["path"]] = counts.get(entry["path"], 0) + 1
        return counts

    def ending_of(self, path):
        """The kinds that share the id of the record with this path, in order."""
        entries = list(self.entries())
        for first in entries:
            if first.get("kind") in ("exchange", "begin") and first.get("path") == path:
                return [
                    entry["kind"]
                    for entry in entries
                    if entry.get("id") == first["id"] and entry.get("run") == first.get("run")
                ]
        return []

    def verify(self, *arguments):
        """(exit code, what it printed)."""
        code, out, errors = run_to_end(
            ["audit", "verify", self.directory, *arguments], limit=settings.TEST_HANG
        )
        return code, out + errors
