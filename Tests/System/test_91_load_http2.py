"""Layer 9: the load generator over HTTP/2, against nginx's. What was asked is read from nginx's own log.
"""

import collections
import os
import time
import unittest

from harness import certificates
from harness.case import on_both_engines
from harness.loading import QUIET, LoadCase


@on_both_engines
class LoadHTTP2(LoadCase):
    def setUp(self):
        super().setUp()
        self.trust = ("--http2", "--ca", certificates.authority().certificate, *QUIET)

    def start(self, **options):
        return self.start_nginx(http2=certificates.site(), **options)

    def content(self, nginx, size):
        """Puts /f onto the server. - Returns: what makes the load compare it."""
        content = os.urandom(size)
        nginx.add("f", content)
        (self.folder / "expected").write_bytes(content)
        return "--expect-content-file", self.folder / "expected"

    def seen(self, nginx, count):
        """nginx's lines: protocol, connection, whether the session was resumed."""
        deadline = time.monotonic() + 5
        while True:
            lines = [line.split() for line in (nginx.directory / "how.log").read_text().splitlines()]
            if len(lines) >= count or time.monotonic() > deadline:
                return lines
            time.sleep(0.02)

    def test_over_tls_as_many_requests_arrive_as_asked_for(self):
        nginx = self.start()
        result, _ = self.load(
            self.url(nginx.tls_port, "/f", "https"), "--requests", 3000, "--connections", 5,
            *self.content(nginx, 128), *self.trust)
        self.assertEqual((result["completed"], result["failures"]), (3000, {}))
        self.assertEqual(result["statuses"], {"200": 3000})
        self.consistent(result)
        lines = self.seen(nginx, 3000)
        self.assertEqual(collections.Counter(line[0] for line in lines), {"HTTP/2.0": 3000})
        self.assertLessEqual(len({line[1] for line in lines}), 5)

    def test_without_tls_by_prior_knowledge(self):
        nginx = self.start()
        result, _ = self.load(
            self.url(nginx.clear_port, "/f"), "--requests", 2000, "--connections", 2,
            *self.content(nginx, 5000), "--http2", *QUIET)
        self.assertEqual((result["completed"], result["failures"]), (2000, {}))
        self.assertEqual({line[0] for line in self.seen(nginx, 2000)}, {"HTTP/2.0"})

    def test_many_streams_at_once_share_windows_and_stay_apart(self):
        nginx = self.start()
        result, _ = self.load(
            self.url(nginx.tls_port, "/f", "https"), "--requests", 600, "--connections", 3,
            "--in-flight", 32, *self.content(nginx, 200_000), *self.trust)
        self.assertEqual((result["completed"], result["failures"]), (600, {}))
        self.assertGreater(result["bytesReceived"], 600 * 200_000)
        # More than nginx lets be open at one time (128): the rest waits.
        result, _ = self.load(
            self.url(nginx.tls_port, "/empty", "https"), "--requests", 2000, "--connections", 1,
            "--in-flight", 300, *self.trust)
        self.assertEqual((result["completed"], result["failures"]), (2000, {}))

    def test_an_open_loop_keeps_its_rate(self):
        nginx = self.start()
        result, _ = self.load(
            self.url(nginx.tls_port, "/empty", "https"), "--rate", 500, "--duration", "1s",
            "--connections", 4, "--in-flight", 4, *self.trust)
        self.consistent(result, late=result["completed"])
        self.assertEqual((result["planned"], result["completed"]), (500, 500))

    def test_connections_are_replaced_and_sessions_resumed(self):
        nginx = self.start()
        common = ("--requests", 200, "--requests-per-connection", 10, "--connections", 4, *self.trust)
        full, _ = self.load(self.url(nginx.tls_port, "/empty", "https"), *common)
        self.assertEqual((full["completed"], full["handshakesResumed"]), (200, 0))
        self.assertGreaterEqual(full["connectionsOpened"], 20)
        by_connection = collections.Counter(line[1] for line in self.seen(nginx, 200))
        self.assertLessEqual(max(by_connection.values()), 10)
        resumed, _ = self.load(self.url(nginx.tls_port, "/empty", "https"), "--resume", *common)
        self.assertEqual((resumed["completed"], resumed["failures"]), (200, {}))
        self.assertGreater(resumed["handshakesResumed"], resumed["handshakes"] // 2)
        self.assertGreater(sum(line[2:] == ["r"] for line in self.seen(nginx, 400)), 100)

    def test_a_server_that_says_goaway_loses_no_request(self):
        nginx = self.start(keepalive_requests=25)
        for depth in (1, 8):
            with self.subTest(depth=depth):
                result, _ = self.load(
                    self.url(nginx.tls_port, "/empty", "https"), "--requests", 1000,
                    "--in-flight", depth, "--connections", 3, *self.trust)
                self.assertEqual((result["completed"], result["failures"]), (1000, {}))
                self.assertGreaterEqual(result["connectionsOpened"], 1000 // 25)

    def test_uploads_arrive_whole(self):
        nginx = self.start()
        content = os.urandom(1_000_000)
        (self.folder / "up").write_bytes(content)
        for depth in (1, 4):
            with self.subTest(depth=depth):
                result, _ = self.load(
                    self.url(nginx.tls_port, f"/put/d{depth}", "https"), "--method", "PUT",
                    "--content-file", self.folder / "up", "--requests", 24, "--connections", 2,
                    "--in-flight", depth, *self.trust)
                self.assertEqual((result["completed"], result["failures"]), (24, {}))
                self.assertSameBytes((nginx.files / "put" / f"d{depth}").read_bytes(), content)
                self.assertGreater(result["bytesSent"], 24 * len(content))

    def test_slow_readers_read_slowly_beside_the_others(self):
        nginx = self.start()
        result, _ = self.load(
            self.url(nginx.tls_port, "/f", "https"), "--duration", "2s", "--connections", 4,
            "--slow-readers", 2, "--slow-reader-rate", "32KiB", *self.content(nginx, 8192),
            *self.trust)
        self.consistent(result, late=2)
        self.assertEqual((result["failures"], result["slowReaderFailures"]), ({}, 0))
        self.assertGreater(result["slowReaderResponses"], 0)
        self.assertLessEqual(result["slowReaderResponses"], 2 * (8 * result["seconds"] / 2 + 2))
        self.assertGreater(result["completed"], 10 * result["slowReaderResponses"])

    def test_a_mix_and_a_log_are_sent_over_streams(self):
        nginx = self.start(access_log=True)
        url = self.url(nginx.tls_port, "", "https")
        (self.folder / "mix.yaml").write_text(
            "requests:\n"
            "  - {name: get, target: /empty, weight: 3}\n"
            "  - {name: moved, target: /moved}\n")
        result, _ = self.load(
            url, "--mix", self.folder / "mix.yaml", "--requests", 800, "--connections", 2,
            "--in-flight", 4, *self.trust)
        shares = {one["name"]: one["completed"] for one in result["requests"]}
        self.assertEqual(result["statuses"], {"204": shares["get"], "301": shares["moved"]})
        # A quarter of 800, six deviations.
        self.assertAlmostEqual(shares["moved"], 200, delta=74)
        for i in range(30):
            nginx.add(f"r{i}", b"x")
        replayed, _ = self.load(
            url, "--replay", self.replay_log(30), "--speed", 10, "--connections", 2, *self.trust)
        self.assertEqual((replayed["pacing"], replayed["completed"]), ("replay", 30))

    def test_failures_belong_to_their_streams(self):
        nginx = self.start()
        nginx.add("f", b"x")
        result, _ = self.load(
            self.url(nginx.tls_port, "/missing", "https"), "--requests", 40, "--connections", 1,
            "--in-flight", 4, *self.trust, code=1)
        self.assertEqual((result["failures"], result["connectionsOpened"]), ({"status": 40}, 1))

    def test_a_server_without_http2_is_named(self):
        config = self.settings_for(self.start().port, tls=self.site_tls)
        config["listeners"][0]["http_versions"] = ["http/1.1"]
        running = self.start_proxy(config)
        _, said = self.load(
            self.url(running.port, "/empty", "https"), "--requests", 5, *self.trust, code=1)
        self.assertIn("no application protocol", said)

    def test_an_answer_that_is_not_http2_is_a_protocol_failure(self):
        def older(served):
            served.fill()
            served.send(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
            served.stall()

        origin = self.start_origin(older)
        result, _ = self.load(
            self.url(origin.port), "--requests", 5, "--connections", 1, "--http2", *QUIET, code=1)
        self.assertEqual(result["failures"], {"protocol": 5})


if __name__ == "__main__":
    unittest.main()
