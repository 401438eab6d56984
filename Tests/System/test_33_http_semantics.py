"""Layer 3: what RFC 9110 asks of an intermediary beyond framing, and what a client may not forge.

Names that a server reads as another one, trailers, Date, Max-Forwards, Host and its trailing dot,
Via and loops, and where responses are read more leniently than requests.
"""

import json
import os
import socket
import subprocess
import threading
import unittest

from harness import configuration, ports, settings, wire
from harness.case import SharedProxyCase, SystemCase, on_both_engines
from harness.origin import Origin, echo, raw
from harness.proxy import run_to_end


def seen(response):
    """What the echoing origin saw."""
    return wire.Message(**{k: v for k, v in json.loads(response.body).items() if k != "body"})


def names_of(message):
    return {name.lower() for name, _ in message.fields}


def chunked(fields=(), trailers=(), path="/"):
    """A chunked POST of five bytes."""
    lines = [f"POST {path} HTTP/1.1", "Host: site.test", *fields, "Transfer-Encoding: chunked", ""]
    lines += ["5", "hello", "0", *trailers, "", ""]
    return "\r\n".join(lines).encode()


# Spellings of a field that the proxy writes or that frames the message. CGI reads them all as one.
AMBIGUOUS = (
    "X_Forwarded_For", "X-Forwarded_For", "X.Forwarded.For", "x_forwarded-for", "X~Forwarded!For",
    "X_Forwarded_Proto", "X_Forwarded_Host", "X_Forwarded_Port", "X_Forwarded_Prefix",
    "X_Forwarded_Client_Cert", "X_Real_IP", "X-Real_IP", "Content_Length", "Transfer_Encoding",
    "Max_Forwards", "True_Client_IP", "Client_IP", "X_Original_URL",
)
# What only a proxy can know, or what makes a server act on the client's word.
UNTRUSTED = (
    "X-Forwarded", "X-Forwarded-Prefix", "X-Forwarded-Server", "X-Forwarded-Scheme",
    "X-Forwarded-Ssl", "X-Forwarded-User", "X-Forwarded-Email", "X-Forwarded-Client-Cert",
    "X-Forwarded-Uri", "X-Client-IP", "X-Cluster-Client-IP", "True-Client-IP", "Client-IP",
    "X-Original-URL", "X-Rewrite-URL", "Proxy",
)  # fmt: skip
# Neither: these pass.
PASSING = (
    "api_key", "X_Api_Key", "X-ForwardedFor", "X_ForwardedFor", "X-Real-IPs", "Content_Type",
    "X-Requested-With", "X-HTTP-Method-Override", "CF-Connecting-IP", "Proxy-Status", "XForwarded",
    "X-Forwarde", "Client-IPs",
)  # fmt: skip


