"""Layer 6: a new process takes the place of the one that runs, and no client notices.

What is asserted is the fate of requests, tunnels and sessions while processes change, that whatever is wrong
with a new one leaves the old one serving, and that old ones end with what they still have.
"""

import array
import os
import pathlib
import signal
import socket
import struct
import subprocess
import sys
import threading
import time

from harness import configuration, http2, peers, ports, settings, wire
from harness.admin import with_admin
from harness.auditlog import AuditLog
from harness.case import SystemCase, on_both_engines
from harness.crowd import Askers
from harness.proxy import Proxy, is_listening, run_to_end
from test_37_tunnels import accept, echo, websocket
from test_62_reload import says
from test_64_systemd import Manager

REQUEST, SOCKETS, OFFER, READY, RELEASED, FAILED = range(1, 7)


def listening_sockets(port):
    """How many sockets listen on a port of 127.0.0.1."""
    rows = [line.split() for line in pathlib.Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return sum(row[1] == f"0100007F:{port:04X}" and row[3] == "0A" for row in rows)


class Requests:
    """One thread that calls `ask` again and again; what it raises is a lost request."""

    def __init__(self, ask):
        self.ask, self.count, self.lost = ask, 0, []
        self.stopping = threading.Event()
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self):
        while not self.stopping.is_set() and not self.lost:
            try:
                self.ask()
                self.count += 1
            except Exception as error:  # whatever it is, a client saw it
                self.lost.append(repr(error))

    def finish(self):
        self.stopping.set()
        self.thread.join(settings.HANG)
        return self.lost


class Streams:
    """Requests on one connection of HTTP/2, and on the next one when the proxy has said goodbye."""

    def __init__(self, port):
        self.port, self.client, self.connections = port, None, 0

    def __call__(self):
        if self.client is not None and self.client.goaway is not None:
            self.client.close()
            self.client = None
        if self.client is None:
            self.client = http2.Client(self.port)
            self.connections += 1
        assert self.client.fetch("/h2").status == 200

    def close(self):
        if self.client is not None:
            self.client.close()


class UpgradeCase(SystemCase):
    def begin(self, config=None, script=None, **options):
        """The first process."""
        self.origin = self.start_origin(script or says(b"here"))
        self.config = config or self.settings_for(self.origin.port, **options)
        self.admin = with_admin(self, self.config)
        self.path = self.admin.address.removeprefix("unix:") + ".upgrade"
        return self.start_proxy(self.config)

    def spawn(self, config=None, environment=None):
        """A new process that asks for the place of the one that runs."""
        config = self.config if config is None else config
        folder = self.folder / f"proxy-{len(self.proxies)}"
        folder.mkdir()
        proxy = Proxy(folder, config, environment=environment)
        proxy.command.insert(proxy.command.index("run") + 1, "--upgrade")
        if isinstance(config, dict):
            proxy.port = int(config["listeners"][0]["address"].rpartition(":")[2])
        self.proxies.append(proxy)
        self.addCleanup(proxy.clean_up)
        return proxy.spawn()

    def upgrade(self, old, config=None, **options):
        new = self.spawn(config, **options)
        new.workers = int(new.wait_for("ready")["workers"])
        self.assertEqual(int(new.wait_for("upgrade done")["process"]), old.pid)
        self.assertEqual(int(old.wait_for("replaced")["process"]), new.pid)
        self.check_engine(new)
        # It ends when it likes from here on; see assertEnded.
        old.ended_by_test = True
        self.addCleanup(old.check_log)
        return new

    def assertEnded(self, proxy):
        """By itself, and in order."""
        self.assertEqual(proxy.wait(), 0, proxy.tail())
        proxy.ended_by_test = True
        self.assertTrue(proxy.find("stopped"), proxy.tail())
        proxy.check_log()

    def assertServes(self, proxy, body=b"here"):
        self.assertEqual(self.fetch(proxy).body, body)
        self.assertEqual(self.admin.get("/ready")[0], 200)

    def open_tunnel(self, proxy):
        tunnel = self.connect(proxy).send(websocket())
        self.assertEqual(tunnel.response_head().status, 101)
        self.assertEcho(tunnel)
        return tunnel

    def assertEcho(self, tunnel, data=b"still there"):
        tunnel.send(data)
        self.assertEqual(tunnel.take(len(data)), data)


