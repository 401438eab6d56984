"""What is compared in each row, and under which load. A row names its subjects and its bars; how a
subject is started is in subjects.py, how load is made in load.py."""

from dataclasses import dataclass

FILES = {"/128": 128, "/64k": 64 * 1024}

PROXIES = ("nginx", "millrace-io_uring", "millrace-epoll")
FORWARDERS = ("forwarder-epoll", "forwarder-io_uring")


@dataclass(frozen=True)
class Row:
    """One comparison; the first subject is what the others are held against. `port` names the port
    of each subject that the load goes to; `rate` is in requests per second over all connections,
    None for a closed loop."""

    name: str
    title: str
    path: str
    subjects: tuple
    port: str = "plain"
    connections: int = 64
    rate: int | None = None
    # Bars, all of them the largest ratio that Millrace allows itself; None where there is none.
    nginx_bar: float | None = None  # CPU per request, to nginx
    forwarder_bar: float | None = None  # CPU per request, to the forwarder on the same engine
    audit_bar: float | None = None  # machine time with the audit log, to without

    @property
    def scheme(self):
        return "https" if self.port == "tls" else "http"


AUDITED = ("nginx-access-log", "millrace-io_uring", "millrace-io_uring-audit",
           "millrace-epoll", "millrace-epoll-audit", "no-proxy")

ROWS = {
    row.name: row
    for row in (
        Row("plain-128", "128 B, plaintext, keep-alive", "/128",
            PROXIES + FORWARDERS + ("no-proxy",), nginx_bar=0.90, forwarder_bar=1.15),
        Row("tls-128", "128 B, TLS 1.3, keep-alive", "/128", PROXIES, port="tls", nginx_bar=0.80),
        Row("plain-64k", "64 KiB, plaintext, keep-alive", "/64k", PROXIES + FORWARDERS,
            nginx_bar=1.00, forwarder_bar=1.15),
        Row("audit-128", "128 B, plaintext, audit before_response", "/128", AUDITED),
        Row("audit-128-rate", "128 B, plaintext, audit before_response, fixed rate", "/128",
            AUDITED, rate=6400, audit_bar=1.30),
    )
}

DEFAULT_ROWS = ("plain-128", "tls-128", "plain-64k", "audit-128")