@on_both_engines
class Names(SharedProxyCase):
    def dropped(self):
        return self.proxy.counters()["fields_dropped"]

    def test_spellings_of_our_own_fields_are_dropped_and_counted(self):
        before = self.dropped()
        fields = "".join(f"{name}: 6\r\n" for name in AMBIGUOUS)
        data = f"GET / HTTP/1.1\r\nHost: site.test\r\n{fields}api_key: k\r\n\r\n"
        message = seen(self.fetch(self.proxy, data))
        self.assertEqual(
            names_of(message),
            {"host", "api_key", "x-forwarded-for", "x-forwarded-proto", "x-forwarded-host", "via"},
        )
        self.assertEqual(message.get("x-forwarded-for"), "127.0.0.1")
        self.assertEqual(self.dropped() - before, len(AMBIGUOUS))

    def test_what_only_a_proxy_can_know_is_dropped(self):
        fields = "".join(f"{name}: 6\r\n" for name in UNTRUSTED)
        message = seen(
            self.fetch(self.proxy, f"GET / HTTP/1.1\r\nHost: site.test\r\n{fields}\r\n")
        )
        self.assertEqual(
            names_of(message),
            {"host", "x-forwarded-for", "x-forwarded-proto", "x-forwarded-host", "via"},
        )

    def test_other_names_pass(self):
        before = self.dropped()
        fields = "".join(f"{name}: 6\r\n" for name in PASSING)
        message = seen(
            self.fetch(self.proxy, f"GET / HTTP/1.1\r\nHost: site.test\r\n{fields}\r\n")
        )
        for name in PASSING:
            self.assertEqual(message.get(name), "6", name)
        self.assertEqual(self.dropped(), before)

    def test_a_spelling_of_content_length_does_not_frame(self):
        data = b"POST / HTTP/1.1\r\nHost: a\r\nContent_Length: 99\r\nContent-Length: 2\r\n\r\nok"
        response = self.fetch(self.proxy, data, method="POST")
        self.assertEqual(json.loads(response.body)["body"], "ok")
        self.assertEqual(seen(response).all("content-length"), ["2"])

    def test_trailers_of_such_names_are_dropped(self):
        before = self.dropped()
        bad = ("X_Forwarded_For", "Content_Length", "X-Forwarded-User", "X-Real-IP", "Host", "Via")
        trailers = [f"{name}: 6" for name in bad] + ["X-Checksum: 1", "my_sum: 2"]
        message = seen(self.fetch(self.proxy, chunked(trailers=trailers), method="POST"))
        self.assertEqual(message.trailers, [["X-Checksum", "1"], ["my_sum", "2"]])
        self.assertEqual(self.dropped() - before, 2)

    def test_responses_keep_such_names(self):
        self.origin.script = raw(
            b"HTTP/1.1 200 OK\r\nX_Forwarded_For: 1\r\nX-Forwarded-Prefix: 2\r\n"
            b"Content-Length: 0\r\n\r\n",
            end="keep",
        )
        self.addCleanup(setattr, self.origin, "script", echo)
        self.origin.drop_all()
        response = self.fetch(self.proxy)
        self.assertEqual(response.get("x_forwarded_for"), "1")
        self.assertEqual(response.get("x-forwarded-prefix"), "2")


@on_both_engines
class Underscores(SystemCase):
    def test_drop_drops_them_and_counts(self):
        config = self.settings_for(self.start_origin().port)
        config["listeners"][0]["underscores"] = "drop"
        proxy = self.start_proxy(config)
        data = chunked(
            fields=["api_key: 1", "X-Kept: 2", "_: 3", "X_Forwarded_For: 4"],
            trailers=["my_sum: 1", "X-Sum: 2"],
        )
        message = seen(self.fetch(proxy, data, method="POST"))
        self.assertEqual(names_of(message) & {"api_key", "_", "x_forwarded_for"}, set())
        self.assertEqual(message.get("x-kept"), "2")
        self.assertEqual(message.trailers, [["X-Sum", "2"]])
        self.assertEqual(proxy.counters()["fields_dropped"], 4)


def padded(trailers=b"", connection=b""):
    return (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n"
        + connection
        + b"\r\n5 \r\nhello\r\n2\t  \r\n, \r\n5;a=b \r\nworld\r\n0  \r\n"
        + trailers
        + b"\r\n"
    )


