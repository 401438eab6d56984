"""Layer 2: TLS as real clients see it, and what happens to those that are not.

openssl s_client and curl are the judges of handshakes; Python's ssl is the client for the rest.
"""

import hashlib
import re
import socket
import ssl
import unittest

from harness import certificates, peers, streams, tlsrecords, wire
from harness.case import SystemCase, on_both_engines

_ASK = b"GET / HTTP/1.1\r\nHost: site.test\r\nConnection: close\r\n\r\n"


@on_both_engines
class Handshakes(SystemCase):
    def setUp(self):
        super().setUp()
        self.origin = self.start_origin()

    def start_tls(self, tls=None, **options):
        return self.proxy_before(self.origin.port, tls=tls or self.site_tls, **options)

    def test_curl_verifies_the_chain_in_both_versions(self):
        proxy = self.start_tls()
        for version in ("1.2", "1.3"):
            with self.subTest(version=version):
                result = peers.curl(
                    f"https://site.test:{proxy.port}/",
                    *(f"--tlsv{version}", "--tls-max", version),
                    folder=self.folder,
                )
                self.assertEqual((result.exit, result.status), (0, 200), result.errors)

    def test_versions_below_1_2_are_refused_and_others_go_on(self):
        proxy = self.start_tls()
        for version in ("-tls1", "-tls1_1"):
            out = peers.s_client(proxy.port, version, "-cipher", "DEFAULT@SECLEVEL=0", send=_ASK)
            self.assertNotIn("HTTP/1.1 200", out)
        self.assertEqual(self.fetch(proxy, tls=True).status, 200)

    def test_a_minimum_of_1_3_refuses_1_2(self):
        proxy = self.start_tls(
            {
                "certificates": [dict(zip(("certificate", "key"), map(str, certificates.site())))],
                "minimum_version": "1.3",
            }
        )
        self.assertNotIn("HTTP/1.1 200", peers.s_client(proxy.port, "-tls1_2", send=_ASK))
        self.assertIn("HTTP/1.1 200", peers.s_client(proxy.port, "-tls1_3", send=_ASK))

    def test_records_are_no_longer_than_the_client_allows(self):
        content = "".join(f"{number:07}\n" for number in range(12_500))

        def script(served):
            while message := served.request():
                served.answer(content[:int(message.target[1:])].encode())

        proxy = self.proxy_before(self.start_origin(script).port, tls=self.site_tls)
        for version in ("-tls1_2", "-tls1_3"):
            for most in (512, 1024, 2048, 4096):
                # Up to some KiB a response leaves in memory that its records have to fit into.
                for size in (*range(1500, 4100, 100), 100_000):
                    with self.subTest(version=version, most=most, size=size):
                        ask = _ASK.replace(b"/ ", b"/%d " % size, 1)
                        out = peers.s_client(proxy.port, version, "-maxfraglen", most, "-quiet", send=ask)
                        self.assertIn(content[:size], out.replace("\r", ""))

    def test_a_part_of_a_message_ends_its_connection_and_no_other(self):
        """OpenSSL writes nothing while the rest of a KeyUpdate is missing: no loop may wait for that."""

        def script(served):
            while message := served.request():
                served.answer(b"x" * int(message.target[1:]))

        proxy = self.proxy_before(self.start_origin(script).port, tls=self.site_tls)
        for size in (100, 1_000_000):
            with self.subTest(size=size):
                forger = tlsrecords.Forger(proxy.port)
                self.addCleanup(forger.socket.close)
                ask = b"GET /%d HTTP/1.1\r\nHost: site.test\r\n\r\n" % size
                forger.socket.sendall(
                    forger.record(tlsrecords.DATA, ask) + forger.record(tlsrecords.HANDSHAKE, b"\x18\0\0\1"))
                forger.read_to_end()
                self.assertEqual(self.fetch(proxy, wire.get("/5"), tls=True).body, b"xxxxx")
        proxy.settle({"connections": 0, "exchanges": 0})

    def test_resumption_by_ticket(self):
        proxy = self.start_tls()
        for version in ("-tls1_2", "-tls1_3"):
            with self.subTest(version=version):
                session = self.folder / f"session{version}"
                first = peers.s_client(proxy.port, version, "-sess_out", session, send=_ASK)
                self.assertIn("New, TLSv1", first)
                self.assertIn("HTTP/1.1 200", first)
                second = peers.s_client(proxy.port, version, "-sess_in", session, send=_ASK)
                self.assertIn("Reused, TLSv1", second)
                self.assertIn("HTTP/1.1 200", second)

    def test_a_ticket_of_one_worker_is_good_at_another(self):
        proxy = self.start_tls(workers=2)
        session = self.folder / "session"
        peers.s_client(proxy.port, "-tls1_2", "-sess_out", session, send=_ASK)
        for _ in range(12):  # enough that both workers accept some of them
            out = peers.s_client(proxy.port, "-tls1_2", "-sess_in", session, send=_ASK)
            self.assertIn("Reused, TLSv1.2", out)

    def test_the_certificate_is_chosen_by_server_name(self):
        authority = certificates.authority()
        exact, wild = authority.issue("exact.wild.test"), authority.issue("*.wild.test")
        proxy = self.start_tls([certificates.site(), exact, wild])
        table = [
            ("site.test", "site.test"),
            ("exact.wild.test", "exact.wild.test"),
            ("EXACT.wild.test", "exact.wild.test"),
            ("other.wild.test", "*.wild.test"),
            ("a.b.wild.test", "site.test"),
            ("unknown.test", "site.test"),
        ]
        context = authority.client()
        context.check_hostname = False
        for asked, wanted in table:
            with self.subTest(asked=asked):
                connection = self.connect(proxy, tls=context, name=asked)
                subject = dict(pair[0] for pair in connection.socket.getpeercert()["subject"])
                self.assertEqual(subject["commonName"], wanted)
                self.assertEqual(connection.send(wire.get()).response().status, 200)

    def test_an_rsa_and_an_ecdsa_pair_for_one_name(self):
        authority = certificates.authority()
        pairs = [certificates.site(), authority.issue("site.test", kind="rsa")]
        proxy = self.start_tls(pairs)
        for cipher, kind in (
            ("ECDHE-ECDSA-AES128-GCM-SHA256", "ECDSA"),
            ("ECDHE-RSA-AES128-GCM-SHA256", "RSA"),
        ):
            with self.subTest(kind=kind):
                out = peers.s_client(proxy.port, "-tls1_2", "-cipher", cipher, send=_ASK)
                self.assertRegex(out, rf"Cipher is {cipher}")
                self.assertIn("HTTP/1.1 200", out)

    def test_alpn_http_1_1_is_agreed_and_strangers_are_refused(self):
        config = self.settings_for(self.origin.port, tls=self.site_tls)
        config["listeners"][0]["http_versions"] = ["http/1.1"]
        proxy = self.start_proxy(config)
        out = peers.s_client(proxy.port, "-alpn", "h2,http/1.1", send=_ASK)
        self.assertIn("ALPN protocol: http/1.1", out)
        self.assertIn("HTTP/1.1 200", out)
        out = peers.s_client(proxy.port, "-alpn", "spdy/3", send=_ASK)
        self.assertNotIn("HTTP/1.1 200", out)

    def test_renegotiation_is_refused(self):
        proxy = self.start_tls()
        # A line of a single R asks s_client to renegotiate (openssl-s_client(1)).
        out = peers.s_client(proxy.port, "-tls1_2", "-no_ign_eof", send=b"R\n")
        self.assertRegex(out, re.compile("RENEGOTIATING", re.I))
        self.assertNotIn("HTTP/1.1 200", out)
        self.assertEqual(self.fetch(proxy, tls=True).status, 200)

    def test_many_connections_with_one_request_each(self):
        proxy = self.start_tls()
        baseline = None
        context = certificates.authority().client()
        for count in (5, 100):
            for _ in range(count):
                self.assertEqual(self.fetch(proxy, tls=context, name="site.test").status, 200)
            baseline = proxy.settle(baseline)

    def test_close_notify_ends_a_connection_in_order(self):
        proxy = self.start_tls()
        connection = self.connect(proxy, tls=True)
        connection.send(wire.get(Connection="close"))
        self.assertEqual(connection.response().status, 200)
        # Python's ssl raises SSLEOFError where the peer leaves without close_notify.
        self.assertEqual(connection.socket.recv(10), b"")


