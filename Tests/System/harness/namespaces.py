"""Two network namespaces and a veth pair between them, whose server side has NAPI and two queues:
what the queues of a network card are tested with where there is none. Needs root."""

import array
import ctypes
import fcntl
import os
import shutil
import socket
import struct
import subprocess
import threading
import unittest

SERVER, CLIENT = "10.77.3.1", "10.77.3.2"
_SIOCETHTOOL, _SET_TSO, _SET_GRO = 0x8946, 0x1F, 0x2C
_CLONE_NEWNET = 0x40000000
_PATH = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"


def require():
    """Skips the test, and says why, where namespaces cannot be made."""
    if os.geteuid() != 0:
        raise unittest.SkipTest("making a network namespace needs root")
    if not shutil.which("ip", path=_PATH):
        raise unittest.SkipTest("ip is missing (package iproute2)")
    made = subprocess.run(
        ["ip", "netns", "add", f"millrace-try-{os.getpid()}"],
        capture_output=True, text=True, env={**os.environ, "PATH": _PATH}, check=False)
    if made.returncode != 0:
        raise unittest.SkipTest(f"no network namespaces here: {made.stderr.strip()}")
    _ip("netns", "del", f"millrace-try-{os.getpid()}")


def _ip(*words):
    subprocess.run(
        ["ip", *map(str, words)], check=True, capture_output=True,
        env={**os.environ, "PATH": _PATH})


class Wire:
    """Nothing is left of it after `cut`."""

    QUEUES = 2

    def __init__(self):
        self.server, self.client = f"millrace-s{os.getpid()}", f"millrace-c{os.getpid()}"

    def lay(self):
        queues = ("numtxqueues", self.QUEUES, "numrxqueues", self.QUEUES)
        for name in (self.server, self.client):
            _ip("netns", "add", name)
        _ip("link", "add", "wire", "netns", self.server, *queues, "type", "veth",
            "peer", "name", "wire", "netns", self.client, *queues)
        for name, address in ((self.server, SERVER), (self.client, CLIENT)):
            _ip("-n", name, "addr", "add", f"{address}/24", "dev", "wire")
            _ip("-n", name, "link", "set", "wire", "up")
            _ip("-n", name, "link", "set", "lo", "up")
        # veth hands packets to NAPI only with GRO, and only those that its peer has not left whole
        # for the receiver to segment (veth_skb_is_eligible_for_gro of the kernel).
        self.inside(self.server, lambda: _offload(_SET_GRO, 1))
        self.inside(self.client, lambda: _offload(_SET_TSO, 0))
        return self

    def cut(self):
        for name in (self.server, self.client):
            subprocess.run(
                ["ip", "netns", "del", name], stderr=subprocess.DEVNULL, check=False,
                env={**os.environ, "PATH": _PATH})

    def wrapper(self):
        """What starts a command on the server's side."""
        return [shutil.which("ip", path=_PATH), "netns", "exec", self.server]

    def inside(self, name, work):
        """Runs `work` in a thread of that namespace: its sockets stay there wherever they go."""
        outcome = []

        def run():
            try:
                with open(f"/run/netns/{name}", "rb") as namespace:
                    libc = ctypes.CDLL(None, use_errno=True)
                    if libc.setns(namespace.fileno(), _CLONE_NEWNET) != 0:
                        raise OSError(ctypes.get_errno(), "setns")
                outcome.append((work(), None))
            except BaseException as failure:  # told to the caller
                outcome.append((None, failure))

        thread = threading.Thread(target=run)
        thread.start()
        thread.join()
        result, failure = outcome[0]
        if failure is not None:
            raise failure
        return result


def _offload(command, value):
    data = array.array("B", struct.pack("II", command, value))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        request = struct.pack("16sP16x", b"wire", data.buffer_info()[0])
        fcntl.ioctl(any_socket, _SIOCETHTOOL, request)
