"""For each optional feature of the engines the work where it can matter: what runs, what drives it,
and what both sides of the comparison have in common."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    """One workload, run with a feature on and off."""
    title: str
    words: tuple  # of engine-bench, after the engine; {seconds}, {work} and {file} are filled in
    unit: str  # what one operation is
    load: tuple = ()  # of a server: mode and words of c/load.c after the process id
    common: str = ""  # features switched on both sides
    settings: str = ""  # numbers of EngineOptions on both sides
    wire: bool = False  # over a veth pair instead of loopback
    engine: str = ""  # where a feature concerns both


@dataclass(frozen=True)
class Feature:
    name: str  # of EngineFeatures.all; of the control: empty, both sides are the same
    engine: str  # the one that it concerns; "both" asks each row
    default: bool
    rows: tuple


def _echo(connections, size=64, word="", **more):
    shown = f"{size // 1024} KiB" if size >= 1024 else f"{size} B"
    title = f"echo of {shown}, {connections:,} connection{'s'[:connections > 1]}"
    if word == "slots":
        title += " in direct slots"
    return Row(more.pop("title", title), ("echo", *([word] if word else [])), "message",
               load=("echo", "{seconds}", str(connections), str(size)), **more)


def _echoes(**more):
    return _echo(1, **more), _echo(64, **more), _echo(1000, **more)


def _churn(way, title, **more):
    return Row(title, ("churn", way), "connection",
               load=("churn", "{seconds}", "64", "GET / HTTP/1.0\r\n\r\n"), **more)


def _nop(batch, title, **more):
    return Row(title, ("nop", "{seconds}", str(batch)), "no-operation", **more)


def _files(order, mode, state, title, **more):
    return Row(title, ("files", "{file}", order, mode, state, "{seconds}"), "KiB", **more)


def _steps(work, way, title, **more):
    return Row(title, ("steps", work, way, "{work}", "{seconds}"), "chain", **more)


def _source(kib, wire):
    # Some 0.4 s of them on this class of machine.
    transfers = {4: 20_000, 16: 15_000, 64: 6_000, 256: 1_500}[kib]
    return Row(f"sendZeroCopy of {kib} KiB, {'veth pair' if wire else 'loopback'}",
               ("source", str(kib * 1024), "zero-copy"), "send",
               load=("sink", str(transfers), str(kib * 1024)), wire=wire)


def _workers(work, title, **more):
    return Row(title, ("workers", work, "{work}", "{seconds}"), "operation", **more)


_POST = Row("a message to another engine's thread and back", ("post", "{seconds}"), "round trip")
_WORKERS = (_workers("statx", "256 statx in flight"),
            _workers("rename", "256 renames in one directory in flight"),
            _workers("sync", "write of 4 KiB, fsync; 256 files in flight"))
_SLOTS = _churn("slots", "accept, receive, send on a direct slot, one after another")
# The one CPU that the engine does not run on: of a server the load's, otherwise an idle one.
_THREAD = "submission_thread_cpu=0"
_LARGE = "small_buffer_size=65536,small_buffers=128"

FEATURES = (
    Feature("", "io_uring", True, (
        *_echoes(), _nop(1, "one no-operation, one enter"),
        _files("random", "direct", "cold", "O_DIRECT, 4 KiB at random, 32 in flight"), _WORKERS[2])),
    Feature("defer_taskrun", "io_uring", True, (*_echoes(), _POST)),
    Feature("no_sqarray", "io_uring", True, (
        _nop(1000, "1,000 no-operations in one enter"), _echo(64))),
    Feature("registered_ring", "io_uring", True, (
        _nop(1, "one no-operation, one enter"), _echo(1), _echo(64))),
    Feature("multishot_accept", "io_uring", True, (
        _churn("close", "short connections, 64 at a time"),)),
    Feature("multishot_receive", "io_uring", True, (*_echoes(), _echo(16, 65536))),
    Feature("quiet_sends", "io_uring", True, _echoes()),
    Feature("direct_descriptors", "io_uring", True, (
        # Without the table there are no links: off on both sides, or they would be measured too.
        _echo(64, word="slots", common="-linked_chains"),
        _echo(1000, word="slots", common="-linked_chains"),
        _steps("open", "separate", "open, statx, read 4 KiB, close, one at a time",
               common="-linked_chains"),
        _churn("slots", "accept, receive, send on a slot, steps run by the engine",
               common="-linked_chains"))),
    Feature("registered_buffers", "io_uring", True, (
        _files("random", "registered-direct", "cold", "O_DIRECT, 4 KiB at random, 32 in flight"),
        _files("sequential", "registered-direct", "cold", "O_DIRECT, 64 KiB in order"),
        _files("random", "registered", "warm", "page cache, 4 KiB at random"),
        _files("sequential", "registered", "warm", "page cache, 64 KiB in order"))),
    Feature("linked_chains", "io_uring", True, (
        _steps("sync", "linked", "chain of write 4 KiB, fdatasync"),
        _steps("open", "linked", "chain of open, statx, read 4 KiB, close"),
        _churn("linked", "chain of send, shutdown, close"), _SLOTS)),
    Feature("zero_copy_send", "io_uring", True, tuple(
        _source(kib, wire) for wire in (False, True) for kib in (4, 16, 64, 256))),
    Feature("ring_messages", "io_uring", True, (_POST,)),
    Feature("worker_limits", "io_uring", True, (
        *_WORKERS,
        _workers("rename", "the same renames, at most 8 workers of each kind",
                 settings="file_threads=8"),
        _workers("sync", "the same fsync, at most 8 workers of each kind",
                 settings="file_threads=8"))),
    Feature("sqpoll", "io_uring", False, (
        _nop(1000, "1,000 no-operations, the thread on a CPU of its own", settings=_THREAD),
        _nop(1, "one no-operation, the thread on a CPU of its own", settings=_THREAD),
        _files("random", "direct", "cold",
               "O_DIRECT, 4 KiB at random, the thread on a CPU of its own", settings=_THREAD),
        *(_echo(count, settings=_THREAD,
                title=f"echo, {count:,} connection{'s'[:count > 1]}, the thread beside the load")
          for count in (1, 64, 1000)))),
    Feature("min_wait", "io_uring", False, (
        *_echoes(),
        _echo(64, settings="batch_completions=32,batch_microseconds=200",
              title="echo of 64 B, 64 connections; 32 completions or 200 µs"))),
    Feature("receive_bundles", "io_uring", False, (
        _echo(64), _echo(1, 65536), _echo(16, 65536))),
    Feature("incremental_buffers", "io_uring", False, (
        _echo(64), _echo(1000), _echo(1, 65536), _echo(16, 65536),
        _echo(64, settings=_LARGE, title="echo of 64 B, 64 connections, buffers of 64 KiB"),
        _echo(16, 65536, settings=_LARGE,
              title="echo of 64 KiB, 16 connections, buffers of 64 KiB"))),
    Feature("ring_resize", "io_uring", False, (
        Row("an engine made and ended", ("start", "{seconds}", "0"), "engine"),
        Row("an engine made, a burst of 8,000 no-operations, ended",
            ("start", "{seconds}", "8000"), "engine"),
        _echo(1000))),
    Feature("worker_affinity", "io_uring", False, _WORKERS),
    Feature("threaded_writes", "io_uring", False, (
        _WORKERS[2], _steps("sync", "separate", "write 4 KiB, then fdatasync"))),
    Feature("busy_poll", "both", False, tuple(
        _echo(count, engine=engine, wire=True,
              title=f"{engine}: echo, {count} connection{'s'[:count > 1]}, veth pair with NAPI")
        for engine in ("io_uring", "epoll") for count in (1, 64))),
    Feature("precise_wait", "epoll", True, (
        Row("a wait of 100 µs", ("sleep", "{seconds}", "100"), "wait"),
        Row("a wait of 1.5 ms", ("sleep", "{seconds}", "1500"), "wait"), _echo(1), _echo(64))),
    Feature("speculative_receive", "epoll", False, (
        *_echoes(), _echo(16, 65536), _churn("close", "short connections, 64 at a time"))),
)
