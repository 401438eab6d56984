"""Layer 8: the examples of the library, each run for real on both engines.

They are what a reader starts from, so they must work, end when told to, and say what is wrong in words
that help.
"""

import os
import random
import re
import signal
import socket
import subprocess
import threading
import time

from harness import examples, ports, settings
from harness.case import SystemCase, on_both_engines

SIZES = [1, 2, 1000, 4095, 4096, 4097, 65_536, 131_071, 131_072, 131_073, 300_001, 1 << 20]

UDP_SEGMENT, UDP_GRO = 103, 104  # linux/udp.h


def noise(count, seed=1):
    return random.Random(seed).randbytes(count)


class ExampleCase(SystemCase):
    """Starts examples and expects of each that it ends well."""

    def start(self, name, *arguments, listen="127.0.0.1:0"):
        example = examples.Example(
            self.folder, name, self.engine, "--listen", listen, *arguments
        )
        self.addCleanup(example.kill)
        expected = settings.EXPECTED_ENGINE if self.engine == "auto" else self.engine
        if expected:
            self.assertEqual(example.engine, expected, example.said())
        return example

    def run_example(self, name, *arguments):
        return examples.run(name, self.engine, *arguments)

    def dial(self, port):
        connection = socket.create_connection(("127.0.0.1", port), timeout=settings.HANG)
        self.addCleanup(connection.close)
        return connection

    def exchange(self, connection, data):
        """Sends while it receives, as a peer must whose echo is longer than all buffers."""
        sender = threading.Thread(target=connection.sendall, args=(data,))
        sender.start()
        received = bytearray()
        while len(received) < len(data):
            more = connection.recv(1 << 16)
            if not more:
                break
            received += more
        sender.join(settings.HANG)
        return bytes(received)


class Echo:
    """What every TCP echo among the examples must do."""

    name = None

    def test_every_size_comes_back_unchanged(self):
        example = self.start(self.name)
        connection = self.dial(example.port)
        for size in SIZES:
            data = noise(size, size)
            self.assertSameBytes(self.exchange(connection, data), data)
        connection.shutdown(socket.SHUT_WR)
        self.assertEqual(connection.recv(10), b"")
        example.stop()

    def test_two_hundred_clients_at_once_keep_their_bytes_apart(self):
        example = self.start(self.name)
        before = example.descriptors()
        clients = [self.dial(example.port) for _ in range(200)]
        for round_number in range(5):
            for number, client in enumerate(clients):
                client.sendall(noise(3000, 1000 * round_number + number))
            for number, client in enumerate(clients):
                data = noise(3000, 1000 * round_number + number)
                received = b""
                while len(received) < len(data) and (more := client.recv(8192)):
                    received += more
                self.assertSameBytes(received, data)
        for client in clients:
            client.close()
        deadline = time.monotonic() + settings.HANG
        while example.descriptors() > before and time.monotonic() < deadline:
            time.sleep(0.02)
        self.assertLessEqual(example.descriptors(), before, "a connection was left open")
        example.stop()

    def test_a_signal_ends_it_with_clients_connected(self):
        for number in (signal.SIGTERM, signal.SIGINT):
            example = self.start(self.name)
            idle, busy = self.dial(example.port), self.dial(example.port)
            self.assertEqual(self.exchange(busy, b"before"), b"before")
            self.assertEqual(self.exchange(idle, b"x"), b"x")
            example.stop(number)
            self.assertEqual(idle.recv(10), b"")

    def test_a_client_that_resets_does_no_harm(self):
        example = self.start(self.name)
        for _ in range(20):
            connection = self.dial(example.port)
            connection.sendall(noise(100_000))
            # SO_LINGER of 0 seconds: close sends a reset.
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            connection.close()
        self.assertEqual(self.exchange(self.dial(example.port), b"alive"), b"alive")
        example.stop()


