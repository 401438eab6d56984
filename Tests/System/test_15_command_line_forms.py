"""Layer 1: the forms in which people write the command line and the configuration first, and what they
are told when a form is wrong; files that are pipes; ids and levels in the log.
"""

import json
import os
import pathlib
import subprocess
import threading
import unittest

from harness import auditlog, certificates, configuration, ports, settings
from harness.case import SystemCase, add_table, on_both_engines
from harness.origin import raw
from harness.proxy import run_to_end

FILE = """listeners: [{{address: "127.0.0.1:{port}"}}]
upstreams: {{web: {{servers: ["127.0.0.1:3000"]{upstream}}}}}
{more}
"""


class Words(SystemCase):
    """What `check` says of a value: the right hint, or none that would be refused itself."""

    def check_text(self, text, code=2):
        file = self.folder / "m.yaml"
        file.write_text(text, encoding="utf-8")
        found, out, errors = run_to_end(["check", file])
        self.assertEqual(found, code, out + errors)
        return errors

    def check_row(self, more, upstream, wanted, unwanted=None):
        errors = self.check_text(FILE.format(port=8443, more=more, upstream=upstream))
        self.assertIn(wanted, errors)
        if unwanted:
            self.assertNotIn(unwanted, errors)

    def test_missing_files_are_told_with_all_other_errors(self):
        certificate, _ = certificates.site()
        _, other = certificates.authority().issue("other.test")
        text = json.dumps({
            "listeners": [{"address": "127.0.0.1:8443", "tls": {"certificates": [
                {"certificate": str(self.folder / "absent.pem"), "key": str(other)},
                {"certificate": str(certificate), "key": str(other)},
            ]}}],
            "upstreams": {"web": {"servers": ["127.0.0.1:3000"], "balanse": "x"}},
        })
        errors = self.check_text(text)
        self.assertIn("balanse", errors)
        self.assertIn("absent.pem", errors)
        self.assertRegex(errors, r"certificates\[1\]\.key \(")


add_table(Words, [
    ("response 0", "", ", timeouts: {response: 0}", "a duration from 1ms to 24h", "write 0s"),
    ("a number whose unit can only be one", "", ", timeouts: {response: 100000}",
     "write 100000ms for milliseconds", "100000s"),
    ("unlimited connections", "limits: {connections: unlimited}", "", "connections: 65536"),
    ("least_conn", "", ", balance: least_conn", "did you mean least_requests?"),
    ("a balance that is none", "", ", balance: zebra", "write one of them", "did you mean"),
    ("wait", "audit: {directory: /tmp, when_full: wait}", "", "did you mean block?"),
    ("pin no", "pin: no", "", "did you mean off?"),
    ("010s", "drain: {deadline: 010s}", "", "write it without the 0"),
    ("010KiB", "limits: {request_head: 010KiB}", "", "write it without the 0"),
    ("workers 010", "workers: 010", "", "write it without the 0"),
], "hint")


class Forms(SystemCase):
    def test_a_port_with_a_leading_zero(self):
        code, _, errors = run_to_end(["run", "--from", ":021002", "--to", "127.0.0.1:021003"])
        self.assertEqual(code, 2)
        self.assertIn("write the port without it: 21002", errors)
        self.assertIn("write the port without it: 21003", errors)

    def test_workers_with_a_leading_zero(self):
        code, _, errors = run_to_end(
            ["run", "--from", ":21002", "--to", "127.0.0.1:21003", "--workers", "010"])
        self.assertEqual(code, 2)
        self.assertIn("--workers", errors)

    def test_a_bare_port_to_forward_to(self):
        code, _, errors = run_to_end(["run", "--from", ":8080", "--to", "23051"])
        self.assertEqual(code, 2)
        self.assertIn("127.0.0.1:23051", errors)
        self.assertNotIn("every address", errors)

    def test_the_flags_files_are_told_with_other_errors(self):
        code, _, errors = run_to_end(
            ["run", "--from", "8080", "--to", "127.0.0.1:1", "--tls-certificate", "absent.pem",
             "--tls-key", "absent.key"])
        self.assertEqual(code, 2)
        for words in ("--from", "absent.pem", "absent.key"):
            self.assertIn(words, errors)

    def test_check_takes_the_file_by_flag(self):
        file = self.folder / "m.yaml"
        file.write_text(FILE.format(port=8443, more="", upstream=""), encoding="utf-8")
        for flag in ("-c", "--config"):
            self.assertEqual(run_to_end(["check", flag, file])[0], 0)
        self.assertEqual(run_to_end(["check", "-c", file, file])[0], 64)
        self.assertEqual(run_to_end(["check"])[0], 64)

    def test_doctor_ends_with_the_engine_of_auto_and_lists_steps_on_demand(self):
        code, out, _ = run_to_end(["doctor"], wrapper=settings.WRAPPER)
        last = out.splitlines()[-1]
        if code == 0:
            self.assertEqual(last, "engine: auto selects io_uring")
        else:
            self.assertRegex(last, r"^engine: auto selects epoll \(\w+\)$")
        _, verbose, _ = run_to_end(["doctor", "--verbose"], wrapper=settings.WRAPPER)
        self.assertEqual(verbose.splitlines()[-1], last)
        if code == 0:
            self.assertGreater(len(verbose.splitlines()), len(out.splitlines()))

    def test_log_levels_are_all_listed(self):
        _, out, _ = run_to_end(["run", "--help"])
        self.assertIn("trace", out)
        code, _, errors = run_to_end(
            ["run", "--from", ":1", "--to", "127.0.0.1:2", "--log-level", "loud"])
        self.assertEqual(code, 64)
        self.assertIn("trace", errors)


