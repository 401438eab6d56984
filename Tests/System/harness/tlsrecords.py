"""Records of TLS 1.3 that no client library sends, behind a handshake that Python's ssl has made.

The keys come from the handshake's key log, the rest from RFC 8446, sections 5 and 7; libcrypto seals.
"""

import ctypes
import hmac
import pathlib
import socket
import ssl
import struct
import tempfile

HANDSHAKE, DATA = 22, 23
_TAG, _GET_TAG = 16, 16


def _expand(secret, label, count, digest):
    """HKDF-Expand-Label with an empty context, of at most one block."""
    label = b"tls13 " + label
    info = struct.pack("!HB", count, len(label)) + label + b"\0\1"
    return hmac.new(secret, info, digest).digest()[:count]


def exchange(port, request, limit=10):
    """Sends a request whose response ends with the connection: what came, and the lengths of the records that it came in,
    without their headers."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    session = context.wrap_bio(incoming, outgoing, server_hostname="site.test")
    content = b""
    with socket.create_connection(("127.0.0.1", port), limit) as connection:
        _shake_hands(connection, session, incoming, outgoing)
        session.write(request)
        connection.sendall(outgoing.read())
        came = incoming.read()
        while data := connection.recv(65536):
            came += data
    incoming.write(came)
    try:
        while data := session.read(65536):
            content += data
    except ssl.SSLZeroReturnError:
        pass
    lengths = []
    while came:
        length = int.from_bytes(came[3:5], "big")
        lengths.append(length)
        came = came[5 + length:]
    return content, lengths


def _shake_hands(connection, session, incoming, outgoing):
    while True:
        try:
            session.do_handshake()
            break
        except ssl.SSLWantReadError:
            connection.sendall(outgoing.read())
            incoming.write(connection.recv(65536))
    connection.sendall(outgoing.read())


class Forger:
    """A connected client, from whose handshake on each record is made here."""

    def __init__(self, port, limit=10):
        self.socket = socket.create_connection(("127.0.0.1", port), limit)
        with tempfile.TemporaryDirectory() as folder:
            log = pathlib.Path(folder) / "keys"
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
            context.minimum_version = ssl.TLSVersion.TLSv1_3
            context.keylog_filename = str(log)
            self._shake_hands(context)
            words = [line.split() for line in log.read_text(encoding="ascii").splitlines()]
        self.secret = next(bytes.fromhex(line[2]) for line in words if line[0] == "CLIENT_TRAFFIC_SECRET_0")
        self.sequence = 0

    def _shake_hands(self, context):
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        session = context.wrap_bio(incoming, outgoing, server_hostname="site.test")
        _shake_hands(self.socket, session, incoming, outgoing)

    def record(self, kind, content):
        """One record, whose content is encrypted by AES-GCM as the handshake chose it."""
        digest, cipher = ("sha256", "EVP_aes_128_gcm") if len(self.secret) == 32 else ("sha384", "EVP_aes_256_gcm")
        key = _expand(self.secret, b"key", 16 if digest == "sha256" else 32, digest)
        fixed = _expand(self.secret, b"iv", 12, digest)
        nonce = bytes(a ^ b for a, b in zip(fixed, self.sequence.to_bytes(12, "big")))
        self.sequence += 1
        inner = content + bytes([kind])
        head = struct.pack("!BHH", DATA, 0x303, len(inner) + _TAG)
        library = ctypes.CDLL("libcrypto.so.3")
        library.EVP_CIPHER_CTX_new.restype = ctypes.c_void_p
        getattr(library, cipher).restype = ctypes.c_void_p
        context = ctypes.c_void_p(library.EVP_CIPHER_CTX_new())
        sealed, tag = ctypes.create_string_buffer(len(inner)), ctypes.create_string_buffer(_TAG)
        made = ctypes.byref(ctypes.c_int())
        done = [
            library.EVP_EncryptInit_ex(context, ctypes.c_void_p(getattr(library, cipher)()), None, key, nonce),
            library.EVP_EncryptUpdate(context, None, made, head, len(head)),
            library.EVP_EncryptUpdate(context, sealed, made, inner, len(inner)),
            library.EVP_EncryptFinal_ex(context, sealed, made),
            library.EVP_CIPHER_CTX_ctrl(context, _GET_TAG, _TAG, tag),
        ]
        library.EVP_CIPHER_CTX_free(context)
        if done != [1] * len(done):
            raise AssertionError(f"libcrypto seals nothing: {done}")
        return head + sealed.raw + tag.raw

    def read_to_end(self):
        """Everything to the end, in whatever way it ends; fails where there is none within the limit."""
        got = b""
        try:
            while data := self.socket.recv(65536):
                got += data
        except ConnectionError:
            pass
        return got
