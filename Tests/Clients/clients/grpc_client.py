"""grpcio on both sides: every kind of call, and how each ends early. The server is grpcio's, over h2c and over h2 with
TLS; once it is a server of HTTP/1.1 that answers as gRPC does, and once there is none.
"""

import collections
import importlib.util
import itertools
import queue
import threading
from concurrent import futures

from clients import HTTP2, BaseClient, Variant
from harness import certificates, configuration, ports, settings

SERVICE = "millrace.Test"
LARGE = 4 << 20
UNLIMITED = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
NAMES = itertools.count()
METADATA = (("x-text", "a value"), ("x-bytes-bin", bytes(range(256))), ("x-twice", "1"), ("x-twice", "2"))


def missing():
    return None if importlib.util.find_spec("grpc") else "grpcio could not be installed"


def version():
    import grpc

    return f"grpcio {grpc.__version__}"


class Server:
    """The methods, and what a test is told of them beside the calls."""

    def __init__(self, tls):
        import grpc

        self.arrived = queue.Queue()
        self.confirmed = collections.defaultdict(queue.Queue)
        self.ended = queue.Queue()
        handlers = {
            "Echo": grpc.unary_unary_rpc_method_handler(self.echo),
            "Down": grpc.unary_stream_rpc_method_handler(self.down),
            "Up": grpc.stream_unary_rpc_method_handler(self.up),
            "Both": grpc.stream_stream_rpc_method_handler(self.both),
            "Fail": grpc.unary_unary_rpc_method_handler(self.fail),
            "FailLate": grpc.unary_stream_rpc_method_handler(self.fail_late),
            "Wait": grpc.unary_unary_rpc_method_handler(self.wait),
        }
        self.server = grpc.server(futures.ThreadPoolExecutor(16), options=UNLIMITED)
        self.server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
        self.port = ports.free_port()
        address = f"127.0.0.1:{self.port}"
        if tls:
            certificate, key = (open(path, "rb").read() for path in certificates.site())
            self.server.add_secure_port(address, grpc.ssl_server_credentials([(key, certificate)]))
        else:
            self.server.add_insecure_port(address)
        self.server.start()

    def echo(self, request, context):
        sent = [(k, v) for k, v in context.invocation_metadata() if k.startswith("x-") and "forwarded" not in k]
        context.send_initial_metadata(sent)
        context.set_trailing_metadata([(f"{k[:-4]}-end-bin" if k.endswith("-bin") else f"{k}-end", v) for k, v in sent])
        return request

    def down(self, request, _context):
        for number in range(5):
            yield f"message {number}".encode()
            # Nothing more before the client has said that it has this one.
            assert self.confirmed[request].get(timeout=settings.HANG) == number

    def up(self, requests, _context):
        count = 0
        for request in requests:
            self.arrived.put(request)
            count += 1
        return f"{count} messages".encode()

    def both(self, requests, _context):
        for request in requests:
            yield request.upper()

    def fail(self, _request, context):
        import grpc

        context.abort(grpc.StatusCode.PERMISSION_DENIED, "not you: 100% äöü")

    def fail_late(self, _request, context):
        import grpc

        yield b"one"
        context.abort(grpc.StatusCode.DATA_LOSS, "lost")

    def wait(self, _request, context):
        gone = threading.Event()
        context.add_callback(gone.set)
        self.arrived.put(b"waiting")
        gone.wait(settings.HANG)
        self.ended.put("gone" if not context.is_active() else "still there")
        return b""


class ToServer(Variant):
    """The proxy's upstream is a gRPC server."""

    servers = {}
    server_tls = False
    audited = False

    def options(self, _folder):
        if self.server_tls not in ToServer.servers:
            ToServer.servers[self.server_tls] = Server(self.server_tls)
        self.server = ToServer.servers[self.server_tls]
        upstream = configuration.upstream(self.server.port, protocol="h2" if self.server_tls else "h2c")
        if self.server_tls:
            upstream["tls"] = {"ca": str(certificates.authority().certificate), "server_name": "site.test"}
        return {"upstream": upstream, "audited": self.audited}


class OverTLS(ToServer):
    server_tls = True


class Audited(ToServer):
    audited = True


class ToNobody(Variant):
    """The server is down."""

    def options(self, _folder):
        return {"upstream": configuration.upstream(ports.free_port(), protocol="h2c")}


VARIANTS = [
    *HTTP2,
    ToServer("clear, h2c server", False),
    ToServer("tls, h2c server", True),
    OverTLS("clear, h2 server", False),
    OverTLS("tls, h2 server", True),
    Audited("tls, h2c server, audited", True),
    ToNobody("clear, no server", False),
]
EXCHANGES = [
    "unary", "missing", "down", "echo", "metadata", "server_streaming", "client_streaming", "bidirectional", "error",
    "late_error", "unknown", "deadline", "cancel", "cancel_stream", "large", "many",
]


