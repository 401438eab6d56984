"""Layer 1: the start and the end of the process. What it finds (closed descriptors, no /proc, little
memory for rings, sockets of others at its path) and what it leaves (a trace, a log, no socket file).
"""

import os
import pathlib
import platform
import resource
import shutil
import signal
import socket
import stat
import subprocess
import threading
import time
import unittest

from harness import auditlog, configuration, ports, settings, wire
from harness.case import SystemCase, on_both_engines
from harness.proxy import Proxy, is_listening, run_to_end

NOBODY = 65534
TRAPS = {"x86_64": b"\x0f\x0b", "aarch64": b"\x00\x00\x00\x00"}  # ud2; udf #0
TURN = {"epoll": "clinux_epoll_wait", "io_uring": "clinux_uring_enter"}


def run(*arguments, limit=settings.HANG, **options):
    """A command to its end, with what subprocess.Popen can do to a child: (code, out, errors)."""
    done = subprocess.run(
        [settings.BINARY, *map(str, arguments)], capture_output=True, timeout=limit, check=False,
        text=True, errors="replace", **{"stdin": subprocess.DEVNULL, **options})
    return done.returncode, done.stdout, done.stderr


def place_of(symbol, pid):
    """Where a function of the binary lies in a process."""
    names = subprocess.run(["nm", settings.BINARY], capture_output=True, text=True, check=True)
    offset = next(
        int(line.split()[0], 16) for line in names.stdout.splitlines()
        if line.split()[-1] == symbol)
    program = os.path.realpath(settings.BINARY)
    with open(f"/proc/{pid}/maps", encoding="ascii", errors="replace") as maps:
        return offset + min(int(line.split("-")[0], 16) for line in maps if program in line)


@on_both_engines
class Crash(SystemCase):
    """A crash under load ends the process at once, says where, and leaves the log recoverable."""

    def start_audited(self):
        origin = self.start_origin()
        directory = self.folder / "audit"
        config = self.settings_for(
            origin.port, workers=2,
            audit={"directory": str(directory), "segment": {"size": "1MiB"}})
        proxy = self.start_proxy(config)
        answered = [0]

        def ask():
            while True:
                try:
                    connection = wire.Wire.connect(proxy.port)
                    try:
                        while connection.send(wire.get("/load")).response().status == 200:
                            answered[0] += 1
                            time.sleep(0.01)
                    finally:
                        connection.close()
                except (OSError, AssertionError, ValueError, EOFError):
                    return

        threads = [threading.Thread(target=ask) for _ in range(4)]
        for thread in threads:
            thread.start()
        self.addCleanup(lambda: [thread.join(settings.HANG) for thread in threads])
        deadline = time.monotonic() + settings.HANG
        while answered[0] < 40 and time.monotonic() < deadline:
            time.sleep(0.01)
        self.assertGreaterEqual(answered[0], 40)
        proxy.ended_by_test = True
        return proxy, directory, answered

    def check_ended(self, proxy, directory, answered, number):
        # On a machine that is busy enough the runtime's trace is cut, at last by SIGKILL.
        self.assertIn(proxy.wait(), (-number, -signal.SIGKILL), proxy.tail())
        text = proxy.log_path.read_text("utf-8", "replace")
        self.assertIn(f"crashed signal={number.name} thread=", text)
        self.assertIn("millrace(+0x", text, "no frame of the program in the trace")
        again = Proxy(proxy.directory, pathlib.Path(proxy.file).read_text("utf-8"))
        self.proxies.append(again)
        self.addCleanup(again.clean_up)
        again.start()
        again.stop()
        log = auditlog.AuditLog(directory)
        code, out = log.verify()
        self.assertEqual(code, 0, out)
        self.assertGreaterEqual(log.paths().get("/load", 0), answered[0])

    def check_signal(self, number):
        proxy, directory, answered = self.start_audited()
        proxy.signal(number)
        self.check_ended(proxy, directory, answered, number)

    def test_sigsegv(self):
        self.check_signal(signal.SIGSEGV)

    def test_sigabrt(self):
        self.check_signal(signal.SIGABRT)

    def test_a_trap_in_a_worker(self):
        """The worker's next turn meets an instruction that is none: what a failed precondition is."""
        if platform.machine() not in TRAPS:
            raise unittest.SkipTest(f"no instruction known that traps on {platform.machine()}")
        proxy, directory, answered = self.start_audited()
        place = place_of(TURN[self.engine], proxy.pid)
        with open(f"/proc/{proxy.pid}/mem", "r+b", buffering=0) as memory:
            memory.seek(place)
            memory.write(TRAPS[platform.machine()])
        self.check_ended(proxy, directory, answered, signal.SIGILL)
        text = proxy.log_path.read_text("utf-8", "replace")
        self.assertRegex(text, r"thread=millrace-\d")


