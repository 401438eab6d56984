"""Layer 2: whole exchanges by real clients and a real origin; bytes in are bytes out.

curl asks, nginx answers. Where an origin must be seen from inside, a scripted one answers instead.
"""

import hashlib
import json
import socket
import unittest

from harness import configuration, peers, ports, streams, wire
from harness.case import SystemCase, on_both_engines

SIZES = [0, 1, 2, 1023, 4095, 4096, 4097, 16383, 16384, 16385, 65535, 65536, 65537, 262145]
SIZES += [(1 << 20) - 1, 1 << 20, (1 << 20) + 1]


def sized(served):
    """/length/N, /chunked/N, /close/N: N known bytes in that framing."""
    while message := served.request():
        _, framing, size = message.target.split("/")
        content = b"".join(streams.blocks(int(size)))
        if framing == "length":
            served.answer(content)
        elif framing == "chunked":
            served.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
            for start in range(0, len(content), 10007):
                part = content[start : start + 10007]
                served.send(f"{len(part):x}\r\n".encode() + part + b"\r\n")
            served.send("0\r\n\r\n")
        else:
            served.send(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + content)
            return


@on_both_engines
class ByCurl(SystemCase):
    def setUp(self):
        super().setUp()
        self.nginx = self.start_nginx()
        self.content = b"".join(streams.blocks(300_000))
        self.nginx.add("file", self.content)
        self.proxy = self.proxy_before(self.nginx.port)
        self.url = f"http://site.test:{self.proxy.port}"

    def curl(self, path, *arguments, **options):
        result = peers.curl(self.url + path, *arguments, folder=self.folder, **options)
        self.assertEqual(result.exit, 0, result.errors)
        return result

    def test_get(self):
        result = self.curl("/file")
        self.assertEqual(result.status, 200)
        self.assertSameBytes(result.body, self.content)
        self.assertEqual(result.field("content-length"), str(len(self.content)))

    def test_get_http_1_0(self):
        result = self.curl("/file", "--http1.0")
        self.assertEqual(result.status, 200)
        self.assertSameBytes(result.body, self.content)
        self.assertIsNone(result.field("transfer-encoding"))

    def test_head_has_the_length_and_no_content(self):
        result = self.curl("/file", "--head")
        self.assertEqual((result.status, result.facts["size_download"]), (200, 0))
        self.assertEqual(result.field("content-length"), str(len(self.content)))

    def test_put_with_a_length(self):
        body = b"".join(streams.blocks(5 << 20))
        result = self.curl("/put/sized", "--data-binary", "@-", "-X", "PUT", input_bytes=body)
        self.assertEqual(result.status, 201)
        self.assertSameBytes((self.nginx.files / "put/sized").read_bytes(), body)

    def test_put_chunked(self):
        body = b"".join(streams.blocks(5 << 20))
        result = self.curl("/put/chunked", "-T", "-", input_bytes=body)
        self.assertEqual(result.status, 201)
        self.assertSameBytes((self.nginx.files / "put/chunked").read_bytes(), body)

    def test_put_with_expectation(self):
        body = b"".join(streams.blocks(2 << 20))
        source = self.folder / "source"
        source.write_bytes(body)
        result = self.curl("/put/expected", "-T", source, "-H", "Expect: 100-continue")
        self.assertEqual(result.status, 201)
        self.assertSameBytes((self.nginx.files / "put/expected").read_bytes(), body)

    def test_several_requests_on_one_connection(self):
        second = self.folder / "second"
        for path, status in (("/file", 200), ("/empty", 204), ("/absent", 404)):
            with self.subTest(path=path):
                # curl takes URLs and outputs in order: /file goes to its body, `path` to second.
                result = self.curl(path, self.url + "/file", "--output", second)
                self.assertSameBytes(result.body, self.content)
                self.assertEqual((result.status, result.facts["num_connects"]), (status, 0))

    def test_204_301_404_and_206_pass_through(self):
        self.assertEqual(self.curl("/empty").status, 204)
        moved = self.curl("/moved")
        self.assertEqual(moved.status, 301)
        self.assertIn("/elsewhere", moved.field("location"))
        self.assertEqual(self.curl("/absent").status, 404)
        part = self.curl("/file", "--range", "1000-1999")
        self.assertEqual(part.status, 206)
        self.assertSameBytes(part.body, self.content[1000:2000])

    def test_304_has_no_content_and_the_connection_lives_on(self):
        tag = self.curl("/file").field("etag")
        result = self.curl("/file", "-H", f"If-None-Match: {tag}")
        self.assertEqual((result.status, result.body), (304, b""))
        connection = self.connect(self.proxy)
        for _ in range(3):
            connection.send(wire.get("/file", If_None_Match=tag))
            self.assertEqual(connection.response().status, 304)

    def test_over_tls_all_bytes_arrive_too(self):
        proxy = self.proxy_before(self.nginx.port, tls=self.site_tls)
        result = peers.curl(f"https://site.test:{proxy.port}/file", folder=self.folder)
        self.assertEqual(result.exit, 0, result.errors)
        self.assertSameBytes(result.body, self.content)

    def test_an_origin_on_a_unix_socket(self):
        socket_path = f"unix:{self.nginx.directory}/nginx.sock"
        proxy = self.proxy_before(socket_path)
        result = peers.curl(f"http://site.test:{proxy.port}/file", folder=self.folder)
        self.assertEqual(result.exit, 0, result.errors)
        self.assertSameBytes(result.body, self.content)


