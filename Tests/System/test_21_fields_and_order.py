"""Layer 2: what an intermediary does to fields, and in which order answers come.

RFC 9110 7.6 (hop-by-hop fields, Via), RFC 9112 9.3 (persistence, pipelining), RFC 9110 15.2
(interim responses). All by raw sockets, since polite clients hide these things.
"""

import json
import time
import unittest

from harness import ports, wire
from harness.case import SystemCase, on_both_engines
from harness.origin import raw


def answered(head, body=b"", end="keep"):
    return raw(head.replace("\n", "\r\n").encode() + b"\r\n" + body, end)


class FieldsCase(SystemCase):
    def echo(self, data, **options):
        """What the origin saw of these bytes, as a request."""
        origin = self.start_origin()
        proxy = self.proxy_before(origin.port, tls=self.site_tls if options.get("tls") else None)
        response = self.fetch(proxy, data, **options)
        self.assertEqual(response.status, 200)
        return wire.Message(**{k: v for k, v in json.loads(response.body).items() if k != "body"})

    def through(self, script, data=None, method="GET"):
        """The response that the client gets from an origin with this script."""
        proxy = self.proxy_before(self.start_origin(script).port)
        return self.fetch(proxy, data, method=method)


@on_both_engines
class HopByHop(FieldsCase):
    def test_request_fields_that_belong_to_one_hop_go_no_further(self):
        seen = self.echo(
            wire.get(
                Connection="x-private, keep-alive",
                X_Private="1",
                X_Kept="2",
                Keep_Alive="timeout=5",
                Proxy_Connection="keep-alive",
                TE="gzip",
                Upgrade="websocket",
            )
        )
        names = {name.lower() for name, _ in seen.fields}
        self.assertIn("x-kept", names)
        gone = {"x-private", "keep-alive", "proxy-connection", "upgrade"}
        self.assertEqual(names & gone, set())
        self.assertNotIn("x-private", seen.tokens("connection"))
        self.assertNotIn("gzip", seen.tokens("te"))

    def test_response_fields_that_belong_to_one_hop_go_no_further(self):
        response = self.through(
            answered(
                "HTTP/1.1 200 OK\nConnection: X-Private\nX-Private: 1\nKeep-Alive: timeout=5\n"
                "Proxy-Connection: x\nX-Kept: 2\nContent-Length: 2\n",
                b"ok",
            )
        )
        names = {name.lower() for name, _ in response.fields}
        self.assertIn("x-kept", names)
        self.assertEqual(names & {"x-private", "keep-alive", "proxy-connection"}, set())

    def test_connection_cannot_nominate_what_the_next_hop_needs(self):
        seen = self.echo(
            wire.request(
                "POST",
                "/",
                body=b"abc",
                Connection="host, content-length, x-forwarded-for, via, close",
            )
        )
        self.assertEqual(seen.get("host"), "site.test")
        self.assertEqual(seen.get("content-length"), "3")
        self.assertTrue(seen.get("x-forwarded-for"))
        self.assertTrue(seen.get("via"))

    def test_close_of_one_hop_does_not_close_the_other(self):
        origin = self.start_origin()
        proxy = self.proxy_before(origin.port)
        for _ in range(5):
            connection = self.connect(proxy)
            response = connection.send(wire.get(Connection="close")).response()
            self.assertIn("close", response.tokens("connection"))
            self.assertClosed(connection)
        self.assertEqual(origin.connections, 1)

    def test_close_of_the_origin_does_not_close_the_client(self):
        proxy = self.proxy_before(
            self.start_origin(
                answered("HTTP/1.1 200 OK\nConnection: close\nContent-Length: 2\n", b"ok", "close")
            ).port
        )
        connection = self.connect(proxy)
        for _ in range(5):
            response = connection.send(wire.get()).response()
            self.assertEqual((response.status, response.body), (200, b"ok"))
            self.assertNotIn("close", response.tokens("connection"))


