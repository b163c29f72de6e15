"""How quickly the page answers people, in a real browser: make bench-page.

The service runs with the released model, Debian's Chromium with 100 phantoms dropped onto the
page. All times are the browser's own, from PerformanceObserver. Each line has its bar, and the
exit code is 1 if one is not met. On a machine that does other work, tasks take longer than their
processor time, which comes from a trace.
"""

import argparse
import base64
import gzip
import json
import re
import shutil
import socket
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from playwright.sync_api import Page, sync_playwright

from benchmarks.processes import Server
from mammoscope.client import Client
from mammoscope.phantoms.drawing import write_phantoms

FILES = 100
PATIENCE_S = 300

OBSERVE = """
globalThis.seen = { tasks: [], shift: 0, painted: null };
new PerformanceObserver((list) => {
  seen.tasks.push(...list.getEntries());
}).observe({ type: "longtask", buffered: true });
new PerformanceObserver((list) => {
  for (const each of list.getEntries()) if (!each.hadRecentInput) seen.shift += each.value;
}).observe({ type: "layout-shift", buffered: true });
new MutationObserver(() => {
  if (seen.painted !== null || !document.querySelector("[data-status=done]")) return;
  seen.painted = 0;
  requestAnimationFrame(() => setTimeout(() => { seen.painted = performance.now(); }));
}).observe(document, { subtree: true, childList: true, attributes: true });
"""
"""Long tasks, layout shift, and when the first result was painted."""

MAKE = """([image, count]) => {
  const bytes = Uint8Array.from(atob(image), (letter) => letter.charCodeAt(0));
  globalThis.transfer = new DataTransfer();
  for (let at = 0; at < count; at += 1) {
    transfer.items.add(new File([bytes], `${at}.jpg`, { type: "image/jpeg" }));
  }
}"""
"""A task of its own: what the files' making takes is the benchmark's."""

DROP = """() => {
  performance.mark("dropped");
  document.body.dispatchEvent(
    new DragEvent("drop", { bubbles: true, cancelable: true, dataTransfer: transfer }));
}"""

TOLD = """() => {
  const resources = performance.getEntriesByType("resource");
  const answers = resources.filter((each) => each.name.includes("/predict"));
  const dropped = performance.getEntriesByName("dropped")[0].startTime;
  return {
    painted: seen.painted - Math.min(...answers.map((each) => each.responseEnd)),
    shift: seen.shift,
    tasks: seen.tasks
      .filter((each) => each.startTime + each.duration > dropped)
      .map((each) => each.duration),
    blocking: resources.filter((each) => each.renderBlockingStatus === "blocking").length,
  };
}"""


@dataclass(frozen=True, slots=True)
class Line:
    """One measurement and its bar; it is met below the bar."""

    name: str
    value: float
    bar: float
    unit: str

    @property
    def met(self) -> bool:
        """Whether the value is below its bar."""
        return self.value < self.bar


def main() -> int:
    """Measure, print a table and write JSON; 1 if a bar is not met."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--json", type=Path, help="write the measurements into this file")
    args = parser.parse_args()
    chromium = shutil.which("chromium")
    if chromium is None:
        sys.exit("chromium is needed; on Debian: apt-get install chromium")
    with tempfile.TemporaryDirectory() as folder, service(Path(folder)) as address:
        write_phantoms(Path(folder) / "phantoms", 1)
        image = next((Path(folder) / "phantoms").iterdir()).read_bytes()
        with (
            sync_playwright() as playwright,
            playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"]) as browser,
        ):
            page = browser.new_page(viewport={"width": 1440, "height": 900})
            browser.start_tracing(page=page, categories=["toplevel", "blink.user_timing"])
            lines = measure(page, address, image)
            lines.append(longest_on_processor(json.loads(browser.stop_tracing())["traceEvents"]))
    for line in lines:
        verdict = "met" if line.met else "NOT MET"
        print(f"{line.name:45} {line.value:9.3f} {line.unit:3} below {line.bar:g}: {verdict}")
    if args.json:
        content = [
            {"name": each.name, "value": each.value, "bar": each.bar, "unit": each.unit}
            for each in lines
        ]
        args.json.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    return int(not all(line.met for line in lines))


def measure(page: Page, address: str, image: bytes) -> list[Line]:
    """Drop the files onto the page at `address`, wait for all answers, and ask the browser."""
    page.add_init_script(OBSERVE)
    page.goto(address)
    page.get_by_role("button", name="Try a phantom").wait_for()
    page.wait_for_timeout(1000)
    page.evaluate(MAKE, [base64.b64encode(image).decode("ascii"), FILES])
    page.wait_for_timeout(500)
    page.evaluate(DROP)
    page.locator("[data-status=done]").nth(FILES - 1).wait_for(timeout=PATIENCE_S * 1000)
    page.wait_for_timeout(500)
    told: dict[str, Any] = page.evaluate(TOLD)
    return [
        Line("first result painted after its answer", told["painted"], 150.0, "ms"),
        Line("layout shift", told["shift"], 0.05, ""),
        Line("requests that block the first paint", told["blocking"], 1, ""),
        Line(f"longest task, {FILES} files dropped", max(told["tasks"], default=0.0), 100.0, "ms"),
        Line("page and scripts, compressed", compressed_kb(page.content()), 400.0, "kB"),
    ]


def longest_on_processor(events: list[dict[str, Any]]) -> Line:
    """Processor time of the longest task of the page's main thread since the drop.

    The trace of Chromium has the threads of all its pages; the mark tells which one is ours.
    """
    (dropped,) = (event for event in events if event["name"] == "dropped")
    longest_us = max(
        event.get("tdur", 0.0)
        for event in events
        if event["name"].endswith("RunTask")
        and (event["pid"], event["tid"]) == (dropped["pid"], dropped["tid"])
        and event["ts"] > dropped["ts"]
    )
    return Line("longest task, its time on the processor", longest_us / 1000, 100.0, "ms")


def compressed_kb(page: str) -> float:
    """Kilobytes of what the page loads, as gzip has them."""
    static = files("mammoscope.service") / "static"
    assets = set(re.findall(r'(?:src|href)="[^"]*/static/([^"]+)"', page))
    loaded = [page.encode(), *((static / asset).read_bytes() for asset in assets)]
    return sum(len(gzip.compress(each)) for each in loaded) / 1000


@contextmanager
def service(folder: Path) -> Iterator[str]:
    """Run the service, ready."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        bind = f"127.0.0.1:{free.getsockname()[1]}"
    environment = {
        "MAMMOSCOPE_BIND": bind,
        "MAMMOSCOPE_METRICS_BIND": "",
        "MAMMOSCOPE_PROBE_BIND": "",
        "MAMMOSCOPE_DRAIN_S": "0",
    }
    command = [sys.executable, "-m", "mammoscope", "serve"]
    with Server(command, Path.cwd(), environment, folder / "log"):
        address = f"http://{bind}"
        with Client(address) as client:
            client.wait_ready(PATIENCE_S)
        yield address


if __name__ == "__main__":
    sys.exit(main())
