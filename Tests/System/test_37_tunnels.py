"""Layer 3: connections and streams that become tunnels: Upgrade over HTTP/1.1, extended CONNECT over
HTTP/2, the bytes that go through, and each way in which a tunnel ends.
"""

import base64
import hashlib
import json
import random
import select
import signal
import socket
import ssl
import struct
import threading
import time
import unittest

from harness import certificates, http2, settings, wire
from harness.auditlog import AuditLog
from harness.case import SystemCase, on_both_engines
from harness.http2 import Client, frame
from harness.tlsorigin import TLSOrigin

WORD = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
LONG = {"head": "1h", "body": "1h", "idle": "1h"}


def accept(key):
    return base64.b64encode(hashlib.sha1((key + WORD).encode()).digest()).decode()


def upgrade(protocols="websocket", path="/", connection="Upgrade", **fields):
    return wire.get(path, Connection=connection, Upgrade=protocols, **fields)


def websocket(path="/"):
    return upgrade(path=path, Sec_WebSocket_Version="13", Sec_WebSocket_Key="dGhlIHNhbXBsZSBub25jZQ==")


def echo(served):
    """Sends back what comes, and ends its side behind the client's."""
    served.send(bytes(served.buffer))
    served.buffer.clear()
    while data := served.socket.recv(1 << 18):
        served.send(data)
    end_side(served.socket)


def end_side(connection):
    """Ends one side: FIN, or close_notify without waiting for the peer's."""
    if not isinstance(connection, ssl.SSLSocket):
        return connection.shutdown(socket.SHUT_WR)
    connection.setblocking(False)
    try:
        connection.unwrap()
    except (ssl.SSLWantReadError, OSError):
        pass


def tunnel(then=echo, early=b"", protocol=None, line="HTTP/1.1 101 Switching Protocols", fields=(),
           named=True, accepts=accept):
    """A script that accepts what is offered, or `protocol`, and goes on with `then`."""

    def script(served):
        request = served.request()
        if request is None:
            return
        lines = [line]
        if named:
            lines += ["Connection: Upgrade", f"Upgrade: {protocol or request.get('upgrade')}"]
        if key := request.get("sec-websocket-key"):
            lines.append(f"Sec-WebSocket-Accept: {accepts(key)}")
        served.send("\r\n".join([*lines, *fields, "", ""]).encode() + early)
        then(served)

    return script


class TunnelCase(SystemCase):
    def assertHeard(self, heard, expected):
        """What a thread of the server's notes may come behind what the proxy has done."""
        deadline = time.monotonic() + settings.HANG
        while heard() != expected and time.monotonic() < deadline:
            time.sleep(0.01)
        self.assertEqual(heard(), expected)

    def serve(self, script, tls=False, upstream_tls=False, http2=False, timeouts=LONG, upstream=None,
              **others):
        if upstream_tls:
            self.origin = TLSOrigin(script)
            self.addCleanup(self._close_origin, self.origin)
            upstream = {"tls": {"ca": str(certificates.authority().certificate)}, **(upstream or {})}
        else:
            self.origin = self.start_origin(script)
        config = self.settings_for(
            self.origin.port, tls=self.site_tls if tls else None, timeouts=timeouts,
            upstream=upstream, **others)
        if http2:
            config["listeners"][0]["http_versions"] = ["h2", "http/1.1"]
        self.proxy = self.start_proxy(config)
        self.tls = tls
        return self.proxy

    def open(self, request=None, **options):
        """A tunnel. - Returns: the connection, and the head of its 101."""
        connection = self.connect(self.proxy, tls=self.tls, **options)
        connection.send(request or websocket())
        head = connection.response_head()
        self.assertEqual(head.status, 101, head)
        return connection, head

    def check_all_is_back(self):
        self.proxy.settle({"exchanges": 0, "connections": 0, "tunnels_open": 0})
        counters = self.proxy.counters()
        for key in ("leases", "frames", "cold_bytes", "upstream_connections"):
            self.assertEqual(counters[key], 0, key)
        return counters


