"""Layer 6: metrics. What SIGUSR1 says, and what another process reads from the shared file in memory,
are the same figures; those by listener and by server add up to them."""

import os
import subprocess
import time
import unittest

from harness import configuration, ports, settings, wire
from harness.case import SystemCase, on_both_engines
from harness.metrics import VARIABLE, MetricFile

# Scripts read these by name.
KEYS = """
    connections exchanges upstream_connections upstream_idle leases frames operations timers coalesced_waits cold_bytes
    descriptors records responses requests accepted refused streams_refused accepted_elsewhere handed_over
    queues bad_requests fields_dropped upstream_connects upstream_reuses upstream_stale upstream_failures
    retries timeouts downstream_aborts handshakes handshake_failures tls_floods tls_stalls http2_floods
    http2_ping_timeouts
    upstream_handshakes upstream_handshakes_resumed upstream_handshake_failures
    audit_rejects audit_drops audit_waits
    unanswered_by_audit holds_expired holds_refused held_responses plans plans_installed plans_delayed frames_exhausted turns system_calls completions bytes_copied receives_starved
    sends_short frames_evacuated sq_full cq_overflows audit_records audit_commits
    tunnels tunnels_cut tunnels_open tunnel_passages access_log_lines access_log_dropped
    traces traces_dropped
""".split()


def total(figures, name, **labels):
    """The sum of a family over its rows and workers, of those with these labels."""
    found = [
        sum(values)
        for (family, *has), values in figures.items()
        if family == name and labels.items() <= dict(has).items()
    ]
    assert found, f"no {name} {labels}"
    return sum(found)


