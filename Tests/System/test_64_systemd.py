"""Layer 6: what a service manager is told, and what it hands down: sd_notify(3), sd_listen_fds(3).

The manager here is a datagram socket and a small program that places descriptors as systemd does.
"""

import ctypes
import os
import pathlib
import signal
import socket
import sys
import threading
import time

from harness import configuration, ports, settings, wire
from harness.case import SystemCase, on_both_engines
from harness.crowd import Askers
from harness.proxy import Proxy, is_listening

LAUNCH = """
import os, sys
count = int(sys.argv[1])
numbers = [int(number) for number in sys.argv[2:2 + count]]
held = [os.dup2(number, 100 + i) for i, number in enumerate(numbers)]
for i, number in enumerate(held):
    os.dup2(number, 3 + i, inheritable=True)
    os.close(number)
os.environ.update(LISTEN_PID=str(os.getpid() + int(os.environ.pop("LISTEN_PID_OFFSET", "0"))),
                  LISTEN_FDS=str(count))
os.execv(sys.argv[2 + count], sys.argv[2 + count:])
"""


class Manager:
    """The socket that NOTIFY_SOCKET names, and all that came."""

    def __init__(self, name):
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(name.replace("@", "\0", 1))
        self.heard = []
        self.changed = threading.Condition()
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self):
        while True:
            try:
                text = self.socket.recv(4096).decode()
            except OSError:
                return
            with self.changed:
                self.heard.append((time.monotonic(), dict(line.split("=", 1) for line in text.split("\n"))))
                self.changed.notify_all()

    def all(self, key):
        with self.changed:
            return [message for _, message in self.heard if key in message]

    def wait_for(self, key, count=1):
        with self.changed:
            found = self.changed.wait_for(
                lambda: len([m for _, m in self.heard if key in m]) >= count, settings.HANG)
            assert found, f"no {key}: {self.heard}"
        return self.all(key)[count - 1]

    def close(self):
        self.socket.close()


class SystemdCase(SystemCase):
    def start_managed(self, config, name=None, **environment):
        self.manager = Manager(name or str(self.folder / "notify"))
        self.addCleanup(self.manager.close)
        return self.start_proxy(
            config, environment={"NOTIFY_SOCKET": name or str(self.folder / "notify"), **environment})


@on_both_engines
class Notify(SystemdCase):
    def test_ready_reloading_and_stopping(self):
        config = self.settings_for(self.start_origin().port)
        proxy = self.start_managed(config)
        self.assertEqual(self.manager.wait_for("READY")["READY"], "1")
        self.assertEqual(self.fetch(proxy).status, 200)
        asked = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
        config["via"] = "edge"
        proxy.file.write_text(configuration.render(config) + "\n")
        proxy.signal(signal.SIGHUP)
        self.assertGreaterEqual(int(self.manager.wait_for("RELOADING")["MONOTONIC_USEC"]), asked)
        self.assertIn("generation 2", self.manager.wait_for("READY", 2)["STATUS"])
        proxy.file.write_text("broken")
        proxy.signal(signal.SIGHUP)
        status = self.manager.wait_for("READY", 3)["STATUS"]
        self.assertIn("rejected", status)
        self.assertIn("generation 2", status)
        self.assertEqual(len(self.manager.all("RELOADING")), 2)
        self.assertEqual(self.manager.all("WATCHDOG"), [])
        proxy.stop()
        self.assertTrue(self.manager.wait_for("STOPPING"))

    def test_an_abstract_socket_and_one_that_nobody_reads(self):
        name = f"@millrace-test-{os.getpid()}-{self.engine}"
        proxy = self.start_managed(self.settings_for(self.start_origin().port), name=name)
        self.manager.wait_for("READY")
        proxy.stop()
        gone = self.proxy_before(self.start_origin().port)
        gone.stop()
        missing = self.start_proxy(
            self.settings_for(self.start_origin().port),
            environment={"NOTIFY_SOCKET": "/nonexistent/notify"})
        self.assertEqual(self.fetch(missing).status, 200)


PTRACE_SEIZE, PTRACE_INTERRUPT, PTRACE_DETACH = 0x4206, 0x4207, 17
libc = ctypes.CDLL(None, use_errno=True)
libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]


def ptrace(request, thread):
    if libc.ptrace(request, thread, None, None) != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