@on_both_engines
class Load(UpgradeCase):
    def test_three_in_a_row_and_no_request_is_lost(self):
        log = AuditLog(self.folder / "audit")
        local = str(self.folder / "local.sock")
        config = self.settings_for(
            self.start_origin(says(b"here")).port, workers=2, audit={"directory": str(log.directory)})
        config["listeners"][0]["http_versions"] = ["h2", "http/1.1"]
        config["listeners"].append({"name": "local", "address": f"unix:{local}"})
        first = self.begin(config)
        tunnel = self.open_tunnel(first)
        fresh = Askers(first.port, 4, lambda i, n: ((i, n), wire.get("/new", Connection="close"))).start()
        kept = Askers(first.port, 4, lambda i, n: ((i, n), wire.get("/kept"))).start()
        streams = Streams(first.port)
        self.addCleanup(streams.close)
        shared = Requests(streams)
        through_file = Requests(lambda: self.ask_locally(local))
        operator = Requests(lambda: self.assertEqual(self.admin.get("/health")[0], 200))
        inode = os.stat(local).st_ino
        proxies = [first]
        for _ in range(3):
            before = len(fresh.answered), len(kept.answered), shared.count
            proxies.append(self.upgrade(proxies[-1]))
            # Some of each, of the new one.
            self.assertTrue(
                fresh.wait_until(lambda a: len(a.answered) > before[0] + 50, settings.HANG), fresh.lost)
            self.assertTrue(kept.wait_until(lambda a: len(a.answered) > before[1] + 50, settings.HANG), kept.lost)
            self.assertEcho(tunnel)
            self.assertEqual(self.admin.json("/status")["pid"], proxies[-1].pid)
        for old in proxies[1:3]:
            self.assertEnded(old)
        self.assertTrue(first.is_running)
        for askers in (fresh, kept):
            self.assertTrue(askers.finish(settings.HANG))
            self.assertEqual((askers.lost, askers.refused), ([], 0))
            self.assertEqual(set(askers.statuses), {200})
        self.assertGreaterEqual(kept.told_to_leave, 3)
        for requests in (shared, through_file, operator):
            self.assertEqual(requests.finish(), [])
            self.assertGreater(requests.count, 0)
        streams.close()
        self.assertGreaterEqual(streams.connections, 4)
        self.assertEqual(os.stat(local).st_ino, inode)
        self.assertEcho(tunnel, b"to the end")
        tunnel.close()
        self.assertEnded(first)
        proxies[-1].stop()
        self.assertFalse(os.path.exists(local))
        self.assertFalse(os.path.exists(self.path))
        code, text = log.verify()
        self.assertEqual(code, 0, text)
        for proxy in proxies:
            code, text = log.verify("--anchor", proxy.log_path)
            self.assertEqual(code, 0, text)
        answered = len(fresh.answered) + len(kept.answered) + shared.count + through_file.count
        self.assertEqual(len(log.requests()), answered + 1)
        runs = {entry["run"] for entry in log.of_kind("segment")}
        self.assertEqual(len(runs), 4)

    def ask_locally(self, path):
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(settings.HANG)
            client.connect(path)
            client.sendall(wire.get("/local", Connection="close"))
            text = b""
            while data := client.recv(65536):
                text += data
        assert text.startswith(b"HTTP/1.1 200"), text

    def test_workers_become_fewer_and_more(self):
        proxy = self.begin(workers=3)
        fresh = Askers(proxy.port, 6, lambda i, n: ((i, n), wire.get(Connection="close"))).start()
        for count in (1, 2, 4):
            self.config["workers"] = count
            before = len(fresh.answered)
            new = self.upgrade(proxy)
            self.assertEqual(new.workers, count)
            self.assertTrue(
                fresh.wait_until(lambda a: len(a.answered) > before + 100, settings.HANG), fresh.lost)
            # Another one would get connections as soon as it listens, and lose them if the new process failed.
            self.assertEqual(listening_sockets(proxy.port), 3)
            # A reload keeps all sockets of a worker that has several.
            self.config["via"] = f"edge-{count}"
            new.file.write_text(configuration.render(self.config) + "\n")
            new.signal(signal.SIGHUP)
            new.wait_for("configuration reloaded")
            self.assertEnded(proxy)
            proxy = new
        self.assertTrue(fresh.finish(settings.HANG))
        self.assertEqual((fresh.lost, fresh.refused), ([], 0))

    def test_sessions_resume_at_the_new_process(self):
        proxy = self.begin(self.settings_for(self.start_origin(says(b"here")).port, tls=self.site_tls))
        session = self.folder / "session"
        ask = wire.get(Connection="close")
        for version in ("-tls1_2", "-tls1_3"):
            found = peers.s_client(proxy.port, version, "-sess_out", session, send=ask)
            self.assertIn("New, TLSv1", found)
            new = self.upgrade(proxy)
            found = peers.s_client(new.port, version, "-sess_in", session, send=ask)
            self.assertIn("Reused, TLSv1", found)
            self.assertEnded(proxy)
            proxy = new

    def test_no_descriptor_is_left_behind(self):
        proxy = self.begin(workers=2, audit={"directory": str(self.folder / "audit")})

        def own():
            """But for kept connections to the server and files of the log, of which there are now more, now fewer."""
            rest = self.warm(proxy)
            links = [os.readlink(link) for link in pathlib.Path(f"/proc/{proxy.pid}/fd").iterdir()]
            return len([link for link in links if "/audit/w" not in link]) - rest["upstream_connections"]

        found = [own()]
        for _ in range(3):
            new = self.upgrade(proxy)
            self.assertEnded(proxy)
            proxy = new
            found.append(own())
        self.assertEqual(found, found[:1] * 4)

    def test_the_other_engine_takes_over(self):
        proxy = self.begin(workers=2)
        others = [engine for engine in settings.ENGINES if engine != self.engine]
        if not others or settings.URING_REFUSAL:
            self.skipTest("one engine only")
        fresh = Askers(proxy.port, 4, lambda i, n: ((i, n), wire.get(Connection="close"))).start()
        own = self.engine
        for engine in (others[0], own):
            self.config["engine"] = self.engine = engine
            before = len(fresh.answered)
            new = self.upgrade(proxy)
            self.assertTrue(
                fresh.wait_until(lambda a: len(a.answered) > before + 50, settings.HANG), fresh.lost)
            self.assertEnded(proxy)
            proxy = new
        self.assertTrue(fresh.finish(settings.HANG))
        self.assertEqual((fresh.lost, fresh.refused), ([], 0))