class Pipes(SystemCase):
    """A configuration may come through a pipe; what must be read twice may not."""

    def text(self):
        return FILE.format(port=ports.free_port(), more="", upstream="")

    def test_check_reads_standard_input(self):
        done = subprocess.run(
            [settings.BINARY, "check", "/dev/stdin"], input=self.text(), text=True,
            capture_output=True, timeout=settings.HANG, check=False)
        self.assertEqual((done.returncode, done.stdout), (0, "/dev/stdin: valid\n"), done.stderr)

    def test_check_reads_a_fifo_whose_writer_comes_later(self):
        fifo = self.folder / "fifo"
        os.mkfifo(fifo)
        writer = threading.Timer(0.3, lambda: fifo.write_text(self.text()))
        writer.start()
        self.addCleanup(writer.join)
        code, out, errors = run_to_end(["check", fifo])
        self.assertEqual(code, 0, out + errors)

    def test_a_fifo_that_nobody_writes_is_refused(self):
        fifo = self.folder / "silent"
        os.mkfifo(fifo)
        code, _, errors = run_to_end(["check", fifo])
        self.assertEqual(code, 2)
        self.assertIn("no data for", errors)

    def test_endless_input_is_refused(self):
        code, _, errors = run_to_end(["check", "/dev/zero"])
        self.assertEqual(code, 2)
        self.assertIn("/dev/zero", errors)

    def test_certificates_in_fifos_and_devices_are_refused(self):
        certificate, _ = certificates.site()
        fifo = self.folder / "key.fifo"
        os.mkfifo(fifo)
        for odd in (fifo, "/dev/null"):
            code, _, errors = run_to_end(
                ["run", "--from", f"127.0.0.1:{ports.free_port()}", "--to", "127.0.0.1:1",
                 "--tls-certificate", certificate, "--tls-key", odd])
            self.assertEqual(code, 2)
            self.assertIn("is not a regular file", errors)

    def test_a_report_into_a_fifo_that_nobody_reads_is_an_error(self):
        fifo = self.folder / "report.fifo"
        os.mkfifo(fifo)
        origin = self.start_origin()
        code, _, errors = run_to_end(
            ["load", f"http://127.0.0.1:{origin.port}/", "--requests", "5", "--warm-up", "0s",
             "--no-progress", "--json", fifo])
        self.assertNotEqual(code, 0)
        self.assertIn("report.fifo", errors)


@on_both_engines
class Started(SystemCase):
    def test_certificates_behind_symbolic_links_as_secrets_are_mounted(self):
        certificate, key = certificates.site()
        data = self.folder / "..data"
        data.mkdir()
        for name, source in (("tls.crt", certificate), ("tls.key", key)):
            (data / name).write_bytes(pathlib.Path(source).read_bytes())
            (self.folder / name).symlink_to(data / name)
        proxy = self.proxy_before(
            self.start_origin().port, tls=[(self.folder / "tls.crt", self.folder / "tls.key")])
        self.assertEqual(self.fetch(proxy, tls=True).status, 200)

    def test_listen_and_several_servers_with_commas(self):
        origins = [self.start_origin() for _ in range(3)]
        port = ports.free_port()
        first, second, third = (f"127.0.0.1:{origin.port}" for origin in origins)
        proxy = self.start_proxy(arguments=[
            "run", "--listen", f"127.0.0.1:{port}", "--to", f"{first},{second}", "--to", third,
            "--engine", self.engine, "--workers", "1"])
        proxy.port = port
        for _ in range(6):
            self.assertEqual(self.fetch(proxy).status, 200)
        self.assertEqual([len(origin.requests) for origin in origins], [2, 2, 2])

    def test_run_takes_the_file_by_flag(self):
        config = self.settings_for(self.start_origin().port)
        file = self.folder / "flag.yaml"
        file.write_text(configuration.render(config) + "\n", encoding="utf-8")
        proxy = self.start_proxy(arguments=["run", "--config", str(file)])
        proxy.port = int(config["listeners"][0]["address"].rpartition(":")[2])
        self.assertEqual(self.fetch(proxy).status, 200)

    def test_the_id_of_a_log_line_is_the_records(self):
        origin = self.start_origin(raw(b"", "reset"))
        directory = self.folder / "audit"
        proxy = self.proxy_before(origin.port, audit={"directory": str(directory)})
        self.assertEqual(self.fetch(proxy).status, 502)
        line = proxy.wait_for("exchange failed")
        proxy.stop()
        ids = [entry["id"] for entry in auditlog.AuditLog(directory).requests()]
        self.assertEqual([line["id"]], ids)
        self.assertRegex(line["id"], r"^[0-9a-f]{16}$")

    def check_limited(self, level, **limits):
        config = self.settings_for(self.start_origin().port, **limits)
        wrapper = ["sh", "-c", 'ulimit -n 1024 && exec "$0" "$@"']
        proxy = self.start_proxy(config, wrapper=wrapper)
        line = proxy.wait_for("connections limited")
        self.assertEqual(line.level, level)

    def test_a_limit_that_nobody_chose_is_information(self):
        self.check_limited("info")

    def test_a_limit_that_somebody_chose_is_a_warning(self):
        self.check_limited("warning", limits={"connections": 20000})

    def test_an_audit_directory_in_use_is_named_in_words(self):
        directory = self.folder / "audit"
        self.proxy_before(self.start_origin().port, audit={"directory": str(directory)})
        code, _, errors = run_to_end(
            ["run", "--from", f"127.0.0.1:{ports.free_port()}", "--to", "127.0.0.1:1",
             "--engine", self.engine, "--audit", directory])
        self.assertEqual(code, 1)
        self.assertIn("another process uses", errors)
        self.assertNotIn("errno", errors)


if __name__ == "__main__":
    unittest.main()
