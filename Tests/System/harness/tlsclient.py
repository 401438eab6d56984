"""A TLS peer that says what Python's ssl cannot: KeyUpdate, and records of the test's own making.

It drives libssl through ctypes over memory BIOs, so that the test decides what goes to the socket,
in which pieces, and whether anything is ever read from it.
"""

import ctypes
import ctypes.util
import socket

TLS12, TLS13 = 0x0303, 0x0304
REQUESTED, NOT_REQUESTED = 1, 0  # SSL_KEY_UPDATE_*, openssl/ssl.h
_WANT_READ, _ZERO_RETURN = 2, 6  # SSL_ERROR_*, openssl/ssl.h
_CTRL_MIN_VERSION, _CTRL_MAX_VERSION = 123, 124  # SSL_CTRL_SET_*_PROTO_VERSION
_CTRL_PENDING = 10  # BIO_CTRL_PENDING, openssl/bio.h

_ssl = ctypes.CDLL(ctypes.util.find_library("ssl") or "libssl.so.3")
_crypto = ctypes.CDLL(ctypes.util.find_library("crypto") or "libcrypto.so.3")


def _declare(library, name, result, *arguments):
    function = getattr(library, name)
    function.restype, function.argtypes = result, arguments
    return function


_p, _i, _l, _b = ctypes.c_void_p, ctypes.c_int, ctypes.c_long, ctypes.c_char_p
_client_method = _declare(_ssl, "TLS_client_method", _p)
_server_method = _declare(_ssl, "TLS_server_method", _p)
_use_chain = _declare(_ssl, "SSL_CTX_use_certificate_chain_file", _i, _p, _b)
_use_key = _declare(_ssl, "SSL_CTX_use_PrivateKey_file", _i, _p, _b, _i)
_accept_state = _declare(_ssl, "SSL_set_accept_state", None, _p)
_ctx_new = _declare(_ssl, "SSL_CTX_new", _p, _p)
_ctx_free = _declare(_ssl, "SSL_CTX_free", None, _p)
_ctx_ctrl = _declare(_ssl, "SSL_CTX_ctrl", _l, _p, _i, _l, _p)
_new = _declare(_ssl, "SSL_new", _p, _p)
_free = _declare(_ssl, "SSL_free", None, _p)
_set_bio = _declare(_ssl, "SSL_set_bio", None, _p, _p, _p)
_connect_state = _declare(_ssl, "SSL_set_connect_state", None, _p)
_handshake = _declare(_ssl, "SSL_do_handshake", _i, _p)
_key_update = _declare(_ssl, "SSL_key_update", _i, _p, _i)
_renegotiate = _declare(_ssl, "SSL_renegotiate", _i, _p)
_read = _declare(_ssl, "SSL_read", _i, _p, _b, _i)
_write = _declare(_ssl, "SSL_write", _i, _p, _b, _i)
_error = _declare(_ssl, "SSL_get_error", _i, _p, _i)
_mem = _declare(_crypto, "BIO_s_mem", _p)
_bio_new = _declare(_crypto, "BIO_new", _p, _p)
_bio_read = _declare(_crypto, "BIO_read", _i, _p, _b, _i)
_bio_write = _declare(_crypto, "BIO_write", _i, _p, _b, _i)
_bio_ctrl = _declare(_crypto, "BIO_ctrl", _l, _p, _i, _l, _p)
_clear_errors = _declare(_crypto, "ERR_clear_error", None)


class Closed(Exception):
    """The peer ended the connection, or the session."""


class Client:
    """A connection with a finished handshake; `records()` is what was made and not sent yet."""

    def __init__(self, port, version=TLS13, receive_buffer=None, timeout=30):
        self.socket = socket.socket()
        if receive_buffer:  # before connect: the window is announced with the handshake
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.socket.settimeout(timeout)
        self.socket.connect(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._begin(_ctx_new(_client_method()), version, _connect_state)

    def _begin(self, context, version, set_side):
        self._context = context
        for control in (_CTRL_MIN_VERSION, _CTRL_MAX_VERSION):
            _ctx_ctrl(self._context, control, version, None)
        self._session = _new(self._context)
        self._incoming, self._outgoing = _bio_new(_mem()), _bio_new(_mem())
        _set_bio(self._session, self._incoming, self._outgoing)
        set_side(self._session)
        self._finish_handshake()

    def close(self):
        self.socket.close()
        if self._session:
            _free(self._session)
            _ctx_free(self._context)
            self._session = None

    def _finish_handshake(self):
        while True:
            _clear_errors()
            result = _handshake(self._session)
            self.socket.sendall(self.records())
            if result == 1:
                return
            if _error(self._session, result) != _WANT_READ:
                raise Closed("the handshake failed")
            self._take_in()

    def _take_in(self):
        data = self.socket.recv(65536)
        if not data:
            raise Closed("end of stream")
        _bio_write(self._incoming, data, len(data))

    # What to say

    def records(self):
        """The records that the session has made since the last call."""
        count = _bio_ctrl(self._outgoing, _CTRL_PENDING, 0, None)
        area = ctypes.create_string_buffer(count or 1)
        taken = _bio_read(self._outgoing, area, count) if count else 0
        return area.raw[:taken]

    def key_update(self, kind=REQUESTED):
        """A KeyUpdate as a record, for the caller to send."""
        _clear_errors()
        if _key_update(self._session, kind) != 1 or _handshake(self._session) != 1:
            raise Closed("KeyUpdate was refused by the client's own session")
        return self.records()

    def renegotiation(self):
        """A ClientHello within the session (TLS 1.2) as a record, for the caller to send."""
        _clear_errors()
        _renegotiate(self._session)
        _handshake(self._session)
        return self.records()

    def data(self, plaintext):
        """Application data as records, for the caller to send."""
        _clear_errors()
        if _write(self._session, plaintext, len(plaintext)) != len(plaintext):
            raise Closed("the session takes no data")
        return self.records()

    def send(self, plaintext):
        self.socket.sendall(self.data(plaintext))
        return self

    # What comes back

    def receive(self, limit=65536):
        """Some plaintext; b"" after close_notify. What the session answers is sent."""
        area = ctypes.create_string_buffer(limit)
        while True:
            _clear_errors()
            count = _read(self._session, area, limit)
            if records := self.records():
                self.socket.sendall(records)
            if count > 0:
                return area.raw[:count]
            error = _error(self._session, count)
            if error == _ZERO_RETURN:
                return b""
            if error != _WANT_READ:
                raise Closed(f"the session failed ({error})")
            self._take_in()

    def receive_exactly(self, count):
        data = b""
        while len(data) < count:
            part = self.receive(min(65536, count - len(data)))
            if not part:
                raise Closed(f"{len(data)} bytes of {count}")
            data += part
        return data


class Server(Client):
    """The same as the server of a connection that was accepted; `pair`: certificate and key."""

    def __init__(self, connection, pair, version=TLS13):
        self.socket = connection
        context = _ctx_new(_server_method())
        certificate, key = (str(path).encode() for path in pair)
        if _use_chain(context, certificate) != 1 or _use_key(context, key, 1) != 1:  # 1: PEM
            raise Closed("the certificate cannot be used")
        self._begin(context, version, _accept_state)
