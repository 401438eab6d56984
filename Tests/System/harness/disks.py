"""File systems that a test may fill or cut off from power: ext4 on loop devices. Needs root.

`VolatileDisk` stacks two: the proxy writes to the inner file system, whose device is a file on the
outer one. What the inner one flushes (fdatasync, RWF_DSYNC) reaches the outer one's disk; all else
sits in the outer one's page cache, which plays the drive's volatile cache. `cut_power` shuts the
outer one down without flushing (EXT4_IOC_SHUTDOWN), so exactly the unsynced part is lost, even
where it was written with O_DIRECT.
"""

import fcntl
import os
import pathlib
import shutil
import struct
import subprocess
import time
import unittest

_EXT4_IOC_SHUTDOWN = 0x8004587D  # _IOR('X', 125, __u32), include/uapi/linux/ext4.h
_NO_LOG_FLUSH = 2  # EXT4_GOING_FLAGS_NOLOGFLUSH


def require_loop_devices():
    """Skips the test, and says why, where file systems cannot be mounted."""
    if os.geteuid() != 0:
        raise unittest.SkipTest("mounting a file system needs root")
    if not os.path.exists("/dev/loop-control"):
        raise unittest.SkipTest("there are no loop devices here (/dev/loop-control)")
    if not shutil.which("mkfs.ext4", path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin"):
        raise unittest.SkipTest("mkfs.ext4 is missing (package e2fsprogs)")


def _run(*command, check=True):
    path = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
    done = subprocess.run(
        list(map(str, command)),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env={**os.environ, "PATH": path},
        check=False,
    )
    if check and done.returncode != 0:
        raise RuntimeError(f"{command}: {done.stdout.decode()}")
    return done.returncode


def _unmount(point):
    """Unmounts, waiting for the last user; lazily as the last resort."""
    for _ in range(50):
        if not os.path.ismount(point) or _run("umount", point, check=False) == 0:
            return
        time.sleep(0.1)
    _run("umount", "-l", point, check=False)


def _make_image(path, size, written):
    with open(path, "wb") as file:
        if written:  # allocated blocks, so that a flush need not change the outer metadata
            for _ in range(size >> 20):
                file.write(bytes(1 << 20))
            file.flush()
            os.fsync(file.fileno())
        else:
            file.truncate(size)
    _run("mkfs.ext4", "-q", "-F", "-m", "0", path)


class Disk:
    """A small ext4, mounted at `.path`."""

    def __init__(self, folder, size):
        self.path = pathlib.Path(folder) / "disk"
        self._image = pathlib.Path(folder) / "disk.img"
        self.path.mkdir()
        _make_image(self._image, size, written=False)
        try:
            _run("mount", "-o", "loop", self._image, self.path)
        except RuntimeError as error:
            raise unittest.SkipTest(f"a loop device cannot be mounted here: {error}") from None

    def free(self):
        facts = os.statvfs(self.path)
        return facts.f_bavail * facts.f_frsize

    def fill(self, leave):
        """Takes all space but `leave` bytes; gives the file that holds it."""
        ballast = self.path / "ballast"
        with open(ballast, "wb") as file:
            os.posix_fallocate(file.fileno(), 0, max(4096, self.free() - leave))
        return ballast

    def close(self):
        _unmount(self.path)


class VolatileDisk:
    """An ext4 at `.path` whose device forgets what was not flushed when the power goes."""

    def __init__(self, folder, size=192 << 20):
        folder = pathlib.Path(folder)
        self._outer_image = folder / "outer.img"
        self._outer = folder / "outer"
        self.path = folder / "inner"
        self._inner_image = self._outer / "inner.img"
        self._outer.mkdir()
        self.path.mkdir()
        _make_image(self._outer_image, size + (64 << 20), written=False)
        try:
            _run("mount", "-o", "loop", self._outer_image, self._outer)
            _make_image(self._inner_image, size, written=True)
            _run("mount", "-o", "loop", self._inner_image, self.path)
        except RuntimeError as error:
            self.close()
            raise unittest.SkipTest(f"a loop device cannot be mounted here: {error}") from None
        os.sync()

    def cut_power(self):
        """From here on nothing reaches the disk, and what was not flushed is gone."""
        descriptor = os.open(self._outer, os.O_RDONLY)
        try:
            fcntl.ioctl(descriptor, _EXT4_IOC_SHUTDOWN, struct.pack("I", _NO_LOG_FLUSH))
        finally:
            os.close(descriptor)

    def restore_power(self):
        """Mounts again what the disk really holds; both journals are replayed."""
        _unmount(self.path)
        _unmount(self._outer)
        _run("mount", "-o", "loop", self._outer_image, self._outer)
        _run("mount", "-o", "loop", self._inner_image, self.path)

    def close(self):
        _unmount(self.path)
        _unmount(self._outer)