@on_both_engines
class Ends(UpgradeCase):
    def test_listeners_come_and_go(self):
        gone, path = ports.free_port(), self.folder / "gone.sock"
        config = self.settings_for(self.start_origin(says(b"here")).port)
        config["listeners"] += [
            configuration.listener(gone, name="gone"), {"name": "local", "address": f"unix:{path}"}]
        proxy = self.begin(config)
        comes = ports.free_port()
        config["listeners"][1:] = [configuration.listener(comes, name="comes")]
        new = self.upgrade(proxy)
        self.assertEnded(proxy)
        self.assertFalse(is_listening(gone))
        self.assertFalse(path.exists())
        self.assertServes(new)
        self.assertEqual(self.fetch(new, port=comes).body, b"here")

    def test_the_mode_of_a_socket_is_that_of_the_new_configuration(self):
        path = self.folder / "local.sock"
        config = self.settings_for(self.start_origin(says(b"here")).port)
        config["listeners"].append({"name": "local", "address": f"unix:{path}"})
        proxy = self.begin(config)
        self.assertEqual(path.stat().st_mode & 0o777, 0o666)
        config["listeners"][1]["mode"] = "0660"
        self.upgrade(proxy)
        self.assertEqual(path.stat().st_mode & 0o777, 0o660)
        self.assertEnded(proxy)

    def test_the_audit_log_may_be_given_up_and_taken_up_again(self):
        log = AuditLog(self.folder / "audit")
        proxy = self.begin(audit={"directory": str(log.directory)})
        self.assertServes(proxy)
        audit = self.config.pop("audit")
        for wanted in (None, audit):
            if wanted:
                self.config["audit"] = wanted
            new = self.upgrade(proxy)
            self.assertServes(new)
            self.assertEnded(proxy)
            proxy = new
        proxy.stop()
        self.assertEqual(len(log.of_kind("exchange")), 2)

    def test_a_tunnel_has_its_own_deadline(self):
        proxy = self.begin(drain={"deadline": "0s", "tunnels": "1s"})
        tunnel = self.open_tunnel(proxy)
        new = self.upgrade(proxy)
        self.assertEnded(proxy)
        self.assertClosed(tunnel)
        self.assertServes(new)

    def test_a_stop_ends_the_tunnels_of_an_old_process_in_the_usual_time(self):
        proxy = self.begin(drain={"deadline": "0s"})
        tunnel = self.open_tunnel(proxy)
        self.upgrade(proxy)
        self.assertEcho(tunnel)
        time.sleep(0.5)  # beyond the deadline of the drain, which is not that of tunnels
        self.assertEcho(tunnel)
        proxy.signal(signal.SIGTERM)
        self.assertEnded(proxy)
        self.assertClosed(tunnel)

    def test_an_old_process_that_is_stopped_leaves_the_sockets_of_the_new_one(self):
        proxy = self.begin()
        tunnel = self.open_tunnel(proxy)
        new = self.upgrade(proxy)
        for count in (1, 2):
            proxy.signal(signal.SIGTERM)
            proxy.wait_for("draining" if count == 1 else "forced exit", reason="SIGTERM")
        self.assertEqual(proxy.wait(), 130)
        tunnel.close()
        self.assertServes(new)
        self.assertServes(self.upgrade(new))

    def test_without_an_admin_socket_it_says_what_is_missing(self):
        origin = self.start_origin(says(b"here"))
        code, _, errors = run_to_end(
            ["run", "--upgrade", "--from", f"127.0.0.1:{ports.free_port()}", "--to", f"127.0.0.1:{origin.port}"])
        self.assertEqual(code, 1)
        self.assertIn("admin: {address: unix:/run/millrace/admin.sock}", errors)

    def test_without_a_process_it_starts_as_usual(self):
        self.origin = self.start_origin(says(b"here"))
        self.config = self.settings_for(self.origin.port)
        self.admin = with_admin(self, self.config)
        proxy = self.spawn()
        proxy.wait_for("ready")
        self.assertEqual(proxy.find("upgrade done"), [])
        self.assertServes(proxy)

    def test_what_a_service_manager_hears(self):
        manager = Manager(str(self.folder / "notify"))
        self.addCleanup(manager.close)
        environment = {"NOTIFY_SOCKET": str(self.folder / "notify")}
        self.origin = self.start_origin(says(b"here"))
        self.config = self.settings_for(self.origin.port)
        self.admin = with_admin(self, self.config)
        proxy = self.start_proxy(self.config, environment=environment)
        manager.wait_for("READY")
        self.assertEqual(manager.all("MAINPID"), [])
        new = self.upgrade(proxy, environment=environment)
        self.assertEqual(manager.wait_for("MAINPID")["MAINPID"], str(new.pid))
        manager.wait_for("READY", 2)
        self.assertEnded(proxy)
        self.assertEqual(manager.all("STOPPING"), [])
        new.stop()
        self.assertTrue(manager.wait_for("STOPPING"))


