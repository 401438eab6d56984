"""Layer 6: the status page in a real browser: it loads nothing from elsewhere, draws what happens, fits narrow and
wide windows, and says when the proxy is gone."""

import os
import time
import unittest

from harness import chromium, ports, settings, wire
from harness.admin import with_admin
from harness.case import SystemCase

#: WCAG 2.1 asks for 4.5 between text and its ground.
CONTRAST = """(() => {
  const parts = text => text.match(/[\\d.]+/g).map(Number);
  const light = rgb => { const [r, g, b] = rgb.slice(0, 3).map(v => { v /= 255;
    return v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4; }); return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
  const ground = node => { for (; node; node = node.parentElement) {
    const colour = parts(getComputedStyle(node).backgroundColor); if (colour.length < 4 || colour[3] > 0) return colour; }
    return [255, 255, 255]; };
  const bad = [];
  for (const node of document.querySelectorAll("h1, h2, p, th, td, b, span, figcaption")) {
    if (!node.textContent.trim() || !node.offsetParent) continue;
    const a = light(parts(getComputedStyle(node).color)), b = light(ground(node));
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (ratio < 4.5) bad.push(`${node.tagName} ${node.textContent.slice(0, 20)} ${ratio.toFixed(2)}`);
  }
  return bad;
})()"""


@unittest.skipUnless(chromium.program(), "chromium is not installed; run scripts/bootstrap")
class StatusPage(SystemCase):
    engine = "epoll"
    hang_limit = 300

    def setUp(self):
        super().setUp()
        self.browser = chromium.Browser(self.folder)
        self.addCleanup(self.browser.close)

    def until(self, expression, wanted=True):
        deadline = time.monotonic() + settings.HANG
        while (found := self.browser.evaluate(expression)) != wanted:
            self.assertLess(time.monotonic(), deadline, f"{expression}: {found}")
            time.sleep(0.1)

    def test_it_shows_what_happens_and_fits(self):
        def script(served):
            while message := served.request():
                if message.target == "/bad":
                    served.answer(b"no", status="500 Internal Server Error")
                else:
                    served.answer(b"ten bytes.")

        origin, port = self.start_origin(script), ports.free_port()
        config = self.settings_for(
            origin.port, ports.free_port(), workers=2, audit={"directory": str(self.folder / "log")})
        # What a name would do as markup, it must not do.
        name = "<img/src=x/onerror=alert(1)>"
        config["upstreams"][name] = {"servers": ["127.0.0.1:9"]}
        config["routes"].insert(0, {"match": {"path": "/other"}, "upstream": name})
        with_admin(self, config, port)
        proxy = self.start_proxy(config)
        page = f"http://127.0.0.1:{port}/"
        for scheme in ("light", "dark"):
            self.browser.scheme(scheme)
            for width in (390, 1280):
                self.browser.size(width)
                self.browser.visit(page)
                self.until("document.getElementById('phase').textContent", "serving")
                connection = self.connect(proxy)
                for _ in range(20):
                    connection.send(wire.get("/"))
                    self.assertEqual(connection.response().status, 200)
                connection.send(wire.get("/bad"))
                self.assertEqual(connection.response().status, 500)
                self.until("document.querySelectorAll('#p-rate polyline').length", 2)
                self.until("document.querySelectorAll('#p-latency polyline').length > 0")
                self.until("document.querySelectorAll('#p-audit polyline').length > 0")
                # The page itself never scrolls sideways.
                self.assertLessEqual(
                    self.browser.evaluate("document.documentElement.scrollWidth"), width)
                self.assertEqual(self.browser.evaluate(CONTRAST), [], (scheme, width))
                if folder := os.environ.get("MILLRACE_SCREENSHOTS"):
                    self.browser.screenshot(f"{folder}/status-{scheme}-{width}.png")
        text = self.browser.evaluate("document.body.innerText")
        self.assertIn(f"origin/127.0.0.1:{origin.port}", text)
        self.assertIn(name, text)
        self.assertIn("complete", text)
        self.assertEqual(self.browser.problems, [])
        outside = [url for url in self.browser.requests if not url.startswith((page, "data:"))]
        self.assertEqual(outside, [])
        proxy.stop()
        self.until("document.getElementById('phase').textContent", "no answer")
        self.assertFalse(self.browser.evaluate("document.getElementById('problem').hidden"))


if __name__ == "__main__":
    unittest.main()
