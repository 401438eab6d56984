"""What an outside suite asks of an HTTP/2 server, section by section: RFC 9113 with RFC 7540's rules that
it still knows (dependencies of streams), and RFC 7541. In the clear and over TLS.

Each case is a connection of its own; see `harness/conformance.py` for its steps.
"""

import unittest

from harness import http2
from harness.case import SharedProxyCase, on_both_engines
from harness.conformance import *  # noqa: F403 - the words of the tables
from harness.conformance import Peer, run
from harness.http2 import ACK, encode, frame


def get(peer, method="GET", **changed):
    """The pseudo-fields of a request, as the table's rows change them (None: left out)."""
    fields = {
        "method": method, "scheme": peer.scheme, "path": "/", "authority": f"127.0.0.1:{peer.port}"}
    fields.update(changed)
    return [(":" + name, value) for name, value in fields.items() if value is not None]


def request(stream=1, method="GET", fields=(), rest=b"", pseudo={}, **options):
    """HEADERS with a whole request; `rest` is what follows the fields in the block."""
    return lambda peer: headers(
        stream, encode([*get(peer, method, **pseudo), *fields]) + rest, **options)


def post(stream=1, fields=(), **options):
    return request(stream, "POST", fields, ends=False, **options)


def malformed(fields=(), before=(), **pseudo):
    """A request that breaks a rule of messages: an error of its stream, the connection goes on."""
    def step(peer):
        return headers(1, encode([*before, *get(peer, **pseudo), *fields]))

    return (step, stream_error(PROTOCOL_ERROR), pong, request(3), answered(3))


def many_streams(peer):
    for number in range(1, 2 * peer.settings[MAX_STREAMS] + 2, 2):
        peer.send(request(number)(peer))


# Huffman codes of "user-agent", "h2spec"-like values and others, by RFC 7541, appendix B.
AGENT, X_TEST, VALUE = b"\x87\xb5\x05\xb1\x61\xcc\x5a\x93", b"\x85\xf2\xb2\x4a\x84\xff", b"\x83\x49\x50\x9f"
PLAIN_AGENT, PLAIN_X_TEST, PLAIN_VALUE = b"\x0auser-agent", b"\x06x-test", b"\x04test"
ECHOED = (request(), answered(), stream_ends)

GENERIC = {
    "starting": [("the preface is accepted", *ECHOED)],
    "streams": [
        ("PRIORITY on an idle stream", priority(1), pong),
        ("WINDOW_UPDATE when the request has ended", setting((INITIAL_WINDOW, 0)), request(),
         window(1, 1), content_of(1)),
        ("PRIORITY when the request has ended", setting((INITIAL_WINDOW, 0)), request(), priority(1),
         window(1, 1), content_of(1)),
        ("RST_STREAM when the request has ended", request(), reset(1), pong),
        ("PRIORITY on a closed stream", *ECHOED, priority(1), pong),
    ],
    "frames": [
        ("DATA", post(), data(1), answered()),
        ("several DATA", post(), data(1, ends=False), data(1), answered()),
        ("DATA with padding", post(), data(1, padding=6), answered()),
        ("HEADERS", *ECHOED),
        ("HEADERS with padding", request(padding=6), answered()),
        ("HEADERS with a dependency", request(priority=(0, False, 255)), answered()),
        ("PRIORITY of the least weight", priority(1, weight=0), *ECHOED),
        ("PRIORITY of the largest weight", priority(1, weight=255), *ECHOED),
        ("PRIORITY that depends on a stream", priority(3, on=1, weight=0), *ECHOED),
        ("PRIORITY, exclusive", priority(1, exclusive=True, weight=0), *ECHOED),
        ("PRIORITY on an idle stream above", priority(3), *ECHOED),
        ("RST_STREAM", post(), reset(1), pong),
        ("SETTINGS", setting((ENABLE_PUSH, 0)), acknowledged),
        ("PING", pong),
        ("GOAWAY", goaway(0, text=b"farewell"), closes),
        ("GOAWAY with PING behind it", goaway(0, text=b"farewell"), ping(), closes),
        ("GOAWAY with an exchange in progress", request(), goaway(0), answered(), stream_ends, closes),
        ("WINDOW_UPDATE of the connection", window(0, 1), *ECHOED),
        ("WINDOW_UPDATE of a stream", request(), window(1, 1), answered()),
        ("CONTINUATION", request(whole=False), continuation(1), answered()),
        ("several CONTINUATION", request(whole=False), continuation(1, whole=False),
         continuation(1), answered()),
    ],
    "messages": [
        ("GET", *ECHOED),
        ("HEAD", request(method="HEAD"), answered()),
        ("POST", post(), data(1), answered()),
        ("POST with trailers", post(fields=[("trailer", "x-test")]), data(1, ends=False),
         headers(1, encode([("x-test", "ok")])), answered()),
    ],
    "fields": [
        (name, request(rest=block), answered()) for name, block in (
            ("indexed", b"\xba"),
            ("indexing, name in Huffman", b"\x40" + AGENT + VALUE),
            ("indexing, plain name", b"\x40" + PLAIN_AGENT + PLAIN_VALUE),
            ("indexing, new plain name", b"\x40" + PLAIN_X_TEST + PLAIN_VALUE),
            ("indexing, new name in Huffman", b"\x40" + X_TEST + VALUE),
            ("indexing, indexed name", b"\x7a" + PLAIN_VALUE),
            ("not indexed, plain name", b"\x00" + PLAIN_AGENT + PLAIN_VALUE),
            ("not indexed, name in Huffman", b"\x00" + AGENT + VALUE),
            ("not indexed, new plain name", b"\x00" + PLAIN_X_TEST + PLAIN_VALUE),
            ("not indexed, new name in Huffman", b"\x00" + X_TEST + VALUE),
            ("never indexed, plain name", b"\x10" + PLAIN_AGENT + PLAIN_VALUE),
            ("never indexed, name in Huffman", b"\x10" + AGENT + VALUE),
            ("never indexed, new plain name", b"\x10" + PLAIN_X_TEST + PLAIN_VALUE),
            ("never indexed, new name in Huffman", b"\x10" + X_TEST + VALUE),
        )
    ] + [
        (name, lambda peer, block=block: headers(1, block + encode(get(peer))), answered())
        for name, block in (
            ("a new size of the table", b"\x20"),
            ("several new sizes of the table", b"\x20\x3f\xe1\x1f"),
        )
    ],
}