@on_both_engines
class Trailers(SharedProxyCase):
    def make_origin(self):
        return Origin(self.script)

    @staticmethod
    def script(served):
        while message := served.request():
            if message.target == "/echo":
                body = json.dumps(
                    {
                        "start": message.start, "fields": message.fields, "body": "",
                        "trailers": message.trailers, "chunked": message.chunked,
                    }
                ).encode()  # fmt: skip
                served.answer(body)
            else:
                served.send(
                    padded(
                        b"X-Private: 1\r\nX-Kept: 2\r\nSet-Cookie: a=b\r\nDate: x\r\nETag: y\r\n",
                        b"Connection: x-private, etag\r\n",
                    )
                )

    def test_those_that_connection_names_are_dropped_from_requests(self):
        for fields in (
            ["Connection: x-private, keep-alive"],
            ["Connection: x-other", "Connection: keep-alive, X-PRIVATE"],
        ):
            data = chunked(fields, ["X-Private: 1", "X-Kept: 2", "x-private: 3"], "/echo")
            message = seen(self.fetch(self.proxy, data, method="POST"))
            self.assertEqual(message.trailers, [["X-Kept", "2"]])

    def test_a_recognised_name_that_connection_names_is_dropped(self):
        data = chunked(["Connection: etag"], ["ETag: 1", "X-Kept: 2"], "/echo")
        message = seen(self.fetch(self.proxy, data, method="POST"))
        self.assertEqual(message.trailers, [["X-Kept", "2"]])

    def test_the_next_request_of_the_connection_is_not_concerned(self):
        connection = self.connect(self.proxy)
        for fields, kept in ((["Connection: x-private"], 0), ([], 1)):
            connection.send(chunked(fields, ["X-Private: 1"], "/echo"))
            self.assertEqual(len(seen(connection.response()).trailers), kept)

    def test_those_that_connection_names_are_dropped_from_responses(self):
        response = self.fetch(self.proxy, wire.get("/"))
        self.assertEqual(response.trailers, [("X-Kept", "2")])

    def test_chunk_sizes_of_responses_may_be_padded(self):
        self.assertEqual(self.fetch(self.proxy, wire.get("/")).body, b"hello, world")

    def test_chunk_sizes_of_requests_may_not(self):
        data = chunked(path="/echo").replace(b"\r\n5\r\n", b"\r\n5 \r\n")
        self.assertEqual(self.fetch(self.proxy, data, method="POST").status, 400)


@on_both_engines
class Dates(SystemCase):
    def fields_of(self, head, method="GET"):
        origin = self.start_origin(raw(head.replace("\n", "\r\n").encode() + b"\r\n", "keep"))
        proxy = self.proxy_before(origin.port)
        return self.fetch(proxy, wire.request(method), method=method)

    def test_a_response_without_one_gets_one(self):
        for head in (
            "HTTP/1.1 200 OK\nContent-Length: 0\n",
            "HTTP/1.1 204 No Content\n",
            "HTTP/1.1 304 Not Modified\nETag: a\n",
            "HTTP/1.1 500 x\nContent-Length: 0\n",
            # A Date that belongs to the hop behind us is none of the response's.
            "HTTP/1.1 200 OK\nConnection: date\nDate: Thu, 01 Jan 1970 00:00:00 GMT\n"
            "Content-Length: 0\n",
        ):
            with self.subTest(head=head):
                dates = self.fields_of(head).all("date")
                self.assertEqual(len(dates), 1)
                self.assertRegex(
                    dates[0],
                    r"^(Mon|Tue|Wed|Thu|Fri|Sat|Sun), \d\d [A-Z][a-z]{2} 20\d\d "
                    r"\d\d:\d\d:\d\d GMT$",
                )

    def test_a_response_with_one_keeps_it(self):
        response = self.fields_of("HTTP/1.1 200 OK\nDate: not even one\nContent-Length: 0\n")
        self.assertEqual(response.all("date"), ["not even one"])

    def test_an_interim_response_gets_none(self):
        response = self.fields_of(
            "HTTP/1.1 103 Early Hints\nLink: a\n\nHTTP/1.1 200 OK\nContent-Length: 0\n"
        )
        self.assertEqual(response.interim[0].all("date"), [])
        self.assertEqual(len(response.all("date")), 1)

    def test_statuses_above_599_pass(self):
        for status in (600, 999):
            origin = self.start_origin(
                raw(f"HTTP/1.1 {status} Own\r\nContent-Length: 2\r\n\r\nok".encode(), "keep")
            )
            connection = self.connect(self.proxy_before(origin.port))
            for _ in range(2):
                connection.send(wire.get())
                message = connection.read_body(connection.head(), is_response=True)
                self.assertEqual(message.start, f"HTTP/1.1 {status} Own")
                self.assertEqual(message.body, b"ok")


