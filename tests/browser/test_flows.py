"""Whole flows of the page, in a real browser, with the released model."""

import base64
import json
import re
import zipfile
from collections.abc import Callable
from pathlib import Path

import pydicom
import pytest
from playwright.sync_api import Page, expect

from mammoscope.client import Client
from mammoscope.model.prediction import RESEARCH_USE_NOTICE
from mammoscope.studies.manifest import Placement
from tests.browser.conftest import PHONE, WIDE, accessible, add, done, grey, shown
from tests.servers import send, server
from tests.service_process import ServiceProcess

Open = Callable[..., Page]


@pytest.mark.parametrize("colours", ["light", "dark"])
@pytest.mark.parametrize("size", [WIDE, PHONE], ids=["wide", "phone"])
def test_a_visitor_tries_a_phantom(open_page: Open, size: dict, colours: str) -> None:
    page = open_page(viewport=size, color_scheme=colours, has_touch=size is PHONE)
    expect(page.get_by_text(RESEARCH_USE_NOTICE).first).to_be_in_viewport()
    assert accessible(page) == []
    page.get_by_role("button", name="Try a phantom").click()
    done(page, 4)
    shown(page, 4)
    expect(page.locator(".score-line")).to_have_count(3)
    expect(page.locator(".part")).to_have_count(3)
    assert accessible(page) == []
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    page.mouse.wheel(0, 2000)
    expect(page.locator(".top .notice")).to_be_in_viewport()


@pytest.mark.parametrize("width", [320, 3840])
def test_narrow_and_wide_screens(open_page: Open, width: int) -> None:
    page = open_page(viewport={"width": width, "height": 800 if width < 1000 else 2160})
    page.get_by_role("button", name="Try a phantom").click()
    done(page, 4)
    shown(page, 4)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_views_hang_back_to_back(open_page: Open, study: list[Path]) -> None:
    page = open_page()
    add(page, *reversed(study))
    done(page, 4)
    canvases = shown(page, 4)
    page.keyboard.press("h")
    names = [canvases.nth(at).get_attribute("aria-label") for at in range(4)]
    for name, place in zip(names, ("R CC", "L CC", "R MLO", "L MLO"), strict=True):
        assert f"Mammogram {place}" in name
    for at in range(4):
        inner, outer = (1.0, 0.0) if at % 2 == 0 else (0.0, 1.0)
        assert grey(canvases.nth(at), inner, 0.5)[0] > 20, "the chest wall is in the middle"
        assert grey(canvases.nth(at), outer, 0.5)[0] < 5
    zooms = [page.locator(".mark.told").nth(at).inner_text().split(" ·")[0] for at in range(4)]
    assert len(set(zooms)) == 1, "all at the same size"


def turned(source: Path, target: Path, how: str) -> Path:
    """Store an image another way round, with tags that say so."""
    image = pydicom.dcmread(source)
    pixels = image.pixel_array
    row, column = image.PatientOrientation
    opposite = {"A": "P", "P": "A", "R": "L", "L": "R", "FR": "HL", "FL": "HR"}
    if how == "mirrored":
        pixels, row = pixels[:, ::-1], opposite[row]
    elif how == "upside down":
        pixels, column = pixels[::-1], opposite[column]
    else:
        pixels, row, column = pixels.T, column, row
    image.PatientOrientation = [row, column]
    image.Rows, image.Columns = pixels.shape
    image.PixelData = pixels.tobytes()
    image.SOPInstanceUID += "1"
    image.save_as(target)
    return target