class Speaker(UpgradeCase):
    """One side of the conversation, by hand."""

    def connect_as_new(self):
        client = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        client.settimeout(settings.HANG)
        client.connect(self.path)
        self.addCleanup(client.close)
        return client

    @staticmethod
    def message(kind, payload=b"", version=1, length=None, magic=b"MRUP"):
        size = len(payload) if length is None else length
        return magic + struct.pack("<HHI", version, kind, size) + payload

    @staticmethod
    def receive(client):
        """(kind, payload, descriptors)."""
        numbers = array.array("i")
        data, controls, _, _ = client.recvmsg(65536, socket.CMSG_SPACE(128 * 4))
        for level, kind, content in controls:
            assert (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS)
            numbers.frombytes(content)
        if not data:
            return None, b"", []
        assert data[:4] == b"MRUP", data
        version, kind, length = struct.unpack("<HHI", data[4:12])
        assert (version, length) == (1, len(data) - 12)
        return kind, data[12:], list(numbers)

    def take_offer(self, client):
        client.send(self.message(REQUEST))
        sockets = 0
        while True:
            kind, payload, numbers = self.receive(client)
            for number in numbers:
                os.close(number)
            if kind == OFFER:
                return sockets, payload
            self.assertEqual(kind, SOCKETS)
            self.assertEqual(len(payload), len(numbers))
            sockets += len(numbers)


