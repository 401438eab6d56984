"""Layer 8: the documents are complete, and lead where they say: the configuration reference is what the schema gives,
the runbook has all that the sources can say, and each link leads to a file and a heading."""

import importlib.machinery
import importlib.util
import json
import pathlib
import re
import subprocess
import sys
import unittest

from harness import sources

ROOT = pathlib.Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
SCRIPT = ROOT / "scripts/configuration-reference"
#: Two screens.
README_LINES = 100
PICTURE_BYTES = 150 * 1024


def reference_module():
    """scripts/configuration-reference as a module."""
    loader = importlib.machinery.SourceFileLoader("configuration_reference", str(SCRIPT))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader(loader.name, loader))
    keeps, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    try:
        loader.exec_module(module)
    finally:
        sys.dont_write_bytecode = keeps
    return module


def documents():
    """All Markdown files of the tree, without what builds leave."""
    return [
        path for path in sorted(ROOT.rglob("*.md"))
        if not any(part.startswith(".") or part == "node_modules" for part in path.relative_to(ROOT).parts)]


def cells(line):
    """The cells of a row; a bar in one is escaped."""
    return [cell.strip() for cell in re.split(r"(?<!\\)\|", line.strip())[1:-1]]


def rows(text, columns):
    """The rows of the tables with these columns."""
    found, inside = [], False
    for line in text.splitlines():
        if not line.startswith("|"):
            inside = False
        elif cells(line) == columns:
            inside = True
        elif inside and not set(line) <= set("|-: "):
            found.append(cells(line))
    return found


class Reference(unittest.TestCase):
    def setUp(self):
        self.module = reference_module()
        self.schema = json.loads((DOCS / "millrace.schema.json").read_text("utf-8"))

    def keys(self):
        return [key for section in self.module.sections(self.schema) for key in section.keys]

    def test_the_file_is_what_the_schema_gives(self):
        found = subprocess.run(
            [SCRIPT, "--check"], cwd=ROOT, capture_output=True, text=True, check=False)
        self.assertEqual((found.returncode, found.stdout + found.stderr), (0, ""))

    def test_each_key_of_the_schema_is_there(self):
        """The keys counted without the script: every member of `properties` of every definition."""
        mappings = [self.schema, *self.schema["definitions"].values()]
        names = sorted(name for mapping in mappings for name in mapping.get("properties", {}))
        self.assertGreater(len(names), 50)
        self.assertEqual(sorted(key.name for key in self.keys()), names)
        table = rows(
            (DOCS / "configuration-reference.md").read_text("utf-8"),
            ["key", "type and range", "default", "meaning", "reload"])
        self.assertEqual(sorted(row[0].strip("`") for row in table), names)
        for row in table:
            self.assertEqual(len(row), 5, row)
            self.assertTrue(all(row), row)

    def test_the_guide_repeats_no_table_of_keys(self):
        text = (DOCS / "configuration.md").read_text("utf-8")
        self.assertEqual(rows(text, ["key", "type and range", "default", "meaning"]), [])

    def test_a_key_without_a_description_is_an_error(self):
        del self.schema["properties"]["workers"]["description"]
        with self.assertRaisesRegex(self.module.SchemaError, "workers: has no description"):
            self.module.reference(self.schema)

    def test_a_duration_without_a_range_is_an_error(self):
        property_ = self.schema["definitions"]["drain"]["properties"]["deadline"]
        property_["description"] = "From the stop signal until remaining connections are closed."
        with self.assertRaisesRegex(self.module.SchemaError, "drain.deadline: .*Range"):
            self.module.reference(self.schema)

    def test_what_is_fixed_at_start_is_what_a_reload_rejects(self):
        """Both ways: the sources name each key that the reference calls fixed, or a mapping above it."""
        text = sources.without_comments(
            (ROOT / "Sources/Proxy/Control/FixedSettings.swift").read_text("utf-8"))
        rejected = {
            name.replace(r"[\(index)]", "[]")
            for name in re.findall(r'(?:compare\(|append\()"([^"]+)"', text)}
        self.assertGreater(len(rejected), 10)
        reload = {key.path: key.reload for key in self.keys()}
        for name in rejected:
            with self.subTest(name):
                self.assertNotEqual(reload[name], "yes")
        for path, word in reload.items():
            with self.subTest(path):
                if word == "yes":
                    self.assertNotIn(path, rejected)
                else:
                    # A mapping is fixed by its keys, and they by it.
                    self.assertTrue(
                        [name for name in rejected if f"{path}.".startswith(f"{name}.")
                         or f"{name}.".startswith(f"{path}.")])