@on_both_engines
class NotTLS(SystemCase):
    """Strangers at a TLS port cost nothing and hurt nobody."""

    def setUp(self):
        super().setUp()
        self.proxy = self.proxy_before(self.start_origin().port, tls=self.site_tls)
        self.fetch(self.proxy, tls=True)
        self.baseline = self.proxy.settle()

    def tearDown(self):
        self.assertEqual(self.fetch(self.proxy, tls=True).status, 200)
        self.proxy.settle(self.baseline)
        super().tearDown()

    def strange(self, data):
        connection = self.connect(self.proxy).send(data)
        try:
            answer = connection.rest()
        except ConnectionResetError:
            answer = b""
        self.assertNotIn(b"200 OK", answer)

    def test_plain_http(self):
        self.strange(wire.get())

    def test_garbage(self):
        self.strange(bytes(range(256)) * 64)

    def test_a_record_of_a_wrong_type(self):
        self.strange(b"\x17\x03\x03\x00\x05hello")

    def test_a_handshake_that_stops_halfway_and_resets(self):
        hello = _client_hello()
        for cut in (1, 5, 6, len(hello) // 2, len(hello) - 1, len(hello)):
            with self.subTest(cut=cut):
                connection = wire.Wire.connect(self.proxy.port).send(hello[:cut])
                connection.reset()

    def test_a_handshake_that_stops_halfway_and_closes(self):
        connection = self.connect(self.proxy).send(_client_hello()[:100])
        connection.finish_sending()
        connection.rest()

    def test_a_client_hello_byte_by_byte(self):
        context = certificates.authority().client()
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        session = context.wrap_bio(incoming, outgoing, server_hostname="site.test")
        plain = self.connect(self.proxy)
        while True:
            try:
                session.do_handshake()
                break
            except ssl.SSLWantReadError:
                plain.send_slowly(outgoing.read(), pause=0.0005)
                if not plain.buffer:
                    plain.fill()
                incoming.write(plain.take(len(plain.buffer)))
        session.write(wire.get(Connection="close"))
        plain.send_slowly(outgoing.read(), pause=0.0005)
        answer = b""
        while b"\r\n\r\n" not in answer:
            try:
                answer += session.read(65536)
            except ssl.SSLWantReadError:
                self.assertTrue(plain.buffer or plain.fill(), "closed without an answer")
                incoming.write(plain.take(len(plain.buffer)))
        self.assertIn(b"200 OK", answer)

    def test_a_client_that_does_not_trust_us(self):
        context = ssl.create_default_context()
        for _ in range(5):
            with self.assertRaises(ssl.SSLError):
                wire.Wire.connect(self.proxy.port, tls=context, name="site.test")

    def test_a_client_that_leaves_without_close_notify(self):
        for _ in range(10):
            connection = self.connect(self.proxy, tls=True)
            connection.send(wire.get()).response()
            plain = socket.socket(fileno=connection.socket.detach())
            plain.close()


def _client_hello():
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    session = (
        certificates.authority().client().wrap_bio(incoming, outgoing, server_hostname="site.test")
    )
    try:
        session.do_handshake()
    except ssl.SSLWantReadError:
        pass
    return outgoing.read()


@on_both_engines
class Records(SystemCase):
    def test_a_response_of_64_mib_in_both_versions(self):
        size = 64 << 20

        def script(served):
            while served.request():
                served.send(f"HTTP/1.1 200 OK\r\nContent-Length: {size}\r\n\r\n")
                for block in streams.blocks(size):
                    served.send(block)

        proxy = self.proxy_before(self.start_origin(script).port, tls=self.site_tls)
        for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
            with self.subTest(version=version):
                context = certificates.authority().client(version, version)
                connection = self.connect(proxy, tls=context, name="site.test").send(wire.get())
                response = connection.response()
                self.assertEqual(hashlib.sha256(response.body).hexdigest(), streams.digest(size))


if __name__ == "__main__":
    unittest.main()
