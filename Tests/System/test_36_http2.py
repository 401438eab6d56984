"""HTTP/2 from clients: what is said between the hops, windows, floods, the end of a connection.

curl and h2load are the clients that get along with everybody; the client of raw frames is the one that
does not.
"""

import socket
import json
import signal
import subprocess
import struct
import threading
import time
import unittest

from harness import http2, peers, settings, wire
from harness.auditlog import AuditLog
from harness.case import SystemCase, on_both_engines
from harness.origin import raw
from harness.http2 import Client, frame

SHORT = {"head": "1s", "body": "1s", "idle": "2s"}


class HTTP2Case(SystemCase):
    tls = False

    def serve(self, script=None, tls=False, **options):
        """A proxy that speaks HTTP/2 before a scripted origin."""
        self.origin = self.start_origin(script)
        config = self.settings_for(
            self.origin.port, tls=self.site_tls if tls else None, **options)
        config["listeners"][0]["http_versions"] = ["h2", "http/1.1"]
        self.proxy = self.start_proxy(config)
        self.tls = tls
        return self.proxy

    def connect(self, **options):
        client = Client(self.proxy.port, tls=self.tls, **options)
        self.addCleanup(client.close)
        return client

    def check_all_is_back(self):
        """Nothing is held for streams that are over."""
        self.proxy.settle({"exchanges": 0, "connections": 0})
        counters = self.proxy.counters()
        for key in ("leases", "frames", "cold_bytes"):
            self.assertEqual(counters[key], 0, key)


@on_both_engines
class Versions(HTTP2Case):
    def curl(self, *arguments):
        scheme = "https" if self.tls else "http"
        done = subprocess.run(
            ["curl", "-sk", "-m", "20", *arguments, f"{scheme}://127.0.0.1:{self.proxy.port}/path?q"],
            capture_output=True, timeout=60)
        self.assertEqual(done.returncode, 0, done.stderr)
        return done.stdout

    def test_alpn_chooses_what_the_client_offers_and_the_listener_prefers(self):
        self.serve(tls=True)
        for option, version in (("--http2", b"2"), ("--http1.1", b"1.1"), ("--http1.0", b"1.1")):
            with self.subTest(option=option):
                out = self.curl(option, "-o", "/dev/null", "-w", "%{http_version} %{http_code}")
                self.assertEqual(out, version + b" 200")

    def test_without_tls_by_prior_knowledge_and_beside_http_1(self):
        self.serve()
        out = self.curl("--http2-prior-knowledge", "-w", "\n%{http_version}")
        seen, version = out.rsplit(b"\n", 1)
        self.assertEqual(version, b"2")
        self.assertEqual(json.loads(seen)["start"], "GET /path?q HTTP/1.1")
        self.assertEqual(self.curl("--http1.1", "-o", "/dev/null", "-w", "%{http_version}"), b"1.1")
        # The preface in pieces, each in a packet of its own.
        with self.connect() as client:
            self.assertEqual(client.fetch().status, 200)

    def test_a_listener_without_it_serves_what_it_has(self):
        self.serve(tls=True)
        config = self.settings_for(self.origin.port, tls=self.site_tls)
        config["listeners"][0]["http_versions"] = ["http/1.1"]
        self.proxy = self.start_proxy(config)
        out = self.curl("--http2", "-o", "/dev/null", "-w", "%{http_version} %{http_code}")
        self.assertEqual(out, b"1.1 200")

    def test_a_preface_in_pieces(self):
        self.serve()
        client = Client.__new__(Client)
        connection = SystemCase.connect(self, self.proxy)
        data = http2.PREFACE + frame(http2.SETTINGS) + frame(
            http2.HEADERS, http2.END_HEADERS | http2.END_STREAM, 1,
            http2.encode([(":method", "GET"), (":scheme", "http"), (":authority", "a"), (":path", "/")]))
        for byte in data:
            connection.send(bytes([byte]))
        client.__dict__.update(
            socket=connection.socket, streams={1: http2.Stream()}, closed=False, _data=b"",
            _block=None, opens=True, goaway=None, settings=None, pongs=[])
        self.assertEqual(client.response(1).status, 200)

    def test_the_preface_behind_a_request_is_none(self):
        self.serve()
        connection = SystemCase.connect(self, self.proxy)
        connection.send(wire.get("/"))
        self.assertEqual(connection.response().status, 200)
        connection.send(http2.PREFACE + frame(http2.SETTINGS))
        self.assertNotIn(b"HTTP/1.1 200", connection.rest())
        self.check_all_is_back()

    def test_a_listener_of_http2_alone_refuses_http_1(self):
        self.serve()
        config = self.settings_for(self.origin.port)
        config["listeners"][0]["http_versions"] = ["h2"]
        self.proxy = self.start_proxy(config)
        connection = SystemCase.connect(self, self.proxy)
        connection.send(wire.get("/"))
        response = connection.response()
        self.assertEqual(response.status, 505)
        self.assertIn(b"http2_required", response.body)
        with self.connect() as client:
            self.assertEqual(client.fetch().status, 200)

    def test_h2load(self):
        nginx = self.start_nginx()
        nginx.add("small", b"x" * 128)
        for tls in (True, False):
            with self.subTest(tls=tls):
                config = self.settings_for(nginx.port, tls=self.site_tls if tls else None)
                config["listeners"][0]["http_versions"] = ["h2", "http/1.1"]
                self.proxy = self.start_proxy(config)
                scheme = "https" if tls else "http"
                done = subprocess.run(
                    ["h2load", "-n", "20000", "-c", "20", "-m", "100",
                     f"{scheme}://127.0.0.1:{self.proxy.port}/small"],
                    capture_output=True, text=True, timeout=120)
                self.assertIn("20000 succeeded, 0 failed, 0 errored, 0 timeout", done.stdout)
                self.check_all_is_back()


