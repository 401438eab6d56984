"""Layer 3: clients that would speak something else: WebSocket where it may not pass, h2c, HTTP/2 with prior knowledge,
HTTP/1.0 over TLS, plain HTTP on a TLS port. Each gets an answer that it can read.
"""

import json
import ssl
import unittest

from harness import certificates, peers, wire
from harness.auditlog import AuditLog
from harness.case import SharedProxyCase, SystemCase, on_both_engines

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
# SETTINGS without entries, GOAWAY for stream 0 with HTTP_1_1_REQUIRED.
GOAWAY = bytes.fromhex("000000040000000000" + "000008070000000000" + "00000000" + "0000000d")


def upgrade(protocols, connection="Upgrade", **fields):
    return wire.get("/", Connection=connection, Upgrade=protocols, **fields)


@on_both_engines
class Upgrades(SharedProxyCase):
    """Before an upstream that lets nothing through; test_37 has those that do."""

    def make_settings(self, origin):
        return self.settings_for(origin.port, upstream={"upgrades": []})

    def test_websocket_is_501_and_the_connection_goes_on(self):
        connection = self.connect(self.proxy)
        for protocols in ("websocket", "WebSocket", "h2c, websocket", "websocket/13", "a,websocket"):
            with self.subTest(protocols=protocols):
                response = connection.send(
                    upgrade(protocols, Sec_WebSocket_Version="13", Sec_WebSocket_Key="x")
                ).response()
                self.assertEqual(response.status, 501)
                self.assertIn(b"upgrade_not_supported", response.body)
        self.assertEqual(connection.send(wire.get()).response().status, 200)
        self.assertEqual(len(self.origin.requests), 1)

    def test_other_protocols_are_ignored(self):
        for protocols in ("h2c", "TLS/1.0", "websocketx", "websocke", "web socket", "x/websocket"):
            with self.subTest(protocols=protocols):
                response = self.fetch(
                    self.proxy,
                    upgrade(protocols, "Upgrade, HTTP2-Settings", HTTP2_Settings="AAMAAABk"),
                )
                self.assertEqual(response.status, 200)
                names = {name.lower() for name, _ in json.loads(response.body)["fields"]}
                self.assertEqual(names & {"upgrade", "http2-settings", "connection"}, set())

    def test_an_upgrade_that_connection_does_not_name_is_none(self):
        self.assertEqual(self.fetch(self.proxy, upgrade("websocket", "close")).status, 200)

    def test_curl_with_http2_is_served_in_1_1(self):
        result = peers.curl(
            f"http://site.test:{self.proxy.port}/", "--http2", folder=self.folder
        )
        self.assertEqual((result.exit, result.status), (0, 200), result.errors)


