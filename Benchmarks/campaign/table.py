"""A comparison's JSON as a table in Markdown: medians over the rounds, and the verdict's own words.
Rows that are not good for something say so in the cell."""

import json
import re
from statistics import median

BEGIN, END = "<!-- campaign: begin -->", "<!-- campaign: end -->"
BUSY_ENOUGH = 0.95  # as in the verdict: below it, the load was the limit


def answered(measurement):
    """Responses within the counted part, which the CPU seconds are of; `completed` has later ones too."""
    return measurement["load"]["completedRate"] * measurement["load"]["seconds"]


class Table:
    def __init__(self, title, command, path):
        self.title, self.command = title, command
        self.comparison = json.loads(path.read_text(encoding="utf-8"))

    def machine(self):
        facts = self.comparison["machine"]
        return f"{facts['processor'] or 'unknown CPU'}, {len(facts['processors'])} CPUs"

    def when(self):
        return self.comparison["started"][:10], self.comparison["machine"]["kernel"]

    def markdown(self):
        made = self.comparison
        rounds = max((m["round"] for m in made["measurements"]), default=0)
        processors = made["machine"]["proxyProcessors"] + made["machine"]["loadProcessors"]
        busy = ", ".join(map(str, processors))
        lines = [f"### {self.title}", "", "```", self.command, "```", "",
                 f"{self._course(rounds)}, {made['workload']['description']}.", "",
                 f"| | maximum: requests/s | CPU {busy} busy | CPU per request | p99 | memory"
                 " | equal load: p99 | CPU per request | machine per request | system calls per request |",
                 "|---|" + "--:|" * 9]
        lines += [self._row(subject) for subject in made["subjects"]]
        equal = next((s for s in made["stages"] if s["kind"] == "rate"), None)
        if equal:
            lines += ["", f"Equal load: {equal['rate']:,.0f} requests/s, {equal['reason']}."]
        lines += ["", f"**{made['verdict']['headline']}**", ""]
        lines += [f"- {reason}" for reason in made["verdict"]["reasons"]]
        if made["findings"]:
            lines += ["", "The machine: " + " ".join(f["text"] + "." for f in made["findings"])]
        return "\n".join(lines) + "\n"

    def _course(self, rounds):
        course = self.comparison.get("course", {})
        if course.get("method") != "slices":
            return f"{rounds} rounds"
        seconds = self.comparison["workload"]["countedSeconds"]
        return f"{course['slices']} slices of {seconds * 1000:.0f} ms in {self.comparison['seconds']:.0f} s"

    def _measurements(self, subject, kind):
        stages = [s["name"] for s in self.comparison["stages"] if s["kind"] == kind][:1]
        return [m for m in self.comparison["measurements"]
                if m["subject"] == subject and m["stage"] in stages and not m.get("failure")]

    def _row(self, subject):
        version = re.search(r"\d+\.\d+[^\s/]*", subject["version"]) if subject["kind"] == "peer" else None
        name = subject["name"] + (f" ({version[0]})" if version else "")
        if subject.get("failure"):
            return f"| {name} | not measured: {subject['failure'][:80]} |" + " |" * 8
        top = self._measurements(subject["name"], "maximum")
        even = self._measurements(subject["name"], "rate")
        busy = median(m["proxyBusy"] for m in top) if top else 0
        rate = self._median(top, lambda m: m["load"]["completedRate"])
        cells = [
            "–" if rate is None else f"{rate:,.0f}" + ("" if busy >= BUSY_ENOUGH else " (load-bound)"),
            self._shares(top),
            self._micro(self._per_request(top, "processSeconds")),
            self._milliseconds(self._median(top, lambda m: m["load"]["latency"]["p99"])),
            self._mebibytes(self._median([m for m in top if m.get("residentBytes")],
                                         lambda m: m["residentBytes"])),
            self._milliseconds(self._median(even, lambda m: m["load"]["latency"]["p99"])),
            self._micro(self._per_request(even, "processSeconds")),
            self._micro(self._per_request(even, "machineSeconds")),
            self._plain(self._median([m for m in even if m.get("systemCalls") is not None],
                                     lambda m: m["systemCalls"] / answered(m))),
        ]
        return f"| {name} | " + " | ".join(cells) + " |"

    @staticmethod
    def _median(measurements, value):
        usable = [m for m in measurements if answered(m) > 0]
        return median(map(value, usable)) if usable else None

    def _shares(self, measurements):
        machine = self.comparison["machine"]
        shares = [self._median(measurements, lambda m, n=str(number): m["processorBusy"].get(n, 0))
                  for number in machine["proxyProcessors"] + machine["loadProcessors"]]
        return "–" if None in shares else ", ".join(f"{share:.0%}" for share in shares)

    def _per_request(self, measurements, key):
        return self._median(measurements, lambda m: m[key] / answered(m))

    @staticmethod
    def _milliseconds(value):
        return "–" if value is None else f"{value / 1e6:.2f} ms"

    @staticmethod
    def _micro(value):
        return "–" if value is None else f"{value * 1e6:.1f} µs"

    @staticmethod
    def _plain(value):
        return "–" if value is None else f"{value:.2f}"

    @staticmethod
    def _mebibytes(value):
        return "–" if value is None else f"{value / (1 << 20):.0f} MiB"


def record(document, text):
    """Puts the tables between their marks, or says that there are none."""
    page = document.read_text(encoding="utf-8")
    if BEGIN not in page or END not in page:
        raise SystemExit(f"{document} has no {BEGIN} and {END}")
    head, rest = page.split(BEGIN, 1)
    document.write_text(head + BEGIN + "\n" + text + END + rest.split(END, 1)[1], encoding="utf-8")
