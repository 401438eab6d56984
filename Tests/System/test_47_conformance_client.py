"""What an outside suite asks of an HTTP/2 client, section by section: each case is a server that gets one
request and then breaks a rule. In the clear and over TLS.

Each case is a server with a port, a route and a connection of its own; see `harness/conformance.py` for its
steps.
"""

import socket
import ssl
import struct
import unittest

from harness import certificates, http2, settings, wire
from harness.case import SystemCase, on_both_engines
from harness.conformance import *  # noqa: F403 - the words of the tables
from harness.conformance import Peer, run
from harness.http2 import ACK, encode, frame

OK = encode([(":status", "200")])
NO_CONTENT = headers(1, OK)
HEAD = headers(1, OK, ends=False)


def refused(fields):
    """A response that breaks a rule of messages: the stream's error."""
    return (headers(1, encode(fields)), stream_error(PROTOCOL_ERROR), pong)


GENERIC = {
    "accepted": [
        ("DATA", HEAD, data(1), pong),
        ("DATA in pieces", HEAD, data(1, ends=False), data(1), pong),
        ("DATA with padding", HEAD, data(1, padding=6), pong),
        ("HEADERS with padding", headers(1, OK, padding=6), pong),
        ("HEADERS with a dependency", headers(1, OK, priority=(0, False, 255)), pong),
        ("PRIORITY", priority(1), HEAD, data(1), pong),
        ("trailers", HEAD, data(1, ends=False), headers(1, encode([("x-sum", "1")])), pong),
        ("interim heads", headers(1, encode([(":status", "103")]), ends=False), HEAD, data(1), pong),
        ("RST_STREAM", HEAD, reset(1), pong),
        ("GOAWAY behind the response", HEAD, data(1), goaway(0, last=1), closes),
        ("GOAWAY before the response", goaway(0, last=1), HEAD, data(1), closes),
        ("GOAWAY of an unknown code", HEAD, data(1), goaway(0xFF, last=1), closes),
        ("RST_STREAM of an unknown code", HEAD, reset(1, 0xFF), pong),
    ],
    "4_1": [
        ("a frame of an unknown type", frame(0x16, 0, 0, bytes(8)), pong),
        ("flags that are not defined", frame(http2.PING, 0x16, 0, b"flagged."), ponged(b"flagged.")),
        ("the reserved bit", frame(http2.PING, 0, 1 << 31, b"reserved"), ponged(b"reserved")),
    ],
    "4_2": [
        ("DATA of 16,384 bytes", HEAD, data(1, b"x" * 16_384), pong),
        ("DATA of 16,385 bytes", HEAD, data(1, b"x" * 16_385), stream_error(FRAME_SIZE_ERROR)),
        ("HEADERS of more than 16,384 bytes",
         headers(1, OK + encode([(f"x-dummy{i}", DUMMY) for i in range(5)])),
         connection_error(FRAME_SIZE_ERROR)),
    ],
    "4_3": [
        ("a block that cannot be decoded", headers(1, b"\x40"), connection_error(COMPRESSION_ERROR)),
        ("one of a stream that nobody opened", headers(1 << 24, b"\x40"),
         connection_error(COMPRESSION_ERROR, PROTOCOL_ERROR)),
    ],
}

STREAMS = {
    "5_1": [
        ("idle: DATA", data(2), connection_error(PROTOCOL_ERROR)),
        ("idle: RST_STREAM", reset(2), connection_error(PROTOCOL_ERROR)),
        ("idle: WINDOW_UPDATE", window(2, 100), connection_error(PROTOCOL_ERROR)),
        ("idle: CONTINUATION", frame(http2.CONTINUATION, 4, 2, OK), connection_error(PROTOCOL_ERROR)),
        ("reset: DATA", HEAD, reset(1), data(1), stream_error(STREAM_CLOSED)),
        ("reset: HEADERS", HEAD, reset(1), NO_CONTENT, stream_error(STREAM_CLOSED)),
        ("reset: CONTINUATION", HEAD, reset(1), continuation(1),
         stream_error(STREAM_CLOSED, PROTOCOL_ERROR)),
        ("closed: DATA", NO_CONTENT, data(1), connection_error(STREAM_CLOSED)),
        ("closed: HEADERS", NO_CONTENT * 2, connection_error(STREAM_CLOSED)),
        ("closed: CONTINUATION", NO_CONTENT, continuation(1),
         connection_error(STREAM_CLOSED, PROTOCOL_ERROR)),
    ],
    "5_1_1": [
        ("a stream that nobody opened", headers(101, OK), connection_error(PROTOCOL_ERROR)),
        ("a stream of the server's", headers(2, OK), connection_error(PROTOCOL_ERROR)),
    ],
    "5_4_1": [
        ("PING on a stream, to the end", ping(bytes(8), stream=3), connection_error(PROTOCOL_ERROR)),
    ],
    "5_5": [
        ("an unknown frame", frame(0x16, 0, 0, bytes(8)), pong, HEAD, data(1), pong),
        ("an unknown frame within a block", headers(1, OK, whole=False), frame(0x16, 0, 0, bytes(8)),
         connection_error(PROTOCOL_ERROR)),
    ],
}

