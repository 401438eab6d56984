"""Layer 8: what the documentation shows works as it is written there.

Each fenced block of README.md and docs/ is run: configurations are checked, shell lines are run in
order, JSON is parsed. A block that no test here knows fails `test_no_block_is_left_out`.
"""

import json
import pathlib
import re
import shutil
import signal
import time
import unittest

from harness import certificates, documentation, ports, settings
from harness.case import SystemCase, on_both_engines

PYTHON = "python3 -m http.server"

#: What is no example to be run: dependencies of a package, and lines of an engine's API, which
#: Examples/ and the DocC articles show in programs that `make test` builds and runs.
NOT_RUN = {"swift"}
RUN = {"sh", "yaml", "json", ""}


class Documented(SystemCase):
    hang_limit = 300

    def setUp(self):
        super().setUp()
        self.port, self.server_port, self.admin_port = (ports.free_port() for _ in range(3))
        self.shell = documentation.Shell(self.folder, [
            (r"\b8443\b", str(self.port)), (r"\b8080\b", str(self.port)),
            (r"\b3000\b", str(self.server_port)), (r"\b9901\b", str(self.admin_port)),
            (r"/var/log/millrace", str(self.folder / "audit")),
            (r"/etc/millrace|/run(?=/)", str(self.folder)),
            # Names that only the reader's network has.
            (r"\bapi\.internal\b|\bshop\.example(?=:443)", "localhost"),
            (r"https://shop\.example/\S*", f"http://localhost:{self.port}/"),
            (r"http://127\.0\.0\.1:\d+/(?=\s)", f"http://localhost:{self.port}/"),
        ])
        self.addCleanup(self.shell.close)

    def make_certificates(self, *names):
        for name in names:
            certificate, key = certificates.site()
            shutil.copy(certificate, self.folder / f"{name}.pem")
            shutil.copy(key, self.folder / f"{name}.key")
            # A newcomer's is his own authority.
            shutil.copy(certificates.authority().certificate, self.folder / "authority.pem")


@on_both_engines
class FirstMinute(Documented):
    """docs/getting-started.md from its first configuration to its proof, before a server of each kind; and README.md."""

    FILE = "docs/getting-started.md"

    def blocks(self):
        found = [b for b in documentation.blocks("sh") if b.file == self.FILE]
        commands = {block.name: block.commands() for block in found}
        making = next(lines for lines in commands.values() if "openssl" in lines[0])
        trying = next(lines for lines in commands.values() if "millrace run millrace.yaml" in lines)
        without = next(lines for lines in commands.values() if "--from" in lines[0])
        (file,) = [b for b in documentation.blocks("yaml") if b.file == self.FILE]
        return making, trying, without, file.text

    def follow(self, start_server, path="/"):
        making, trying, without, text = self.blocks()
        for line in making:
            start_server(line) if line.startswith(PYTHON) else self.shell.run(line)
        (self.folder / "millrace.yaml").write_text(
            f"engine: {self.engine}\n" + self.shell.adapt(text), encoding="utf-8")
        shown = self.follow_lines(trying)
        # The request that was just made is one line, whatever the server did with its packets.
        self.assertEqual(shown["jq"].count("\n"), 1, shown["jq"])
        record = json.loads(shown["jq"])
        self.assertEqual((record["method"], record["path"], record["status"]), ("GET", "/", 200))
        (line,) = without
        running = self.shell.start_server(line + f" --engine {self.engine}", self.port)
        self.shell.run("curl -sSf --cacert site.pem https://localhost:8443/")
        self.assertEqual(self.shell.stop(running), 0, self.shell.logs())

    def follow_lines(self, lines):
        """What the lines wrote, by the first word that is not `millrace`."""
        shown, running = {}, None
        for line in lines:
            if line.startswith("millrace run"):
                running = self.shell.start_server(line, self.port)
                continue
            line = line.replace("curl ", "curl -sSf ")
            out = self.shell.run(line)
            shown["jq" if "jq " in line else line.removeprefix("millrace ").split()[0]] = out
        self.assertEqual(self.shell.stop(running), 0, self.shell.logs())
        return shown

    def test_with_pythons_server(self):
        self.follow(lambda line: self.shell.start_server(line, self.server_port))

    def test_with_nginx(self):
        nginx = self.start_nginx()
        nginx.add("index.html", b"<h1>it works</h1>\n")

        def instead(_line):
            self.shell.replacements.insert(0, (r"\b3000\b", str(nginx.port)))

        self.follow(instead)

    def test_looking_at_it(self):
        """The lines that ask the admin server, in order, to the last one, which ends the proxy."""
        making, _, _, text = self.blocks()
        for line in making:
            self.shell.start_server(line, self.server_port) if line.startswith(PYTHON) else self.shell.run(line)
        (self.folder / "millrace.yaml").write_text(
            f"engine: {self.engine}\n" + self.shell.adapt(text), encoding="utf-8")
        running = self.shell.start_server("millrace run millrace.yaml", self.port)
        (block,) = [
            b for b in documentation.blocks("sh") if b.file == self.FILE and "millrace ctl" in b.text]
        shown = {line.split(" #")[0].strip(): self.shell.run(line.replace("curl ", "curl -sSf "))
                 for line in block.commands()}
        self.assertIn("millrace_requests_total", "".join(shown.values()))
        self.assertIn(self.engine, next(text for line, text in shown.items() if "ctl status" in line))
        self.assertEqual(running.wait(settings.HANG), 0, self.shell.logs())

    def test_the_front_page(self):
        """README.md: its first lines, in order."""
        (block,) = [
            b for b in documentation.blocks("sh") if b.file == "README.md" and PYTHON in b.text]
        running, shown = None, ""
        for line in block.commands():
            if line.startswith(PYTHON):
                self.shell.start_server(line, self.server_port)
            elif line.startswith("millrace run"):
                running = self.shell.start_server(f"{line} --engine {self.engine}", self.port)
            else:
                shown = self.shell.run(line.replace("curl ", "curl -sSf "))
        record = json.loads(shown)
        self.assertEqual((record["method"], record["path"], record["status"]), ("GET", "/", 200))
        self.assertEqual(self.shell.stop(running), 0, self.shell.logs())


