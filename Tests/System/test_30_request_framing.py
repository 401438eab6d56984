"""Layer 3: requests that no two parties may read differently. Refused, closed, and unseen upstream.

Each row is a whole attack: its bytes end with a second request that must never be served. A row's
origin is scripted and counts bytes; for a refused head it must have counted none.
"""

import unittest

from harness import wire
from harness.case import SharedProxyCase, add_table, on_both_engines

SMUGGLED = b"GET /smuggled HTTP/1.1\r\nHost: site.test\r\n\r\n"


def head(*lines, start="GET / HTTP/1.1", host="Host: site.test", end="\r\n", body=""):
    every = [start, *([host] if host else []), *lines, "", ""]
    return end.join(every).encode("latin-1") + body.encode("latin-1")


def post(*lines, body=""):
    return head(*lines, start="POST / HTTP/1.1", body=body)


CHUNKED = "Transfer-Encoding: chunked"
BAD = (400,)
# RFC 9112 6.1 asks for 501 where a coding is unknown; refusing with 400 is as safe.
CODING = (400, 501)
VERSION = (400, 505)

HEADS = [
    # Line endings
    ("bare LF everywhere", head(end="\n"), BAD),
    ("bare LF after the request line", b"GET / HTTP/1.1\nHost: site.test\r\n\r\n", BAD),
    ("bare LF after a field", b"GET / HTTP/1.1\r\nHost: site.test\nX: y\r\n\r\n", BAD),
    ("bare LF as the empty line", b"GET / HTTP/1.1\r\nHost: site.test\r\n\n", BAD),
    ("bare CR in a field value", head("X: a\rb"), BAD),
    ("bare CR in the request line", b"GET /\r HTTP/1.1\r\nHost: site.test\r\n\r\n", BAD),
    ("CR CR LF", b"GET / HTTP/1.1\r\r\nHost: site.test\r\n\r\n", BAD),
    ("line folding", head("X: a", " b"), BAD),
    ("line folding by a tab", head("X: a", "\tb"), BAD),
    ("line folding of the first field", b"GET / HTTP/1.1\r\n Host: site.test\r\n\r\n", BAD),
    # Request line
    ("two spaces before the target", head(start="GET  / HTTP/1.1"), BAD),
    ("two spaces before the version", head(start="GET /  HTTP/1.1"), BAD),
    ("a tab for a space", head(start="GET\t/ HTTP/1.1"), BAD),
    ("a leading space", head(start=" GET / HTTP/1.1"), BAD),
    ("a trailing space", head(start="GET / HTTP/1.1 "), BAD),
    ("no version", head(start="GET /"), BAD),
    ("no target", head(start="GET HTTP/1.1"), BAD),
    ("a method with a forbidden byte", head(start="GE(T / HTTP/1.1"), BAD),
    ("a target without a slash", head(start="GET index HTTP/1.1"), BAD),
    ("a target with a fragment", head(start="GET /a#b HTTP/1.1"), BAD),
    ("a target with a control byte", head(start="GET /a\x01b HTTP/1.1"), BAD),
    ("a target with DEL", head(start="GET /a\x7fb HTTP/1.1"), BAD),
    ("a target with NUL", head(start="GET /a\x00b HTTP/1.1"), BAD),
    ("a target with a high byte", head(start="GET /\xe9 HTTP/1.1"), BAD),
    ("a target with user information", head(start="GET http://me@site.test/ HTTP/1.1"), BAD),
    ("an asterisk without OPTIONS", head(start="GET * HTTP/1.1"), BAD),
    ("lower case version", head(start="GET / http/1.1"), BAD),
    ("version 1.10", head(start="GET / HTTP/1.10"), BAD),
    ("version 1.2x", head(start="GET / HTTP/1.x"), BAD),
    ("version 2.0", head(start="GET / HTTP/2.0"), VERSION),
    ("version 0.9", head(start="GET / HTTP/0.9"), VERSION),
    ("CONNECT", head(start="CONNECT site.test:443 HTTP/1.1"), (400, 405, 501)),
    # Field lines
    ("a space before the colon", head("X : y"), BAD),
    ("a tab before the colon", head("X\t: y"), BAD),
    ("no colon", head("Xy"), BAD),
    ("an empty name", head(": y"), BAD),
    ("a name with a space", head("X Y: z"), BAD),
    ("a name with a high byte", head("X\xe9: z"), BAD),
    ("a name with a slash", head("X/Y: z"), BAD),
    ("NUL in a value", head("X: a\x00b"), BAD),
    ("a control byte in a value", head("X: a\x0bb"), BAD),
    ("DEL in a value", head("X: a\x7fb"), BAD),
    # Host
    ("no Host", head(host=None), BAD),
    ("two Hosts", head("Host: site.test"), BAD),
    ("two Hosts that differ", head("Host: evil.test"), BAD),
    ("a Host with a space", head(host="Host: a b"), BAD),
    ("a Host with a path", head(host="Host: a/b"), BAD),
    ("a Host with user information", head(host="Host: a@b"), BAD),
    ("a Host that is a list", head(host="Host: a, b"), BAD),
    ("a Host with a port that is no number", head(host="Host: a:b"), BAD),
    # Content-Length
    (
        "Content-Length twice, equal",
        post("Content-Length: 3", "Content-Length: 3", body="abc"),
        BAD,
    ),
    (
        "Content-Length twice, different",
        post("Content-Length: 3", "Content-Length: 4", body="abcd"),
        BAD,
    ),
    ("Content-Length as a list", post("Content-Length: 3, 3", body="abc"), BAD),
    ("Content-Length with a plus", post("Content-Length: +3", body="abc"), BAD),
    ("Content-Length negative", post("Content-Length: -3", body="abc"), BAD),
    ("Content-Length hexadecimal", post("Content-Length: 0x3", body="abc"), BAD),
    ("Content-Length with a space", post("Content-Length: 3 0", body="abc"), BAD),
    ("Content-Length empty", post("Content-Length:", body="abc"), BAD),
    ("Content-Length with a fraction", post("Content-Length: 3.0", body="abc"), BAD),
    (
        "Content-Length of 2 to the 64th",
        post("Content-Length: 18446744073709551616", body="abc"),
        BAD,
    ),
    ("Content-Length of 40 digits", post("Content-Length: " + "9" * 40, body="abc"), BAD),
    ("Content-Length with a high digit", post("Content-Length: \xb2", body="ab"), BAD),
    # Both, and Transfer-Encoding
    ("CL then TE", post("Content-Length: 6", CHUNKED, body="0\r\n\r\nG"), BAD),
    ("TE then CL", post(CHUNKED, "Content-Length: 6", body="0\r\n\r\nG"), BAD),
    ("TE twice", post(CHUNKED, CHUNKED, body="0\r\n\r\n"), CODING),
    (
        "TE twice, one identity",
        post(CHUNKED, "Transfer-Encoding: identity", body="0\r\n\r\n"),
        CODING,
    ),
    ("TE chunked, chunked", post("Transfer-Encoding: chunked, chunked", body="0\r\n\r\n"), CODING),
    ("TE identity", post("Transfer-Encoding: identity", body="abc"), CODING),
    ("TE gzip then chunked", post("Transfer-Encoding: gzip, chunked", body="0\r\n\r\n"), CODING),
    ("TE chunked then gzip", post("Transfer-Encoding: chunked, gzip", body="0\r\n\r\n"), CODING),
    ("TE xchunked", post("Transfer-Encoding: xchunked", body="0\r\n\r\n"), CODING),
    (
        "TE chunked with a parameter",
        post("Transfer-Encoding: chunked;a=b", body="0\r\n\r\n"),
        CODING,
    ),
    ("TE chunked in quotes", post('Transfer-Encoding: "chunked"', body="0\r\n\r\n"), CODING),
    ("TE empty", post("Transfer-Encoding:", body="0\r\n\r\n"), CODING),
    ("TE with a leading comma", post("Transfer-Encoding: , chunked", body="0\r\n\r\n"), CODING),
    ("TE with vertical tab", post("Transfer-Encoding:\x0bchunked", body="0\r\n\r\n"), CODING),
    (
        "TE with a space before the colon",
        post("Transfer-Encoding : chunked", body="0\r\n\r\n"),
        BAD,
    ),
    ("TE in HTTP 1.0", b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", CODING),
    ("TE folded", post("Transfer-Encoding:", " chunked", body="0\r\n\r\n"), BAD),
]


@on_both_engines
class RefusedHeads(SharedProxyCase):
    """400 (or its nearer relative), `Connection: close`, end; and nothing upstream."""

    def check_row(self, data, statuses):
        connection = self.connect(self.proxy)
        connection.send(data + SMUGGLED)
        response = connection.response()
        self.assertIn(response.status, statuses)
        self.assertIn("close", response.tokens("connection"))
        self.assertClosed(connection, "a second answer, or an open connection, after a refusal")
        self.assertEqual(self.origin.bytes_seen, 0, "the origin saw a refused request")
        # And the proxy is as it was.
        self.assertEqual(self.fetch(self.proxy).status, 200)

    def test_empty_lines_before_a_request_are_forgiven(self):
        connection = self.connect(self.proxy).send(b"\r\n" + wire.get("/after"))
        self.assertEqual(connection.response().status, 200)

    def test_content_of_a_refused_request_is_never_the_next_request(self):
        # The proxy answers by itself and nobody reads the content, which looks like a request.
        data = (
            b"TRACE / HTTP/1.1\r\nHost: site.test\r\nContent-Length: "
            + str(len(SMUGGLED)).encode()
            + b"\r\n\r\n"
        )
        for parts in ([data + SMUGGLED], [data, SMUGGLED]):
            connection = self.connect(self.proxy)
            for part in parts:
                connection.send(part)
            response = connection.response()
            self.assertEqual(response.status, 405)
            self.assertIn("close", response.tokens("connection"))
            self.assertClosed(connection, "the content was answered as a request")
        self.assertEqual(self.origin.bytes_seen, 0, "the origin saw a refused request")

    def test_a_chunked_name_is_case_insensitive(self):
        data = post("Transfer-Encoding: CHUNKED", body="1\r\na\r\n0\r\n\r\n")
        self.assertEqual(self.fetch(self.proxy, data).status, 200)
        self.assertEqual(self.origin.requests[0].body, b"a")


def chunks(text):
    return post(CHUNKED, body=text)


BODIES = [
    ("chunk size that is no number", chunks("x\r\na\r\n0\r\n\r\n")),
    ("chunk size empty", chunks("\r\na\r\n0\r\n\r\n")),
    ("chunk size with 0x", chunks("0x1\r\na\r\n0\r\n\r\n")),
    ("chunk size with a plus", chunks("+1\r\na\r\n0\r\n\r\n")),
    ("chunk size negative", chunks("-1\r\na\r\n0\r\n\r\n")),
    ("chunk size with a leading space", chunks(" 1\r\na\r\n0\r\n\r\n")),
    ("chunk size with an underscore", chunks("1_0\r\n" + "a" * 16 + "\r\n0\r\n\r\n")),
    ("chunk size of 17 digits", chunks("1" * 17 + "\r\na")),
    ("chunk size that overflows", chunks("FFFFFFFFFFFFFFFFF\r\na")),
    ("chunk size ended by LF", chunks("1\na\r\n0\r\n\r\n")),
    ("chunk size ended by CR", chunks("1\ra\r\n0\r\n\r\n")),
    ("chunk longer than its size", chunks("1\r\nab\r\n0\r\n\r\n")),
    ("chunk ended by LF", chunks("1\r\na\n0\r\n\r\n")),
    ("extension with a control byte", chunks("1;a=\x01\r\na\r\n0\r\n\r\n")),
    ("extension with a bare LF", chunks("1;a\nb\r\na\r\n0\r\n\r\n")),
    ("extension without end", chunks("1;" + "a" * 100_000 + "\r\na\r\n0\r\n\r\n")),
    ("trailer without a colon", chunks("1\r\na\r\n0\r\nXy\r\n\r\n")),
    ("trailer with a space before the colon", chunks("1\r\na\r\n0\r\nX : y\r\n\r\n")),
    ("trailer ended by LF", chunks("1\r\na\r\n0\r\nX: y\n\r\n")),
    ("trailer folded", chunks("1\r\na\r\n0\r\nX: y\r\n z\r\n\r\n")),
    ("trailers without end", chunks("1\r\na\r\n0\r\n" + "X: yyyyyyyyyyyyyyyy\r\n" * 20_000)),
]


@on_both_engines
class RefusedBodies(SharedProxyCase):
    """The head was good, so the origin may see it; it must never see a whole request."""

    def check_row(self, data):
        connection = self.connect(self.proxy)
        try:
            connection.send(data + SMUGGLED)
        except (BrokenPipeError, ConnectionResetError):
            pass  # a long row may be refused before it is all sent
        try:
            response = connection.response()
            self.assertEqual(response.status, 400)
            self.assertClosed(connection)
        except ConnectionResetError:
            pass  # … and the refusal may be lost with what was not read; closing is what counts
        self.assertEqual(self.origin.requests, [], "the origin saw a whole request")
        self.assertEqual(self.fetch(self.proxy).status, 200)


@on_both_engines
class UnfinishedRequests(SharedProxyCase):
    """A stream that ends in the middle: nothing whole goes upstream, nothing is left behind."""

    def check_row(self, data):
        self.fetch(self.proxy)
        baseline = self.proxy.settle()
        self.origin.forget()
        for end in ("close", "reset"):
            connection = wire.Wire.connect(self.proxy.port).send(data)
            if end == "reset":
                connection.reset()
            else:
                connection.finish_sending()
                try:
                    connection.rest()
                except ConnectionResetError:
                    pass
                connection.close()
        self.origin.drop_all()
        self.proxy.settle({"connections": 0, "exchanges": 0})
        self.assertEqual(self.origin.requests, [])
        self.assertEqual(self.fetch(self.proxy).status, 200)
        self.proxy.settle(baseline)


UNFINISHED = [
    ("nothing", b""),
    ("one byte", b"G"),
    ("request line", b"GET / HTTP/1.1\r\n"),
    ("all but the last byte of the head", wire.get()[:-1]),
    ("content that is short", post("Content-Length: 10", body="abc")),
    ("no content at all", post("Content-Length: 10")),
    ("chunk that is short", chunks("a\r\nabc")),
    ("no last chunk", chunks("1\r\na\r\n")),
    ("last chunk without its empty line", chunks("1\r\na\r\n0\r\n")),
]

for _name, _cases in list(globals().items()):
    if _name.startswith("RefusedHeads_"):
        add_table(_cases, HEADS, "refuses")
    elif _name.startswith("RefusedBodies_"):
        add_table(_cases, BODIES, "refuses")
    elif _name.startswith("UnfinishedRequests_"):
        add_table(_cases, UNFINISHED, "survives")

if __name__ == "__main__":
    unittest.main()
