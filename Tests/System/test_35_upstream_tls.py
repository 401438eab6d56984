"""Layer 3: TLS to servers. nginx and Python's ssl are the judges: what is verified and by which
name, what each failure is called, what is resumed, and that content is the same as without TLS."""

import hashlib
import ssl
import time
import unittest

from harness import certificates, configuration, settings, streams, tlsclient, wire
from harness.auditlog import AuditLog
from harness.case import SystemCase, on_both_engines
from harness.proxy import run_to_end
from harness.tlsorigin import TLSOrigin, end_in_order

TLS12, TLS13 = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3


def ask_to_close(served):
    """Answers one request and ends the connection in order."""
    if served.request():
        served.answer(b"ok\n", fields=["Connection: close"])
        end_in_order(served)


class UpstreamTLSCase(SystemCase):
    def start_tls_origin(self, script=None, **options):
        origin = TLSOrigin(script, **options) if script else TLSOrigin(**options)
        self.addCleanup(self._close_origin, origin)
        return origin

    def upstream_tls(self, **others):
        return {"ca": str(certificates.authority().certificate), **others}

    def tls_settings(self, *origin_ports, tls=None, upstream=None, **others):
        return self.settings_for(
            *origin_ports,
            upstream={"tls": self.upstream_tls() if tls is None else tls, **(upstream or {})},
            **others,
        )

    def proxy_to(self, *origin_ports, **others):
        return self.start_proxy(self.tls_settings(*origin_ports, **others))

    def counter(self, proxy, name):
        return proxy.counters()[name]


@on_both_engines
class Nginx(UpstreamTLSCase):
    """A server of the field, over TLS alone."""

    def setUp(self):
        super().setUp()
        self.nginx = self.start_nginx(http2=certificates.site())

    def how(self, count):
        """protocol, connection and resumption of each request, once nginx has noted `count`."""
        path = self.nginx.directory / "how.log"
        deadline = time.monotonic() + settings.HANG
        while True:
            seen = [tuple(line.split(" ")) for line in path.read_text("ascii").splitlines()]
            if len(seen) >= count or time.monotonic() > deadline:
                return seen
            time.sleep(0.02)

    def test_sized_and_chunked_answers_and_stored_content(self):
        size = 3_000_000
        content = b"".join(streams.blocks(size))
        self.nginx.add("sized", content)
        self.nginx.add("chunked/file", content)
        proxy = self.proxy_to(self.nginx.tls_port)
        sized = self.fetch(proxy, wire.get("/sized"))
        self.assertEqual((sized.status, sized.get("content-length")), (200, str(size)))
        self.assertSameBytes(sized.body, content)
        chunked = self.fetch(proxy, wire.get("/chunked/file"))
        self.assertEqual((chunked.status, chunked.chunked), (200, True))
        self.assertSameBytes(chunked.body, content)
        stored = self.fetch(proxy, wire.request("PUT", "/put/it", body=content))
        self.assertEqual(stored.status, 201)
        self.assertSameBytes((self.nginx.files / "put/it").read_bytes(), content)

    def test_a_hundred_requests_over_one_kept_connection(self):
        self.nginx.add("small", b"small\n")
        proxy = self.proxy_to(self.nginx.tls_port)
        connection = self.connect(proxy)
        for _ in range(100):
            self.assertEqual(connection.send(wire.get("/small")).response().body, b"small\n")
        seen = self.how(100)
        self.assertEqual({protocol for protocol, _, _ in seen}, {"HTTP/1.1"})
        self.assertEqual(len({number for _, number, _ in seen}), 1)
        counters = proxy.counters()
        self.assertEqual(counters["upstream_connects"], 1)
        self.assertEqual(counters["upstream_reuses"], 99)
        self.assertEqual(counters["upstream_handshakes"], 1)

    def test_new_connections_resume(self):
        self.nginx.add("small", b"small\n")
        # Nothing is kept: each request has a connection of its own.
        proxy = self.proxy_to(self.nginx.tls_port, upstream={"idle_connections": 0})
        for _ in range(10):
            self.assertEqual(self.fetch(proxy, wire.get("/small")).status, 200)
        seen = self.how(10)
        self.assertEqual([resumed for _, _, resumed in seen], ["."] + ["r"] * 9)
        counters = proxy.counters()
        self.assertEqual(counters["upstream_handshakes"], 10)
        self.assertEqual(counters["upstream_handshakes_resumed"], 9)

    def test_parallel_requests_and_a_drain(self):
        self.nginx.add("small", b"small\n" * 1000)
        proxy = self.proxy_to(self.nginx.tls_port)
        connections = [self.connect(proxy) for _ in range(50)]
        for _ in range(5):
            for connection in connections:
                connection.send(wire.get("/small"))
            for connection in connections:
                self.assertEqual(len(connection.response().body), 6000)
        for connection in connections:
            connection.close()
        proxy.settle({"connections": 0, "exchanges": 0, "cold_bytes": 0, "leases": 0, "frames": 0})
        proxy.stop()