@on_both_engines
class TCPEcho(Echo, ExampleCase):
    """tcp-echo: the engine's loop in its smallest form."""

    name = "tcp-echo"

    def test_a_port_that_is_taken_is_named(self):
        example = self.start(self.name)
        taken = f"127.0.0.1:{example.port}"
        code, said = self.run_example(self.name, "--listen", taken)
        self.assertEqual(code, 1)
        self.assertIn(taken, said)
        self.assertIn("Address already in use", said)
        example.stop()

    def test_a_wrong_command_line_is_status_64_and_says_what_is_expected(self):
        for wrong in (["--listen"], ["--port", "7"], ["--listen", "nowhere"], ["a"]):
            code, said = self.run_example(self.name, *wrong)
            self.assertEqual(code, 64, said)
            self.assertIn("usage: tcp-echo", said)


@on_both_engines
class AsyncEcho(Echo, ExampleCase):
    """async-echo: the same with the façade."""

    name = "async-echo"


@on_both_engines
class ForeignLoop(Echo, ExampleCase):
    """foreign-loop: the engine on the thread of SwiftNIO's event loop."""

    name = "foreign-loop"

    def start(self, name, *arguments):
        example = super().start(name, "--tell", "0", *arguments)
        # By then both loops have opened what they need.
        example.wait_for(r"telling on")
        return example

    def test_the_other_loop_sees_what_the_engine_did(self):
        example = self.start(self.name)
        told = int(example.wait_for(r"telling on \S*:(\d+)")[1])
        connection = self.dial(example.port)
        total = 0
        for size in (10, 5000, 100_000):
            self.exchange(connection, noise(size))
            total += size
            # The count follows the completion of the send, the bytes may be here before it.
            deadline = time.monotonic() + settings.HANG
            text = b""
            while text != f"{total} bytes echoed\n".encode() and time.monotonic() < deadline:
                with socket.create_connection(("127.0.0.1", told)) as asking:
                    text = asking.makefile("rb").read()
            self.assertEqual(text, f"{total} bytes echoed\n".encode())
        example.stop()

    def test_at_rest_it_takes_no_processor_time(self):
        example = self.start(self.name)
        self.exchange(self.dial(example.port), b"x")

        def ticks():
            with open(f"/proc/{example.process.pid}/stat", encoding="ascii") as file:
                fields = file.read().rpartition(") ")[2].split()
            return int(fields[11]) + int(fields[12])

        time.sleep(0.3)
        before = ticks()
        time.sleep(1.5)
        # A descriptor that stays readable would spin: some 150 ticks.
        self.assertLess(ticks() - before, 30, "the loop spins")
        example.stop()