@pytest.mark.parametrize("how", ["mirrored", "upside down", "exchanged"])
def test_images_are_put_right_and_marked(
    open_page: Open, study: list[Path], tmp_path: Path, how: str
) -> None:
    # The network takes no breast that lies on its side; people can look at it all the same.
    page = open_page(allow={422})
    add(page, turned(study[1], tmp_path / "turned.dcm", how), *study[2:])
    done(page, 2 if how == "exchanged" else 3)
    canvases = shown(page, 3)
    page.keyboard.press("h")
    expect(page.locator(".mark.turned")).to_have_count(1)
    expect(page.locator(".mark.turned")).to_have_text(
        "turned to hang" if how == "exchanged" else "flipped to hang"
    )
    # The right MLO hangs as if it had been stored so: muscle above, at the chest wall.
    right = canvases.nth(1)
    assert "R MLO" in right.get_attribute("aria-label")
    assert grey(right, 1.0, 0.1)[0] > 20
    assert grey(right, 0.02, 0.5)[0] < 5


def test_padding_stays_black_when_inverted(
    open_page: Open, study: list[Path], tmp_path: Path
) -> None:
    image = pydicom.dcmread(study[0])
    image.add_new("PixelPaddingValue", "US", 0)
    padded = tmp_path / "padded.dcm"
    image.save_as(padded)
    page = open_page()
    for file, expected in ((study[0], 255), (padded, 0)):
        add(page, file)
        page.locator(".row[data-status=done]").first.wait_for()
        canvas = shown(page)
        page.keyboard.press("h")
        page.keyboard.press("i")
        # Beside the breast, within the image.
        assert grey(canvas.first, 0.35, 0.2)[0] == expected
        page.get_by_role("button", name="Remove all").click()
        page.reload()


def test_formats_and_refusals(
    open_page: Open, phantom_folder: Path, study: list[Path], tmp_path: Path
) -> None:
    from PIL import Image

    jpeg = next(phantom_folder.glob("*.jpg"))
    tiff = tmp_path / "a.tif"
    with Image.open(jpeg) as opened:
        opened.save(tiff)
    nothing = tmp_path / "notes.txt"
    nothing.write_text("no image")
    page = open_page(allow={415})
    add(page, jpeg, next(phantom_folder.glob("*.png")), tiff, study[0], nothing)
    done(page, 4)
    failed = page.locator(".row[data-status=failed]")
    expect(failed).to_have_count(1)
    expect(failed).to_contain_text("not a JPEG, PNG, TIFF or DICOM image")
    page.get_by_label("Show").select_option("errors")
    expect(page.locator(".row")).to_have_count(1)
    page.get_by_label("Show").select_option("all")
    page.get_by_label("Filter by name").fill("a.tif")
    expect(page.locator(".row")).to_have_count(1)
    page.get_by_label("Filter by name").fill("")
    page.get_by_label("Sort").select_option("probability")
    single = page.locator(".study", has_text="Single images")
    expect(single.locator(".row .name").last).to_have_text("notes.txt")
    numbers = single.locator(".row .number").all_inner_texts()
    shares = [float(number.split()[0]) for number in numbers]
    assert shares == sorted(shares, reverse=True)


def test_folder_and_zip(open_page: Open, study: list[Path], tmp_path: Path) -> None:
    folder = tmp_path / "export"
    (folder / "deeper").mkdir(parents=True)
    (folder / "readme.txt").write_text("no image")
    (folder / "deeper" / "1").write_bytes(study[0].read_bytes())
    (folder / ".hidden.dcm").write_bytes(study[0].read_bytes())
    page = open_page()
    page.locator("input[webkitdirectory]").set_input_files(folder)
    done(page, 1)
    archive = tmp_path / "study.zip"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as packed:
        packed.write(study[1], "a/right.dcm")
        packed.write(study[2], "a/left.dcm", zipfile.ZIP_STORED)
        packed.writestr("a/readme.txt", "no image")
        packed.writestr("__MACOSX/a/._left.dcm", "no image")
    add(page, archive)
    done(page, 3)
    damaged = tmp_path / "damaged.zip"
    damaged.write_bytes(archive.read_bytes()[:1000])
    add(page, damaged)
    expect(page.locator(".row[data-status=failed]")).to_contain_text("damaged")
    expect(page.locator(".row")).to_have_count(4)