STARTING = {
    "4_1": [
        ("a frame of an unknown type", frame(0x16, 0, 0, bytes(8)), pong),
        ("flags that are not defined", frame(http2.PING, 0x16, 0, b"flagged."), ponged(b"flagged.")),
        ("the reserved bit", frame(http2.PING, 0, 1 << 31, b"reserved"), ponged(b"reserved")),
    ],
    "4_2": [
        ("DATA of 16,384 bytes", post(), data(1, b"x" * 16_384), answered()),
        ("DATA of 16,385 bytes", post(), data(1, b"x" * 16_385), stream_error(FRAME_SIZE_ERROR)),
        ("HEADERS of more than 16,384 bytes", request(fields=[(f"x-dummy{i}", DUMMY) for i in range(5)]),
         connection_error(FRAME_SIZE_ERROR)),
    ],
    "4_3": [
        ("a block that cannot be decoded", headers(1, b"\x40"), connection_error(COMPRESSION_ERROR)),
        ("PRIORITY within a block", request(whole=False), priority(1), continuation(1),
         connection_error(PROTOCOL_ERROR)),
        ("HEADERS of another stream within a block", request(whole=False), request(3),
         connection_error(PROTOCOL_ERROR)),
    ],
}

STREAMS = {
    "5_1": [
        ("idle: DATA", data(1), connection_error(PROTOCOL_ERROR)),
        ("idle: RST_STREAM", reset(1), connection_error(PROTOCOL_ERROR)),
        ("idle: WINDOW_UPDATE", window(1, 100), connection_error(PROTOCOL_ERROR)),
        ("idle: CONTINUATION", lambda peer: frame(http2.CONTINUATION, 4, 1, encode(get(peer))),
         connection_error(PROTOCOL_ERROR)),
        ("ended: DATA", request(), data(1), stream_error(STREAM_CLOSED)),
        ("ended: HEADERS", request(), request(), stream_error(STREAM_CLOSED)),
        ("ended: CONTINUATION", request(), continuation(1), stream_error(STREAM_CLOSED, PROTOCOL_ERROR)),
        ("ended, answer held: DATA", setting((INITIAL_WINDOW, 0)), request(), data(1),
         stream_error(STREAM_CLOSED)),
        ("ended, answer held: HEADERS", setting((INITIAL_WINDOW, 0)), request(), request(),
         stream_error(STREAM_CLOSED)),
        ("reset: DATA", request(ends=False), reset(1), data(1), stream_error(STREAM_CLOSED)),
        ("reset: HEADERS", request(ends=False), reset(1), request(), stream_error(STREAM_CLOSED)),
        ("reset: CONTINUATION", request(ends=False), reset(1), continuation(1),
         stream_error(STREAM_CLOSED, PROTOCOL_ERROR)),
        ("closed: DATA", *ECHOED, data(1), connection_error(STREAM_CLOSED)),
        ("closed: HEADERS", *ECHOED, request(), connection_error(STREAM_CLOSED)),
        ("closed: CONTINUATION", *ECHOED, continuation(1),
         connection_error(STREAM_CLOSED, PROTOCOL_ERROR)),
    ],
    "5_1_1": [
        ("an even number", request(2), connection_error(PROTOCOL_ERROR)),
        ("a number below the last", request(5), answered(5), request(3), connection_error(PROTOCOL_ERROR)),
    ],
    "5_1_2": [
        ("more streams than allowed", setting((INITIAL_WINDOW, 0)), many_streams,
         stream_error(PROTOCOL_ERROR, REFUSED_STREAM, stream=None)),
    ],
    "5_3_1": [
        ("HEADERS that depend on themselves", request(priority=(1, False, 255)),
         stream_error(PROTOCOL_ERROR)),
        ("PRIORITY that depends on itself", priority(1, on=1), stream_error(PROTOCOL_ERROR)),
        ("PRIORITY that depends on itself, open", post(), priority(1, on=1), stream_error(PROTOCOL_ERROR)),
    ],
    "5_4_1": [
        ("PING on a stream, to the end", ping(bytes(8), stream=3), connection_error(PROTOCOL_ERROR)),
    ],
    "5_5": [
        ("an unknown frame", frame(0x16, 0, 0, bytes(8)), pong),
        ("an unknown frame within a block", request(whole=False), frame(0x16, 0, 0, bytes(8)),
         connection_error(PROTOCOL_ERROR)),
    ],
}