@on_both_engines
class Exchanges(HTTP2Case):
    def test_a_request_as_its_server_gets_it(self):
        for tls in (False, True):
            self.serve(tls=tls)
            with self.subTest(tls=tls), self.connect() as client:
                fields = [("cookie", "a=1"), ("X-Own".lower(), "value"), ("cookie", "b=2"), ("te", "trailers"),
                          ("content-length", "5")]
                stream = client.fetch("/p?q=1", "POST", fields, b"hello", scheme="https")
                seen = json.loads(stream.content)
                self.assertEqual(seen["start"], "POST /p?q=1 HTTP/1.1")
                self.assertEqual(seen["body"], "hello")
                found = {name.lower(): value for name, value in seen["fields"]}
                self.assertEqual(found["host"], "site.test")
                self.assertEqual(found["cookie"], "a=1; b=2")
                self.assertEqual(found["x-own"], "value")
                self.assertEqual(found["content-length"], "5")
                self.assertEqual(found["x-forwarded-proto"], "https" if tls else "http")
                self.assertIn("2.0 millrace", found["via"])
                self.assertNotIn(":path", found)
            self.check_all_is_back()

    def test_content_of_unknown_length_with_trailers(self):
        self.serve()
        with self.connect() as client:
            stream = client.open("/", "POST", [("te", "trailers")], b"part", ends=False)
            client.send(frame(http2.DATA, 0, stream, b" two"))
            client.trailers(stream, [("x-sum", "9"), ("content-length", "1")])
            seen = json.loads(client.response(stream).content)
            self.assertEqual(seen["body"], "part two")
            self.assertTrue(seen["chunked"])
            self.assertEqual(seen["trailers"], [["x-sum", "9"]])
        self.check_all_is_back()

    def test_a_response_with_interim_heads_chunks_and_trailers(self):
        response = (
            b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\nKeep-Alive: timeout=5\r\n\r\n"
            b"3\r\nabc\r\n4\r\ndefg\r\n0\r\nX-Sum: 7\r\n\r\n")
        self.serve(raw(response, "keep"))
        with self.connect() as client:
            stream = client.fetch()
            self.assertEqual([dict(head)[":status"] for head in stream.heads], ["103", "200"])
            self.assertEqual(stream.content, b"abcdefg")
            self.assertEqual(stream.trailers, [("x-sum", "7")])
            for name in ("transfer-encoding", "keep-alive", "connection"):
                self.assertNotIn(name, stream.fields)
        self.check_all_is_back()

    def test_responses_without_content(self):
        for method, response, fields in (
            ("HEAD", b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", {"content-length": "5"}),
            ("GET", b"HTTP/1.1 204 No Content\r\n\r\n", {}),
            ("GET", b"HTTP/1.1 304 Not Modified\r\nETag: \"a\"\r\n\r\n", {"etag": '"a"'}),
            ("GET", b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", {"content-length": "0"}),
        ):
            self.serve(raw(response, "keep"))
            with self.subTest(method=method, response=response), self.connect() as client:
                stream = client.fetch(method=method)
                self.assertTrue(stream.ended)
                self.assertEqual(stream.content, b"")
                self.assertLessEqual(fields.items(), stream.fields.items())

    def test_content_to_the_connections_end(self):
        self.serve(raw(b"HTTP/1.1 200 OK\r\n\r\nto the end"))
        with self.connect() as client:
            stream = client.fetch()
            self.assertTrue(stream.ended)
            self.assertEqual(stream.content, b"to the end")

    def test_a_server_that_breaks_off_is_a_reset_and_never_an_end(self):
        for end in ("close", "reset"):
            self.serve(raw(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\npart", end))
            with self.subTest(end=end), self.connect() as client:
                first, second = client.open(), client.open("/b")
                for number in (first, second):
                    stream = client.response(number)
                    self.assertFalse(stream.ended)
                    self.assertEqual(stream.reset, http2.INTERNAL_ERROR)
                # The connection goes on.
                self.assertIsNone(client.goaway)
            self.check_all_is_back()

    def test_local_replies(self):
        self.serve(routes=[{"match": {"path": "/here"}, "upstream": "origin"}])
        with self.connect() as client:
            stream = client.fetch("/elsewhere")
            self.assertEqual((stream.status, stream.content), (404, b"404 Not Found (no_route)\n"))
            connect = client.next_stream
            client.streams[connect] = http2.Stream()
            client.next_stream += 2
            block = http2.encode([(":method", "CONNECT"), (":authority", "a:1")])
            client.send(frame(http2.HEADERS, http2.END_HEADERS, connect, block))
            self.assertEqual(client.response(connect).status, 405)
            self.assertEqual(client.fetch("/here").status, 200)

    def test_malformed_heads_are_answered_and_reset(self):
        self.serve()
        get = [(":method", "GET"), (":scheme", "http"), (":authority", "a"), (":path", "/")]
        for name, fields in {
            "upper_case": [*get, ("X-Upper", "v")],
            "connection": [*get, ("connection", "close")],
            "transfer_encoding": [*get, ("transfer-encoding", "chunked")],
            "te": [*get, ("te", "gzip")],
            "pseudo_last": [*get, ("x", "y"), (":path", "/b")],
            "pseudo_unknown": [*get, (":own", "x")],
            "pseudo_twice": [*get, (":path", "/")],
            "no_path": get[:3],
            "empty_path": [*get[:3], (":path", "")],
            "newline": [*get, ("x", "a\nb: c")],
            "nul": [*get, ("x", "a\0b")],
            "crlf_path": [*get[:3], (":path", "/ HTTP/1.1\r\nX: y")],
            "host_differs": [*get, ("host", "b")],
            "length_twice": [*get, ("content-length", "1"), ("content-length", "2")],
        }.items():
            with self.subTest(name=name), self.connect() as client:
                client.streams[1] = http2.Stream()
                client.send(frame(http2.HEADERS, 5, 1, http2.encode(fields)))
                stream = client.response(1)
                self.assertEqual(stream.reset, http2.PROTOCOL_ERROR)
                client.next_stream = 3
                self.assertEqual(client.fetch().status, 200)
        self.assertFalse([r for r in self.origin.requests if "X" in dict(r.fields)])
        self.check_all_is_back()

    def test_limits_of_a_head_are_answered(self):
        self.serve(limits={"request_target": "1KiB", "request_fields": 20})
        with self.connect() as client:
            for count, status in ((1023, 200), (1024, 200), (1025, 414)):
                self.assertEqual(client.fetch("/" + "a" * (count - 1)).status, status, count)
            for count, status in ((19, 200), (20, 200), (21, 431)):
                fields = [(f"x{i}", "y") for i in range(count)]
                self.assertEqual(client.fetch(fields=fields).status, status, count)
            self.assertIsNone(client.goaway)

    def test_heads_of_http_1_1_that_are_refused_are_answered_in_it(self):
        """Also where it is seen before the line with the version is whole, or behind an empty line."""
        self.serve()
        for head, status in (
            (b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\nHost: a\r\n\r\n", b"414"),
            (b"\r\nGET / HTTP/1.1\r\nHost: a\r\nno colon\r\n\r\n", b"400"),
            (b"\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", b"200"),
        ):
            with socket.create_connection(("127.0.0.1", self.proxy.port), settings.HANG) as client:
                client.sendall(head)
                self.assertEqual(client.recv(12), b"HTTP/1.1 " + status)

    def test_an_upload_that_is_refused_is_cut_without_an_error(self):
        self.serve(routes=[{"match": {"path": "/here"}, "upstream": "origin"}])
        with self.connect() as client:
            stream = client.open("/elsewhere", "POST", content=b"x" * 1000, ends=False)
            client.until(lambda: client.streams[stream].reset is not None)
            self.assertEqual(client.streams[stream].status, 404)
            self.assertEqual(client.streams[stream].reset, http2.NO_ERROR)
            self.assertEqual(client.fetch("/here").status, 200)


@on_both_engines
class Windows(HTTP2Case):
    SIZE = 3_000_000

    def test_large_content_both_ways(self):
        content = bytes(i * 7 & 0xFF for i in range(65_536)) * 8

        def script(served):
            while message := served.request():
                served.answer(message.body)

        for tls in (False, True):
            self.serve(script, tls=tls)
            with self.subTest(tls=tls):
                path = self.folder / "up"
                path.write_bytes(content)
                scheme = "https" if tls else "http"
                for extra in ([], ["-H", "Transfer-Encoding: chunked"]):
                    done = subprocess.run(
                        ["curl", "-sk", "-m", "60", "--http2-prior-knowledge" if not tls else "--http2",
                         *extra, "--data-binary", f"@{path}", f"{scheme}://127.0.0.1:{self.proxy.port}/"],
                        capture_output=True, timeout=90)
                    self.assertEqual(done.returncode, 0, done.stderr)
                    self.assertSameBytes(done.stdout, content)
                self.check_all_is_back()

    def big(self, served):
        while served.request():
            served.send(f"HTTP/1.1 200 OK\r\nContent-Length: {self.SIZE}\r\n\r\n")
            try:
                for _ in range(self.SIZE // 10_000):
                    served.send(b"0123456789" * 1000)
            except OSError:
                return

    def test_a_stream_that_is_not_read_stops_no_other_and_costs_a_bound(self):
        self.serve(self.big)
        with self.connect(opens=False) as client:
            client.window(0, 1 << 25)
            stopped = [client.open() for _ in range(5)]
            client.until(lambda: all(len(client.streams[s].content) == 65_535 for s in stopped))
            held = self.proxy.settle()
            # What is read ahead for each: less than a mebibyte, whatever there is to come.
            self.assertLess(held["cold_bytes"], 5 << 20)
            fast = client.open()
            client.window(fast, self.SIZE)
            self.assertEqual(len(client.response(fast).content), self.SIZE)
            for stream in stopped:
                client.window(stream, self.SIZE)
            for stream in stopped:
                self.assertEqual(client.response(stream).content, b"0123456789" * (self.SIZE // 10))
        self.check_all_is_back()

    def test_a_client_that_opens_its_window_late(self):
        self.serve(self.big)
        with self.connect(window=0, opens=False) as client:
            stream = client.open()
            client.until(lambda: client.streams[stream].status == 200)
            client.window(0, self.SIZE)
            self.assertEqual(client.streams[stream].content, b"")
            # By a setting, which all streams get, and then by its own.
            client.send(frame(http2.SETTINGS, payload=struct.pack(">HI", 4, 10)))
            client.until(lambda: len(client.streams[stream].content) == 10)
            client.window(stream, self.SIZE)
            self.assertEqual(len(client.response(stream).content), self.SIZE)

    def test_a_window_that_stays_closed_ends_the_stream_in_time(self):
        self.serve(self.big, timeouts=SHORT)
        with self.connect(opens=False) as client:
            stream = client.open()
            client.until(lambda: client.streams[stream].reset is not None)
            self.assertEqual(client.streams[stream].reset, http2.CANCEL)
            self.assertEqual(self.proxy.counters()["timeouts"], 1)

    def test_an_upload_to_a_server_that_does_not_read_stops_at_its_window(self):
        self.serve(raw(b"", "stall"))
        with self.connect() as client:
            # The windows of a stream and of the connection, as the proxy announced them.
            client.until(lambda: client.settings is not None)
            window = client.settings.get(4, 65_535)
            stream = client.open("/", "POST", ends=False)
            client.send(client.pieces(stream, b"x" * window, ends=False))
            self.proxy.settle()
            counters = self.proxy.counters()
            self.assertLess(counters["cold_bytes"], 2 * window + (1 << 20))
            client.send(frame(http2.PING, payload=b"12345678"))
            client.until(lambda: client.pongs)


@on_both_engines
class Hostile(HTTP2Case):
    def check_flood(self, data, limit=20_000):
        """Sends until the proxy has had enough; others are served meanwhile."""
        self.serve()
        other = self.connect()
        self.assertEqual(other.fetch().status, 200)
        client = self.connect(opens=False)
        stream = client.open("/", "POST", ends=False)
        sent = 0
        try:
            for turn in range(limit):
                client.send(data(turn, stream))
                sent += 1
                if turn % 50 == 49:
                    client.socket.settimeout(0.001)
                    try:
                        while client.read():
                            pass
                    except TimeoutError:
                        pass
                    client.socket.settimeout(settings.HANG)
                if client.goaway is not None:
                    break
        except OSError:
            pass
        client.streams.setdefault(0, http2.Stream())
        try:
            client.rest()
        except OSError:
            pass
        self.assertEqual(client.goaway, http2.ENHANCE_YOUR_CALM, f"after {sent}")
        self.assertEqual(other.fetch().status, 200)
        other.close()
        self.assertEqual(self.proxy.counters()["http2_floods"], 1)
        self.check_all_is_back()

    def test_ping(self):
        self.check_flood(lambda *_: frame(http2.PING, payload=b"12345678") * 10)

    def test_settings(self):
        self.check_flood(lambda *_: frame(http2.SETTINGS) * 10)

    def test_empty_data(self):
        self.check_flood(lambda _, stream: frame(http2.DATA, 0, stream) * 10)

    def test_rapid_reset(self):
        block = http2.encode([(":method", "GET"), (":scheme", "http"), (":authority", "a"), (":path", "/")])

        def data(turn, _):
            number = 2 * turn + 3
            return frame(http2.HEADERS, 5, number, block) + frame(
                http2.RST_STREAM, 0, number, struct.pack(">I", http2.CANCEL))

        self.check_flood(data)

    def test_streams_that_are_made_to_be_reset(self):
        block = http2.encode([(":method", "GET"), (":scheme", "http"), (":authority", "a"), (":path", "/")])

        def data(turn, _):
            number = 2 * turn + 3
            return frame(http2.HEADERS, 5, number, block) + frame(
                http2.WINDOW_UPDATE, 0, number, struct.pack(">I", 0))

        self.check_flood(data)

    def test_a_client_that_reads_nothing_is_not_read(self):
        self.serve(timeouts=SHORT)
        with self.connect(receive_buffer=4096) as client:
            client.socket.settimeout(0.2)
            sent = 0
            try:
                for _ in range(2000):
                    client.send(frame(http2.PING, payload=b"12345678") * 100)
                    sent += 1
            except OSError:
                pass
            client.close()
        self.check_all_is_back()

    def test_random_bytes_behind_the_preface(self):
        import random
        source = random.Random(7)
        self.serve()
        for _ in range(300):
            client = self.connect()
            client.streams.setdefault(0, http2.Stream())
            data = bytearray(frame(http2.HEADERS, 5, 1, http2.encode(
                [(":method", "GET"), (":scheme", "http"), (":authority", "a"), (":path", "/")])) * 3)
            for _ in range(source.randrange(1, 6)):
                data[source.randrange(len(data))] = source.randrange(256)
            try:
                client.send(bytes(data) + source.randbytes(20))
            except OSError:
                pass
            client.close()
        with self.connect() as client:
            self.assertEqual(client.fetch().status, 200)
        self.check_all_is_back()

    def test_streams_beyond_the_limit_are_refused(self):
        self.serve(raw(b"", "stall"))
        with self.connect() as client:
            client.until(lambda: client.settings is not None)
            limit = client.settings[3]
            streams = [client.open() for _ in range(limit + 1)]
            client.until(lambda: client.streams[streams[-1]].reset is not None)
            self.assertEqual(client.streams[streams[-1]].reset, http2.REFUSED_STREAM)
            self.assertEqual(self.proxy.counters()["exchanges"], limit)

    def test_exchanges_beyond_the_limit_of_all_are_refused(self):
        self.serve(raw(b"", "stall"), limits={"streams": 20})
        with self.connect() as client:
            streams = [client.open() for _ in range(21)]
            client.until(lambda: any(s.reset is not None for s in client.streams.values()))
            refused = [s for s in streams if client.streams[s].reset is not None]
            self.assertEqual(len(refused), 1)
            self.assertEqual(client.streams[refused[0]].reset, http2.REFUSED_STREAM)
            self.assertEqual(self.proxy.counters()["streams_refused"], 1)


@on_both_engines
class Ends(HTTP2Case):
    def test_a_drain_serves_what_was_sent_and_says_so(self):
        def script(served):
            served.request()
            time.sleep(1)
            served.answer(b"late")

        self.serve(script)
        with self.connect() as client:
            stream = client.open()
            self.proxy.settle({"exchanges": 1})
            self.proxy.ended_by_test = True
            self.proxy.signal(signal.SIGTERM)
            self.assertEqual(client.response(stream).content, b"late")
            client.rest()
            self.assertEqual(client.goaway, http2.NO_ERROR)
        self.assertEqual(self.proxy.wait(), 0)

    def test_an_idle_connection_ends_with_goaway(self):
        self.serve(timeouts=SHORT)
        with self.connect() as client:
            self.assertEqual(client.fetch().status, 200)
            client.rest()
            self.assertEqual(client.goaway, http2.NO_ERROR)
        self.check_all_is_back()

    def test_content_that_does_not_come_is_a_408(self):
        self.serve(timeouts=SHORT)
        with self.connect() as client:
            late = client.open("/", "POST", content=b"part", ends=False)
            stream = client.response(late)
            self.assertEqual(stream.status, 408)
            self.assertEqual(client.fetch().status, 200)

    def test_what_was_answered_leaves_although_the_client_has_ended_its_side(self):
        self.serve(routes=[{"match": {"path": "/here"}, "upstream": "origin"}])
        for _ in range(5):
            with self.connect(opens=False) as client:
                self.assertEqual(client.fetch("/here").status, 200)
                # The request and the end come in one packet, and so in one turn.
                client.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, 1)
                stream = client.open("/elsewhere")
                client.socket.shutdown(socket.SHUT_WR)
                client.rest()
                self.assertEqual(client.streams[stream].status, 404)

    def test_clients_that_leave_in_the_middle(self):
        self.serve(raw(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\npart", "stall"))
        for reset in (True, False):
            with self.connect() as client:
                stream = client.open()
                client.until(lambda: client.streams[stream].content)
                if reset:
                    client.send(frame(http2.RST_STREAM, 0, stream, struct.pack(">I", http2.CANCEL)))
                    self.proxy.settle({"exchanges": 0})
        self.check_all_is_back()


@on_both_engines
class Audited(HTTP2Case):
    def test_one_record_for_each_stream(self):
        log = AuditLog(self.folder / "audit")
        nginx = self.start_nginx()
        nginx.add("small", b"x" * 128)
        config = self.settings_for(
            nginx.port, tls=self.site_tls, audit={"directory": str(log.directory)})
        config["listeners"][0]["http_versions"] = ["h2", "http/1.1"]
        self.proxy = self.start_proxy(config)
        done = subprocess.run(
            ["h2load", "-n", "5000", "-c", "10", "-m", "50",
             f"https://127.0.0.1:{self.proxy.port}/small"],
            capture_output=True, text=True, timeout=120)
        self.assertIn("5000 succeeded, 0 failed, 0 errored, 0 timeout", done.stdout)
        self.proxy.settle({"exchanges": 0})
        self.proxy.stop()
        requests = log.requests()
        self.assertEqual(len(requests), 5000)
        self.assertEqual({r["version"] for r in requests}, {"HTTP/2.0"})
        # Each connection counts its streams.
        self.assertEqual({type(r["stream"]) for r in requests}, {int})
        self.assertEqual({r["stream"] % 2 for r in requests}, {1})
        self.assertEqual(sum(r["stream"] == 1 for r in requests), 10)
        code, text = log.verify()
        self.assertEqual(code, 0, text)

    def test_the_stream_stands_beside_the_version(self):
        """One that is whole, one that is streamed, one that cannot be read, and one of HTTP/1.1."""
        log = AuditLog(self.folder / "audit")
        begun = threading.Event()

        def script(served):
            while message := served.request():
                if message.target != "/streamed":
                    served.answer()
                    continue
                served.send("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
                # Else it is whole at once, and so one record.
                self.assertTrue(begun.wait(settings.HANG))
                served.send("2\r\nhi\r\n0\r\n\r\n")

        self.serve(script, audit={"directory": str(log.directory), "durability": "before_response"})
        with self.connect() as client:
            self.assertEqual(client.fetch("/whole").status, 200)
            streamed = client.open("/streamed")
            client.until(lambda: client.streams[streamed].heads)
            begun.set()
            self.assertEqual(client.response(streamed).status, 200)
            self.assertEqual(client.fetch("/bad", fields=[("connection", "close")]).status, 400)
            client.next_stream = 99
            self.assertEqual(client.fetch("/later").status, 200)
        plain = SystemCase.connect(self, self.proxy)
        plain.send(wire.get("/plain"))
        self.assertEqual(plain.response().status, 200)
        self.proxy.settle({"exchanges": 0})
        records = log.requests()
        self.assertEqual(
            [(r["kind"], r.get("path"), r.get("version"), r.get("stream")) for r in records],
            [
                ("exchange", "/whole", "HTTP/2.0", 1), ("begin", "/streamed", "HTTP/2.0", 3),
                ("exchange", None, None, 5), ("exchange", "/later", "HTTP/2.0", 99),
                ("exchange", "/plain", "HTTP/1.1", None),
            ])
        names = list(records[0])
        self.assertEqual(names[names.index("version") :][:3], ["version", "stream", "method"])
        code, text = log.verify()
        self.assertEqual(code, 0, text)


if __name__ == "__main__":
    unittest.main()


@on_both_engines
class Surplus(SystemCase):
    def test_bytes_behind_a_response_wait_for_no_window(self):
        """A client that has closed its window gets the whole of what has no content, and so does the record."""
        log = AuditLog(self.folder / "audit")

        def script(served):
            served.request()
            served.send(b"HTTP/1.1 204 No Content\r\n\r\nsurplus")
            served.socket.recv(1)

        origin = self.start_origin(script)
        config = self.settings_for(
            origin.port, audit={"directory": str(log.directory), "durability": "before_response"})
        config["listeners"][0]["http_versions"] = ["h2", "http/1.1"]
        proxy = self.start_proxy(config)
        with Client(proxy.port, window=0) as client:
            stream = client.open("/surplus")
            self.assertEqual(client.response(stream).status, 204)
        proxy.settle({"exchanges": 0, "connections": 0})
        proxy.stop()
        self.assertIn(log.ending_of("/surplus"), (["exchange"], ["begin", "end"]))
