"""Layer 7: room in the audit log, and what may not be done to it.

Many open requests of one client leave room for another's; nobody is unrecorded by what he sends; the
directory holds regular files of this user only, and a log that is deleted is noticed.
"""

import json
import os
import selectors
import shutil
import socket
import struct
import subprocess
import threading
import time

from harness import settings, wire
from harness.auditlog import AuditLog
from harness.case import SystemCase, on_both_engines
from harness.proxy import run_to_end

QUOTES = '"' * 8000


def wait_until(predicate, limit=settings.HANG):
    """Waits for something to become true; what is not in time is stuck."""
    deadline = time.monotonic() + limit
    while not predicate():
        if time.monotonic() > deadline:
            raise AssertionError("not in time")
        time.sleep(0.02)


class RoomCase(SystemCase):
    def start_audited(self, *ports, timeouts=None, **audit):
        self.log = AuditLog(self.folder / "audit")
        audit.setdefault("directory", str(self.log.directory))
        return self.proxy_before(*ports, audit=audit, timeouts=timeouts)

    def assertVerifies(self):
        code, text = self.log.verify()
        self.assertEqual(code, 0, text)


class HangingOrigin:
    """A server that answers `/ok` and keeps thousands of other requests open, in one thread."""

    def __init__(self):
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=4096)
        self.port = self.listener.getsockname()[1]
        self.hanging = 0
        self.connections = []
        self.ending = threading.Event()
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self):
        with selectors.DefaultSelector() as selector:
            self.listener.setblocking(False)
            selector.register(self.listener, selectors.EVENT_READ)
            while not self.ending.is_set():
                for key, _ in selector.select(0.05):
                    if key.fileobj is self.listener:
                        connection, _ = self.listener.accept()
                        connection.setblocking(False)
                        self.connections.append(connection)
                        selector.register(connection, selectors.EVENT_READ)
                        continue
                    self._read(selector, key.fileobj)

    def _read(self, selector, connection):
        try:
            data = connection.recv(65536)
        except OSError:
            data = b""
        if not data:
            selector.unregister(connection)
            connection.close()
        elif data.split(b" ", 2)[1].startswith(b"/hang"):
            self.hanging += 1
        else:
            connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

    def close(self):
        self.ending.set()
        self.thread.join(settings.HANG)
        for connection in [*self.connections, self.listener]:
            connection.close()


@on_both_engines
class OpenExchanges(RoomCase):
    """238 of them took all the room that there was."""

    def check_others_are_served(self, count, request):
        origin = HangingOrigin()
        self.addCleanup(origin.close)
        proxy = self.start_audited(origin.port)
        held = []
        for number in range(count):
            connection = socket.create_connection(("127.0.0.1", proxy.port))
            self.addCleanup(connection.close)
            connection.sendall(request(number))
            held.append(connection)
        wait_until(lambda: origin.hanging == count)
        self.assertEqual(origin.hanging, count)
        for _ in range(5):
            self.assertEqual(self.fetch(proxy, wire.get("/ok")).status, 200)
        self.assertEqual(proxy.counters()["audit_rejects"], 0)
        for connection in held:
            # A reset: a client that only ends its half may still wait for its answer.
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            connection.close()
        proxy.settle({"exchanges": 0})
        proxy.stop()
        self.assertEqual(sum(self.log.paths().values()), count + 5)
        self.assertVerifies()

    def test_two_thousand_open_gets_leave_room_for_others(self):
        self.check_others_are_served(2000, lambda number: wire.get(f"/hang/{number}"))

    def test_open_posts_with_a_path_of_quotes_leave_room_for_others(self):
        def post(number):
            return wire.request("POST", f"/hang/{number}?{QUOTES[:7900]}", body=b"x")

        self.check_others_are_served(300, post)


@on_both_engines
class NobodyIsUnrecorded(RoomCase):
    """A record that outgrew its bound was dropped, and the request served."""

    def test_what_a_client_sends_is_cut_and_recorded_under_every_policy(self):
        origin = self.start_origin()
        long = "\x80" * 12_000
        for policy in ("drop", "reject", "block"):
            with self.subTest(policy=policy):
                shutil.rmtree(self.folder / "audit", ignore_errors=True)
                proxy = self.start_audited(origin.port, when_full=policy)
                connection = self.connect(proxy)
                connection.send(
                    f"GET /x HTTP/1.1\r\nHost: site.test\r\nX-Request-ID: {long}\r\n\r\n".encode(
                        "latin-1"
                    )
                )
                self.assertEqual(connection.response().status, 200)
                connection.close()
                proxy.stop()
                records = self.log.requests()
                self.assertEqual(len(records), 1)
                self.assertEqual(records[0]["request_id_truncated"], 12_000)
                self.assertEqual(set(records[0]["request_id"]), {"\uf780"})
                self.assertVerifies()

    def test_what_could_drive_a_terminal_is_not_raw_in_the_log(self):
        origin = self.start_origin()
        proxy = self.start_audited(origin.port)
        text = "a\u009b31m\u0085\u2028\u202e\u2066\u200f\u061c\ufeffb"
        self.fetch(
            proxy,
            f"GET /x HTTP/1.1\r\nHost: site.test\r\nX-Request-ID: {text}\r\n\r\n".encode(),
        )
        proxy.stop()
        self.assertEqual(self.log.requests()[0]["request_id"], text)
        raw = b"".join(segment.read_bytes() for segment in self.log.segments()).decode()
        for character in text[1:-1]:
            if not character.isalnum():
                self.assertNotIn(character, raw)


