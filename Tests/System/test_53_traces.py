"""Layer 6: traces. A collector in Python takes OTLP over HTTP in JSON and checks what it gets by the
specification's own words: identifiers, parents, kinds, times, attributes, and who is told to come again."""

import http.server
import json
import re
import threading
import time

from harness import configuration, http2, ports, settings, wire
from harness.case import SystemCase, on_both_engines

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
FIELD = re.compile(r"00-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})")
INTEGERS = {"server.port", "http.response.status_code", "http.request.body.size", "http.response.body.size"}


class Collector:
    """Answers POST /v1/traces with the statuses of a list, then with 200."""

    def __init__(self, case, statuses=(), fields=(), hang=None):
        self.requests, self.failures, self.times = [], [], []
        self.statuses = list(statuses)
        collector = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                collector.times.append(time.monotonic())
                if hang:
                    hang.wait(settings.HANG)
                    return
                status = collector.statuses.pop(0) if collector.statuses else 200
                collector.take(self, body, status)
                self.send_response(status)
                for name, value in fields:
                    self.send_header(name, value)
                self.send_header("Content-Length", "2")
                self.end_headers()
                self.wfile.write(b"{}")

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.port = self.server.server_address[1]
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.05})
        self.thread.start()
        case.addCleanup(self.close)

    def close(self):
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()

    def take(self, handler, body, status):
        try:
            assert handler.path == "/v1/traces", handler.path
            assert handler.headers["Content-Type"] == "application/json"
            assert handler.headers["Host"] == f"127.0.0.1:{self.port}"
            self.requests.append((status, json.loads(body)))
        except (AssertionError, ValueError) as failure:
            self.failures.append(failure)

    def spans(self, count):
        """The spans that were taken, once there are so many."""
        deadline = time.monotonic() + settings.HANG
        while True:
            found = [
                span for status, document in self.requests if status == 200
                for resource in document["resourceSpans"]
                for scope in resource["scopeSpans"] for span in scope["spans"]]
            assert not self.failures, self.failures
            if len(found) >= count:
                assert len(found) == count, found
                return found
            assert time.monotonic() < deadline, f"{len(found)} of {count} spans"
            time.sleep(0.02)


def attributes(span):
    """By key; each value is of the type that its convention has."""
    result = {}
    for attribute in span["attributes"]:
        ((kind, value),) = attribute["value"].items()
        key = attribute["key"]
        assert kind == ("intValue" if key in INTEGERS else "stringValue"), attribute
        assert isinstance(value, str) and key not in result, attribute
        result[key] = int(value) if kind == "intValue" else value
    return result


def asks(path="/", *fields, method="GET"):
    return (f"{method} {path} HTTP/1.1\r\nHost: site.test:81\r\n"
            + "".join(field + "\r\n" for field in fields) + "\r\n").encode("latin-1")


class TraceCase(SystemCase):
    def serve(self, collector, *origin_ports, sample=1, **options):
        config = self.settings_for(*origin_ports, **options)
        config["tracing"] = {"endpoint": f"http://127.0.0.1:{getattr(collector, 'port', collector)}"}
        proxy_text = configuration.render(config)
        # A number, which the tests' own YAML would write as text.
        text = proxy_text.replace("tracing:\n", f"tracing:\n  sample: {sample}\n")
        proxy = self.start_proxy(text + "\n")
        proxy.port = int(config["listeners"][0]["address"].rpartition(":")[2])
        self.config = config
        return proxy

    def check_span(self, span, began):
        self.assertRegex(span["traceId"], r"^[0-9a-f]{32}$")
        self.assertRegex(span["spanId"], r"^[0-9a-f]{16}$")
        self.assertNotEqual(int(span["traceId"], 16), 0)
        self.assertNotEqual(int(span["spanId"], 16), 0)
        start, end = int(span["startTimeUnixNano"]), int(span["endTimeUnixNano"])
        self.assertIsInstance(span["startTimeUnixNano"], str)
        self.assertLessEqual(start, end)
        self.assertLess(abs(start / 1e9 - began), 60)


