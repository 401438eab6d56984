"""Layer 6: reload. The configuration is read again while connections live, and what is wrong changes nothing.

What is asserted is the fate of requests, streams and tunnels that were there before, and which configuration
new ones meet.
"""

import os
import shutil
import signal
import socket
import ssl
import threading
import time

from harness import certificates, configuration, http2, ports, settings, wire
from harness.auditlog import AuditLog
from harness.case import SystemCase, on_both_engines
from harness.crowd import Askers
from harness.http2server import Server
from harness.proxy import is_listening, run_to_end
from test_37_tunnels import websocket


def says(text, gate=None):
    """Answers everything with a text; /held only once the gate is open."""

    def script(served):
        while message := served.request():
            if message.get("upgrade"):
                return tunnel_on(served)
            if gate and message.target == "/held":
                gate.wait(60)
            served.answer(text)

    return script


def tunnel_on(served):
    served.send(
        b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
    )
    while data := served.socket.recv(1 << 16):
        served.send(data)


class ReloadCase(SystemCase):
    def write(self, proxy, config):
        """As a careful tool does: beside the file, then in its place."""
        text = config if isinstance(config, str) else configuration.render(config) + "\n"
        new = proxy.file.with_suffix(".new")
        new.write_text(text, encoding="utf-8")
        os.rename(new, proxy.file)

    def ask(self, proxy, message, **wanted):
        count = len(proxy.find(message, **wanted)) + 1
        proxy.signal(signal.SIGHUP)
        return proxy.wait_for(message, count=count, **wanted)

    def reload(self, proxy, config=None):
        if config is not None:
            self.write(proxy, config)
        return self.ask(proxy, "configuration reloaded")

    def refuse(self, proxy, config):
        self.write(proxy, config)
        return self.ask(proxy, "configuration rejected")

    def two_origins(self, **options):
        self.gate = threading.Event()
        self.addCleanup(self.gate.set)
        self.old, self.new = self.start_origin(says(b"old", self.gate)), self.start_origin(says(b"new"))
        self.config = self.settings_for(self.old.port, **options)
        return self.start_proxy(self.config)

    def turn_to_new(self):
        self.config["upstreams"]["origin"] = configuration.upstream(self.new.port)


@on_both_engines
class Connections(ReloadCase):
    def test_exchanges_tunnels_and_streams_end_on_what_they_began_with(self):
        proxy = self.two_origins(workers=2)
        self.config["listeners"][0]["http_versions"] = ["h2", "http/1.1"]
        self.reload(proxy, self.config)
        kept = self.connect(proxy).send(wire.get())
        self.assertEqual(kept.response().body, b"old")
        held = self.connect(proxy).send(wire.get("/held"))
        self.wait_until_asked(self.old, "/held")
        tunnel_before = self.connect(proxy).send(websocket())
        self.assertEqual(tunnel_before.response_head().status, 101)
        with http2.Client(proxy.port) as client:
            stream = client.open("/held")
            self.assertEqual(client.fetch("/").content, b"old")
            self.turn_to_new()
            line = self.reload(proxy, self.config)
            self.assertEqual(line["generation"], "3")
            self.assertIn("upstreams: ~origin", line["changes"])
            # A stream that was opened before, and one on the same connection afterwards.
            self.assertEqual(client.fetch("/").content, b"new")
            # Another plan comes and goes while that stream's is still in use.
            self.config["via"] = "other"
            self.reload(proxy, self.config)
            self.assertEqual(client.fetch("/").content, b"new")
            tunnel_before.send(b"still there")
            self.assertEqual(tunnel_before.take(11), b"still there")
            self.assertEqual(kept.send(wire.get()).response().body, b"new")
            self.gate.set()
            self.assertEqual(client.response(stream).content, b"old")
        self.assertEqual(held.response().body, b"old")
        tunnel_before.send(b"and after that")
        self.assertEqual(tunnel_before.take(14), b"and after that")
        tunnel_before.close()
        kept.close()
        held.close()
        proxy.settle({"plans": 2, "connections": 0})

    def test_connections_to_servers_that_stay_are_kept(self):
        proxy = self.two_origins()
        for _ in range(3):
            self.assertEqual(self.fetch(proxy).body, b"old")
        before = proxy.counters()["upstream_connects"]
        self.config["listeners"][0]["timeouts"] = {"idle": "30s"}
        self.reload(proxy, self.config)
        self.assertEqual(self.fetch(proxy).body, b"old")
        self.assertEqual(proxy.counters()["upstream_connects"], before)

    def test_nothing_changed_is_said_and_does_nothing(self):
        proxy = self.two_origins()
        self.ask(proxy, "configuration unchanged", generation="1")
        # Comments and places are no change.
        self.write(proxy, "# a comment\n" + proxy.file.read_text())
        self.ask(proxy, "configuration unchanged", generation="1")

    def test_more_tunnels_than_plans_that_may_wait(self):
        proxy = self.two_origins()
        tunnels = []
        for number in range(20):
            connection = self.connect(proxy).send(websocket())
            self.assertEqual(connection.response_head().status, 101)
            tunnels.append(connection)
            self.config["via"] = f"edge-{number}"
            self.assertEqual(self.reload(proxy, self.config)["generation"], str(number + 2))
        for connection in tunnels:
            connection.send(b"here")
            self.assertEqual(connection.take(4), b"here")
        self.assertEqual(proxy.counters()["plans"], 21)
        for connection in tunnels:
            connection.close()
        proxy.settle({"plans": 1})


