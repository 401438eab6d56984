"""Layer 3: tunnels to servers of HTTP/2: extended CONNECT on streams of shared connections where the server's
SETTINGS allow it (RFC 8441 3), HTTP/1.1 where they do not and the server may speak that.
"""

import base64
import os
import random
import select
import signal
import socket
import threading
import time
import unittest

import test_37_tunnels as tunnels
from harness import certificates, http2, settings, wire
from harness.auditlog import AuditLog
from harness.case import on_both_engines
from harness.http2server import Gone, Server
from test_37_tunnels import Stream, TrackingClient, accept, echo, end_side, tunnel, upgrade, websocket

KEY = "dGhlIHNhbXBsZSBub25jZQ=="


class Echo:
    """Accepts every stream and sends back what comes, within the windows; ends its side behind the proxy's."""

    def __init__(self, status=200, fields=(), early=b"", ends=True):
        self.status, self.fields, self.early, self.ends = status, fields, early, ends

    def __call__(self, connection):
        told, waiting, ended = set(), {}, set()
        while connection.read():
            for number in connection.order:
                request = connection.requests[number]
                if number not in told:
                    told.add(number)
                    if not self.accept(connection, request):
                        ended.add(number)
                        continue
                    waiting[number] = bytearray(self.early)
                if number in ended or request.reset is not None:
                    continue
                waiting[number] += request.content
                request.content = b""
                self.push(connection, number, waiting[number])
                if request.ended and self.ends and not waiting[number]:
                    ended.add(number)
                    connection.data(number, b"")

    def accept(self, connection, request):
        if request.head[":method"] != "CONNECT":
            connection.answer(request)
            return False
        connection.head(request.stream, self.status, self.fields)
        return True

    def push(self, connection, number, waiting):
        while waiting and (room := min(connection.room(number), 16_384, len(waiting))) > 0:
            connection.spend(number, room)
            connection.data(number, bytes(waiting[:room]), ends=False)
            del waiting[:room]


class Case(tunnels.TunnelCase):
    def serve(self, script=None, protocol="h2c", connect=1, http2=False, upstream=None, greets=True, http1=None,
              streams=None, window=65_535, alpn=None, **others):
        tls = protocol != "h2c"
        self.server = Server(
            script or Echo(), tls=tls, connect=connect, greets=greets, http1=http1, streams=streams,
            window=window, alpn=alpn or (("h2", "http/1.1") if http1 else ("h2",)))
        self.addCleanup(self._close_server, self.server)
        upstream = {"protocol": protocol, **(upstream or {})}
        if tls:
            upstream["tls"] = {"ca": str(certificates.authority().certificate)}
        config = self.settings_for(
            self.server.port, upstream=upstream, timeouts=others.pop("timeouts", tunnels.LONG), **others)
        if http2:
            config["listeners"][0]["http_versions"] = ["h2", "http/1.1"]
        self.tls = False
        self.proxy = self.start_proxy(config)

    def stop_proxy(self):
        """What comes meanwhile is there in one turn. It is stopped when its parent hears so."""
        self.proxy.process.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, self.proxy.process.pid, os.WSTOPPED | os.WNOWAIT)

    def _close_server(self, server):
        server.close()
        self.assertEqual(server.failures, [])

    def client(self, window=65_535):
        client = TrackingClient(self.proxy.port, window=window)
        self.addCleanup(client.close)
        client.until(lambda: client.settings is not None)
        return client

    def check_all_ended(self, cut=0):
        self.proxy.settle({"exchanges": 0, "tunnels_open": 0})
        self.assertEqual(self.proxy.counters()["tunnels_cut"], cut)