@on_both_engines
class MaxForwards(SharedProxyCase):
    def options(self, value, target="*", method="OPTIONS"):
        fields = f"Max-Forwards: {value}\r\n"
        data = f"{method} {target} HTTP/1.1\r\nHost: site.test\r\n{fields}\r\n"
        return self.fetch(self.proxy, data)

    def test_zero_is_answered_here(self):
        for value in ("0", "00"):
            response = self.options(value)
            self.assertEqual(response.status, 200)
            self.assertIn("GET", response.get("allow"))
            self.assertEqual(len(response.all("date")), 1)
        self.assertEqual(self.origin.requests, [])

    def test_more_is_counted_down(self):
        for value, next_value in (("1", "0"), ("10", "9"), ("99999999999999999999", "4294967294")):
            message = seen(self.options(value, "/a"))
            self.assertEqual(message.all("max-forwards"), [next_value])

    def test_of_two_lines_one_goes_on(self):
        message = seen(self.options("5\r\nMax-Forwards: 7"))
        self.assertEqual(message.all("max-forwards"), ["4"])

    def test_what_is_no_number_or_no_options_goes_on_as_it_came(self):
        self.assertEqual(seen(self.options("soon")).all("max-forwards"), ["soon"])
        self.assertEqual(seen(self.options("0", "/", "GET")).all("max-forwards"), ["0"])


@on_both_engines
class Hosts(SystemCase):
    def start_sites(self, *hosts):
        """One origin per host, and one for all others; an origin answers with its host."""
        sites = {}
        for host in (*hosts, ""):
            body = (host or "other").encode()

            def script(served, body=body):
                while served.request():
                    served.answer(body)

            sites[host] = self.start_origin(script)
        config = self.settings_for(sites[""].port)
        for index, host in enumerate(hosts):
            config["upstreams"][f"site{index}"] = configuration.upstream(sites[host].port)
            config["routes"].insert(index, {"match": {"host": host}, "upstream": f"site{index}"})
        return self.start_proxy(config), sites

    def test_a_trailing_dot_is_no_part_of_the_name(self):
        proxy, sites = self.start_sites("shop.example", "*.wild.example", "dotted.example.")
        for host, answer in (
            ("shop.example", "shop.example"),
            ("shop.example.", "shop.example"),
            ("Shop.Example.:8080", "shop.example"),
            ("shop.example..", "other"),
            ("a.wild.example.", "*.wild.example"),
            ("a.b.wild.example.:1", "*.wild.example"),
            ("wild.example.", "other"),
            ("dotted.example", "dotted.example."),
            ("dotted.example.", "dotted.example."),
            (".", "other"),
        ):
            with self.subTest(host=host):
                response = self.fetch(proxy, wire.get("/", host=host))
                self.assertEqual(response.body.decode(), answer)
        self.assertEqual(
            [message.get("host") for message in sites["shop.example"].requests],
            ["shop.example", "shop.example.", "Shop.Example.:8080"],
        )

    def test_a_request_without_a_host_gets_one_for_the_server_alone(self):
        for default in (None, "own.example:8080", "[::1]"):
            origin = self.start_origin()
            upstream = {"default_host": default} if default else {}
            config = self.settings_for(origin.port, upstream=upstream)
            # It is used neither to route nor as what the client asked for.
            config["routes"].insert(0, {"match": {"host": "own.example"}, "upstream": "nowhere"})
            config["upstreams"]["nowhere"] = configuration.upstream(ports.free_port())
            proxy = self.start_proxy(config)
            message = seen(self.fetch(proxy, b"GET / HTTP/1.0\r\n\r\n"))
            self.assertEqual(message.start, "GET / HTTP/1.1")
            self.assertEqual(message.all("host"), [default or "localhost"])
            self.assertEqual(message.all("x-forwarded-host"), [])
            message = seen(self.fetch(proxy, b"GET / HTTP/1.0\r\nHost: its.own\r\n\r\n"))
            self.assertEqual(message.all("host"), ["its.own"])

    def test_nginx_answers_a_health_checker_of_http_1_0(self):
        nginx = self.start_nginx()
        nginx.add("small", b"x" * 10)
        proxy = self.proxy_before(nginx.port)
        response = self.fetch(proxy, b"GET /small HTTP/1.0\r\n\r\n")
        self.assertEqual((response.status, response.body), (200, b"x" * 10))


