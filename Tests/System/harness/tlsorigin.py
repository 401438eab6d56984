"""A scripted origin behind TLS: `Origin` over Python's ssl, which notes each handshake."""

import dataclasses
import ssl
import threading

from . import certificates
from .origin import Origin, echo


@dataclasses.dataclass
class Handshake:
    """What the origin saw of one."""

    version: str
    resumed: bool
    name: str | None
    protocol: str | None
    client: str | None


class TLSOrigin(Origin):
    """`pair`: certificate and key; `clients`: an authority whose certificate a client must show."""

    def __init__(self, script=echo, pair=None, minimum=None, maximum=None, clients=None, **options):
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(*(pair or certificates.site()))
        self.context.set_alpn_protocols(["http/1.1"])
        if minimum:
            self.context.minimum_version = minimum
        if maximum:
            self.context.maximum_version = maximum
        if clients:
            self.context.verify_mode = ssl.CERT_REQUIRED
            self.context.load_verify_locations(clients.certificate)
        self.context.sni_callback = self._note_name
        self.handshakes = []
        self.refusals = []
        self._names = threading.local()
        super().__init__(script, **options)

    def _note_name(self, _socket, name, _context):
        self._names.name = name

    def _serve(self, served):
        self._names.name = None
        try:
            served.socket = self.context.wrap_socket(
                served.socket, server_side=True, suppress_ragged_eofs=False
            )
        except OSError as error:  # ssl.SSLError is one
            with self.lock:
                self.refusals.append(str(error))
                self._open.discard(served)
            served.close()
            return
        subject = dict(part[0] for part in (served.socket.getpeercert() or {}).get("subject", ()))
        with self.lock:
            self.handshakes.append(
                Handshake(
                    served.socket.version(),
                    served.socket.session_reused,
                    self._names.name,
                    served.socket.selected_alpn_protocol(),
                    subject.get("commonName"),
                )
            )
        super()._serve(served)

    def forget(self):
        super().forget()
        with self.lock:
            self.handshakes.clear()
            self.refusals.clear()


def end_in_order(served):
    """close_notify, then the end of the stream."""
    try:
        served.socket.unwrap()
    except OSError:
        pass  # the peer need not answer it