class SlowToGreet(Server):
    """Its handshakes wait."""

    def __init__(self, **options):
        self.greets_now = threading.Event()
        super().__init__(**options)

    def _serve(self, sock):
        self.greets_now.wait(settings.HANG)
        super()._serve(sock)


@on_both_engines
class SharedConnections(ReloadCase):
    """Connections of HTTP/2 to servers outlive the exchange that they were made for, and its plan."""

    def setUp(self):
        super().setUp()
        self.server = SlowToGreet(tls=True)
        self.addCleanup(self.server.close)
        self.addCleanup(self.server.greets_now.set)
        self.config = self.settings_for(self.server.port, upstream={
            "protocol": "auto",
            "tls": {"ca": str(certificates.authority().certificate), "server_name": "site.test"}})

    def begin(self, proxy, count=1):
        """Requests whose connection is still being made."""
        started = [self.connect(proxy).send(wire.get()) for _ in range(count)]
        proxy.settle({"exchanges": count})
        return started

    def finish(self, proxy, started):
        self.server.greets_now.set()
        for connection in started:
            self.assertEqual(connection.response().status, 200)
        return started

    def test_a_connection_that_is_made_while_the_plan_changes_serves_the_next_ones(self):
        proxy = self.start_proxy(self.config)
        started = self.begin(proxy, 3)
        self.config["via"] = "one"
        self.reload(proxy, self.config)
        kept = self.finish(proxy, started)
        for number in range(8):
            for connection in kept:
                self.assertEqual(connection.send(wire.get()).response().status, 200)
            # The plan that the connection was made on is gone, and others take its place.
            self.config["via"] = f"other-{number}"
            self.reload(proxy, self.config)
        for connection in kept:
            connection.close()
        proxy.settle({"exchanges": 0, "connections": 0, "plans": 1})
        origin = self.start_origin()
        self.config["upstreams"]["origin"] = configuration.upstream(origin.port)
        self.reload(proxy, self.config)
        self.assertEqual(self.fetch(proxy).status, 200)
        proxy.settle({"exchanges": 0, "upstream_connections": 1})

    def test_a_server_that_is_gone_when_its_connection_is_made(self):
        proxy = self.start_proxy(self.config)
        started = self.begin(proxy, 2)
        origin = self.start_origin()
        self.config["upstreams"]["origin"] = configuration.upstream(origin.port)
        self.reload(proxy, self.config)
        kept = self.finish(proxy, started)
        for connection in kept:
            self.assertEqual(connection.send(wire.get()).response().status, 200)
            connection.close()
        # It ends with the requests that it was made for.
        proxy.settle({"exchanges": 0, "connections": 0, "upstream_connections": 1, "plans": 1})


