"""What the environment decides for a whole run: the binary, the engines, the wrapper, the limits.

Nothing else in the suite reads the environment. Every limit in seconds is a hang limit: reaching it
means that something is stuck, never that something is slow.
"""

import ctypes
import errno
import os
import pathlib
import re
import resource
import shlex

SYSTEM_TESTS = pathlib.Path(__file__).resolve().parent.parent
REPOSITORY = SYSTEM_TESTS.parent.parent

BINARY = os.environ.get("MILLRACE_BINARY") or str(REPOSITORY / ".build/release/millrace")
"""The proxy under test."""

ENGINES = [
    name for name in os.environ.get("MILLRACE_SYSTEM_ENGINES", "io_uring,epoll").split(",") if name
]
"""Every test runs once per name."""

WRAPPER = shlex.split(os.environ.get("MILLRACE_SYSTEM_WRAPPER", ""))
"""Words put before every proxy's command line, such as a seccomp filter."""

EXPECTED_ENGINE = os.environ.get("MILLRACE_SYSTEM_EXPECTED", "")
"""The engine that `auto` must choose in this run; empty: either."""

KERNEL = tuple(int(part) for part in re.findall(r"\d+", os.uname().release)[:2])
"""The version of Linux, such as (6, 18)."""

HANG = 20.0
"""Seconds for one answer, one log line, one process to end."""

TEST_HANG = 240
"""Seconds for one whole test; a test class may set `hang_limit` higher."""

KEEP = bool(os.environ.get("MILLRACE_SYSTEM_KEEP"))
"""Leave each test's folder behind."""

DESCRIPTORS_WANTED = 65536


def raise_descriptor_limit():
    """Raises RLIMIT_NOFILE for this process and all that it starts; gives what was reached."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    for wanted in (max(hard, DESCRIPTORS_WANTED), hard):
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, wanted))
            return wanted
        except (ValueError, OSError):
            continue
    return soft


def uring_refusal():
    """None where this process may create a ring, else the error's name (ENOSYS, EPERM, …)."""
    library = ctypes.CDLL(None, use_errno=True)
    parameters = ctypes.create_string_buffer(120)  # sizeof(struct io_uring_params)
    descriptor = library.syscall(425, 4, parameters)
    if descriptor < 0:
        return errno.errorcode.get(ctypes.get_errno(), str(ctypes.get_errno()))
    os.close(descriptor)
    return None


URING_REFUSAL = uring_refusal()