class HungTrace(SystemCase):
    """Swift's backtracer is another program: where it hangs, the process ends all the same."""

    engine = "epoll"

    def test_a_backtracer_that_hangs_is_not_waited_for(self):
        script = self.folder / "backtracer"
        note = self.folder / "pid"
        script.write_text(f"#!/bin/sh\necho $$ > {note}\nexec sleep 60\n", encoding="ascii")
        script.chmod(0o755)
        config = self.settings_for(ports.free_port())
        proxy = self.start_proxy(
            config, environment={"SWIFT_BACKTRACE": f"enable=yes,swift-backtrace={script}"})
        proxy.ended_by_test = True
        proxy.signal(signal.SIGSEGV)
        self.assertIn(proxy.wait(), (-signal.SIGSEGV, -signal.SIGKILL))
        self.assertIn("crashed signal=SIGSEGV", proxy.log_path.read_text("utf-8", "replace"))
        deadline = time.monotonic() + settings.HANG
        while os.path.exists(f"/proc/{int(note.read_text())}") and time.monotonic() < deadline:
            time.sleep(0.02)
        self.assertFalse(os.path.exists(f"/proc/{int(note.read_text())}"), "it is left behind")


@on_both_engines
class Quit(SystemCase):
    def test_sigquit_drains_like_sigterm(self):
        proxy = self.proxy_before(self.start_origin().port)
        proxy.ended_by_test = True
        proxy.signal(signal.SIGQUIT)
        self.assertEqual(proxy.wait(), 0)
        self.assertTrue(proxy.find("draining", reason="SIGQUIT"))
        self.assertTrue(proxy.find("stopped"))


@on_both_engines
class ClosedDescriptors(SystemCase):
    def test_nothing_is_written_into_a_file_that_took_a_closed_descriptor(self):
        origin = self.start_origin()
        directory = self.folder / "audit"
        port = ports.free_port()
        process = subprocess.Popen(
            ["/bin/sh", "-c", 'exec "$0" "$@" <&- >&- 2>&-', settings.BINARY, "run",
             "--from", f"127.0.0.1:{port}", "--to", f"127.0.0.1:{origin.port}",
             "--engine", self.engine, "--audit", str(directory)])
        try:
            deadline = time.monotonic() + settings.HANG
            while not is_listening(port) and time.monotonic() < deadline:
                time.sleep(0.02)
            for number in range(3):
                self.assertEqual(os.readlink(f"/proc/{process.pid}/fd/{number}"), "/dev/null")
            connection = wire.Wire.connect(port)
            self.assertEqual(connection.send(wire.get()).response().status, 200)
            connection.close()
        finally:
            process.terminate()
            self.assertEqual(process.wait(settings.HANG), 0)
        self.assertEqual((directory / "millrace.lock").read_bytes(), b"")


@on_both_engines
class WithoutProc(SystemCase):
    """In a mount namespace whose /proc is empty, as in a sandbox."""

    def wrapper(self):
        if os.geteuid() != 0 or not shutil.which("unshare"):
            raise unittest.SkipTest("a mount namespace needs root and unshare (util-linux)")
        return ["unshare", "--mount", "sh", "-c",
                'mount -t tmpfs none /proc && exec "$0" "$@"']

    def test_check_reads_its_file(self):
        wrong = self.folder / "wrong.yaml"
        wrong.write_text("listeners: 7\n", encoding="utf-8")
        code, out, errors = run_to_end(["check", wrong], wrapper=self.wrapper())
        self.assertEqual(code, 2, out + errors)
        self.assertIn("wrong.yaml", errors)
        right = self.folder / "right.yaml"
        right.write_text(
            configuration.render(self.settings_for(ports.free_port())) + "\n", encoding="utf-8")
        code, out, errors = run_to_end(["check", right], wrapper=self.wrapper())
        self.assertEqual((code, out), (0, f"{right}: valid\n"), errors)

    def test_run_serves(self):
        config = self.settings_for(self.start_origin().port)
        proxy = self.start_proxy(config, wrapper=self.wrapper())
        self.assertEqual(self.fetch(proxy).status, 200)