@on_both_engines
class FromHTTP1(Case):
    def test_a_websocket_is_an_extended_connect(self):
        for protocol in ("h2c", "h2", "auto"):
            with self.subTest(protocol=protocol):
                self.serve(
                    Echo(fields=[("sec-websocket-protocol", "chat"), ("sec-websocket-accept", "wrong")],
                         early=b"hello "),
                    protocol=protocol)
                connection, head = self.open(
                    upgrade("WebSocket", "/chat?x", connection="keep-alive, Upgrade", Sec_WebSocket_Version="13",
                            Sec_WebSocket_Key=KEY, Sec_WebSocket_Protocol="chat", Origin="a") + b"early ")
                self.assertEqual(head.start, "HTTP/1.1 101 Switching Protocols")
                self.assertEqual(head.all("sec-websocket-accept"), ["s3pPLMBiTxaQ9kYGzzhZRbK+xOo="])
                self.assertEqual((head.all("upgrade"), head.all("connection")), (["websocket"], ["Upgrade"]))
                self.assertEqual(head.get("sec-websocket-protocol"), "chat")
                seen = self.server.requests[0]
                self.assertEqual(
                    seen.fields[:2] + seen.fields[4:5],
                    [(":method", "CONNECT"), (":protocol", "websocket"), (":path", "/chat?x")])
                self.assertEqual(seen.head[":scheme"], "http")
                names = set(seen.head)
                self.assertEqual(
                    names & {"sec-websocket-key", "connection", "upgrade", "content-length", "te", "host"}, set())
                self.assertEqual(
                    [seen.head[name] for name in ("sec-websocket-version", "sec-websocket-protocol", "origin")],
                    ["13", "chat", "a"])
                self.assertFalse(seen.ended)
                self.assertEqual(connection.take(12), b"hello early ")
                connection.send(b"late")
                self.assertEqual(connection.take(4), b"late")
                self.assertEqual(self.proxy.counters()["tunnels_open"], 1)
                connection.finish_sending()
                self.assertEqual(connection.rest(), b"")
                self.check_all_ended()
                self.assertTrue(seen.ended)
                self.assertIsNone(seen.reset)

    def test_many_share_a_connection_with_requests(self):
        self.serve()
        first, _ = self.open()
        others = [self.open()[0] for _ in range(9)]
        self.assertEqual(self.fetch(self.proxy).status, 200)
        for number, connection in enumerate([first, *others]):
            connection.send(f"number {number}".encode())
            self.assertEqual(connection.take(8), f"number {number}".encode())
        self.assertEqual(self.server.connections, 1)

    def test_those_that_wait_for_settings_get_what_these_say(self):
        goes_on = threading.Event()

        def late(connection):
            goes_on.wait(settings.HANG)
            connection.greet()
            Echo()(connection)

        self.serve(late, greets=False, streams=2)
        connections = [self.connect(self.proxy) for _ in range(5)]
        for connection in connections:
            connection.send(websocket())
        self.proxy.settle({"exchanges": 5})
        self.assertEqual(self.server.requests, [])
        goes_on.set()
        for connection in connections:
            self.assertEqual(connection.response_head().status, 101)
            connection.send(b"x")
            self.assertEqual(connection.take(1), b"x")
        self.assertGreaterEqual(self.server.connections, 3)

    def test_heads_leave_in_the_order_of_their_streams(self):
        """A request comes in the turn of the SETTINGS that a tunnel has waited for; the server looks at the order."""
        goes_on = threading.Event()

        def late(connection):
            goes_on.wait(settings.HANG)
            connection.greet()
            Echo()(connection)

        self.serve(late, greets=False)
        waiting, plain = (self.connect(self.proxy) for _ in range(2))
        waiting.send(websocket())
        self.proxy.settle({"exchanges": 1, "connections": 2})
        self.stop_proxy()
        try:
            plain.send(wire.request("GET", "/"))
            time.sleep(0.05)
            goes_on.set()
            time.sleep(0.1)
        finally:
            self.proxy.process.send_signal(signal.SIGCONT)
        self.assertEqual(plain.response().status, 200)
        self.assertEqual(waiting.response_head().status, 101)

    def test_settings_that_do_not_come(self):
        self.serve(lambda connection: connection.server.closing.wait(settings.HANG), greets=False, upstream={
            "timeouts": {"connect": "300ms"}, "retries": {"attempts": 0}})
        connection = self.connect(self.proxy)
        response = connection.send(websocket()).response()
        self.assertEqual(response.status, 504)
        self.assertIn(b"connect_timeout", response.body)
        self.serve(lambda connection: connection.socket.recv(1), greets=False,
                   upstream={"retries": {"attempts": 0}})
        connection = self.connect(self.proxy)
        self.assertEqual(connection.send(websocket()).response().status, 502)
        self.check_all_ended()

    def test_a_server_that_allows_no_stream_ends_in_a_502(self):
        self.serve(streams=0)
        connection = self.connect(self.proxy)
        self.assertEqual(connection.send(websocket()).response().status, 502)

    def test_a_server_that_refuses_answers(self):
        def refuse(connection):
            while True:
                request = connection.request(whole=False)
                connection.answer(request, b"no", 403)

        self.serve(refuse)
        connection = self.connect(self.proxy)
        for _ in range(2):
            response = connection.send(websocket()).response()
            self.assertEqual((response.status, response.body), (403, b"no"))
        self.assertEqual(self.server.connections, 1)
        self.check_all_ended()

    def test_a_server_that_takes_none_is_told_by_name(self):
        for protocol in ("h2c", "h2"):
            for connect in (None, 0):
                with self.subTest(protocol=protocol, connect=connect):
                    self.serve(protocol=protocol, connect=connect)
                    connection = self.connect(self.proxy)
                    for _ in range(2):
                        response = connection.send(websocket()).response()
                        self.assertEqual(response.status, 501)
                        self.assertIn(b"upstream_no_extended_connect", response.body)
                    self.assertEqual(connection.send(wire.get()).response().status, 200)
                    self.assertEqual(self.server.connections, 1)

    def test_what_no_extended_connect_can_stand_for(self):
        self.serve(upstream={"upgrades": ["websocket", "tcp"]})
        connection = self.connect(self.proxy)
        for fields in ({}, {"Sec_WebSocket_Key": "short"}, {"Sec_WebSocket_Key": "!" * 22 + "=="}):
            response = connection.send(upgrade(Sec_WebSocket_Version="13", **fields)).response()
            self.assertEqual(response.status, 400, fields)
        response = connection.send(
            b"POST / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: tcp\r\nContent-Length: 3\r\n\r\nabc"
        ).response()
        self.assertEqual(response.status, 200)
        self.assertEqual([request.head[":method"] for request in self.server.requests], ["POST"])
        other, head = self.open(upgrade("tcp"))
        self.assertEqual((head.all("upgrade"), head.all("sec-websocket-accept")), (["tcp"], []))
        self.assertEqual(self.server.requests[-1].head[":protocol"], "tcp")

    def test_a_stream_that_was_refused_is_asked_for_again(self):
        turns = []

        class Reluctant(Echo):
            def accept(self, connection, request):
                turns.append(request.stream)
                if len(turns) == 1:
                    connection.reset(request.stream, http2.REFUSED_STREAM)
                    return False
                return super().accept(connection, request)

        self.serve(Reluctant())
        connection, _ = self.open(websocket() + b"early")
        self.assertEqual(connection.take(5), b"early")
        self.assertEqual(len(turns), 2)