@on_both_engines
class Refusals(ReloadCase):
    def test_a_broken_file_changes_nothing_and_is_told_as_check_tells_it(self):
        proxy = self.two_origins()
        good = proxy.file.read_text()
        broken = good.replace("listeners:", "listenres:")
        self.write(proxy, broken)
        _, _, told = run_to_end(["check", proxy.file])
        self.assertEqual(self.ask(proxy, "configuration rejected")["generation"], "1")
        text = proxy.log_path.read_text()
        problems = [line for line in told.splitlines() if proxy.file.name in line]
        self.assertTrue(problems, told)
        for problem in problems:
            self.assertIn(problem, text)
        self.assertEqual(self.fetch(proxy).body, b"old")
        proxy.file.unlink()
        self.ask(proxy, "configuration rejected")
        self.assertEqual(self.fetch(proxy).body, b"old")
        proxy.file.write_text(good)
        self.ask(proxy, "configuration unchanged")

    def test_what_is_fixed_at_the_start_is_named(self):
        proxy = self.two_origins(workers=1, audit={"directory": str(self.folder / "audit")})
        self.config["workers"] = 2
        self.config["limits"] = {"connections": 1000000, "request_head": "128KiB"}
        self.config["audit"]["when_full"] = "drop"
        self.turn_to_new()
        self.assertEqual(self.refuse(proxy, self.config)["errors"], "4")
        text = proxy.log_path.read_text()
        for key in ("workers", "limits.connections", "limits.request_head", "audit.when_full"):
            self.assertIn(f"{key} ({proxy.file}): cannot change while millrace runs", text)
        self.assertEqual(self.fetch(proxy).body, b"old")

    def test_fewer_connections_may_be_allowed_and_as_many_as_before_again(self):
        proxy = self.two_origins(limits={"connections": 100})
        self.config["limits"]["connections"] = 1
        self.reload(proxy, self.config)
        first = self.connect(proxy).send(wire.get())
        self.assertEqual(first.response().status, 200)
        with self.assertRaises((OSError, wire.Truncated)):
            self.connect(proxy).send(wire.get()).response()
        self.config["limits"]["connections"] = 100
        self.reload(proxy, self.config)
        self.assertEqual(self.fetch(proxy).status, 200)

    def test_a_listener_that_cannot_be_opened_refuses_all_of_it(self):
        proxy = self.two_origins(workers=2)
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            free = ports.free_port()
            self.config["listeners"] += [
                configuration.listener(free, name="good"),
                configuration.listener(taken.getsockname()[1], name="bad"),
            ]
            self.turn_to_new()
            self.refuse(proxy, self.config)
            self.assertFalse(is_listening(free))
            self.assertEqual(self.fetch(proxy).body, b"old")
            self.assertIn("is in use", proxy.log_path.read_text())
        self.reload(proxy, self.config)
        self.assertTrue(is_listening(free))
        self.assertEqual(self.fetch(proxy).body, b"new")

    def test_many_requests_to_reload_are_done_one_after_the_other(self):
        proxy = self.two_origins()
        for number in range(30):
            self.config["via"] = f"edge-{number}"
            self.write(proxy, self.config)
            proxy.signal(signal.SIGHUP)
        self.wait_for_via(proxy, "edge-29")

    def wait_for_via(self, proxy, name):
        deadline = time.monotonic() + settings.HANG
        while name not in (self.fetch(proxy).get("via") or ""):
            self.assertLess(time.monotonic(), deadline)
            time.sleep(0.02)