@on_both_engines
class Failures(Speaker):
    def test_a_new_one_with_a_bad_configuration(self):
        proxy = self.begin()
        broken = self.spawn(configuration.render(self.config).replace("/", "nowhere", 1) + "\nlistenres: []\n")
        self.assertEqual(broken.wait(), 2)
        broken.ended_by_test = True
        self.assertServes(proxy)
        # One that can be read, and names a file that is not there.
        self.config["listeners"].append(configuration.listener(
            ports.free_port(), name="other", tls=[{"certificate": "/nowhere.pem", "key": "/nowhere.key"}]))
        failed = self.spawn()
        self.assertEqual(failed.wait(), 2)
        failed.ended_by_test = True
        line = proxy.wait_for("upgrade failed")
        self.assertIn("configuration has errors", line["reason"])
        self.assertServes(proxy)
        self.config["listeners"].pop()
        self.upgrade(proxy)

    def test_a_new_one_that_cannot_open_the_audit_log(self):
        proxy = self.begin(audit={"directory": str(self.folder / "audit")})
        held = self.proxy_before(self.origin.port, audit={"directory": str(self.folder / "other")})
        self.config["audit"]["directory"] = str(self.folder / "other")
        failed = self.spawn()
        self.assertEqual(failed.wait(), 1)
        failed.ended_by_test = True
        self.assertTrue(failed.find("cannot open audit log"))
        self.assertIn("audit log", proxy.wait_for("upgrade failed")["reason"])
        self.assertServes(proxy)
        held.stop()
        self.config["audit"]["directory"] = str(self.folder / "audit")
        new = self.upgrade(proxy)
        self.assertServes(new)

    def test_one_that_is_killed_before_it_is_ready(self):
        proxy = self.begin(workers=2)
        for count in range(1, 4):
            client = self.connect_as_new()
            self.assertEqual(self.take_offer(client)[0], 2)
            client.close()
            proxy.wait_for("upgrade failed", count=count)
            self.assertServes(proxy)
        new = self.upgrade(proxy)
        self.assertEnded(proxy)
        self.assertServes(new)

    def test_one_that_does_not_become_ready(self):
        proxy = self.begin()
        silent = self.connect_as_new()
        self.assertIn("in time", proxy.wait_for("upgrade failed")["reason"])
        self.assertEqual(self.receive(silent)[0], FAILED)
        slow = self.connect_as_new()
        self.take_offer(slow)
        self.assertServes(proxy)
        self.assertIn("in time", proxy.wait_for("upgrade failed", count=2)["reason"])
        self.assertEqual(self.receive(slow)[0], FAILED)
        self.assertServes(proxy)
        self.assertServes(self.upgrade(proxy))

    def test_what_is_not_a_message_is_refused(self):
        proxy = self.begin()
        cases = [
            (self.message(REQUEST, version=2), b"version 2"),
            (self.message(REQUEST, magic=b"GET "), b"not one of an upgrade"),
            (self.message(REQUEST)[:11], b"cut short"),
            (self.message(REQUEST, length=1), b"another length"),
            (self.message(REQUEST, b"x" * 16385), b"do not fit"),
            (self.message(99), b"unknown kind"),
            (self.message(READY), b"not due"),
        ]
        for count, (data, wanted) in enumerate(cases, 1):
            with self.subTest(wanted=wanted):
                client = self.connect_as_new()
                client.send(data)
                kind, payload, numbers = self.receive(client)
                self.assertEqual((kind, numbers), (FAILED, []))
                self.assertIn(wanted, payload)
                proxy.wait_for("upgrade failed", count=count)
        # A descriptor that nobody asked for, and an answer about other sockets.
        client = self.connect_as_new()
        socket.send_fds(client, [self.message(REQUEST)], [0])
        self.assertEqual(self.receive(client)[0], FAILED)
        client = self.connect_as_new()
        sockets, _ = self.take_offer(client)
        client.send(self.message(READY, b"\1" * (sockets + 1)))
        self.assertEqual(self.receive(client)[0], FAILED)
        self.assertServes(proxy)
        self.assertServes(self.upgrade(proxy))

    def test_another_user_gets_nothing(self):
        if os.geteuid() != 0:
            self.skipTest("needs root, to be another user")
        proxy = self.begin()
        os.chmod(self.path, 0o666)
        os.chmod(pathlib.Path(self.path).parent, 0o755)
        program = (
            "import os, socket, sys; os.setgid(65534); os.setuid(65534);"
            "s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET); s.settimeout(20);"
            "s.connect(sys.argv[1]); sys.stdout.buffer.write(s.recv(65536))")
        done = subprocess.run(
            [sys.executable, "-c", program, self.path], capture_output=True, timeout=settings.HANG, check=False)
        self.assertIn(b"only root and user 0", done.stdout, done.stderr)
        self.assertEqual(proxy.wait_for("upgrade refused")["user"], "65534")
        self.assertServes(proxy)


