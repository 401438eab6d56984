"""Layer 9: the report of a comparison, in a real browser.

`inspect.js` below measures the page as it is laid out: which texts overlap, what is too faint to
read, what sticks out. Each measure is also shown to find what it is for, on a report that is broken
by intent.
"""

import json
import re
import unittest

from harness import chromium, comparison, proxy
from harness.case import SystemCase

#: Runs in the page and gives what is wrong with it.
INSPECTION = r"""
(() => {
  const seen = (e) => e.checkVisibility({ visibilityProperty: true, opacityProperty: true });
  const name = (e) => `${e.tagName.toLowerCase()} "${e.textContent.trim().slice(0, 40)}"`;

  // Texts of drawings, and the words in table cells, as boxes.
  const boxes = [];
  for (const text of document.querySelectorAll("svg text")) {
    if (!seen(text) || !text.textContent.trim()) continue;
    boxes.push({ place: text.closest("svg"), box: text.getBoundingClientRect(), name: name(text) });
  }
  for (const cell of document.querySelectorAll("th,td")) {
    if (!seen(cell) || !cell.textContent.trim()) continue;
    const range = document.createRange();
    range.selectNodeContents(cell);
    for (const box of range.getClientRects()) {
      boxes.push({ place: cell.closest("table"), box, name: name(cell) });
    }
  }
  const overlaps = [];
  for (let i = 0; i < boxes.length; i++) {
    for (let j = i + 1; j < boxes.length; j++) {
      const [a, b] = [boxes[i], boxes[j]];
      if (a.place !== b.place) continue;
      const width = Math.min(a.box.right, b.box.right) - Math.max(a.box.left, b.box.left);
      const height = Math.min(a.box.bottom, b.box.bottom) - Math.max(a.box.top, b.box.top);
      // Line boxes touch by a pixel or two of leading, in which there is no ink.
      if (width > 1 && height > 3) overlaps.push(`${a.name} over ${b.name}`);
    }
  }

  // An interval that runs through a word.
  for (const line of document.querySelectorAll("svg .interval")) {
    if (!seen(line)) continue;
    const { left, right, top } = line.getBoundingClientRect();
    for (const { place, box, name } of boxes) {
      const width = Math.min(box.right, right) - Math.max(box.left, left);
      if (place === line.closest("svg") && width > 1 && top > box.top + 3 && top < box.bottom - 3) {
        overlaps.push(`an interval through ${name}`);
      }
    }
  }

  // Texts that leave their drawing are cut off, or lie over what is beside it.
  const outside = boxes.filter(({ place, box }) => {
    if (place.tagName !== "svg") return false;
    const frame = place.getBoundingClientRect();
    return box.left < frame.left - 1 || box.right > frame.right + 1
      || box.top < frame.top - 1 || box.bottom > frame.bottom + 1;
  }).map((b) => b.name);

  // WCAG 2.2, 1.4.3: contrast of text against what is painted behind it.
  const parse = (color) => {
    const parts = color.match(/[\d.]+/g).map(Number);
    return { rgb: parts.slice(0, 3), alpha: parts.length > 3 ? parts[3] : 1 };
  };
  const luminance = (rgb) => {
    const [r, g, b] = rgb.map((v) => v / 255)
      .map((v) => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const behind = (e) => {
    for (; e; e = e.parentElement) {
      const { rgb, alpha } = parse(getComputedStyle(e).backgroundColor);
      if (alpha === 1) return rgb;
    }
    return [255, 255, 255];
  };
  const faint = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  let texts = 0;
  while (walker.nextNode()) {
    const e = walker.currentNode.parentElement;
    if (!walker.currentNode.data.trim() || !seen(e)) continue;
    if (["SCRIPT", "STYLE", "TITLE", "DESC"].includes(e.tagName.toUpperCase())) continue;
    texts += 1;
    const style = getComputedStyle(e);
    const ink = parse(e.closest("svg") ? style.fill : style.color).rgb;
    const [a, b] = [luminance(ink), luminance(behind(e))];
    const contrast = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (contrast < 4.5) faint.push(`${name(e)}: ${contrast.toFixed(2)}`);
  }

  const plots = {};
  for (const figure of document.querySelectorAll("figure")) {
    const svg = [...figure.querySelectorAll("svg.plot")].find(seen);
    plots[figure.id] = svg
      ? svg.querySelectorAll("path,rect,circle,polygon").length : 0;
  }
  const root = document.documentElement;
  return {
    overlaps, outside, faint, texts, boxes: boxes.length, plots,
    ground: getComputedStyle(root).backgroundColor,
    beyond: root.scrollWidth - root.clientWidth,
    tables: document.querySelectorAll("figure details table").length,
  };
})()
"""

