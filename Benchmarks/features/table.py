"""What the samples of a run say: ratios with intervals, a word for each row and each default, as
Markdown; and the place in docs/performance.md where it is recorded."""

import math
import re
from statistics import median

# A ratio counts as a difference when its whole interval is farther from 1 than this, and than the
# control of the same run was: identical programs differ by as much.
MARGIN = 0.02
# Fewer rounds have no interval: the range of three is beyond the margin once in four times.
FEWEST_ROUNDS = 6
BEGIN, END = "<!-- features: begin -->", "<!-- features: end -->"
KEYS = (("cpu", "CPU"), ("wall", "elapsed"))


def interval(values):
    """The median's interval from order statistics, without a model of the noise: the narrowest that
    holds it in 95% of runs, which of seven values is all of them (98%). Of too few, the range."""
    ordered, count = sorted(values), len(values)
    outside, tail = 0, 0.0
    while count >= FEWEST_ROUNDS:
        tail += math.comb(count, outside) / 2 ** count
        if 2 * tail > 0.05:
            break
        outside += 1
    place = max(0, outside - 1)
    return ordered[place], ordered[count - 1 - place]


class Ratio:
    """On over off, of one figure of one row."""

    def __init__(self, row, key):
        pairs = [(one["on"][key], one["off"][key]) for one in row["rounds"]]
        self.count = len(pairs)
        self.off = median(off for _on, off in pairs)
        self.value = median(on for on, _off in pairs) / self.off
        self.low, self.high = interval([on / off for on, off in pairs])

    def word(self, margin):
        if self.count < FEWEST_ROUNDS:
            return ""
        return "less" if self.high < 1 - margin else "more" if self.low > 1 + margin else ""

    def __str__(self):
        return f"{self.value:.2f} ({self.low:.2f}–{self.high:.2f})"


def unmeasured(row):
    """Why a row has no figures; empty where it has."""
    return next((f"{word}: {row[word]}" for word in ("refused", "failed") if word in row), "")


class Report:
    """A run's samples, read against its own control."""

    def __init__(self, result):
        self.result = result
        control = [row for feature in result["features"] if not feature["name"]
                   for row in feature["rows"] if not unmeasured(row)]
        self.margins = {key: max([MARGIN, *(abs(Ratio(row, key).value - 1) for row in control)])
                        for key, _shown in KEYS}

    def words(self, row):
        """Of each figure: its name, its ratio, and whether on is less or more."""
        return [(shown, ratio, ratio.word(self.margins[key]))
                for key, shown in KEYS for ratio in (Ratio(row, key),)]

    def verdict(self, feature):
        """What the rows say of a default: which of them are for it, and which against."""
        told = {"less": [], "more": []}
        for row in feature["rows"]:
            if unmeasured(row):
                return unmeasured(row)
            for word, rows in told.items():
                found = [f"{shown} {ratio.value:.2f}" for shown, ratio, is_word in self.words(row)
                         if is_word == word]
                if found:
                    rows.append(f"{row['title']} ({', '.join(found)})")
        if self.result["count"] < FEWEST_ROUNDS:
            return "too few rounds to say"
        supports, against = told["less"], told["more"]
        if not feature["default"]:
            supports, against = against, supports
        state = "on" if feature["default"] else "off"
        if not against:
            return f"{state}, as measured" if supports else f"{state}; no difference found"
        start = f"{state} by default, both ways; against it" if supports else \
            f"{state} by default, CONTRADICTED by"
        return f"{start}: {'; '.join(against)}"

    def verdicts(self):
        return [(feature["name"], self.verdict(feature))
                for feature in self.result["features"] if feature["name"]]

    def head(self):
        result = self.result
        margins = ", ".join(f"{shown} {self.margins[key] * 100:.0f}%" for key, shown in KEYS)
        return (f"`{result['command']}`, {result['date']}, Linux {result['kernel']},"
                f" {result['processors']}; {result['count']} rounds of {result['seconds']} s. Other"
                f" programs used {result['others'] * 100:.0f}% of the machine's CPU time meanwhile."
                " Bold: the whole interval is farther from 1 than the control's ratios were"
                f" ({margins}).")

    def markdown(self):
        heads = ("feature", "workload", "off, CPU each", "on/off, CPU", "on/off, elapsed",
                 "also, on / off")
        lines = [f"| {' | '.join(heads)} |", "|" + "---|" * len(heads)]
        for feature in self.result["features"]:
            name = f"`{feature['name']}`, {'on' if feature['default'] else 'off'}"
            if not feature["name"]:
                name = "control: the same twice"
            told = []
            for row in feature["rows"]:
                if unmeasured(row):
                    lines.append(f"| {name} | {row['title']} | | {unmeasured(row)} | | |")
                else:
                    ratios = [f"**{ratio.value:.2f}** ({ratio.low:.2f}–{ratio.high:.2f})" if word
                              else str(ratio) for _shown, ratio, word in self.words(row)]
                    extra = "; ".join(one for one in _extra(row) if one not in told)
                    lines.append(f"| {name} | {row['title']} | {_time(Ratio(row, 'cpu').off)}"
                                 f" | {' | '.join(ratios)} | {extra} |")
                    told += row["notes"]
                name = ""
        return "\n".join(lines)

    def record(self, document):
        """Writes the table between the two marks of a document."""
        text = document.read_text()
        pattern = re.compile(re.escape(BEGIN) + ".*?" + re.escape(END), re.S)
        if len(pattern.findall(text)) != 1:
            raise SystemExit(f"{document}: not one pair of {BEGIN} and {END}")
        lines = "\n".join(f"- `{name}`: {said}" for name, said in self.verdicts())
        body = "\n\n".join((BEGIN, self.head(), self.markdown(), "The defaults beside it:", lines,
                            END))
        document.write_text(pattern.sub(lambda _match: body, text))


def _time(nanoseconds):
    unit, scale = next(((unit, scale) for unit, scale in (("ns", 1), ("µs", 1e3), ("ms", 1e6))
                        if nanoseconds < 1000 * scale), ("ms", 1e6))
    value = nanoseconds / scale
    return f"{value:.{0 if value >= 100 else 1}f} {unit}"


def _extra(row):
    """Figures that only some rows have: threads, memory; and what was noted."""
    parts = []
    for key in row["rounds"][0]["on"].get("also", {}):
        on, off = (median(one[side]["also"][key] for one in row["rounds"])
                   for side in ("on", "off"))
        parts.append(f"memory {on / 2**20:.1f} / {off / 2**20:.1f} MiB" if key == "memory"
                     else f"{key} {on:.0f} / {off:.0f}")
    return parts + row["notes"]