@on_both_engines
class Names(UpstreamTLSCase):
    """What is asked for and verified."""

    def test_the_name_of_the_server_is_asked_for(self):
        origin = self.start_tls_origin()
        proxy = self.proxy_to(f"localhost:{origin.port}")
        self.assertEqual(self.fetch(proxy).status, 200)
        self.assertEqual(origin.handshakes[0].name, "localhost")
        self.assertEqual(origin.handshakes[0].protocol, "http/1.1")

    def test_an_address_is_verified_and_not_asked_for(self):
        origin = self.start_tls_origin()
        proxy = self.proxy_to(origin.port)
        self.assertEqual(self.fetch(proxy).status, 200)
        self.assertIsNone(origin.handshakes[0].name)

    def test_a_name_of_the_upstream_takes_its_place(self):
        pair = certificates.authority().issue("api.test", address="::2")
        origin = self.start_tls_origin(pair=pair)
        proxy = self.proxy_to(origin.port, tls=self.upstream_tls(server_name="api.test"))
        self.assertEqual(self.fetch(proxy).status, 200)
        self.assertEqual(origin.handshakes[0].name, "api.test")

    def test_the_systems_trust_store_is_the_default(self):
        origin = self.start_tls_origin()
        config = self.tls_settings(origin.port, tls={})
        store = {
            "SSL_CERT_FILE": str(certificates.authority().certificate),
            "SSL_CERT_DIR": "/nonexistent",
        }
        proxy = self.start_proxy(config, environment=store)
        self.assertEqual(self.fetch(proxy).status, 200)
        # The machine's own does not know the authority of these tests.
        other = self.start_proxy(self.tls_settings(origin.port, tls={}))
        response = self.fetch(other)
        self.assertEqual(response.status, 502)
        self.assertIn(b"tls_upstream_untrusted", response.body)

    def test_without_a_trust_store_there_is_no_start(self):
        file = self.folder / "m.yaml"
        file.write_text(configuration.render(self.tls_settings(1, tls={})) + "\n", encoding="utf-8")
        none = {"SSL_CERT_FILE": "/nonexistent/file", "SSL_CERT_DIR": "/nonexistent"}
        for command in ("check", "run"):
            code, _, errors = run_to_end([command, file], environment=none)
            self.assertEqual(code, 2, errors)
            self.assertIn("upstreams.origin.tls.ca", errors)
            self.assertIn("/nonexistent/file", errors)

    def test_a_server_on_a_unix_socket_by_the_name_of_the_upstream(self):
        path = self.folder / "server.sock"
        origin = self.start_tls_origin(unix=path)
        proxy = self.proxy_to(f"unix:{path}", tls=self.upstream_tls(server_name="site.test"))
        self.assertEqual(self.fetch(proxy).status, 200)
        self.assertEqual(origin.handshakes[0].name, "site.test")


# reason, what the origin presents, what OpenSSL calls it
FAILURES = [
    (
        "tls_upstream_expired",
        lambda: certificates.authority().issue("old.test", days=(-20, -10)),
        "certificate has expired",
    ),
    (
        "tls_upstream_not_yet_valid",
        lambda: certificates.authority().issue("new.test", days=(10, 20)),
        "certificate is not yet valid",
    ),
    (
        "tls_upstream_name_mismatch",
        lambda: certificates.authority().issue("other.test", address="127.0.0.2"),
        "IP address mismatch",
    ),
    (
        "tls_upstream_untrusted",
        lambda: certificates.stranger().issue("site.test"),
        "unable to get local issuer certificate",
    ),
    (
        "tls_upstream_untrusted",
        lambda: certificates.authority().self_sign("site.test"),
        "self-signed certificate",
    ),
]


