"""page.py FILE...: whether pages of `quern explain --html` are well made.

Without a browser: tags close, nothing is loaded from elsewhere, nothing runs.
With QUERN_BROWSER set and --look, in light and dark, in a wide and a narrow window:
no error on the console, no request, the page is not wider than the window, every
text of a drawing lies within it and on no other text, and boxes hold their texts.
"""

import html.parser
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile

VOID = {"meta", "br", "link", "img", "hr", "input"}
DRAWN = {"rect", "path", "circle"}


class Checker(html.parser.HTMLParser):
    def __init__(self, name):
        super().__init__()
        self.name, self.open = name, []

    def handle_starttag(self, tag, attributes):
        if tag in ("script", "link", "img", "iframe", "object", "foreignobject"):
            sys.exit(f"{self.name}: <{tag}>")
        for key, value in attributes:
            if key in ("src", "href", "xlink:href", "srcset", "action") or key.startswith("on"):
                sys.exit(f"{self.name}: <{tag} {key}={value}>")
            if key in ("width", "height", "x", "y", "r", "d", "viewbox") and re.search("nan|inf", value or "", re.I):
                sys.exit(f"{self.name}: <{tag} {key}={value}>")
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.handle_starttag(tag, attributes)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        if not self.open or self.open.pop() != tag:
            sys.exit(f"{self.name}:{self.getpos()[0]}: </{tag}> closes nothing")


PROBE = """<script>
window.addEventListener('load', () => {
  const wrong = [];
  const inside = (a, b, slack) => a.left >= b.left - slack && a.right <= b.right + slack &&
    a.top >= b.top - slack && a.bottom <= b.bottom + slack;
  const meet = (a, b) => a.left < b.right - 1 && b.left < a.right - 1 && a.top < b.bottom - 2 && b.top < a.bottom - 2;
  let texts = 0, boxes = 0;
  for (const svg of document.querySelectorAll('svg')) {
    const frame = svg.getBoundingClientRect();
    const all = [...svg.querySelectorAll('text')].map(t => [t.textContent, t.getBoundingClientRect()]);
    texts += all.length;
    all.forEach(([text, box], i) => {
      if (!inside(box, frame, 1)) wrong.push('outside: ' + text);
      for (const [other, its] of all.slice(i + 1)) if (meet(box, its)) wrong.push('overlap: ' + text + ' / ' + other);
    });
    const rects = [...svg.querySelectorAll('g > rect')];
    boxes += rects.length;
    rects.forEach((rect, i) => {
      const box = rect.getBoundingClientRect();
      for (const text of rect.parentNode.querySelectorAll('text'))
        if (!inside(text.getBoundingClientRect(), box, 0)) wrong.push('box too small: ' + text.textContent);
      for (const other of rects.slice(i + 1)) if (meet(box, other.getBoundingClientRect())) wrong.push('boxes overlap');
    });
  }
  const page = document.documentElement;
  if (page.scrollWidth > window.innerWidth) wrong.push('page of ' + page.scrollWidth + ' in ' + window.innerWidth);
  const loaded = performance.getEntriesByType('resource').length;
  if (loaded) wrong.push(loaded + ' requests');
  const shown = getComputedStyle(document.body);
  parent.postMessage(JSON.stringify({wrong, texts, boxes, width: window.innerWidth,
    ink: shown.color, page: shown.backgroundColor}), '*');
});
</script></body>"""

# A window may not be as narrow as a telephone; a frame may.
FRAME = """<!DOCTYPE html><meta charset="utf-8"><style>body {{ margin: 0 }}</style><script>
window.addEventListener('message', message => {{
  const found = document.createElement('pre');
  found.textContent = message.data;
  document.body.append(found);
}});
</script><body><iframe style="border: 0; width: {width}px; height: 900px" srcdoc="{page}"></iframe></body>"""


def look(browser, page, width, dark):
    with tempfile.TemporaryDirectory() as folder:
        probe = pathlib.Path(folder, "probe.html")
        probed = page.read_text(encoding="utf-8").replace("</body>", PROBE)
        probe.write_text(FRAME.format(width=width, page=html.escape(probed)), encoding="utf-8")
        command = [browser, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={folder}/profile",
                   "--enable-logging=stderr", f"--window-size={width + 20},1000", "--virtual-time-budget=5000", "--dump-dom"]
        if dark:
            command.append("--blink-settings=preferredColorScheme=0")
        run = subprocess.run([*command, probe.as_uri()], capture_output=True, text=True, timeout=120)
    console = [line for line in run.stderr.splitlines() if "CONSOLE" in line]
    if console:
        sys.exit(f"{page}: {console[0]}")
    found = re.search(r"<pre>(\{.*?\})</pre>", run.stdout, re.S)
    if not found:
        sys.exit(f"{page}: the browser showed nothing: {run.stderr[-400:]}")
    seen = json.loads(html.unescape(found.group(1)))
    print(f"{page} at {seen['width']}, {'dark' if dark else 'light'}: {seen['texts']} texts, {seen['boxes']} boxes")
    if seen["wrong"]:
        sys.exit("\n".join(seen["wrong"]))
    return seen


def main(arguments):
    looks = arguments[:1] == ["--look"]
    for page in map(pathlib.Path, arguments[looks:]):
        text = page.read_text(encoding="utf-8")
        checker = Checker(page)
        checker.feed(text)
        if checker.open:
            sys.exit(f"{page}: <{checker.open[-1]}> stays open")
        # Namespaces are no addresses; there are none either.
        for address in ("http:", "https:", "//", "url(", "@import"):
            if address in text:
                sys.exit(f"{page}: mentions {address}")
        if not looks:
            continue
        browser = os.environ["QUERN_BROWSER"]
        light = look(browser, page, 1400, False)
        dark = look(browser, page, 400, True)
        if light["page"] == dark["page"] or light["ink"] == dark["ink"]:
            sys.exit(f"{page}: dark is as light")
        if not light["texts"]:
            sys.exit(f"{page}: nothing is drawn")


if __name__ == "__main__":
    main(sys.argv[1:])