class Configurations(Documented):
    def test_every_configuration_is_valid(self):
        self.make_certificates("site", "shop", "blog", "client", "internal-ca")
        (self.folder / "audit").mkdir()
        seen = 0
        for block in documentation.blocks("yaml"):
            with self.subTest(block.name):
                if block.text.startswith("requests:"):
                    continue
                (self.folder / "millrace.yaml").write_text(
                    self.shell.adapt(block.text), encoding="utf-8")
                self.shell.run("millrace check millrace.yaml")
                seen += 1
        self.assertGreater(seen, 5)

    def test_the_problems_are_the_ones_that_are_shown(self):
        """docs/configuration.md shows two lines of `check`: the same words for the same mistakes."""
        (shown,) = [b for b in documentation.blocks("") if "balanse" in b.text]
        text = (
            "listeners:\n  - name: edge\n    address: ':8443'\n\n    timeouts:\n"
            "      {head:            10}\n\nupstreams:\n  web:\n    servers: ['127.0.0.1:3000']\n"
            "    balanse: least_requests\n")
        # The line and column of the shown text are those of a file of its reader's.
        (self.folder / "millrace.yaml").write_text(self.shell.adapt(text), encoding="utf-8")
        out = self.shell.run("millrace check millrace.yaml 2>&1", codes=(2,))
        for line in shown.text.splitlines()[:2]:
            place, _, words = line.partition("): ")
            key = place.partition(" (")[0]
            match = [found for found in out.splitlines() if found.startswith(f"{key} (")]
            self.assertEqual([found.partition("): ")[2] for found in match], [words], out)

    def test_every_json_line_is_json(self):
        lines = [line for b in documentation.blocks("json") for line in b.text.splitlines() if line]
        self.assertGreater(len(lines), 2)
        for line in lines:
            json.loads(line)