FRAMES = {
    "6_1": [
        ("DATA on stream 0", data(0), connection_error(PROTOCOL_ERROR)),
        ("DATA behind the end", NO_CONTENT, data(1), stream_error(STREAM_CLOSED)),
        ("padding beyond the frame", headers(1, OK + encode([("content-length", "4")]), ends=False),
         frame(http2.DATA, 0x9, 1, b"\x06test"), stream_error(PROTOCOL_ERROR)),
    ],
    "6_2": [
        ("PRIORITY within a block", headers(1, OK, ends=False, whole=False), priority(1), continuation(1),
         connection_error(PROTOCOL_ERROR)),
        ("HEADERS on stream 0", headers(0, OK), connection_error(PROTOCOL_ERROR)),
        ("padding beyond the frame", frame(http2.HEADERS, 0xC, 1, bytes([len(OK) + 1]) + OK),
         stream_error(PROTOCOL_ERROR)),
        ("padding beyond the frame, no END_HEADERS", frame(http2.HEADERS, 0x8, 1, bytes([len(OK) + 1]) + OK),
         stream_error(PROTOCOL_ERROR)),
    ],
    "6_3": [
        ("PRIORITY on stream 0", priority(0), connection_error(PROTOCOL_ERROR)),
        ("PRIORITY of four bytes", NO_CONTENT, frame(http2.PRIORITY, 0, 1, b"\x80\0\0\1"),
         stream_error(FRAME_SIZE_ERROR)),
    ],
    "6_4": [
        ("RST_STREAM on stream 0", reset(0), connection_error(PROTOCOL_ERROR)),
        ("RST_STREAM on an idle stream", reset(2), connection_error(PROTOCOL_ERROR)),
        ("RST_STREAM of three bytes", NO_CONTENT, frame(http2.RST_STREAM, 0, 1, b"\0\0\0"),
         stream_error(FRAME_SIZE_ERROR)),
    ],
    "6_5": [
        ("an acknowledgement with content", frame(http2.SETTINGS, ACK, 0, b"\0"),
         connection_error(FRAME_SIZE_ERROR)),
        ("SETTINGS on a stream", frame(http2.SETTINGS, 0, 1, b"\0\3\0\0\0\x64"),
         connection_error(PROTOCOL_ERROR)),
        ("SETTINGS of three bytes", frame(http2.SETTINGS, 0, 0, b"\0\3\0"),
         connection_error(FRAME_SIZE_ERROR)),
        ("ENABLE_PUSH 1", setting((ENABLE_PUSH, 1)), connection_error(PROTOCOL_ERROR)),
        ("ENABLE_PUSH 2", setting((ENABLE_PUSH, 2)), connection_error(PROTOCOL_ERROR)),
        ("INITIAL_WINDOW_SIZE 2³¹", setting((INITIAL_WINDOW, 1 << 31)), connection_error(FLOW_CONTROL_ERROR)),
        ("MAX_FRAME_SIZE 16,383", setting((MAX_FRAME, 16_383)), connection_error(PROTOCOL_ERROR)),
        ("MAX_FRAME_SIZE 2²⁴", setting((MAX_FRAME, 1 << 24)), connection_error(PROTOCOL_ERROR)),
        ("an unknown setting", setting((0xFF, 1)), pong),
        ("SETTINGS are acknowledged", setting((ENABLE_PUSH, 0)), acknowledged),
    ],
    "6_6": [
        ("PUSH_PROMISE", push(1, 2, encode([(":method", "GET"), (":scheme", "http"), (":path", "/")])),
         connection_error(PROTOCOL_ERROR)),
    ],
    "6_7": [
        ("PING", pong),
        ("an acknowledgement is not answered", ping(b"not this", ACK), pong),
        ("PING on a stream", ping(bytes(8), stream=1), connection_error(PROTOCOL_ERROR)),
        ("PING of six bytes", ping(bytes(6)), connection_error(FRAME_SIZE_ERROR)),
    ],
    "6_8": [
        ("GOAWAY on a stream", frame(http2.GOAWAY, 0, 1, bytes(8)), connection_error(PROTOCOL_ERROR)),
    ],
    "6_9": [
        ("an increment of 0", window(0, 0), connection_error(PROTOCOL_ERROR)),
        ("an increment of 0 on a stream", HEAD, window(1, 0), stream_error(PROTOCOL_ERROR)),
        ("WINDOW_UPDATE of three bytes", frame(http2.WINDOW_UPDATE, 0, 0, b"\0\0\1"),
         connection_error(FRAME_SIZE_ERROR)),
        ("a window beyond 2³¹ − 1", window(0, LARGEST_WINDOW) * 2, connection_error(FLOW_CONTROL_ERROR)),
        ("a window of a stream beyond 2³¹ − 1", HEAD, window(1, LARGEST_WINDOW) * 2,
         stream_error(FLOW_CONTROL_ERROR)),
    ],
    "6_10": [
        ("several CONTINUATION", headers(1, OK, whole=False), continuation(1, whole=False),
         continuation(1), pong),
        ("DATA behind CONTINUATION", headers(1, OK, ends=False, whole=False), continuation(1, whole=False),
         data(1), connection_error(PROTOCOL_ERROR)),
        ("CONTINUATION on stream 0", headers(1, OK, whole=False), continuation(0),
         connection_error(PROTOCOL_ERROR)),
        ("CONTINUATION behind whole HEADERS", NO_CONTENT, continuation(1), connection_error(PROTOCOL_ERROR)),
        ("CONTINUATION behind the last", headers(1, OK, whole=False), continuation(1), continuation(1),
         connection_error(PROTOCOL_ERROR)),
        ("CONTINUATION behind DATA", headers(1, OK, ends=False, whole=False), data(1),
         continuation(1, whole=False), continuation(0), connection_error(PROTOCOL_ERROR)),
    ],
}

