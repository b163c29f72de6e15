"""A real browser, and pages that fail where the browser complains."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Locator, Page, expect, sync_playwright

from mammoscope.phantoms.dicom.studies import write_phantom_study
from tests.conftest import not_done
from tests.service_process import ServiceProcess

AXE = Path(__file__).with_name("axe.min.js")
WIDE = {"width": 1440, "height": 900}
PHONE = {"width": 360, "height": 740}
PATIENCE_MS = 30_000
expect.set_options(timeout=PATIENCE_MS)

_WATCH = """
globalThis.violations = [];
addEventListener("securitypolicyviolation", (event) =>
  violations.push(`${event.violatedDirective} ${event.blockedURI} ${event.sourceFile}`));
"""


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Debian's Chromium."""
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip(not_done("tests in a browser; Debian's chromium is not installed."))
    # As root, which containers run as, Chromium starts without its sandbox only.
    options = {"executable_path": chromium, "args": ["--no-sandbox"]}
    with sync_playwright() as playwright, playwright.chromium.launch(**options) as launched:
        yield launched


@pytest.fixture(scope="session")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceProcess]:
    """The service with the released model, which may fetch images from this machine."""
    log = tmp_path_factory.mktemp("service") / "log"
    started = ServiceProcess(log, fetch_private_addresses=True)
    try:
        started.wait_ready()
        yield started
    finally:
        started.terminate()


_GREY = """async (canvas, [x, y]) => {
  for (let frame = 0; frame < 3; frame += 1) await new Promise(requestAnimationFrame);
  const at = (share, side) => Math.min(side - 1, Math.floor(share * side));
  const place = [at(x, canvas.width), at(y, canvas.height)];
  return [...canvas.getContext("2d").getImageData(...place, 1, 1).data.slice(0, 3)];
}"""


class Watched:
    """A page, and what the browser has to say against it."""

    def __init__(self, context: BrowserContext, address: str) -> None:
        self.page = context.new_page()
        self.address = address
        self.complaints: list[str] = []
        self.elsewhere: list[str] = []
        self.allowed_statuses: set[int] = set()
        self.page.set_default_timeout(PATIENCE_MS)
        self.page.add_init_script(_WATCH)
        self.page.on("console", self._console)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("request", self._request)

    def _console(self, message: Any) -> None:
        if message.type != "error":
            return
        if any(f"status of {status}" in message.text for status in self.allowed_statuses):
            return
        self.complaints.append(message.text)

    def _request(self, request: Any) -> None:
        if not request.url.startswith((self.address, "blob:", "data:")):
            self.elsewhere.append(request.url)

    def check(self) -> None:
        """Nothing was complained of, asked for elsewhere, or kept."""
        assert self.complaints == []
        assert self.elsewhere == []
        assert self.page.evaluate("violations") == []
        assert self.page.context.cookies() == []
        assert self.page.evaluate("localStorage.length + sessionStorage.length") == 0


@pytest.fixture
def open_page(browser: Browser, service: ServiceProcess) -> Iterator[Callable[..., Page]]:
    """Open a page of the service; at the end, check what the browser says about it.

    ``allow`` names the statuses of refusals that the test brings about.
    """
    opened: list[tuple[BrowserContext, Watched]] = []

    def open_it(
        path: str = "/",
        *,
        address: str | None = None,
        allow: set[int] | None = None,
        **context: Any,
    ) -> Page:
        made = browser.new_context(**{"viewport": WIDE, "accept_downloads": True, **context})
        watched = Watched(made, address or service.address)
        watched.allowed_statuses = allow or set()
        opened.append((made, watched))
        watched.page.goto(watched.address + path)
        return watched.page

    yield open_it
    for context, watched in opened:
        if not watched.page.is_closed():
            watched.check()
        context.close()


@pytest.fixture(scope="session")
def study(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The four views of a woman with a mass in her left breast: R CC, R MLO, L CC, L MLO."""
    return write_phantom_study(tmp_path_factory.mktemp("study"), seed=1, tumour=True)


@pytest.fixture(scope="session")
def other_study(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return write_phantom_study(tmp_path_factory.mktemp("other"), seed=2)


def add(page: Page, *files: Path) -> None:
    """Choose files as the file button does."""
    page.locator("input[type=file]:not([webkitdirectory])").set_input_files(files)


def done(page: Page, count: int) -> Locator:
    """Wait until `count` images have answers and none is on its way."""
    rows = page.locator(".row")
    rows.nth(count - 1).wait_for()
    last = page.locator(".row[data-status=done]").nth(count - 1)
    last.wait_for(timeout=PATIENCE_MS + count * 1000)
    return rows


def shown(page: Page, panes: int = 1) -> Locator:
    """Wait until the viewer has drawn."""
    page.locator(".pane > canvas[data-ready=yes]").nth(panes - 1).wait_for()
    page.locator(".mark.told").nth(panes - 1).wait_for(state="attached")
    return page.locator(".pane > canvas")


def grey(canvas: Locator, x: float, y: float) -> list[int]:
    """Red, green and blue at a place of a canvas, in shares of its sides."""
    return canvas.evaluate(_GREY, [x, y])


def accessible(page: Page) -> list[str]:
    """What axe-core finds that is serious or critical."""
    page.evaluate(AXE.read_text("utf-8"))
    found = page.evaluate("axe.run(document, {resultTypes: ['violations']})")
    return [
        f"{each['id']}: {node['html'][:200]} {node['failureSummary'][:200]}"
        for each in found["violations"]
        if each["impact"] in ("serious", "critical")
        for node in each["nodes"]
    ]