FRAMES = {
    "6_1": [
        ("DATA on stream 0", data(0), connection_error(PROTOCOL_ERROR)),
        ("DATA when the request has ended", request(method="POST"), data(1), stream_error(STREAM_CLOSED)),
        ("padding beyond the frame", post(fields=[("content-length", "4")]),
         frame(http2.DATA, 0x9, 1, b"\x06test"), connection_error(PROTOCOL_ERROR)),
    ],
    "6_2": [
        ("PRIORITY within a block", request(whole=False), priority(1), connection_error(PROTOCOL_ERROR)),
        ("HEADERS of another stream within a block", request(whole=False), request(3),
         connection_error(PROTOCOL_ERROR)),
        ("HEADERS on stream 0", request(0), connection_error(PROTOCOL_ERROR)),
        ("padding beyond the frame", lambda peer: frame(
            http2.HEADERS, 0xD, 1, (block := encode(get(peer))) and bytes([len(block) + 1]) + block),
         stream_error(PROTOCOL_ERROR)),
    ],
    "6_3": [
        ("PRIORITY on stream 0", priority(0), connection_error(PROTOCOL_ERROR)),
        ("PRIORITY of four bytes", request(), frame(http2.PRIORITY, 0, 1, b"\x80\0\0\1"),
         stream_error(FRAME_SIZE_ERROR)),
        ("PRIORITY on an idle stream above", priority(3), *ECHOED),
    ],
    "6_4": [
        ("RST_STREAM on stream 0", reset(0), connection_error(PROTOCOL_ERROR)),
        ("RST_STREAM on an idle stream", reset(1), connection_error(PROTOCOL_ERROR)),
        ("RST_STREAM of three bytes", post(), frame(http2.RST_STREAM, 0, 1, b"\0\0\0"),
         stream_error(FRAME_SIZE_ERROR)),
    ],
    "6_5": [
        ("an acknowledgement with content", frame(http2.SETTINGS, ACK, 0, b"\0"),
         connection_error(FRAME_SIZE_ERROR)),
        ("SETTINGS on a stream", frame(http2.SETTINGS, 0, 1, b"\0\3\0\0\0\x64"),
         connection_error(PROTOCOL_ERROR)),
        ("SETTINGS of three bytes", frame(http2.SETTINGS, 0, 0, b"\0\3\0"),
         connection_error(FRAME_SIZE_ERROR)),
        ("ENABLE_PUSH 2", setting((ENABLE_PUSH, 2)), connection_error(PROTOCOL_ERROR)),
        ("INITIAL_WINDOW_SIZE 2³¹", setting((INITIAL_WINDOW, 1 << 31)), connection_error(FLOW_CONTROL_ERROR)),
        ("MAX_FRAME_SIZE 16,383", setting((MAX_FRAME, 16_383)), connection_error(PROTOCOL_ERROR)),
        ("MAX_FRAME_SIZE 2²⁴", setting((MAX_FRAME, 1 << 24)), connection_error(PROTOCOL_ERROR)),
        ("an unknown setting", setting((0xFF, 1)), pong),
        ("the last of several values counts", setting((INITIAL_WINDOW, 100), (INITIAL_WINDOW, 1)),
         acknowledged, request(), content_of(1)),
        ("SETTINGS are acknowledged", setting((ENABLE_PUSH, 0)), acknowledged),
    ],
    "6_7": [
        ("PING", pong),
        ("an acknowledgement is not answered", ping(b"not this", ACK), pong),
        ("PING on a stream", ping(bytes(8), stream=1), connection_error(PROTOCOL_ERROR)),
        ("PING of six bytes", ping(bytes(6)), connection_error(FRAME_SIZE_ERROR)),
        ("PING of six bytes on a stream", ping(bytes(6), stream=1),
         connection_error(FRAME_SIZE_ERROR, PROTOCOL_ERROR)),
    ],
    "6_8": [
        ("GOAWAY on a stream", frame(http2.GOAWAY, 0, 1, bytes(8)), connection_error(PROTOCOL_ERROR)),
    ],
    "6_9": [
        ("an increment of 0", window(0, 0), connection_error(PROTOCOL_ERROR)),
        ("an increment of 0 on a stream", post(), window(1, 0), stream_error(PROTOCOL_ERROR)),
        ("WINDOW_UPDATE of three bytes", frame(http2.WINDOW_UPDATE, 0, 0, b"\0\0\1"),
         connection_error(FRAME_SIZE_ERROR)),
        ("a window of one byte", setting((INITIAL_WINDOW, 1)), acknowledged, request(), content_of(1)),
        ("a window beyond 2³¹ − 1", window(0, LARGEST_WINDOW) * 2, connection_error(FLOW_CONTROL_ERROR)),
        ("a window of a stream beyond 2³¹ − 1", request(ends=False), window(1, LARGEST_WINDOW) * 2,
         stream_error(FLOW_CONTROL_ERROR)),
        ("a setting changes windows", setting((INITIAL_WINDOW, 0)), acknowledged, request(),
         setting((INITIAL_WINDOW, 1)), acknowledged, content_of(1)),
        ("a window below 0", setting((INITIAL_WINDOW, 3)), acknowledged, request(), content_of(3),
         setting((INITIAL_WINDOW, 2)), acknowledged, window(1, 2), content_of(1)),
        ("INITIAL_WINDOW_SIZE 2³¹", setting((INITIAL_WINDOW, 1 << 31)), connection_error(FLOW_CONTROL_ERROR)),
    ],
    "6_10": [
        ("several CONTINUATION", request(whole=False), continuation(1, whole=False), continuation(1),
         answered()),
        ("DATA behind CONTINUATION", post(whole=False), continuation(1, whole=False), data(1),
         connection_error(PROTOCOL_ERROR)),
        ("CONTINUATION on stream 0", request(whole=False), continuation(0), connection_error(PROTOCOL_ERROR)),
        ("CONTINUATION behind whole HEADERS", request(), continuation(1), connection_error(PROTOCOL_ERROR)),
        ("CONTINUATION behind the last", request(whole=False), continuation(1), continuation(1),
         connection_error(PROTOCOL_ERROR)),
        ("CONTINUATION behind DATA", post(whole=False), data(1), continuation(1, whole=False),
         continuation(1), connection_error(PROTOCOL_ERROR)),
    ],
    "7": [
        ("GOAWAY of an unknown code", goaway(0xFF), closes),
        ("RST_STREAM of an unknown code", post(), reset(1, 0xFF), pong),
    ],
}

