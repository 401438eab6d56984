"""Chromium: a page with a style sheet and thirty images over HTTP/2, as the browser itself accounts for it."""

import json
import subprocess

from clients import BaseClient, Variant
from harness import chromium

# A browser speaks HTTP/2 over TLS alone.
VARIANTS = [Variant("tls, http/2", True), Variant("clear, http/1.1", False, "1.1")]
EXCHANGES = ["page", "again"]

LOADED = """(async () => {
  await new Promise(done => document.readyState == 'complete' ? done() : addEventListener('load', done))
  const all = [...performance.getEntriesByType('navigation'), ...performance.getEntriesByType('resource')]
    .filter(entry => !entry.name.includes('favicon'))
  const kinds = [...new Set(all.map(entry => entry.nextHopProtocol))].join('+')
  const images = [...document.images].filter(image => image.naturalWidth > 0).length
  return `${all.length} by ${kinds}, ${images} images, ${getComputedStyle(document.body).color}`
})()"""


def missing():
    return None if chromium.program() else "chromium is not installed"


def version():
    return subprocess.run(
        [chromium.program(), "--version"], capture_output=True, text=True, check=True).stdout.strip()


class Client(BaseClient):
    def __init__(self, target, variant):
        super().__init__(target, variant)
        self.browser = chromium.Browser(str(target.folder))
        self.browser.call("Security.setIgnoreCertificateErrors", ignore=True)

    def close(self):
        self.browser.close()

    def expected(self, _name):
        protocol = "h2" if self.variant.version == "2" else "http/1.1"
        return json.dumps(f"32 by {protocol}, 30 images, rgb(1, 2, 3)")

    def page(self):
        self.browser.call("Page.navigate", url=self.target.url("/page"))
        while "Page.loadEventFired" not in self.browser._events:
            self.browser._note(self.browser._next("Page.loadEventFired"))
        self.browser._events.clear()
        return json.dumps(self.browser.evaluate(LOADED))

    def again(self):
        return self.page()