@on_both_engines
class Listeners(ReloadCase):
    def test_listeners_come_and_go_under_load_without_a_failed_request(self):
        proxy = self.two_origins(workers=2)
        stays = ports.free_port()
        first = self.config["listeners"][0]
        self.config["listeners"] = [first, configuration.listener(stays, name="stays")]
        self.reload(proxy, self.config)
        steady = Askers(stays, 6, lambda i, n: ((i, n), wire.get())).start()
        for _ in range(5):
            leaving = Askers(proxy.port, 6, lambda i, n: ((i, n), wire.get()), reconnect=False).start()
            self.assertTrue(leaving.wait_until(lambda a: len(a.answered) > 100, settings.HANG))
            self.config["listeners"] = [self.config["listeners"][1]]
            self.reload(proxy, self.config)
            self.assertTrue(leaving.join(settings.HANG), "told to leave, and stays")
            self.assertEqual(leaving.lost, [])
            self.assertEqual(leaving.told_to_leave, 6)
            self.wait_until_closed(proxy.port)
            self.config["listeners"] = [first, self.config["listeners"][0]]
            self.reload(proxy, self.config)
        self.assertTrue(steady.finish(settings.HANG))
        self.assertEqual(steady.lost, [])
        self.assertEqual(steady.told_to_leave, 0)
        self.assertEqual(set(steady.statuses), {200})

    def wait_until_closed(self, port):
        deadline = time.monotonic() + settings.HANG
        while is_listening(port):
            self.assertLess(time.monotonic(), deadline, "the port still listens")
            time.sleep(0.01)

    def test_tunnels_and_streams_of_a_listener_that_goes_end_by_themselves(self):
        proxy = self.two_origins(drain={"deadline": "1s"})
        self.config["listeners"][0]["http_versions"] = ["h2", "http/1.1"]
        self.reload(proxy, self.config)
        stays = ports.free_port()
        lasting = self.connect(proxy).send(websocket())
        self.assertEqual(lasting.response_head().status, 101)
        with http2.Client(proxy.port) as client:
            stream = client.open("/held")
            self.assertEqual(client.fetch("/").content, b"old")
            self.config["listeners"] = [configuration.listener(stays, name="stays")]
            self.turn_to_new()
            self.reload(proxy, self.config)
            client.until(lambda: client.goaway is not None, "no GOAWAY")
            self.assertEqual(client.goaway, http2.NO_ERROR)
            time.sleep(3)  # beyond the deadline of a drain, which this is not
            self.gate.set()
            self.assertEqual(client.response(stream).content, b"old")
            client.rest()
        lasting.send(b"still there")
        self.assertEqual(lasting.take(11), b"still there")
        lasting.close()
        self.assertEqual(self.fetch(proxy, port=stays).body, b"new")
        proxy.settle({"connections": 0, "plans": 1})

    def test_a_listener_that_goes_lets_its_plan_go_where_connections_are_placed_by_queue(self):
        origin = self.start_origin()
        config = self.settings_for(origin.port, workers=2)
        config["placement"] = "queue"
        first = list(config["listeners"])
        config["listeners"] = [*first, configuration.listener(ports.free_port(), name="second")]
        proxy = self.start_proxy(config)
        self.assertEqual(self.fetch(proxy).status, 200)
        config["listeners"] = first
        self.reload(proxy, config)
        proxy.settle({"plans": 2, "connections": 0})
        self.assertEqual(self.fetch(proxy).status, 200)

    def test_tls_is_added_to_a_port_and_taken_away(self):
        proxy = self.two_origins()
        plain = self.connect(proxy).send(wire.get())
        self.assertEqual(plain.response().status, 200)
        self.config["listeners"][0] = configuration.listener(proxy.port, tls=self.site_tls)
        self.reload(proxy, self.config)
        self.assertEqual(self.fetch(proxy, tls=True).body, b"old")
        self.assertEqual(plain.send(wire.get()).response().status, 200)
        self.config["listeners"][0] = configuration.listener(proxy.port)
        self.reload(proxy, self.config)
        self.assertEqual(self.fetch(proxy).body, b"old")

    def test_a_wider_address_takes_the_place_of_a_narrow_one(self):
        proxy = self.two_origins()
        self.config["listeners"][0] = configuration.listener(proxy.port, address="0.0.0.0")
        self.reload(proxy, self.config)
        self.assertEqual(self.fetch(proxy).body, b"old")

    def test_unix_sockets_come_and_go_with_their_files(self):
        proxy = self.two_origins(workers=2)
        path = self.folder / "m.sock"
        edge = self.config["listeners"][0]
        self.config["listeners"] = [edge, {"name": "local", "address": f"unix:{path}", "mode": "0600"}]
        self.reload(proxy, self.config)
        self.assertEqual(path.stat().st_mode & 0o777, 0o600)
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(path))
            client.sendall(wire.get())
            self.assertIn(b"old", client.recv(4096))
        self.config["listeners"] = [edge]
        self.reload(proxy, self.config)
        self.assertFalse(path.exists())