@on_both_engines
class EverySize(SystemCase):
    """Sizes around every buffer that a proxy may have, in every framing."""

    def check_framing(self, framing, tls):
        origin = self.start_origin(sized)
        proxy = self.proxy_before(origin.port, tls=self.site_tls if tls else None)
        connection = self.connect(proxy, tls=tls)
        for size in SIZES:
            connection.send(wire.get(f"/{framing}/{size}"))
            response = connection.response()
            with self.subTest(size=size):
                self.assertEqual(response.status, 200)
                self.assertEqual(len(response.body), size)
                self.assertEqual(hashlib.sha256(response.body).hexdigest(), streams.digest(size))
            if response.closes:
                connection = self.connect(proxy, tls=tls)

    def test_downloads_by_length(self):
        self.check_framing("length", tls=False)

    def test_downloads_by_length_over_tls(self):
        self.check_framing("length", tls=True)

    def test_downloads_chunked(self):
        self.check_framing("chunked", tls=False)

    def test_downloads_chunked_over_tls(self):
        self.check_framing("chunked", tls=True)

    def test_downloads_until_close(self):
        self.check_framing("close", tls=False)

    def check_uploads(self, chunked, tls):
        origin = self.start_origin()
        proxy = self.proxy_before(origin.port, tls=self.site_tls if tls else None)
        connection = self.connect(proxy, tls=tls)
        for size in SIZES:
            body = b"".join(streams.blocks(size))
            if chunked:
                connection.send(wire.request("POST", "/", Transfer_Encoding="chunked"))
                for start in range(0, size, 9973):
                    part = body[start : start + 9973]
                    connection.send(f"{len(part):x}\r\n".encode() + part + b"\r\n")
                connection.send("0\r\n\r\n")
            else:
                connection.send(wire.request("POST", "/", body=body))
            with self.subTest(size=size):
                self.assertEqual(connection.response().status, 200)
                self.assertSameBytes(origin.requests[-1].body, body)

    def test_uploads_by_length(self):
        self.check_uploads(chunked=False, tls=False)

    def test_uploads_by_length_over_tls(self):
        self.check_uploads(chunked=False, tls=True)

    def test_uploads_chunked(self):
        self.check_uploads(chunked=True, tls=False)

    def test_uploads_chunked_over_tls(self):
        self.check_uploads(chunked=True, tls=True)


