"""What happened to each request, and what the campaign did at that time."""

import collections
import threading
import time


class Ledger:
    """Shared by all clients of a day."""

    def __init__(self, file):
        self.began = time.monotonic()
        self.lock = threading.Lock()
        self.file = open(file, "w", encoding="utf-8")
        self.events = collections.deque(maxlen=4)
        self.answered = collections.Counter()
        self.repeats = collections.Counter()
        self.closed_idle = collections.Counter()
        self.told_to_leave = collections.Counter()
        self.paths = {}
        self.failures = []
        self.latencies = []

    def write(self, text):
        """A line of the day's log."""
        self.file.write(f"{time.monotonic() - self.began:8.3f} {text}\n")
        self.file.flush()

    def event(self, text):
        """What the campaign does now."""
        with self.lock:
            self.events.append(f"{time.monotonic() - self.began:.3f} {text}")
            self.write(text)

    def answer(self, client, path, seconds):
        with self.lock:
            self.answered[client] += 1
            self.paths[path] = self.paths.get(path, 0) + 1
            if "/slow/" not in path:
                self.latencies.append(seconds)

    def repeat(self, client, reason):
        """A request that HTTP allows to be sent again, because the peer says that it has not read it."""
        with self.lock:
            self.repeats[reason] += 1
            self.write(f"repeat {client} {reason}")

    def close_idle(self, client):
        """A kept connection that was found closed before anything was sent on it."""
        with self.lock:
            self.closed_idle[client] += 1
            self.write(f"closed while idle {client}")

    def leave(self, client):
        """`Connection: close`, or GOAWAY, which the client obeyed."""
        with self.lock:
            self.told_to_leave[client] += 1

    def fail(self, what, why, began=None):
        with self.lock:
            at = time.monotonic() - self.began
            asked = f", asked at {began - self.began:.3f}" if began else ""
            around = "; ".join(self.events)
            self.failures.append(f"{at:.3f} {what}: {why}{asked}; before it: {around}")
            self.write(f"FAILED {what}: {why}{asked}")

    def count(self):
        with self.lock:
            return sum(self.answered.values())

    def percentiles(self):
        """Milliseconds: the median, 99 in 100, the longest."""
        with self.lock:
            ordered = sorted(self.latencies)
        if not ordered:
            return "-"
        places = (len(ordered) // 2, len(ordered) * 99 // 100, len(ordered) - 1)
        return ", ".join(f"{ordered[place] * 1000:.1f}" for place in places)

    def close(self):
        self.file.close()
