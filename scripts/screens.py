"""Take the docs' screenshots of the page, with phantoms alone.

Usage: python scripts/screens.py [ADDRESS]    (of a running service)
"""

import io
import shutil
import sys
from pathlib import Path

from PIL import Image
from playwright.sync_api import Browser, sync_playwright

IMAGES = Path(__file__).resolve().parents[1] / "images"
QUALITY = 80


def main(address: str = "http://127.0.0.1:9696") -> int:
    """Write page.webp, page-dark.webp, page-phone.webp and page-model.webp."""
    chromium = shutil.which("chromium")
    if chromium is None:
        sys.exit("chromium is needed; on Debian: apt-get install chromium")
    with (
        sync_playwright() as playwright,
        playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"]) as browser,
    ):
        wide, phone = {"width": 1440, "height": 900}, {"width": 360, "height": 740}
        take(browser, f"{address}/", "page", viewport=wide)
        take(browser, f"{address}/", "page-dark", viewport=wide, color_scheme="dark")
        take(browser, f"{address}/", "page-phone", viewport=phone)
        take(browser, f"{address}/model/card", "page-model", viewport=wide)
    return 0


def take(browser: Browser, url: str, name: str, **context: object) -> None:
    """Open the page, show a phantom where it shows images, and store the screen small."""
    page = browser.new_page(**context)  # type: ignore[arg-type]
    page.goto(url)
    if url.endswith("/card"):
        page.locator(".plot").nth(3).wait_for()
    else:
        page.get_by_role("button", name="Try a phantom").click()
        page.locator(".scores .bar").nth(2).wait_for()
        page.locator(".mark.told").nth(3).wait_for(state="attached")
        page.get_by_role("button", name="phantom-L-CC.dcm").first.click()
        page.mouse.move(0, 0)
        if name == "page-phone":
            page.locator("#viewer").scroll_into_view_if_needed()
        page.wait_for_timeout(1000)
    with Image.open(io.BytesIO(page.screenshot())) as screen:
        screen.convert("RGB").save(IMAGES / f"{name}.webp", quality=QUALITY, method=6)
    page.close()


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
