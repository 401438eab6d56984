"""The peers of the tunnel campaign: a server that echoes, over HTTP/1.1 and HTTP/2, and clients of both."""

import base64
import hashlib
import os
import pathlib
import selectors
import socket
import struct
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "Tests/System"))
sys.dont_write_bytecode = True
from harness import http2  # noqa: E402
from harness.http2 import ACK, DATA, END_HEADERS, END_STREAM, HEADERS, PING, PREFACE, RST_STREAM  # noqa: E402
from harness.http2 import SETTINGS, WINDOW_UPDATE, encode, frame  # noqa: E402

WORD = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
KEY = b"dGhlIHNhbXBsZSBub25jZQ=="
WINDOW = 4 << 20
PIECE = 1 << 18


def handshake(host=b"a"):
    return (
        b"GET / HTTP/1.1\r\nHost: " + host + b"\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: " + KEY + b"\r\n\r\n")


class Peer:
    """A connection of the server: what waits to be sent, and what the bytes mean."""

    def __init__(self, sock, loop):
        self.socket, self.loop = sock, loop
        self.out = bytearray()
        self.data = bytearray()
        self.ended = False
        self.use = self.first

    def first(self, data):
        self.data += data
        if PREFACE.startswith(bytes(self.data[: len(PREFACE)])):
            if len(self.data) >= len(PREFACE):
                rest = bytes(self.data[len(PREFACE) :])
                self.data.clear()
                self.begin_http2()
                self.use(rest)
            return
        while (end := self.data.find(b"\r\n\r\n")) >= 0:
            head = bytes(self.data[:end])
            del self.data[: end + 4]
            if b"\r\nUpgrade: " not in head:
                self.out += b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nok\n"
                continue
            key = next(line[19:] for line in head.split(b"\r\n") if line.lower().startswith(b"sec-websocket-key: "))
            accept = base64.b64encode(hashlib.sha1(key + WORD).digest())
            self.out += (
                b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
                b"Sec-WebSocket-Accept: " + accept + b"\r\n\r\n" + self.data)
            self.data.clear()
            self.use = self.echo
            return

    def echo(self, data):
        self.out += data

    # HTTP/2

    def begin_http2(self):
        self.use = self.frames
        self.windows = {0: 65_535}
        self.initial = 65_535
        self.waiting = {}
        self.out += frame(SETTINGS, payload=struct.pack(">HIHIHI", 3, 128, 4, WINDOW, 8, 1))
        self.out += frame(WINDOW_UPDATE, 0, 0, struct.pack(">I", (1 << 30) - 65_535))

    def frames(self, data):
        self.data += data
        at = 0
        view = self.data
        while len(view) - at >= 9:
            length = int.from_bytes(view[at : at + 3], "big")
            if len(view) - at < 9 + length:
                break
            kind, flags, stream = struct.unpack_from(">BBI", view, at + 3)
            self.take(kind, flags, stream, bytes(view[at + 9 : at + 9 + length]))
            at += 9 + length
        del self.data[:at]
        for stream in [stream for stream, queue in self.waiting.items() if queue[0]]:
            self.push(stream)

    def take(self, kind, flags, stream, payload):
        if kind == SETTINGS and not flags & ACK:
            for i in range(0, len(payload), 6):
                name, value = struct.unpack_from(">HI", payload, i)
                if name == 4:
                    self.initial = value
            self.out += frame(SETTINGS, ACK)
        elif kind == PING and not flags & ACK:
            self.out += frame(PING, ACK, 0, payload)
        elif kind == WINDOW_UPDATE:
            self.windows[stream] = self.windows.get(stream, self.initial) + struct.unpack(">I", payload)[0]
        elif kind == HEADERS:
            self.windows.setdefault(stream, self.initial)
            if flags & END_STREAM:
                self.out += frame(HEADERS, END_HEADERS | END_STREAM, stream, encode([(":status", "200")]))
            else:
                self.out += frame(HEADERS, END_HEADERS, stream, encode([(":status", "200")]))
                self.waiting[stream] = [bytearray(), False]
        elif kind == DATA and stream in self.waiting:
            queue = self.waiting[stream]
            queue[0] += payload
            queue[1] = bool(flags & END_STREAM)
            if payload:
                count = struct.pack(">I", len(payload))
                self.out += frame(WINDOW_UPDATE, 0, 0, count) + frame(WINDOW_UPDATE, 0, stream, count)
            self.push(stream)
        elif kind == RST_STREAM:
            self.waiting.pop(stream, None)

    def push(self, stream):
        queue, ends = self.waiting[stream]
        at = 0
        while (room := min(self.windows[0], self.windows[stream], 16_384, len(queue) - at)) > 0:
            self.out += frame(DATA, 0, stream, bytes(queue[at : at + room]))
            self.windows[0] -= room
            self.windows[stream] -= room
            at += room
        del queue[:at]
        if ends and not queue:
            self.out += frame(DATA, END_STREAM, stream)
            del self.waiting[stream]