@on_both_engines
class Forwarded(FieldsCase):
    def test_client_address_scheme_and_host_are_told(self):
        for tls in (False, True):
            with self.subTest(tls=tls):
                seen = self.echo(wire.get("/", host="Site.test:81"), tls=tls)
                self.assertEqual(seen.get("x-forwarded-for"), "127.0.0.1")
                self.assertEqual(seen.get("x-forwarded-proto"), "https" if tls else "http")
                self.assertEqual(seen.get("x-forwarded-host"), "Site.test:81")
                self.assertEqual(seen.get("host"), "Site.test:81")

    def test_the_last_forwarded_address_is_the_one_that_we_saw(self):
        seen = self.echo(wire.get(X_Forwarded_For="203.0.113.9"))
        self.assertEqual(seen.tokens("x-forwarded-for")[-1], "127.0.0.1")

    def test_a_client_cannot_forge_the_scheme(self):
        seen = self.echo(wire.get(X_Forwarded_Proto="https"))
        self.assertEqual(seen.all("x-forwarded-proto"), ["http"])

    def test_via_is_added_to_what_was_there(self):
        seen = self.echo(wire.get(Via="1.0 first.test"))
        hops = [hop.strip() for hop in seen.get("via").split(",")]
        self.assertEqual(hops[0], "1.0 first.test")
        self.assertEqual(len(hops), 2)
        self.assertRegex(hops[1], r"^1\.1 \S+")

    def test_absolute_form_reaches_the_origin_as_origin_form(self):
        seen = self.echo(b"GET http://other.test/a?b=c HTTP/1.1\r\nHost: site.test\r\n\r\n")
        self.assertEqual(seen.target, "/a?b=c")
        self.assertEqual(seen.get("host"), "other.test")

    def test_options_with_asterisk(self):
        seen = self.echo(b"OPTIONS * HTTP/1.1\r\nHost: site.test\r\n\r\n")
        self.assertEqual(seen.start, "OPTIONS * HTTP/1.1")