@on_both_engines
class Fallback(Case):
    """`auto`: HTTP/1.1 where the server takes no tunnels over HTTP/2."""

    def serve(self, script=None, **options):
        super().serve(script, protocol="auto", **{"connect": None, "http1": tunnel(), **options})

    def test_a_connection_of_http_1_1_is_opened_for_it(self):
        self.serve()
        for _ in range(2):
            connection, head = self.open()
            self.assertEqual(head.get("sec-websocket-accept"), accept(KEY))
            connection.send(b"x")
            self.assertEqual(connection.take(1), b"x")
            # Others go on over HTTP/2.
            self.assertEqual(self.fetch(self.proxy).status, 200)
        seen = [request for request in self.server.requests if hasattr(request, "start")]
        self.assertEqual(seen[0].get("sec-websocket-key"), KEY)
        self.assertEqual(self.server.chosen, ["h2", "http/1.1", "http/1.1"])

    def test_a_server_that_chooses_nothing_of_what_is_offered(self):
        self.serve(alpn=("h2",))
        connection, _ = self.open(websocket() + b"early")
        self.assertEqual(connection.take(5), b"early")
        self.assertEqual(self.fetch(self.proxy).status, 200)
        self.assertEqual(self.server.chosen, ["h2", None])

    def test_a_server_that_chooses_http_1_1(self):
        self.serve(alpn=("http/1.1",))
        connection, _ = self.open(websocket() + b"early")
        self.assertEqual(connection.take(5), b"early")
        self.assertEqual(self.server.chosen, ["http/1.1"])

    def test_content_goes_over_http_1_1(self):
        self.serve(connect=1, upstream={"upgrades": ["tcp"]})
        connection, _ = self.open(
            b"POST / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: tcp\r\nContent-Length: 3\r\n\r\nabcearly")
        self.assertEqual(connection.take(5), b"early")
        self.assertEqual(self.server.chosen, ["http/1.1"])

    def test_content_goes_along_from_a_stale_connection(self):
        """The server ends a kept connection in the turn in which it is given to a request with content."""
        bodies, gate = [], threading.Event()

        def script(served):
            while message := served.request():
                bodies.append(message.body)
                served.answer(b"ok")
                if len(bodies) == 1:
                    gate.wait(settings.HANG)
                    return

        self.serve(connect=1, http1=script, upstream={"upgrades": ["tcp"]})
        for content in (
            b"Content-Length: 3\r\n\r\nabc", b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
        ):
            bodies.clear()
            gate.clear()
            request = b"POST / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n" + content
            connection = self.connect(self.proxy)
            connection.send(request)
            self.assertEqual(connection.response().status, 200)
            self.proxy.settle()
            self.stop_proxy()
            try:
                connection.send(request)
                gate.set()
                time.sleep(0.1)
            finally:
                self.proxy.process.send_signal(signal.SIGCONT)
            self.assertEqual(connection.response().status, 200)
            self.assertEqual(bodies, [b"abc", b"abc"])
            connection.close()
            self.proxy.settle()

    def test_from_http_2(self):
        self.serve(http2=True)
        client = self.client()
        stream = Stream(client)
        self.assertEqual(stream.head().status, 200)
        stream.send(b"x")
        self.assertEqual(stream.take(1), b"x")
        self.assertEqual(self.server.chosen, ["h2", "http/1.1"])