@on_both_engines
class Failures(UpstreamTLSCase):
    """Each failure has its name in the reply, the log and the record; the server sees no request."""

    def fails(self, reason, origin, status=502, **others):
        audit = AuditLog(self.folder / f"audit-{len(self.proxies)}")
        config = self.tls_settings(
            origin.port, audit={"directory": str(audit.directory)}, **others
        )
        proxy = self.start_proxy(config)
        response = self.fetch(proxy, wire.request("POST", "/asked", body=b"once"))
        self.assertEqual(response.status, status)
        self.assertIn(f"({reason})".encode(), response.body)
        line = proxy.wait_for("exchange failed", reason=reason)
        self.assertEqual(line["upstream"], f"127.0.0.1:{origin.port}")
        self.assertEqual(origin.requests, [])
        proxy.stop()
        records = audit.requests()
        self.assertEqual([record["ending"] for record in records], [reason])
        return proxy

    def test_certificates_that_do_not_verify(self):
        for reason, pair, text in FAILURES:
            with self.subTest(reason=reason, text=text):
                origin = self.start_tls_origin(pair=pair())
                proxy = self.fails(reason, origin)
                said = proxy.find("upstream tls failed", reason=reason)
                self.assertTrue(said, proxy.tail())
                self.assertIn(text, said[0]["detail"])
                self.assertEqual(said[0]["upstream"], f"127.0.0.1:{origin.port}")

    def test_all_of_them_are_accepted_without_verification_which_is_a_warning(self):
        file = self.folder / "m.yaml"
        for _, pair, _ in FAILURES:
            origin = self.start_tls_origin(pair=pair())
            config = self.tls_settings(origin.port, tls={"verify": False})
            proxy = self.start_proxy(config)
            self.assertEqual(self.fetch(proxy).status, 200)
            proxy.wait_for("upstream certificates are not verified", upstream="origin")
            # The report of the check is on stderr too, and is no line of the log.
            proxy.kill()
        file.write_text(configuration.render(config) + "\n", encoding="utf-8")
        code, _, errors = run_to_end(["check", file])
        self.assertEqual(code, 0, errors)
        self.assertRegex(errors, r"upstreams\.origin\.tls\.verify .*: warning: is false")

    def test_a_handshake_that_is_never_answered(self):
        def script(served):
            served.stall()

        origin = self.start_origin(script)
        self.fails(
            "tls_upstream_handshake_timeout",
            origin,
            status=504,
            upstream={"timeouts": {"connect": "300ms"}},
        )

    def test_a_handshake_that_is_slow_and_in_time(self):
        class Slow(TLSOrigin):
            def _serve(self, served):
                time.sleep(0.5)
                super()._serve(served)

        origin = Slow()
        self.addCleanup(self._close_origin, origin)
        proxy = self.proxy_to(origin.port, upstream={"timeouts": {"connect": "20s"}})
        self.assertEqual(self.fetch(proxy).status, 200)

    def test_a_server_that_speaks_no_tls(self):
        origin = self.start_origin(lambda served: served.send(b"HTTP/1.1 400 Bad Request\r\n\r\n"))
        self.fails("tls_upstream_failed", origin)

    def test_a_server_that_closes_in_the_handshake(self):
        origin = self.start_origin(lambda served: served.fill())
        self.fails("tls_upstream_failed", origin)

    def test_a_minimum_of_1_3_refuses_a_server_of_1_2(self):
        origin = self.start_tls_origin(maximum=TLS12)
        self.fails("tls_upstream_failed", origin, tls=self.upstream_tls(minimum_version="1.3"))
        proxy = self.proxy_to(origin.port)
        self.assertEqual(self.fetch(proxy).status, 200)
        self.assertEqual([one.version for one in origin.handshakes], ["TLSv1.2"])

    def test_a_server_that_speaks_another_protocol_only(self):
        origin = self.start_tls_origin()
        # Python's servers go on without a common protocol; such a one is HTTP/1.1.
        origin.context.set_alpn_protocols(["h2"])
        proxy = self.proxy_to(origin.port)
        self.assertEqual(self.fetch(proxy).status, 200)
        self.assertIsNone(origin.handshakes[0].protocol)

    def test_another_server_gets_the_request(self):
        wrong = self.start_tls_origin(pair=certificates.stranger().issue("site.test"))
        right = self.start_tls_origin()
        proxy = self.proxy_to(wrong.port, right.port)
        for n in range(6):
            response = self.fetch(proxy, wire.request("POST", f"/{n}", body=b"once"))
            self.assertEqual(response.status, 200)
        self.assertEqual([one.target for one in right.requests], [f"/{n}" for n in range(6)])
        self.assertEqual(wrong.requests, [])
        self.assertGreater(self.counter(proxy, "upstream_handshake_failures"), 0)