@on_both_engines
class EndToEnd(FieldsCase):
    def test_target_and_method_pass_byte_for_byte(self):
        targets = ["/", "/a%2Fb/../c//d;p=1", "/?", "/?a=b&c=%00&d=[]", "/x?y?z", "/~user/'()*!$"]
        for target in targets:
            with self.subTest(target=target):
                self.assertEqual(self.echo(wire.get(target)).start, f"GET {target} HTTP/1.1")
        for method in ("DELETE", "PATCH", "PROPFIND", "x-Custom"):
            with self.subTest(method=method):
                self.assertEqual(self.echo(wire.request(method)).start, f"{method} / HTTP/1.1")

    def test_unknown_fields_keep_name_value_and_order(self):
        sent = [("X-One", "1"), ("x-tWo", 'a "b", c'), ("Cookie", "a=1"), ("Cookie", "b=2")]
        sent += [("X-Empty", ""), ("X-High", "caf\xe9")]
        lines = "".join(f"{name}: {value}\r\n" for name, value in sent)
        seen = self.echo(f"GET / HTTP/1.1\r\nHost: a.test\r\n{lines}\r\n".encode("latin-1"))
        names = {name for name, _ in sent}
        self.assertEqual([tuple(field) for field in seen.fields if field[0] in names], sent)

    def test_set_cookie_lines_are_never_joined(self):
        response = self.through(
            answered(
                "HTTP/1.1 200 Fine Enough\nSet-Cookie: a=1\nSet-Cookie: b=2\nContent-Length: 0\n"
            )
        )
        self.assertEqual(response.all("set-cookie"), ["a=1", "b=2"])
        self.assertEqual(response.status, 200)

    def test_request_trailers_reach_the_origin_or_are_dropped_never_merged(self):
        data = wire.request("POST", Transfer_Encoding="chunked", Trailer="X-Sum")
        seen = self.echo(data + b"3\r\nabc\r\n0\r\nX-Sum: 9\r\nHost: evil.test\r\n\r\n")
        self.assertIn(seen.trailers, ([["X-Sum", "9"]], []))
        self.assertEqual((seen.get("host"), seen.get("x-sum")), ("site.test", None))

    def test_response_trailers_reach_a_client_that_wants_them(self):
        script = answered(
            "HTTP/1.1 200 OK\nTransfer-Encoding: chunked\nTrailer: X-Sum\n",
            b"3\r\nabc\r\n0\r\nX-Sum: 9\r\n\r\n",
        )
        response = self.through(script, wire.get(TE="trailers", Connection="TE"))
        self.assertEqual((response.body, response.trailers), (b"abc", [("X-Sum", "9")]))

    def test_a_chunked_response_to_http_1_0_ends_by_closing(self):
        script = answered(
            "HTTP/1.1 200 OK\nTransfer-Encoding: chunked\n", b"3\r\nabc\r\n3\r\ndef\r\n0\r\n\r\n"
        )
        proxy = self.proxy_before(self.start_origin(script).port)
        for extra in (b"", b"Connection: keep-alive\r\n"):
            connection = self.connect(proxy).send(
                b"GET / HTTP/1.0\r\nHost: a\r\n" + extra + b"\r\n"
            )
            response = connection.response()
            self.assertEqual(response.body, b"abcdef")
            self.assertFalse(response.chunked)

    def test_http_1_0_closes_unless_asked_not_to(self):
        proxy = self.proxy_before(self.start_origin().port)
        connection = self.connect(proxy).send(b"GET / HTTP/1.0\r\n\r\n")
        self.assertEqual(connection.response().status, 200)
        self.assertClosed(connection)
        connection = self.connect(proxy)
        for _ in range(2):
            connection.send(b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
            response = connection.response()
            self.assertIn("keep-alive", response.tokens("connection"))

    def test_no_content_after_head_204_and_304_even_if_the_origin_names_a_length(self):
        for method, status in (("HEAD", "200 OK"), ("GET", "304 Not Modified")):
            with self.subTest(method=method, status=status):
                proxy = self.proxy_before(
                    self.start_origin(answered(f"HTTP/1.1 {status}\nContent-Length: 99\n")).port
                )
                connection = self.connect(proxy)
                for _ in range(3):
                    connection.send(wire.request(method))
                    response = connection.response(method)
                    self.assertEqual(response.status, int(status[:3]))
                    self.assertEqual(bytes(connection.buffer), b"")


@on_both_engines
class Interim(FieldsCase):
    def test_early_hints_arrive_before_the_response(self):
        script = answered(
            "HTTP/1.1 103 Early Hints\nLink: </a.css>\n\n"
            "HTTP/1.1 103 Early Hints\nLink: </b.css>\n\n"
            "HTTP/1.1 200 OK\nContent-Length: 2\n",
            b"ok",
        )
        response = self.through(script)
        self.assertEqual(response.body, b"ok")
        self.assertEqual([i.get("link") for i in response.interim], ["</a.css>", "</b.css>"])

    def test_http_1_0_gets_no_interim_response(self):
        script = answered(
            "HTTP/1.1 103 Early Hints\nLink: </a.css>\n\nHTTP/1.1 200 OK\nContent-Length: 2\n",
            b"ok",
        )
        response = self.through(script, b"GET / HTTP/1.0\r\n\r\n")
        self.assertEqual((response.status, response.body, response.interim), (200, b"ok", []))

    def test_expectation_is_answered_before_any_content(self):
        origin = self.start_origin()
        proxy = self.proxy_before(origin.port)
        connection = self.connect(proxy)
        connection.send(
            b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n"
        )
        self.assertEqual(connection.response_head().status, 100)
        connection.send(b"hello")
        self.assertEqual(connection.response().status, 200)
        self.assertEqual(origin.requests[-1].body, b"hello")
        # The connection is in order afterwards.
        self.assertEqual(connection.send(wire.get()).response().status, 200)

    def test_another_expectation_is_417(self):
        proxy = self.proxy_before(self.start_origin().port)
        self.assertEqual(self.fetch(proxy, wire.get(Expect="200-maybe")).status, 417)


@on_both_engines
class Order(FieldsCase):
    def test_pipelined_requests_are_answered_in_order(self):
        def script(served):
            while message := served.request():
                number = int(message.target.rpartition("/")[2])
                time.sleep(0.05 * (number % 3 == 0))  # later ones are ready earlier
                served.answer(str(number).encode())

        proxy = self.proxy_before(self.start_origin(script).port)
        connection = self.connect(proxy)
        connection.send(b"".join(wire.get(f"/{n}") for n in range(20)))
        bodies = [connection.response().body for _ in range(20)]
        self.assertEqual(bodies, [str(n).encode() for n in range(20)])

    def test_pipelined_requests_with_content_between(self):
        origin = self.start_origin()
        proxy = self.proxy_before(origin.port)
        connection = self.connect(proxy)
        chunked = wire.request("POST", "/2", Transfer_Encoding="chunked")
        connection.send(
            wire.request("POST", "/1", body=b"x" * 3000)
            + (chunked + b"4\r\nabcd\r\n0\r\n\r\n")
            + wire.get("/3")
            + wire.request("PUT", "/4", body=b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n")
            + wire.get("/5", Connection="close")
            + wire.get("/6")
        )
        seen = [json.loads(connection.response().body)["start"] for _ in range(5)]
        self.assertEqual([start.split()[1] for start in seen], ["/1", "/2", "/3", "/4", "/5"])
        self.assertClosed(connection)
        self.assertEqual(len(origin.requests), 5)

    def test_two_hundred_pipelined_requests_at_once(self):
        proxy = self.proxy_before(self.start_origin().port)
        connection = self.connect(proxy)
        connection.send(b"".join(wire.get(f"/{n}") for n in range(200)))
        for number in range(200):
            seen = json.loads(connection.response().body)
            self.assertEqual(seen["start"], f"GET /{number} HTTP/1.1")

    def test_a_request_that_comes_a_byte_at_a_time(self):
        proxy = self.proxy_before(self.start_origin().port)
        connection = self.connect(proxy)
        connection.send_slowly(wire.request("POST", "/slow", body=b"0123456789"), pause=0.002)
        seen = json.loads(connection.response().body)
        self.assertEqual((seen["start"], seen["body"]), ("POST /slow HTTP/1.1", "0123456789"))

    def test_requests_pipelined_before_the_end_of_the_stream_are_all_answered(self):
        proxy = self.proxy_before(self.start_origin().port)
        connection = self.connect(proxy)
        connection.send(b"".join(wire.get(f"/{number}") for number in range(3)))
        connection.finish_sending()
        starts = [json.loads(connection.response().body)["start"] for _ in range(3)]
        self.assertEqual(starts, [f"GET /{number} HTTP/1.1" for number in range(3)])
        self.assertTrue(connection.is_closed_by_peer())

    def test_a_client_that_ends_its_side_still_gets_its_answer(self):
        def script(served):
            while served.request():
                time.sleep(0.2)
                served.answer(b"late")

        proxy = self.proxy_before(self.start_origin(script).port)
        connection = self.connect(proxy).send(wire.get())
        connection.finish_sending()
        self.assertEqual(connection.response().body, b"late")
        self.assertClosed(connection)


@on_both_engines
class Retries(FieldsCase):
    def failing_first(self):
        """An origin whose first connection is reset after it read a request."""

        def script(served):
            first = served.origin.connections == 1
            while message := served.request():
                if first:
                    served.reset()
                    return
                served.answer(message.method.encode())

        return self.start_origin(script)

    def test_a_get_is_tried_again_where_nothing_had_come_back(self):
        origin = self.failing_first()
        response = self.fetch(self.proxy_before(origin.port))
        self.assertEqual((response.status, response.body), (200, b"GET"))
        self.assertEqual(origin.connections, 2)

    def test_a_post_is_never_sent_twice(self):
        origin = self.failing_first()
        response = self.fetch(self.proxy_before(origin.port), wire.request("POST", body=b"pay"))
        self.assertEqual(response.status, 502)
        self.assertEqual(len(origin.requests), 1)

    def test_retries_can_be_turned_off(self):
        origin = self.failing_first()
        proxy = self.proxy_before(origin.port, upstream={"retries": {"attempts": 0}})
        self.assertEqual(self.fetch(proxy).status, 502)
        self.assertEqual(len(origin.requests), 1)

    def test_retries_end(self):
        origin = self.start_origin(raw(b"", "reset"))
        proxy = self.proxy_before(origin.port, upstream={"retries": {"attempts": 3}})
        self.assertEqual(self.fetch(proxy).status, 502)
        self.assertEqual(len(origin.requests), 4)
        self.assertTrue(proxy.wait_for("exchange failed", status="502")["reason"])

    def test_connect_failure_then_another_server(self):
        origin = self.start_origin()
        proxy = self.proxy_before(ports.free_port(), origin.port)
        for _ in range(6):
            self.assertEqual(self.fetch(proxy, wire.request("POST", body=b"x")).status, 200)
        self.assertEqual(len(origin.requests), 6)


if __name__ == "__main__":
    unittest.main()
