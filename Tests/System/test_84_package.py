"""What is packaged: the service, the manual pages, the completions, the default configuration, the list of
components. `make test-deb` installs the Debian package itself, in a Debian of its own.
"""

import gzip
import json
import os
import pathlib
import re
import shutil
import subprocess
import tempfile
import unittest

from harness import ports, settings
from harness.case import SystemCase, on_both_engines

ROOT = pathlib.Path(__file__).resolve().parents[2]
UNIT = ROOT / "packaging/systemd/millrace.service"
BINARY = settings.BINARY


def run(*command, **options):
    return subprocess.run([*map(str, command)], capture_output=True, text=True, timeout=60, **options)


def dumped():
    return json.loads(run(BINARY, "--experimental-dump-help").stdout)["command"]


def commands(command, above=()):
    words = (*above, command["commandName"])
    yield words, command
    for one in command.get("subcommands", []):
        if one["commandName"] != "help" and one.get("shouldDisplay", True):
            yield from commands(one, words)


class Installed(unittest.TestCase):
    """What scripts/install puts into another root."""

    @classmethod
    def setUpClass(cls):
        cls.folder = pathlib.Path(tempfile.mkdtemp(prefix="millrace-install-"))
        cls.addClassCleanup(shutil.rmtree, cls.folder)
        cls.done = cls.install(cls.folder)

    @staticmethod
    def install(folder, *arguments, prefix="/usr"):
        return run(ROOT / "scripts/install", *(arguments or [BINARY]),
                   env={**os.environ, "DESTDIR": str(folder), "PREFIX": prefix})

    def files(self, folder=None):
        folder = folder or self.folder
        return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}

    def test_it_succeeds(self):
        self.assertEqual(self.done.returncode, 0, self.done.stderr)

    def test_the_program_runs(self):
        installed = run(self.folder / "usr/bin/millrace", "--version")
        self.assertEqual(installed.stdout, run(BINARY, "--version").stdout)

    def test_each_command_has_a_page(self):
        pages = {path.name for path in (self.folder / "usr/share/man/man1").iterdir()}
        self.assertEqual(pages, {"-".join(words) + ".1.gz" for words, _ in commands(dumped())})

    def test_each_option_is_on_its_page(self):
        for words, command in commands(dumped()):
            text = gzip.open(self.folder / f"usr/share/man/man1/{'-'.join(words)}.1.gz", "rt").read()
            for argument in command.get("arguments", []):
                if argument.get("shouldDisplay", True) and argument["kind"] != "positional":
                    for name in argument["names"]:
                        if name["kind"] == "long":
                            self.assertIn("\\-\\-" + name["name"].replace("-", "\\-"), text, words)

    def test_the_pages_are_without_errors(self):
        pages = [*(self.folder / "usr/share/man").rglob("*.gz")]
        self.assertGreater(len(pages), 15)
        with tempfile.TemporaryDirectory() as folder:
            for page in pages:
                (pathlib.Path(folder) / page.stem).write_bytes(gzip.open(page).read())
            lint = run("mandoc", "-T", "lint", "-W", "warning", *pathlib.Path(folder).iterdir())
        self.assertEqual(lint.stdout + lint.stderr, "")

    def test_each_key_is_on_the_page_of_the_configuration(self):
        text = gzip.open(self.folder / "usr/share/man/man5/millrace.yaml.5.gz", "rt").read()
        headings = set(re.findall(r"^\.TP\n\\fB(.*)\\fR$", text, re.M))
        reference = (ROOT / "docs/configuration-reference.md").read_text()
        keys = set(re.findall(r"^\| `([a-z_0-9]+)`", reference, re.M))
        self.assertGreater(len(keys), 80)
        last = {heading.rpartition(".")[2].removesuffix("[]") for heading in headings}
        self.assertEqual(keys - last, set())

    def test_the_completions_are_what_their_shells_accept(self):
        share = self.folder / "usr/share"
        for shell, file in (
            ("bash", share / "bash-completion/completions/millrace"),
            ("zsh", share / "zsh/vendor-completions/_millrace"),
            ("fish", share / "fish/vendor_completions.d/millrace.fish"),
        ):
            found = run(shell, "-n", file)
            self.assertEqual((found.returncode, found.stderr), (0, ""), shell)

    def test_bash_completes_a_command(self):
        script = (
            f"source {self.folder}/usr/share/bash-completion/completions/millrace\n"
            "COMP_WORDS=(millrace che); COMP_CWORD=1; COMP_LINE='millrace che'; COMP_POINT=12\n"
            "$(complete -p millrace | sed -E 's/.*-F ([^ ]+).*/\\1/') millrace che millrace\n"
            "printf '%s\\n' \"${COMPREPLY[@]}\"\n")
        found = run("bash", "-c", script)
        self.assertEqual(found.stdout.split(), ["check"], found.stderr)

    def test_fish_completes_a_command(self):
        found = run(
            "fish", "--no-config", "-c",
            f"source {self.folder}/usr/share/fish/vendor_completions.d/millrace.fish; complete -C 'millrace che'",
            env={**os.environ, "HOME": str(self.folder), "PATH": f"{self.folder}/usr/bin:{os.environ['PATH']}"})
        self.assertIn("check", found.stdout.split(), found.stderr)

    def test_what_is_in_etc_stays(self):
        with tempfile.TemporaryDirectory() as name:
            folder = pathlib.Path(name)
            self.install(folder)
            configuration = folder / "etc/millrace/millrace.yaml"
            configuration.write_text("# mine\n")
            self.assertIn("kept", self.install(folder).stdout)
            self.assertEqual(configuration.read_text(), "# mine\n")

    def test_removal_leaves_the_configuration_alone(self):
        for prefix in ("/usr", "/usr/local"):
            with tempfile.TemporaryDirectory() as name:
                folder = pathlib.Path(name)
                self.install(folder, prefix=prefix)
                self.assertGreater(len(self.files(folder)), 20)
                self.assertEqual(self.install(folder, "--remove", prefix=prefix).returncode, 0)
                self.assertEqual(self.files(folder), {"etc/millrace/millrace.yaml"})

    def test_the_service_of_another_prefix_starts_the_program_there(self):
        with tempfile.TemporaryDirectory() as name:
            folder = pathlib.Path(name)
            self.install(folder, prefix="/opt/m")
            unit = (folder / "etc/systemd/system/millrace.service").read_text()
            self.assertIn("ExecStart=/opt/m/bin/millrace run", unit)
            self.assertNotIn("/usr/bin/millrace", unit)

    def test_a_binary_that_is_not_there_is_named(self):
        with tempfile.TemporaryDirectory() as name:
            found = self.install(pathlib.Path(name), "/nowhere/millrace")
            self.assertEqual(found.returncode, 1)
            self.assertIn("/nowhere/millrace is not there", found.stderr)
            self.assertEqual(self.files(pathlib.Path(name)), set())