@on_both_engines
class Watchdog(SystemdCase):
    LIMIT = 1_000_000

    def start_watched(self, **environment):
        return self.start_managed(
            self.settings_for(self.start_origin().port, workers=2),
            **{"WATCHDOG_USEC": str(self.LIMIT), **environment})

    def test_it_is_fed_while_nothing_happens_and_starved_when_one_worker_hangs(self):
        proxy = self.start_watched()
        for count in range(1, 9):
            self.manager.wait_for("WATCHDOG", count)
        fed = [at for at, message in self.manager.heard if "WATCHDOG" in message]
        longest = max(b - a for a, b in zip(fed, fed[1:]))
        self.assertLess(longest, self.LIMIT / 1e6)
        thread = self.worker_thread(proxy, 1)
        try:
            ptrace(PTRACE_SEIZE, thread)
        except OSError as error:
            self.skipTest(f"ptrace: {error}")
        ptrace(PTRACE_INTERRUPT, thread)
        os.waitpid(thread, 0x40000000)  # __WALL
        line = proxy.wait_for("watchdog not fed", count=3)
        self.assertEqual(line["workers"], "1")
        before = len(self.manager.all("WATCHDOG"))
        proxy.wait_for("watchdog not fed", count=6)
        self.assertEqual(len(self.manager.all("WATCHDOG")), before)
        ptrace(PTRACE_DETACH, thread)
        self.manager.wait_for("WATCHDOG", before + 2)
        self.assertEqual(self.fetch(proxy).status, 200)

    def worker_thread(self, proxy, index):
        for task in pathlib.Path(f"/proc/{proxy.pid}/task").iterdir():
            if (task / "comm").read_text().strip() == f"millrace-{index}":
                return int(task.name)
        self.fail("no such thread")

    def test_another_process_s_watchdog_is_not_fed(self):
        self.start_watched(WATCHDOG_PID="1")
        self.manager.wait_for("READY")
        time.sleep(1)
        self.assertEqual(self.manager.all("WATCHDOG"), [])

    def test_it_is_fed_during_a_drain(self):
        config = self.settings_for(self.start_origin().port, drain={"deadline": "3s"})
        proxy = self.start_managed(config, WATCHDOG_USEC=str(self.LIMIT))
        idle = self.connect(proxy)
        idle.send(b"GET / HTTP/1.1\r\n")
        proxy.ended_by_test = True
        proxy.signal(signal.SIGTERM)
        self.manager.wait_for("STOPPING")
        before = len(self.manager.all("WATCHDOG"))
        proxy.wait()
        self.assertGreater(len(self.manager.all("WATCHDOG")) - before, 2)


@on_both_engines
class Activation(SystemdCase):
    def launch(self, config, sockets, **environment):
        """A proxy that is given these sockets from descriptor 3 on."""
        folder = self.folder / f"proxy-{len(self.proxies)}"
        folder.mkdir()
        numbers = [s.fileno() for s in sockets]
        proxy = Proxy(
            folder, config, descriptors=numbers, environment=environment,
            wrapper=[sys.executable, "-c", LAUNCH, str(len(numbers)), *map(str, numbers)])
        proxy.port = int(config["listeners"][0]["address"].rpartition(":")[2])
        self.proxies.append(proxy)
        self.addCleanup(proxy.clean_up)
        proxy.start()
        return proxy

    def listening(self, port, address="127.0.0.1"):
        listener = socket.socket()
        self.addCleanup(listener.close)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((address, port))
        listener.listen(512)
        return listener

    def test_a_socket_that_was_handed_down_is_served_by_all_workers(self):
        config = self.settings_for(self.start_origin().port, workers=2)
        port = int(config["listeners"][0]["address"].rpartition(":")[2])
        listener = self.listening(port)
        # It waits since before the start.
        early = wire.Wire.connect(port)
        self.addCleanup(early.close)
        early.send(wire.get())
        proxy = self.launch(config, [listener])
        self.assertEqual(early.response().status, 200)
        for _ in range(20):
            self.assertEqual(self.fetch(proxy).status, 200)

    def test_a_restart_loses_no_request(self):
        config = self.settings_for(self.start_origin().port, workers=2)
        port = int(config["listeners"][0]["address"].rpartition(":")[2])
        listener = self.listening(port)
        proxy = self.launch(config, [listener])
        askers = Askers(port, 8, lambda i, n: ((i, n), wire.get())).start()
        for _ in range(3):
            count = len(askers.answered)
            self.assertTrue(askers.wait_until(lambda a: len(a.answered) > count + 200, settings.HANG))
            proxy.stop()
            proxy = self.launch(config, [listener])
        self.assertTrue(askers.finish(settings.HANG))
        self.assertEqual((askers.lost, askers.refused), ([], 0))
        self.assertEqual(set(askers.statuses), {200})

    def test_others_are_opened_and_what_is_not_used_is_named(self):
        config = self.settings_for(self.start_origin().port)
        own, stray = ports.free_port(), ports.free_port()
        config["listeners"].append(configuration.listener(own, name="own"))
        port = int(config["listeners"][0]["address"].rpartition(":")[2])
        path = self.folder / "m.sock"
        local = socket.socket(socket.AF_UNIX)
        self.addCleanup(local.close)
        local.bind(str(path))
        local.listen()
        config["listeners"].append({"name": "local", "address": f"unix:{path}"})
        proxy = self.launch(config, [self.listening(port), self.listening(stray), local])
        self.assertIn(str(stray), proxy.wait_for("inherited socket not used")["address"])
        self.assertEqual(self.fetch(proxy).status, 200)
        self.assertEqual(self.fetch(proxy, port=own).status, 200)
        # A reload keeps them.
        config["via"] = "edge"
        proxy.file.write_text(configuration.render(config) + "\n")
        proxy.signal(signal.SIGHUP)
        proxy.wait_for("configuration reloaded")
        self.assertIn("edge", self.fetch(proxy).get("via"))
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(path))
            client.sendall(wire.get())
            self.assertIn(b"200", client.recv(4096))
        proxy.stop()
        self.assertTrue(path.exists(), "the file is the manager's")

    def test_what_is_for_another_process_is_left_alone(self):
        config = self.settings_for(self.start_origin().port)
        other = self.listening(ports.free_port())
        proxy = self.launch(config, [other], LISTEN_PID_OFFSET="1")
        self.assertEqual(self.fetch(proxy).status, 200)
        self.assertEqual(proxy.find("inherited socket not used"), [])
        self.assertTrue(is_listening(other.getsockname()[1]))