class Client(BaseClient):
    channel = None

    OF_SERVER = {
        "echo": "OK message",
        "metadata": "the same back, twice",
        "server_streaming": "5 messages, each before the next was sent",
        "client_streaming": "OK 5 messages, each before the next was sent",
        "bidirectional": "5 answers, each before the next question",
        "error": "PERMISSION_DENIED not you: 100% äöü",
        "late_error": "one DATA_LOSS lost",
        "unknown": "UNIMPLEMENTED Method not found!",
        "deadline": "DEADLINE_EXCEEDED, the server's call gone",
        "cancel": "CANCELLED, the server's call gone",
        "cancel_stream": "CANCELLED after one message",
        "large": "4194304 bytes, the same",
        "many": "200 times OK",
    }

    def expected(self, name):
        if isinstance(self.variant, ToServer):
            return self.OF_SERVER.get(name)
        if isinstance(self.variant, ToNobody):
            return {"down": "UNAVAILABLE 502 Bad Gateway (connect_refused)"}.get(name)
        return {
            "unary": "OK message",
            # The server's own 404, which is UNIMPLEMENTED to gRPC.
            "missing": "UNIMPLEMENTED Received http2 header with status: 404",
        }.get(name)

    def open(self):
        import grpc

        if self.channel is None:
            address = f"127.0.0.1:{self.target.port}"
            if self.target.tls:
                with open(self.target.authority, "rb") as file:
                    credentials = grpc.ssl_channel_credentials(file.read())
                self.channel = grpc.secure_channel(address, credentials, options=UNLIMITED)
            else:
                self.channel = grpc.insecure_channel(address, options=UNLIMITED)
        return self.channel

    def close(self):
        if self.channel:
            self.channel.close()

    def method(self, kind, name):
        return getattr(self.open(), kind)(f"/{SERVICE}/{name}")

    @staticmethod
    def name():
        """Of a call, so that what is said beside it is said to no other one."""
        return str(next(NAMES)).encode()

    @property
    def server(self):
        return self.variant.server

    @staticmethod
    def told(call):
        import grpc

        try:
            return "OK " + call().decode()
        except grpc.RpcError as error:
            return f"{error.code().name} {error.details()}"

    def call(self, path):
        return self.told(lambda: self.open().unary_unary(path)(b"message", timeout=20))

    def unary(self):
        return self.call("/millrace.Test/Unary")

    def missing(self):
        return self.call("/millrace.Test/None")

    def down(self):
        return self.call(f"/{SERVICE}/Echo")

    def echo(self):
        return self.call(f"/{SERVICE}/Echo")

    def unknown(self):
        return self.call(f"/{SERVICE}/None")

    def error(self):
        return self.call(f"/{SERVICE}/Fail")

    def metadata(self):
        def own(metadata, suffix=""):
            found = []
            for key, value in metadata:
                if key.startswith("x-") and ("-end" in key) == bool(suffix):
                    found.append((key.replace("-end", ""), value))
            return sorted(found, key=str)

        _reply, call = self.method("unary_unary", "Echo").with_call(b"m", metadata=METADATA, timeout=20)
        head, tail = own(call.initial_metadata()), own(call.trailing_metadata(), "-end")
        wanted = sorted(METADATA, key=str)
        return "the same back, twice" if head == tail == wanted else f"{head} {tail}"

    def server_streaming(self):
        count = 0
        name = self.name()
        for number, reply in enumerate(self.method("unary_stream", "Down")(name, timeout=20)):
            if reply != f"message {number}".encode():
                return f"message {number}: {reply}"
            self.server.confirmed[name].put(number)
            count += 1
        return f"{count} messages, each before the next was sent"

    def client_streaming(self):
        def requests():
            for number in range(5):
                yield f"message {number}".encode()
                # Nothing more before the server has this one.
                assert self.server.arrived.get(timeout=settings.HANG) == f"message {number}".encode()

        call = self.method("stream_unary", "Up")
        return self.told(lambda: call(requests(), timeout=20)) + ", each before the next was sent"

    def bidirectional(self):
        questions = queue.Queue()
        replies = self.method("stream_stream", "Both")(iter(questions.get, None), timeout=20)
        for number in range(5):
            questions.put(f"question {number}".encode())
            if next(replies) != f"QUESTION {number}".encode():
                return f"another answer to {number}"
        questions.put(None)
        return f"5 answers, each before the next question{''.join(map(str, replies))}"

    def late_error(self):
        import grpc

        found = []
        try:
            for reply in self.method("unary_stream", "FailLate")(b"", timeout=20):
                found.append(reply.decode())
        except grpc.RpcError as error:
            found.append(f"{error.code().name} {error.details()}")
        return " ".join(found)

    def deadline(self):
        import grpc

        call = self.method("unary_unary", "Wait").future(b"", timeout=0.5)
        try:
            call.result()
        except grpc.RpcError as error:
            told = error.code().name
        self.server.arrived.get(timeout=settings.HANG)
        return f"{told}, the server's call {self.server.ended.get(timeout=settings.HANG)}"

    def cancel(self):
        # A deadline of its own would be the server's, too.
        call = self.method("unary_unary", "Wait").future(b"")
        self.server.arrived.get(timeout=settings.HANG)
        call.cancel()
        return f"{call.code().name}, the server's call {self.server.ended.get(timeout=settings.HANG)}"

    def cancel_stream(self):
        name = self.name()
        replies = self.method("unary_stream", "Down")(name)
        next(replies)
        replies.cancel()
        code = replies.code().name
        # It would wait for a confirmation that nobody is to give any more.
        self.server.confirmed[name].put(0)
        return f"{code} after one message"

    def large(self):
        content = bytes(range(256)) * (LARGE // 256)
        reply = self.method("unary_unary", "Echo")(content, timeout=60)
        return f"{len(reply)} bytes, {'the same' if reply == content else 'others'}"

    def many(self):
        echo = self.method("unary_unary", "Echo")
        calls = [echo.future(str(n).encode(), timeout=60) for n in range(200)]
        right = sum(call.result() == str(n).encode() for n, call in enumerate(calls))
        return f"{right} times OK"
