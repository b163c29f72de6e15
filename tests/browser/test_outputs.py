"""What can be taken along, and the other pages."""

import csv
import io
import json
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image
from playwright.sync_api import Page, Route, expect

from mammoscope.model.artifact.folder import load_artifact
from tests.browser.conftest import PHONE, accessible, add, done, shown
from tests.conftest import MODEL
from tests.service_process import ServiceProcess

Open = Callable[..., Page]


@pytest.fixture
def four(open_page: Open, study: list[Path]) -> Page:
    page = open_page(permissions=["clipboard-read", "clipboard-write"])
    add(page, *study)
    done(page, 4)
    shown(page, 4)
    expect(page.locator(".score-line")).to_have_count(3)
    page.get_by_role("button", name="phantom_001_L_CC.dcm").first.click()
    return page


def downloaded(page: Page, button: str, folder: Path) -> Path:
    with page.expect_download() as download:
        page.get_by_role("button", name=button, exact=True).click()
    target = folder / download.value.suggested_filename
    download.value.save_as(target)
    return target


def test_csv_and_json(four: Page, tmp_path: Path) -> None:
    table = downloaded(four, "CSV", tmp_path).read_text("utf-8")
    rows = list(csv.DictReader(io.StringIO(table)))
    assert [row["level"] for row in rows] == ["image"] * 4 + ["breast"] * 2 + ["patient"]
    assert [f"{row['laterality']} {row['view']}" for row in rows[:4]] == [
        "R CC",
        "R MLO",
        "L CC",
        "L MLO",
    ]
    content = json.loads(downloaded(four, "JSON", tmp_path).read_text("utf-8"))
    for row, image in zip(rows, content["images"], strict=False):
        assert float(row["probability"]) == pytest.approx(image["answer"]["probability"], abs=1e-6)
        assert row["label"] == image["answer"]["label"]
    patient = content["studies"][0]["result"]["patients"][0]
    assert float(rows[-1]["probability"]) == pytest.approx(patient["probability"])


def test_overlay_as_png(four: Page, tmp_path: Path) -> None:
    with Image.open(downloaded(four, "PNG with heat map", tmp_path)) as overlay:
        assert overlay.size == (832, 1024)
        colours = overlay.convert("RGB").resize((32, 32))
        assert any(max(pixel) - min(pixel) > 20 for pixel in colours.get_flattened_data())


RUN = """async () => {
  const stored = await (await fetch("/phantoms/1/L-CC.dcm")).arrayBuffer();
  const file = new File([stored], "a.dcm");
  CODE
}"""


@pytest.mark.parametrize("language", ["curl", "Python", "JavaScript"])
def test_the_request_as_code(
    four: Page, study: list[Path], language: str, service: ServiceProcess
) -> None:
    four.get_by_text("The request of this image").click()
    four.get_by_label("Age of the woman").fill("55")
    four.get_by_role("button", name=language, exact=True).click()
    expect(four.get_by_text("Copied.")).to_be_visible()
    code = four.evaluate("navigator.clipboard.readText()")
    shown_percent = float(four.locator(".part.image strong").first.inner_text().split()[0])
    if language == "JavaScript":
        answer = four.evaluate(RUN.replace("CODE", code.replace("console.log", "return ")))
        assert 100 * answer["probability"] == pytest.approx(shown_percent, abs=0.51)
        return
    command = shlex.split(code) if language == "curl" else [sys.executable, "-c", code]
    if language == "curl":
        command.insert(1, "--silent")
    printed = subprocess.run(
        command, cwd=study[0].parent, check=True, capture_output=True, text=True
    ).stdout
    answer = json.loads(printed) if language == "curl" else eval(printed)  # noqa: S307 own output
    assert answer["age_used"] is True
    assert 100 * answer["probability"] == pytest.approx(shown_percent, abs=0.51)


def test_report_on_paper(four: Page, other_study: list[Path], tmp_path: Path) -> None:
    add(four, *other_study[:2])
    done(four, 6)
    expect(four.locator(".score-line")).to_have_count(5)
    four.emulate_media(media="print")
    expect(four.locator(".sheet")).to_have_count(2)
    expect(four.locator(".sheet").first).to_be_visible()
    expect(four.locator(".worklist")).to_be_hidden()
    expect(four.locator(".sheet").first).to_contain_text("not a medical device")
    pages = four.pdf(format="A4")
    assert pages.count(b"/Type /Page\n") == 2, "one page a study"