MESSAGES = {
    "8_1": [
        ("HEADERS that end nothing", HEAD, data(1, ends=False),
         headers(1, encode([("x-test", "ok")]), ends=False), stream_error(PROTOCOL_ERROR)),
        ("content before a head", data(1), stream_error(PROTOCOL_ERROR)),
        ("a name in upper case", *refused([(":status", "200"), ("X-TEST", "ok")])),
        ("an unknown pseudo-field", *refused([(":status", "200"), (":test", "ok")])),
        ("a pseudo-field of requests", *refused([(":status", "200"), (":path", "/")])),
        ("a pseudo-field behind a field", *refused([("x-test", "ok"), (":status", "200")])),
        ("no :status", *refused([("x-test", "ok")])),
        (":status twice", *refused([(":status", "200"), (":status", "200")])),
        ("Connection", *refused([(":status", "200"), ("connection", "keep-alive")])),
        ("a pseudo-field in trailers", HEAD, data(1, ends=False),
         headers(1, encode([(":status", "200")])), stream_error(PROTOCOL_ERROR)),
        ("content of another length", headers(1, OK + encode([("content-length", "1")]), ends=False),
         data(1), stream_error(PROTOCOL_ERROR)),
        ("content of another length, in pieces",
         headers(1, OK + encode([("content-length", "9")]), ends=False), data(1, ends=False), data(1),
         stream_error(PROTOCOL_ERROR)),
    ],
    "7541": [
        ("an index beyond the tables", headers(1, OK + b"\xc6"), connection_error(COMPRESSION_ERROR)),
        ("a new size behind fields", headers(1, OK + b"\x3f\x01"), connection_error(COMPRESSION_ERROR)),
        ("index 0", headers(1, OK + b"\x80"), connection_error(COMPRESSION_ERROR)),
        ("a size above the setting", headers(1, b"\x3f\xe1\xff\x03" + OK),
         connection_error(COMPRESSION_ERROR)),
        ("padding of more than 7 bits", headers(1, OK + b"\0\x85\xf2\xb2\x4a\x84\xff\x84\x49\x50\x9f\xff"),
         connection_error(COMPRESSION_ERROR)),
    ],
}


