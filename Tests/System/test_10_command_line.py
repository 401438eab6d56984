"""Layer 1: the command line. What `--help`, `--version`, `check` and wrong words do.

Everything here ends by itself, except the proxy that is started from flags alone.
"""

import socket
import unittest

from harness import auditlog, certificates, configuration, ports, proxy, settings
from harness.case import SystemCase, on_both_engines

COMMANDS = [[], ["run"], ["check"], ["doctor"], ["audit"], ["audit", "verify"]]
COMMANDS += [["audit", "cat"], ["audit", "tail"]]


class Words(SystemCase):
    """No engine runs here."""

    def test_help_is_everywhere_and_succeeds(self):
        for command in COMMANDS:
            with self.subTest(command=command):
                code, out, _ = proxy.run_to_end([*command, "--help"])
                self.assertEqual(code, 0)
                self.assertRegex(out.lower(), r"usage")

    def test_version_is_everywhere_and_succeeds(self):
        for command in COMMANDS:
            with self.subTest(command=command):
                code, out, _ = proxy.run_to_end([*command, "--version"])
                self.assertEqual(code, 0)
                self.assertRegex(out, r"\d+\.\d+")

    def test_an_unknown_command_is_named_and_refused(self):
        code, _, errors = proxy.run_to_end(["rnu", "x.yaml"])
        self.assertNotEqual(code, 0)
        self.assertIn("rnu", errors)

    def test_an_unknown_option_is_named_and_refused(self):
        code, _, errors = proxy.run_to_end(["run", "--form", ":1", "--to", "127.0.0.1:2"])
        self.assertNotEqual(code, 0)
        self.assertIn("--form", errors)

    def test_a_file_that_is_not_there_is_named(self):
        for command in ("run", "check"):
            with self.subTest(command=command):
                code, _, errors = proxy.run_to_end([command, self.folder / "absent.yaml"])
                self.assertEqual(code, 2)
                self.assertIn("absent.yaml", errors)

    def test_check_accepts_a_good_file_and_does_not_listen(self):
        config = self.settings_for(ports.free_port())
        config["engine"] = "auto"
        file = self.folder / "good.yaml"
        file.write_text(configuration.render(config) + "\n", encoding="utf-8")
        code, _, errors = proxy.run_to_end(["check", file])
        self.assertEqual(code, 0, errors)

    def test_verify_of_a_folder_that_is_not_there_fails_and_names_it(self):
        code, out = auditlog.AuditLog(self.folder / "absent").verify()
        self.assertNotEqual(code, 0)
        self.assertIn("absent", out)


@on_both_engines
class FromFlags(SystemCase):
    def run_from_flags(self, origin_port, *more):
        port = ports.free_port()
        arguments = ["run", "--from", f"127.0.0.1:{port}", "--to", f"127.0.0.1:{origin_port}"]
        arguments += ["--engine", self.engine, *map(str, more)]
        started = self.start_proxy(arguments=arguments)
        started.port = port
        return started

    def test_from_and_to_are_enough(self):
        started = self.run_from_flags(self.start_origin().port)
        self.assertEqual(self.fetch(started).status, 200)
        line = started.find("listening")[0]
        self.assertEqual(line["address"], f"127.0.0.1:{started.port}")
        self.assertEqual(line["tls"], "false")

    def test_tls_audit_and_workers_by_flags(self):
        certificate, key = certificates.site()
        folder = self.folder / "audit"
        started = self.run_from_flags(
            self.start_origin().port,
            *("--tls-certificate", certificate, "--tls-key", key),
            *("--audit", folder, "--workers", 2),
        )
        self.assertEqual(started.workers, 2)
        self.assertEqual(started.find("listening")[0]["tls"], "true")
        self.assertEqual(self.fetch(started, tls=True).status, 200)
        started.stop()
        self.assertEqual(len(auditlog.AuditLog(folder).requests()), 1)

    def test_an_address_in_use_is_named_and_nothing_runs(self):
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", ports.free_port()))
            taken.listen()
            port = taken.getsockname()[1]
            code, _, errors = proxy.run_to_end(
                ["run", "--from", f"127.0.0.1:{port}", "--to", "127.0.0.1:1"]
                + ["--engine", self.engine],
                wrapper=settings.WRAPPER,
            )
        self.assertNotEqual(code, 0)
        self.assertIn(str(port), errors)

    def test_flags_that_contradict_are_refused(self):
        certificate, _ = certificates.site()
        port = ports.free_port()
        code, _, errors = proxy.run_to_end(
            ["run", "--from", f"127.0.0.1:{port}", "--to", "127.0.0.1:1"]
            + ["--engine", self.engine, "--tls-certificate", certificate],
        )
        self.assertNotEqual(code, 0)
        self.assertIn("--tls-key", errors)

    def test_every_log_line_has_time_level_and_message(self):
        started = self.run_from_flags(self.start_origin().port)
        started.stop()
        text = started.log_path.read_text("utf-8")
        self.assertGreaterEqual(len(started.lines()), 4)
        for line in text.splitlines():
            self.assertRegex(line, r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z [a-z]+ \S")
        order = [line.message for line in started.lines()]
        wanted = ["engine selected", "listening", "ready", "draining", "stopped"]
        positions = [order.index(message) for message in wanted]
        self.assertEqual(positions, sorted(positions), order)


if __name__ == "__main__":
    unittest.main()
