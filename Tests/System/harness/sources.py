"""What the sources can say to an operator, read from their text: log messages with their levels, metrics, and reasons
for which exchanges end. A call whose message cannot be read is an error, so that none is overlooked."""

import pathlib
import re

ROOT = pathlib.Path(__file__).resolve().parents[3]
SOURCES = ROOT / "Sources"
LEVELS = ("info", "notice", "warning", "error", "critical")

#: A call of a logger at one of these levels, or of the log handler's own line.
_CALL = re.compile(
    rf"\b(?:\w*[lL]ogger|log)\s*[?!]?\s*\.\s*({'|'.join(LEVELS)}|log)\s*\("
    rf"|(?<!func )\bline\(\s*\.({'|'.join(LEVELS)})\s*,")
_GAP = "…"


class Unreadable(Exception):
    """A call whose message is not a literal that can be read."""


def _literal(text, start):
    """A string literal: its text with `…` for what is interpolated, and the place after it."""
    triple = text.startswith('"""', start)
    end = '"""' if triple else '"'
    place, parts = start + len(end), []
    while not text.startswith(end, place):
        if place >= len(text):
            raise Unreadable("a string without an end")
        if text.startswith("\\(", place):
            place = _closing(text, place + 1)
            parts.append(_GAP)
        elif text[place] == "\\":
            # The end of a line that goes on, or an escaped character.
            parts.append("" if text[place + 1] == "\n" else text[place + 1])
            place += 2
        else:
            parts.append(text[place])
            place += 1
    content = "".join(parts)
    return (" ".join(content.split()) if triple else content), place + len(end)


def _closing(text, start):
    """The place after the bracket that closes the one at `start`."""
    depth, place = 0, start
    while place < len(text):
        if text[place] == '"':
            _, place = _literal(text, place)
            continue
        depth += (text[place] in "([{") - (text[place] in ")]}")
        place += 1
        if depth == 0:
            return place
    raise Unreadable("a bracket that is not closed")


def without_comments(text, keeps_strings=True):
    """The text with comments blanked, and strings too if they are not kept; places stay."""
    parts, place = [], 0
    while place < len(text):
        if text[place] == '"':
            _, end = _literal(text, place)
            parts.append(text[place:end] if keeps_strings else re.sub(r"[^\n]", " ", text[place:end]))
        elif text.startswith("//", place):
            end = text.find("\n", place)
            end = len(text) if end < 0 else end
            parts.append(" " * (end - place))
        elif text.startswith("/*", place):
            end = text.find("*/", place)
            end = len(text) if end < 0 else end + 2
            parts.append(re.sub(r"[^\n]", " ", text[place:end]))
        else:
            end = place + 1
            parts.append(text[place])
        place = end
    return "".join(parts)


def _first_literal(text, start, end):
    place = start
    while place < end:
        if text[place] == '"':
            return _literal(text, place)[0]
        place += 1
    return None


def _argument_end(text, start):
    """The place of the comma after an argument, or of the bracket that closes the call."""
    place = start
    while text[place] not in ",)":
        place = _closing(text, place) if text[place] in "([{" else place + 1
    return place


def _assigned(text, name, before):
    """The literal that a variable has been given last."""
    found = list(re.finditer(rf"\b(?:let|var)\s+{name}\s*=\s*(?=\")", text[:before]))
    return _literal(text, found[-1].end())[0] if found else None


def message(literal):
    """What a line is told by: its words up to the first `key=value`."""
    return re.split(r"\s*\b\w+=", literal, maxsplit=1)[0].strip()


def messages_of(text):
    """(message, levels, line number) of each call in the text of a source."""
    bare, text = without_comments(text, keeps_strings=False), without_comments(text)
    found = []
    for call in _CALL.finditer(bare):
        number = text.count("\n", 0, call.start()) + 1
        try:
            end = _closing(text, text.index("(", call.start()))
            levels, start = {call.group(1) or call.group(2)}, call.end()
            if "log" in levels:
                start = _argument_end(text, call.end())
                levels = set(re.findall(rf"\.({'|'.join(LEVELS)})\b", text[call.end():start]))
            literal = _first_literal(text, start, end)
            lone = re.fullmatch(r'[^"]*"\\\((\w+)\)"\s*\)', text[start:end])
            if lone:
                literal = _assigned(text, lone.group(1), call.start())
            if not literal or not levels or not message(literal).strip(_GAP + " "):
                raise Unreadable("neither a literal nor a variable that is given one")
        except Unreadable as error:
            raise Unreadable(f"line {number}: {error}: {text[call.start():call.end()]}") from error
        found.append((message(literal), frozenset(levels), number))
    return found


def log_messages():
    """Message to levels, for all that is logged at `info` or above."""
    found = {}
    for path in sorted(SOURCES.rglob("*.swift")):
        try:
            calls = messages_of(path.read_text("utf-8"))
        except Unreadable as error:
            raise Unreadable(f"{path.relative_to(ROOT)}: {error}") from error
        for name, levels, _ in calls:
            found[name] = found.get(name, frozenset()) | levels
    # The end by a crash is told in C.
    for path in sorted(SOURCES.rglob("*.c")):
        for level, name in re.findall(
                rf'"(?:\\n)?({"|".join(LEVELS)}) ([a-z][a-z ]*?) \w+=', path.read_text("utf-8")):
            found[name] = found.get(name, frozenset()) | {level}
    return found


def metrics():
    """The names of the metrics, as a scraper reads them."""
    exposed = (SOURCES / "Proxy/Control/AdminService+Metrics.swift").read_text("utf-8")
    names = dict(re.findall(r'"([a-z0-9_]+)":\s*"([a-z0-9_]+)"', exposed))
    # Not told outside, or by families of AdminService that are made of them.
    private = {"published_responses", "published_at", "server_down_until", "server_active", "server_idle",
               "handshake_failures"}
    found = {name for name in re.findall(r'"((?:millrace|process)_[a-z0-9_]+)"', exposed) if not name.endswith("_")}
    found |= {"millrace_" + name for name in re.findall(r'\bgauge\(\s*"([a-z0-9_]+)"', exposed)}
    found |= {"millrace_" + name for name in re.findall(r'"([a-z0-9_]+_duration_seconds)"', exposed)}
    for path in sorted((SOURCES / "Proxy/Metrics").glob("*Families*.swift")):
        text = without_comments(path.read_text("utf-8"))
        found |= {"millrace_" + name for name in re.findall(r'"([a-z0-9_]+_duration_seconds)"', text)}
        prefix = ""
        for part in re.split(r"(?=\benum \w+)", text):
            prefix = {"ListenerMetric": "listener_", "ServerMetric": "server_"}.get(
                (re.match(r"enum (\w+)", part) or [None, ""])[1], "")
            for kind, name in re.findall(
                    r'(\.init|\bcolumn|\bMetricFamily|\bgauge)\(\s*"([a-z0-9_]+)",\s*"', part):
                name = prefix + name
                if name not in private:
                    found.add("millrace_" + names.get(name, name) + ("" if kind == "gauge" else "_total"))
    return found


def endings():
    """The reasons for which exchanges end."""
    table = without_comments((SOURCES / "Exchange/Failure+Table.swift").read_text("utf-8"))
    shown = without_comments((SOURCES / "Proxy/Metrics/ExchangeFamilies.swift").read_text("utf-8"))
    function = re.search(r"func label\(_ kind: Failure\.Kind\).*?\n  \}", shown, re.S).group(0)
    return set(re.findall(r'"([a-z_0-9]+)"', table)) | set(re.findall(r'"([a-z_0-9]+)"', function))
