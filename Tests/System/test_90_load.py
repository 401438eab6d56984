"""Layer 9: the load generator against real servers, and what comes out of it.

Nothing timed decides: what is checked is what was sent, what was counted, and that the words about
it are true.
"""

import json
import os
import pty
import re
import select
import signal
import struct
import subprocess
import time
import unittest

from harness import certificates, proxy, settings, wire
from harness.case import on_both_engines
from harness.loading import QUIET, LoadCase


def slow(served):
    """Answers after a while, so that what is in flight shows."""
    while served.request():
        time.sleep(0.05)
        served.answer(b"slow\n")


def by_path(served):
    while message := served.request():
        if message.target == "/503":
            served.answer(b"no\n", status="503 Service Unavailable")
        elif message.target == "/short":
            served.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc")
            return
        elif message.target == "/garbage":
            served.send(b"SSH-2.0-x\r\n\r\n")
            return
        elif message.target == "/chunked":
            served.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n")
        else:
            served.answer(b"fine\n")


@on_both_engines
class Load(LoadCase):
    def test_as_many_requests_as_asked_for_arrive_and_no_more(self):
        nginx = self.start_nginx(access_log=True)
        (nginx.files / "f").write_bytes(b"x" * 128)
        result, said = self.load(self.url(nginx.port, "/f"), "--requests", 5000, "--connections", 20, *QUIET)
        self.assertEqual(result["completed"], 5000)
        self.assertEqual(result["failures"], {})
        self.assertEqual(result["statuses"], {"200": 5000})
        self.consistent(result)
        self.assertIn("5,000 of 5,000 requests, 0 failed", said)
        time.sleep(0.2)
        lines = (nginx.directory / "access.log").read_text().splitlines()
        self.assertEqual(lines.count("GET /f 200"), 5000)

    def test_an_open_loop_plans_its_rate_and_keeps_it(self):
        nginx = self.start_nginx()
        for pacing in ([], ["--poisson", "--seed", "7"]):
            result, _ = self.load(self.url(nginx.port, "/empty"), "--rate", 500, "--duration", "1s", *pacing, *QUIET)
            self.consistent(result, late=result["completed"])
            if not pacing:
                self.assertEqual(result["planned"], 500)
            else:
                # Poisson with a mean of 500: five deviations.
                self.assertAlmostEqual(result["planned"], 500, delta=112)
            self.assertEqual(result["completed"], result["planned"])

    def test_over_tls_with_and_without_resumption(self):
        origin = self.start_nginx()
        running = self.proxy_before(origin.port, tls=self.site_tls)
        url = self.url(running.port, "/empty", "https")
        common = ("--requests", 200, "--requests-per-connection", 10, "--connections", 4, *QUIET)
        full, _ = self.load(url, "--insecure", *common)
        self.assertEqual((full["completed"], full["handshakesResumed"]), (200, 0))
        self.assertGreaterEqual(full["handshakes"], 16)
        resumed, _ = self.load(url, "--insecure", "--resume", *common)
        self.assertEqual(resumed["completed"], 200)
        self.assertGreater(resumed["handshakesResumed"], resumed["handshakes"] // 2)

    def test_a_certificate_that_nobody_vouches_for_is_refused(self):
        running = self.proxy_before(self.start_nginx().port, tls=self.site_tls)
        _, said = self.load(self.url(running.port, "/", "https"), "--requests", 5, *QUIET, code=1)
        self.assertIn("tls", said.lower())

    def test_a_connection_for_each_request_of_a_server_that_does_not_close(self):
        origin = self.start_origin(by_path)
        result, _ = self.load(self.url(origin.port), "--requests", 60, "--requests-per-connection", 1, "--connections", 3, *QUIET)
        self.assertEqual(result["completed"], 60)
        self.assertGreaterEqual(result["connectionsOpened"], 57)

    def test_a_connection_for_each_request_of_a_server_that_closes(self):
        nginx = self.start_nginx()
        result, _ = self.load(self.url(nginx.port, "/empty"), "--requests", 60, "--requests-per-connection", 1, "--connections", 3, *QUIET)
        self.assertEqual((result["completed"], result["failures"]), (60, {}))
        self.assertGreaterEqual(result["connectionsOpened"], 57)

    def test_a_server_that_ends_connections_itself_loses_no_request(self):
        # nginx answers the tenth request of each connection with Connection: close; what had been
        # pipelined behind it is asked again elsewhere.
        nginx = self.start_nginx(keepalive_requests=10, access_log=True)
        for depth in (1, 4):
            with self.subTest(depth=depth):
                result, _ = self.load(
                    self.url(nginx.port, "/empty"), "--requests", 1000, "--in-flight", depth,
                    "--connections", 4, *QUIET)
                self.assertEqual((result["completed"], result["failures"]), (1000, {}))
                self.assertGreaterEqual(result["connectionsOpened"], 100)

    def test_a_server_that_closes_at_once_is_not_hammered(self):
        accepted = []
        origin = self.start_origin(lambda served: accepted.append(served))
        result, _ = self.load(
            self.url(origin.port), "--rate", 10, "--duration", "1s", "--connections", 1, *QUIET, code=1)
        self.assertEqual((result["completed"], sum(result["failures"].values())), (0, 10))
        # Pauses double from 1 ms to 1 s, and anew after each request: seven between two of the ten.
        # Without them there are as many connections as the machine can make, thousands.
        self.assertGreater(len(accepted), 10)
        self.assertLess(len(accepted), 300)

    def test_slow_readers_read_slowly_beside_the_others(self):
        nginx = self.start_nginx()
        content = os.urandom(8192)
        (nginx.files / "f").write_bytes(content)
        (self.folder / "expected").write_bytes(content)
        result, _ = self.load(
            self.url(nginx.port, "/f"), "--duration", "2s", "--connections", 4, "--slow-readers", 2,
            "--slow-reader-rate", "32KiB", "--expect-content-file", self.folder / "expected", *QUIET)
        self.consistent(result, late=2)
        self.assertEqual((result["failures"], result["slowReaderFailures"]), ({}, 0))
        # 2 s of 32 KiB/s are eight responses for each of the two; the first of each is free.
        self.assertGreater(result["slowReaderResponses"], 0)
        self.assertLessEqual(result["slowReaderResponses"], 2 * (8 * result["seconds"] / 2 + 2))
        self.assertGreater(result["completed"], 10 * result["slowReaderResponses"])

    def test_pipelines_keep_their_order(self):
        nginx = self.start_nginx()
        (nginx.files / "f").write_bytes(b"y" * 5000)
        result, _ = self.load(
            self.url(nginx.port, "/f"), "--requests", 2000, "--in-flight", 16, "--connections", 2,
            "--expect-content-file", nginx.files / "f", *QUIET)
        self.assertEqual((result["completed"], result["failures"]), (2000, {}))

    def test_uploads_arrive_whole(self):
        nginx = self.start_nginx()
        content = os.urandom(300_000)
        (self.folder / "up").write_bytes(content)
        result, _ = self.load(
            self.url(nginx.port, "/put/a"), "--method", "PUT", "--content-file", self.folder / "up",
            "--requests", 30, "--connections", 3, *QUIET)
        self.assertEqual(result["completed"], 30)
        self.assertEqual((nginx.files / "put" / "a").read_bytes(), content)
        self.assertGreater(result["bytesSent"], 30 * len(content))

    def test_each_kind_of_failure_has_its_name(self):
        origin = self.start_origin(by_path)
        cases = {
            "/503": "status", "/short": "closed", "/garbage": "protocol",
        }
        for path, name in cases.items():
            with self.subTest(path=path):
                result, _ = self.load(self.url(origin.port, path), "--requests", 6, "--connections", 2, *QUIET, code=1)
                self.assertEqual(result["failures"], {name: 6})
        (self.folder / "other").write_bytes(b"other")
        result, _ = self.load(
            self.url(origin.port, "/chunked"), "--requests", 4, "--connections", 1,
            "--expect-content-file", self.folder / "other", *QUIET, code=1)
        self.assertEqual(sum(result["failures"].values()), 4)
        self.assertLessEqual(set(result["failures"]), {"content", "length"})

    def test_a_mix_is_sent_by_its_weights(self):
        origin = self.start_origin(by_path)
        (self.folder / "mix.yaml").write_text(
            "requests:\n"
            "  - {target: /often, weight: 3}\n"
            "  - {name: post, method: POST, target: /chunked, content: 'a=1', fields: [{name: X-Kind, value: mix}]}\n"
            "  - {target: /never, weight: 0}\n")
        result, said = self.load(self.url(origin.port), "--mix", self.folder / "mix.yaml", "--requests", 800, "--connections", 4, *QUIET)
        shares = {one["name"]: one["completed"] for one in result["requests"]}
        self.assertEqual(sum(shares.values()), 800)
        # A quarter of 800, six deviations.
        self.assertAlmostEqual(shares["post"], 200, delta=74)
        targets = [message.target for message in origin.requests]
        self.assertNotIn("/never", targets)
        posts = [m for m in origin.requests if m.target == "/chunked"]
        self.assertEqual(len(posts), shares["post"])
        self.assertTrue(all(m.method == "POST" and m.body == b"a=1" for m in posts))
        self.assertTrue(all(m.tokens("x-kind") == ["mix"] for m in posts))
        self.assertIn("post", said)

    def test_an_access_log_is_replayed_line_by_line(self):
        origin = self.start_origin(by_path)
        result, said = self.load(self.url(origin.port), "--replay", self.replay_log(30), "--speed", 10, "--connections", 4, *QUIET)
        self.assertEqual((result["pacing"], result["completed"]), ("replay", 30))
        self.assertCountEqual([m.target for m in origin.requests], [f"/r{i}" for i in range(30)])
        self.assertIn("30 requests", said)
        self.assertNotIn("cuts the log", said)

    def test_a_log_is_counted_from_its_first_request_to_its_last(self):
        # A warm-up, which a load otherwise has, would leave out more than half of these 1.5 s.
        origin = self.start_origin(by_path)
        result, _ = self.load(
            self.url(origin.port), "--replay", self.replay_log(30), "--speed", 2, "--connections", 4, "--no-progress")
        self.assertEqual((result["planned"], result["completed"]), (30, 30))
        self.consistent(result, late=30)

    def test_a_duration_that_cuts_a_log_is_told(self):
        origin = self.start_origin(by_path)
        result, said = self.load(
            self.url(origin.port), "--replay", self.replay_log(30), "--duration", "1s", "--connections", 4, *QUIET)
        self.assertEqual(result["planned"], 10)
        self.assertIn("--duration truncates the log: the run ends 1.00 s into it, after 10 of its 30 requests", said)

    def test_a_log_of_one_moment_is_replayed(self):
        origin = self.start_origin(by_path)
        log = self.folder / "burst.log"
        log.write_text("".join(f'{{"msec":"12.5","request":"GET /r{i} HTTP/1.1"}}\n' for i in range(30)))
        result, _ = self.load(self.url(origin.port), "--replay", log, "--connections", 4, "--no-progress")
        self.assertEqual((result["completed"], result["failures"]), (30, {}))
        self.assertGreater(result["completedRate"], 0)

    def test_a_log_with_lines_that_cannot_be_sent_is_replayed_without_them(self):
        origin = self.start_origin(by_path)
        log = self.folder / "odd.log"
        log.write_text("".join(f"{{{time},\"request\":\"GET /{i} HTTP/1.1\"}}\n" for i, time in enumerate((
            '"msec":"12.5"', '"msec":1795250321125', '"time":"0001-01-01T00:00:00Z"'))))
        result, said = self.load(self.url(origin.port), "--replay", log, *QUIET)
        self.assertEqual([m.target for m in origin.requests], ["/0"])
        self.assertEqual(result["completed"], 1)
        self.assertIn("skipped: 2 with a time before 1970 or after 2199", said)

    def test_expectations_decide_the_exit_status(self):
        origin = self.start_origin(by_path)
        url, common = self.url(origin.port), ("--requests", 50, "--connections", 2, *QUIET)
        _, said = self.load(url, "--expect", "p99<60s", "--expect", "errors<=0%", *common)
        self.assertEqual(said.count("\npassed: "), 2)
        _, said = self.load(url, "--expect", "p50<1ns", *common, code=3)
        self.assertIn("FAILED: p50<1ns", said)
        _, said = self.load(url, "--expect", "p50", *common, code=2)
        self.assertIn("for example p99<5ms", said)

    def test_nobody_there_is_an_error_that_says_so(self):
        with wire.socket.socket() as nobody:
            nobody.bind(("127.0.0.1", 0))
            port = nobody.getsockname()[1]
            _, said = self.load(self.url(port), "--requests", 5, *QUIET, code=1)
        self.assertIn(f"127.0.0.1:{port}", said)
        self.assertIn("refused", said.lower())

    def test_an_interrupt_ends_it_early_with_results(self):
        origin = self.start_origin(slow)
        path = self.folder / "early.json"
        running = subprocess.Popen(
            [settings.BINARY, "load", "--engine", self.engine, "--json", path, "--duration", "60s",
             "--connections", "2", *QUIET, self.url(origin.port)],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        self.addCleanup(running.kill)
        while len(origin.requests) < 6:
            time.sleep(0.02)
        running.send_signal(signal.SIGINT)
        said, _ = running.communicate(timeout=settings.HANG)
        self.assertEqual(running.returncode, 130, said)
        self.assertGreaterEqual(json.loads(path.read_text())["completed"], 2)
        self.assertIn("successful responses per second", said)

    def test_a_terminal_sees_the_course_in_one_line(self):
        origin = self.start_origin(slow)
        for width in (40, 120):
            with self.subTest(width=width):
                controller, terminal = pty.openpty()
                import fcntl
                import termios
                fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 24, width, 0, 0))
                running = subprocess.Popen(
                    [settings.BINARY, "load", "--engine", self.engine, "--duration", "1s", "--warm-up",
                     "0s", "--connections", "2", self.url(origin.port)],
                    stdout=subprocess.DEVNULL, stderr=terminal, env={**os.environ, "TERM": "xterm"})
                os.close(terminal)
                seen = b""
                while running.poll() is None or select.select([controller], [], [], 0)[0]:
                    if select.select([controller], [], [], 0.1)[0]:
                        try:
                            seen += os.read(controller, 65536)
                        except OSError:
                            break
                os.close(controller)
                text = re.sub(r"\x1b\[K", "", seen.decode())
                drawn = [line for line in re.split(r"[\r\n]+", text) if line]
                self.assertGreater(len(drawn), 1, text)
                self.assertTrue(all(len(line) < width for line in drawn), drawn)
                self.assertTrue(any("running" in line and "left" in line for line in drawn), drawn)
                self.assertNotIn("\n", text.rstrip("\r\n"))

    def test_two_threads_share_the_work(self):
        nginx = self.start_nginx()
        result, _ = self.load(self.url(nginx.port, "/empty"), "--threads", 2, "--connections", 8, "--requests", 3001, *QUIET)
        self.assertEqual((result["threads"], result["completed"]), (2, 3001))
        self.consistent(result)

    def test_invalid_arguments_are_reported_with_a_hint(self):
        log = str(self.replay_log(30))
        mix = str(self.folder / "mix.yaml")
        (self.folder / "mix.yaml").write_text("requests: [{target: /}]\n")
        for words, said_words in (
            (["--rate", "0"], "--rate"), (["--duration", "5d"], "unit"), (["--timeout", "1d"], "unit"),
            (["--connections", "0"], "--connections"), (["--engine", "kqueue"], "io_uring or epoll"),
            (["--cpus", "999"], "may not use"), (["--header", "nocolon"], "Accept"),
            (["--poisson"], "--rate"), (["--replay", "/none"], "/none"),
            (["--content", "a", "--content-size", "1"], "conflicts with another content flag"),
            (["--replay", log, "--speed", "0"], "--speed"), (["--replay", log, "--speed", "-1"], "--speed"),
            (["--replay", log, "--speed", "nan"], "--speed"), (["--replay", log, "--speed", "1e-300"], "--speed"),
            (["--replay", log, "http://127.0.0.1:2/"], "2 times, but --replay"),
            (["--mix", mix, "http://127.0.0.1:2/"], "put the other servers into the mix"),
        ):
            with self.subTest(words=words):
                ended, out, errors = proxy.run_to_end(["load", *words, "http://127.0.0.1:1/"])
                self.assertEqual(ended, 2, out + errors)
                self.assertIn(said_words, out + errors)


if __name__ == "__main__":
    unittest.main()
