"""Layer 6: `millrace top`: a line per interval on a pipe, a screen with keys in a terminal of 80 by 24."""

import fcntl
import json
import os
import pty
import re
import select
import signal
import socket
import struct
import subprocess
import termios
import threading
import time
import unittest

from harness import settings, wire
from harness.admin import with_admin
from harness.case import SystemCase
from harness.proxy import run_to_end

KEYS = (
    "requests 2xx 3xx 4xx 5xx p50_ms p99_ms active connections retries upstream_failures cpu_percent"
).split()


class Screen:
    """A process in a terminal, and what its screen shows: the text behind the last move to the corner."""

    def __init__(self, test, *arguments):
        self.parent, child = pty.openpty()
        fcntl.ioctl(child, termios.TIOCSWINSZ, struct.pack("4H", 24, 80, 0, 0))
        self.process = subprocess.Popen(
            [settings.BINARY, *map(str, arguments)], stdin=child, stdout=child, stderr=child,
            start_new_session=True)
        os.close(child)
        self.output = b""
        test.addCleanup(self.close)

    def close(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        os.close(self.parent)

    def press(self, keys):
        os.write(self.parent, keys)

    def read(self):
        if select.select([self.parent], [], [], 0.2)[0]:
            try:
                self.output += os.read(self.parent, 65536)
            except OSError:  # the other end is closed
                return

    def lines(self):
        whole = [part for part in self.output.split(b"\x1b[H") if part.endswith(b"\x1b[J")]
        text = whole[-1].decode() if whole else ""
        bare = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text)
        return [line.rstrip("\r") for line in bare.split("\n")]

    def until(self, test, wanted):
        deadline = time.monotonic() + settings.HANG
        while not wanted(self.lines()):
            test.assertLess(time.monotonic(), deadline, "\n".join(self.lines()))
            self.read()
        return self.lines()


class Top(SystemCase):
    engine = "epoll"

    def started(self):
        origins = [self.start_origin() for _ in range(3)]
        config = self.settings_for(*(origin.port for origin in origins), workers=2)
        admin = with_admin(self, config)
        return self.start_proxy(config), admin, origins

    def test_a_pipe_gets_a_line_per_interval(self):
        proxy, admin, _ = self.started()
        for _ in range(5):
            self.fetch(proxy)
        code, out, errors = run_to_end(
            ["top", "-a", admin.address, "-i", "0.2", "-n", "3"], limit=settings.HANG)
        self.assertEqual((code, errors), (0, ""))
        lines = out.splitlines()
        self.assertEqual(len(lines), 3)
        for line in lines:
            time_text, *pairs = line.split(" ")
            self.assertRegex(time_text, r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$")
            self.assertEqual([pair.split("=")[0] for pair in pairs], KEYS)
            self.assertNotIn("\x1b", line)

    def test_in_a_terminal_it_fits_and_obeys_keys(self):
        proxy, admin, origins = self.started()
        screen = Screen(self, "top", "-a", admin.address, "-i", "0.3")
        lines = screen.until(self, lambda lines: any("serving" in line for line in lines))
        self.assertEqual(len(lines), 24)
        self.assertLessEqual(max(map(len, lines)), 80)
        names = sorted(f"origin/127.0.0.1:{origin.port}" for origin in origins)

        def shown(lines):
            return [line.split(" ")[0] for line in lines if line.startswith("origin/")]

        connection = self.connect(proxy)
        for _ in range(30):
            connection.send(wire.get("/"))
            connection.response()
        for _ in range(3):
            screen.press(b"s")
        lines = screen.until(self, lambda lines: "[name]" in lines[-1])
        self.assertEqual(shown(lines), names)
        screen.press(b"/" + names[1][-5:].encode() + b"\r")
        screen.until(self, lambda lines: shown(lines) == [names[1]])
        screen.press(b"/\x1b")
        screen.until(self, lambda lines: len(shown(lines)) == 3)
        screen.press(b"p")
        screen.until(self, lambda lines: "PAUSED" in lines[-1])
        screen.press(b"q")
        self.assertEqual(screen.process.wait(settings.HANG), 0)
        while select.select([screen.parent], [], [], 0)[0]:
            before = len(screen.output)
            screen.read()
            if len(screen.output) == before:
                break
        self.assertIn(b"\x1b[?1049l", screen.output)

    def test_a_signal_leaves_the_terminal_as_it_was(self):
        proxy, admin, _ = self.started()
        for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
            with self.subTest(number.name):
                screen = Screen(self, "top", "-a", admin.address, "-i", "3600")
                screen.until(self, lambda lines: any("serving" in line for line in lines))
                self.assertFalse(termios.tcgetattr(screen.parent)[3] & termios.ECHO)
                screen.process.send_signal(number)
                self.assertEqual(screen.process.wait(settings.HANG), 0)
                screen.read()
                self.assertTrue(screen.output.endswith(b"\x1b[?25h\x1b[?1049l"), screen.output[-40:])
                self.assertTrue(termios.tcgetattr(screen.parent)[3] & termios.ECHO)
        on_a_pipe = subprocess.Popen(
            [settings.BINARY, "top", "-a", admin.address, "-i", "0.1"], stdout=subprocess.PIPE)
        self.assertTrue(on_a_pipe.stdout.readline())
        on_a_pipe.send_signal(signal.SIGTERM)
        on_a_pipe.stdout.read()
        self.assertEqual(on_a_pipe.wait(settings.HANG), 0)

    def test_text_of_an_answer_never_commands_the_terminal(self):
        hostile = "a\x1b[2J\x07b\u202e\nc"
        path = self.folder / "hostile.sock"
        answers = {
            "/status": (200, {"version": hostile, "phase": hostile, "log_level": hostile,
                              "upstreams": [{"name": hostile, "servers": [{"address": hostile, "state": hostile}]}]}),
            "/reload": (409, {"error": hostile, "hint": hostile}),
            "/log-level": (200, {"level": hostile}),
        }

        def serve(listener):
            while True:
                try:
                    peer, _ = listener.accept()
                except OSError:
                    return
                with peer:
                    target = peer.recv(65_536).split(b" ")[1].decode()
                    status, content = answers[target]
                    body = json.dumps(content).encode()
                    peer.sendall(b"HTTP/1.1 %d X\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%b"
                                 % (status, len(body), body))

        listener = socket.socket(socket.AF_UNIX)
        listener.bind(str(path))
        listener.listen()
        self.addCleanup(listener.close)
        threading.Thread(target=serve, args=(listener,), daemon=True).start()
        seen = ""
        for words in (["ctl", "status"], ["ctl", "reload"], ["ctl", "log-level", "debug"], ["top", "-n", "1", "-i", "0.1"]):
            code, out, errors = run_to_end([*words, "-a", f"unix:{path}"], limit=settings.HANG)
            seen += out + errors
            for character in ("\x1b", "\x07", "\u202e"):
                self.assertNotIn(character, out + errors, words)
        self.assertIn("a\\u001b[2J\\u0007b", seen)

    def test_without_a_proxy_it_says_so(self):
        code, _, errors = run_to_end(
            ["top", "-a", f"unix:{self.folder}/none.sock"], limit=settings.HANG)
        self.assertEqual(code, 2)
        self.assertIn("cannot connect", errors)


if __name__ == "__main__":
    unittest.main()
