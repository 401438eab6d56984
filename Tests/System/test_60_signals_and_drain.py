"""Layer 6: signals. A drain loses nothing for a client that honours `Connection: close`.

What is asserted is the fate of every request; a refused new connection after the drain began is no
failure, since nothing listens any more.
"""

import os
import signal
import socket
import subprocess
import threading
import time
import unittest

from harness import certificates, settings, wire
from harness.case import SystemCase, on_both_engines
from harness.crowd import Askers
from harness.origin import raw
from harness.proxy import Proxy, is_listening


def holding(release):
    """Answers /held only once `release` is set, all else at once."""

    def script(served):
        while message := served.request():
            if message.target == "/held":
                release.wait(60)
            served.answer(b"done")

    return script


@on_both_engines
class Drain(SystemCase):
    def check_under_load(self, tls, workers):
        nginx = self.start_nginx()
        nginx.add("small", b"x" * 128)
        nginx.add("medium", b"y" * 300_000)
        proxy = self.proxy_before(
            nginx.port,
            tls=self.site_tls if tls else None,
            workers=workers,
            drain={"deadline": "30s"},
        )

        def make(index, number):
            return (index, number), wire.get("/medium" if number % 5 == 0 else "/small")

        context = certificates.authority().client() if tls else None
        askers = Askers(proxy.port, 16, make, tls=context, reconnect=False).start()
        self.assertTrue(askers.wait_until(lambda a: len(a.answered) > 400, settings.HANG))
        proxy.stop(limit=60)
        self.assertTrue(askers.join(settings.HANG), "askers hang")
        self.assertEqual(askers.lost, [])
        self.assertEqual(set(askers.statuses), {200})
        self.assertEqual(askers.told_to_leave, 16, "each asker was told to leave")
        self.assertEqual(proxy.wait_for("draining")["reason"], "SIGTERM")
        self.assertFalse(is_listening(proxy.port))

    def test_no_request_fails_under_load(self):
        self.check_under_load(tls=False, workers=1)

    def test_no_request_fails_under_load_with_two_workers(self):
        self.check_under_load(tls=False, workers=2)

    def test_no_request_fails_under_load_over_tls(self):
        self.check_under_load(tls=True, workers=1)

    def test_an_exchange_under_way_ends_and_says_close(self):
        release = threading.Event()
        self.addCleanup(release.set)
        origin = self.start_origin(holding(release))
        proxy = self.proxy_before(origin.port, drain={"deadline": "60s"})
        idle = self.connect(proxy)
        self.assertEqual(idle.send(wire.get()).response().status, 200)
        held = self.connect(proxy).send(wire.get("/held"))
        self.wait_until_asked(origin, "/held")
        proxy.ended_by_test = True
        proxy.signal(signal.SIGTERM)
        proxy.wait_for("draining")
        self.assertClosed(idle, "an idle connection outlives the start of a drain")
        self.assertTrue(proxy.is_running)
        release.set()
        response = held.response()
        self.assertEqual((response.status, response.body), (200, b"done"))
        self.assertIn("close", response.tokens("connection"))
        self.assertEqual(proxy.wait(), 0)
        self.assertTrue(proxy.find("stopped"))

    def test_the_deadline_ends_a_drain(self):
        origin = self.start_origin(raw(b"", "stall"))
        proxy = self.proxy_before(origin.port, drain={"deadline": "1s"})
        stuck = self.connect(proxy).send(wire.get())
        self.wait_until_asked(origin)
        proxy.stop()
        self.assertClosedOrAnswered(stuck)

    def assertClosedOrAnswered(self, connection):
        try:
            answer = connection.rest()
        except ConnectionResetError:
            answer = b""
        self.assertNotIn(b" 200 ", answer[:16])

    def check_second_signal(self, first, second):
        origin = self.start_origin(raw(b"", "stall"))
        proxy = self.proxy_before(origin.port, drain={"deadline": "10m"})
        self.connect(proxy).send(wire.get())
        self.wait_until_asked(origin)
        proxy.ended_by_test = True
        proxy.signal(first)
        proxy.wait_for("draining", reason=first.name)
        self.assertTrue(proxy.is_running)
        proxy.signal(second)
        proxy.wait()  # the deadline is ten minutes: only the second signal can end it in time

    def test_a_second_SIGTERM_exits_at_once(self):
        self.check_second_signal(signal.SIGTERM, signal.SIGTERM)

    def test_SIGINT_after_SIGTERM_exits_at_once(self):
        self.check_second_signal(signal.SIGTERM, signal.SIGINT)

    def test_SIGINT_drains_like_SIGTERM(self):
        proxy = self.proxy_before(self.start_origin().port)
        self.assertEqual(self.fetch(proxy).status, 200)
        proxy.ended_by_test = True
        proxy.signal(signal.SIGINT)
        self.assertEqual(proxy.wait(), 0)
        self.assertEqual(proxy.wait_for("draining")["reason"], "SIGINT")

    def test_an_idle_proxy_with_idle_clients_stops(self):
        proxy = self.proxy_before(self.start_origin().port, drain={"deadline": "10m"})
        for _ in range(20):
            self.assertEqual(self.connect(proxy).send(wire.get()).response().status, 200)
        proxy.stop()