class Components(unittest.TestCase):
    def setUp(self):
        self.document = json.loads(run(ROOT / "scripts/sbom", BINARY).stdout)
        self.found = {one["name"]: one for one in self.document["components"]}

    def test_each_pinned_package_is_listed_with_its_version(self):
        pins = json.loads((ROOT / "Package.resolved").read_text())["pins"]
        self.assertGreater(len(pins), 2)
        for pin in pins:
            self.assertEqual(self.found[pin["identity"]]["version"], pin["state"]["version"])
            self.assertTrue(self.found[pin["identity"]]["licenses"])

    def test_the_libraries_are_those_that_are_loaded(self):
        listed = {
            entry["value"] for one in self.found.values() for entry in one.get("properties", [])
            if entry["name"] == "shared library"}
        self.assertTrue(any(name.startswith("libssl.so") for name in listed), listed)
        loaded = set(re.findall(r"^\s*(\S+) =>", run("ldd", BINARY).stdout, re.M))
        self.assertEqual(listed - loaded, set())

    def test_the_document_is_of_its_kind(self):
        self.assertEqual((self.document["bomFormat"], self.document["specVersion"]), ("CycloneDX", "1.5"))
        references = [one["bom-ref"] for one in self.document["components"]]
        self.assertEqual(len(references), len(set(references)))
        self.assertEqual(self.document["dependencies"][0]["dependsOn"], references)
        version = run(BINARY, "--version").stdout.split()[-1]
        self.assertEqual(self.document["metadata"]["component"]["version"], version)


class Service(unittest.TestCase):
    def test_it_has_few_rights(self):
        found = run("systemd-analyze", "security", "--offline=true", UNIT, env={**os.environ, "SYSTEMD_COLORS": "0"})
        level = re.search(r"Overall exposure level for \S+: ([\d.]+)", found.stdout)
        self.assertIsNotNone(level, found.stdout + found.stderr)
        self.assertLess(float(level.group(1)), 2.0)

    def test_systemd_understands_each_line(self):
        with tempfile.TemporaryDirectory() as folder:
            unit = pathlib.Path(folder) / "millrace.service"
            unit.write_text(UNIT.read_text().replace("/usr/bin/millrace", str(BINARY)))
            found = run("systemd-analyze", "verify", "--man=no", unit)
        said = [line for line in (found.stdout + found.stderr).splitlines() if "millrace" in line]
        self.assertEqual(said, [])

    def test_its_commands_are_those_of_the_program(self):
        known = {words[1] for words, _ in commands(dumped()) if len(words) == 2}
        used = set(re.findall(r"/usr/bin/millrace (\S+)", UNIT.read_text()))
        self.assertIn("run", used)
        self.assertEqual(used - known, set())

    def test_the_stop_is_given_more_time_than_the_drain(self):
        seconds = int(re.search(r"^TimeoutStopSec=(\d+)s$", UNIT.read_text(), re.M).group(1))
        schema = json.loads((ROOT / "docs/millrace.schema.json").read_text())
        deadline = schema["definitions"]["drain"]["properties"]["deadline"]["default"]
        self.assertGreater(seconds, int(deadline.removesuffix("s")))


@on_both_engines
class DefaultConfiguration(SystemCase):
    def test_it_is_valid_and_serves(self):
        origin = self.start_origin()
        port = ports.free_port()
        text = (ROOT / "packaging/debian/millrace.yaml").read_text()
        for what, stand_in in (
            ("127.0.0.1:8080", f"127.0.0.1:{port}"), ("127.0.0.1:3000", f"127.0.0.1:{origin.port}"),
            ("unix:/run/millrace", f"unix:{self.folder}"),
        ):
            self.assertIn(what, text)
            text = text.replace(what, stand_in)
        file = self.folder / "millrace.yaml"
        file.write_text(text)
        checked = run(BINARY, "check", file)
        self.assertEqual(checked.returncode, 0, checked.stderr)
        self.assertNotIn("warning", checked.stdout + checked.stderr)
        self.start_proxy(f"engine: {self.engine}\nworkers: 1\n{text}")
        found = run("curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", f"http://127.0.0.1:{port}/")
        self.assertEqual(found.stdout, "200")
        status = run(BINARY, "ctl", "status", "--address", f"unix:{self.folder}/admin.sock", "--json")
        self.assertEqual(json.loads(status.stdout)["engine"]["kind"], self.engine, status.stdout[:400])


if __name__ == "__main__":
    unittest.main()
