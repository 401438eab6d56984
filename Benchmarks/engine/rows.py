"""What is compared with what: each row's subjects, the load that drives them, and the bars."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Bar:
    """`subject` costs at most `limit` times what `base` costs."""
    subject: str
    base: str
    limit: float


@dataclass(frozen=True)
class Row:
    name: str
    title: str
    unit: str  # nanoseconds of CPU per operation are divided by `scale` to give it
    subjects: dict  # name: words after the program's place, see `Programs` in `run`
    scale: float = 1
    load: tuple = ()  # of a server: mode and words for `load`, {seconds} filled in
    bars: tuple = ()
    wall: bool = False  # whether elapsed time means anything here
    rounds: int = 0  # fewer than asked for, where a round is long; 0: as asked for


def _echo(connections, against_nio):
    return Row(
        f"echo-{connections}", f"TCP echo, {connections} connections, 64 B, one message in flight"
        " on each", "µs CPU/msg",
        {"c-liburing": ("c", "echo"), "millrace-io_uring": ("engine", "io_uring", "echo"),
         "millrace-epoll": ("engine", "epoll", "echo"), "swiftnio": ("nio",)},
        scale=1000, load=("echo", "{seconds}", str(connections), "64"),
        bars=(Bar("millrace-io_uring", "c-liburing", 1.10),
              Bar("millrace-io_uring", "swiftnio", 1 / against_nio)))


def _files(order, mode, title):
    file = "{work}/content"
    subjects = {"pread": ("c", "pread", file, order, mode, "cold")}
    for engine in ("io_uring", "epoll"):
        subjects[f"millrace-{engine}"] = ("engine", engine, "files", file, order, mode, "cold")
    if mode == "plain":
        subjects["io_uring registered"] = (
            "engine", "io_uring", "files", file, order, "registered", "cold")
    return Row(f"files-{order}" + ("-direct" if mode == "direct" else ""), title,
               "ns CPU/KiB", subjects, wall=True, rounds=3)


def _copy(state):
    ways = {"cp": ("cp", "{work}/content", "{work}/copy")}
    for engine in ("io_uring", "epoll"):
        ways[f"millrace-{engine}"] = (
            "engine", engine, "copy", "{work}/content", "{work}/copy")
    return Row(f"copy-{state}", f"a file copied, {state}", "ms CPU", ways, scale=1e6, wall=True,
               rounds=3)


def _churn():
    subjects = {"nginx": ("nginx",)}
    for engine in ("io_uring", "epoll"):
        for way in ("close", "linked", "separate", "slots"):
            subjects[f"{engine} {way}"] = ("engine", engine, "churn", way)
    return Row("accept", "connect, request, answer, end; 64 at a time; nginx parses HTTP, the engine's"
               " server does not", "µs CPU/conn", subjects, scale=1000,
               load=("churn", "{seconds}", "64", "GET / HTTP/1.0\r\n\r\n"), rounds=5)


def _relay(kib, transfers):
    subjects = {}
    for engine in ("io_uring", "epoll"):
        for way in ("copy", "splice", "caller"):
            subjects[f"{engine} {way}"] = ("engine", engine, "relay", "{origin}", way)
    return Row(f"relay-{kib}k", f"{kib} KiB through a forwarder", "µs CPU each", subjects,
               scale=1000, load=("sink", str(transfers), str(kib * 1024)), wall=True, rounds=3)


def _source(kib):
    return Row(f"zero-copy-{kib}k", f"sends of {kib} KiB on loopback, where the kernel copies anyway",
               "µs CPU each",
               {"copy": ("engine", "io_uring", "source", str(kib * 1024), "copy"),
                "zero-copy": ("engine", "io_uring", "source", str(kib * 1024), "zero-copy")},
               scale=1000, load=("sink", "2000", str(kib * 1024)), rounds=3)


def _steps(work, title):
    return Row(f"chain-{work}", title, "µs CPU each",
               {f"{engine} {way}": ("engine", engine, "steps", work, way, "{work}", "{seconds}")
                for engine in ("io_uring", "epoll") for way in ("separate", "linked")},
               scale=1000, wall=True, rounds=5)


_POST = Row("post", "a message to another engine's thread and back, both on one CPU", "µs CPU each",
            {"io_uring by ring": ("engine", "io_uring", "post", "{seconds}"),
             "io_uring by memory": (
                 "engine", "io_uring", "post", "{seconds}", "--features=-ring_messages"),
             "epoll": ("engine", "epoll", "post", "{seconds}")},
            scale=1000, wall=True)

_ROWS = [
    Row("nop", "1,000 no-operations in one enter", "ns CPU each",
        {"c-liburing": ("c", "nop", "{seconds}"),
         "millrace-io_uring": ("engine", "io_uring", "nop", "{seconds}"),
         "same flags": ("engine", "io_uring", "nop", "{seconds}", "--features=-no_sqarray")},
        bars=(Bar("millrace-io_uring", "c-liburing", 1.10),)),
    _echo(1, 1.35), _echo(64, 1.4), _echo(1000, 1.8),
    _churn(),
    *(_relay(kib, transfers) for kib, transfers in
      ((2, 8000), (4, 8000), (16, 4000), (64, 2000), (256, 800), (1024, 200), (16384, 16))),
    *(_source(kib) for kib in (1, 16, 64, 256)),
    _steps("sync", "write 4 KiB, fdatasync"),
    _steps("open", "open, statx, read 4 KiB, close"),
    _POST,
    _files("sequential", "plain", "cold file, 64 KiB in order, 32 in flight; pread: one"),
    _files("random", "plain", "cold file, 4 KiB in random order, 32 in flight; pread: one"),
    _files("sequential", "direct", "O_DIRECT, 64 KiB in order, 32 in flight; pread: one"),
    _files("random", "direct", "O_DIRECT, 4 KiB in random order, 32 in flight; pread: one"),
    _copy("warm"), _copy("cold"),
]

ROWS = {row.name: row for row in _ROWS}