@on_both_engines
class Via(SystemCase):
    def start(self, via=None, port=None):
        self.origin = None if port else self.start_origin()
        config = self.settings_for(port or self.origin.port)
        if via is not None:
            config["via"] = via
        if port:
            config["listeners"] = [configuration.listener(port)]
        return self.start_proxy(config)

    def ask(self, proxy, via):
        return self.fetch(proxy, wire.get(Via=via))

    def test_ten_of_our_own_are_a_loop(self):
        proxy = self.start()
        for count, status in ((0, 200), (1, 200), (9, 200), (10, 508), (11, 508)):
            with self.subTest(count=count):
                via = ", ".join(["1.1 other", *["1.1 Millrace"] * count])
                self.assertEqual(self.ask(proxy, via).status, status)
        response = self.ask(proxy, ", ".join(["HTTP/1.1 millrace (a comment)"] * 10))
        self.assertEqual(response.status, 508)
        self.assertIn(b"loop_detected", response.body)
        self.assertEqual(self.ask(proxy, ", ".join(["1.1 millrace2"] * 20)).status, 200)
        self.assertEqual(self.ask(proxy, ", ".join(["1.1 x millrace"] * 20)).status, 200)
        self.assertEqual(proxy.wait_for("exchange failed")["reason"], "loop_detected")

    def test_the_lines_of_via_are_counted_together(self):
        proxy = self.start()
        lines = b"Via: 1.1 millrace, 1.1 millrace\r\n" * 5
        response = self.fetch(proxy, b"GET / HTTP/1.1\r\nHost: a\r\n" + lines + b"\r\n")
        self.assertEqual(response.status, 508)

    def test_a_proxy_that_leads_to_itself_answers_508(self):
        proxy = self.start(port=ports.free_port())
        self.assertEqual(self.fetch(proxy).status, 508)
        proxy.settle({"exchanges": 0})
        self.assertEqual(proxy.counters()["requests"], 11)

    def test_off_writes_none_and_passes_others_on(self):
        proxy = self.start(via="off")
        response = self.ask(proxy, "1.1 other")
        self.assertEqual(seen(response).get("via"), "1.1 other")
        self.assertEqual(response.all("via"), [])
        # What is not written cannot be counted.
        self.assertEqual(self.ask(proxy, ", ".join(["1.1 millrace"] * 20)).status, 200)

    def test_a_name_is_written_and_counted(self):
        proxy = self.start(via="edge-1.example:8080")
        response = self.ask(proxy, ", ".join(["1.1 millrace"] * 20))
        self.assertEqual(seen(response).tokens("via")[-1], "1.1 edge-1.example:8080")
        self.assertEqual(response.get("via"), "1.1 edge-1.example:8080")
        self.assertEqual(self.ask(proxy, ", ".join(["1.0 EDGE-1.example:8080"] * 10)).status, 508)

    def test_the_longest_name_fits_beside_the_longest_host(self):
        name = "v" * 128
        origin = self.start_origin()
        label = "h" * 60 + "."
        config = self.settings_for(
            origin.port, via=name, upstream={"default_host": (label * 4)[:-1] + ":65535"}
        )
        proxy = self.start_proxy(config)
        response = self.fetch(proxy, b"GET / HTTP/1.0\r\n\r\n")
        self.assertEqual(response.get("via"), f"1.1 {name}")
        self.assertEqual(seen(response).get("via"), f"1.0 {name}")