@on_both_engines
class Metrics(SystemCase):
    def start_shared(self, config, **options):
        file = MetricFile()
        self.addCleanup(file.close)
        proxy = self.start_proxy(
            config, environment=file.environment, descriptors=file.descriptors, **options
        )
        return proxy, file

    def test_the_line_and_the_shared_figures_agree_after_traffic(self):
        def script(served):
            while message := served.request():
                if message.target == "/missing":
                    served.answer(b"no", status="404 Not Found")
                else:
                    served.answer(b"ten bytes.")

        origin = self.start_origin(script)
        config = self.settings_for(origin.port, workers=2)
        proxy, file = self.start_shared(config)
        for _ in range(20):
            self.assertEqual(self.fetch(proxy).status, 200)
        for _ in range(3):
            self.assertEqual(self.fetch(proxy, wire.get("/missing")).status, 404)
        self.assertEqual(
            self.fetch(
                proxy, b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello", "POST"
            ).status,
            200,
        )
        self.assertEqual(self.fetch(proxy, b"BAD\r\n\r\n").status, 400)
        proxy.settle({"connections": 0, "exchanges": 0})
        line = proxy.counters()
        figures, notes = file.read()
        compared = 0
        for key, value in line.items():
            if (key,) in figures:
                # Publishing is a turn of its own, and may come once more after the line.
                if key in ("turns", "system_calls", "completions"):
                    self.assertGreaterEqual(sum(figures[(key,)]), value, key)
                else:
                    self.assertEqual(sum(figures[(key,)]), value, key)
                compared += 1
        self.assertGreater(compared, 40)
        self.assertEqual(sorted(line.keys() - {"worker", "engine"}), sorted(KEYS))
        self.assertEqual(line["requests"], 25)
        self.assertEqual(notes["engine"], self.engine)
        listener = {"listener": f"127.0.0.1:{proxy.port}"}
        self.assertEqual(total(figures, "listener_requests", **listener), 25)
        self.assertEqual(total(figures, "listener_accepted", **listener), line["accepted"])
        for status, count in (("2xx", 21), ("3xx", 0), ("4xx", 4), ("5xx", 0)):
            kind = {"class": status}
            self.assertEqual(total(figures, "listener_responses", **listener, **kind), count)
        server = {"upstream": "origin", "server": f"127.0.0.1:{origin.port}"}
        self.assertEqual(total(figures, "server_requests", **server), 24)
        self.assertEqual(total(figures, "server_responses", **server, **{"class": "2xx"}), 21)
        self.assertEqual(total(figures, "server_responses", **server, **{"class": "4xx"}), 3)
        self.assertEqual(total(figures, "server_request_bytes", **server), 5)
        self.assertEqual(total(figures, "server_response_bytes", **server), 21 * 10 + 3 * 2)
        self.assertEqual(total(figures, "server_connects", **server), line["upstream_connects"])
        self.assertEqual(total(figures, "server_reuses", **server), line["upstream_reuses"])
        self.assertEqual(total(figures, "server_failures", **server), 0)

    def test_figures_go_to_the_listener_and_the_server_that_they_are_of(self):
        origin = self.start_origin()
        gone = ports.free_port()
        config = self.settings_for(origin.port)
        other = ports.free_port()
        config["listeners"].append({**configuration.listener(other), "name": "other"})
        config["upstreams"]["gone"] = configuration.upstream(gone)
        config["routes"] = [
            {"match": {"path": "/gone"}, "upstream": "gone"},
            {"match": {"path": "/"}, "upstream": "origin"},
        ]
        proxy, file = self.start_shared(config)
        self.assertEqual(self.fetch(proxy).status, 200)
        for _ in range(2):
            self.assertEqual(self.fetch(proxy, wire.get("/gone"), port=other).status, 502)
        proxy.settle({"connections": 0, "exchanges": 0})
        figures, _ = file.read()
        first, second = f"127.0.0.1:{proxy.port}", f"127.0.0.1:{other}"
        self.assertEqual(total(figures, "listener_requests", listener=first), 1)
        self.assertEqual(total(figures, "listener_requests", listener=second), 2)
        self.assertEqual(total(figures, "listener_responses", listener=second, **{"class": "5xx"}), 2)
        self.assertEqual(total(figures, "server_responses", upstream="origin"), 1)
        # The answers were the proxy's own.
        self.assertEqual(total(figures, "server_responses", upstream="gone"), 0)
        self.assertEqual(total(figures, "server_failures", upstream="gone"), 2)
        self.assertGreaterEqual(total(figures, "server_connect_failures", upstream="gone"), 2)
        self.assertEqual(total(figures, "server_connect_failures", upstream="origin"), 0)

    def test_figures_come_without_being_asked_for(self):
        origin = self.start_origin()
        proxy, file = self.start_shared(self.settings_for(origin.port))
        self.assertEqual(self.fetch(proxy).status, 200)
        deadline = time.monotonic() + settings.HANG
        while total(file.read()[0], "published_responses") < 1:
            self.assertLess(time.monotonic(), deadline, "nothing was published")
            time.sleep(0.01)
        figures, _ = file.read()
        self.assertGreater(total(figures, "turns"), 0)
        self.assertGreater(total(figures, "published_at"), 0)
        self.assertEqual(proxy.find("counters"), [])

    def test_nobody_else_can_change_what_is_shared(self):
        proxy, file = self.start_shared(self.settings_for(self.start_origin().port))
        size = os.fstat(file.descriptor).st_size
        for change in (
            lambda: os.ftruncate(file.descriptor, 0),
            lambda: os.ftruncate(file.descriptor, size + 1),
            lambda: os.pwrite(file.descriptor, b"x", 0),
        ):
            with self.assertRaises(PermissionError):
                change()
        self.assertEqual(os.fstat(file.descriptor).st_mode & 0o777, 0o600)
        self.assertEqual(self.fetch(proxy).status, 200)


class Descriptor(SystemCase):
    """What is no unsealed file in memory is refused at the start, and not written to."""

    engine = "epoll"

    def test_other_descriptors_are_refused(self):
        config = self.folder / "millrace.yaml"
        config.write_text(configuration.render(self.settings_for(ports.free_port())))
        plain = open(self.folder / "plain", "w+b")
        self.addCleanup(plain.close)
        plain.write(b"kept")
        plain.flush()
        for value in (str(plain.fileno()), "2", "-1", "999999999", "99999999999", "x", ""):
            done = subprocess.run(
                [settings.BINARY, "run", str(config)],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=settings.HANG,
                env={**os.environ, VARIABLE: value},
                pass_fds=(plain.fileno(),),
                check=False,
            )
            self.assertEqual(done.returncode, 1, (value, done.stderr))
            self.assertIn(b"cannot set up metrics", done.stderr)
        self.assertEqual((self.folder / "plain").read_bytes(), b"kept")


if __name__ == "__main__":
    unittest.main()