@on_both_engines
class Ways(Case):
    """Ends, times and windows; over each version that a client may have."""

    def pair(self, version, path="/", **options):
        """A tunnel, as something with `send`, `take` and the stream on the other side."""
        self.serve(http2=version == 2, **options)
        if version == 1:
            return self.open(websocket(path))[0]
        stream = Stream(self.client(), path)
        self.assertEqual(stream.head().status, 200)
        return stream

    def is_cut(self, end, version):
        if version == 1:
            with self.assertRaises(ConnectionResetError):
                end.rest()
        else:
            end.client.until(lambda: end.what.is_over, "no reset")
            self.assertIsNotNone(end.what.reset)

    def test_over_http_2_on_both_sides(self):
        stream = self.pair(2, "/chat", script=Echo(fields=[("sec-websocket-protocol", "chat")], early=b"hello "))
        self.assertEqual(stream.what.fields["sec-websocket-protocol"], "chat")
        seen = self.server.requests[0]
        self.assertEqual((seen.head[":method"], seen.head[":protocol"], seen.head[":path"], seen.head[":authority"]),
                         ("CONNECT", "websocket", "/chat", "site.test"))
        stream.send(b"world")
        self.assertEqual(stream.take(11), b"hello world")
        stream.send(b"", ends=True)
        stream.client.until(lambda: stream.what.is_over, "no end")
        self.assertEqual((stream.what.ended, stream.what.reset), (True, None))
        self.check_all_ended()
        self.assertEqual((seen.ended, seen.reset), (True, None))

    def test_a_server_without_extended_connect(self):
        self.serve(http2=True, connect=None)
        client = self.client()
        answer = client.response(Stream(client).number)
        self.assertEqual(answer.status, 501)

    def test_the_server_ends_first(self):
        received = []

        def first(connection):
            request = connection.request(whole=False)
            connection.head(request.stream)
            connection.data(request.stream, b"last")
            connection.until(lambda: request.ended or request.reset is not None)
            received.append((request.content, request.reset))

        for version in (1, 2):
            with self.subTest(version=version):
                received.clear()
                end = self.pair(version, script=first)
                self.assertEqual(end.take(4), b"last")
                if version == 1:
                    self.assertFalse(end.fill())
                else:
                    end.client.until(lambda: end.what.is_over, "no end")
                end.send(b"still here")
                time.sleep(0.05)
                self.assertEqual(self.proxy.counters()["tunnels_open"], 1)
                if version == 1:
                    end.finish_sending()
                else:
                    end.send(b"", ends=True)
                self.check_all_ended()
                self.assertHeard(lambda: received, [(b"still here", None)])

    def test_resets_go_both_ways(self):
        seen = []

        def watch(connection):
            request = connection.request(whole=False)
            connection.head(request.stream)
            connection.until(lambda: request.content or request.reset is not None)
            if request.content == b"r":
                connection.reset(request.stream, http2.INTERNAL_ERROR)
            connection.until(lambda: request.reset is not None or request.ended)
            seen.append(request.reset)

        for version in (1, 2):
            with self.subTest(version=version):
                seen.clear()
                end = self.pair(version, script=watch)
                if version == 1:
                    end.reset()
                else:
                    end.client.send(http2.frame(http2.RST_STREAM, 0, end.number, b"\0\0\0\x08"))
                self.check_all_ended(cut=1)
                deadline = time.monotonic() + settings.HANG
                while not seen and time.monotonic() < deadline:
                    time.sleep(0.01)
                self.assertHeard(lambda: seen, [http2.CANCEL])
                end = self.pair(version, script=watch)
                end.send(b"r")
                self.is_cut(end, version)
                self.check_all_ended(cut=1)

    def test_a_server_that_dies_cuts_its_tunnels(self):
        def die(connection):
            request = connection.request(whole=False)
            connection.head(request.stream)
            connection.until(lambda: request.content)

        for version in (1, 2):
            with self.subTest(version=version):
                end = self.pair(version, script=die)
                end.send(b"x")
                self.is_cut(end, version)
                self.check_all_ended(cut=1)

    def test_trailers_in_a_tunnel_cut_it(self):
        def break_it(connection):
            request = connection.request(whole=False)
            connection.head(request.stream)
            connection.trailers(request.stream, [("a", "b")])
            connection.rest()

        end = self.pair(1, script=break_it)
        self.is_cut(end, 1)
        self.check_all_ended(cut=1)

    def test_an_idle_tunnel_is_cut_and_one_that_moves_is_not(self):
        for version in (1, 2):
            with self.subTest(version=version):
                end = self.pair(version, upstream={"timeouts": {"tunnel": "300ms", "response": "100ms"}})
                for _ in range(5):
                    end.send(b"x")
                    self.assertEqual(end.take(1), b"x")
                    time.sleep(0.15)
                self.is_cut(end, version)
                self.check_all_ended(cut=1)

    def test_records_and_drain(self):
        for version in (1, 2):
            with self.subTest(version=version):
                log = AuditLog(self.folder / f"audit-{version}")
                end = self.pair(
                    version, "/chat", drain={"deadline": "2s"}, audit={"directory": str(log.directory)})
                self.assertEqual([entry["path"] for entry in log.of_kind("begin")], ["/chat"])
                end.send(b"x" * 1000)
                self.assertEqual(end.take(1000), b"x" * 1000)
                self.proxy.ended_by_test = True
                self.proxy.signal(signal.SIGTERM)
                self.proxy.wait_for("draining")
                end.send(b"still")
                self.assertEqual(end.take(5), b"still")
                if version == 1:
                    with self.assertRaises(ConnectionResetError):
                        end.rest()
                else:
                    end.client.rest()
                self.assertEqual(self.proxy.wait(), 0)
                entry = log.of_kind("abort")[0]
                self.assertEqual(
                    (entry["status"], entry["request_bytes"], entry["response_bytes"], entry["ending"]),
                    (101 if version == 1 else 200, 1005, 1005, "drain_deadline"))
                code, text = log.verify()
                self.assertEqual(code, 0, text)

    def test_the_end_in_the_record(self):
        log = AuditLog(self.folder / "audit")
        end = self.pair(1, "/chat", audit={"directory": str(log.directory)})
        end.send(b"x" * 10)
        self.assertEqual(end.take(10), b"x" * 10)
        end.finish_sending()
        self.assertEqual(end.rest(), b"")
        self.check_all_ended()
        self.proxy.stop()
        entry = log.of_kind("end")[0]
        self.assertEqual(
            (entry["status"], entry["request_bytes"], entry["response_bytes"], entry["ending"]),
            (101, 10, 10, "complete"))

    def test_8_mebibytes_come_back_within_the_windows(self):
        data = random.Random(3).randbytes(8 << 20)
        for version in (1, 2):
            with self.subTest(version=version):
                end = self.pair(version, window=1 << 20)
                if version == 1:
                    sender = threading.Thread(target=end.send, args=(data,), daemon=True)
                    sender.start()
                    self.assertSameBytes(end.take(len(data)), data)
                    sender.join(settings.HANG)
                    end.finish_sending()
                    self.assertEqual(end.rest(), b"")
                else:
                    self.assertSameBytes(tunnels.echo_over_a_stream(self, end, data), data)
                    end.send(b"", ends=True)
                    end.client.until(lambda: end.what.is_over, "no end")
                self.check_all_ended()

    def test_a_slow_client_stops_the_server_in_bounded_memory(self):
        moved = []

        def flood(connection):
            request = connection.request(whole=False)
            connection.head(request.stream)
            block = b"x" * 16_384
            while len(moved) < 2000:
                connection.until(lambda: connection.room(request.stream) >= len(block))
                connection.spend(request.stream, len(block))
                connection.data(request.stream, block, ends=False)
                moved.append(1)
            connection.data(request.stream, b"")
            connection.rest()

        self.serve(flood)
        connection, _ = self.open(receive_buffer=4096)
        before = -1
        while len(moved) != before:
            before = len(moved)
            time.sleep(0.5)
        self.assertLess(len(moved), 2000)
        # A stream's window, and the watermarks.
        self.assertLess(self.proxy.counters()["cold_bytes"], 5 << 20)
        self.assertEqual(len(connection.rest()), 2000 * 16_384)

    def test_a_server_without_a_window_stops_the_client_in_bounded_memory(self):
        goes_on = threading.Event()
        received = []

        def lazy(connection):
            connection.opens = False
            request = connection.request(whole=False)
            connection.head(request.stream)
            connection.until(lambda: len(request.content) == 65_535)
            goes_on.wait(settings.HANG)
            connection.opens = True
            connection.window(0, 1 << 30)
            connection.window(request.stream, 1 << 30)
            while not request.ended:
                received.append(len(request.content))
                request.content = b""
                connection.read()
            received.append(len(request.content))
            connection.data(request.stream, b"")

        end = self.pair(1, script=lazy)
        sent = []

        def flood():
            block = b"x" * 65_536
            while len(sent) < 200:
                end.socket.sendall(block)
                sent.append(1)
            end.finish_sending()

        sender = threading.Thread(target=flood, daemon=True)
        sender.start()
        before = -1
        while len(sent) != before:
            before = len(sent)
            time.sleep(0.5)
        self.assertLess(len(sent), 200)
        self.assertLess(self.proxy.counters()["cold_bytes"], 1 << 20)
        goes_on.set()
        self.assertEqual(end.rest(), b"")
        sender.join(settings.HANG)
        self.assertHeard(lambda: sum(received), 200 * 65_536)
        self.check_all_ended()


if __name__ == "__main__":
    unittest.main()