class Lab(Documented):
    """The lines of docs/lab.md and of README.md's lab: load to its end, compare as far as it begins."""

    def lines(self, command):
        found = []
        for block in documentation.blocks("sh"):
            found += [
                (block.name, line) for line in block.commands()
                if line.startswith(f"millrace {command}")]
        self.assertTrue(found)
        return found

    def test_load(self):
        origin = self.shell.start_server(
            "millrace origin --listen 127.0.0.1:8080", self.port)
        # What a reader measures in half a minute is shown in half a second.
        self.shell.replacements += [
            (r"--duration \S+", ""), (r"(millrace load)", r"\1 --duration 500ms --warm-up 0s"),
            (r"--ca \S+", ""), (r"https://localhost", "http://localhost")]
        for name, line in self.lines("load"):
            with self.subTest(name):
                # 3: a bound that this machine does not hold, 1 % of errors among them.
                out = self.shell.run(line, codes=(0, 3) if "--expect" in line else (0,))
                self.assertIn("p99", out)
        for block in documentation.blocks("yaml"):
            if block.text.startswith("requests:"):
                with self.subTest(block.name):
                    (self.folder / "mix.yaml").write_text(block.text, encoding="utf-8")
                    self.shell.run("millrace load --mix mix.yaml http://127.0.0.1:8080/ ", (0, 1, 3))
        self.shell.stop(origin)

    def test_compare_begins(self):
        """Complete comparisons are test_92's; here each line is seen to pass its checks and measure."""
        self.make_certificates("site")
        (self.folder / "millrace.yaml").write_text(
            "listeners: [{address: '127.0.0.1:8443'}]\nupstreams: {web: {servers: ['127.0.0.1:3000']}}\n"
            .replace("3000", str(self.server_port)).replace("8443", str(self.port)))
        (self.folder / "index.html").write_text("hello")
        self.shell.start_server(f"{PYTHON} 3000 --bind 127.0.0.1", self.server_port)
        self.shell.replacements += [
            (r"/opt/old/millrace", settings.BINARY), (r"/api/items", "/index.html"),
            (r"(millrace compare)", r"\1 --force")]
        for name, line in self.lines("compare"):
            with self.subTest(f"{name} {line}"):
                self.check_begins(line.partition(" #")[0])

    def check_begins(self, line):
        running = self.shell.start(line)
        log = self.folder / f"beside-{len(self.shell.behind) - 1}.log"
        deadline = time.monotonic() + settings.HANG
        # Its first load begins when all of its line and its file have been understood.
        while not self.puts_load(running.pid):
            self.assertIsNone(running.poll(), log.read_text("utf-8", "replace"))
            self.assertLess(time.monotonic(), deadline, log.read_text("utf-8", "replace"))
            time.sleep(0.05)
        running.send_signal(signal.SIGINT)
        self.assertEqual(running.wait(settings.HANG), 130, log.read_text("utf-8", "replace"))

    def puts_load(self, parent):
        for entry in pathlib.Path("/proc").iterdir():
            try:
                stat = (entry / "stat").read_text("utf-8", "replace")
                if int(stat[stat.rindex(")") + 1 :].split()[1]) == parent:
                    if b"\0load\0" in (entry / "cmdline").read_bytes():
                        return True
            except (OSError, ValueError, IndexError):
                continue
        return False


class AuditLines(Documented):
    def test_every_line_about_the_audit_log_runs(self):
        """Lines with jq and `millrace audit` in docs/, on the log of a proxy that still runs."""
        nginx = self.start_nginx()
        nginx.add("index.html", b"hello\n")
        running = self.shell.start_server(
            f"millrace run --from 127.0.0.1:8080 --to 127.0.0.1:{nginx.port} --workers 1 --audit audit",
            self.port)
        for _ in range(3):
            self.shell.run("curl -sSf localhost:8080/")
        seen = 0
        self.shell.replacements += [
            (r"w\*\.jsonl", "audit/w*.jsonl"), (r"w000-0000000042\.jsonl", "audit/w000-*.jsonl")]
        for block in documentation.blocks("sh"):
            for line in block.commands():
                if line.startswith(("jq ", "millrace audit")) and "anchor" not in line:
                    with self.subTest(f"{block.name} {line}"):
                        seen += 1
                        if " -f " in line:
                            self.check_follows(line)
                        else:
                            self.shell.run(line, codes=(0, 3) if "verify" in line else (0,))
        self.assertGreater(seen, 3)
        self.assertEqual(self.shell.stop(running), 0)

    def check_follows(self, line):
        """It shows what is there, goes on, and ends in order when it is told to."""
        running = self.shell.start(line.partition(" #")[0])
        log = self.folder / f"beside-{len(self.shell.behind) - 1}.log"
        deadline = time.monotonic() + settings.HANG
        while b"GET" not in log.read_bytes():
            self.assertIsNone(running.poll(), log.read_text("utf-8", "replace"))
            self.assertLess(time.monotonic(), deadline, log.read_text("utf-8", "replace"))
            time.sleep(0.02)
        self.assertEqual(self.shell.stop(running, signal.SIGINT), 0)


class Complete(unittest.TestCase):
    def test_no_block_is_left_out(self):
        """Every kind of line has a test above that runs it."""
        known = ("openssl", PYTHON, "millrace ", "curl ", "jq ", "make ")
        for path in ["README.md", *(f"docs/{p.name}" for p in (documentation.ROOT / "docs").glob("*.md"))]:
            text = (documentation.ROOT / path).read_text("utf-8")
            tags = set(re.findall(r"^```(\S*)$", text, re.M))
            self.assertLessEqual(tags, RUN | NOT_RUN, path)
        for block in documentation.blocks("sh"):
            for line in block.commands():
                self.assertTrue(line.startswith(known), f"{block.name}: {line}")
