"""Python's h2: every frame is asked for, so that what no other client shows is seen."""

import importlib.util
import socket
import ssl
import time
import zlib

import exchanges
from clients import ALL, HTTP2, BaseClient, times

VARIANTS = HTTP2
EXCHANGES = ALL


def missing():
    return None if importlib.util.find_spec("h2") else "h2 could not be installed"


def version():
    import h2

    return f"h2 {h2.__version__}"


class Response:
    def __init__(self):
        self.heads, self.trailers = [], {}
        self.content = b""
        self.ended = self.reset = False

    @property
    def is_over(self):
        return self.ended or self.reset

    @property
    def status(self):
        return self.heads[-1][":status"] if self.heads else "none"


class Connection:
    def __init__(self, target):
        import h2.config
        import h2.connection

        self.target = target
        raw = socket.create_connection(("127.0.0.1", target.port), timeout=20)
        if target.tls:
            context = ssl.create_default_context(cafile=target.authority)
            context.set_alpn_protocols(["h2"])
            raw = context.wrap_socket(raw, server_hostname="site.test")
        self.socket = raw
        self.h2 = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding="utf-8"))
        self.h2.initiate_connection()
        self.responses = {}
        self.ended = False

    def close(self):
        self.socket.close()

    def flush(self):
        self.socket.sendall(self.h2.data_to_send())

    def open(self, path, method="GET", fields=(), ends=True):
        stream = self.h2.get_next_available_stream_id()
        head = [(":method", method), (":scheme", self.target.scheme), (":authority", "site.test"), (":path", path)]
        self.h2.send_headers(stream, [*head, *fields], end_stream=ends)
        self.responses[stream] = Response()
        self.flush()
        return stream

    def send(self, stream, content, ends=True):
        """Content, as the windows allow."""
        while content or ends:
            room = min(self.h2.local_flow_control_window(stream), self.h2.max_outbound_frame_size)
            if content and room <= 0:
                self.read()
                continue
            piece, content = content[:room], content[room:]
            last = ends and not content
            self.h2.send_data(stream, piece, end_stream=last)
            self.flush()
            if last:
                return

    def read(self):
        import h2.events

        data = self.socket.recv(1 << 18)
        if not data:
            raise ConnectionError("the connection ended")
        for event in self.h2.receive_data(data):
            response = self.responses.get(getattr(event, "stream_id", None), Response())
            match event:
                case h2.events.InformationalResponseReceived() | h2.events.ResponseReceived():
                    response.heads.append(dict(event.headers))
                case h2.events.DataReceived():
                    response.content += event.data
                    self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
                case h2.events.TrailersReceived():
                    response.trailers = dict(event.headers)
                case h2.events.StreamEnded():
                    response.ended = True
                case h2.events.StreamReset():
                    response.reset = True
                case h2.events.ConnectionTerminated():
                    self.ended = True
        self.flush()

    def until(self, condition):
        while not condition():
            self.read()

    def response(self, stream):
        response = self.responses[stream]
        self.until(lambda: response.is_over)
        return response


class Client(BaseClient):
    def __init__(self, target, variant):
        super().__init__(target, variant)
        self.connection = Connection(target)

    def close(self):
        self.connection.close()

    def fetch(self, path, method="GET", fields=(), content=None):
        stream = self.connection.open(path, method, fields, ends=content is None)
        if content is not None:
            self.connection.send(stream, content)
        return self.connection.response(stream)

    def text(self, *arguments, **options):
        response = self.fetch(*arguments, **options)
        return f"{response.status} {response.content.decode().strip()}"

    def small(self):
        return self.text("/small")

    def large(self):
        response = self.fetch("/large")
        return f"{response.status} {len(response.content)} {exchanges.digest(response.content)}"

    def post(self):
        length = [("content-length", str(len(exchanges.UPLOAD)))]
        return self.text("/echo", "POST", length, content=exchanges.UPLOAD)

    def stream(self):
        """With trailers behind it."""
        connection = self.connection
        stream = connection.open("/echo", "POST", [("te", "trailers")], ends=False)
        for piece in exchanges.STREAM:
            connection.send(stream, piece, ends=False)
        connection.h2.send_headers(stream, [("x-own", "1")], end_stream=True)
        connection.flush()
        response = connection.response(stream)
        return f"{response.status} {response.content.decode()}"

    def head(self):
        response = self.fetch("/small", "HEAD")
        return f"{response.status} length {response.heads[-1]['content-length']}, content {len(response.content)}"

    def missing(self):
        return self.text("/missing")

    def redirect(self):
        response = self.fetch("/moved")
        return f"{response.status} {response.heads[-1]['location']}"

    def parallel(self):
        def get():
            streams = [self.connection.open("/together") for _ in range(exchanges.TOGETHER)]
            return [self.connection.response(stream).status for stream in streams]

        statuses, connections = self.target.count_connections(get)
        # The one that is there already.
        return f"{times(statuses)}, connections {connections + 1}"

    def trailers(self):
        response = self.fetch("/trailers")
        return f"{response.status} {response.content.decode()}, x-sum {response.trailers.get('x-sum')}"

    def early(self):
        response = self.fetch("/early")
        first = response.heads[0]
        return f"{first[':status']} {first.get('link')}, {response.status} {response.content.decode()}"

    def cancel(self):
        import h2.errors

        connection = self.connection
        stream = connection.open("/endless")
        connection.until(lambda: connection.responses[stream].content)
        connection.h2.reset_stream(stream, h2.errors.ErrorCodes.CANCEL)
        connection.flush()
        return f"cancelled, then {self.small()}"

    def abort(self):
        import h2.errors

        connection = self.connection
        stream = connection.open("/echo", "POST", [("content-length", "1000000")], ends=False)
        connection.send(stream, exchanges.STREAM[0], ends=False)
        connection.h2.reset_stream(stream, h2.errors.ErrorCodes.CANCEL)
        connection.flush()
        return f"aborted, then {self.small()}"

    def gzip(self):
        response = self.fetch("/gzip", fields=[("accept-encoding", "gzip")])
        text = zlib.decompress(response.content, wbits=31)
        return f"{response.status} {response.heads[-1]['content-encoding']} {exchanges.digest(text)}"

    def cookies(self):
        return self.text("/cookies", fields=[("cookie", cookie) for cookie in exchanges.COOKIES])

    def idle(self):
        def get():
            first = self.small()
            time.sleep(2)
            return f"{first}, {self.small()}"

        text, connections = self.target.count_connections(get)
        return f"{text}, connections {connections + 1}"

    def drain(self):
        """h2 takes no frame behind a GOAWAY: what is open is sent again on another connection."""
        import h2.exceptions

        self.target.replace_soon()
        statuses = []
        while len(statuses) < exchanges.DRAINED:
            try:
                if self.connection.ended:
                    self.connection.close()
                    self.connection = Connection(self.target)
                statuses.append(self.fetch("/slow").status)
            except (OSError, h2.exceptions.ProtocolError):
                self.connection.ended = True
                time.sleep(0.05)
        return times(statuses)


def _continue(self):
    connection = self.connection
    fields = [("expect", "100-continue"), ("content-length", str(len(exchanges.UPLOAD)))]
    stream = connection.open("/echo", "POST", fields, ends=False)
    connection.until(lambda: connection.responses[stream].heads)
    connection.send(stream, exchanges.UPLOAD)
    response = connection.response(stream)
    return f"{response.heads[0][':status']}, {response.status} {response.content.decode()}"


setattr(Client, "continue", _continue)