MESSAGES = {
    "8_1": [
        ("HEADERS that end nothing", post(), data(1, ends=False),
         headers(1, encode([("x-test", "ok")]), ends=False), stream_error(PROTOCOL_ERROR)),
        ("a name in upper case", *malformed([("X-TEST", "ok")])),
        ("an unknown pseudo-field", *malformed(before=[(":test", "ok")])),
        ("a pseudo-field of responses", *malformed(before=[(":status", "200")])),
        ("a pseudo-field in trailers", post(fields=[("trailer", "x-test")]), data(1, ends=False),
         headers(1, encode([(":method", "200"), ("x-test", "ok")])), stream_error(PROTOCOL_ERROR)),
        ("a pseudo-field behind a field", *malformed(before=[("x-test", "ok")])),
        ("Connection", *malformed([("connection", "keep-alive")])),
        ("TE that is not trailers", *malformed([("trailer", "x-test"), ("te", "trailers, deflate;q=0.5")])),
        ("an empty :path", *malformed(path="")),
        ("no :method", *malformed(method=None)),
        ("no :scheme", *malformed(scheme=None)),
        ("no :path", *malformed(path=None)),
        (":method twice", *malformed(before=[(":method", "GET")])),
        (":scheme twice", *malformed(before=[(":scheme", "http")])),
        (":path twice", *malformed(before=[(":path", "/")])),
        ("content of another length", post(fields=[("content-length", "1")]), data(1),
         stream_error(PROTOCOL_ERROR)),
        ("content of another length, in pieces", post(fields=[("content-length", "1")]),
         data(1, ends=False), data(1), stream_error(PROTOCOL_ERROR)),
        ("PUSH_PROMISE", request(), lambda peer: push(1, 3, encode(get(peer))),
         connection_error(PROTOCOL_ERROR)),
    ],
    "7541": [
        ("an index beyond the tables", request(rest=b"\xc6"), connection_error(COMPRESSION_ERROR)),
        ("a name's index beyond the tables", request(rest=b"\x7f\x07\x00"),
         connection_error(COMPRESSION_ERROR)),
        ("a new size behind fields", request(rest=b"\x3f\x01"), connection_error(COMPRESSION_ERROR)),
        ("padding of more than 7 bits", request(rest=b"\0" + X_TEST + b"\x84\x49\x50\x9f\xff"),
         connection_error(COMPRESSION_ERROR)),
        ("padding of zeros", request(rest=b"\0" + X_TEST + b"\x83\x49\x50\x90"),
         connection_error(COMPRESSION_ERROR)),
        ("the end of strings within one", request(rest=b"\0" + X_TEST + b"\x87\xff\xff\xff\xfd\x25\x42\x7f"),
         connection_error(COMPRESSION_ERROR)),
        ("index 0", request(rest=b"\x80"), connection_error(COMPRESSION_ERROR)),
        ("a size above the setting", lambda peer: headers(1, b"\x3f\xe1\xff\x03" + encode(get(peer))),
         connection_error(COMPRESSION_ERROR)),
    ],
}