@on_both_engines
class Offers(TunnelCase):
    def test_a_websocket_passes_with_what_belongs_to_it(self):
        self.serve(tunnel(fields=["Sec-WebSocket-Protocol: chat", "Content-Length: 0"]))
        connection, head = self.open(
            upgrade("websocket", connection="keep-alive, Upgrade", Sec_WebSocket_Version="13",
                    Sec_WebSocket_Key="dGhlIHNhbXBsZSBub25jZQ==", Sec_WebSocket_Protocol="chat"))
        seen = self.origin.requests[0]
        self.assertEqual(seen.start, "GET / HTTP/1.1")
        self.assertEqual(seen.all("upgrade"), ["websocket"])
        self.assertEqual(seen.all("connection"), ["Upgrade"])
        self.assertEqual(seen.get("sec-websocket-key"), "dGhlIHNhbXBsZSBub25jZQ==")
        self.assertEqual(seen.get("x-forwarded-for"), "127.0.0.1")
        self.assertEqual(head.all("connection"), ["Upgrade"])
        self.assertEqual(head.all("upgrade"), ["websocket"])
        self.assertEqual(head.get("sec-websocket-accept"), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=")
        self.assertEqual(head.get("sec-websocket-protocol"), "chat")
        self.assertEqual(head.all("content-length"), [])
        connection.send(b"ping")
        self.assertEqual(connection.take(4), b"ping")
        connection.finish_sending()
        self.assertEqual(connection.rest(), b"")
        counters = self.check_all_is_back()
        self.assertEqual((counters["tunnels"], counters["tunnels_cut"]), (1, 0))

    def test_one_of_several_offers_goes_on(self):
        self.serve(tunnel(), upstream={"upgrades": ["tcp", "websocket"]})
        for offer, sent in (
            ("h2c, websocket", "websocket"), ("WebSocket/13", "WebSocket/13"), ("tcp", "tcp"),
            ("websocket, TCP", "TCP"), ("a b, tcp", "tcp"),
        ):  # fmt: skip
            with self.subTest(offer=offer):
                connection, _ = self.open(
                    upgrade(offer, connection="Upgrade, HTTP2-Settings", HTTP2_Settings="AAMAAABk"))
                self.assertEqual(self.origin.requests[-1].all("upgrade"), [sent])
                self.assertEqual(self.origin.requests[-1].all("http2-settings"), [])
                connection.close()

    def test_an_offer_with_content_and_trailers(self):
        self.serve(tunnel(), upstream={"upgrades": ["tcp"]})
        for body in (b"Content-Length: 3\r\n\r\nabc", b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"):
            connection, _ = self.open(
                b"POST / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, TE\r\nTE: trailers\r\nUpgrade: tcp\r\n"
                + body + b"early")
            self.assertEqual(self.origin.requests[-1].body, b"abc")
            self.assertEqual(self.origin.requests[-1].tokens("connection"), ["te", "upgrade"])
            self.assertEqual(connection.take(5), b"early")
            connection.send(b"3\r\nnot a chunk")
            self.assertEqual(connection.take(14), b"3\r\nnot a chunk")
            connection.close()

    def test_what_is_not_allowed_is_dropped_and_a_websocket_refused(self):
        def answer(served):
            while message := served.request():
                served.answer(json.dumps(message.fields).encode())

        self.serve(answer, upstream={"upgrades": []})
        connection = self.connect(self.proxy)
        response = connection.send(websocket()).response()
        self.assertEqual(response.status, 501)
        self.assertIn(b"upgrade_not_supported", response.body)
        for offer in ("h2c", "tcp", "TLS/1.0"):
            response = connection.send(upgrade(offer)).response()
            names = {name.lower() for name, _ in json.loads(response.body)}
            self.assertEqual(names & {"upgrade", "connection"}, set())
        self.assertEqual(len(self.origin.requests), 3)

    def test_a_server_that_does_not_switch_answers(self):
        def answer(served):
            while message := served.request():
                served.answer(message.target.encode(), "426 Upgrade Required")

        self.serve(answer)
        connection = self.connect(self.proxy)
        # What stands behind the request is the next one.
        connection.send(websocket("/1") + wire.get("/2"))
        for path in (b"/1", b"/2"):
            response = connection.response()
            self.assertEqual((response.status, response.body), (426, path))
        self.assertEqual(connection.send(wire.get("/3")).response().body, b"/3")
        self.assertEqual(self.origin.connections, 1)
        self.assertEqual(self.proxy.counters()["tunnels"], 0)

    def test_an_answer_that_was_not_asked_for_is_a_502(self):
        cases = {
            "unasked": (wire.get(), tunnel(protocol="websocket")),
            "another": (websocket(), tunnel(protocol="tcp")),
            "two": (websocket(), tunnel(protocol="websocket, tcp")),
            "none": (websocket(), tunnel(named=False)),
            "without Connection": (websocket(), tunnel(named=False, fields=["Upgrade: websocket"])),
            "not allowed": (upgrade("tcp"), tunnel(protocol="tcp")),
        }
        for name, (request, script) in cases.items():
            with self.subTest(name=name):
                self.serve(script)
                connection = self.connect(self.proxy)
                response = connection.send(request).response()
                self.assertEqual(response.status, 502)
                self.assertIn(b"upstream_upgrade", response.body)
                self.proxy.settle({"exchanges": 0, "upstream_connections": 0})
                self.assertEqual(self.proxy.counters()["tunnels"], 0)

    def test_a_client_of_http_1_0_offers_nothing(self):
        self.serve(tunnel())
        connection = self.connect(self.proxy)
        connection.send(b"GET / HTTP/1.0\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
        self.assertEqual(connection.response().status, 502)
        self.assertEqual(self.origin.requests[0].all("upgrade"), [])

    def test_a_switch_before_the_request_is_whole_is_a_502(self):
        def early(served):
            served.head()
            served.send(b"HTTP/1.1 101 S\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n")
            served.stall()

        self.serve(early, upstream={"upgrades": ["tcp"]})
        connection = self.connect(self.proxy)
        connection.send(b"POST / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: tcp\r\nContent-Length: 9\r\n\r\n1")
        self.assertEqual(connection.response().status, 502)


class Bytes(TunnelCase):
    """What goes through is what came, over each pair of transports."""

    def pairs(self):
        for tls in (False, True):
            for upstream_tls in (False, True):
                yield {"tls": tls, "upstream_tls": upstream_tls}


@on_both_engines
class EarlyBytes(Bytes):
    def test_behind_the_101_in_the_same_packet_and_behind_the_request(self):
        for pair in self.pairs():
            with self.subTest(**pair):
                self.serve(tunnel(early=b"from the server"), **pair)
                connection, _ = self.open(websocket() + b"from the client")
                self.assertEqual(connection.take(30), b"from the serverfrom the client")
                connection.close()
                self.check_all_is_back()

    def test_much_behind_the_request(self):
        data = random.Random(1).randbytes(3_000_000)
        self.serve(tunnel())
        connection = self.connect(self.proxy)
        sender = threading.Thread(target=connection.send, args=(websocket() + data,), daemon=True)
        sender.start()
        self.assertEqual(connection.response_head().status, 101)
        self.assertSameBytes(connection.take(len(data)), data)
        sender.join(settings.HANG)
        connection.close()
        self.check_all_is_back()

    def test_in_pieces(self):
        def slowly(served):
            request = served.request()
            head = (
                "HTTP/1.1 101 S\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
                f"Sec-WebSocket-Accept: {accept(request.get('sec-websocket-key'))}\r\n\r\nabc"
            )
            served.send_slowly(head.encode(), 7, 0.003)
            echo(served)

        self.serve(slowly)
        connection = self.connect(self.proxy)
        connection.send_slowly(websocket() + b"def", 11, 0.003)
        self.assertEqual(connection.response_head().status, 101)
        self.assertEqual(connection.take(6), b"abcdef")


@on_both_engines
class Volume(Bytes):
    SIZE = 64 << 20

    def test_64_mebibytes_come_back_as_they_were(self):
        for pair in self.pairs():
            with self.subTest(**pair):
                self.serve(tunnel(), **pair)
                connection, _ = self.open()
                self.exchange(connection)
                counters = self.check_all_is_back()
                self.assertEqual(counters["tunnels_cut"], 0)

    def exchange(self, connection):
        """Both directions at once, in one thread: Python's ssl allows no second one."""
        block = random.Random(2).randbytes(1 << 20)
        blocks = (block[n:] + block[:n] for n in range(self.SIZE >> 20))
        expected = (block[n:] + block[:n] for n in range(self.SIZE >> 20))
        own = connection.socket
        own.setblocking(False)
        out = memoryview(b"")
        received = 0
        back = bytearray()
        deadline = time.monotonic() + settings.TEST_HANG
        while received < self.SIZE:
            self.assertLess(time.monotonic(), deadline)
            moved = False
            if not out:
                out = memoryview(next(blocks, b""))
            try:
                if out:
                    out = out[own.send(out[:65_536]) :]
                    moved = True
            except (BlockingIOError, ssl.SSLWantWriteError, ssl.SSLWantReadError):
                pass
            try:
                data = own.recv(1 << 18)
                self.assertTrue(data, f"an end after {received} bytes")
                received += len(data)
                back += data
                moved = True
            except (BlockingIOError, ssl.SSLWantWriteError, ssl.SSLWantReadError):
                pass
            while len(back) >= len(block):
                self.assertSameBytes(back[: len(block)], next(expected))
                del back[: len(block)]
            if not moved:
                select.select([own], [own] if out else [], [], 1)
        self.assertEqual((received, len(back)), (self.SIZE, 0))
        own.settimeout(settings.HANG)
        # Python's ssl waits for the peer's close_notify.
        connection.finish_sending()
        if not self.tls:
            self.assertEqual(connection.rest(), b"")
        connection.close()

    def test_a_slow_reader_stops_the_server_in_bounded_memory(self):
        taken = []

        def flood(served):
            block = b"x" * 65_536
            while len(taken) < 2000:
                served.socket.sendall(block)
                taken.append(1)

        self.serve(tunnel(flood))
        connection, _ = self.open(receive_buffer=4096)
        self.wait_until_still(taken)
        self.assertLess(len(taken), 2000)
        # Watermarks (security.md), and a receive that was in flight.
        self.assertLess(self.proxy.counters()["cold_bytes"], 1 << 20)
        rest = connection.rest()
        self.assertEqual(len(rest), 2000 * 65_536)

    def test_a_slow_server_stops_the_client_in_bounded_memory(self):
        goes_on = threading.Event()
        received = []

        def lazy(served):
            goes_on.wait(settings.HANG)
            while data := served.socket.recv(1 << 20):
                received.append(len(data))
            end_side(served.socket)

        self.serve(tunnel(lazy))
        connection, _ = self.open()
        sent = []

        def flood():
            block = b"x" * 65_536
            while len(sent) < 1000:
                connection.socket.sendall(block)
                sent.append(1)
            connection.finish_sending()

        sender = threading.Thread(target=flood, daemon=True)
        sender.start()
        self.wait_until_still(sent)
        self.assertLess(len(sent), 1000)
        self.assertLess(self.proxy.counters()["cold_bytes"], 1 << 20)
        goes_on.set()
        self.assertEqual(connection.rest(), b"")
        sender.join(settings.HANG)
        self.assertHeard(lambda: sum(received), 1000 * 65_536)
        self.check_all_is_back()

    def wait_until_still(self, marks):
        before = -1
        while len(marks) != before:
            before = len(marks)
            time.sleep(0.5)


@on_both_engines
class Ends(Bytes):
    def test_each_side_ends_alone(self):
        for pair in self.pairs():
            for first in ("client", "server"):
                with self.subTest(first=first, **pair):
                    self.check_half_close(first, **pair)

    def check_half_close(self, first, **pair):
        ended = threading.Event()
        received = []

        def server_first(served):
            served.send(b"last of the server")
            if isinstance(served.socket, ssl.SSLSocket):
                # Python's ssl cannot read behind its own close_notify.
                return served.socket.unwrap()
            served.socket.shutdown(socket.SHUT_WR)
            while data := served.socket.recv(65_536):
                received.append(data)
            ended.set()

        def client_first(served):
            while data := served.socket.recv(65_536):
                received.append(data)
            ended.set()
            served.send(b"answer " + b"".join(received))
            end_side(served.socket)

        self.serve(tunnel(server_first if first == "server" else client_first), **pair)
        connection, _ = self.open()
        if first == "server":
            self.assertEqual(connection.take(18), b"last of the server")
            self.assertFalse(connection.fill())
            if not any(pair.values()):
                connection.send(b"still here")
                time.sleep(0.1)
                self.assertEqual(self.proxy.counters()["tunnels_open"], 1)
                connection.finish_sending()
                self.assertTrue(ended.wait(settings.HANG))
                self.assertHeard(lambda: b"".join(received), b"still here")
        elif pair["tls"]:
            connection.send(b"question")
            # Python's ssl sends close_notify, and reads on only for the peer's.
            connection.socket.settimeout(0)
            try:
                connection.socket.unwrap()
            except (ssl.SSLWantReadError, OSError):
                pass
            self.assertTrue(ended.wait(settings.HANG))
            self.assertHeard(lambda: b"".join(received), b"question")
        else:
            connection.send(b"question")
            connection.finish_sending()
            self.assertEqual(connection.rest(), b"answer question")
        connection.close()
        self.proxy.settle({"exchanges": 0, "connections": 0, "tunnels_open": 0})

    def test_a_client_that_ends_before_the_answer(self):
        self.serve(tunnel())
        connection = self.connect(self.proxy)
        connection.send(websocket() + b"early")
        connection.finish_sending()
        self.assertEqual(connection.response_head().status, 101)
        self.assertEqual(connection.rest(), b"early")
        self.check_all_is_back()

    def test_a_reset_of_the_client_is_one_to_the_server(self):
        result = []

        def watch(served):
            try:
                while served.socket.recv(65_536):
                    pass
                result.append("end")
            except ConnectionResetError:
                result.append("reset")

        self.serve(tunnel(watch))
        connection, _ = self.open()
        connection.send(b"x")
        connection.reset()
        counters = self.check_all_is_back()
        self.assertEqual((counters["tunnels_cut"], counters["downstream_aborts"]), (1, 1))
        self.assertHeard(lambda: result, ["reset"])

    def test_a_reset_of_the_server_is_one_to_the_client(self):
        def end(served):
            served.socket.recv(1)
            served.reset()

        self.serve(tunnel(end))
        connection, _ = self.open()
        connection.send(b"x")
        with self.assertRaises(ConnectionResetError):
            connection.rest()
        self.assertEqual(self.check_all_is_back()["tunnels_cut"], 1)

    def test_tls_that_ends_without_close_notify_is_no_good_end(self):
        result = []

        def watch(served):
            try:
                while served.socket.recv(65_536):
                    pass
                result.append("end")
            except ConnectionResetError:
                result.append("reset")

        self.serve(tunnel(watch), tls=True)
        connection, _ = self.open()
        connection.socket.shutdown(socket.SHUT_WR)
        connection.close()
        self.check_all_is_back()
        self.assertHeard(lambda: result, ["reset"])

        def cut(served):
            served.send(b"half")
            served.socket.shutdown(socket.SHUT_RDWR)

        self.serve(tunnel(cut), upstream_tls=True)
        connection, _ = self.open()
        with self.assertRaises(ConnectionResetError):
            connection.rest()
        self.check_all_is_back()


@on_both_engines
class Times(TunnelCase):
    SHORT = {"timeouts": {"tunnel": "300ms", "response": "100ms"}}

    def test_an_idle_tunnel_is_cut_and_one_that_moves_is_not(self):
        log = AuditLog(self.folder / "audit")
        self.serve(
            tunnel(), upstream=self.SHORT, audit={"directory": str(log.directory)},
            timeouts={"head": "1s", "body": "100ms", "idle": "100ms"})
        connection, _ = self.open()
        for _ in range(8):
            connection.send(b"x")
            self.assertEqual(connection.take(1), b"x")
            time.sleep(0.15)
        with self.assertRaises(ConnectionResetError):
            connection.rest()
        counters = self.check_all_is_back()
        self.assertEqual((counters["tunnels_cut"], counters["timeouts"]), (1, 1))
        self.proxy.stop()
        self.assertEqual([entry["ending"] for entry in log.of_kind("abort")], ["tunnel_timeout"])

    def test_movement_in_one_direction_is_enough(self):
        def drip(served):
            for _ in range(8):
                served.send(b"x")
                time.sleep(0.15)
            end_side(served.socket)
            served.stall()

        self.serve(tunnel(drip), upstream=self.SHORT)
        connection, _ = self.open()
        self.assertEqual(connection.rest(), b"x" * 8)


@on_both_engines
class Drains(TunnelCase):
    def test_a_tunnel_goes_on_until_the_deadline(self):
        log = AuditLog(self.folder / "audit")
        self.serve(tunnel(), drain={"deadline": "2s"}, audit={"directory": str(log.directory)})
        connection, _ = self.open()
        ends, _ = self.open()
        self.proxy.ended_by_test = True
        self.proxy.signal(signal.SIGTERM)
        self.proxy.wait_for("draining")
        connection.send(b"still")
        self.assertEqual(connection.take(5), b"still")
        ends.finish_sending()
        self.assertEqual(ends.rest(), b"")
        with self.assertRaises(ConnectionResetError):
            connection.rest()
        self.assertEqual(self.proxy.wait(), 0)
        self.assertEqual([entry["ending"] for entry in log.of_kind("end")], ["complete"])
        self.assertEqual([entry["ending"] for entry in log.of_kind("abort")], ["drain_deadline"])


@on_both_engines
class Records(TunnelCase):
    def test_begin_is_there_before_the_101_and_end_has_the_bytes_of_both_directions(self):
        for durability in ("before_response", "interval", "none"):
            with self.subTest(durability=durability):
                log = AuditLog(self.folder / f"audit-{durability}")
                self.serve(
                    tunnel(early=b"hello"),
                    audit={"directory": str(log.directory), "durability": durability})
                connection, _ = self.open(websocket("/chat"))
                if durability == "before_response":
                    self.assertEqual([entry["path"] for entry in log.of_kind("begin")], ["/chat"])
                    self.assertEqual(log.of_kind("end", "exchange"), [])
                connection.send(b"x" * 1000)
                self.assertEqual(connection.take(1005), b"hello" + b"x" * 1000)
                connection.finish_sending()
                self.assertEqual(connection.rest(), b"")
                self.proxy.settle({"exchanges": 0})
                self.proxy.stop()
                self.assertEqual(log.ending_of("/chat"), ["begin", "end"])
                end = log.of_kind("end")[0]
                self.assertEqual(
                    (end["status"], end["request_bytes"], end["response_bytes"], end["ending"]),
                    (101, 1000, 1005, "complete"))
                code, text = log.verify()
                self.assertEqual(code, 0, text)


class Stream:
    """One tunnel over HTTP/2, as a socket is."""

    def __init__(self, client, path="/", fields=(), protocol="websocket", **options):
        self.client = client
        head = [(":protocol", protocol), ("sec-websocket-version", "13"), *fields]
        self.number = client.open(path, "CONNECT", head, ends=False, **options)
        self.what = client.streams[self.number]
        self.sent = 0

    def head(self):
        self.client.until(lambda: self.what.heads or self.what.is_over, "no head")
        return self.what

    def send(self, data, ends=False):
        self.client.send(self.client.pieces(self.number, data, ends) if data else
                         frame(http2.DATA, http2.END_STREAM if ends else 0, self.number))

    def take(self, count):
        self.client.until(lambda: len(self.what.content) >= count or self.what.is_over, "no content")
        data, self.what.content = self.what.content[:count], self.what.content[count:]
        return data


class TrackingClient(Client):
    """Keeps to the windows that it is given."""

    def __init__(self, *arguments, **options):
        self.windows = {0: 65_535}
        super().__init__(*arguments, **options)

    def _take(self, kind, flags, number, payload):
        if kind == http2.WINDOW_UPDATE:
            self.windows[number] = self.windows.get(number, 65_535) + struct.unpack(">I", payload)[0]
        super()._take(kind, flags, number, payload)

    def room(self, stream):
        return min(self.windows[0], self.windows.setdefault(stream, self.settings.get(4, 65_535)))

    def spend(self, stream, count):
        self.windows[0] -= count
        self.windows[stream] -= count


def echo_over_a_stream(case, stream, data):
    """Sends `data` within the windows. - Returns: as many bytes, that came back."""
    client = stream.client
    sent = 0
    back = bytearray()
    while len(back) < len(data):
        while sent < len(data) and (room := min(client.room(stream.number), 16_384, len(data) - sent)) > 0:
            client.send(frame(http2.DATA, 0, stream.number, data[sent : sent + room]))
            client.spend(stream.number, room)
            sent += room
        case.assertTrue(client.read())
        back += stream.what.content
        stream.what.content = b""
    return bytes(back)


@on_both_engines
class HTTP2(Bytes):
    def start(self, script, window=65_535, **options):
        self.serve(script, http2=True, **options)
        client = TrackingClient(self.proxy.port, tls=self.tls, window=window)
        self.addCleanup(client.close)
        client.until(lambda: client.settings is not None)
        return client

    def test_it_is_announced(self):
        self.assertEqual(self.start(tunnel()).settings.get(8), 1)

    def test_a_websocket_over_a_stream(self):
        for pair in self.pairs():
            with self.subTest(**pair):
                client = self.start(tunnel(early=b"hello ", fields=["Sec-WebSocket-Protocol: chat"]), **pair)
                stream = Stream(client, "/chat?x", [
                    ("sec-websocket-protocol", "chat"), ("sec-websocket-key", "mine"), ("origin", "a")])
                head = stream.head()
                self.assertEqual(head.status, 200)
                names = set(head.fields)
                self.assertEqual(head.fields["sec-websocket-protocol"], "chat")
                self.assertEqual(
                    names & {"sec-websocket-accept", "upgrade", "connection", "content-length"}, set())
                seen = self.origin.requests[0]
                self.assertEqual(seen.start, "GET /chat?x HTTP/1.1")
                self.assertEqual((seen.all("connection"), seen.all("upgrade")), (["Upgrade"], ["websocket"]))
                self.assertEqual(seen.all("host"), ["site.test"])
                self.assertEqual(seen.all("transfer-encoding") + seen.all("content-length"), [])
                keys = seen.all("sec-websocket-key")
                self.assertEqual([len(base64.b64decode(key)) for key in keys], [16])
                stream.send(b"world")
                self.assertEqual(stream.take(11), b"hello world")
                # Others go on beside it.
                self.assertEqual(self.proxy.counters()["tunnels_open"], 1)
                stream.send(b"", ends=True)
                client.until(lambda: stream.what.is_over, "no end")
                self.assertEqual((stream.what.ended, stream.what.reset, stream.what.content), (True, None, b""))
                counters = self.proxy.settle({"exchanges": 0, "tunnels_open": 0})
                self.assertEqual(self.proxy.counters()["tunnels_cut"], 0)
                # The connection goes on.
                second = Stream(client)
                self.assertEqual(second.head().status, 200)
                client.close()

    def test_keys_differ(self):
        client = self.start(tunnel())
        for _ in range(4):
            self.assertEqual(Stream(client).head().status, 200)
        keys = {request.get("sec-websocket-key") for request in self.origin.requests}
        self.assertEqual(len(keys), 4)

    def test_bytes_before_the_answer(self):
        def late(served):
            request = served.request()
            time.sleep(0.2)
            served.send(
                "HTTP/1.1 101 S\r\nConnection: upgrade\r\nUpgrade: WebSocket\r\n"
                f"Sec-WebSocket-Accept: {accept(request.get('sec-websocket-key'))}\r\n\r\n".encode())
            echo(served)

        for ends in (False, True):
            client = self.start(late)
            stream = Stream(client)
            stream.send(b"early" * 1000, ends)
            self.assertEqual(stream.take(5000), b"early" * 1000)
            if ends:
                client.until(lambda: stream.what.is_over, "no end")
                self.assertTrue(stream.what.ended)
            client.close()
            self.check_all_is_back()

    def test_the_head_may_end_the_clients_side(self):
        client = self.start(tunnel(lambda served: (served.send(b"bye"), echo(served))))
        number = client.open("/", "CONNECT", [(":protocol", "websocket")])
        stream = client.response(number)
        self.assertEqual((stream.status, stream.content, stream.ended), (200, b"bye", True))

    def test_what_the_server_answers_instead_is_the_answer(self):
        def refuse(served):
            while served.request():
                served.answer(b"no", "403 Forbidden")

        client = self.start(refuse)
        stream = Stream(client)
        stream.send(b"lost")
        answer = client.response(stream.number)
        self.assertEqual((answer.status, answer.content), (403, b"no"))
        client.until(lambda: answer.reset is not None, "no reset behind the answer")
        self.assertEqual(answer.reset, http2.NO_ERROR)
        self.assertEqual(client.fetch("/").status, 403)

    def test_an_answer_that_accepts_nothing_is_a_502(self):
        for name, script in {
            "200": lambda served: served.request() and served.answer(b"fine"),
            "wrong key": tunnel(accepts=lambda key: accept(key[::-1])),
            "no key": tunnel(accepts=lambda key: ""),
            "another": tunnel(protocol="tcp"),
        }.items():
            with self.subTest(name=name):
                client = self.start(script)
                answer = client.response(Stream(client).number)
                self.assertEqual(answer.status, 502)
                self.assertIn(b"upstream_upgrade", answer.content)
                client.close()

    def test_refusals(self):
        client = self.start(tunnel())
        plain = client.open("/", "CONNECT", ends=False)
        self.assertIn(client.response(plain).status, (400, 405))
        self.assertEqual(client.response(Stream(client, protocol="connect-udp").number).status, 501)
        for fields in ([(":protocol", "websocket")], ):
            bad = client.open("/", "GET", fields)
            self.assertEqual(client.response(bad).status, 400)
        for fields in ([(":protocol", "")], [(":protocol", "a b")], [(":protocol", "websocket"), (":protocol", "websocket")],
                       [(":protocol", "websocket"), ("content-length", "5")], [(":protocol", "websocket"), ("upgrade", "websocket")]):
            bad = client.open("/", "CONNECT", fields, ends=False)
            self.assertEqual(client.response(bad).status, 400, fields)
        self.assertEqual(self.origin.requests, [])

    def test_a_reset_of_the_stream_is_one_to_the_server_and_the_other_way_round(self):
        result = []

        def watch(served):
            try:
                if served.socket.recv(1) == b"r":
                    return served.reset()
                while served.socket.recv(65_536):
                    pass
                result.append("end")
            except ConnectionResetError:
                result.append("reset")

        client = self.start(tunnel(watch))
        stream = Stream(client)
        stream.head()
        stream.send(b"x")
        client.send(frame(http2.RST_STREAM, 0, stream.number, struct.pack(">I", http2.CANCEL)))
        other = Stream(client)
        other.head()
        other.send(b"r")
        client.until(lambda: other.what.is_over, "no reset")
        self.assertEqual(other.what.reset, 10)  # CONNECT_ERROR
        self.proxy.settle({"exchanges": 0, "tunnels_open": 0})
        self.assertHeard(lambda: result, ["reset"])
        self.assertEqual(self.proxy.counters()["tunnels_cut"], 2)
        trailers = Stream(client)
        trailers.head()
        client.trailers(trailers.number, [("a", "b")])
        client.until(lambda: trailers.what.is_over, "no reset")
        self.assertEqual(trailers.what.reset, http2.PROTOCOL_ERROR)

    def test_the_server_ends_first(self):
        received = []

        def first(served):
            served.send(b"last")
            end_side(served.socket)
            while data := served.socket.recv(65_536):
                received.append(data)

        client = self.start(tunnel(first))
        stream = Stream(client)
        self.assertEqual(stream.take(4), b"last")
        client.until(lambda: stream.what.is_over, "no end")
        self.assertTrue(stream.what.ended)
        stream.send(b"still ")
        stream.send(b"here", ends=True)
        self.proxy.settle({"exchanges": 0, "tunnels_open": 0})
        self.assertHeard(lambda: b"".join(received), b"still here")
        self.assertIsNone(stream.what.reset)
        self.assertEqual(self.proxy.counters()["tunnels_cut"], 0)

    def test_8_mebibytes_come_back_within_the_windows(self):
        for pair in ({}, {"tls": True, "upstream_tls": True}):
            client = self.start(tunnel(), **pair)
            stream = Stream(client)
            stream.head()
            data = random.Random(3).randbytes(8 << 20)
            self.assertSameBytes(echo_over_a_stream(self, stream, data), data)
            stream.send(b"", ends=True)
            client.until(lambda: stream.what.is_over, "no end")
            client.close()
            self.check_all_is_back()

    def test_a_stream_without_a_window_stops_its_server_and_no_other(self):
        taken = []

        def flood(served):
            block = b"x" * 65_536
            while len(taken) < 1000:
                served.socket.sendall(block)
                taken.append(1)
            end_side(served.socket)

        client = self.start(tunnel(flood), timeouts={"head": "1s", "body": "300ms", "idle": "1h"})
        client.opens = False
        stream = Stream(client)
        client.until(lambda: len(stream.what.content) == 65_535)
        before = -1
        while len(taken) != before:
            before = len(taken)
            time.sleep(0.5)
        self.assertLess(len(taken), 1000)
        self.assertLess(self.proxy.counters()["cold_bytes"], 1 << 20)
        client.opens = True
        client.window(0, 1 << 30)
        client.window(stream.number, 1 << 30)
        count = 0
        while not stream.what.is_over:
            count += len(stream.what.content)
            stream.what.content = b""
            self.assertTrue(client.read())
        self.assertEqual(count + len(stream.what.content), 1000 * 65_536)

    def test_an_idle_stream_is_cut_alone(self):
        client = self.start(tunnel(), upstream={"timeouts": {"tunnel": "300ms"}})
        stream = Stream(client)
        stream.head()
        client.until(lambda: stream.what.is_over, "no reset")
        self.assertEqual(stream.what.reset, http2.CANCEL)
        self.assertEqual(Stream(client).head().status, 200)

    def test_the_record_and_the_drain(self):
        log = AuditLog(self.folder / "audit")
        client = self.start(
            tunnel(), audit={"directory": str(log.directory)}, drain={"deadline": "2s"})
        stream = Stream(client, "/h2")
        self.assertEqual(stream.head().status, 200)
        begin = log.of_kind("begin")[0]
        self.assertEqual((begin["method"], begin["path"], begin["version"]), ("CONNECT", "/h2", "HTTP/2.0"))
        self.proxy.ended_by_test = True
        self.proxy.signal(signal.SIGTERM)
        client.until(lambda: client.goaway is not None, "no GOAWAY")
        stream.send(b"still")
        self.assertEqual(stream.take(5), b"still")
        client.rest()
        self.assertEqual(self.proxy.wait(), 0)
        abort = log.of_kind("abort")[0]
        self.assertEqual(
            (abort["ending"], abort["request_bytes"], abort["response_bytes"], abort["status"]),
            ("drain_deadline", 5, 5, 200))
        code, text = log.verify()
        self.assertEqual(code, 0, text)


if __name__ == "__main__":
    unittest.main()
