"""Layer 2: listeners that pass connections on as they are: TCP to an upstream, TLS by its name without an
end of it here.
"""

import random
import signal
import socket
import ssl
import threading
import time
import unittest

from harness import certificates, ports, settings, tlsclient, wire
from harness.auditlog import AuditLog
from harness.case import SystemCase, on_both_engines
from harness.origin import Origin
from harness.tlsorigin import TLSOrigin


def echo(served):
    served.send(bytes(served.buffer))
    while data := served.socket.recv(1 << 18):
        served.send(data)
    served.socket.shutdown(socket.SHUT_WR)


def says(word):
    """A server that speaks first, then echoes."""

    def script(served):
        served.send(word)
        while data := served.socket.recv(1 << 18):
            served.send(data)

    return script


class RelayCase(SystemCase):
    def serve(self, upstreams, listener, **others):
        config = self.settings_for(1, **others)
        base = {"timeouts": {"connect": "5s", "response": "60s", "idle": "1h"}}
        config["upstreams"] = {
            name: {"servers": [f"127.0.0.1:{port}" for port in servers], **base, **more}
            for name, (servers, more) in upstreams.items()
        }
        config["listeners"][0].update({"protocol": "relay", **listener})
        del config["routes"]
        self.proxy = self.start_proxy(config)
        return self.proxy

    def check_all_is_back(self):
        self.proxy.settle({"exchanges": 0, "connections": 0, "tunnels_open": 0})
        counters = self.proxy.counters()
        for key in ("leases", "frames", "cold_bytes", "upstream_connections"):
            self.assertEqual(counters[key], 0, key)
        return counters