@on_both_engines
class Routes(SystemCase):
    def answering(self, name):
        def script(served):
            while message := served.request():
                served.answer(name.encode(), fields=[f"X-Path: {message.target}"])

        return self.start_origin(script)

    def test_first_match_by_listener_host_and_whole_segments(self):
        origins = {name: self.answering(name) for name in ("api", "shop", "exact", "inner", "rest")}
        config = self.settings_for(origins["rest"].port)
        config["upstreams"] = {
            name: configuration.upstream(origin.port) for name, origin in origins.items()
        }
        inner_port = ports.free_port()
        config["listeners"].append(configuration.listener(inner_port, name="inner"))
        config["routes"] = [
            {"match": {"listener": "inner"}, "upstream": "inner"},
            {"match": {"host": "shop.test", "path_exact": "/one"}, "upstream": "exact"},
            {"match": {"host": "shop.test"}, "upstream": "shop"},
            {"match": {"path": "/api"}, "upstream": "api"},
            {"match": {"host": "*.wild.test", "path": "/"}, "upstream": "rest"},
        ]
        proxy = self.start_proxy(config)
        table = [
            ("shop.test", "/one", "exact"),
            ("shop.test", "/one/", "shop"),
            ("SHOP.test", "/one?x=1", "exact"),
            ("shop.test:8080", "/other", "shop"),
            ("other.test", "/api", "api"),
            ("other.test", "/api/", "api"),
            ("other.test", "/api/x", "api"),
            ("other.test", "/apix", None),
            ("other.test", "/", None),
            ("a.wild.test", "/", "rest"),
            ("wild.test", "/", None),
        ]
        for host, path, wanted in table:
            with self.subTest(host=host, path=path):
                response = self.fetch(proxy, wire.get(path, host=host))
                if wanted:
                    self.assertEqual((response.status, response.body.decode()), (200, wanted))
                    self.assertEqual(response.get("x-path"), path)
                else:
                    self.assertEqual(response.status, 404)
        self.assertEqual(self.fetch(proxy, port=inner_port).body, b"inner")

    def test_two_servers_share_the_requests(self):
        for balance in ("round_robin", "least_requests", "random_two"):
            with self.subTest(balance=balance):
                one, two = self.answering("one"), self.answering("two")
                proxy = self.proxy_before(one.port, two.port, upstream={"balance": balance})
                answers = [self.fetch(proxy).body for _ in range(40)]
                self.assertGreater(answers.count(b"one"), 0)
                self.assertGreater(answers.count(b"two"), 0)

    def test_a_server_that_refuses_costs_no_request(self):
        alive = self.answering("alive")
        proxy = self.proxy_before(ports.free_port(), alive.port)
        for _ in range(20):
            self.assertEqual(self.fetch(proxy).body, b"alive")

    def test_every_server_refuses(self):
        proxy = self.proxy_before(ports.free_port(), ports.free_port())
        connection = self.connect(proxy)
        self.assertIn(connection.send(wire.get()).response().status, (502, 503))
        line = proxy.wait_for("exchange failed")
        self.assertIn(line["status"], ("502", "503"))
        self.assertTrue(line["reason"])

    def test_ipv6_listener(self):
        try:
            with socket.socket(socket.AF_INET6) as probe:
                probe.bind(("::1", 0))
        except OSError as error:
            self.skipTest(f"no IPv6 loopback here: {error}")
        origin = self.answering("six")
        config = self.settings_for(origin.port)
        config["listeners"][0]["address"] = f"[::1]:{ports.free_port()}"
        proxy = self.start_proxy(config)
        with socket.create_connection(("::1", proxy.port), timeout=20) as plain:
            self.assertEqual(wire.Wire(plain).send(wire.get()).response().body, b"six")


@on_both_engines
class Reuse(SystemCase):
    def test_downstream_and_upstream_connections_are_reused(self):
        origin = self.start_origin()
        proxy = self.proxy_before(origin.port)
        connection = self.connect(proxy)
        for _ in range(50):
            self.assertEqual(connection.send(wire.get()).response().status, 200)
        self.assertEqual(origin.connections, 1)
        seen = json.loads(connection.send(wire.get("/last")).response().body)
        self.assertEqual(seen["start"], "GET /last HTTP/1.1")

    def test_an_idle_upstream_connection_that_the_origin_closed_is_not_used(self):
        origin = self.start_origin()
        proxy = self.proxy_before(origin.port)
        for _ in range(5):
            response = self.fetch(proxy, wire.request("POST", "/", body=b"not twice"))
            self.assertEqual(response.status, 200)
            origin.drop_all()
            # The origin's FIN is on its way: what follows is about a connection that is known dead.
            proxy.settle({"upstream_idle": 0})
        self.assertEqual(len(origin.requests), 5)


if __name__ == "__main__":
    unittest.main()
