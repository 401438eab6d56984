"""What the samples of a run say: ratios with intervals, a word for each row and each default, as
Markdown; and the place in docs/performance.md where it is recorded."""

import math
import re
from statistics import median

# A ratio counts as a difference when its whole interval is beyond this: two CPUs that others use too
# move the figures of identical programs by about as much (the control's rows).
MARGIN = 0.02
# An interval that lies within this is called equal; a wider one says that more rounds are needed.
EQUAL = 0.05
BEGIN, END = "<!-- features: begin -->", "<!-- features: end -->"


def interval(values):
    """The median's interval from order statistics, without a model of the noise: the narrowest that
    holds it in 95% of runs, which of seven values is all of them (98%). Below six values there is
    none, and the range is given."""
    ordered, count = sorted(values), len(values)
    place, tail = 0, 0.0
    while count >= 6:
        tail += math.comb(count, place) / 2 ** count
        if 2 * tail > 0.05:
            break
        place += 1
    place = max(0, place - 1)
    return ordered[place], ordered[count - 1 - place]


class Ratio:
    """On over off, of one figure of one row."""

    def __init__(self, row, key):
        pairs = [(one["on"][key], one["off"][key]) for one in row["rounds"]]
        self.off = median(off for _on, off in pairs)
        self.known = all(off > 0 for _on, off in pairs)
        if self.known:
            self.value = median(on for on, _off in pairs) / self.off
            self.low, self.high = interval([on / off for on, off in pairs])

    @property
    def word(self):
        if not self.known:
            return ""
        if self.high < 1 - MARGIN:
            return "less"
        if self.low > 1 + MARGIN:
            return "more"
        return "same" if self.low > 1 - EQUAL and self.high < 1 + EQUAL else "open"

    def __str__(self):
        if not self.known:
            return "-"
        text = f"{self.value:.2f}"
        if self.word in ("less", "more"):
            text = f"**{text}**"
        return f"{text} ({self.low:.2f}–{self.high:.2f})"


def _time(nanoseconds):
    for unit, scale in (("ns", 1), ("µs", 1e3), ("ms", 1e6)):
        if nanoseconds < 1000 * scale or unit == "ms":
            value = nanoseconds / scale
            return f"{value:.{0 if value >= 100 else 1}f} {unit}"
    raise AssertionError


def _extra(row):
    """Figures that only some rows have: threads, memory, whether the kernel copied."""
    parts = []
    for key in row["rounds"][0]["on"].get("also", {}):
        on, off = (median(one[side]["also"][key] for one in row["rounds"]) for side in ("on", "off"))
        if key == "memory":
            parts.append(f"memory {on / 2**20:.1f} / {off / 2**20:.1f} MiB")
        else:
            parts.append(f"{key} {on:.0f} / {off:.0f}")
    return parts + row["notes"]


def unmeasured(row):
    """Why a row has no figures; empty where it has."""
    return next((f"{word}: {row[word]}" for word in ("refused", "failed") if word in row), "")


def verdict(feature):
    """What the rows say of a default: whom they support, on CPU time or on elapsed time."""
    less, more = [], []
    for row in feature["rows"]:
        if unmeasured(row):
            return unmeasured(row)
        ratios = [(Ratio(row, key), shown) for key, shown in (("cpu", "CPU"), ("wall", "elapsed"))]
        for word, names in (("less", less), ("more", more)):
            found = [f"{shown} {ratio.value:.2f}" for ratio, shown in ratios if ratio.word == word]
            if found:
                names.append(f"{row['title']} ({', '.join(found)})")
    on = feature["default"]
    supports, against = (less, more) if on else (more, less)
    if against and not supports:
        return f"CONTRADICTED: {'on' if on else 'off'} by default, but {'costs' if on else 'gains'}:" \
               f" {'; '.join(against)}"
    if against:
        return f"both ways; against the default: {'; '.join(against)}"
    if supports:
        return "supported"
    return "no difference found"


def markdown(result):
    lines = ["| feature | workload | off, CPU each | on/off, CPU | on/off, elapsed | also, on / off |",
             "|---|---|---|---|---|---|"]
    for feature in result["features"]:
        name = f"`{feature['name']}`, {'on' if feature['default'] else 'off'}"
        if not feature["name"]:
            name = "control: the same twice"
        told = []
        for row in feature["rows"]:
            if unmeasured(row):
                lines.append(f"| {name} | {row['title']} | | {unmeasured(row)} | | |")
            else:
                cpu, wall = Ratio(row, "cpu"), Ratio(row, "wall")
                lines.append(f"| {name} | {row['title']} | {_time(cpu.off)} | {cpu} | {wall}"
                             f" | {'; '.join(one for one in _extra(row) if one not in told)} |")
                told += row["notes"]
            name = ""
    return "\n".join(lines)


def verdicts(result):
    return [(feature["name"], verdict(feature)) for feature in result["features"] if feature["name"]]


def head(result):
    return (f"`{result['command']}`, {result['date']}, Linux {result['kernel']},"
            f" {result['processors']}; {result['count']} rounds of {result['seconds']} s; other"
            f" programs used {result['others'] * 100:.0f}% of the machine's CPU time meanwhile.")


def record(result, document):
    """Writes the table between the two marks of a document."""
    text = document.read_text()
    pattern = re.compile(re.escape(BEGIN) + ".*?" + re.escape(END), re.S)
    if len(pattern.findall(text)) != 1:
        raise SystemExit(f"{document}: not one pair of {BEGIN} and {END}")
    against = [f"- `{name}`: {text}" for name, text in verdicts(result)
               if text.startswith(("CONTRADICTED", "both ways", "refused", "failed"))]
    body = "\n\n".join((BEGIN, head(result), markdown(result),
                        "Where a row speaks against a default:\n\n" + "\n".join(against)
                        if against else "No row speaks against a default.", END))
    document.write_text(pattern.sub(lambda _match: body, text))