@on_both_engines
class Connections(RelayCase):
    def test_bytes_go_both_ways_and_each_side_ends_alone(self):
        origin = self.start_origin(echo)
        self.serve({"a": ([origin.port], {})}, {"upstream": "a"})
        connection = self.connect(self.proxy)
        data = random.Random(1).randbytes(4 << 20)
        sender = threading.Thread(target=connection.send, args=(data,), daemon=True)
        sender.start()
        self.assertSameBytes(connection.take(len(data)), data)
        sender.join(settings.HANG)
        connection.finish_sending()
        self.assertEqual(connection.rest(), b"")
        connection.close()
        counters = self.check_all_is_back()
        self.assertEqual((counters["tunnels"], counters["tunnels_cut"]), (1, 0))

    def test_a_server_may_speak_first(self):
        origin = self.start_origin(says(b"220 ready\r\n"))
        self.serve({"a": ([origin.port], {})}, {"upstream": "a"})
        connection = self.connect(self.proxy)
        self.assertEqual(connection.line(), "220 ready")
        connection.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
        self.assertEqual(connection.take(24), b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")

    def test_a_client_that_ends_at_once(self):
        origin = self.start_origin(echo)
        self.serve({"a": ([origin.port], {})}, {"upstream": "a"})
        connection = self.connect(self.proxy).send(b"all")
        connection.finish_sending()
        self.assertEqual(connection.rest(), b"all")
        self.check_all_is_back()

    def test_a_server_that_is_not_there(self):
        log = AuditLog(self.folder / "audit")
        closed = ports.free_port()
        self.serve(
            {"a": ([closed], {})}, {"upstream": "a"}, audit={"directory": str(log.directory)})
        # The reset may come before connect(2) has returned.
        with self.assertRaises(ConnectionResetError):
            self.connect(self.proxy).rest()
        counters = self.check_all_is_back()
        self.assertEqual((counters["tunnels"], counters["tunnels_cut"]), (0, 0))
        self.proxy.stop()
        entry = log.of_kind("exchange")[0]
        self.assertEqual(entry["ending"], "connect_refused")
        self.assertNotIn("method", entry)

    def test_another_server_is_tried(self):
        origin = self.start_origin(says(b"hello"))
        self.serve({"a": ([ports.free_port(), origin.port], {})}, {"upstream": "a"})
        for _ in range(4):
            connection = self.connect(self.proxy)
            self.assertEqual(connection.take(5), b"hello")
            connection.close()
        self.check_all_is_back()

    def test_a_reset_is_a_reset(self):
        origin = self.start_origin(lambda served: (served.socket.recv(1), served.reset()))
        self.serve({"a": ([origin.port], {})}, {"upstream": "a"})
        connection = self.connect(self.proxy).send(b"x")
        with self.assertRaises(ConnectionResetError):
            connection.rest()
        self.assertEqual(self.check_all_is_back()["tunnels_cut"], 1)

    def test_an_idle_connection_is_cut_and_recorded_with_its_bytes(self):
        log = AuditLog(self.folder / "audit")
        origin = self.start_origin(echo)
        self.serve(
            {"a": ([origin.port], {"timeouts": {"tunnel": "300ms"}})}, {"upstream": "a"},
            audit={"directory": str(log.directory)})
        connection = self.connect(self.proxy).send(b"12345")
        self.assertEqual(connection.take(5), b"12345")
        self.assertEqual(len(log.of_kind("begin")), 1)
        with self.assertRaises(ConnectionResetError):
            connection.rest()
        self.check_all_is_back()
        self.proxy.stop()
        begin, abort = log.of_kind("begin")[0], log.of_kind("abort")[0]
        self.assertEqual((begin["id"], begin["listener"]), (abort["id"], "edge"))
        self.assertEqual(
            (abort["ending"], abort["request_bytes"], abort["response_bytes"]),
            ("tunnel_timeout", 5, 5))
        self.assertNotIn("status", abort)
        code, text = log.verify()
        self.assertEqual(code, 0, text)

    def test_the_drain_cuts_what_is_left(self):
        origin = self.start_origin(echo)
        self.serve({"a": ([origin.port], {})}, {"upstream": "a"}, drain={"deadline": "1s"})
        connection = self.connect(self.proxy).send(b"x")
        self.assertEqual(connection.take(1), b"x")
        self.proxy.ended_by_test = True
        self.proxy.signal(signal.SIGTERM)
        self.proxy.wait_for("draining")
        connection.send(b"y")
        self.assertEqual(connection.take(1), b"y")
        with self.assertRaises(ConnectionResetError):
            connection.rest()
        self.assertEqual(self.proxy.wait(), 0)

    def test_the_protocol_of_the_upstream_is_not_spoken(self):
        origin = self.start_origin(says(b"hello"))
        self.serve({"a": ([origin.port], {"protocol": "h2c"})}, {"upstream": "a"})
        connection = self.connect(self.proxy).send(b"x")
        self.assertEqual(connection.take(6), b"hellox")
        connection.close()
        self.check_all_is_back()

    def test_a_kept_connection_of_http_is_not_used(self):
        origin = self.start_origin()
        config = self.settings_for(origin.port)
        relay = {"name": "raw", "address": f"127.0.0.1:{ports.free_port()}", "protocol": "relay", "upstream": "origin"}
        config["listeners"].append(relay)
        self.proxy = self.start_proxy(config)
        self.assertEqual(self.fetch(self.proxy).status, 200)
        connection = self.connect(self.proxy, port=int(relay["address"].rpartition(":")[2]))
        self.assertEqual(connection.send(wire.get()).response().status, 200)
        self.assertEqual(origin.connections, 2)


@on_both_engines
class Names(RelayCase):
    """TLS ends at the servers; the proxy reads the name in the first message."""

    def setUp(self):
        super().setUp()
        self.origins = {}
        for name in ("a", "b", "other"):
            pair = certificates.authority().issue(f"{name}.test", "site.test")
            origin = TLSOrigin(lambda served, name=name: served.send(name.encode()), pair=pair)
            self.addCleanup(self._close_origin, origin)
            self.origins[name] = origin
        self.serve_names({"upstream": "other"})

    def serve_names(self, listener, **others):
        self.serve(
            {name: ([origin.port], {}) for name, origin in self.origins.items()},
            {"sni": [{"name": "a.test", "upstream": "a"}, {"name": "*.b.test", "upstream": "b"}], **listener},
            timeouts={"head": "1s", "body": "1h", "idle": "1h"}, **others)

    def ask(self, name, context=None):
        context = context or ssl._create_unverified_context()
        raw = socket.create_connection(("127.0.0.1", self.proxy.port), settings.HANG)
        with context.wrap_socket(raw, server_hostname=name) as connection:
            return connection.recv(16)

    def test_a_name_chooses_its_upstream(self):
        for name, expected in (
            ("a.test", b"a"), ("A.TEST", b"a"), ("x.b.test", b"b"), ("x.y.b.test", b"b"),
            ("b.test", b"other"), ("127.0.0.1", b"other"), ("site.test", b"other"),
        ):  # fmt: skip
            with self.subTest(name=name):
                self.assertEqual(self.ask(name), expected)
        # It is the server's own certificate that the client verifies.
        self.assertEqual(self.ask("a.test", certificates.authority().client()), b"a")
        self.assertEqual(self.proxy.counters()["handshakes"], 0)

    def test_a_first_message_in_pieces(self):
        hello = ssl.MemoryBIO()
        session = ssl._create_unverified_context().wrap_bio(ssl.MemoryBIO(), hello, server_hostname="a.test")
        with self.assertRaises(ssl.SSLWantReadError):
            session.do_handshake()
        data = hello.read()
        for size in (1, 7, 100):
            connection = self.connect(self.proxy)
            connection.send_slowly(data, size, 0.0005)
            # A ServerHello.
            self.assertEqual(connection.take(3)[:1], b"\x16")
            connection.close()
        # The message in several records.
        pieces = b"".join(
            data[:3] + len(data[at : at + 50]).to_bytes(2, "big") + data[at : at + 50]
            for at in range(5, len(data), 50))
        connection = self.connect(self.proxy).send(pieces)
        self.assertEqual(connection.take(3)[:1], b"\x16")
        connection.close()
        self.proxy.settle({"exchanges": 0, "connections": 0})

    def test_what_is_no_first_message_is_reset(self):
        for data in (b"GET / HTTP/1.1\r\n\r\n", b"\x16\x02", b"\x16\x03\x01\x00\x05\x02\x00\x00\x01\x00"):
            connection = self.connect(self.proxy).send(data)
            with self.assertRaises(ConnectionResetError):
                connection.rest()
        self.assertEqual(self.proxy.counters()["bad_requests"], 3)
        self.assertEqual(sum(origin.connections for origin in self.origins.values()), 0)

    def test_one_that_does_not_come_has_the_time_of_a_head(self):
        for data in (b"", b"\x16\x03\x01"):
            connection = self.connect(self.proxy)
            if data:
                connection.send(data)
            self.assertTrue(connection.is_closed_by_peer())
        connection = self.connect(self.proxy).send(b"\x16\x03")
        connection.finish_sending()
        self.assertTrue(connection.is_closed_by_peer())
        self.check_all_is_back()

    def test_without_an_upstream_other_names_are_reset_and_the_name_is_recorded(self):
        log = AuditLog(self.folder / "audit")
        self.serve_names({"sni": [
            {"name": "a.test", "upstream": "a"}, {"name": "*.b.test", "upstream": "b"},
            {"name": "other.test", "upstream": "other"},
        ]}, audit={"directory": str(log.directory)})
        for name in ("c.test", "127.0.0.1"):
            with self.assertRaises((ConnectionResetError, ssl.SSLError)):
                self.ask(name)
        self.assertEqual(self.ask("x.b.test"), b"b")
        self.proxy.settle({"exchanges": 0})
        self.proxy.stop()
        self.assertEqual([entry["sni"] for entry in log.of_kind("begin")], ["x.b.test"])
        self.assertEqual(len(log.of_kind("end", "abort")), 1)


if __name__ == "__main__":
    unittest.main()
