"""Layer 6: metrics as scrapers read them: both formats, by Prometheus' own tool and by a parser of ours; the counts
that they give; the dashboard, the alerts and the documentation that name them."""

import json
import pathlib
import re
import shutil
import subprocess
import unittest

from harness import certificates, ports, settings, wire
from harness.admin import series, total, with_admin
from harness.case import SystemCase, on_both_engines

ROOT = pathlib.Path(__file__).resolve().parents[2]
PROMTOOL = shutil.which("promtool")
FUNCTIONS = {
    "sum", "rate", "increase", "histogram_quantile", "by", "without", "max", "min", "avg", "on", "le", "and",
    "unless", "or", "clamp_min", "count", "changes", "time", "label_values", "resets", "absent", "up", "group_left",
    "ignoring", "topk", "max_over_time",
}


def named(expression):
    """The metrics that an expression of PromQL names."""
    bare = re.sub(r'"[^"]*"', "", expression)
    bare = re.sub(r"\{[^}]*\}|\[[^]]*\]|\b(by|without|on|ignoring|group_left)\s*\([^)]*\)", "", bare)
    return {word for word in re.findall(r"[A-Za-z_][A-Za-z0-9_]*", bare) if word not in FUNCTIONS}


@on_both_engines
class MetricsText(SystemCase):
    def busy_proxy(self):
        """A proxy that has done a bit of everything. - Returns: it, its admin, its origin."""

        def script(served):
            while message := served.request():
                if message.target == "/missing":
                    served.answer(b"no", status="404 Not Found")
                else:
                    served.answer(b"ten bytes.")

        origin, gone = self.start_origin(script), ports.free_port()
        config = self.settings_for(
            origin.port, workers=2, audit={"directory": str(self.folder / "log")})
        tls = ports.free_port()
        config["listeners"].append({
            "name": "secure", "address": f"127.0.0.1:{tls}",
            "tls": {"certificates": [{"certificate": str(c), "key": str(k)} for c, k in self.site_tls]},
        })
        config["upstreams"]["gone"] = {"servers": [f"127.0.0.1:{gone}"], "retries": {"attempts": 0}}
        config["routes"] = [
            {"match": {"path": "/gone"}, "upstream": "gone"},
            {"match": {"host": "shop.example", "path": "/a"}, "upstream": "origin"},
            {"match": {"path": "/"}, "upstream": "origin"},
        ]
        admin = with_admin(self, config)
        proxy = self.start_proxy(config)
        for path in ("/", "/", "/missing", "/gone"):
            self.fetch(proxy, wire.get(path))
        self.fetch(proxy, b"GET /a/b HTTP/1.1\r\nHost: shop.example\r\n\r\n")
        self.fetch(proxy, tls=True, port=tls)
        # Plain text on a TLS port.
        self.fetch(proxy, port=tls)
        proxy.settle({"connections": 0, "exchanges": 0})
        return proxy, admin, origin

    def test_the_figures_are_by_route_upstream_class_and_reason(self):
        proxy, admin, origin = self.busy_proxy()
        kind, text = admin.metrics()
        self.assertEqual(kind, "text/plain; version=0.0.4; charset=utf-8")
        figures = series(text)
        requests = "millrace_route_requests_total"
        for route, upstream, status, count in (
            ("*/*", "origin", "2xx", 3), ("*/*", "origin", "4xx", 1), ("*/gone/*", "gone", "5xx", 1),
            ("shop.example/a/*", "origin", "2xx", 1), ("shop.example/a/*", "origin", "5xx", 0),
        ):
            found = total(figures, requests, route=route, upstream=upstream, **{"class": status})
            self.assertEqual(found, count, (route, status))
        for reason, count in (("complete", 5), ("connect_refused", 1), ("upstream_reset", 0)):
            self.assertEqual(
                total(figures, "millrace_terminations_total", reason=reason), count, reason)
        self.assertEqual(
            total(figures, "millrace_tls_handshake_failures_total", reason="not_tls"), 1)
        for name, upstream, count in (
            ("request", "origin", 5), ("first_byte", "origin", 5), ("request", "gone", 1),
            ("first_byte", "gone", 0),
        ):
            family = f"millrace_upstream_{name}_duration_seconds"
            self.assertEqual(total(figures, family + "_count", upstream=upstream), count, family)
            self.assertEqual(total(figures, family + "_bucket", upstream=upstream, le="+Inf"), count)
            self.assertEqual(total(figures, family + "_sum", upstream=upstream) > 0, count > 0)
        commits = total(figures, "millrace_audit_commit_duration_seconds_count")
        self.assertEqual(commits, total(figures, "millrace_audit_commits_total"))
        self.assertEqual(total(figures, "millrace_build_info", engine=self.engine), 1)
        # The line of SIGUSR1 says the same.
        line = proxy.counters()
        for name in ("requests", "responses", "retries", "upstream_connects", "audit_records"):
            self.assertEqual(total(figures, f"millrace_{name}_total"), line[name], name)
        # Buckets only grow with their bound.
        for (name, *labels), value in figures.items():
            if name.endswith("_bucket"):
                rest = [pair for pair in labels if pair[0] != "le"]
                self.assertLessEqual(value, figures[(name[:-7] + "_count", *rest)], name)

    def test_open_metrics_is_for_those_who_ask(self):
        _, admin, _ = self.busy_proxy()
        kind, text = admin.metrics(Accept="application/openmetrics-text;version=1.0.0")
        self.assertEqual(kind, "application/openmetrics-text; version=1.0.0; charset=utf-8")
        self.assertTrue(text.endswith("# EOF\n"))
        self.assertIn("# TYPE millrace_requests counter\nmillrace_requests_total ", text)
        self.assertIn("# UNIT millrace_upstream_request_duration_seconds seconds\n", text)

    @unittest.skipUnless(PROMTOOL, "promtool is not installed; run scripts/bootstrap --test")
    def test_promtool_finds_nothing_wrong(self):
        _, admin, _ = self.busy_proxy()
        found = subprocess.run(
            [PROMTOOL, "check", "metrics"], input=admin.metrics()[1], capture_output=True, text=True,
            check=False)
        self.assertEqual((found.returncode, found.stdout + found.stderr), (0, ""))

    def test_dashboard_alerts_and_documentation_name_what_there_is(self):
        _, admin, _ = self.busy_proxy()
        text = admin.metrics()[1]
        families = set(re.findall(r"^# TYPE (\S+)", text, re.M))
        exposed = families | {name for name, *_ in series(text)}
        dashboard = json.loads((ROOT / "packaging/grafana-dashboard.json").read_text())
        expressions = [
            target["expr"] for panel in dashboard["panels"] for target in panel.get("targets", [])]
        self.assertGreater(len(expressions), 10)
        alerts = (ROOT / "packaging/alerts.yaml").read_text()
        rules = re.findall(r"^ +expr: (.*)$", alerts, re.M)
        self.assertGreater(len(rules), 5)
        for expression in expressions + rules:
            unknown = named(expression) - exposed
            self.assertFalse(unknown, expression)
        # docs/operations.md: each family a row, and no row without a family.
        documented = set(re.findall(
            r"^\| `((?:millrace|process)_[a-z0-9_]+)` \|",
            (ROOT / "docs/operations.md").read_text(), re.M))
        self.assertEqual(families - documented, set(), "not in docs/operations.md")
        self.assertEqual(documented - families, set(), "only in docs/operations.md")
        reasons = {
            dict(labels)["reason"] for name, *labels in series(text)
            if name == "millrace_terminations_total"}
        ends = (ROOT / "docs/operations.md").read_text().split("## How exchanges end")[1]
        self.assertEqual(set(re.findall(r"^\| `(\w+)` \|", ends, re.M)), reasons)


class Rules(unittest.TestCase):
    @unittest.skipUnless(PROMTOOL, "promtool is not installed; run scripts/bootstrap --test")
    def test_the_alerts_are_valid(self):
        found = subprocess.run(
            [PROMTOOL, "check", "rules", ROOT / "packaging/alerts.yaml"], capture_output=True,
            text=True, check=False)
        self.assertEqual(found.returncode, 0, found.stdout + found.stderr)


if __name__ == "__main__":
    unittest.main()
