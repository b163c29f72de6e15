"""The viewer's tools, in a real browser."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Page, expect

from mammoscope.imaging.mammogram import Laterality
from mammoscope.phantoms.dicom import encode_phantom
from mammoscope.phantoms.drawing import PhantomConfig, draw_phantom
from tests.browser.conftest import add, done, grey, shown

Open = Callable[..., Page]


@pytest.fixture
def one(open_page: Open, study: list[Path]) -> Page:
    """A page with one image in its viewer, without heat."""
    page = open_page()
    add(page, study[2])
    done(page, 1)
    shown(page)
    page.keyboard.press("h")
    return page


def drag(page: Page, start: tuple[float, float], end: tuple[float, float], **how: str) -> None:
    """Drag on the first pane, in shares of its sides."""
    box = page.locator(".pane > canvas").first.bounding_box()
    assert box is not None
    (x0, y0), (x1, y1) = (
        (box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in (start, end)
    )
    page.mouse.move(x0, y0)
    page.mouse.down(**how)
    page.mouse.move((x0 + x1) / 2, (y0 + y1) / 2)
    page.mouse.move(x1, y1)
    page.mouse.up(**how)


def told(page: Page) -> str:
    page.wait_for_timeout(150)
    return page.locator(".mark.told").first.inner_text()


def test_window_by_dragging(one: Page) -> None:
    before, place = told(one), (0.35, 0.5)
    light = grey(one.locator(".pane > canvas").first, *place)
    drag(one, (0.5, 0.3), (0.5, 0.7))
    assert told(one) != before
    assert grey(one.locator(".pane > canvas").first, *place)[0] < light[0], (
        "a higher level is darker"
    )
    one.keyboard.press("Escape")
    assert told(one) == before


def test_invert(one: Page) -> None:
    canvas = one.locator(".pane > canvas").first
    before = grey(canvas, 0.4, 0.5)[0]
    one.keyboard.press("i")
    one.wait_for_timeout(100)
    assert abs(grey(canvas, 0.4, 0.5)[0] - (255 - before)) <= 2


def test_zoom_and_move(one: Page) -> None:
    before = told(one)
    one.mouse.move(700, 500)
    one.mouse.wheel(0, -300)
    zoomed = told(one)
    assert int(zoomed.split(" %")[0]) > int(before.split(" %")[0])
    canvas = one.locator(".pane > canvas").first
    drag(one, (0.5, 0.5), (0.5, 0.95), button="middle")
    drag(one, (0.5, 0.5), (0.5, 0.95), button="middle")
    one.wait_for_timeout(100)
    assert grey(canvas, 0.5, 0.02)[0] == 0, "moved out of sight"
    one.keyboard.press("0")
    assert told(one) == before
    drag(one, (0.5, 0.5), (0.5, 0.3), button="right")
    assert told(one) != before


def test_ruler_says_where_it_holds(one: Page) -> None:
    one.keyboard.press("r")
    drag(one, (0.3, 0.5), (0.6, 0.5))
    text = one.locator(".mark.ruler")
    expect(text).to_contain_text("mm at the detector")
    assert 20 < float(text.inner_text().split(" mm")[0]) < 200


def test_ruler_without_a_spacing(open_page: Open, phantom_folder: Path) -> None:
    page = open_page()
    add(page, next(phantom_folder.glob("*.png")))
    done(page, 1)
    shown(page)
    page.keyboard.press("r")
    drag(page, (0.3, 0.5), (0.6, 0.5))
    expect(page.locator(".mark.ruler")).to_contain_text("no pixel spacing is known")


def test_magnifier(one: Page) -> None:
    canvas = one.locator(".pane > canvas").first
    one.keyboard.press("l")
    box = canvas.bounding_box()
    assert box is not None
    before = canvas.screenshot()
    one.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    one.wait_for_timeout(150)
    assert canvas.screenshot() != before


def test_heat_map_and_its_opacity(one: Page) -> None:
    canvas = one.locator(".pane > canvas").first

    def colour() -> int:
        pixel = grey(canvas, 0.4, 0.5)
        return max(pixel) - min(pixel)

    assert colour() == 0
    one.keyboard.press("h")
    one.wait_for_timeout(100)
    faint = colour()
    assert faint > 0
    expect(one.locator(".mark.colours")).to_be_visible()
    for _ in range(4):
        one.keyboard.press("]")
    one.wait_for_timeout(100)
    assert colour() > faint


def test_what_the_network_saw(one: Page) -> None:
    one.get_by_role("button", name="Network's view").click()
    canvas = one.locator(".network canvas")
    expect(canvas).to_be_visible()
    size = canvas.evaluate("(canvas) => [canvas.width, canvas.height]")
    assert size == [288, 512]
    assert max(grey(canvas, 0.1, 0.5)) > 0


def test_one_to_one_asks_for_all_pixels(open_page: Open, tmp_path: Path) -> None:
    large = tmp_path / "large.dcm"
    config = PhantomConfig(4, Laterality.LEFT, height=2600, width=2000)
    large.write_bytes(encode_phantom(draw_phantom(config)))
    page = open_page()
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    add(page, large)
    done(page, 1)
    shown(page)
    assert any(url.endswith("/display") for url in asked)
    assert not any("full=true" in url for url in asked)
    with page.expect_response("**/display?full=true") as answer:
        page.keyboard.press("1")
    assert answer.value.headers["image-rows"] == "2600"
    page.wait_for_timeout(500)
    assert told(page).startswith("100 %")


def test_sixteen_bits_reach_the_window(open_page: Open, tmp_path: Path) -> None:
    """Of a range that 8 bits cannot tell apart, a narrow window shows every step."""
    phantom = draw_phantom(PhantomConfig(4, Laterality.LEFT, label_text=False)).pixels
    file = tmp_path / "deep.png"
    Image.fromarray(np.rint(phantom * 65535).astype(np.uint16)).save(file)
    page = open_page()
    add(page, file)
    done(page, 1)
    shown(page)
    page.keyboard.press("h")
    for _ in range(8):
        drag(page, (0.8, 0.5), (0.2, 0.5))
    counted = page.locator(".pane > canvas").first.evaluate(
        """(canvas) => {
          const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
          return new Set(data.filter((_, at) => at % 4 === 0)).size;
        }"""
    )
    assert "W 0 %" in told(page)
    assert counted > 100