@on_both_engines
class OneAddress(SystemCase):
    """Two processes that start at the same instant: one serves, one says that the address is in use."""

    def check_race(self, addresses):
        files = []
        for number, address in enumerate(addresses):
            config = self.settings_for(self.start_origin().port)
            config["listeners"][0]["address"] = address
            file = self.folder / f"race{number}.yaml"
            file.write_text(configuration.render(config) + "\n", encoding="utf-8")
            files.append(file)
        processes = [
            subprocess.Popen(
                [settings.BINARY, "run", str(file)], stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
            for file in files]
        try:
            deadline = time.monotonic() + settings.HANG
            while all(one.poll() is None for one in processes) and time.monotonic() < deadline:
                time.sleep(0.01)
            codes = [one.poll() for one in processes]
            self.assertEqual(sorted(codes, key=str), [2, None], "both run, or neither")
            loser = processes[codes.index(2)]
            self.assertIn("in use", loser.stderr.read())
        finally:
            for one in processes:
                if one.poll() is None:
                    one.send_signal(signal.SIGTERM)
                one.wait(settings.HANG)
                one.stderr.close()

    def test_the_same_address(self):
        for _ in range(3):
            self.check_race([f"127.0.0.1:{ports.free_port()}"] * 2)

    def test_a_wildcard_and_a_specific_address(self):
        port = ports.free_port()
        self.check_race([f"0.0.0.0:{port}", f"127.0.0.1:{port}"])

    def test_both_families_and_one(self):
        port = ports.free_port()
        self.check_race([f":{port}", f"0.0.0.0:{port}"])

    def test_a_unix_socket(self):
        for number in range(3):
            self.check_race([f"unix:{self.folder}/{number}.sock"] * 2)


@on_both_engines
class UnixListener(SystemCase):
    def file_for(self, path, **more):
        config = self.settings_for(ports.free_port())
        config["listeners"] = [{"name": "edge", "address": f"unix:{path}", **more}]
        self.config = config
        file = self.folder / "unix.yaml"
        file.write_text(configuration.render(config) + "\n", encoding="utf-8")
        return file

    def start(self, path, **more):
        file = self.file_for(path, **more)
        return self.start_proxy(arguments=["run", str(file)])

    def check_refused(self, path, reason, also_check=True, **options):
        file = self.file_for(path)
        for command in ("run", "check") if also_check else ("run",):
            code, out, errors = run(command, file, **options)
            self.assertEqual(code, 2, (command, out, errors))
            self.assertIn(reason, errors)
            self.assertIn("listeners[0].address", errors)

    def test_a_live_datagram_or_seqpacket_socket_stays(self):
        for kind in (socket.SOCK_DGRAM, socket.SOCK_SEQPACKET):
            path = self.folder / f"kind{int(kind)}.sock"
            with socket.socket(socket.AF_UNIX, kind) as live:
                live.bind(str(path))
                if kind == socket.SOCK_SEQPACKET:
                    live.listen()
                self.check_refused(path, "a datagram or seqpacket socket")
                self.assertTrue(path.exists())

    def test_another_users_socket_stays(self):
        if os.geteuid() != 0:
            raise unittest.SkipTest("becoming another user needs root")
        path = self.folder / "theirs.sock"
        self.folder.chmod(0o777)
        with socket.socket(socket.AF_UNIX) as live:
            live.bind(str(path))
            path.chmod(0o600)
            live.listen()
            self.check_refused(path, "Permission denied", user=NOBODY, group=NOBODY)
            self.assertTrue(path.exists())

    def test_a_live_stream_socket_stays_and_a_stale_one_is_replaced(self):
        path = self.folder / "stream.sock"
        with socket.socket(socket.AF_UNIX) as live:
            live.bind(str(path))
            live.listen()
            self.check_refused(path, "in use", also_check=False)
        self.assertTrue(path.exists(), "nobody serves it now")
        self.start(path).stop()

    def test_a_file_that_is_no_socket_stays(self):
        path = self.folder / "plain"
        path.write_text("precious")
        self.check_refused(path, "is not a socket")
        self.assertEqual(path.read_text(), "precious")

    def test_a_missing_or_unwritable_directory(self):
        self.check_refused(self.folder / "absent" / "x.sock", "No such file or directory")
        if os.geteuid() == 0:
            locked = self.folder / "locked"
            locked.mkdir(mode=0o755)
            self.check_refused(
                locked / "x.sock", "Permission denied", user=NOBODY, group=NOBODY)

    def check_mode(self, expected, **more):
        path = self.folder / "mode.sock"
        proxy = self.start(path, **more)
        self.assertEqual(stat.S_IMODE(path.stat().st_mode), expected)
        proxy.stop()
        self.assertFalse(path.exists(), "an orderly stop removes the file")

    def test_the_mode_is_everybodys_unless_it_is_set(self):
        self.check_mode(0o666)
        self.check_mode(0o660, mode="0660")
        self.check_mode(0o600, mode="600")

    def test_another_process_file_at_the_path_stays(self):
        path = self.folder / "moved.sock"
        proxy = self.start(path)
        path.unlink()
        with socket.socket(socket.AF_UNIX) as other:
            other.bind(str(path))
            proxy.stop()
            self.assertTrue(path.exists())

    def test_a_mode_of_an_ip_address_is_a_warning(self):
        config = self.settings_for(ports.free_port())
        config["listeners"][0]["mode"] = "0660"
        file = self.folder / "ip.yaml"
        file.write_text(configuration.render(config) + "\n", encoding="utf-8")
        code, _, errors = run("check", file)
        self.assertEqual(code, 0)
        self.assertRegex(errors, r"listeners\[0\]\.mode \(.*warning")


class LittleMemoryForRings(SystemCase):
    """RLIMIT_MEMLOCK counts the rings of all processes of a user, unless it has CAP_IPC_LOCK."""

    def setUp(self):
        super().setUp()
        if os.geteuid() != 0:
            raise unittest.SkipTest("becoming another user needs root")
        if settings.URING_REFUSAL:
            raise unittest.SkipTest(f"io_uring_setup is refused here: {settings.URING_REFUSAL}")

    def as_nobody(self, kibibytes):
        def limit():
            resource.setrlimit(resource.RLIMIT_MEMLOCK, (kibibytes << 10, kibibytes << 10))

        # A user of its own per limit: rings that the kernel has not freed yet count too.
        return {"user": NOBODY - kibibytes, "group": NOBODY, "extra_groups": [],
                "preexec_fn": limit}

    def start_as_nobody(self, kibibytes, engine, workers):
        config = self.settings_for(self.start_origin().port, workers=workers)
        config["engine"] = engine
        port = int(config["listeners"][0]["address"].rpartition(":")[2])
        file = self.folder / f"{engine}{kibibytes}.yaml"
        file.write_text(configuration.render(config) + "\n", encoding="utf-8")
        process = subprocess.Popen(
            [settings.BINARY, "run", str(file)], stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
            **self.as_nobody(kibibytes))
        self.addCleanup(process.stderr.close)
        self.addCleanup(process.wait, settings.HANG)
        self.addCleanup(lambda: process.poll() is None and process.kill())
        return process, port

    def selected_line(self, process):
        lines = []
        for line in process.stderr:
            lines.append(line)
            if " ready " in line:
                break
        found = [line for line in lines if "engine selected" in line]
        self.assertEqual(len(found), 1, lines)
        return found[0]

    def check_serves(self, kibibytes, workers, *expected):
        process, port = self.start_as_nobody(kibibytes, "auto", workers)
        line = self.selected_line(process)
        for words in expected:
            self.assertIn(words, line)
        connection = wire.Wire.connect(port)
        self.addCleanup(connection.close)
        self.assertEqual(connection.send(wire.get()).response().status, 200)
        connection.close()
        process.terminate()
        self.assertEqual(process.wait(settings.HANG), 0)

    def test_many_workers_take_smaller_rings(self):
        self.check_serves(
            1024, 12, "engine=io_uring", "rings=", "Cannot allocate memory", "LimitMEMLOCK=")

    def test_too_many_workers_take_epoll(self):
        self.check_serves(
            64, 12, "engine=epoll", "reason=ENOMEM", "Cannot allocate memory", "LimitMEMLOCK=")

    def test_no_ring_at_all_takes_epoll(self):
        self.check_serves(4, 1, "engine=epoll", "reason=ENOMEM", "LimitMEMLOCK=")

    def test_io_uring_by_name_refuses_with_reason_and_hint(self):
        process, port = self.start_as_nobody(66, "io_uring", 12)
        errors = process.stderr.read()
        self.assertEqual(process.wait(settings.HANG), 1)
        line = next(line for line in errors.splitlines() if "engine unavailable" in line)
        for words in ("reason=ENOMEM", "Cannot allocate memory", "LimitMEMLOCK="):
            self.assertIn(words, line)
        self.assertFalse(is_listening(port))

    def test_load_and_origin_fall_back_too(self):
        port = ports.free_port()
        origin = subprocess.Popen(
            [settings.BINARY, "origin", "--listen", f"127.0.0.1:{port}", "--threads", "12"],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            **self.as_nobody(62))
        self.addCleanup(origin.stdout.close)
        self.addCleanup(origin.stderr.close)
        self.addCleanup(origin.wait, settings.HANG)
        self.addCleanup(origin.kill)
        self.assertIn("listening", origin.stdout.readline())
        self.assertIn("engine=epoll", origin.stderr.readline())
        code, out, errors = run(
            "load", f"http://127.0.0.1:{port}/", "--threads", "12", "--connections", "24",
            "--requests", "100", "--warm-up", "0s", "--no-progress", **self.as_nobody(60))
        self.assertEqual(code, 0, out + errors)
        self.assertIn("engine=epoll", errors)
        self.assertIn("LimitMEMLOCK=", errors)


if __name__ == "__main__":
    unittest.main()
