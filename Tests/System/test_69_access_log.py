"""Layer 6: the access log. One line for each exchange, read by code that shares none with the proxy: a
regular expression for the combined format, the json module, and receivers of syslog.

What cannot be written stops no request: that is asserted with a full device, a directory that is gone, a
FIFO that nobody reads, and a receiver that does not receive.
"""

import calendar
import json
import os
import re
import select
import shutil
import signal
import socket
import threading
import time

from harness import configuration, http2, ports, settings
from harness.case import SystemCase, on_both_engines
from harness.proxy import run_to_end
from test_37_tunnels import websocket

COMBINED = re.compile(
    r'(?P<address>\S+) - - \[(?P<time>\d\d/[A-Z][a-z]{2}/\d{4}:\d\d:\d\d:\d\d \+0000)\] '
    r'"(?P<request>(?:[^"\\]|\\x[0-9A-F]{2})*)" (?P<status>\d{3}|-) (?P<bytes>\d+)'
    r' "(?P<referer>(?:[^"\\]|\\x[0-9A-F]{2})*)" "(?P<agent>(?:[^"\\]|\\x[0-9A-F]{2})*)"\n'
)
SYSLOG = re.compile(
    rb"<(?P<priority>\d+)>1 (?P<time>\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z) (?P<host>\S+) (?P<tag>\S+)"
    rb" (?P<pid>\d+) access - (?P<line>.*)", re.S)


def asks(path="/", *fields):
    """A request with these fields, each a line."""
    return (f"GET {path} HTTP/1.1\r\nHost: site.test\r\n".encode()
            + b"".join(f if isinstance(f, bytes) else f.encode() for f in map(ending, fields)) + b"\r\n")


def ending(field):
    return (field if isinstance(field, bytes) else field.encode()) + b"\r\n"


class AccessCase(SystemCase):
    def serve(self, *origin_ports, log=None, **options):
        """A proxy whose access log is a file."""
        self.log = self.folder / "access.log"
        config = self.settings_for(*origin_ports, **options)
        config["access_log"] = {"to": str(self.log), **(log or {})}
        self.config = config
        self.proxy = self.start_proxy(config)
        return self.proxy

    def lines(self, count, path=None):
        """The lines of the log once there are so many, each with its end."""
        path = path or self.log
        deadline = time.monotonic() + settings.HANG
        while True:
            text = path.read_text("utf-8") if path.exists() else ""
            found = text.splitlines(keepends=True)
            if len(found) >= count and text.endswith("\n"):
                self.assertEqual(len(found), count, text)
                return found
            self.assertLess(time.monotonic(), deadline, f"{len(found)} of {count} lines\n{text}")
            time.sleep(0.01)

    def objects(self, count, path=None):
        return [json.loads(line) for line in self.lines(count, path)]

    def reload(self, change):
        change(self.config)
        count = len(self.proxy.find("configuration reloaded")) + 1
        self.proxy.file.write_text(configuration.render(self.config) + "\n", encoding="utf-8")
        self.proxy.signal(signal.SIGHUP)
        self.proxy.wait_for("configuration reloaded", count=count)