@on_both_engines
class OldProcesses(Speaker):
    """A new process, and an old one that does not do its part."""

    def offered(self, then, sockets=1):
        """A new process that was offered a socket; `then(connection)` plays on after it is ready."""
        origin = self.start_origin(says(b"here"))
        self.config = self.settings_for(origin.port)
        self.admin = with_admin(self, self.config)
        self.path = self.admin.address.removeprefix("unix:") + ".upgrade"
        port = int(self.config["listeners"][0]["address"].rpartition(":")[2])
        with socket.socket() as held, socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as old:
            held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            held.bind(("127.0.0.1", port))
            held.listen()
            # Waits in the queue before the new process has the socket.
            early = self.connect(None, port=port).send(wire.get("/early"))
            old.bind(self.path)
            self.addCleanup(pathlib.Path(self.path).unlink, missing_ok=True)
            old.listen()
            old.settimeout(settings.HANG)
            new = self.spawn()
            connection, _ = old.accept()
            with connection:
                connection.settimeout(settings.HANG)
                self.assertEqual(self.receive(connection)[0], REQUEST)
                socket.send_fds(connection, [self.message(SOCKETS, b"\0")], [held.fileno()])
                keys = struct.pack("<q", 0) + os.urandom(80)
                connection.send(self.message(OFFER, struct.pack("<IIBH", sockets, 1, 0, len(keys)) + keys))
                then(connection)
        return new, early

    def await_ready(self, connection):
        kind, payload, _ = self.receive(connection)
        self.assertEqual((kind, payload), (READY, b"\1"))

    def test_one_that_is_gone_before_it_lets_go_is_replaced(self):
        new, early = self.offered(self.await_ready)
        new.wait_for("ready")
        new.wait_for("upgrade not confirmed")
        self.assertEqual(early.response().body, b"here")
        self.assertServes(new)

    def test_one_that_lets_go_is_replaced(self):
        def let_go(connection):
            self.await_ready(connection)
            connection.send(self.message(RELEASED))

        new, early = self.offered(let_go)
        new.wait_for("upgrade done")
        self.assertEqual(early.response().body, b"here")
        self.assertServes(new)

    def assertGivesUp(self, then, why, **options):
        new, early = self.offered(then, **options)
        self.assertEqual(new.wait(), 1)
        new.ended_by_test = True
        self.assertIn(why, new.log_path.read_text())
        early.close()
        folder = pathlib.Path(self.path).parent
        self.assertEqual([file.name for file in folder.iterdir() if "next" in file.name], [])

    def test_one_that_goes_on_serving_is_left_alone(self):
        def refuse(connection):
            self.await_ready(connection)
            connection.send(self.message(FAILED, b"the process is draining"))

        self.assertGivesUp(refuse, "the process is draining")

    def test_one_that_offers_what_it_has_not_sent(self):
        def hear(connection):
            kind, payload, _ = self.receive(connection)
            self.assertEqual(kind, FAILED)
            self.assertIn(b"missing", payload)

        self.assertGivesUp(hear, "descriptors of the offer are missing", sockets=2)


@on_both_engines
class Multiplexed(UpgradeCase):
    def test_a_tunnel_in_a_stream_outlives_the_drain_and_other_streams_do_not(self):
        gate = threading.Event()
        self.addCleanup(gate.set)

        def script(served):
            while message := served.request():
                if key := message.get("sec-websocket-key"):
                    served.send(
                        b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
                        b"Sec-WebSocket-Accept: " + accept(key).encode() + b"\r\n\r\n")
                    return echo(served)
                if message.target == "/held":
                    gate.wait(settings.HANG)
                served.answer(b"here")

        config = self.settings_for(self.start_origin(script).port, drain={"deadline": "0s"})
        config["listeners"][0]["http_versions"] = ["h2", "http/1.1"]
        proxy = self.begin(config)
        with http2.Client(proxy.port) as client:
            tunnel = client.open(
                "/", method="CONNECT", ends=False,
                fields=[(":protocol", "websocket"), ("sec-websocket-version", "13")])
            client.until(lambda: client.streams[tunnel].status, "no answer")
            self.assertEqual(client.streams[tunnel].status, 200)
            held = client.open("/held")
            client.fetch("/")
            self.upgrade(proxy)
            client.until(lambda: client.streams[held].is_over, "the stream goes on")
            for text in (b"still ", b"there"):
                client.send(client.pieces(tunnel, text, ends=False))
            client.until(lambda: bytes(client.streams[tunnel].content) == b"still there", "no echo")
            self.assertTrue(proxy.is_running)
        self.assertEnded(proxy)