class Runbook(unittest.TestCase):
    def test_each_log_message_has_its_row(self):
        said = sources.log_messages()
        self.assertGreater(len(said), 30)
        table = rows(
            (DOCS / "runbook.md").read_text("utf-8"),
            ["message", "level", "what it means", "what to do"])
        written = {row[0].strip("`"): frozenset(row[1].split(", ")) for row in table}
        self.assertEqual(len(written), len(table), "a message has two rows")
        self.assertEqual(set(said) - set(written), set(), "logged, and not in docs/runbook.md")
        self.assertEqual(set(written) - set(said), set(), "in docs/runbook.md, and not logged")
        for name, levels in said.items():
            self.assertEqual(written[name], levels, name)
        for row in table:
            self.assertTrue(all(row) and len(row) == 4, row)

    def test_each_metric_has_its_row(self):
        """By the sources; test_66 compares with what a running proxy gives."""
        known = sources.metrics()
        self.assertGreater(len(known), 90)
        table = rows(
            (DOCS / "operations.md").read_text("utf-8"), ["metric", "type", "labels", "meaning"])
        self.assertEqual({row[0].strip("`") for row in table}, known)
        for row in table:
            self.assertTrue(all(row), row)

    def test_each_reason_has_its_row(self):
        known = sources.endings()
        self.assertGreater(len(known), 35)
        table = rows(
            (DOCS / "operations.md").read_text("utf-8"), ["reason", "what happened", "what to do"])
        self.assertEqual({row[0].strip("`") for row in table}, known)
        for row in table:
            self.assertTrue(all(row), row)

    def test_each_alert_has_its_row(self):
        alerts = re.findall(
            r"^ +- alert: (\w+)$", (ROOT / "packaging/alerts.yaml").read_text("utf-8"), re.M)
        table = rows((DOCS / "runbook.md").read_text("utf-8"), ["alert", "what to do first"])
        self.assertEqual([row[0].strip("`") for row in table], alerts)


class Extraction(unittest.TestCase):
    """The reader of the sources finds messages in every form that a call may take, and says where it finds none."""

    def messages(self, text):
        return [(name, sorted(levels)) for name, levels, _ in sources.messages_of(text)]

    def test_forms_of_a_call(self):
        for text, expected in (
            ('logger.info("stopped")', ("stopped", ["info"])),
            ('loop.logger.warning("lost count=\\(n) of=\\(f("x)"))")', ("lost", ["warning"])),
            ('logger\n  .error(\n  """\n  cannot open \\\n  log error="\\(e)"\n  """)',
             ("cannot open log", ["error"])),
            ('log?.notice("set by=\\(a) to=\\(b)")', ("set", ["notice"])),
            ('logger.log(\n  level: a(b, c) ? .error : .warning, "bad \\(problem)")',
             ("bad …", ["error", "warning"])),
            ('logger.log(level: max(level, .notice), "level set from=\\(x)")',
             ("level set", ["notice"])),
            ('var text = "counters worker=\\(w)"\ntext += " a"\nlogger.info("\\(text)")',
             ("counters", ["info"])),
            ('writer.write(Self.line(.warning, "lines dropped count=1"))', ("lines dropped", ["warning"])),
            ('failureLogger!.critical("a // b x=1") // logger.info("c")', ("a // b", ["critical"])),
        ):
            with self.subTest(text):
                self.assertEqual(self.messages(text), [expected])

    def test_what_is_no_message(self):
        for text in (
            '// logger.info("a")', '/* logger.error("a") */', 'let x = "logger.info(1)"',
            'loop.logger.debug("a")', 'failureLog.admit(now: 1)',
        ):
            with self.subTest(text):
                self.assertEqual(self.messages(text), [])

    def test_what_cannot_be_read_is_an_error(self):
        for text in ("logger.info(text)", 'logger.info("\\(unknown)")', 'logger.error("a"'):
            with self.subTest(text), self.assertRaises(sources.Unreadable):
                self.messages(text)


