"""HTTP/2 peers that fall silent: PINGs to both sides, and what becomes of the requests of who does not answer.

The server that falls silent is a process that is stopped (SIGSTOP): its kernel goes on acknowledging what it is sent.
"""

import os
import pathlib
import queue
import signal
import subprocess
import sys
import threading

from harness import settings, wire
from harness.auditlog import AuditLog
from harness.case import SystemCase, on_both_engines
from harness.http2 import CANCEL, NO_ERROR, Client
from harness.http2server import Server

SERVER = """
import sys
sys.path.insert(0, sys.argv[1])
from harness.http2server import Server

def script(connection):
    while True:
        request = connection.request()
        if request.head[":path"].startswith("/slow"):
            print("asked", flush=True)
        elif request.head[":path"] == "/events":
            connection.head(request.stream, 200, [("content-type", "text/event-stream")])
            connection.data(request.stream, b"event", ends=False)
        else:
            connection.answer(request, b"here")

server = Server(script)
print(server.port, flush=True)
sys.stdin.read()
"""

OFTEN = {"keep_alive_ping": "200ms", "keep_alive_ack": "300ms"}


class Process:
    """The server as a process that can be stopped."""

    def __init__(self):
        folder = pathlib.Path(__file__).resolve().parent
        self.process = subprocess.Popen(
            [sys.executable, "-c", SERVER, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.port = int(self.process.stdout.readline())

    def was_asked(self):
        assert self.process.stdout.readline() == "asked\n"

    def stop(self):
        self.process.send_signal(signal.SIGSTOP)
        # It is stopped when its parent hears so.
        os.waitid(os.P_PID, self.process.pid, os.WSTOPPED | os.WNOWAIT)

    def go_on(self):
        self.process.send_signal(signal.SIGCONT)

    def close(self):
        self.process.kill()
        self.process.communicate()


class KeepAliveCase(SystemCase):
    def start_server(self):
        server = Process()
        self.addCleanup(server.close)
        return server

    def serve(self, *ports, timeouts=None, listener=None, audited=False, **upstream):
        config = self.settings_for(*ports, upstream={"protocol": "h2c", **upstream}, timeouts=listener)
        config["listeners"][0]["http_versions"] = ["h2", "http/1.1"]
        config["upstreams"]["origin"]["timeouts"].update(timeouts or {})
        if audited:
            self.log = AuditLog(self.folder / "audit")
            config["audit"] = {"directory": str(self.log.directory), "durability": "before_response"}
        self.proxy = self.start_proxy(config)

    def client(self):
        client = Client(self.proxy.port)
        self.addCleanup(client.close)
        return client

    def python_server(self, script):
        server = Server(script)
        self.addCleanup(server.close)
        return server

    def check_all_is_back(self):
        self.proxy.settle({"exchanges": 0, "connections": 0})
        counters = self.proxy.counters()
        for key in ("leases", "frames", "cold_bytes"):
            self.assertEqual(counters[key], 0, key)


@on_both_engines
class Servers(KeepAliveCase):
    def test_a_stopped_server_fails_what_may_not_be_repeated_and_cuts_what_has_begun(self):
        server = self.start_server()
        self.serve(server.port, timeouts=OFTEN, audited=True)
        with self.client() as client:
            events = client.open("/events")
            client.until(lambda: client.streams[events].content == b"event")
            post = client.open("/slow", "POST", content=b"x")
            server.was_asked()
            server.stop()
            answer = client.response(post)
            self.assertEqual((answer.status, answer.content), (504, b"504 Gateway Timeout (upstream_ping_timeout)\n"))
            client.response(events)
            self.assertIsNotNone(client.streams[events].reset)
            self.assertEqual(self.proxy.counters()["http2_ping_timeouts"], 1)
            self.proxy.wait_for("upstream http2 failed", reason="ping_timeout", code="no_error")
            server.go_on()
            # On a connection of its own: the other one is gone.
            self.assertEqual(client.fetch("/quick").content, b"here")
            self.proxy.settle({"exchanges": 0})
        self.check_all_is_back()
        self.proxy.stop()
        endings = {r["id"]: r["ending"] for r in self.log.of_kind("exchange", "abort")}
        self.assertEqual(sorted(endings.values()), ["complete", "upstream_ping_timeout", "upstream_ping_timeout"])
        code, text = self.log.verify()
        self.assertEqual(code, 0, text)

    def test_what_may_be_repeated_goes_to_another_server(self):
        stopped = self.start_server()

        def script(connection):
            connection.answer(connection.request(), b"there")
            connection.rest()

        other = self.python_server(script)
        self.serve(stopped.port, other.port, timeouts=OFTEN, balance="round_robin")
        with self.client() as client:
            first = client.open("/slow")
            stopped.was_asked()
            stopped.stop()
            answer = client.response(first)
            self.assertEqual((answer.status, answer.content), (200, b"there"))
            counters = self.proxy.counters()
            self.assertEqual((counters["http2_ping_timeouts"], counters["retries"]), (1, 1))
        self.check_all_is_back()

    def test_a_server_that_answers_may_be_silent(self):
        pinged = threading.Event()

        def script(connection):
            request = connection.request()
            connection.until(lambda: len(connection.pings) >= 2)
            pinged.set()
            connection.answer(request, b"late")
            connection.rest()

        server = self.python_server(script)
        self.serve(server.port, timeouts=OFTEN)
        with self.client() as client:
            self.assertEqual(client.fetch("/").content, b"late")
        self.assertTrue(pinged.is_set())
        self.assertEqual(self.proxy.counters()["http2_ping_timeouts"], 0)
        self.assertEqual(server.failures, [])

    def test_a_server_that_reads_and_does_not_answer_hears_why(self):
        ends = queue.Queue()

        def script(connection):
            if connection.server.connections > 1:
                connection.answer(connection.request(), b"again")
                return connection.rest()
            connection.answers = False
            connection.request()
            connection.rest()
            ends.put((len(connection.pings), connection.goaway))

        server = self.python_server(script)
        self.serve(server.port, timeouts=OFTEN)
        with self.client() as client:
            self.assertEqual(client.fetch("/").content, b"again")
            self.assertEqual(ends.get(timeout=settings.HANG), (1, (0, NO_ERROR)))
        self.assertEqual(server.failures, [])

    def test_clients_are_not_asked_by_default(self):
        server = self.python_server(lambda connection: connection.rest())
        self.serve(server.port, timeouts={"response": "1500ms"})
        with self.client() as client:
            client.answers = False
            self.assertEqual(client.fetch("/").status, 504)
            self.assertEqual(client.pings, [])

    def test_behind_a_response_timeout_a_connection_proves_itself_before_it_gets_requests(self):
        """Without a PING for silence: the timeout itself asks."""
        gate = threading.Event()
        told = threading.Event()

        def script(connection):
            if connection.server.connections == 1:
                connection.request()
                # It reads nothing more, and so answers nothing.
                gate.wait(settings.HANG)
                connection.until(lambda: connection.pings)
                told.set()
                while True:
                    connection.answer(connection.request(), b"first")
            request = connection.request()
            connection.answer(request, b"second")
            request = connection.request()
            connection.answer(request, b"second")
            connection.goes_away(request.stream)
            connection.rest()

        server = self.python_server(script)
        self.serve(
            server.port,
            timeouts={"response": "400ms", "keep_alive_ping": "0s", "keep_alive_ack": "1h"})
        with self.client() as client:
            self.assertEqual(client.fetch("/", "POST").status, 504)
            self.assertEqual(client.fetch("/").content, b"second")
            gate.set()
            self.assertTrue(told.wait(settings.HANG))
            # The newer one is asked first, until it leaves.
            self.assertEqual(client.fetch("/").content, b"second")
            self.assertEqual(client.fetch("/").content, b"first")
        self.assertEqual(server.connections, 2)
        self.assertEqual(self.proxy.counters()["http2_ping_timeouts"], 0)
        self.check_all_is_back()
        self.assertEqual(server.failures, [])

    def test_a_dead_connection_gets_no_more_requests(self):
        """One response timeout, and not one for each request: the server is stopped for ever."""
        stopped = self.start_server()
        self.serve(stopped.port, timeouts={"response": "500ms", "keep_alive_ack": "1s", "keep_alive_ping": "0s"})
        with self.client() as client:
            self.assertEqual(client.fetch("/quick").content, b"here")
            stopped.stop()
            self.assertEqual(client.fetch("/quick", "POST").status, 504)
            before = self.proxy.counters()["upstream_connects"]
            self.assertEqual(before, 1)
            self.assertEqual(client.fetch("/quick", "POST").status, 504)
            self.assertEqual(self.proxy.counters()["upstream_connects"], 2)
            # Both are given up for want of an answer, without a stream that would wait for one.
            self.proxy.settle({"upstream_connections": 0})
            self.assertEqual(self.proxy.counters()["http2_ping_timeouts"], 2)
            stopped.go_on()
            self.assertEqual(client.fetch("/quick").content, b"here")
        self.check_all_is_back()

    def test_clients_of_http_1_hear_of_it_too(self):
        server = self.start_server()
        self.serve(server.port, timeouts=OFTEN)
        connection = self.connect(self.proxy)
        connection.send(wire.request("POST", "/slow", body=b"x"))
        server.was_asked()
        server.stop()
        response = connection.response()
        self.assertEqual((response.status, response.body), (504, b"504 Gateway Timeout (upstream_ping_timeout)\n"))
        server.go_on()


@on_both_engines
class Clients(KeepAliveCase):
    def test_a_client_that_does_not_answer_is_given_up(self):
        resets = queue.Queue()

        def script(connection):
            request = connection.request()
            connection.until(lambda: request.reset is not None)
            resets.put(request.reset)
            connection.rest()

        server = self.python_server(script)
        self.serve(server.port, listener=OFTEN, audited=True)
        client = self.client()
        client.answers = False
        client.open("/")
        client.until(lambda: client.goaway is not None)
        client.close()
        self.assertEqual(len(client.pings), 1)
        self.assertEqual(client.goaway, NO_ERROR)
        self.check_all_is_back()
        self.assertEqual(self.proxy.counters()["http2_ping_timeouts"], 1)
        self.proxy.stop()
        self.assertEqual(resets.get(timeout=settings.HANG), CANCEL)
        self.assertEqual(
            [(r["kind"], r["ending"]) for r in self.log.of_kind("exchange", "abort")],
            [("exchange", "downstream_ping_timeout")])

    def test_a_client_that_answers_waits_as_long_as_it_likes(self):
        gate = threading.Event()

        def script(connection):
            request = connection.request()
            gate.wait(settings.HANG)
            connection.answer(request, b"late")
            connection.rest()

        server = self.python_server(script)
        self.serve(server.port, listener=OFTEN)
        with self.client() as client:
            stream = client.open("/")
            # At the interval, each.
            client.until(lambda: len(client.pings) >= 4)
            gate.set()
            self.assertEqual(client.response(stream).content, b"late")
        self.assertEqual(self.proxy.counters()["http2_ping_timeouts"], 0)
        self.check_all_is_back()

    def test_a_client_without_a_stream_is_not_asked(self):
        server = self.python_server(lambda connection: connection.answer(connection.request()))
        self.serve(server.port, listener={**OFTEN, "idle": "1500ms"})
        client = self.client()
        self.assertEqual(client.fetch("/").status, 200)
        client.rest()
        self.assertEqual((client.pings, client.goaway), ([], NO_ERROR))
        self.assertEqual(self.proxy.counters()["http2_ping_timeouts"], 0)
