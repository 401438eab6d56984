"""gRPC through the proxy, as frames: what of it passes unchanged, and the proxy's own replies in its form.

The protocol is gRPC over HTTP/2 (PROTOCOL-HTTP2.md of the gRPC project). grpcio itself is run by Tests/Clients.
"""

import struct
import urllib.parse

from harness import configuration, http2, ports, wire
from harness.auditlog import AuditLog
from harness.case import SystemCase, on_both_engines
from harness.http2 import Client
from harness.http2server import Server, answer_all

GRPC = [("content-type", "application/grpc"), ("te", "trailers")]


def message(content):
    return struct.pack(">BI", 0, len(content)) + content


class FrameClient(Client):
    """Counts the frames of each stream."""

    def __init__(self, *arguments, **options):
        self.kinds = {}
        super().__init__(*arguments, **options)

    def _take(self, kind, flags, number, payload):
        self.kinds.setdefault(number, []).append(kind)
        super()._take(kind, flags, number, payload)


class GRPCCase(SystemCase):
    def serve(self, script=answer_all, port=None, upstream=None, timeouts=None, listener=None, audited=False, **more):
        if port is None:
            self.server = Server(script)
            self.addCleanup(self.close_server)
            port = self.server.port
        config = self.settings_for(port, upstream={"protocol": "h2c", **(upstream or {})}, timeouts=listener)
        config["listeners"][0]["http_versions"] = ["h2", "http/1.1"]
        config.update(more)
        if timeouts:
            config["upstreams"]["origin"]["timeouts"].update(timeouts)
        if audited:
            self.log = AuditLog(self.folder / "audit")
            config["audit"] = {"directory": str(self.log.directory), "durability": "before_response"}
        self.proxy = self.start_proxy(config)

    def close_server(self):
        self.server.close()
        self.assertEqual(self.server.failures, [])

    def client(self):
        client = FrameClient(self.proxy.port)
        self.addCleanup(client.close)
        return client

    def check_reply(self, client, stream, code, text):
        """A response that is a head alone, with the status of gRPC."""
        response = client.response(stream)
        fields = response.fields
        self.assertEqual(
            (fields.get(":status"), fields.get("grpc-status"), urllib.parse.unquote(fields.get("grpc-message", ""))),
            ("200", str(code), text))
        self.assertEqual(fields["content-type"], "application/grpc")
        self.assertIn("date", fields)
        self.assertNotIn("content-length", fields)
        self.assertEqual(response.content, b"")
        self.assertTrue(response.ended)
        self.assertEqual([k for k in client.kinds[stream] if k != http2.WINDOW_UPDATE][0], http2.HEADERS)
        self.assertNotIn(http2.DATA, client.kinds[stream])
        return response

    def call(self, client, path="/s.S/M", fields=GRPC, ends=True):
        return client.open(path, "POST", fields, content=message(b"hello"), ends=ends)