@on_both_engines
class Spans(TraceCase):
    def test_a_new_trace_and_what_the_server_is_told(self):
        origin = self.start_origin()
        collector = Collector(self)
        proxy = self.serve(collector, origin.port)
        began = time.time()
        self.fetch(proxy, asks("/a?secret=1", 'User-Agent: x"\xff'))
        server, client = collector.spans(2)
        for span in (server, client):
            self.check_span(span, began)
            self.assertEqual(span["status"], {})
        self.assertEqual((server["kind"], client["kind"]), (2, 3))
        self.assertEqual(server["traceId"], client["traceId"])
        self.assertNotIn("parentSpanId", server)
        self.assertEqual(client["parentSpanId"], server["spanId"])
        self.assertEqual((server["name"], client["name"]), ("GET */*", "GET"))
        self.assertLessEqual(int(server["startTimeUnixNano"]), int(client["startTimeUnixNano"]))
        self.assertLessEqual(int(client["endTimeUnixNano"]), int(server["endTimeUnixNano"]))
        # The server is a child of the client span.
        (request,) = origin.requests
        trace, parent, flags = FIELD.fullmatch(request.get("traceparent")).groups()
        self.assertEqual((trace, parent, flags), (client["traceId"], client["spanId"], "01"))
        found = attributes(server)
        self.assertEqual(found["http.request.method"], "GET")
        self.assertEqual((found["url.path"], found["url.scheme"]), ("/a", "http"))
        self.assertEqual((found["server.address"], found["server.port"]), ("site.test", 81))
        self.assertEqual((found["http.response.status_code"], found["client.address"]), (200, "127.0.0.1"))
        self.assertEqual((found["http.route"], found["network.protocol.version"]), ("*/*", "1.1"))
        self.assertTrue(found["user_agent.original"].startswith('x"'))
        self.assertNotIn("secret", json.dumps(collector.requests))
        found = attributes(client)
        self.assertEqual((found["server.address"], found["server.port"]), ("127.0.0.1", origin.port))
        self.assertEqual(found["url.full"], f"http://127.0.0.1:{origin.port}/a")
        self.assertEqual((found["http.response.status_code"], found["millrace.upstream"]), (200, "origin"))
        resource = collector.requests[0][1]["resourceSpans"][0]["resource"]["attributes"]
        named = {a["key"]: a["value"]["stringValue"] for a in resource}
        self.assertEqual(named["service.name"], "millrace")
        self.assertEqual(named["process.pid"], str(proxy.pid))

    def test_the_decision_of_a_trace_that_is_there_is_followed(self):
        origin = self.start_origin()
        collector = Collector(self)
        # Nothing of its own is sampled.
        proxy = self.serve(collector, origin.port, sample=0)
        self.fetch(proxy, asks("/none"))
        off = f"00-{TRACE}-{PARENT}-00"
        self.fetch(proxy, asks("/off", f"traceparent: {off}", "tracestate: a=b"))
        self.fetch(proxy, asks("/on", f"traceparent: 00-{TRACE}-{PARENT}-01", "tracestate: a=b"))
        self.fetch(proxy, asks("/bad", f"traceparent: 00-{TRACE.upper()}-{PARENT}-01"))
        server, client = collector.spans(2)
        self.assertEqual((server["traceId"], server["parentSpanId"]), (TRACE, PARENT))
        self.assertEqual(attributes(server)["url.path"], "/on")
        none, unsampled, sampled, bad = origin.requests
        self.assertIsNone(none.get("traceparent"))
        self.assertEqual((unsampled.get("traceparent"), unsampled.get("tracestate")), (off, "a=b"))
        self.assertEqual(sampled.all("traceparent"), [f"00-{TRACE}-{client['spanId']}-01"])
        self.assertEqual(sampled.get("tracestate"), "a=b")
        # What is not a traceparent is not touched without a trace of the proxy's own.
        self.assertEqual(bad.get("traceparent"), f"00-{TRACE.upper()}-{PARENT}-01")

    def test_http2_and_failures(self):
        dead = ports.free_port()
        collector = Collector(self)
        listener = {"http_versions": ["h2", "http/1.1"]}
        config = self.settings_for(dead)
        config["listeners"][0].update(listener)
        config["tracing"] = {"endpoint": f"http://127.0.0.1:{collector.port}"}
        text = configuration.render(config).replace("tracing:\n", "tracing:\n  sample: 1\n")
        proxy = self.start_proxy(text + "\n")
        with http2.Client(int(config["listeners"][0]["address"].rpartition(":")[2])) as client:
            self.assertEqual(client.fetch("/x").status, 502)
        server, attempt = collector.spans(2)
        self.assertEqual(server["status"], {"code": 2})
        self.assertEqual(attempt["status"], {"code": 2})
        self.assertEqual(attributes(server)["error.type"], "connect_refused")
        self.assertEqual(attributes(server)["network.protocol.version"], "2")
        self.assertEqual(attributes(attempt)["server.port"], dead)
        # A request that no server was asked about has one span.
        self.assertEqual(proxy.counters()["traces"], 1)

    def test_a_share_of_requests(self):
        origin = self.start_origin()
        collector = Collector(self)
        proxy = self.serve(collector, origin.port, sample=0.25)
        connection = self.connect(proxy)
        count = 400
        for _ in range(count):
            connection.send(asks())
            connection.response()
        traced = proxy.counters()["traces"]
        # The identifiers are random: five standard deviations, once in two million runs.
        self.assertLess(abs(traced - count / 4), 5 * (count * 0.25 * 0.75) ** 0.5)
        spans = collector.spans(2 * traced)
        self.assertEqual(len({span["spanId"] for span in spans}), len(spans))
        self.assertEqual(len({span["traceId"] for span in spans}), traced)