HAND_OVER = """([event, files]) => {
  const transfer = new DataTransfer();
  for (const [name, base64] of files) {
    const bytes = Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0));
    transfer.items.add(new File([bytes], name, { type: "image/png" }));
  }
  document.body.dispatchEvent(event === "drop"
    ? new DragEvent("drop", { bubbles: true, cancelable: true, dataTransfer: transfer })
    : new ClipboardEvent("paste", { bubbles: true, cancelable: true, clipboardData: transfer }));
}"""


@pytest.mark.parametrize("event", ["drop", "paste"])
def test_drop_and_paste(open_page: Open, phantom_folder: Path, event: str) -> None:
    page = open_page()
    image = base64.b64encode(next(phantom_folder.glob("*.png")).read_bytes()).decode()
    page.evaluate(HAND_OVER, [event, [["one.png", image], ["two.png", image]]])
    done(page, 2)


def test_address(open_page: Open, phantom_folder: Path) -> None:
    image = next(phantom_folder.glob("*.jpg")).read_bytes()
    page = open_page()
    with server(send(image, Content_Type="image/jpeg")) as elsewhere:
        field = page.get_by_label("Address of an image")
        field.fill("not an address")
        field.press("Enter")
        expect(page.get_by_role("alert")).to_contain_text("http://")
        field.fill(f"{elsewhere}/breast.jpg")
        field.press("Enter")
        done(page, 1)
        shown(page)
        expect(page.locator(".row .name")).to_have_text("breast.jpg")


def test_a_busy_service_is_asked_again(open_page: Open, study: list[Path]) -> None:
    page = open_page(allow={429})
    asked = {"count": 0}

    def answer(route) -> None:
        asked["count"] += 1
        if asked["count"] > 1:
            route.continue_()
            return
        problem = {"code": "service_busy", "detail": "All slots are taken."}
        route.fulfill(
            status=429,
            headers={"Retry-After": "2"},
            content_type="application/problem+json",
            body=json.dumps(problem),
        )

    page.route("**/predict?layers=true", answer)
    add(page, study[0])
    expect(page.get_by_text("asks to wait")).to_be_visible()
    done(page, 1)
    expect(page.get_by_text("asks to wait")).to_have_count(0)
    assert asked["count"] == 2


def test_two_requests_at_a_time_and_cancel(open_page: Open, study: list[Path]) -> None:
    page = open_page()
    held = []
    page.route("**/predict?layers=true", lambda route: held.append(route))  # noqa: PLW0108 Playwright marks it
    add(page, *study)
    page.locator(".row").nth(3).wait_for()
    page.wait_for_timeout(300)
    assert len(held) == 2
    page.get_by_role("button", name="Cancel phantom_001_R_MLO.dcm").click()
    expect(page.locator(".row[data-status=cancelled]")).to_have_count(1)
    page.get_by_role("button", name="Cancel all").click()
    expect(page.locator(".row[data-status=cancelled]")).to_have_count(4)
    page.unroute("**/predict?layers=true")
    page.get_by_role("button", name="Try phantom_001_R_CC.dcm again").click()
    page.locator(".row[data-status=done]").first.wait_for()


def test_keyboard_alone(open_page: Open) -> None:
    page = open_page()
    for _ in range(12):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.textContent").strip() == "Try a phantom":
            break
    page.keyboard.press("Enter")
    done(page, 4)
    shown(page, 4)
    page.locator(".row .open").first.focus()
    page.keyboard.press("ArrowDown")
    expect(page.locator('.open[aria-current="true"]')).to_contain_text("phantom-L-CC")
    expect(page.locator('.open[aria-current="true"]')).to_be_focused()
    for key, name in (
        ("h", "Heat map"),
        ("i", "Invert"),
        ("n", "Network's view"),
        ("g", "Hang four"),
    ):
        button = page.get_by_role("button", name=name, exact=True)
        before = button.get_attribute("aria-pressed")
        page.keyboard.press(key)
        expect(button).not_to_have_attribute("aria-pressed", before)
    page.keyboard.press("?")
    expect(page.get_by_role("dialog")).to_be_visible()
    assert accessible(page) == []
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_have_count(0)
    page.keyboard.press("j")
    expect(page.locator('.open[aria-current="true"]')).to_contain_text("phantom-R-MLO")
    page.locator(".row .open").first.focus()
    page.keyboard.press("Delete")
    expect(page.locator(".row")).to_have_count(3)