class ServerCase(SharedProxyCase):
    """All cases of the tables, on one proxy."""

    tls = False

    def make_settings(self, origin):
        config = self.settings_for(origin.port, tls=self.site_tls if self.tls else None)
        config["listeners"][0]["http_versions"] = ["h2", "http/1.1"]
        return config

    def peer(self):
        peer = Peer.connect(self.proxy.port, self.tls)
        self.addCleanup(peer.socket.close)
        peer.port, peer.scheme = self.proxy.port, "https" if self.tls else "http"
        return peer

    def check(self, sections):
        for section, cases in sections.items():
            for name, *steps in cases:
                with self.subTest(section=section, case=name):
                    peer = self.peer()
                    peer.shake_hands()
                    run(peer, steps)
                    peer.socket.close()
        self.proxy.settle({"exchanges": 0, "connections": 0})

    def test_generic(self):
        self.check(GENERIC)

    def test_frame_formats(self):
        self.check(STARTING)

    def test_streams(self):
        self.check(STREAMS)

    def test_frames(self):
        self.check(FRAMES)

    def test_messages(self):
        self.check(MESSAGES)

    def test_settings_are_the_first_frame(self):
        peer = self.peer()
        peer.write(http2.PREFACE)
        peer.send(setting((INITIAL_WINDOW, 65_535)))
        kind, flags, stream, _ = peer.next()
        self.assertEqual((kind, flags, stream), (http2.SETTINGS, 0, 0))

    def test_no_preface(self):
        """Whoever reads frames can make nothing of an answer in HTTP/1.1."""
        for preface in (b"INVALID CONNECTION PREFACE\r\n\r\n", ping(), b"PRI * HTTP/2.0\r\n\r\nSX\r\n\r\n"):
            with self.subTest(preface=preface):
                peer = self.peer()
                peer.write(preface)
                connection_error(PROTOCOL_ERROR)(peer)


@on_both_engines
class InTheClear(ServerCase):
    """By prior knowledge."""


@on_both_engines
class OverTLS(ServerCase):
    """By ALPN."""

    tls = True


del ServerCase

if __name__ == "__main__":
    unittest.main()