@on_both_engines
class ClientCertificates(UpstreamTLSCase):
    def start(self, version):
        return self.start_tls_origin(
            minimum=version, maximum=version, clients=certificates.authority()
        )

    def test_a_server_that_asks_is_shown_one(self):
        certificate, key = certificates.authority().issue("proxy.test")
        for version in (TLS12, TLS13):
            with self.subTest(version=version):
                origin = self.start(version)
                shown = {"certificate": str(certificate), "key": str(key)}
                proxy = self.proxy_to(origin.port, tls=self.upstream_tls(**shown))
                self.assertEqual(self.fetch(proxy).status, 200)
                self.assertEqual(origin.handshakes[0].client, "proxy.test")

    def test_without_one_there_is_no_answer(self):
        for version in (TLS12, TLS13):
            with self.subTest(version=version):
                origin = self.start(version)
                proxy = self.proxy_to(origin.port)
                response = self.fetch(proxy)
                self.assertEqual(response.status, 502)
                self.assertIn(b"(tls_upstream_failed)", response.body)
                said = proxy.wait_for("upstream tls failed", reason="tls_upstream_failed")
                self.assertIn("alert", said["detail"])
                self.assertEqual(origin.requests, [])


@on_both_engines
class Sessions(UpstreamTLSCase):
    def test_both_versions_resume(self):
        for version in (TLS12, TLS13):
            with self.subTest(version=version):
                origin = self.start_tls_origin(ask_to_close, minimum=version, maximum=version)
                proxy = self.proxy_to(origin.port)
                for _ in range(5):
                    self.assertEqual(self.fetch(proxy).status, 200)
                self.assertEqual(
                    [one.resumed for one in origin.handshakes], [False] + [True] * 4
                )
                counters = proxy.counters()
                self.assertEqual(counters["upstream_handshakes"], 5)
                self.assertEqual(counters["upstream_handshakes_resumed"], 4)
                self.assertEqual(counters["upstream_handshake_failures"], 0)

    def test_a_server_that_forgot_its_keys_gets_a_full_handshake(self):
        origin = self.start_tls_origin(ask_to_close)
        proxy = self.proxy_to(origin.port)
        for _ in range(3):
            self.assertEqual(self.fetch(proxy).status, 200)
        # A context of its own has keys of its own.
        fresh = TLSOrigin()
        self.addCleanup(self._close_origin, fresh)
        origin.context = fresh.context
        self.assertEqual(self.fetch(proxy).status, 200)
        self.assertEqual([one.resumed for one in origin.handshakes], [False, True, True, False])

    def test_one_server_is_not_shown_the_tickets_of_another(self):
        # Both could open them: they have one context.
        first = self.start_tls_origin(ask_to_close)
        second = self.start_tls_origin(ask_to_close)
        second.context = first.context
        proxy = self.proxy_to(first.port, second.port)
        for _ in range(4):
            self.assertEqual(self.fetch(proxy).status, 200)
        for origin in (first, second):
            self.assertEqual([one.resumed for one in origin.handshakes], [False, True])