def test_prevalence_and_operating_point(four: Page) -> None:
    ppv = four.locator(".part.image [data-value=ppv]").last
    before = ppv.inner_text()
    assert "where 2.0 % have one" in before
    slider = four.locator("input[name=prevalence]")
    slider.fill("0.2")
    expect(ppv).to_contain_text("where 20.0 % have one")
    assert ppv.inner_text() != before
    label = four.locator(".part.image .tag")
    expect(label).to_have_text("tumour")
    four.get_by_label("Operating point").select_option("high sensitivity")
    threshold = load_artifact(MODEL).require_card().threshold("high_sensitivity")
    expect(four.locator(".part.image")).to_contain_text(f"the threshold is {100 * threshold:.1f} %")
    four.get_by_label("Age of the woman").fill("300")
    four.get_by_label("Age of the woman").press("Tab")
    assert not four.get_by_label("Age of the woman").evaluate("(field) => field.validity.valid")
    expect(four.locator(".caution")).to_contain_text("enriched with cancers")


@pytest.mark.parametrize("colours", ["light", "dark"])
def test_model_card(open_page: Open, colours: str) -> None:
    page = open_page("/model/card", color_scheme=colours)
    headings = page.locator("main h2")
    expect(headings.first).to_have_text("Limits")
    expect(page.locator(".plot svg")).to_have_count(4)
    expect(page.locator("tbody tr").first).to_contain_text("default")
    roc, reliability, decision = (page.locator(".plot").nth(at) for at in (1, 2, 3))
    expect(roc.locator("path")).to_have_count(2)  # band and curve
    expect(roc.locator("circle")).to_have_count(3)
    expect(reliability.locator("circle")).to_have_count(10)
    expect(decision.locator("path")).to_have_count(3)  # band, recalling all, curve
    validation = json.loads((MODEL / "card.json").read_text())["metrics"]["validation"]
    first = validation["curves"]["reliability"][0]
    expect(reliability.locator("svg")).to_have_attribute(
        "aria-label", re.compile(f"of {first['images']} images .* {first['positives']} show")
    )
    assert accessible(page) == []


def test_model_card_of_a_network_measured_by_folds(open_page: Open) -> None:
    page = open_page()

    def by_folds(route: Route) -> None:
        answer = route.fetch()
        content = answer.json()
        content["metrics"]["validation"]["by_folds"] = "by-fold"
        route.fulfill(response=answer, json=content)

    page.route("**/model", by_folds)
    page.goto(page.url + "model/card")
    expect(page.locator("main")).to_contain_text("a network trained without this patient")
    expect(page.locator("main")).not_to_contain_text("The model was chosen")
    roc = page.locator(".plot").nth(1).locator("svg")
    expect(roc).to_have_attribute("aria-label", re.compile("AUC out of fold 0"))


def test_model_card_of_an_older_version(open_page: Open) -> None:
    page = open_page()

    def without_curves(route: Route) -> None:
        answer = route.fetch()
        content = answer.json()
        content["metrics"]["validation"].pop("curves")
        route.fulfill(response=answer, json=content)

    page.route("**/model", without_curves)
    page.goto(page.url + "model/card")
    expect(page.locator(".plot svg")).to_have_count(4)
    expect(page.locator(".plot").nth(1).locator("path")).to_have_count(0)
    expect(page.locator(".plot").nth(2).locator("circle")).to_have_count(0)
    expect(page.locator(".plot").nth(3).locator("circle")).to_have_count(3)


def test_model_card_on_a_phone_and_back(open_page: Open, study: list[Path]) -> None:
    page = open_page(viewport=PHONE)
    add(page, study[0])
    done(page, 1)
    page.get_by_role("link", name="The model").click()
    expect(page.locator("main h2").first).to_have_text("Limits")
    assert page.url.endswith("/model/card")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    page.go_back()
    expect(page.locator(".row")).to_have_count(1)


def test_docs_are_tried(open_page: Open, study: list[Path]) -> None:
    page = open_page("/docs")
    page.locator("[id='link-get-/healthz']").wait_for()
    page.wait_for_timeout(1000)
    assert accessible(page) == []
    page.locator("[id='link-get-/healthz']").click()
    with page.expect_response("**/healthz") as answer:
        page.locator("[id='get-/healthz']").get_by_role("button", name="TRY").click()
    assert answer.value.status == 200
    page.locator("[id='link-post-/predict']").click()
    section = page.locator("[id='post-/predict']")
    section.locator("select").first.select_option("multipart/form-data")
    section.locator("input[type=file]").first.set_input_files(study[0])
    with page.expect_response("**/predict*") as answer:
        section.get_by_role("button", name="TRY").click()
    assert answer.value.status == 200
