"""The viewer under fingers: touch events as Chromium gets them from a screen."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import CDPSession, Page, expect

from tests.browser.conftest import PHONE, add, done, shown

Open = Callable[..., Page]
Point = tuple[float, float]

REST_MS = 300
"""How long fingers rest before they are lifted: lifted in motion, they fling, and Chromium takes
the next tap as the end of the fling."""

_VIEW = """async (canvas) => {
  for (let frame = 0; frame < 3; frame += 1) await new Promise(requestAnimationFrame);
  const { width, height } = canvas;
  const { data } = canvas.getContext("2d").getImageData(0, 0, width, height);
  const sum = [0, 0, 0];
  for (let at = 0; at < width * height; at += 1) {
    const grey = data[4 * at];
    sum[0] += grey;
    sum[1] += grey * (at % width);
    sum[2] += grey * Math.floor(at / width);
  }
  const ratio = devicePixelRatio;
  return [sum[1] / sum[0] / ratio, sum[2] / sum[0] / ratio];
}"""
"""Centre of what is bright in a canvas, in pixels of the page."""


class Fingers:
    """Fingers on the first pane of a page; places are in pixels from its middle."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.session: CDPSession = page.context.new_cdp_session(page)
        self.canvas = page.locator(".pane > canvas").first
        self.canvas.scroll_into_view_if_needed()

    def send(self, kind: str, *points: Point, first: int = 0) -> None:
        """Send an event of fingers from number `first`; an end names those that are lifted."""
        box = self.canvas.bounding_box()
        assert box is not None
        x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
        places = [{"x": x + a, "y": y + b, "id": at} for at, (a, b) in enumerate(points, first)]
        self.session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": places})

    def drag(self, *ways: tuple[Point, Point], steps: int = 6) -> None:
        """Move each finger from its start to its end, all at the same time, and lift them."""
        for step in range(steps + 1):
            points = [
                (a[0] + (b[0] - a[0]) * step / steps, a[1] + (b[1] - a[1]) * step / steps)
                for a, b in ways
            ]
            self.send("touchMove" if step else "touchStart", *points)
        self.page.wait_for_timeout(REST_MS)
        self.send("touchEnd")

    def zoom(self) -> int:
        self.page.wait_for_timeout(150)
        return int(self.page.locator(".mark.told").first.inner_text().split(" %")[0])

    def centre(self) -> Point:
        x, y = self.canvas.evaluate(_VIEW)
        return x, y


@pytest.fixture
def phone(open_page: Open, study: list[Path]) -> Page:
    """A phone with one image in its viewer, without heat."""
    page = open_page(viewport=PHONE, has_touch=True, is_mobile=True, device_scale_factor=2)
    add(page, study[2])
    done(page, 1)
    shown(page)
    page.get_by_role("button", name="Heat map", exact=True).tap()
    return page


def test_two_fingers_zoom(phone: Page) -> None:
    fingers = Fingers(phone)
    before = fingers.zoom()
    fingers.drag(((-30, 0), (-90, 0)), ((30, 0), (90, 0)))
    assert fingers.zoom() == pytest.approx(3 * before, rel=0.05)
    fingers.drag(((0, -90), (0, -30)), ((0, 90), (0, 30)))
    assert fingers.zoom() == pytest.approx(before, rel=0.05)
    assert phone.evaluate("visualViewport.scale") == 1, "the image is zoomed, not the page"


def test_two_fingers_zoom_at_their_middle_and_move(phone: Page) -> None:
    fingers = Fingers(phone)
    fingers.drag(((-60, 0), (-30, 0)), ((60, 0), (30, 0)))  # half the size: nothing is cut off
    half = fingers.zoom()
    x, y = fingers.centre()
    fingers.drag(((-40, 20), (-10, 50)), ((40, 20), (70, 50)))  # side by side: no zoom
    assert fingers.zoom() == half
    moved = fingers.centre()
    assert moved == pytest.approx((x + 30, y + 30), abs=3)


def test_one_finger_moves_and_stays_after_two(phone: Page) -> None:
    fingers = Fingers(phone)
    fingers.drag(((-60, 0), (-30, 0)), ((60, 0), (30, 0)))
    zoom, (x, y) = fingers.zoom(), fingers.centre()
    fingers.drag(((0, 0), (25, 40)))
    assert fingers.centre() == pytest.approx((x + 25, y + 40), abs=3)
    assert fingers.zoom() == zoom
    # One of two fingers is lifted: the other goes on moving, without a jump.
    fingers.send("touchStart", (-30, 0), (30, 0))
    fingers.send("touchEnd", (30, 0), first=1)
    fingers.send("touchMove", (-40, -15))
    fingers.send("touchEnd")
    assert fingers.zoom() == zoom
    assert fingers.centre() == pytest.approx((x + 15, y + 25), abs=3)
    # The system takes the fingers away.
    fingers.send("touchStart", (-30, 0), (30, 0))
    fingers.send("touchCancel")
    fingers.drag(((0, 0), (10, 0)))
    assert fingers.zoom() == zoom
    assert fingers.centre() == pytest.approx((x + 25, y + 25), abs=3)


def test_tools_under_a_finger(phone: Page) -> None:
    phone.get_by_role("button", name="Ruler").tap()
    fingers = Fingers(phone)
    fingers.drag(((-40, 0), (40, 0)))
    expect(phone.locator(".mark.ruler")).to_contain_text("mm at the detector")
    phone.get_by_role("button", name="Window", exact=True).tap()
    before = phone.locator(".mark.told").inner_text()
    fingers.canvas.scroll_into_view_if_needed()
    fingers.drag(((0, 0), (0, 60)))
    expect(phone.locator(".mark.told")).not_to_have_text(before)


def test_the_page_scrolls_under_a_finger_beside_the_image(phone: Page) -> None:
    """The viewer takes the gestures on it, but leaves room to get past it."""
    canvas: Any = phone.locator(".pane > canvas").first.bounding_box()
    assert canvas["height"] < 0.85 * PHONE["height"]


def test_buttons_are_large_enough(phone: Page) -> None:
    """WCAG 2.2, 2.5.8: at least 24 by 24 pixels."""
    for button in phone.get_by_role("button").all():
        box = button.bounding_box()
        if box is None:
            continue
        assert min(box["width"], box["height"]) >= 24, button.inner_text()
