"""Prometheus' own Python parser reads /metrics in both formats: each family has its type, and both say the same."""

import dataclasses
import importlib.util
import urllib.request

from clients import BaseClient, Variant
from harness import ports


@dataclasses.dataclass
class Served(Variant):
    port: int = dataclasses.field(default_factory=ports.free_port)

    def options(self, _folder):
        return {"audited": True, "admin": self.port}


VARIANTS = [Served("admin", False, "1.1")]
EXCHANGES = ("families", "counts")


def missing():
    return None if importlib.util.find_spec("prometheus_client") else "prometheus-client could not be installed"


def version():
    from importlib.metadata import version as of

    return f"prometheus-client {of('prometheus-client')}"


class Client(BaseClient):
    def expected(self, name):
        return {
            "families": "the same families, of counter, gauge, histogram",
            "counts": "3 requests by route and class, 3 in the histogram",
        }[name]

    def parsed(self, accept=""):
        from prometheus_client import parser
        from prometheus_client.openmetrics import parser as open_parser

        request = urllib.request.Request(
            f"http://127.0.0.1:{self.variant.port}/metrics", headers={"Accept": accept})
        with urllib.request.urlopen(request, timeout=30) as answer:
            text = answer.read().decode()
        chosen = open_parser if accept else parser
        return {family.name: family for family in chosen.text_string_to_metric_families(text)}

    def families(self):
        plain = self.parsed()
        other = self.parsed("application/openmetrics-text;version=1.0.0")
        same = plain.keys() == other.keys() and all(
            plain[name].type == other[name].type and plain[name].documentation for name in plain)
        kinds = ", ".join(sorted({family.type for family in other.values()}))
        return f"{'the same' if same else 'different'} families, of {kinds}"

    def counts(self):
        before = self.numbers()
        for _ in range(3):
            urllib.request.urlopen(self.target.url("/small"), timeout=30).read()
        requests, times = (int(b - a) for a, b in zip(before, self.numbers()))
        return f"{requests} requests by route and class, {times} in the histogram"

    def numbers(self):
        families = self.parsed("application/openmetrics-text")

        def total(family, name):
            return sum(s.value for s in families[family].samples if s.name == name)

        times = "millrace_upstream_request_duration_seconds"
        return (
            total("millrace_route_requests", "millrace_route_requests_total"),
            total(times, times + "_count"),
        )