@on_both_engines
class OwnReplies(GRPCCase):
    """The table of docs/http-conformance.md."""

    def test_a_server_that_is_down_is_unavailable_and_is_recorded_as_before(self):
        self.serve(port=ports.free_port(), audited=True)
        with self.client() as client:
            self.check_reply(client, self.call(client), 14, "502 Bad Gateway (connect_refused)")
            plain = client.fetch("/s.S/M", "POST", content=b"x")
            self.assertEqual(plain.status, 502)
            self.assertEqual(plain.content, b"502 Bad Gateway (connect_refused)\n")
        self.proxy.settle({"exchanges": 0})
        records = self.log.entries()
        records = [r for r in records if r.get("kind") == "exchange"]
        self.assertEqual(
            [(r["status"], r["ending"], r["response_bytes"]) for r in records],
            [(502, "connect_refused", 0), (502, "connect_refused", 34)])

    def test_content_types(self):
        self.serve(port=ports.free_port())
        with self.client() as client:
            for kind in (
                "application/grpc", "application/grpc+proto", "application/grpc+json", "Application/GRPC",
                "application/grpc;charset=utf-8", "application/grpc ; a=b",
            ):
                with self.subTest(kind=kind):
                    stream = self.call(client, fields=[("content-type", kind)])
                    self.check_reply(client, stream, 14, "502 Bad Gateway (connect_refused)")
            for kind in (
                "application/grpc-web", "application/grpc-web+proto", "application/grpcs", "application/json",
                "text/application/grpc",
            ):
                with self.subTest(kind=kind):
                    self.assertEqual(client.response(self.call(client, fields=[("content-type", kind)])).status, 502)

    def test_over_http_1_nothing_changes(self):
        self.serve(port=ports.free_port())
        response = self.fetch(
            self.proxy, wire.request("POST", "/s.S/M", body=b"x", content_type="application/grpc"))
        self.assertEqual((response.status, response.body), (502, b"502 Bad Gateway (connect_refused)\n"))

    def test_no_route(self):
        self.serve(routes=[{"match": {"path": "/other"}, "upstream": "origin"}])
        with self.client() as client:
            self.check_reply(client, self.call(client), 12, "404 Not Found (no_route)")

    def test_a_response_that_does_not_come_in_time(self):
        self.serve(lambda connection: connection.rest(), timeouts={"response": "300ms"})
        with self.client() as client:
            self.check_reply(client, self.call(client), 4, "504 Gateway Timeout (response_timeout)")

    def test_a_server_that_fails_before_its_response(self):
        def script(connection):
            for answer in (
                lambda r: connection.reset(r.stream, http2.INTERNAL_ERROR),
                lambda r: connection.reset(r.stream, http2.REFUSED_STREAM),
                lambda r: connection.head(r.stream, 200, [("connection", "close")], ends=True),
            ):
                answer(connection.request())
            connection.rest()

        self.serve(script, upstream={"retries": {"attempts": 0}})
        with self.client() as client:
            for code, text in (
                (14, "502 Bad Gateway (upstream_reset)"),
                (14, "502 Bad Gateway (upstream_stream_refused)"),
                (13, "502 Bad Gateway (upstream_malformed)"),
            ):
                self.check_reply(client, self.call(client), code, text)

    def test_a_request_that_does_not_come_in_time(self):
        self.serve(lambda connection: connection.rest(), listener={"body": "300ms"})
        with self.client() as client:
            stream = self.call(client, ends=False)
            self.check_reply(client, stream, 4, "408 Request Timeout (request_body_timeout)")

    def test_limits_of_heads(self):
        self.serve(limits={"request_target": "1KiB"})
        with self.client() as client:
            stream = self.call(client, "/" + "x" * 2000)
            self.check_reply(client, stream, 8, "414 URI Too Long (target_too_long)")
            stream = self.call(client, fields=[*GRPC, *[(f"x-{n}", "v") for n in range(300)]])
            self.check_reply(client, stream, 8, "431 Request Header Fields Too Large (too_many_fields)")

    def test_what_is_malformed_is_reset_as_ever(self):
        self.serve()
        with self.client() as client:
            stream = self.call(client, fields=[*GRPC, ("transfer-encoding", "chunked")], ends=False)
            response = client.response(stream)
            client.until(lambda: response.reset is not None)
            self.assertEqual((response.status, response.reset), (400, http2.PROTOCOL_ERROR))


@on_both_engines
class Passing(GRPCCase):
    def test_metadata_timeouts_and_trailers_pass_as_they_are(self):
        def script(connection):
            request = connection.request()
            connection.head(
                request.stream, 200, [("content-type", "application/grpc"), ("x-head-bin", "AAEC/w")])
            connection.data(request.stream, message(b"reply"), ends=False)
            connection.trailers(
                request.stream, [("grpc-status", "0"), ("grpc-message", "a%20b"), ("x-tail-bin", "/wD/")])
            connection.rest()

        self.serve(script)
        with self.client() as client:
            response = client.response(self.call(
                client, fields=[*GRPC, ("grpc-timeout", "59999m"), ("x-bin", "AAEC/w"), ("grpc-encoding", "identity")]))
            self.assertEqual(response.content, message(b"reply"))
            self.assertEqual(response.fields["x-head-bin"], "AAEC/w")
            self.assertEqual(
                response.trailers, [("grpc-status", "0"), ("grpc-message", "a%20b"), ("x-tail-bin", "/wD/")])
        head = self.server.requests[0].head
        for name, value in (
            ("te", "trailers"), ("grpc-timeout", "59999m"), ("x-bin", "AAEC/w"), ("grpc-encoding", "identity"),
            ("content-type", "application/grpc"),
        ):
            self.assertEqual(head.get(name), value, name)
        self.assertNotIn("content-length", head)

    def test_trailers_only_of_a_server_stay_one_head(self):
        def script(connection):
            while True:
                request = connection.request(whole=False)
                connection.head(
                    request.stream, 200,
                    [("content-type", "application/grpc"), ("grpc-status", "7"), ("grpc-message", "no")], ends=True)

        self.serve(script)
        with self.client() as client:
            for ends in (True, False):
                stream = self.call(client, ends=ends)
                response = client.response(stream)
                self.assertEqual((response.fields["grpc-status"], response.fields["grpc-message"]), ("7", "no"))
                self.assertNotIn(http2.DATA, client.kinds[stream])
                self.assertIsNone(response.trailers)
