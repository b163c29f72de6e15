"""The page behind a path prefix and with API keys, and with 100 files at once."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from flask import Flask
from playwright.sync_api import Page, expect
from werkzeug.serving import WSGIRequestHandler, make_server

from mammoscope.service.keys import issue_key
from mammoscope.settings.service import ServiceSettings
from tests.browser.conftest import accessible, add, done, shown
from tests.fake_engine import FakeEngine, app_with

Open = Callable[..., Page]
PREFIX = "/tools/mammoscope"


class Silent(WSGIRequestHandler):
    def log(self, type: str, message: str, *args: Any) -> None:  # noqa: A002
        pass


@contextmanager
def served(app: Flask) -> Iterator[str]:
    running = make_server("127.0.0.1", 0, app, threaded=True, request_handler=Silent)
    thread = threading.Thread(target=running.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{running.server_port}"
    finally:
        running.shutdown()
        thread.join()
        running.server_close()


def test_a_key_is_asked_for_once(open_page: Open, study: list[Path], tmp_path: Path) -> None:
    key = issue_key(tmp_path / "keys", "ward")
    app = app_with(ServiceSettings(api_keys_file=tmp_path / "keys"), FakeEngine())
    with served(app) as address:
        page = open_page(address=address, allow={401})
        dialog = page.get_by_role("dialog")
        expect(dialog).to_contain_text("asks for an API key")
        assert accessible(page) == []
        dialog.get_by_label("API key").fill("wrong")
        dialog.get_by_label("API key").press("Enter")
        expect(dialog.get_by_role("alert")).to_contain_text("did not accept")
        dialog.get_by_label("API key").fill(key)
        dialog.get_by_label("API key").press("Enter")
        expect(dialog).to_have_count(0)
        add(page, *study)
        done(page, 4)
        shown(page, 4)
        assert page.locator(".thumb img").first.get_attribute("src").startswith("blob:")
        page.get_by_role("link", name="The model").click()
        expect(page.locator("main h1")).to_have_text("The model")
        page.get_by_role("link", name="Images").click()
        page.get_by_text("The request of this image").click()
        expect(page.locator("pre")).to_contain_text("X-API-Key: $API_KEY")
        expect(dialog).to_have_count(0)
        assert key not in page.content()
        page.reload()
        expect(dialog).to_contain_text("asks for an API key")
        page.close()


def test_behind_a_prefix(open_page: Open) -> None:
    app = app_with(ServiceSettings(trusted_proxies=("127.0.0.1",)), FakeEngine())
    with served(app) as address:
        page = open_page(
            f"{PREFIX}/", address=address, extra_http_headers={"X-Forwarded-Prefix": PREFIX}
        )
        asked: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        page.get_by_role("button", name="Try a phantom").click()
        done(page, 4)
        shown(page, 4)
        page.get_by_role("link", name="The model").click()
        assert page.url == f"{address}{PREFIX}/model/card"
        page.get_by_role("link", name="API").click()
        page.locator("[id='link-get-/healthz']").wait_for()
        plain = [url for url in asked if not url.startswith(("blob:", "data:"))]
        assert plain
        assert all(url.startswith(address + PREFIX) for url in plain)


def test_a_hundred_files(open_page: Open, phantom_folder: Path, tmp_path: Path) -> None:
    image = next(phantom_folder.glob("*.jpg")).read_bytes()
    files = [tmp_path / f"{number:03}.jpg" for number in range(100)]
    for file in files:
        file.write_bytes(image)
    with served(app_with(ServiceSettings(), FakeEngine())) as address:
        page = open_page(address=address)
        add(page, *files)
        page.get_by_label("Filter by name").fill("099")
        expect(page.locator(".row")).to_have_count(1)
        page.get_by_label("Filter by name").fill("")
        done(page, 100)
        expect(page.get_by_text("100 of 100 images")).to_be_visible()