class ClientCase(SystemCase):
    """A server for each case, all behind one proxy."""

    tls = False

    def serve(self, count):
        listening = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
        for server in listening:
            server.settimeout(settings.HANG)
            self.addCleanup(server.close)
        more = {"protocol": "h2" if self.tls else "h2c", "timeouts": {"response": "5s", "idle": "1s"}}
        if self.tls:
            more["tls"] = {
                "ca": str(certificates.authority().certificate), "server_name": "site.test"}
        config = self.settings_for(*(server.getsockname()[1] for server in listening[:1]), upstream=more)
        origin = config["upstreams"].pop("origin")
        config["routes"] = []
        for number, server in enumerate(listening):
            name = f"case{number:03}"
            address = f"127.0.0.1:{server.getsockname()[1]}"
            config["upstreams"][name] = {**origin, "servers": [address]}
            config["routes"].append({"match": {"path": f"/{name}"}, "upstream": name})
        self.proxy = self.start_proxy(config)
        return listening

    def accept(self, server):
        """A connection of the proxy's with the request read, as far as its HEADERS."""
        sock, _ = server.accept()
        sock.settimeout(settings.HANG)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self.tls:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*certificates.site())
            context.set_alpn_protocols(["h2"])
            sock = context.wrap_socket(sock, server_side=True, suppress_ragged_eofs=False)
        self.addCleanup(sock.close)
        peer = Peer(sock)
        preface = b""
        while len(preface) < len(http2.PREFACE):
            preface += sock.recv(len(http2.PREFACE) - len(preface))
        self.assertEqual(preface, http2.PREFACE)
        kind, flags, _, _ = peer.next()
        self.assertEqual((kind, flags), (http2.SETTINGS, 0))
        peer.send(setting((INITIAL_WINDOW, 65_535)) + frame(http2.SETTINGS, ACK))
        found = peer.until(lambda kind, *_: kind == http2.HEADERS)
        self.assertEqual(found[2], 1)
        return peer

    def check(self, sections):
        rows = [(section, *row) for section, cases in sections.items() for row in cases]
        servers = self.serve(len(rows))
        for number, (section, name, *steps) in enumerate(rows):
            with self.subTest(section=section, case=name):
                client = self.connect(self.proxy)
                client.send(wire.get(f"/case{number:03}"))
                peer = self.accept(servers[number])
                run(peer, steps)
                client.close()
                peer.socket.close()
        for server in servers:
            server.close()
        self.proxy.settle({"exchanges": 0, "connections": 0, "upstream_connections": 0})

    def test_generic(self):
        self.check(GENERIC)

    def test_streams(self):
        self.check(STREAMS)

    def test_frames(self):
        self.check(FRAMES)

    def test_messages(self):
        self.check(MESSAGES)

    def test_no_settings_first(self):
        (server,) = self.serve(1)
        client = self.connect(self.proxy)
        client.send(wire.get("/case000"))
        sock, _ = server.accept()
        sock.settimeout(settings.HANG)
        if self.tls:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*certificates.site())
            context.set_alpn_protocols(["h2"])
            sock = context.wrap_socket(sock, server_side=True, suppress_ragged_eofs=False)
        # The request may be sent again, and finds nobody.
        server.close()
        with sock:
            peer = Peer(sock)
            peer.write(ping())
            data = b""
            while piece := sock.recv(65_536):
                data += piece
        goaway = frame(http2.GOAWAY, 0, 0, struct.pack(">II", 0, PROTOCOL_ERROR))
        self.assertIn(goaway, data)
        self.assertEqual(client.response().status, 502)


@on_both_engines
class InTheClear(ClientCase):
    """`protocol: h2c`."""


@on_both_engines
class OverTLS(ClientCase):
    """`protocol: h2`, by ALPN."""

    tls = True


del ClientCase

if __name__ == "__main__":
    unittest.main()
