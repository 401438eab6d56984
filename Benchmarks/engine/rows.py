"""What is compared with what: each row's subjects, the load that drives them, and the bars."""

from dataclasses import dataclass, field


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
    needs_file: str = ""  # "cold": the page cache is emptied of the file before each run
    environment: dict = field(default_factory=dict)  # by subject


def _echo(connections, against_nio):
    return Row(
        f"echo-{connections}", f"TCP echo, {connections} connections, 64 B, one message in flight"
        " on each", "µs CPU/msg",
        {"c-liburing": ("c", "echo"), "millrace-io_uring": ("engine", "io_uring", "echo"),
         "millrace-epoll": ("engine", "epoll", "echo"), "swiftnio": ("nio",)},
        scale=1000, load=("echo", "{seconds}", str(connections), "64"),
        bars=(Bar("millrace-io_uring", "c-liburing", 1.10),
              Bar("millrace-io_uring", "swiftnio", 1 / against_nio)))


_ROWS = [
    Row("nop", "1,000 no-operations in one enter", "ns CPU each",
        {"c-liburing": ("c", "nop", "{seconds}"),
         "millrace-io_uring": ("engine", "io_uring", "nop", "{seconds}"),
         "same flags": ("engine", "io_uring", "nop", "{seconds}")},
        environment={"same flags": {"MILLRACE_FEATURES": "-no_sqarray"}},
        bars=(Bar("millrace-io_uring", "c-liburing", 1.10),)),
    _echo(1, 1.35), _echo(64, 1.4), _echo(1000, 1.8),
]

ROWS = {row.name: row for row in _ROWS}