@on_both_engines
class SlowCollectors(TraceCase):
    def test_a_batch_is_sent_again_when_it_was_asked_for(self):
        collector = Collector(self, [503, 429], [("Retry-After", "1")])
        proxy = self.serve(collector, self.start_origin().port)
        self.fetch(proxy)
        collector.spans(2)
        self.assertEqual([status for status, _ in collector.requests], [503, 429, 200])
        # Not before the second that was asked for.
        for early, late in zip(collector.times, collector.times[1:]):
            self.assertGreaterEqual(late - early, 0.9)
        self.assertEqual(proxy.counters()["traces_dropped"], 0)

    def test_a_batch_that_is_refused_is_dropped_and_counted(self):
        collector = Collector(self, [400])
        proxy = self.serve(collector, self.start_origin().port)
        self.fetch(proxy)
        line = proxy.wait_for("traces dropped")
        self.assertEqual((line["count"], line["error"]), ("1", "status 400"))
        self.assertEqual(proxy.counters()["traces_dropped"], 1)
        self.fetch(proxy)
        collector.spans(2)

    def test_one_that_hangs_or_is_absent_stops_no_request_and_no_end(self):
        gate = threading.Event()
        self.addCleanup(gate.set)
        for collector in (Collector(self, hang=gate), ports.free_port()):
            with self.subTest(collector):
                proxy = self.serve(collector, self.start_origin().port)
                connection = self.connect(proxy)
                path = "/" + "x" * 500
                # Until the buffer of the worker is full and spans are dropped.
                deadline = time.monotonic() + settings.HANG
                while not proxy.counters()["traces_dropped"]:
                    for _ in range(100):
                        connection.send(asks(path, "User-Agent: " + "a" * 500))
                        self.assertEqual(connection.response().status, 200)
                    self.assertLess(time.monotonic(), deadline)
                proxy.stop()
