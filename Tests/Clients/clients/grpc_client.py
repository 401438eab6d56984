"""grpcio: a unary call. To a server over HTTP/1.1 that answers as gRPC does, it is served; a real gRPC
server speaks HTTP/2 alone, which the proxy does not speak to servers yet: the client must get a clean error.
"""

import importlib.util
from concurrent import futures

from clients import HTTP2, BaseClient, Variant
from harness import configuration, ports

METHOD = "/millrace.Test/Unary"


def missing():
    return None if importlib.util.find_spec("grpc") else "grpcio could not be installed"


def version():
    import grpc

    return f"grpcio {grpc.__version__}"


class ToServer(Variant):
    """The proxy's upstream is a gRPC server."""

    server = None

    def options(self, _folder):
        import grpc

        if not ToServer.server:
            server = grpc.server(futures.ThreadPoolExecutor(2))
            handler = grpc.unary_unary_rpc_method_handler(lambda request, _context: request)
            server.add_generic_rpc_handlers(
                (grpc.method_handlers_generic_handler("millrace.Test", {"Unary": handler}),))
            ToServer.port = ports.free_port()
            server.add_insecure_port(f"127.0.0.1:{ToServer.port}")
            server.start()
            ToServer.server = server
        return {"upstream": configuration.upstream(ToServer.port)}


VARIANTS = [*HTTP2, ToServer("clear, gRPC server", False)]
EXCHANGES = ["unary", "missing"]


class Client(BaseClient):
    def expected(self, name):
        if isinstance(self.variant, ToServer):
            # 502 is UNAVAILABLE by gRPC's own table.
            return "UNAVAILABLE Received http2 header with status: 502"
        return {
            "unary": "OK message",
            # 404 is UNIMPLEMENTED.
            "missing": "UNIMPLEMENTED Received http2 header with status: 404",
        }[name]

    def call(self, method):
        import grpc

        address = f"127.0.0.1:{self.target.port}"
        if self.target.tls:
            with open(self.target.authority, "rb") as file:
                channel = grpc.secure_channel(address, grpc.ssl_channel_credentials(file.read()))
        else:
            channel = grpc.insecure_channel(address)
        with channel:
            try:
                return "OK " + channel.unary_unary(method)(b"message", timeout=10).decode()
            except grpc.RpcError as error:
                return f"{error.code().name} {error.details()}"

    def unary(self):
        return self.call(METHOD)

    def missing(self):
        return self.call("/millrace.Test/None")