class Listening:
    """A server at one address that answers every request with its own address."""

    def __init__(self, address, port):
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        self.answer = f"HTTP/1.1 200 OK\r\nContent-Length: {len(address)}\r\n\r\n{address}"
        self.listener = socket.create_server((address, port), family=family)
        threading.Thread(target=self.run, daemon=True).start()

    def run(self):
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self.serve, args=(connection,), daemon=True).start()

    def serve(self, connection):
        served = wire.Wire(connection)
        try:
            while served.request():
                served.send(self.answer)
        except (OSError, wire.Truncated):
            pass
        connection.close()

    def close(self):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()


@on_both_engines
class Addresses(SystemCase):
    """A name with several addresses is one server. /etc/hosts is replaced for the proxy alone."""

    NAME = "twofold.test"

    def setUp(self):
        super().setUp()
        if os.geteuid() != 0:
            self.skipTest("a mount namespace of one's own needs root")
        hosts = self.folder / "hosts"
        hosts.write_text(f"::1 {self.NAME}\n127.0.0.1 {self.NAME}\n", encoding="ascii")
        self.wrapper = [
            *settings.WRAPPER, "unshare", "--mount", "sh", "-c",
            f'mount --bind "{hosts}" /etc/hosts && exec "$@"', "sh",
        ]  # fmt: skip
        tried = subprocess.run([*self.wrapper, "true"], capture_output=True, check=False)
        if tried.returncode != 0:
            self.skipTest(f"no mount namespaces here: {tried.stderr.decode().strip()}")
        self.port = ports.free_port()

    def start_named(self, **upstream):
        config = self.settings_for(
            f"{self.NAME}:{self.port}", upstream={"retries": {"attempts": 0}, **upstream}
        )
        return self.start_proxy(config, wrapper=self.wrapper)

    def listen(self, address):
        server = Listening(address, self.port)
        self.addCleanup(lambda: server.listener.fileno() < 0 or server.close())
        return server

    def test_every_address_is_tried_and_the_one_that_worked_is_remembered(self):
        first = self.listen("127.0.0.1")
        proxy = self.start_named(idle_connections=0)
        for _ in range(5):
            self.assertEqual(self.fetch(proxy).body, b"127.0.0.1")
        counters = proxy.counters()
        self.assertEqual(counters["upstream_connects"], 6)
        self.assertEqual(counters["retries"], 0)
        # It moves to the other address.
        first.close()
        second = self.listen("::1")
        for _ in range(3):
            self.assertEqual(self.fetch(proxy).body, b"::1")
        self.assertEqual(proxy.counters()["upstream_connects"], 6 + 4)
        second.close()
        response = self.fetch(proxy)
        self.assertEqual(response.status, 502)
        self.assertIn(b"connect_refused", response.body)
        proxy.settle({"exchanges": 0, "upstream_connections": 0, "frames": 0})

    def test_content_is_sent_once_to_the_address_that_answers(self):
        self.listen("127.0.0.1")
        proxy = self.start_named()
        body = b"x" * 300_000
        response = self.fetch(proxy, wire.request("POST", body=body), method="POST")
        self.assertEqual(response.body, b"127.0.0.1")

    def test_load_finds_the_address_that_listens(self):
        self.listen("127.0.0.1")
        code, out, errors = run_to_end(
            ["load", "--duration", "300ms", "--connections", "2", f"http://{self.NAME}:{self.port}/"],
            wrapper=self.wrapper,
        )
        self.assertEqual(code, 0, out + errors)


if __name__ == "__main__":
    unittest.main()