@on_both_engines
class StrangeFiles(RoomCase):
    """What a start finds in the directory and must not open."""

    def refused(self, name):
        origin = self.start_origin()
        config = self.settings_for(origin.port, audit={"directory": str(self.folder / "audit")})
        path = self.folder / "refused.json"
        path.write_text(json.dumps(config))
        code, out, errors = run_to_end(["run", path])
        self.assertNotEqual(code, 0)
        self.assertIn(name, out + errors)

    def test_a_link_of_a_segments_name_is_refused_and_its_target_left_alone(self):
        directory = self.folder / "audit"
        directory.mkdir()
        target = self.folder / "precious"
        for name in ("w000-0000000001.jsonl", "millrace.lock"):
            with self.subTest(name=name):
                target.write_text("keep me\n")
                (directory / name).unlink(missing_ok=True)
                (directory / name).symlink_to(target)
                self.refused(name)
                self.assertEqual(target.read_text(), "keep me\n")
                (directory / name).unlink()

    def test_a_fifo_of_a_segments_name_does_not_hang_the_start(self):
        directory = self.folder / "audit"
        directory.mkdir()
        for name in ("w000-0000000001.jsonl", "millrace.lock"):
            with self.subTest(name=name):
                (directory / name).unlink(missing_ok=True)
                os.mkfifo(directory / name)
                self.refused(name)
                (directory / name).unlink()

    def test_a_link_in_the_way_of_a_new_segment_is_removed_and_not_followed(self):
        origin = self.start_origin()
        proxy = self.start_audited(origin.port, segment={"size": "1MiB"})
        target = self.folder / "precious"
        target.write_text("keep me\n")
        for number in range(2, 12):
            name = self.log.directory / f"w000-{number:010}.prepare"
            if not name.exists():
                name.symlink_to(target)
        connection = self.connect(proxy)
        for number in range(600):
            connection.send(wire.get(f"/{number}/{'p' * 1500}"))
            self.assertEqual(connection.response().status, 200)
        connection.close()
        proxy.stop()
        self.assertEqual(target.read_text(), "keep me\n")
        self.assertEqual(len(self.log.requests()), 600)
        self.assertVerifies()


@on_both_engines
class LiveLog(RoomCase):
    def test_jq_over_a_live_log_reads_a_short_tail(self):
        origin = self.start_origin()
        proxy = self.start_audited(origin.port)
        connection = self.connect(proxy)
        for number in range(50):
            connection.send(wire.get(f"/{number}"))
            connection.response()
        tails = 0
        for segment in self.log.segments():
            data = segment.read_bytes()
            tails += len(data) - len(data.rstrip(b"\n"))
        self.assertLessEqual(tails, 2 << 20, "newlines that every reader has to skip")
        result = subprocess.run(
            ["jq", "-c", 'select(.kind == "exchange" or .kind == "begin")', *self.log.segments()],
            capture_output=True,
            timeout=settings.HANG,
            check=True,
        )
        self.assertEqual(len(result.stdout.splitlines()), 50)

    def check_deleted(self, when_full):
        origin = self.start_origin()
        proxy = self.start_audited(origin.port, when_full=when_full)
        self.assertEqual(self.fetch(proxy, wire.get("/before")).status, 200)
        shutil.rmtree(self.log.directory)
        proxy.wait_for("audit log missing", missing="directory")
        return proxy

    def test_a_deleted_directory_is_noticed_and_service_comes_back_with_it(self):
        proxy = self.check_deleted("reject")
        self.assertEqual(self.fetch(proxy, wire.get("/during")).status, 503)
        self.log.directory.mkdir()
        proxy.wait_for("audit log available again")
        wait_until(lambda: self.fetch(proxy, wire.get("/after")).status == 200)
        proxy.stop()
        paths = self.log.paths()
        self.assertIn("/after", paths)
        self.assertNotIn("/during", paths)
        self.assertVerifies()

    def test_a_deleted_directory_with_drop_serves_unrecorded_and_counts(self):
        proxy = self.check_deleted("drop")
        self.assertEqual(self.fetch(proxy, wire.get("/during")).status, 200)
        self.assertEqual(proxy.counters()["audit_drops"], 1)
        self.log.directory.mkdir()
        proxy.wait_for("audit log available again")
        proxy.stop()

    def test_a_deleted_live_segment_is_followed_by_another(self):
        origin = self.start_origin()
        proxy = self.start_audited(origin.port)
        self.assertEqual(self.fetch(proxy, wire.get("/before")).status, 200)
        for segment in self.log.segments():
            segment.unlink()
        proxy.wait_for("audit log missing", missing="segment")
        proxy.wait_for("audit log available again")
        self.assertEqual(self.fetch(proxy, wire.get("/after")).status, 200)
        proxy.stop()
        self.assertIn("/after", self.log.paths())
        self.assertVerifies()