@on_both_engines
class Formats(AccessCase):
    def test_combined_and_bytes_that_would_forge_a_line(self):
        proxy = self.serve(self.start_origin().port)
        hostile = b'evil" 200 1 "\\x22\xff\xc3\xa9\t'
        began = int(time.time())
        self.fetch(proxy, asks("/a?b=c", b"User-Agent: " + hostile, "Referer: http://x/"))
        self.fetch(proxy, asks("/plain"))
        first, second = (COMBINED.fullmatch(line) for line in self.lines(2))
        self.assertEqual(first["address"], "127.0.0.1")
        self.assertEqual(first["request"], "GET /a?b=c HTTP/1.1")
        self.assertEqual(first["status"], "200")
        self.assertEqual(first["referer"], "http://x/")
        agent = re.sub(r"\\x(..)", lambda m: chr(int(m[1], 16)), first["agent"]).encode("latin-1")
        self.assertEqual(agent, hostile.rstrip())
        self.assertGreater(int(first["bytes"]), 0)
        stamp = time.strptime(first["time"].split()[0], "%d/%b/%Y:%H:%M:%S")
        self.assertIn(calendar.timegm(stamp), range(began - 1, int(time.time()) + 2))
        self.assertEqual((second["referer"], second["agent"]), ("-", "-"))

    def test_common(self):
        proxy = self.serve(self.start_origin().port, log={"format": "common"})
        self.fetch(proxy)
        (line,) = self.lines(1)
        self.assertTrue(COMBINED.fullmatch(line.rstrip("\n") + ' "-" "-"\n'), line)

    def test_json_over_every_protocol(self):
        proxy = self.serve(self.start_origin().port, tls=self.site_tls, log={"format": "json"})
        body = self.fetch(proxy, asks("/one?q=%22", "X-Request-ID: r1", b"User-Agent: \xc3\xa9\"\xff"), tls=True).body
        with http2.Client(proxy.port, tls=True) as client:
            client.fetch("/two", method="GET")
        one, two = self.objects(2)
        self.assertEqual(
            (one["method"], one["host"], one["path"], one["query"], one["status"], one["http_version"]),
            ("GET", "site.test", "/one", "q=%22", 200, "HTTP/1.1"))
        self.assertEqual(one["response_bytes"], len(body))
        self.assertEqual((one["request_id"], one["listener"], one["upstream"]), ("r1", "edge", "origin"))
        self.assertEqual(one["server"], self.config["upstreams"]["origin"]["servers"][0])
        self.assertEqual((one["scheme"], one["tls_server_name"], one["termination"]), ("https", "site.test", "complete"))
        self.assertRegex(one["tls_version"], r"^TLSv1\.[23]$")
        self.assertTrue(one["user_agent"].startswith('é"'), one["user_agent"])
        self.assertGreaterEqual(one["duration"], one["first_byte_duration"])
        self.assertGreaterEqual(one["first_byte_duration"], one["queue_duration"])
        self.assertEqual((two["http_version"], two["tls_alpn"], two["path"]), ("HTTP/2.0", "h2", "/two"))
        self.assertEqual(two["stream"], 1)
        self.assertNotEqual(one["exchange_id"], two["exchange_id"])

    def test_a_template_and_chosen_fields(self):
        template = "{{{method}}} {path} {query} {status} {request_bytes} {trace_id}"
        proxy = self.serve(self.start_origin().port, log={"format": template, "redact_query": True})
        trace = "0af7651916cd43dd8448eb211c80319c"
        self.fetch(proxy, asks("/p?secret=1", f"traceparent: 00-{trace}-b7ad6b7169203331-01"))
        self.assertEqual(self.lines(1), [f"{{GET}} /p - 200 0 {trace}\n"])
        self.reload(lambda c: c["access_log"].update(
            {"format": "json", "fields": ["status", "path", "query"], "redact_query": False}))
        self.fetch(proxy, asks("/p?secret=1"))
        self.assertEqual(self.lines(2)[1], '{"status":200,"path":"/p","query":"secret=1"}\n')

    def test_a_query_without_a_path_is_redacted_too(self):
        audit = self.folder / "audit"
        proxy = self.serve(
            self.start_origin().port, log={"format": "{path}|{query}|{target}|{request}", "redact_query": True},
            audit={"directory": str(audit), "redact_query": True})
        for target in ("http://site.test?token=secret", "http://site.test/?token=secret"):
            answer = self.fetch(proxy, f"GET {target} HTTP/1.1\r\nHost: site.test\r\n\r\n".encode())
            self.assertEqual(answer.status, 200)
        self.assertEqual(self.lines(2), ["/|-|/|GET / HTTP/1.1\n"] * 2)
        proxy.stop()
        records = b"".join(file.read_bytes() for file in audit.iterdir() if file.suffix == ".jsonl")
        self.assertEqual(records.count(b'"path":"/"'), 2)
        self.assertNotIn(b"secret", records)

    def test_what_is_refused_before_a_route_has_a_line_too(self):
        proxy = self.serve(
            self.start_origin().port, log={"format": "{status} {termination} {rejection} {path}"},
            limits={"request_head": "1KiB", "request_target": "256"})
        self.fetch(proxy, b"GET / HTTP/1.1\r\nBad Name: x\r\n\r\n")
        self.fetch(proxy, asks("/" + "x" * 300))
        self.fetch(proxy, asks("/", "X-Long: " + "x" * 2000))
        lines = [line.split() for line in self.lines(3)]
        self.assertEqual([line[0] for line in lines], ["400", "414", "431"])
        for line in lines:
            self.assertEqual((line[1], line[3]), ("bad_request", "-"))
            self.assertNotEqual(line[2], "-")

    def test_a_request_without_a_route_a_dead_server_and_a_client_that_leaves(self):
        gate = threading.Event()
        self.addCleanup(gate.set)

        def script(served):
            while served.request():
                gate.wait(settings.HANG)
                served.answer()

        dead = ports.free_port()
        config_routes = [{"match": {"path": "/dead"}, "upstream": "dead"},
                         {"match": {"path": "/held"}, "upstream": "origin"}]
        self.log = self.folder / "access.log"
        config = self.settings_for(self.start_origin(script).port, routes=config_routes)
        config["upstreams"]["dead"] = configuration.upstream(dead)
        config["access_log"] = {"to": str(self.log), "format": "{path} {status} {termination} {route} {upstream}"}
        proxy = self.start_proxy(config)
        self.fetch(proxy, asks("/none"))
        self.fetch(proxy, asks("/dead"))
        self.assertEqual(self.lines(2), [
            "/none 404 no_route - -\n", "/dead 502 connect_refused */dead/* dead\n"])
        held = self.connect(proxy).send(asks("/held"))
        proxy.settle({"exchanges": 1})
        held.reset() if hasattr(held, "reset") else held.close()
        path, status, termination, route, upstream = self.lines(3)[2].split()
        self.assertEqual((path, status, route, upstream), ("/held", "-", "*/held/*", "origin"))
        self.assertTrue(termination.startswith("downstream_"), termination)

    def test_long_values_go_to_the_line_whole(self):
        # Longer than the memory that most requests' texts lie in.
        for size in (900, 1100, 4000):
            with self.subTest(size):
                proxy = self.serve(self.start_origin().port, log={"format": "{path}|{user_agent}"})
                path, agent = "/" + "p" * size, "a" * 700
                self.fetch(proxy, asks(path, "User-Agent: " + agent))
                self.assertEqual(self.lines(1), [f"{path}|{agent}\n"])
                proxy.settle({"cold_bytes": 0})
                proxy.stop()
                self.log.unlink()

    def test_listeners_and_routes_may_have_none(self):
        origin = self.start_origin()
        self.log = self.folder / "access.log"
        config = self.settings_for(origin.port, routes=[
            {"match": {"path": "/health"}, "upstream": "origin", "access_log": "off"},
            {"match": {"path": "/"}, "upstream": "origin"}])
        quiet = ports.free_port()
        config["listeners"].append({**configuration.listener(quiet, name="quiet"), "access_log": "off"})
        config["access_log"] = {"to": str(self.log), "format": "{listener} {path}"}
        proxy = self.start_proxy(config)
        self.fetch(proxy, asks("/health"))
        self.fetch(proxy, asks("/x"), port=quiet)
        self.fetch(proxy, asks("/y"))
        self.assertEqual(self.lines(1), ["edge /y\n"])