@on_both_engines
class UDPEcho(ExampleCase):
    """udp-echo: one by one, and many at once by UDP_SEGMENT and UDP_GRO."""

    def client(self, port):
        client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.addCleanup(client.close)
        client.settimeout(settings.HANG)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        client.connect(("127.0.0.1", port))
        return client

    def test_each_datagram_comes_back_whole(self):
        for arguments in ([], ["--coalesce"]):
            example = self.start("udp-echo", *arguments)
            client = self.client(example.port)
            for size in (0, 1, 2, 512, 1471, 1472, 1473, 9000, 65_000, 65_507):
                data = noise(size, size + 1)
                client.send(data)
                self.assertSameBytes(client.recv(70_000), data)
            example.stop()

    def test_segments_come_back_as_they_were_cut(self):
        for arguments in ([], ["--coalesce"]):
            example = self.start("udp-echo", *arguments)
            client = self.client(example.port)
            for segment, count in ((1, 64), (100, 64), (1000, 64), (1400, 40), (1472, 44), (9000, 7)):
                for rest in (0, segment // 2):
                    total = segment * (count - 1) + (rest or segment)
                    data = noise(total, total)
                    client.setsockopt(socket.IPPROTO_UDP, UDP_SEGMENT, segment)
                    client.send(data)
                    client.setsockopt(socket.IPPROTO_UDP, UDP_SEGMENT, 0)
                    parts = [client.recv(70_000) for _ in range(count)]
                    expected = [data[at : at + segment] for at in range(0, total, segment)]
                    self.assertEqual([len(p) for p in parts], [len(p) for p in expected])
                    self.assertSameBytes(b"".join(parts), data)
            example.stop()
            self.assertIn(" 0 answers dropped", example.said())

    def test_coalescing_takes_many_datagrams_as_one(self):
        example = self.start("udp-echo", "--coalesce")
        client = self.client(example.port)
        client.setsockopt(socket.IPPROTO_UDP, UDP_SEGMENT, 100)
        for _ in range(10):
            client.send(noise(6400))
            for _ in range(64):
                self.assertEqual(len(client.recv(200)), 100)
        example.stop()
        found = re.search(r"(\d+) datagrams in (\d+) arrivals", example.said())
        self.assertEqual(int(found[1]), 640)
        self.assertLess(int(found[2]), 640, "nothing was coalesced")

    def test_many_clients_get_their_own_answers(self):
        example = self.start("udp-echo")
        clients = [self.client(example.port) for _ in range(50)]
        for round_number in range(10):
            for number, client in enumerate(clients):
                client.send(noise(700, round_number * 100 + number))
            for number, client in enumerate(clients):
                self.assertSameBytes(client.recv(1000), noise(700, round_number * 100 + number))
        example.stop(signal.SIGINT)


@on_both_engines
class FileCopy(ExampleCase):
    """file-copy: the bytes, the size, the mode, and words for what cannot be copied."""

    def copy(self, data, *options, mode=0o640):
        source, target = self.folder / "source", self.folder / "target"
        source.write_bytes(data)
        source.chmod(mode)
        target.unlink(missing_ok=True)
        code, said = self.run_example("file-copy", *options, source, target)
        self.assertEqual(code, 0, said)
        self.assertIn(f" {len(data)} bytes copied", said)
        self.assertSameBytes(target.read_bytes(), data)
        return target

    def test_every_size_around_a_block(self):
        for size in (0, 1, 4095, 4096, 4097, 131_071, 131_072, 131_073):
            self.copy(noise(size, size))
            self.copy(noise(size, size), "--block", 4, "--depth", 3)

    def test_64_MiB_with_many_blocks_in_flight_and_with_one(self):
        data = noise(1 << 20) * 63 + noise(1 << 20, 2)
        self.copy(data)
        self.copy(data, "--depth", 1, "--block", 1024, "--durable")

    def test_the_mode_is_kept_and_an_old_target_is_cut(self):
        old_mask = os.umask(0o022)
        self.addCleanup(os.umask, old_mask)
        target = self.copy(b"#!/bin/sh\n", mode=0o750)
        self.assertEqual(target.stat().st_mode & 0o777, 0o750)
        source = self.folder / "source"
        target.write_bytes(noise(1000))
        self.assertEqual(self.run_example("file-copy", source, target)[0], 0)
        self.assertEqual(target.read_bytes(), b"#!/bin/sh\n")

    def test_what_cannot_be_copied_is_named_with_the_reason(self):
        there = self.folder / "there"
        there.write_bytes(b"x" * 10_000)
        for source, target, words in (
            ("/no/such/file", self.folder / "a", "/no/such/file: cannot be looked at: No such file"),
            ("/tmp", self.folder / "a", "/tmp: is not a regular file"),
            (there, "/no/such/folder/a", "/no/such/folder/a: cannot be written: No such file"),
            (there, "/dev/full", "/dev/full: write: No space left on device"),
        ):
            code, said = self.run_example("file-copy", source, target)
            self.assertEqual(code, 1, said)
            self.assertIn(words, said)
            self.assertNotIn("bytes copied", said)


@on_both_engines
class StaticServer(ExampleCase):
    """static-server, asked by curl."""

    def curl(self, example, path, *options):
        done = subprocess.run(
            ["curl", "-sS", "--path-as-is", "--max-time", str(settings.HANG), *options,
             f"http://127.0.0.1:{example.port}{path}"],
            capture_output=True, check=False,
        )
        return done.returncode, done.stdout, done.stderr.decode()

    def status(self, example, path, *options):
        options = [*options, "-o", "/dev/null", "-w", "%{http_code}"]
        return int(self.curl(example, path, *options)[1])

    def serve(self, *arguments):
        self.root = self.folder / "root"
        (self.root / "deep").mkdir(parents=True)
        return self.start("static-server", "--root", self.root, *arguments)

    def test_files_of_every_size_come_whole(self):
        example = self.serve()
        for size in (0, 1, 4095, 65_535, 65_536, 65_537, 3 << 20):
            data = noise(size, size)
            (self.root / "deep" / f"{size}.bin").write_bytes(data)
            code, body, problem = self.curl(example, f"/deep/{size}.bin?a=b")
            self.assertEqual((code, problem), (0, ""))
            self.assertSameBytes(body, data)
        head = self.curl(example, f"/deep/{3 << 20}.bin", "-I")[1]
        self.assertIn(b"Content-Length: %d\r\n" % (3 << 20), head)
        example.stop()

    def test_what_is_not_served_is_refused_with_the_right_status(self):
        example = self.serve()
        (self.folder / "secret").write_bytes(b"secret")
        os.mkfifo(self.root / "fifo")
        for path, status in (
            ("/nothing", 404), ("/deep", 404), ("/fifo", 404), ("/../secret", 400),
            ("/deep/../../secret", 400), ("/%2e%2e/secret", 400),
        ):
            self.assertEqual(self.status(example, path), status, path)
        self.assertEqual(self.status(example, "/", "-X", "POST"), 405)
        self.assertEqual(self.status(example, "/", "-H", "X: " + "y" * 9000), 431)
        with self.dial(example.port) as raw:
            raw.sendall(b"what is this\r\n\r\n")
            self.assertIn(b"400", raw.makefile("rb").read())
        example.stop()

    def test_many_clients_at_once_and_more_than_there_are_places(self):
        example = self.serve("--connections", "64")
        data = noise(200_000)
        (self.root / "file").write_bytes(data)
        before = example.descriptors()
        clients = [self.dial(example.port) for _ in range(60)]
        for client in clients:
            client.sendall(b"GET /file HTTP/1.1\r\nHost: x\r\n\r\n")
        for client in clients:
            body = client.makefile("rb").read().partition(b"\r\n\r\n")[2]
            self.assertSameBytes(body, data)
            client.close()
        crowd = [self.dial(example.port) for _ in range(100)]
        for client in crowd:
            client.close()
        deadline = time.monotonic() + settings.HANG
        while example.descriptors() > before and time.monotonic() < deadline:
            time.sleep(0.02)
        self.assertLessEqual(example.descriptors(), before)
        self.assertEqual(self.status(example, "/file"), 200)
        example.stop()

    def test_a_signal_lets_an_answer_that_has_begun_end(self):
        example = self.serve()
        data = noise(24 << 20)
        (self.root / "long").write_bytes(data)
        slow, idle = self.dial(example.port), self.dial(example.port)
        slow.sendall(b"GET /long HTTP/1.1\r\n\r\n")
        received = slow.recv(1000)
        example.process.send_signal(signal.SIGTERM)
        self.assertEqual(idle.recv(10), b"")
        received += slow.makefile("rb").read()
        self.assertSameBytes(received.partition(b"\r\n\r\n")[2], data)
        # A second signal, while it still closes, would end it at once.
        example.end()


class Tutorial(ExampleCase):
    """The last step of the tutorial in the documentation, which names its engine itself."""

    def test_its_server_echoes_and_ends_in_order(self):
        port = ports.free_port()
        process = subprocess.Popen([examples.FOLDER / "tutorial-4", str(port)])
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        deadline = time.monotonic() + settings.HANG
        while True:
            try:
                connection = self.dial(port)
                break
            except ConnectionRefusedError:
                self.assertLess(time.monotonic(), deadline, "it never listened")
                time.sleep(0.01)
        idle = self.dial(port)
        for size in SIZES:
            self.assertSameBytes(self.exchange(connection, noise(size)), noise(size))
        process.send_signal(signal.SIGTERM)
        self.assertEqual(process.wait(settings.HANG), 0)
        self.assertEqual((connection.recv(1), idle.recv(1)), (b"", b""))


del ExampleCase, Echo
