"""Layer 9: the command lines of `load`, `origin`, `compare` and `report`: what a flag means as it is
typed first, and help texts that fit a terminal.
"""

import re
import unittest

from harness import ports, proxy, wire
from harness.case import SystemCase, on_both_engines
from harness.loading import LoadCase, RunningOrigin

LAB = ("load", "origin", "compare", "report", "doctor")


@on_both_engines
class Requests(LoadCase):
    def test_a_bound_on_requests_is_what_is_sent(self):
        origin = self.start_origin()
        for flags in (
            [], ["--threads", 3], ["--connections", 2, "--in-flight", 4], ["--rate", 400],
            ["--rate", 400, "--poisson"], ["--requests-per-connection", 1],
        ):
            for count in (1, 10):
                with self.subTest(flags=flags, count=count):
                    origin.forget()
                    result, _ = self.load(
                        self.url(origin.port), "--requests", count, "--no-progress", *flags)
                    self.assertEqual(result["completed"], count)
                    self.assertEqual(len(origin.requests), count)

    def test_a_warm_up_beside_a_bound_is_refused(self):
        url = "http://127.0.0.1:1/"
        code, _, errors = proxy.run_to_end(["load", "--requests", 10, "--warm-up", "1s", url])
        self.assertEqual(code, 2)
        self.assertIn("--warm-up", errors)
        self.assertIn("--requests", errors)

    def test_a_plain_number_is_seconds(self):
        origin = self.start_origin()
        result, _ = self.load(
            self.url(origin.port), "--duration", "0.3", "--warm-up", "0", "--timeout", "5",
            "--no-progress", "--connections", 2)
        self.assertGreater(result["completed"], 0)
        for text in ("0", "0.0001", "99999999999", ".", "-1", "1e3", "10x"):
            code, _, errors = proxy.run_to_end(["load", f"--duration={text}", "http://127.0.0.1:1/"])
            self.assertEqual(code, 2, text)
            self.assertIn("--duration", errors)
        for text in ("0.4", "3601", "5x"):
            code, _, errors = proxy.run_to_end(["compare", f"--duration={text}"])
            self.assertEqual(code, 2, text)
            self.assertIn("--duration", errors)


@on_both_engines
class Addresses(LoadCase):
    def start_lab_origin(self, *words):
        number = len(list(self.folder.glob("origin-*.log")))
        log = self.folder / f"origin-{number}.log"
        origin = RunningOrigin(["--engine", self.engine, *words], log)
        self.addCleanup(lambda: origin.process.poll() is None and origin.end())
        return origin.ready(words.count("--port") + words.count("--listen"))

    def test_a_second_origin_on_one_address_is_refused(self):
        port = ports.free_port()
        path = self.folder / "o.sock"
        first = self.start_lab_origin(
            "--listen", f"127.0.0.1:{port}", "--listen", f"unix:{path}", "--threads", 2)
        for words, name in (
            (["--listen", f"127.0.0.1:{port}"], str(port)), (["--port", port], str(port)),
            (["--listen", f"unix:{path}"], str(path)),
        ):
            code, out, errors = proxy.run_to_end(["origin", "--engine", self.engine, *words])
            self.assertEqual(code, 1, errors)
            self.assertEqual(out, "")
            self.assertIn(name, errors)
            self.assertIn("in use", errors)
        asked = wire.Wire.connect(port)
        self.addCleanup(asked.close)
        self.assertEqual(asked.send(wire.get()).response().status, 200)
        asked.close()
        self.assertEqual(first.end(), 0)

    def test_a_port_is_one_of_loopback(self):
        port = ports.free_port()
        origin = self.start_lab_origin("--port", port)
        self.assertTrue(proxy.is_listening(port))
        self.assertEqual(origin.end(), 0)
        for number in (-1, 65536):
            code, _, errors = proxy.run_to_end(["origin", f"--port={number}"])
            self.assertEqual(code, 2)
            self.assertIn("--port", errors)


class Help(SystemCase):
    def overview(self, command):
        code, out, _ = proxy.run_to_end([*command, "--help"], environment={"COLUMNS": "80"})
        self.assertEqual(code, 0)
        return out

    def test_no_paragraph_is_wrapped_twice(self):
        commands = [[name] for name in LAB]
        commands += [["audit", name] for name in ("verify", "cat", "tail")]
        for command in commands:
            with self.subTest(command=command):
                text = self.overview(command).partition("USAGE:")[0]
                for paragraph in text.split("\n\n"):
                    lines = paragraph.splitlines()
                    if any(re.search(r"\w:? {2,}millrace", line) for line in lines):
                        self.assertLessEqual(max(map(len, lines)), 80, paragraph)
                        continue
                    for line, after in zip(lines, lines[1:]):
                        # A line ends where its successor's first word did not fit.
                        word = after.split()[0]
                        self.assertGreaterEqual(len(line) + 1 + len(word), 79, paragraph)

    def test_every_log_level_is_listed(self):
        text = self.overview(["run"])
        code, _, errors = proxy.run_to_end(["run", "--log-level", "loud", "x.yaml"])
        self.assertNotEqual(code, 0)
        for level in ("trace", "debug", "info", "notice", "warning", "error", "critical"):
            self.assertIn(level, text)
            self.assertIn(level, errors)

    def test_texts_are_those_of_other_tools(self):
        text = self.overview(["load"])
        for wanted in ("Skip certificate verification", "Measured duration", "Trust the CAs"):
            self.assertIn(wanted, text)
        for command in LAB:
            self.assertNotRegex(self.overview([command]), r"[Bb]elieve|otherwise|by itself|anew")


if __name__ == "__main__":
    unittest.main()
