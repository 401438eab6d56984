"""Two network namespaces with a veth pair between them: a device on a machine without a network
card. Needs root and ip(8). As a program it switches one offload of the device, for `lay`."""

import array
import fcntl
import os
import socket
import struct
import subprocess
import sys

SERVER, CLIENT = "10.77.0.1", "10.77.0.2"
SIOCETHTOOL, ETHTOOL_SET_TSO, ETHTOOL_SET_GRO = 0x8946, 0x1F, 0x2C


def run(*words, **more):
    return subprocess.run([str(word) for word in words], check=True, text=True,
                          capture_output=True, **more).stdout


def inside(namespace, *words):
    return ["ip", "netns", "exec", namespace, *(str(word) for word in words)]


class Wire:
    """Two namespaces and the pair between them; nothing is left of them after `cut`."""

    def __init__(self):
        self.server, self.client = f"mill-s{os.getpid()}", f"mill-c{os.getpid()}"

    def lay(self):
        for name in (self.server, self.client):
            run("ip", "netns", "add", name)
        run("ip", "link", "add", "wire", "netns", self.server, "type", "veth",
            "peer", "name", "wire", "netns", self.client)
        for name, address in ((self.server, SERVER), (self.client, CLIENT)):
            run(*inside(name, "ip", "addr", "add", f"{address}/24", "dev", "wire"))
            run(*inside(name, "ip", "link", "set", "wire", "up"))
            run(*inside(name, "ip", "link", "set", "lo", "up"))

    def give_napi(self):
        """veth hands packets to NAPI only with GRO, and only those that its peer has not left whole
        for the receiver to segment (veth_skb_is_eligible_for_gro of the kernel)."""
        run(*inside(self.server, sys.executable, __file__, f"{ETHTOOL_SET_GRO}:1"))
        run(*inside(self.client, sys.executable, __file__, f"{ETHTOOL_SET_TSO}:0"))

    def cut(self):
        for name in (self.server, self.client):
            subprocess.run(["ip", "netns", "del", name], stderr=subprocess.DEVNULL, check=False)


def set_offload(setting):
    command, value = (int(part) for part in setting.split(":"))
    data = array.array("B", struct.pack("II", command, value))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        fcntl.ioctl(any_socket, SIOCETHTOOL,
                    struct.pack("16sP16x", b"wire", data.buffer_info()[0]))


if __name__ == "__main__":
    set_offload(sys.argv[1])