class CertificateCase(ReloadCase):
    def pair(self, kind):
        return certificates.authority().issue("site.test", "localhost", kind=kind)

    def shown(self, proxy):
        """The certificate that a new connection is shown."""
        context = certificates.authority().client()
        with socket.create_connection(("127.0.0.1", proxy.port), settings.HANG) as raw:
            with context.wrap_socket(raw, server_hostname="site.test") as client:
                return ssl.DER_cert_to_PEM_cert(client.getpeercert(True)).strip()

    def content(self, pair):
        return pair[0].read_text().strip()

    def wait_for(self, proxy, pair):
        deadline = time.monotonic() + settings.HANG
        while self.shown(proxy) != self.content(pair):
            self.assertLess(time.monotonic(), deadline, "still the old certificate\n" + proxy.tail())
            time.sleep(0.05)

    def serve(self, **options):
        self.pairs = [self.pair("ec"), self.pair("rsa")]
        self.place = self.folder / "tls"
        self.place.mkdir()
        self.paths = (self.place / "site.pem", self.place / "site.key")
        self.put(self.pairs[0])
        origin = self.start_origin(says(b"old"))
        return self.proxy_before(origin.port, tls=[self.paths], **options)

    def put(self, pair, parts=(0, 1)):
        for part in parts:
            new = self.paths[part].with_suffix(".new")
            shutil.copy(pair[part], new)
            os.rename(new, self.paths[part])


@on_both_engines
class Certificates(CertificateCase):
    def test_renewed_files_are_read_though_the_configuration_is_the_same(self):
        proxy = self.serve()
        before = self.connect(proxy, tls=True).send(wire.get())
        self.assertEqual(before.response().status, 200)
        self.assertEqual(self.shown(proxy), self.content(self.pairs[0]))
        self.put(self.pairs[1])
        line = self.reload(proxy)
        self.assertIn(str(self.paths[0]), line["changes"])
        self.assertEqual(self.shown(proxy), self.content(self.pairs[1]))
        self.assertEqual(before.send(wire.get()).response().status, 200)

    def test_a_broken_pair_keeps_the_old_one_and_is_named(self):
        proxy = self.serve()
        self.put(self.pairs[1], parts=(0,))
        self.ask(proxy, "configuration rejected")
        self.assertIn(str(self.paths[1]), proxy.log_path.read_text())
        self.assertEqual(self.shown(proxy), self.content(self.pairs[0]))
        self.put(self.pairs[1])
        self.reload(proxy)
        self.assertEqual(self.shown(proxy), self.content(self.pairs[1]))

    def test_sessions_are_resumed_across_a_renewal(self):
        proxy = self.serve()
        context = certificates.authority().client(maximum=ssl.TLSVersion.TLSv1_2)

        def handshake(session=None):
            raw = socket.create_connection(("127.0.0.1", proxy.port), settings.HANG)
            with context.wrap_socket(raw, server_hostname="site.test", session=session) as client:
                client.sendall(wire.get())
                client.recv(1000)
                return client.session, client.session_reused

        session, _ = handshake()
        self.put(self.pairs[1])
        self.reload(proxy)
        self.assertTrue(handshake(session)[1])

    def test_connections_to_servers_with_tls_outlive_a_reload(self):
        from harness.tlsorigin import TLSOrigin

        origin = TLSOrigin(says(b"old"))
        self.addCleanup(self._close_origin, origin)
        config = self.settings_for(
            origin.port, upstream={"tls": {"ca": str(certificates.authority().certificate)}})
        proxy = self.start_proxy(config)
        self.assertEqual(self.fetch(proxy).body, b"old")
        before = proxy.counters()["upstream_connects"]
        config["via"] = "edge"
        self.reload(proxy, config)
        self.assertEqual(self.fetch(proxy).body, b"old")
        self.assertEqual(proxy.counters()["upstream_connects"], before)