@on_both_engines
class Content(UpstreamTLSCase):
    def test_an_end_without_close_notify_is_a_cut(self):
        def script(served):
            if served.request():
                served.send(b"HTTP/1.1 200 OK\r\n\r\nall of it")
                # Python's close sends no close_notify.

        proxy = self.proxy_to(self.start_tls_origin(script).port)
        connection = self.connect(proxy).send(wire.get())
        with self.assertRaises((wire.Truncated, ConnectionResetError)):
            connection.response()
        proxy.wait_for("exchange failed", reason="upstream_reset")

    def test_an_end_with_close_notify_is_the_end(self):
        def script(served):
            if served.request():
                served.send(b"HTTP/1.1 200 OK\r\n\r\nall of it")
                end_in_order(served)

        proxy = self.proxy_to(self.start_tls_origin(script).port)
        self.assertEqual(self.fetch(proxy).body, b"all of it")

    def test_a_sized_answer_needs_no_close_notify(self):
        def script(served):
            if served.request():
                served.answer(b"all of it", fields=["Connection: close"])

        proxy = self.proxy_to(self.start_tls_origin(script).port)
        for _ in range(3):
            self.assertEqual(self.fetch(proxy).body, b"all of it")

    def test_large_content_both_ways_and_a_slow_reader(self):
        size = 16 << 20

        def script(served):
            while message := served.request():
                digest = hashlib.sha256(message.body).hexdigest()
                served.send(f"HTTP/1.1 200 OK\r\nContent-Length: {size}\r\n")
                served.send(f"Digest: {digest}\r\n\r\n")
                for block in streams.blocks(size):
                    served.send(block)

        for version in (TLS12, TLS13):
            with self.subTest(version=version):
                origin = self.start_tls_origin(script, minimum=version, maximum=version)
                proxy = self.proxy_to(origin.port)
                connection = self.connect(proxy, receive_buffer=65_536)
                connection.send(f"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {size}\r\n\r\n")
                for block in streams.blocks(size):
                    connection.send(block)
                head = connection.response_head()
                self.assertEqual(head.get("digest"), streams.digest(size))
                total = hashlib.sha256()
                left = size
                while left:
                    if left % 7 == 0:
                        time.sleep(0.01)
                    part = connection.take(min(left, 100_003))
                    total.update(part)
                    left -= len(part)
                self.assertEqual(total.hexdigest(), streams.digest(size))
                connection.close()
                proxy.settle({"connections": 0, "exchanges": 0, "cold_bytes": 0, "leases": 0})

    def updating(self, count, kind):
        """A server that renews its keys `count` times within each response, by a byte in between."""

        def script(served):
            session = tlsclient.Server(served.socket, certificates.site())
            asked = b""
            while True:
                while b"\r\n\r\n" not in asked:
                    try:
                        part = session.receive()
                    except tlsclient.Closed:
                        return
                    if not part:
                        return
                    asked += part
                asked = asked.partition(b"\r\n\r\n")[2]
                session.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % count)
                for _ in range(count):
                    session.socket.sendall(session.key_update(kind))
                    session.send(b"k")

        return self.start_origin(script)

    def test_a_server_that_renews_its_keys(self):
        for kind in (tlsclient.REQUESTED, tlsclient.NOT_REQUESTED):
            with self.subTest(kind=kind):
                proxy = self.proxy_to(self.updating(10, kind).port)
                connection = self.connect(proxy)
                for _ in range(3):
                    response = connection.send(wire.get()).response()
                    self.assertEqual(response.body, b"k" * 10)
                connection.close()
                proxy.settle({"connections": 0, "exchanges": 0, "cold_bytes": 0, "leases": 0})

    def test_a_server_that_does_nothing_but_renew_its_keys(self):
        proxy = self.proxy_to(self.updating(100, tlsclient.REQUESTED).port)
        connection = self.connect(proxy).send(wire.get())
        with self.assertRaises((wire.Truncated, ConnectionResetError)):
            connection.response()
        self.assertEqual(self.counter(proxy, "tls_floods"), 1)
        proxy.settle({"connections": 0, "exchanges": 0, "cold_bytes": 0, "leases": 0})

    def test_a_reader_that_stops_holds_a_bounded_amount(self):
        size = 64 << 20

        def script(served):
            while served.request():
                served.send(f"HTTP/1.1 200 OK\r\nContent-Length: {size}\r\n\r\n")
                for block in streams.blocks(size):
                    served.send(block)

        proxy = self.proxy_to(self.start_tls_origin(script).port)
        connection = self.connect(proxy, receive_buffer=4096).send(wire.get())
        connection.response_head()
        last, still = -1, 0
        while still < 5:
            counters = proxy.counters()
            held = counters["cold_bytes"] + counters["leases"]
            still = still + 1 if held == last else 0
            last = held
            self.assertLess(counters["cold_bytes"], 2 << 20)
            time.sleep(0.1)
        connection.reset()
        proxy.settle({"connections": 0, "exchanges": 0, "cold_bytes": 0, "leases": 0})


if __name__ == "__main__":
    unittest.main()