def without_code(text):
    """The text of a document without fenced blocks and code, in which brackets are no links."""
    text = re.sub(r"^( *)```.*?^\1```$", "", text, flags=re.M | re.S)
    return re.sub(r"(`+)(?!`).+?(?<!`)\1(?!`)", lambda found: "x" * len(found.group(0)), text)


def anchors(text):
    """The anchors that GitHub gives the headings of a document."""
    found = {}
    text = re.sub(r"^( *)```.*?^\1```$", "", text, flags=re.M | re.S)
    for heading in re.findall(r"^#{1,6} +(.*?) *#*$", text, re.M):
        heading = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", heading)
        name = re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
        count = found.get(name, -1) + 1
        found[name] = count
        if count:
            found[f"{name}-{count}"] = 0
    return set(found)


class Links(unittest.TestCase):
    def test_each_link_leads_to_a_file_and_a_heading(self):
        seen = 0
        for path in documents():
            text = without_code(path.read_text("utf-8"))
            for target in re.findall(r"\]\(<?([^)\s>]+)>?(?: \"[^\"]*\")?\)", text):
                if re.match(r"[a-z][a-z0-9+.-]*:", target):
                    continue
                seen += 1
                with self.subTest(f"{path.relative_to(ROOT)}: {target}"):
                    self.check(path, target)
        self.assertGreater(seen, 100)

    def check(self, path, target):
        name, _, anchor = target.partition("#")
        file = (path.parent / name).resolve() if name else path
        self.assertTrue(file.is_relative_to(ROOT) and file.exists(), "no such file")
        if anchor:
            self.assertEqual(file.suffix, ".md", "an anchor of something else")
            self.assertIn(anchor, anchors(file.read_text("utf-8")), "no such heading")

    def test_the_check_finds_what_is_broken(self):
        here = DOCS / "configuration.md"
        self.check(here, "operations.md#how-exchanges-end")
        for target in ("nowhere.md", "operations.md#nowhere", "#nowhere", "../../elsewhere"):
            with self.subTest(target), self.assertRaises(AssertionError):
                self.check(here, target)

    def test_the_index_has_each_document(self):
        text = (DOCS / "README.md").read_text("utf-8")
        named = re.findall(r"^\| \[[^\]]+\]\(([^)#]+)\) \|", text, re.M)
        self.assertEqual(len(named), len(set(named)))
        wanted = {path.name for path in DOCS.glob("*.md")} - {"README.md"}
        self.assertEqual(wanted - set(named), set())


class Front(unittest.TestCase):
    """README.md can be read in a minute."""

    def setUp(self):
        self.text = (ROOT / "README.md").read_text("utf-8")

    def test_it_fits_two_screens(self):
        self.assertLessEqual(len(self.text.splitlines()), README_LINES)

    def test_it_leads_to_the_documents(self):
        for name in ("getting-started", "configuration", "configuration-reference", "operations", "runbook",
                     "tuning", "faq", "performance", "README"):
            self.assertIn(f"(docs/{name}.md", self.text)

    def test_it_shows_the_status_page(self):
        self.assertIn("](docs/status.png)", self.text)
        picture = (DOCS / "status.png").read_bytes()
        self.assertEqual(picture[:8], b"\x89PNG\r\n\x1a\n")
        self.assertLessEqual(len(picture), PICTURE_BYTES)

    def test_its_figures_are_those_of_the_measurement(self):
        """Each row of its table is of docs/performance.md, cell by cell."""
        table = rows(
            self.text, ["workload", "Millrace, epoll", "Millrace, io_uring", "nginx", "HAProxy", "h2o"])
        self.assertGreater(len(table), 2)
        measured = (DOCS / "performance.md").read_text("utf-8")
        parts = {
            part.splitlines()[0].strip(): part.split("\n## ")[0] for part in measured.split("\n### ")[1:]}
        for workload, *figures in table:
            with self.subTest(workload):
                section = parts[workload]
                for name, figure in zip(("epoll", "io_uring", "nginx", "haproxy", "h2o"), figures):
                    line, *_ = re.findall(rf"^\| {name}\b.*$", section, re.M)
                    self.assertEqual(figure, cells(line)[3], name)


if __name__ == "__main__":
    unittest.main()