#: With three subjects: what must be there, and the fewest marks of each.
PLOTS = {
    "plot-ratios-1-0": 40,
    "plot-ratios-1-2": 40,
    "plot-latency-p50": 12,
    "plot-latency-p99": 12,
    "plot-percentiles-0": 15,
    "plot-percentiles-1": 15,
    "plot-percentiles-2": 15,
    "plot-cpu": 18,
    "plot-counts": 10,
    "plot-rounds": 27,
}


@unittest.skipUnless(chromium.program(), "chromium is not installed; run scripts/bootstrap")
class InABrowser(SystemCase):
    def setUp(self):
        super().setUp()
        self.browser = chromium.Browser(self.folder)
        self.addCleanup(self.browser.close)

    def render(self, made):
        file, page = self.folder / "comparison.json", self.folder / "report.html"
        file.write_text(json.dumps(made), encoding="utf-8")
        code, _, errors = proxy.run_to_end(["report", file, "--html", page])
        self.assertEqual(code, 0, errors)
        return page

    def inspect(self, page, scheme, width):
        self.browser.scheme(scheme)
        self.browser.size(width)
        self.browser.open(page)
        return self.browser.evaluate(INSPECTION)

    def assert_sound(self, page):
        grounds = set()
        for scheme in ("light", "dark"):
            for width in (360, 1600):
                with self.subTest(scheme=scheme, width=width):
                    found = self.inspect(page, scheme, width)
                    self.assertEqual(self.browser.problems, [])
                    self.assertEqual(self.browser.requests, [f"file://{page}"])
                    self.assertEqual(found["overlaps"], [])
                    self.assertEqual(found["outside"], [])
                    self.assertEqual(found["faint"], [])
                    self.assertLessEqual(found["beyond"], 0)
                    self.assertGreater(found["texts"], 300)
                    self.assertGreater(found["boxes"], 200)
                    grounds.add(found["ground"])
                    self.found = found
        self.assertEqual(len(grounds), 2, "light and dark have the same ground")

    def test_every_plot_is_there_and_nothing_overlaps(self):
        self.assert_sound(self.render(comparison.make()))
        self.assertEqual(set(self.found["plots"]), set(PLOTS))
        for name, fewest in PLOTS.items():
            self.assertGreaterEqual(self.found["plots"][name], fewest, name)
        self.assertEqual(self.found["tables"], len(PLOTS))

    def test_intervals_as_wide_as_the_plot_run_through_no_word(self):
        made = comparison.make()
        for m in made["measurements"]:
            if m["subject"] == "io_uring" and m["round"] % 2:
                m["machineSeconds"] *= 1000
                m["processSeconds"] *= 1000
        made["ratios"] = []
        self.assert_sound(self.render(made))

    def test_five_subjects_and_hostile_names_are_laid_out_too(self):
        made = comparison.make(3, tuple(comparison.SUBJECTS), rounds=6)
        name = "io_uring+sqpoll+busy_poll+zero_copy</script><script>alert(1)</script>&\"'"
        for m in made["measurements"]:
            if m["subject"] == "io_uring+sqpoll":
                m["subject"] = name
        made["subjects"][2]["name"] = name
        made["subjects"].append(dict(
            comparison.subject("nginx (tuned)"), name="caddy", failure="exit status 1: <b>no</b>"))
        made["subjects"][0]["configurations"]["<i>.yaml"] = "a: '</pre><script>throw 1</script>'\n"
        page = self.render(made)
        self.assert_sound(page)
        self.assertEqual(self.browser.evaluate("document.querySelectorAll('script').length"), 2)
        self.assertEqual(self.browser.evaluate("document.querySelectorAll('b,i').length"), 0)

    def test_it_shows_all_without_a_script(self):
        page = self.render(comparison.make())
        self.browser.call("Emulation.setScriptExecutionDisabled", value=True)
        found = self.inspect(page, "light", 1600)
        self.assertEqual(set(found["plots"]), set(PLOTS))
        self.assertTrue(all(found["plots"].values()))
        self.assertEqual(found["overlaps"], [])

    def test_the_script_switches_hides_sorts_and_keeps_the_data(self):
        made = comparison.make()
        self.inspect(self.render(made), "light", 1600)
        run = self.browser.evaluate
        ground = run("getComputedStyle(document.documentElement).backgroundColor")
        run("document.getElementById('theme').click()")
        self.assertNotEqual(
            run("getComputedStyle(document.documentElement).backgroundColor"), ground)
        self.assertEqual(run(INSPECTION)["faint"], [])
        # Not checkVisibility: Chromium's does not look at the style of a part of a drawing anew.
        lines = ("[...document.querySelectorAll('g.series')]"
                 ".filter((g) => g.getClientRects().length > 0).length")
        before = run(lines)
        run("document.querySelector('.legend button').click()")
        self.assertEqual(run(lines), before * 2 // 3)
        run("document.querySelectorAll('section ~ .scroll thead th')[1].click()")
        self.assertEqual(run("document.querySelectorAll('th[aria-sort=ascending]').length"), 1)
        self.assertEqual(
            run("[...document.querySelector('section ~ .scroll tbody').rows].map((r) => "
                "r.cells[0].textContent)"), ["nginx (tuned)", "epoll", "io_uring"])
        kept = json.loads(run("document.getElementById('data').textContent"))
        self.assertEqual(len(kept["measurements"]), len(made["measurements"]))
        self.assertEqual(kept["measurements"][0]["load"]["latency"]["histogram"],
                         made["measurements"][0]["load"]["latency"]["histogram"])
        self.assertEqual(self.browser.problems, [])

    def test_the_inspection_finds_what_it_is_for(self):
        page = self.render(comparison.make())
        text = page.read_text(encoding="utf-8")

        def broken(old, new, width=1600):
            self.assertIn(old, text)
            page.write_text(text.replace(old, new, 1), encoding="utf-8")
            return self.inspect(page, "light", width)

        self.assertNotEqual(broken("svg text{font:12px", "svg text{font:26px")["overlaps"], [])
        self.assertNotEqual(broken("svg text{font:12px", "svg text{font:26px")["outside"], [])
        self.assertNotEqual(broken("--soft: #545b64", "--soft: #a5abb4")["faint"], [])
        self.assertGreater(broken(".scroll{overflow-x:auto;", ".scroll{", 360)["beyond"], 0)
        broken('"use strict";', '"use strict"; absent();')
        self.assertIn("absent", "".join(self.browser.problems))
        broken('"use strict";', 'console.error("told");')
        self.assertIn("told", "".join(self.browser.problems))
        broken('<link rel="icon" href="data:,">', '<img src="http://127.0.0.1:9/x.png">')
        self.assertNotEqual(self.browser.problems, [], "the page's own policy let a request pass")
        page.write_text(re.sub(r"<(path|rect)\b[^>]*>", "", text), encoding="utf-8")
        found = self.inspect(page, "light", 1600)
        self.assertLess(found["plots"]["plot-ratios-1-0"], PLOTS["plot-ratios-1-0"])


class InATerminal(SystemCase):
    def write(self, name, made):
        file = self.folder / name
        file.write_text(json.dumps(made), encoding="utf-8")
        return file

    def test_text_fits_a_hundred_columns_and_ends_in_the_verdict(self):
        file = self.write("run.json", comparison.make())
        code, out, errors = proxy.run_to_end(["report", file])
        self.assertEqual(code, 0, errors)
        self.assertLessEqual(max(map(len, out.splitlines())), 100)
        verdict = out.index("\nVerdict\n")
        self.assertGreater(verdict, out.index("io_uring against epoll"))
        self.assertRegex(" ".join(out[verdict:].split()), r"io_uring: \+1\d% throughput")

    def test_an_added_cost_is_a_regression_and_the_same_again_is_none(self):
        before = self.write("before.json", comparison.make(1))
        again = self.write("again.json", comparison.make(2))
        slower = self.write("slower.json", comparison.slowed(comparison.make(2), "io_uring", 6))
        code, out, _ = proxy.run_to_end(["report", again, "--against", before])
        self.assertEqual(code, 0, out)
        code, out, _ = proxy.run_to_end(["report", slower, "--against", before])
        self.assertEqual(code, 3, out)
        self.assertRegex(out, r"io_uring +equal load +CPU per request .*REGRESSION")
        self.assertNotRegex(out, r"  epoll .*REGRESSION")

    def test_what_fails_now_is_a_regression_and_what_was_not_compared_is_no_pass(self):
        before = self.write("before.json", comparison.make(1))
        made = comparison.make(2)
        made["subjects"][1]["failure"] = "did not start"
        code, out, _ = proxy.run_to_end(
            ["report", self.write("failed.json", made), "--against", before])
        self.assertEqual(code, 3, out)
        self.assertIn("io_uring worked in the earlier run, but fails now: did not start", out)
        moved = comparison.make(2)
        moved["stages"][1]["rate"] *= 1.03
        code, out, _ = proxy.run_to_end(
            ["report", self.write("moved.json", moved), "--against", before])
        self.assertEqual(code, 4, out)
        self.assertRegex(out, r"epoll +equal load +p99 .*NOT COMPARED")
        self.assertTrue(out.splitlines()[-1].startswith("Undecided: "), out)

    def test_other_machines_and_other_files_are_refused(self):
        before = self.write("before.json", comparison.make(1))
        made = comparison.make(2)
        made["machine"]["kernel"] = "5.15.0"
        code, _, errors = proxy.run_to_end(
            ["report", self.write("other.json", made), "--against", before])
        self.assertEqual(code, 1)
        self.assertIn("5.15.0", errors)
        made["measurements"][3]["load"]["planned"] = "many"
        code, _, errors = proxy.run_to_end(["report", self.write("torn.json", made)])
        self.assertEqual(code, 1)
        self.assertIn("planned", errors)
        code, _, errors = proxy.run_to_end(["report", self.write("any.json", {"name": "x"})])
        self.assertEqual(code, 1)
        self.assertIn("not a comparison", errors)