@on_both_engines
class Signals(SystemCase):
    def test_SIGPIPE_is_harmless(self):
        proxy = self.proxy_before(self.start_origin().port)
        for _ in range(20):
            proxy.signal(signal.SIGPIPE)
            self.assertEqual(self.fetch(proxy).status, 200)

    def test_a_storm_of_SIGUSR1_under_load(self):
        proxy = self.proxy_before(self.start_origin().port)
        connection = self.connect(proxy)
        for _ in range(300):
            proxy.signal(signal.SIGUSR1)
            self.assertEqual(connection.send(wire.get()).response().status, 200)
        connection.close()
        proxy.settle({"connections": 0})

    def test_a_log_reader_that_went_away_is_harmless(self):
        origin = self.start_origin()
        config = self.settings_for(origin.port)
        proxy = Proxy(self.folder, config)
        process = subprocess.Popen(
            proxy.command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        try:
            for line in process.stderr:
                if b" ready" in line:
                    break
            process.stderr.close()
            port = int(config["listeners"][0]["address"].rpartition(":")[2])
            for _ in range(10):
                process.send_signal(signal.SIGUSR1)  # makes it write to the broken pipe
                self.assertEqual(self.fetch(None, port=port).status, 200)
            process.send_signal(signal.SIGTERM)
            self.assertEqual(process.wait(settings.HANG), 0)
        finally:
            process.kill()

    def test_a_log_reader_that_does_not_read_delays_nobody(self):
        origin = self.start_origin()
        config = self.settings_for(origin.port)
        proxy = Proxy(self.folder, config)
        reading, writing = os.pipe()
        process = subprocess.Popen(
            proxy.command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=writing,
            start_new_session=True,
        )
        os.close(writing)
        self.addCleanup(os.close, reading)
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        seen = b""
        while b" ready" not in seen:
            part = os.read(reading, 65536)
            self.assertTrue(part, seen)
            seen += part
        port = int(config["listeners"][0]["address"].rpartition(":")[2])
        # Each line is some 200 bytes and a pipe holds 64 KiB: this is three times as much.
        for _ in range(1000):
            process.send_signal(signal.SIGUSR1)
            self.assertEqual(self.fetch(None, port=port).status, 200)

    def test_a_start_right_after_a_kill_gets_the_address(self):
        # The kernel ends a killed process's ring, and the listeners in it, a moment later.
        # A UNIX socket shows it best: there is no SO_REUSEADDR that would look past them.
        address = f"unix:{self.folder}/listener"
        origin = self.start_origin()
        for _ in range(3):
            for end in ("kill", "stop"):
                proxy = Proxy(
                    self.folder,
                    arguments=["run", "--from", address, "--to", f"127.0.0.1:{origin.port}"]
                    + ["--engine", self.engine, "--workers", "2"],
                )
                self.addCleanup(proxy.clean_up)
                proxy.start()
                with socket.socket(socket.AF_UNIX) as client:
                    client.settimeout(settings.HANG)
                    client.connect(f"{self.folder}/listener")
                    client.sendall(wire.get(Connection="close"))
                    self.assertTrue(client.recv(65536).startswith(b"HTTP/1.1 200 "))
                proxy.kill() if end == "kill" else proxy.stop()

    def test_a_stop_and_start_on_the_same_port_under_requests(self):
        origin = self.start_origin()
        proxy = self.proxy_before(origin.port)
        for _ in range(3):
            self.assertEqual(self.fetch(proxy).status, 200)
            proxy.stop()
            proxy.ended_by_test = False
            proxy.start()
        self.assertEqual(self.fetch(proxy).status, 200)


if __name__ == "__main__":
    unittest.main()
