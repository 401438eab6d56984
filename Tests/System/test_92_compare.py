"""Layer 9: `millrace compare` from end to end, with a user's configuration before a real nginx.

Nothing timed decides. What is checked is that it runs, that what it writes is whole, that its words
and its exit status agree, and that nothing stays behind: no process, no file.
"""

import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import time
import unittest

from harness import configuration, settings
from harness.case import SystemCase

#: A rehearsal: five rounds are the fewest that give an interval.
SHORT = ("--quick", "--duration", "0.5", "--force")

PEERS = ("nginx", "haproxy", "h2o", "caddy")


def program(name):
    """The path of a program that is installed; Debian keeps servers in sbin."""
    return shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin")


class Compare(SystemCase):
    hang_limit = 400

    def setUp(self):
        super().setUp()
        self.nginx = self.start_nginx()
        self.nginx.add("item", b"x" * 1024)

    def write(self, name="millrace.yaml", is_audited=True, **options):
        """A user's configuration: an audit log beside it, and nginx behind it."""
        (self.folder / "audit").mkdir(exist_ok=True)
        file = self.folder / name
        made = self.settings_for(self.nginx.port, **options)
        if is_audited:
            made["audit"] = {"directory": str(self.folder / "audit" / "log")}
        file.write_text(configuration.render(made) + "\n", encoding="utf-8")
        return file

    def start(self, *arguments, wrapper=()):
        running = subprocess.Popen(
            [*wrapper, settings.BINARY, "compare", *map(str, arguments)], cwd=self.folder,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            start_new_session=True)
        # A test that fails because something stayed must not leave it either.
        self.addCleanup(self.end_session, running.pid)
        self.addCleanup(running.stdout.close)
        self.addCleanup(running.stderr.close)
        self.addCleanup(running.wait)
        self.addCleanup(running.kill)
        return running

    def compare(self, *arguments, code=0, wrapper=()):
        running = self.start(*arguments, wrapper=wrapper)
        out, errors = running.communicate(timeout=self.hang_limit)
        self.assertEqual(running.returncode, code, out + errors)
        self.assert_nothing_is_left(running.pid, self.places(errors + out))
        return out, errors

    # What must not stay

    def session(self, leader):
        """The processes of a session; `compare` gives each its own group, and none a session."""
        found = {}
        for entry in pathlib.Path("/proc").iterdir():
            if not entry.name.isdigit():
                continue
            try:
                stat = (entry / "stat").read_text("utf-8", "replace")
                fields = stat[stat.rindex(")") + 1:].split()
                if int(fields[3]) == leader and fields[0] != "Z":
                    found[int(entry.name)] = (entry / "cmdline").read_bytes().decode(
                        "utf-8", "replace").replace("\0", " ")
            except (OSError, ValueError):
                continue
        return found

    def writing_into(self, places):
        """Processes with an output there, of whatever session: a neighbour has one of its own."""
        found = []
        for output in pathlib.Path("/proc").glob("[0-9]*/fd/1"):
            try:
                target = os.readlink(output)
            except OSError:
                continue
            if any(target.startswith(place + "/") for place in places):
                found.append(output.parts[2])
        return found

    def end_session(self, leader):
        for pid in self.session(leader):
            os.kill(pid, signal.SIGKILL)

    def places(self, text):
        return set(re.findall(r"/[\w./-]*millrace-compare-\w{6}", text))

    def assert_nothing_is_left(self, leader, places):
        if leader:
            self.assertEqual(self.session(leader), {})
        self.assertEqual(self.writing_into(places), [])
        for place in places:
            self.addCleanup(shutil.rmtree, place, ignore_errors=True)
            self.assertFalse(os.path.exists(place), place)
        if (self.folder / "audit").exists():
            self.assertEqual(list((self.folder / "audit").iterdir()), [])

    def read(self, path):
        made = json.loads(path.read_text())
        self.assertNotEqual(made["verdict"]["headline"], "")
        return made

    # From end to end

    def test_two_engines_end_in_a_verdict_and_leave_nothing(self):
        """Both engines, a page, the data, and the same again against itself."""
        if settings.URING_REFUSAL:
            self.skipTest(f"io_uring_setup is refused here: {settings.URING_REFUSAL}")
        file, run, page = self.write(), self.folder / "run.json", self.folder / "run.html"
        before = file.read_bytes()
        out, errors = self.compare(
            file, "--url", "/item", "--rounds", 5, *SHORT, "--json", run, "--html", page,
            "--connections", 8)
        made = self.read(run)
        self.assertEqual(file.read_bytes(), before)
        self.check_measurements(made)
        self.check_words(made, out, errors)
        self.check_page(made, page)
        # What it wrote under its own names is gone too.
        told = json.dumps(made)
        self.assertGreaterEqual(len(self.places(told)), 3)
        self.assert_nothing_is_left(None, self.places(told))
        self.check_against(file, run)

    # Side by side

    def test_slices_move_between_subjects_that_run_at_once(self):
        """The way without --rounds: all subjects live, the load in short slices, and it ends in time."""
        if settings.URING_REFUSAL:
            self.skipTest(f"io_uring_setup is refused here: {settings.URING_REFUSAL}")
        file, run = self.write(), self.folder / "run.json"
        out, errors = self.compare(
            file, "--url", "/item", "--minutes", 0.5, "--force", "--peers", "none", "--neighbour",
            "--connections", 8, "--json", run)
        made = self.read(run)
        course = made["course"]
        self.assertEqual(course["method"], "slices")
        self.assertEqual(course["neighbours"], made["machine"]["proxyProcessors"])
        self.assertIn("2 subjects run side by side: epoll, io_uring", errors)
        self.assertEqual([s.get("failure") for s in made["subjects"]], [None, None])
        counted = sum(len(m["slices"]) for m in made["measurements"])
        self.assertEqual(counted, course["slices"] - course["leftOut"])
        self.assertGreaterEqual(course["slices"], 8)
        for m in made["measurements"]:
            with self.subTest(m=(m["round"], m["stage"], m["subject"])):
                self.assertIsNone(m.get("failure"))
                self.assertIn(m["look"], (1, 2, 3, 4))
                self.assertEqual(set(m["load"]["statuses"]), {"200"})
                self.check_slices(m)
        self.check_blocks(made, course["leftOut"])
        counting = {m["subject"] for m in made["measurements"] if m.get("systemCalls")}
        self.assertEqual(counting, {"epoll", "io_uring"})
        self.assertIn(made["verdict"]["grade"], ("decided", "likely", "same", "undecided"))
        flat = " ".join(out[out.index("\nVerdict\n"):].split())
        self.assertIn(" ".join(made["verdict"]["headline"].split()), flat)
        self.assertIn("Independent of the clock: a request takes io_uring (epoll)", flat)
        self.assertIn("A neighbour of the same priority ran on CPU", flat)
        self.assertRegex(flat, r"Left out, because more than 5\.0% was stolen: \d+ slices")

    def check_slices(self, m):
        """What was asked is what is accounted for: every response is one slice's."""
        self.assertLessEqual(len(m["slices"]), 2)
        self.assertAlmostEqual(
            sum(s["completed"] for s in m["slices"]),
            m["load"]["completedRate"] * m["load"]["seconds"], delta=1)
        for each in m["slices"]:
            self.assertGreaterEqual(each["responses"], each["completed"])
            self.assertGreater(each["processSeconds"], 0)
            self.assertGreaterEqual(each["machineSeconds"] + 0.04, each["processSeconds"])
            self.assertEqual(each["latency"], sorted(each["latency"]))
        for count in ("contextSwitches", "wakeUps", "residentBytes"):
            self.assertGreaterEqual(m[count], 0, count)
        # What Millrace counts itself may be missing where its worker got no CPU to publish it.
        for count in ("systemCalls", "completions", "bytesCopied"):
            self.assertGreaterEqual(m.get(count, 0), 0, count)

    def check_blocks(self, made, left_out):
        """Each block has every subject once, but for the slices that were left out because of stolen time."""
        orders = {}
        for m in made["measurements"]:
            for each in m["slices"]:
                orders.setdefault((m["stage"], each["block"]), set()).add(m["subject"])
        whole = [names for names in orders.values() if len(names) == 2]
        self.assertLessEqual(len(orders) - len(whole), left_out)
        self.assertEqual(len({block for _, block in orders}), len(orders))

    def test_rounds_and_slices_are_not_asked_for_at_once(self):
        for words in (("--rounds", 5, "--minutes", 1), ("--duration", 1, "--neighbour")):
            _, errors = self.compare(self.write(), "--url", "/", *words, code=2)
            self.assertIn("--rounds and --duration conflict with --minutes and --neighbour", errors)

    def test_what_cannot_decide_is_refused_with_what_can(self):
        for text in ("speed", "memory@equal", "p99,", "system_calls_per_request"):
            _, errors = self.compare(self.write(), "--url", "/", "--decide-by", text, code=2)
            self.assertIn("is not a deciding quantity", errors)
            self.assertIn("cpu_per_request@maximum", errors)
        _, errors = self.compare(
            self.write(), "--url", "/", "--decide-by", "p99@equal,p99@maximum", code=2)
        self.assertIn("p99@equal and p99@maximum are the same quantity", errors)

    def check_measurements(self, made):
        self.assertEqual([s["name"] for s in made["subjects"]], ["epoll", "io_uring"])
        self.assertEqual([s["engine"] for s in made["subjects"]], ["epoll", "io_uring"])
        self.assertEqual([s.get("failure") for s in made["subjects"]], [None, None])
        self.assertEqual(made["baseline"], "epoll")
        stages = [s["name"] for s in made["stages"]]
        self.assertEqual(stages, ["maximum", "equal", "saturation"])
        placed = [(m["round"], m["stage"], m["subject"]) for m in made["measurements"]]
        self.assertCountEqual(placed, [
            (n, stage, name) for n in range(1, 6) for stage in stages
            for name in ("epoll", "io_uring")])
        for m in made["measurements"]:
            with self.subTest(m=(m["round"], m["stage"], m["subject"])):
                self.assertIsNone(m.get("failure"))
                load = m["load"]
                self.assertGreater(load["completed"], 0)
                # The origin's item came through; of a rate some of it after the counted part.
                self.assertLessEqual(set(load["failures"]), {"unsent"})
                if m["stage"] == "maximum":
                    self.assertGreater(load["bytesReceived"], load["completed"] * 512)
                self.assertEqual(list(load["statuses"]), ["200"])
                self.assertGreater(m["processSeconds"], 0)
                self.assertGreaterEqual(m["machineSeconds"], m["processSeconds"] * 0.5)
                self.assertAlmostEqual(
                    m["userSeconds"] + m["systemSeconds"], m["processSeconds"], places=6)
                self.assertTrue(0 < m["proxyBusy"] <= 1)
                self.assertGreater(m["residentBytes"], 1 << 20)
                for count in ("turns", "systemCalls", "completions", "contextSwitches"):
                    self.assertGreater(m[count], 0, count)
                # None where the disk was slow for all of its second.
                self.assertLessEqual(m.get("auditCommits", 0), m.get("auditRecords", 0))
        # Each response has its record. The journal counts a batch at a time, and where the disk is slow for a
        # moment, much of a second's records is counted in the next one: of all measurements it is little.
        records = sum(m.get("auditRecords", 0) for m in made["measurements"])
        completed = sum(m["load"]["completed"] for m in made["measurements"])
        self.assertTrue(0.5 < records / completed < 2, (records, completed))
        proxy_cpus, load_cpus = made["machine"]["proxyProcessors"], made["machine"]["loadProcessors"]
        self.assertFalse(set(proxy_cpus) & set(load_cpus))

    def check_words(self, made, out, errors):
        self.assertLessEqual(max(map(len, out.splitlines())), 100)
        flat = " ".join(out[out.index("\nVerdict\n"):].split())
        self.assertIn(" ".join(made["verdict"]["headline"].split()), flat)
        self.assertIn("[30/30]", errors)
        self.assertIn("30 measurements", errors)
        decisive = [r for r in made["ratios"] if r["quantity"] in ("p99", "cpu_per_request")
                    and r["stage"] == "equal"]
        self.assertEqual(len(decisive), 2)
        for ratio in decisive:
            self.assertEqual(ratio["pairs"], 5)
            self.assertTrue(ratio["low"] <= ratio["estimate"] <= ratio["high"])

    def check_page(self, made, page):
        text = page.read_text(encoding="utf-8")
        data = re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.S)
        self.assertEqual(json.loads(data.group(1))["verdict"], made["verdict"])
        self.assertNotRegex(text, r"(src|href)=\"(?!data:)")

    def check_against(self, file, run):
        """The run against itself is no regression; another run's words and status agree."""
        done = subprocess.run(
            [settings.BINARY, "report", run, "--against", run], capture_output=True, text=True,
            timeout=settings.HANG, check=False)
        # On two CPUs the load may have been the limit at the maximum, and then throughput is missing.
        is_missing = "NOT COMPARED" in done.stdout
        self.assertEqual(done.returncode, 4 if is_missing else 0, done.stdout + done.stderr)
        self.assertRegex(done.stdout, r"\n(No regression beyond the bound\.|Undecided: .*)\n$")
        again = (file, "--url", "/item", "--rounds", 5, *SHORT, "--connections", 8,
                 "--variants", "epoll", "--against", run)
        # What cannot be compared is refused before it is measured.
        out, errors = self.compare(*again, "--poisson", code=1)
        self.assertIn("the pacing was \u201cconstant\u201d, and is \u201cpoisson\u201d", errors)
        self.assertNotIn("[1/", errors)
        self.assertEqual(out, "")
        running = self.start(*again)
        out, errors = running.communicate(timeout=self.hang_limit)
        # This machine may have drifted by more than the bound: then it has to say so.
        expected = 3 if "REGRESSION" in out else 4 if "NOT COMPARED" in out else 0
        self.assertEqual(running.returncode, expected, out + errors)
        # The rate is the earlier run's, whatever the maximum is now.
        rate = next(s["rate"] for s in self.read(run)["stages"] if s["name"] == "equal")
        self.assertIn(f"stage equal: {int(rate)} requests per second", errors)
        against = out[out.index("Against the earlier run"):]
        self.assertRegex(against, r"epoll +maximum +memory +(±0%|[+−]\d)")
        self.assertRegex(against, r"epoll +equal +CPU per request +[±+−]\d")
        self.assertIn("io_uring was measured in the earlier run, but not in this one.", against)

    # Other proxies

    def wanted_peers(self):
        found = [name for name in PEERS if program(name)]
        if not found:
            self.skipTest("no other proxy is installed")
        return found

    def validate(self, kept):
        """Each peer's own checker reads what was written for it."""
        checks = {
            "nginx.conf": lambda p: ["nginx", "-t", "-p", f"{p.parent}/", "-e", "stderr", "-c", p],
            "haproxy.cfg": lambda p: ["haproxy", "-c", "-f", p],
            "h2o.yaml": lambda p: ["h2o", "-t", "-c", p],
            "Caddyfile": lambda p: ["caddy", "validate", "--adapter", "caddyfile", "--config", p],
        }
        seen = 0
        for name, check in checks.items():
            for path in sorted(kept.glob(f"run-*/*/{name}")):
                words = list(map(str, check(path)))
                done = subprocess.run(
                    [program(words[0]), *words[1:]], capture_output=True, text=True,
                    timeout=60, cwd=path.parent, check=False,
                    env={**os.environ, "HOME": str(self.folder), "XDG_DATA_HOME": str(self.folder)})
                said = done.stdout + done.stderr
                self.assertEqual(done.returncode, 0, f"{path}\n{path.read_text()}\n{said}")
                self.assertNotRegex(said, r"(?i)\[(warn|warning|alert|emerg)\]", path.read_text())
                seen += 1
        return seen

    def test_peers_serve_behind_the_configurations_made_for_them(self):
        """Over TLS and with an audit log: both settings of each run, and are valid."""
        wanted, run = self.wanted_peers(), self.folder / "run.json"
        file = self.write(tls=self.site_tls)
        kept = self.folder / "kept"
        out, _ = self.compare(
            file, "--url", "https://site.test/item", "--variants", "epoll", "--peers",
            ",".join([*wanted, wanted[0]]), "--rounds", 1, *SHORT, "--json", run, "--keep", kept,
            "--connections", 4)
        made = self.read(run)
        by_name = {s["name"]: s for s in made["subjects"]}
        # Named twice, a peer takes part once: it is known by its name.
        self.assertEqual(len(made["subjects"]), len(by_name))
        self.assertEqual(
            set(by_name), {"epoll", *wanted, *(f"{name} tuned" for name in wanted)})
        self.assertEqual({n: s.get("failure") for n, s in by_name.items() if s.get("failure")}, {})
        for name, subject in by_name.items():
            self.assertEqual(subject["isTuned"], name.endswith("tuned"))
            self.assertRegex(subject["version"], r"\d\.\d")
            self.assertEqual(len(subject["configurations"]), 1)
            self.assertEqual("source" in subject, name.endswith("tuned"))
        for m in made["measurements"]:
            self.assertIsNone(m.get("failure"), m["subject"])
            self.assertLessEqual(set(m["load"]["failures"]), {"unsent"})
            self.assertGreater(m["load"]["bytesReceived"], 1024)
        # One round is no interval, and the verdict says so instead of guessing.
        self.assertNotIn("recommended", made["verdict"])
        self.assertEqual(
            {r["outcome"] for r in made["ratios"] if r["quantity"] != "throughput"}, {"none"})
        self.assertEqual(self.validate(kept), 2 * len(wanted))
        for name in wanted:
            log = next(kept.glob(f"run-*/{name}/log")).parent
            said = (log / "access.jsonl") if name != "haproxy" else log / "log"
            self.assertIn("/item", said.read_text("utf-8", "replace"), name)
        self.assertIn("Verdict", out)

    def test_plain_peers_are_valid_too_and_a_variant_that_cannot_run_is_said(self):
        wanted = self.wanted_peers()
        file = self.write(is_audited=False)
        kept = self.folder / "kept"
        _, errors = self.compare(
            file, "--url", "/item", "--variants", "epoll@/bin/false", "--peers", ",".join(wanted),
            *SHORT, "--keep", kept, "--connections", 4, code=1)
        self.assertIn("no variant of Millrace could be measured", errors)
        self.assertIn("did not start (exit status 1)", errors)
        for name in wanted:
            self.assertNotIn(f"{name}: left out", errors)
            self.assertNotIn(f"{name} tuned: left out", errors)
        self.assertEqual(self.validate(kept), 2 * len(wanted))

    # Ending early

    def test_an_interrupt_ends_everything_at_once(self):
        file = self.write()
        for number in (signal.SIGINT, signal.SIGTERM):
            with self.subTest(signal=number.name):
                running = self.start(file, "--url", "/item", *SHORT, "--rounds", 1000)
                deadline = time.monotonic() + settings.HANG
                seen = {}
                # The proxy and the load at work, which name the place where all is written.
                while not (any(" run " in c for c in seen.values())
                           and any(" load " in c for c in seen.values())):
                    self.assertLess(time.monotonic(), deadline, seen)
                    self.assertIsNone(running.poll())
                    seen = self.session(running.pid)
                    time.sleep(0.005)
                places = self.places(" ".join(seen.values()))
                self.assertGreaterEqual(len(places), 2, seen)
                running.send_signal(number)
                out, errors = running.communicate(timeout=settings.HANG)
                self.assertEqual(running.returncode, 130, out + errors)
                self.assertTrue(errors.endswith("millrace compare: interrupted\n"), errors)
                self.assertEqual(out, "")
                self.assert_nothing_is_left(running.pid, places)

    def test_nothing_outlives_a_comparison_that_is_killed(self):
        running = self.start(self.write(), "--url", "/item", *SHORT)
        deadline = time.monotonic() + settings.HANG
        seen = {}
        while len(seen) < 3:
            self.assertLess(time.monotonic(), deadline, seen)
            seen = self.session(running.pid)
            time.sleep(0.005)
        running.kill()
        running.wait()
        while self.session(running.pid):
            self.assertLess(time.monotonic(), deadline, self.session(running.pid))
            time.sleep(0.05)
        # Nobody was left to remove what it wrote; the next one does, before it fails for its own reason,
        # and leaves alone what belongs to one that runs.
        places = self.places(" ".join(seen.values()))
        for place in places:
            self.addCleanup(shutil.rmtree, place, ignore_errors=True)
        self.assertTrue(any(os.path.exists(place) for place in places), places)
        other = self.start(self.write("other.yaml"), "--url", "/item", *SHORT, "--rounds", 1000)
        theirs = set()
        while len(theirs) < 2:
            self.assertLess(time.monotonic(), deadline, theirs)
            theirs = self.places(" ".join(self.session(other.pid).values()))
            time.sleep(0.005)
        self.assertEqual([place for place in places if os.path.exists(place)], [])
        third = self.start(self.write(), "--variants", "epoll@/bin/false", *SHORT)
        third.communicate(timeout=settings.HANG)
        self.assertEqual([place for place in theirs if not os.path.exists(place)], [])
        other.send_signal(signal.SIGINT)
        other.communicate(timeout=settings.HANG)
        self.assert_nothing_is_left(other.pid, theirs)

    # What is refused

    def test_what_is_wrong_is_said_before_anything_runs(self):
        file = self.write()
        (self.folder / "torn.json").write_text('{"schema": 1}')
        (self.folder / "bad.yaml").write_text("listeners: []\n")
        (self.folder / "facts.json").write_text("{")
        (self.folder / "docker.json").write_text('{"defaultAction": "SCMP_ACT_ERRNO"}')
        (self.folder / "blocked.json").write_text('{"features": {"io_uring": "blocked"}}')
        rows = [
            (2, "--variants: \"kqueue\"", [file, "--variants", "epoll,kqueue"]),
            (2, "sqpol", [file, "--variants", "epoll+sqpol"]),
            (2, "--peers: unknown proxy apache", [file, "--peers", "apache"]),
            (2, "--rounds is 0", [file, "--rounds", "0"]),
            (2, "--duration is \"0.1\"", [file, "--duration", "0.1"]),
            (2, "--duration is \"nan\"", [file, "--duration", "nan"]),
            (2, "--rates: \"-5\"", [file, "--rates=-5"]),
            (2, "--rates: \"inf\"", [file, "--rates", "100,inf"]),
            (2, "--proxy-cpus is \"x\"", [file, "--proxy-cpus", "x"]),
            (2, "--size and --delay apply to the test origin", [file, "--size", "1KiB"]),
            (2, "no listener of", [file, "--url", "https://h/"]),
            (2, "--url ftp://h/", [file, "--url", "ftp://h/"]),
            (2, "cannot read absent.yaml", ["absent.yaml"]),
            (2, "bad.yaml", ["bad.yaml"]),
            (2, "cannot read absent.json", [file, "--against", "absent.json"]),
            (2, "torn.json was not written by compare --json", [file, "--against", "torn.json"]),
            (2, "cannot write /nonexistent/x.json", [file, "--json", "/nonexistent/x.json"]),
            (2, "cannot write /nonexistent/x.html", [file, "--html", "/nonexistent/x.html"]),
            (2, "--container-profile is not a valid target profile",
             [file, "--container-profile", "facts.json"]),
            (2, "defaultAction is not a known key", [file, "--container-profile", "docker.json"]),
            (2, "features.io_uring is \"blocked\"", [file, "--container-profile", "blocked.json"]),
            (1, "CPU 999 is not among", [file, "--load-cpus", "999"]),
            (64, "--connections", [file, "--connections", "many"]),
            (64, "--no-such-flag", [file, "--no-such-flag"]),
        ]
        for code, words, arguments in rows:
            with self.subTest(arguments=arguments):
                # What is the user's to mend is refused on any machine.
                forced = ["--force"] if code == 2 else []
                out, errors = self.compare(*arguments, *forced, code=code)
                self.assertIn(words, errors)
                self.assertEqual(out, "")

    def test_one_cpu_is_refused_with_a_hint(self):
        if not program("taskset"):
            self.skipTest("taskset is not installed")
        cpu = str(min(os.sched_getaffinity(0)))
        out, errors = self.compare(
            self.write(), "--quick", code=1, wrapper=("taskset", "-c", cpu))
        self.assertIn("this machine is not suitable for a comparison: there is only one CPU", errors)
        self.assertIn("--force", errors)
        self.assertEqual(out, "")


if __name__ == "__main__":
    unittest.main()