@on_both_engines
class Watch(CertificateCase):
    def test_files_that_are_renamed_into_place_are_seen(self):
        proxy = self.serve(reload={"watch": True})
        self.put(self.pairs[1])
        self.wait_for(proxy, self.pairs[1])
        # In between the pair does not fit: that is not a state to be left in.
        self.put(self.pairs[0], parts=(0,))
        proxy.wait_for("configuration rejected")
        self.put(self.pairs[0], parts=(1,))
        self.wait_for(proxy, self.pairs[0])

    def test_a_file_that_is_written_in_place_is_seen(self):
        proxy = self.serve(reload={"watch": True})
        text = proxy.file.read_text()
        proxy.file.write_text(text + "via: written-in-place\n")
        line = proxy.wait_for("configuration reloaded", reason="files")
        self.assertIn("via", line["changes"])

    def test_a_folder_that_a_link_is_turned_to_is_seen(self):
        """As Kubernetes does with a secret: site.pem -> ..data/site.pem, ..data -> a folder."""
        proxy_folder = self.folder / "secret"
        proxy_folder.mkdir()
        self.pairs = [self.pair("ec"), self.pair("rsa")]

        def fill(name, pair):
            folder = proxy_folder / name
            folder.mkdir()
            shutil.copy(pair[0], folder / "site.pem")
            shutil.copy(pair[1], folder / "site.key")
            link = proxy_folder / "..data_tmp"
            link.symlink_to(name)
            os.rename(link, proxy_folder / "..data")

        fill("..1", self.pairs[0])
        for name in ("site.pem", "site.key"):
            (proxy_folder / name).symlink_to(f"..data/{name}")
        origin = self.start_origin(says(b"old"))
        proxy = self.proxy_before(
            origin.port, tls=[(proxy_folder / "site.pem", proxy_folder / "site.key")],
            reload={"watch": True})
        self.assertEqual(self.shown(proxy), self.content(self.pairs[0]))
        fill("..2", self.pairs[1])
        shutil.rmtree(proxy_folder / "..1")
        self.wait_for(proxy, self.pairs[1])
        fill("..3", self.pairs[0])
        shutil.rmtree(proxy_folder / "..2")
        self.wait_for(proxy, self.pairs[0])

    def test_a_file_that_was_missing_when_it_was_named_is_waited_for(self):
        proxy = self.serve(reload={"watch": True})
        place = self.folder / "later"
        place.mkdir()
        text = proxy.file.read_text().replace(str(self.place), str(place))
        self.write(proxy, text)
        proxy.wait_for("configuration rejected")
        self.paths = (place / "site.pem", place / "site.key")
        self.put(self.pairs[1])
        self.wait_for(proxy, self.pairs[1])

    def test_without_the_option_nothing_is_watched(self):
        proxy = self.serve()
        self.put(self.pairs[1])
        time.sleep(1.5)
        self.assertEqual(self.shown(proxy), self.content(self.pairs[0]))


@on_both_engines
class Volume(ReloadCase):
    def test_fifty_reloads_every_fifth_broken_leave_no_trace(self):
        audit = self.folder / "audit"
        proxy = self.two_origins(workers=2, audit={"directory": str(audit), "durability": "interval"})
        lasting = self.connect(proxy).send(websocket())
        self.assertEqual(lasting.response_head().status, 101)
        extra = [ports.free_port() for _ in range(2)]
        edge = self.config["listeners"][0]
        askers = Askers(proxy.port, 6, lambda i, n: ((i, n), wire.get(f"/{i}/{n}"))).start()

        def round(number):
            if number % 5 == 4:
                self.refuse(proxy, "listeners: [}\n")
                return
            self.config["via"] = f"edge-{number}"
            port = self.new.port if number % 2 else self.old.port
            self.config["upstreams"]["origin"] = configuration.upstream(port)
            self.config["listeners"] = [edge, configuration.listener(extra[number % 2], name="extra")]
            self.reload(proxy, self.config)

        for number in range(10):
            round(number)
        descriptors, memory = self.descriptors(proxy), proxy.resident_bytes()
        for number in range(10, 50):
            round(number)
            lasting.send(b"here")
            self.assertEqual(lasting.take(4), b"here")
        self.assertLess(abs(self.descriptors(proxy) - descriptors), 30)
        self.assertLess(proxy.resident_bytes() - memory, 8 << 20)
        self.assertTrue(askers.finish(settings.HANG))
        self.assertEqual(askers.lost, [])
        self.assertEqual(set(askers.statuses), {200})
        lasting.close()
        proxy.settle({"connections": 0, "plans": 2})  # one a worker
        proxy.stop()
        code, told = AuditLog(audit).verify()
        self.assertEqual(code, 0, told)
        recorded = AuditLog(audit).paths()
        self.assertEqual([key for key in askers.answered if f"/{key[0]}/{key[1]}" not in recorded], [])

    def descriptors(self, proxy):
        return len(os.listdir(f"/proc/{proxy.pid}/fd"))