@on_both_engines
class Tunnels(AccessCase):
    def test_a_tunnel_has_its_line_at_its_end_with_its_bytes(self):
        def script(served):
            served.request()
            served.send(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
                        b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n")
            while data := served.socket.recv(1 << 16):
                served.send(data)

        proxy = self.serve(self.start_origin(script).port,
                           log={"format": "{status} {request_bytes} {response_bytes} {termination}"})
        tunnel = self.connect(proxy).send(websocket())
        self.assertEqual(tunnel.response_head().status, 101)
        tunnel.send(b"12345")
        self.assertEqual(tunnel.take(5), b"12345")
        self.assertFalse(self.log.exists() and self.log.read_text())
        tunnel.finish_sending()
        tunnel.rest()
        self.assertEqual(self.lines(1), ["101 5 5 complete\n"])

    def test_a_connection_that_is_passed_on(self):
        def script(served):
            served.send(bytes(served.buffer))
            while data := served.socket.recv(1 << 16):
                served.send(data)
            served.socket.shutdown(socket.SHUT_WR)

        config = self.settings_for(self.start_origin(script).port)
        del config["routes"]
        config["listeners"][0].update({"protocol": "relay", "upstream": "origin"})
        self.log = self.folder / "access.log"
        config["access_log"] = {"to": str(self.log), "format": "{request} {status} {request_bytes} {response_bytes} {upstream}"}
        proxy = self.start_proxy(config)
        connection = self.connect(proxy).send(b"hello")
        self.assertEqual(connection.take(5), b"hello")
        connection.finish_sending()
        connection.rest()
        self.assertEqual(self.lines(1), ["- - 5 5 origin\n"])


@on_both_engines
class Rotation(AccessCase):
    def rotate(self, reopen):
        """Requests all the while; the file is moved and made anew, many times: no line is lost."""
        proxy = self.serve(self.start_origin().port, log={"format": "{path}"}, workers=2)
        stop, asked = threading.Event(), []

        def ask(number):
            connection = self.connect(proxy)
            count = 0
            while not stop.is_set():
                path = f"/{number}/{count}"
                connection.send(asks(path))
                connection.response()
                asked.append(path)
                count += 1

        threads = [threading.Thread(target=ask, args=(n,)) for n in range(4)]
        for thread in threads:
            thread.start()
        moved = []
        for number in range(5):
            deadline = time.monotonic() + settings.HANG
            while not (self.log.exists() and self.log.stat().st_size):
                self.assertLess(time.monotonic(), deadline)
                time.sleep(0.005)
            old = self.log.with_suffix(f".{number}")
            os.rename(self.log, old)
            moved.append(old)
            reopen(proxy)
        stop.set()
        for thread in threads:
            thread.join()
        deadline = time.monotonic() + settings.HANG
        while True:
            files = [path for path in [*moved, self.log] if path.exists()]
            found = [line for path in files for line in path.read_text().splitlines()]
            if len(found) >= len(asked):
                break
            self.assertLess(time.monotonic(), deadline, f"{len(found)} of {len(asked)} lines")
            time.sleep(0.02)
        self.assertEqual(sorted(found), sorted(asked))
        self.assertEqual(proxy.counters()["access_log_dropped"], 0)

    def test_by_sigusr1(self):
        self.rotate(lambda proxy: proxy.signal(signal.SIGUSR1))

    def test_by_sighup(self):
        self.rotate(lambda proxy: proxy.signal(signal.SIGHUP))

    def test_by_the_admin_command(self):
        proxy = self.serve(self.start_origin().port, log={"format": "{path}"},
                           admin={"address": f"unix:{self.folder}/admin.sock"})
        self.fetch(proxy, asks("/1"))
        self.lines(1)
        old = self.log.with_suffix(".old")
        os.rename(self.log, old)
        code, out, _ = run_to_end(["ctl", "reopen-logs", "--address", f"unix:{self.folder}/admin.sock"])
        self.assertEqual((code, out.strip()), (0, "reopened"))
        self.fetch(proxy, asks("/2"))
        self.assertEqual(self.lines(1), ["/2\n"])
        self.assertEqual(self.lines(1, old), ["/1\n"])

    def test_a_file_that_was_moved_is_made_anew_without_a_signal(self):
        proxy = self.serve(self.start_origin().port, log={"format": "{path}"})
        self.fetch(proxy, asks("/1"))
        self.lines(1)
        os.rename(self.log, self.log.with_suffix(".old"))
        deadline = time.monotonic() + settings.HANG
        while not self.log.exists():
            self.fetch(proxy, asks("/x"))
            self.assertLess(time.monotonic(), deadline)
            time.sleep(0.2)


@on_both_engines
class Unwritable(AccessCase):
    def test_a_full_device(self):
        proxy = self.serve(self.start_origin().port)
        self.fetch(proxy)
        self.lines(1)
        self.reload(lambda c: c["access_log"].update(to="/dev/full"))
        self.fetch(proxy)
        line = proxy.wait_for("cannot write access log")
        self.assertIn("No space left", line["error"])
        self.assertEqual(self.fetch(proxy).status, 200)
        # What waits goes to the place that is named next.
        self.reload(lambda c: c["access_log"].update(to=str(self.log)))
        self.fetch(proxy)
        self.assertEqual(len(self.lines(4)), 4)
        self.assertEqual(proxy.counters()["access_log_dropped"], 0)

    def test_a_directory_that_is_missing_comes(self):
        folder = self.folder / "logs"
        config = self.settings_for(self.start_origin().port)
        log = folder / "access.log"
        config["access_log"] = {"to": str(log), "format": "{path}"}
        proxy = self.start_proxy(config)
        self.assertEqual(self.fetch(proxy, asks("/1")).status, 200)
        self.assertIn("No such file", proxy.wait_for("cannot write access log")["error"])
        folder.mkdir()
        proxy.wait_for("access log writable again")
        self.assertEqual(self.lines(1, log), ["/1\n"])
        # And goes again, with the file open in it.
        shutil.rmtree(folder)
        deadline = time.monotonic() + settings.HANG
        while len(proxy.find("cannot write access log")) < 2:
            self.assertEqual(self.fetch(proxy, asks("/2")).status, 200)
            self.assertLess(time.monotonic(), deadline)
            time.sleep(0.1)

    def test_a_fifo_that_nobody_reads_costs_lines_and_no_request(self):
        fifo = self.folder / "fifo"
        os.mkfifo(fifo)
        reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
        self.addCleanup(os.close, reader)
        config = self.settings_for(self.start_origin().port)
        config["access_log"] = {"to": str(fifo), "format": "{path}"}
        proxy = self.start_proxy(config)
        self.drop(proxy)
        # Whoever reads again gets whole lines.
        data = b""
        deadline = time.monotonic() + settings.HANG
        while not data.endswith(b"/last\n"):
            self.assertLess(time.monotonic(), deadline, data[-100:])
            select.select([reader], [], [], 0.1)
            try:
                data += os.read(reader, 1 << 20)
            except BlockingIOError:
                continue
            if b"/last" not in data:
                self.fetch(proxy, asks("/last"))
        for line in data.decode().splitlines():
            self.assertIn(line, (self.path, "/last"))
        proxy.wait_for("access log lines dropped")

    def test_who_else_writes_to_a_pipe_does_so_between_lines(self):
        fifo = self.folder / "shared"
        os.mkfifo(fifo)
        reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
        self.addCleanup(os.close, reader)
        other = os.open(fifo, os.O_WRONLY | os.O_NONBLOCK)
        self.addCleanup(os.close, other)
        # So that much waits before the first of it is read.
        while True:
            try:
                os.write(other, b"+" * 99 + b"\n")
            except BlockingIOError:
                break
        config = self.settings_for(self.start_origin().port)
        config["access_log"] = {"to": str(fifo), "format": "={path}"}
        proxy = self.start_proxy(config)
        connection = self.connect(proxy)
        for _ in range(300):
            connection.send(asks("/" + "x" * 700)).response()
        found = b""
        deadline = time.monotonic() + settings.HANG
        while found.count(b"=") < 300 or not found.endswith(b"\n"):
            self.assertLess(time.monotonic(), deadline)
            try:
                found += os.read(reader, 4096)
                os.write(other, b"+" * 99 + b"\n")
            except BlockingIOError:
                time.sleep(0.002)
        lines = found.split(b"\n")[:-1]
        self.assertEqual({line for line in lines if line not in (b"+" * 99, b"=/" + b"x" * 700)}, set())
        self.assertEqual(lines.count(b"=/" + b"x" * 700), 300)

    def test_a_directory_that_is_missing_is_said_to_be_there_once_it_is(self):
        where = self.folder / "later"
        config = self.settings_for(self.start_origin().port)
        config["access_log"] = {"to": str(where / "access.log")}
        proxy = self.start_proxy(config)
        proxy.wait_for("cannot write access log")
        proxy.counters()
        self.assertEqual(proxy.find("access log writable again"), [])
        where.mkdir()
        # By itself, though no line comes.
        proxy.wait_for("access log writable again")

    def drop(self, proxy):
        """Asks until lines are dropped."""
        self.path = "/" + "x" * 7000
        connection = self.connect(proxy)
        deadline = time.monotonic() + settings.HANG
        while True:
            for _ in range(50):
                connection.send(asks(self.path))
                self.assertEqual(connection.response().status, 200)
            if proxy.counters()["access_log_dropped"]:
                return
            self.assertLess(time.monotonic(), deadline)

    def test_standard_output_that_nobody_reads(self):
        config = self.settings_for(self.start_origin().port)
        config["access_log"] = {"to": "stdout", "format": "{path}"}
        read, write = os.pipe()
        self.addCleanup(os.close, read)
        # The proxy's own log goes to another place.
        wrapper = ["/bin/bash", "-c", f'exec "$0" "$@" >&{write}']
        proxy = self.start_proxy(config, wrapper=wrapper, descriptors=(write,))
        os.close(write)
        self.fetch(proxy, asks("/1"))
        self.assertEqual(os.read(read, 1000), b"/1\n")
        self.drop(proxy)
        # It ends in its time all the same.
        proxy.stop()


@on_both_engines
class Syslog(AccessCase):
    def receive(self, family, address, log):
        receiver = socket.socket(family, socket.SOCK_DGRAM)
        self.addCleanup(receiver.close)
        receiver.bind(address)
        receiver.settimeout(settings.HANG)
        config = self.settings_for(self.start_origin().port)
        where = f"unix:{address}" if family == socket.AF_UNIX else "127.0.0.1:%d" % receiver.getsockname()[1]
        config["access_log"] = {"to": "syslog", "format": "{path} {status}", "syslog": {"address": where, **log}}
        self.config = config
        self.proxy = self.start_proxy(config)
        self.fetch(self.proxy, asks("/1"))
        self.fetch(self.proxy, asks("/2"))
        return receiver, [SYSLOG.fullmatch(receiver.recv(65536)) for _ in range(2)]

    def test_a_unix_socket_that_comes_and_goes(self):
        path = str(self.folder / "log")
        receiver, (first, second) = self.receive(socket.AF_UNIX, path, {})
        self.assertEqual((first["line"], second["line"]), (b"/1 200", b"/2 200"))
        # local7, informational.
        self.assertEqual(first["priority"], b"190")
        self.assertEqual((first["tag"], int(first["pid"])), (b"millrace", self.proxy.pid))
        self.assertEqual(first["host"].decode(), socket.gethostname())
        receiver.close()
        os.unlink(path)
        self.assertEqual(self.fetch(self.proxy, asks("/3")).status, 200)
        self.proxy.wait_for("cannot write access log")
        again = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.addCleanup(again.close)
        again.bind(path)
        again.settimeout(settings.HANG)
        self.assertEqual(SYSLOG.fullmatch(again.recv(65536))["line"], b"/3 200")

    def test_udp(self):
        receiver, (first, second) = self.receive(
            socket.AF_INET, ("127.0.0.1", 0), {"facility": "daemon", "tag": "edge"})
        self.assertEqual((first["line"], second["line"]), (b"/1 200", b"/2 200"))
        self.assertEqual((first["priority"], first["tag"]), (b"30", b"edge"))
        port = receiver.getsockname()[1]
        receiver.close()
        deadline = time.monotonic() + settings.HANG
        # Nobody is there: the kernel says so, and lines are lost as with UDP they are.
        while not self.proxy.counters()["access_log_dropped"]:
            self.assertEqual(self.fetch(self.proxy, asks("/3")).status, 200)
            self.assertLess(time.monotonic(), deadline)
        self.assertGreater(port, 0)


@on_both_engines
class Sampling(AccessCase):
    COUNT = 600

    def ask(self, proxy, path):
        connection = self.connect(proxy)
        for _ in range(self.COUNT):
            connection.send(asks(path))
            connection.response()

    def test_a_share_of_exchanges_and_all_that_fail(self):
        def script(served):
            while message := served.request():
                served.answer(status="500 Oops" if message.target == "/fails" else "200 OK")

        proxy = self.serve(self.start_origin(script).port, log={"format": "{path}"})
        # A number, which the tests' own YAML would write as text.
        text = proxy.file.read_text().replace('format: "{path}"', 'format: "{path}"\n  sample: 0.25')
        proxy.file.write_text(text)
        proxy.signal(signal.SIGHUP)
        proxy.wait_for("configuration reloaded")
        self.ask(proxy, "/works")
        self.ask(proxy, "/fails")
        proxy.stop()
        found = self.log.read_text().splitlines()
        self.assertEqual(found.count("/fails"), self.COUNT)
        # By number, so the same in each run: within four standard deviations of a quarter.
        mean, deviation = self.COUNT / 4, (self.COUNT * 0.25 * 0.75) ** 0.5
        self.assertLess(abs(found.count("/works") - mean), 4 * deviation)


@on_both_engines
class Reload(AccessCase):
    def test_the_log_comes_changes_and_goes(self):
        self.config = self.settings_for(self.start_origin().port)
        proxy = self.proxy = self.start_proxy(self.config)
        one, two = self.folder / "one.log", self.folder / "two.log"
        self.fetch(proxy, asks("/0"))
        kept = self.connect(proxy)
        kept.send(asks("/0")).response()
        self.reload(lambda c: c.update(access_log={"to": str(one), "format": "{path}"}))
        kept.send(asks("/1")).response()
        self.assertEqual(self.lines(1, one), ["/1\n"])
        self.reload(lambda c: c.update(access_log={"to": str(two), "format": "{status} {path}"}))
        kept.send(asks("/2")).response()
        self.assertEqual(self.lines(1, two), ["200 /2\n"])
        self.reload(lambda c: c.pop("access_log"))
        kept.send(asks("/3")).response()
        proxy.stop()
        self.assertEqual(one.read_text(), "/1\n")
        self.assertEqual(two.read_text(), "200 /2\n")

    def test_no_line_is_lost_when_the_log_comes(self):
        self.config = self.settings_for(self.start_origin().port)
        proxy = self.proxy = self.start_proxy(self.config)
        path = self.folder / "one.log"
        ended = threading.Event()

        def ask():
            connection = self.connect(proxy)
            while not ended.is_set():
                connection.send(asks("/x")).response()

        asking = [threading.Thread(target=ask) for _ in range(4)]
        for thread in asking:
            thread.start()
        try:
            for _ in range(5):
                self.reload(lambda c: c.update(access_log={"to": str(path), "format": "{path}"}))
                time.sleep(0.1)
                self.reload(lambda c: c.pop("access_log"))
            # One that a worker wrote as the log went waits until the next one comes.
            self.reload(lambda c: c.update(access_log={"to": str(path), "format": "{path}"}))
        finally:
            ended.set()
            for thread in asking:
                thread.join()
        counters = proxy.counters()
        proxy.stop()
        self.assertGreater(counters["access_log_lines"], 0)
        found = path.read_text().splitlines()
        self.assertEqual(len(found), counters["access_log_lines"] - counters["access_log_dropped"])
        # A request that came before the log has a line without what was not kept of it.
        self.assertEqual(set(found) - {"/x", "-"}, set())
        self.assertLess(found.count("-"), 50)

    def test_a_rejected_one_leaves_no_listener_behind(self):
        proxy = self.serve(self.start_origin().port, admin={"address": f"unix:{self.folder}/a.sock"})
        port = ports.free_port()
        wanted = json.loads(json.dumps(self.config))
        wanted["listeners"].append(configuration.listener(port, name="more"))
        wanted["access_log"] = {"to": "syslog", "syslog": {"address": "no-such-host.invalid:514"}}
        proxy.file.write_text(configuration.render(wanted) + "\n")
        proxy.signal(signal.SIGHUP)
        proxy.wait_for("configuration rejected")
        with self.assertRaises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port), 5)
        self.reload(lambda c: c["listeners"].append(configuration.listener(port, name="more")))
        for _ in range(20):
            self.assertEqual(self.fetch(proxy, asks("/"), port=port).status, 200)

    def test_the_last_lines_are_written_before_the_end(self):
        proxy = self.serve(self.start_origin().port, log={"format": "{path}"})
        for number in range(20):
            self.fetch(proxy, asks(f"/{number}"))
        proxy.stop()
        self.assertEqual(self.log.read_text(), "".join(f"/{n}\n" for n in range(20)))

    def test_a_format_that_is_wrong_changes_nothing(self):
        proxy = self.serve(self.start_origin().port, log={"format": "{path}"})
        self.config["access_log"]["format"] = "{pth}"
        proxy.file.write_text(configuration.render(self.config) + "\n")
        proxy.signal(signal.SIGHUP)
        proxy.wait_for("configuration rejected")
        self.assertIn("did you mean path?", proxy.log_path.read_text())
        self.fetch(proxy, asks("/1"))
        self.assertEqual(self.lines(1), ["/1\n"])
