"""What a screen reader gets: the browser's accessibility tree."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from mammoscope.model.artifact.folder import load_artifact
from tests.browser.conftest import add, done, shown
from tests.conftest import MODEL

Open = Callable[..., Page]

NAMED = {
    "button", "link", "textbox", "searchbox", "combobox", "slider", "spinbutton", "image",
    "progressbar", "region", "navigation", "complementary", "toolbar", "dialog", "heading",
    "DisclosureTriangle",
}  # fmt: skip


@dataclass(frozen=True)
class Node:
    """A node of the accessibility tree."""

    role: str
    name: str
    value: Any
    properties: dict[str, Any]


def tree(page: Page) -> list[Node]:
    """All nodes that assistive technology gets."""
    session = page.context.new_cdp_session(page)
    session.send("Accessibility.enable")
    found = session.send("Accessibility.getFullAXTree")["nodes"]
    session.detach()
    return [
        Node(
            role=node["role"]["value"],
            name=node.get("name", {}).get("value", ""),
            value=node.get("value", {}).get("value"),
            properties={
                each["name"]: each["value"].get("value") for each in node.get("properties", [])
            },
        )
        for node in found
        if not node["ignored"]
    ]


def of(nodes: list[Node], role: str) -> Iterator[Node]:
    return (node for node in nodes if node.role == role)


def named(nodes: list[Node]) -> dict[str, Node]:
    return {node.name: node for node in nodes if node.role in NAMED}


@pytest.fixture
def four(open_page: Open, study: list[Path]) -> Page:
    page = open_page()
    add(page, *study)
    done(page, 4)
    shown(page, 4)
    expect(page.locator(".score-line")).to_have_count(3)
    return page


def test_everything_has_a_name_and_a_role(four: Page) -> None:
    nodes = tree(four)
    assert [node for node in nodes if node.role in NAMED and not node.name.strip()] == []
    for role, names in {
        "navigation": {"Pages"},
        "region": {"Add images", "Worklist", "Viewer"},
        "complementary": {"Verdict"},
        "toolbar": {"Tools"},
    }.items():
        assert {node.name for node in of(nodes, role)} == names
    assert len(list(of(nodes, "banner"))) == len(list(of(nodes, "main"))) == 1
    assert [node.properties["level"] for node in of(nodes, "heading")].count(1) == 1
    buttons = [node.name for node in of(nodes, "button")]
    for once in ("Choose files", "Choose a folder", "Try a phantom", "Remove all"):
        assert buttons.count(once) == 1


def test_images_rows_and_bars_are_told(four: Page) -> None:
    nodes = tree(four)
    images = [node.name for node in of(nodes, "image")]
    for place in ("R CC", "L CC", "R MLO", "L MLO"):
        assert sum(name.startswith(f"Mammogram {place}, ") for name in images) == 1
    rows = [node.name for node in of(nodes, "button") if node.name.startswith("phantom_001_")]
    assert len(rows) == 4
    for name in rows:
        assert "Probability" in name
        assert "thresholds at" in name
        assert name.endswith("tumour")
    by_name = named(nodes)
    assert by_name["Invert"].properties["pressed"] == "false"
    opacity = four.get_by_role("slider", name="Opacity of the heat map")
    expect(opacity).to_have_attribute("aria-valuetext", "35 %")  # the tree has the bare number
    four.get_by_role("button", name="Invert").click()
    expect(four.get_by_role("button", name="Invert")).to_have_attribute("aria-pressed", "true")
    assert named(tree(four))["Invert"].properties["pressed"] == "true"


def test_news_are_announced(open_page: Open, study: list[Path], other_study: list[Path]) -> None:
    page = open_page()
    add(page, study[0])
    done(page, 1)
    (status,) = (node for node in of(tree(page), "status"))
    assert status.properties["live"] == "polite"
    expect(page.get_by_role("status")).to_have_text("1 image is predicted.")
    add(page, other_study[0])
    done(page, 2)
    row = page.locator(".row .open")
    row.nth(1).click()
    page.get_by_text("Where it belongs").click()
    page.locator("select[name=study]").select_option(label="Study 1")
    alarm = page.get_by_role("alert")
    expect(alarm).to_contain_text("Two patients in one study")
    (alert,) = of(tree(page), "alert")
    assert alert.properties["live"] == "assertive"


def test_dialogs_and_the_model_card(open_page: Open, study: list[Path]) -> None:
    page = open_page("/model/card")
    expect(page.locator(".plot svg")).to_have_count(4)
    nodes = tree(page)
    assert [node for node in nodes if node.role in NAMED and not node.name.strip()] == []
    plots = [node.name for node in of(nodes, "image")]
    assert any("sensitivity" in name and "AUC out of fold" in name for name in plots)
    validation = load_artifact(MODEL).require_card().metrics["validation"]
    images = validation["curves"]["reliability"][0]["images"]
    assert any(f"of {images} images" in name for name in plots)
    page.get_by_role("link", name="Images").click()
    add(page, study[0])
    done(page, 1)
    page.keyboard.press("?")
    dialog = page.get_by_role("dialog", name="Keys and mouse")
    expect(dialog).to_be_visible()
    (found,) = of(tree(page), "dialog")
    assert found.properties.get("modal") is True