def test_two_patients_in_one_study(
    open_page: Open, study: list[Path], other_study: list[Path]
) -> None:
    page = open_page()
    add(page, *study[:2], other_study[0])
    done(page, 3)
    expect(page.locator(".study")).to_have_count(2)
    page.locator(".row .open").nth(2).click()
    page.get_by_text("Where it belongs").click()
    page.locator("select[name=study]").select_option("Study 1")
    alarm = page.locator(".study").get_by_role("alert")
    expect(alarm).to_contain_text("Two patients in one study")
    page.locator("select[name=study]").select_option("none")
    expect(alarm).to_have_count(0)


def test_views_by_the_users_choice(open_page: Open, phantom_folder: Path) -> None:
    page = open_page()
    add(page, *sorted(phantom_folder.glob("*.png"))[:2])
    rows = done(page, 2)
    for at, laterality in ((0, "right"), (1, "left")):
        rows.nth(at).locator(".open").click()
        if not page.locator("select[name=view]").is_visible():
            page.get_by_text("Where it belongs").click()
        page.locator("select[name=laterality]").select_option(laterality)
        page.locator("select[name=view]").select_option("CC")
        page.locator("select[name=study]").select_option("Study 1" if at else "a new study")
    expect(page.locator(".score-line")).to_have_count(3)
    expect(page.locator(".score-line").first).to_contain_text("Missing: MLO")


def test_nothing_is_predicted_without_a_model(open_page: Open) -> None:
    page = open_page(allow={503})
    problem = {"code": "model_not_found", "detail": "There is no model."}
    page.route(
        "**/model",
        lambda route: route.fulfill(
            status=503, content_type="application/problem+json", body=json.dumps(problem)
        ),
    )
    page.reload()
    expect(page.get_by_role("alert")).to_contain_text("There is no model.")


def test_scores_are_those_of_the_service(
    open_page: Open, service: ServiceProcess, study: list[Path]
) -> None:
    page = open_page()
    add(page, *study)
    done(page, 4)
    expect(page.locator(".score-line")).to_have_count(3)
    with Client(service.address) as client:
        one = client.predict(study[0], age=70)
        result = client.study([(file, Placement()) for file in study])
    page.get_by_role("button", name="phantom_001_R_CC.dcm").first.click()
    page.get_by_label("Age of the woman").fill("70")
    page.get_by_label("Age of the woman").press("Tab")
    told = page.locator(".part.image .figure strong")
    expect(told).to_have_text(re.compile(f"^{100 * one['probability']:.0f}"))
    scores = page.locator(".score-line .number").all_inner_texts()
    expected = [*result["breasts"], *result["patients"]]
    for score, each in zip(scores, expected, strict=True):
        assert float(score.split()[0]) == pytest.approx(100 * each["probability"], abs=0.51)


def test_an_age_is_typed_while_answers_come(open_page: Open, study: list[Path]) -> None:
    page = open_page()
    add(page, study[0])
    done(page, 1)
    told = page.locator(".part.image .figure strong")
    without = told.inner_text()
    age = page.get_by_label("Age of the woman")
    age.press_sequentially("70")
    add(page, study[1])
    done(page, 2)
    expect(age).to_have_value("70")
    age.press("Tab")
    expect(told).not_to_have_text(without)