@on_both_engines
class PriorKnowledge(SystemCase):
    def test_a_client_of_http2_gets_a_goaway(self):
        proxy = self.proxy_before(self.start_origin().port, tls=None)
        settings = bytes.fromhex("000000040000000000")
        for pieces in (
            [PREFACE], [PREFACE + settings], [PREFACE[:1], PREFACE[1:15], PREFACE[15:] + settings]
        ):  # fmt: skip
            connection = self.connect(proxy)
            for piece in pieces:
                connection.send(piece)
            self.assertEqual(connection.take(len(GOAWAY)), GOAWAY)
            self.assertClosed(connection)
            connection.close()
        self.assertEqual(proxy.counters()["bad_requests"], 3)

    def test_curl_names_it(self):
        proxy = self.proxy_before(self.start_origin().port)
        result = peers.curl(
            f"http://site.test:{proxy.port}/", "--http2-prior-knowledge", "--verbose",
            folder=self.folder,
        )  # fmt: skip
        # curl 7.88 writes "recveived"; 13 is HTTP_1_1_REQUIRED.
        self.assertRegex(result.errors, r"GOAWAY, error=13|HTTP_1_1_REQUIRED")
        self.assertNotEqual(result.exit, 0)

    def test_within_tls_too(self):
        proxy = self.proxy_before(self.start_origin().port, tls=self.site_tls)
        connection = self.connect(proxy, tls=True).send(PREFACE)
        self.assertEqual(connection.take(len(GOAWAY)), GOAWAY)
        self.assertClosed(connection)
        connection.close()

    def test_what_only_begins_like_it_is_refused_in_text(self):
        proxy = self.proxy_before(self.start_origin().port)
        for data, status in (
            (b"PRI * HTTP/2.1\r\n\r\n", 505),
            (b"PRI / HTTP/2.0\r\n\r\n", 505),
            (b"GET * HTTP/2.0\r\n\r\n", 505),
            (b"PRI * HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ):
            self.assertEqual(self.fetch(proxy, data).status, status)


@on_both_engines
class TLSPorts(SystemCase):
    def start_tls(self, **others):
        return self.proxy_before(self.start_origin().port, tls=self.site_tls, **others)

    def test_plain_http_is_answered_in_plain_text(self):
        proxy = self.start_tls()
        for data in (
            wire.get(),
            b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n" + b"x" * 100000,
            b"DELETE / HTTP/1.1\r\n\r\n",
            b"OPTIONS * HTTP/1.1\r\n\r\n",
            b"CONNECT a:1 HTTP/1.1\r\n\r\n",
            PREFACE,
        ):
            with self.subTest(data=data[:10]):
                connection = self.connect(proxy).send(data)
                response = connection.response()
                self.assertEqual(response.status, 400)
                self.assertIn(b"plain_http_on_tls_port", response.body)
                self.assertIn("close", response.tokens("connection"))
                self.assertClosed(connection)
                connection.close()
        self.assertEqual(self.fetch(proxy, tls=True).status, 200)
        counters = proxy.counters()
        self.assertEqual((counters["bad_requests"], counters["handshake_failures"]), (6, 6))
        proxy.settle({"connections": 0, "exchanges": 0})
        line = proxy.wait_for("tls failed")
        self.assertEqual((line.level, line["reason"]), ("info", "not_tls"))
        self.assertIn("plain HTTP request sent to a TLS port", line["detail"])

    def test_curl_shows_the_answer(self):
        proxy = self.start_tls()
        result = peers.curl(f"http://site.test:{proxy.port}/", folder=self.folder)
        self.assertEqual((result.exit, result.status), (0, 400), result.errors)

    def test_what_is_neither_gets_no_answer(self):
        proxy = self.start_tls()
        for data in (b"\x00" * 100, b"get / HTTP/1.1\r\n\r\n", b"\x80\x00\x00\x00\x00\x00"):
            connection = self.connect(proxy).send(data)
            connection.finish_sending()
            self.assertNotIn(b"HTTP/1.1", connection.rest())
            connection.close()

    def test_explanations_are_limited_and_counted(self):
        proxy = self.start_tls()
        count = 60
        for _ in range(count):
            self.assertEqual(self.fetch(proxy).status, 400)
        proxy.settle({"connections": 0})
        lines = proxy.find("tls failed")
        # Twenty a second; what was not written is told by the next line that is.
        told = len(lines) + sum(int(line["suppressed"]) for line in lines)
        self.assertGreaterEqual(len(lines), 20)
        self.assertLessEqual(told, count)

    def test_no_protocol_in_common_is_told_at_info(self):
        proxy = self.start_tls()
        peers.s_client(proxy.port, "-alpn", "spdy/3", send=b"")
        line = proxy.wait_for("tls failed")
        self.assertEqual((line.level, line["reason"]), ("info", "no_application_protocol"))

    def test_http_1_0_is_selected_only_where_nothing_better_is_offered(self):
        config = self.settings_for(self.start_origin().port, tls=self.site_tls)
        config["listeners"][0]["http_versions"] = ["http/1.1"]
        proxy = self.start_proxy(config)
        for offer, expected in (
            (["http/1.0"], "http/1.0"),
            (["http/1.0", "http/1.1"], "http/1.1"),
            (["h2", "http/1.0"], "http/1.0"),
            (["h2", "http/1.1", "http/1.0"], "http/1.1"),
        ):
            context = certificates.authority().client()
            context.set_alpn_protocols(offer)
            connection = self.connect(proxy, tls=context)
            self.assertEqual(connection.socket.selected_alpn_protocol(), expected)
            self.assertEqual(connection.send(wire.get()).response().status, 200)
        context = certificates.authority().client()
        context.set_alpn_protocols(["h2"])
        with self.assertRaises(ssl.SSLError):
            self.connect(proxy, tls=context)

    def test_curl_in_http_1_0(self):
        proxy = self.start_tls()
        result = peers.curl(
            f"https://site.test:{proxy.port}/", "--http1.0", folder=self.folder
        )
        self.assertEqual((result.exit, result.status), (0, 200), result.errors)


@on_both_engines
class Recorded(SystemCase):
    def test_each_refusal_has_a_record(self):
        log = AuditLog(self.folder / "audit")
        audit = {"directory": str(log.directory)}
        origin = self.start_origin()
        tls = self.proxy_before(
            origin.port, tls=self.site_tls, audit=audit, upstream={"upgrades": []})
        self.assertEqual(self.fetch(tls).status, 400)
        connection = self.connect(tls, tls=True).send(PREFACE)
        self.assertEqual(connection.take(len(GOAWAY)), GOAWAY)
        connection.close()
        tls.settle({"exchanges": 0})
        response = self.fetch(tls, upgrade("websocket"), tls=True)
        self.assertEqual(response.status, 501)
        tls.stop()
        records = [(entry["status"], entry["ending"]) for entry in log.of_kind("exchange")]
        self.assertEqual(
            records, [(400, "bad_request"), (505, "bad_request"), (501, "upgrade_not_supported")]
        )
        code, text = log.verify()
        self.assertEqual(code, 0, text)


if __name__ == "__main__":
    unittest.main()