def serve(listener):
    """Runs until it is killed. A peer that does not read is not read either."""
    loop = selectors.EpollSelector()
    listener.setblocking(False)
    loop.register(listener, selectors.EVENT_READ)
    while True:
        for key, events in loop.select():
            if key.fileobj is listener:
                for _ in range(64):
                    try:
                        sock, _ = listener.accept()
                    except BlockingIOError:
                        break
                    sock.setblocking(False)
                    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                    loop.register(sock, selectors.EVENT_READ, Peer(sock, loop))
                continue
            try:
                _turn(loop, key.data, events)
            except OSError:
                loop.unregister(key.fileobj)
                key.fileobj.close()


def _turn(loop, peer, events):
    if events & selectors.EVENT_READ:
        data = peer.socket.recv(PIECE)
        if data:
            peer.use(data)
        else:
            peer.ended = True
    if peer.out:
        try:
            del peer.out[: peer.socket.send(peer.out)]
        except BlockingIOError:
            pass
    if peer.ended and not peer.out:
        raise ConnectionError
    wanted = selectors.EVENT_WRITE if peer.out else 0
    if not peer.ended and len(peer.out) < 4 * PIECE:
        wanted |= selectors.EVENT_READ
    loop.modify(peer.socket, wanted, peer)


def start_server():
    """In a process of its own. - Returns: its number and its port."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=4096)
    port = listener.getsockname()[1]
    pid = os.fork()
    if pid == 0:
        try:
            serve(listener)
        finally:
            os._exit(1)
    listener.close()
    return pid, port


def dial(port, number):
    """From one of several addresses, so that local ports are no bound."""
    sock = socket.socket()
    sock.settimeout(60)
    sock.bind((f"127.0.0.{2 + number % 64}", 0))
    sock.connect(("127.0.0.1", port))
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock


class HTTP1Tunnels:
    """Many tunnels, a connection each."""

    def __init__(self, port):
        self.port = port
        self.sockets = []

    def open(self, count):
        for start in range(0, count, 100):
            batch = [dial(self.port, n) for n in range(start, min(count, start + 100))]
            for sock in batch:
                sock.sendall(handshake())
            for sock in batch:
                head = b""
                while not head.endswith(b"\r\n\r\n"):
                    data = sock.recv(4096)
                    if not data:
                        raise SystemExit(f"an end instead of a 101: {head}")
                    head += data
                if not head.startswith(b"HTTP/1.1 101 "):
                    raise SystemExit(f"no 101: {head}")
            self.sockets += batch

    def check(self):
        for number, sock in enumerate(self.sockets):
            sock.sendall(b"number %06d" % number)
        for number, sock in enumerate(self.sockets):
            back = b""
            while len(back) < 13:
                data = sock.recv(13 - len(back))
                if not data:
                    raise SystemExit(f"tunnel {number} has ended")
                back += data
            if back != b"number %06d" % number:
                raise SystemExit(f"tunnel {number} sends {back}")

    def close(self):
        for sock in self.sockets:
            sock.close()


class HTTP2Tunnels:
    """Many tunnels, a hundred to a connection."""

    def __init__(self, port):
        self.port = port
        self.clients = []

    def open(self, count):
        for start in range(0, count, 100):
            client = http2.Client(self.port)
            client.until(lambda: client.settings is not None)
            for _ in range(min(100, count - start)):
                client.open("/", "CONNECT", [(":protocol", "websocket"), ("sec-websocket-version", "13")], ends=False)
            client.until(lambda: all(stream.heads for stream in client.streams.values()), "no head")
            if not all(stream.status == 200 for stream in client.streams.values()):
                raise SystemExit("no 200")
            self.clients.append(client)

    def check(self):
        for client in self.clients:
            for number in client.streams:
                client.send(frame(DATA, 0, number, b"number %06d" % number))
        for client in self.clients:
            client.until(lambda: all(len(one.content) >= 13 for one in client.streams.values()), "no echo")
            for number, stream in client.streams.items():
                if stream.content != b"number %06d" % number or stream.is_over:
                    raise SystemExit(f"stream {number} sends {stream.content}")
                stream.content = b""

    def close(self):
        for client in self.clients:
            client.close()


class HTTP2Connections:
    """Many connections of HTTP/2 that have had one request each."""

    def __init__(self, port, tls):
        self.port, self.tls = port, tls
        self.clients = []

    def open(self, count):
        for _ in range(count):
            client = http2.Client(self.port, tls=self.tls)
            self.clients.append(client)
            self._ask(client)

    def check(self):
        for client in self.clients:
            self._ask(client)

    def _ask(self, client):
        answer = client.fetch("/")
        if (answer.status, answer.content) != (200, b"ok\n"):
            raise SystemExit(f"an answer of {answer.status}")
        client.streams.clear()

    def close(self):
        for client in self.clients:
            client.close()


def pattern(count):
    """Blocks of 1 MiB that differ."""
    block = os.urandom(1 << 20)
    for number in range(count):
        at = (number * 7919) % len(block)
        yield block[at:] + block[:at]


def echo_http1(port, mebibytes, sample):
    """Sends and takes back. - Returns: whether the two hashes are one."""
    sock = dial(port, 0)
    sock.sendall(handshake())
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        head += sock.recv(1)
    sock.setblocking(False)
    sent, taken = hashlib.sha256(), hashlib.sha256()
    blocks = pattern(mebibytes)
    out = memoryview(b"")
    total = mebibytes << 20
    received = 0
    loop = selectors.EpollSelector()
    loop.register(sock, selectors.EVENT_READ | selectors.EVENT_WRITE)
    writing = True
    while received < total:
        for _, events in loop.select(60):
            if events & selectors.EVENT_WRITE:
                if not out:
                    block = next(blocks, b"")
                    sent.update(block)
                    out = memoryview(block)
                if out:
                    out = out[sock.send(out) :]
                else:
                    loop.modify(sock, selectors.EVENT_READ)
                    writing = False
            if events & selectors.EVENT_READ:
                data = sock.recv(1 << 20)
                if not data:
                    raise SystemExit(f"an end after {received} bytes")
                taken.update(data)
                received += len(data)
                sample(received)
    sock.setblocking(True)
    sock.shutdown(socket.SHUT_WR)
    rest = sock.recv(1)
    sock.close()
    return not writing and rest == b"" and sent.digest() == taken.digest()


def echo_http2(port, mebibytes, sample):
    """The same on a stream, within the windows that the proxy gives."""
    sock = dial(port, 0)
    sock.sendall(
        PREFACE + frame(SETTINGS, payload=struct.pack(">HI", 4, WINDOW))
        + frame(WINDOW_UPDATE, 0, 0, struct.pack(">I", WINDOW)) + frame(HEADERS, END_HEADERS, 1, encode([
            (":method", "CONNECT"), (":protocol", "websocket"), (":scheme", "http"), (":authority", "a"),
            (":path", "/"), ("sec-websocket-version", "13")])))
    sent, taken = hashlib.sha256(), hashlib.sha256()
    windows = {0: 65_535, 1: 65_535}
    initial = 65_535
    blocks = pattern(mebibytes)
    block, at = memoryview(b""), 0
    total = mebibytes << 20
    given = received = credit = 0
    data = bytearray()
    out = bytearray()
    ended = open_ = False
    sock.setblocking(False)
    loop = selectors.EpollSelector()
    loop.register(sock, selectors.EVENT_READ)
    while not ended:
        while open_ and len(out) < PIECE and given < total and (room := min(windows[0], windows[1], 16_384)) > 0:
            if at == len(block):
                block, at = memoryview(next(blocks)), 0
                sent.update(block)
            room = min(room, len(block) - at)
            out += frame(DATA, END_STREAM if given + room == total else 0, 1, bytes(block[at : at + room]))
            at += room
            given += room
            windows[0] -= room
            windows[1] -= room
        if credit >= WINDOW // 4:
            out += frame(WINDOW_UPDATE, 0, 0, struct.pack(">I", credit))
            out += frame(WINDOW_UPDATE, 0, 1, struct.pack(">I", credit))
            credit = 0
        loop.modify(sock, selectors.EVENT_READ | (selectors.EVENT_WRITE if out else 0))
        for _, events in loop.select(60):
            if events & selectors.EVENT_WRITE and out:
                del out[: sock.send(out)]
            if not events & selectors.EVENT_READ:
                continue
            piece = sock.recv(1 << 20)
            if not piece:
                raise SystemExit(f"an end after {received} bytes")
            data += piece
            start = 0
            while len(data) - start >= 9:
                length = int.from_bytes(data[start : start + 3], "big")
                if len(data) - start < 9 + length:
                    break
                kind, flags, stream = struct.unpack_from(">BBI", data, start + 3)
                payload = memoryview(data)[start + 9 : start + 9 + length]
                if kind == DATA:
                    taken.update(payload)
                    received += length
                    credit += length
                    ended = bool(flags & END_STREAM)
                    sample(received)
                elif kind == WINDOW_UPDATE:
                    windows[stream] += struct.unpack(">I", payload)[0]
                elif kind == SETTINGS and not flags & ACK:
                    for i in range(0, length, 6):
                        name, value = struct.unpack_from(">HI", payload, i)
                        if name == 4:
                            windows[1] += value - initial
                            initial = value
                    out += frame(SETTINGS, ACK)
                elif kind == HEADERS:
                    open_ = True
                elif kind == RST_STREAM:
                    raise SystemExit("a reset")
                payload.release()
                start += 9 + length
            del data[:start]
    sock.close()
    return received == total and sent.digest() == taken.digest()
