"""The documentation builds, loads nothing external, and agrees with the code."""

import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

from mammoscope.archive.monitoring import Monitoring
from mammoscope.archive.state import State
from mammoscope.service.app import monitoring_of
from mammoscope.settings.service import ServiceSettings
from tests.fake_engine import FakeEngine, app_with

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
README = (ROOT / "README.md").read_text("utf-8")
MAX_README_BYTES = 10_240
LOADING = {"script": "src", "img": "src", "link": "href", "iframe": "src", "object": "data"}
"""Attributes that make the browser load something."""


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("docs")
    answer = subprocess.run(
        [
            *(sys.executable, "-m", "sphinx", "--fail-on-warning", "--keep-going", "--quiet"),
            *("--builder", "html", "--doctree-dir", folder / "doctrees", DOCS, folder / "html"),
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert answer.returncode == 0, answer.stderr
    return folder / "html"


class Loads(HTMLParser):
    """Collects the addresses loaded by a page."""

    def __init__(self) -> None:
        super().__init__()
        self.addresses: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        address = dict(attrs).get(LOADING.get(tag, ""))
        if address and dict(attrs).get("rel") not in ("index", "search", "next", "prev"):
            self.addresses.append(address)


def test_docs_load_nothing_external(built: Path) -> None:
    pages = sorted(built.rglob("*.html"))
    assert len(pages) > 20
    for page in pages:
        loads = Loads()
        loads.feed(page.read_text("utf-8"))
        assert loads.addresses
        assert [each for each in loads.addresses if re.match(r"(\w+:)?//", each)] == [], page.name
    for style in built.rglob("*.css"):
        urls = re.findall(r"url\(['\"]?((?:\w+:)?//[^)]*)", style.read_text("utf-8"))
        assert urls == [], style.name


def test_docs_show_the_settings_the_errors_and_the_commands(built: Path) -> None:
    for page, words in {
        "service/settings": ["MAMMOSCOPE_QUEUE_SIZE", "536870912"],
        "guides/archive": ["MAMMOSCOPE_ARCHIVE_QUIET_S", "storage SCP"],
        "reference/errors": ["service_busy", "429"],
        "reference/command-line": ["usage: mammoscope", "--strict"],
        "guides/training": ["learning_rate", "1e-05"],
        "reference/python-api": ["MammogramPreprocessor", "ServerUnreachableError"],
    }.items():
        html = (built / f"{page}.html").read_text("utf-8")
        assert [word for word in words if word not in html] == [], page


def test_drawings_load_nothing_and_have_descriptions() -> None:
    for name in ("data-flow", "deployment"):
        drawing = (ROOT / "images" / f"{name}.svg").read_text("utf-8")
        assert "<title" in drawing
        assert "<desc" in drawing
        addresses = re.findall(r"https?://[^\"' ]*", drawing)
        assert addresses == ["http://www.w3.org/2000/svg"]


def test_every_image_is_on_a_page() -> None:
    pages = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]
    text = "".join(page.read_text("utf-8") for page in pages)
    unused = [
        each.name for each in (ROOT / "images").iterdir() if f"images/{each.name}" not in text
    ]
    assert unused == []


def test_readme_is_short() -> None:
    assert len(README.encode()) <= MAX_README_BYTES


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md", "SECURITY.md"])
def test_links_are_valid(name: str) -> None:
    text = (ROOT / name).read_text("utf-8")
    links = [link for link in re.findall(r"\]\(([^)#]+)[^)]*\)", text) if "://" not in link]
    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []


def rows(text: str) -> dict[str, list[str]]:
    """Cells of the rows of all tables by their first cell."""
    found = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in re.findall(r"^\|.*\|$", text, re.MULTILINE)
    ]
    return {first: rest for first, *rest in found if first != "---"}


@pytest.mark.parametrize(
    ("page", "columns"),
    [
        ("README.md", ("test", "reference preset, test", "as the reference project published")),
        (
            "docs/experiments/released-model.md",
            (
                "test",
                "out of fold",
                "reference preset, test",
                "as the reference project published",
            ),
        ),
    ],
)
def test_results_agree_with_the_model_card(page: str, columns: tuple[str, ...]) -> None:
    card = (ROOT / "model" / "MODEL_CARD.md").read_text("utf-8")
    (section,) = re.findall(r"^## Results\n(.*?)^## ", card, re.MULTILINE | re.DOTALL)
    measured = rows(section)
    titles = measured.pop("")
    shown = {
        name: cells
        for name, cells in rows((ROOT / page).read_text("utf-8")).items()
        if name in measured
    }
    assert len(shown) >= 5
    for name, cells in shown.items():
        assert cells == [measured[name][titles.index(column)] for column in columns], name


@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_every_route_and_metric_is_documented() -> None:
    app = app_with(ServiceSettings(), FakeEngine())
    api = (DOCS / "service" / "api.md").read_text("utf-8")
    paths = {str(rule) for rule in app.url_map.iter_rules() if rule.endpoint != "static"}
    assert [path for path in sorted(paths) if f"{path}`" not in api] == []
    monitoring = (DOCS / "service" / "monitoring.md").read_text("utf-8")
    told = {family.name for family in monitoring_of(app).registry.collect()}
    own = {name for name in told if name.startswith("mammoscope_")}
    documented = re.findall(r"`(mammoscope_\w+?)(?:_total)?`", monitoring)
    assert sorted(own - set(documented)) == []
    assert sorted(set(documented) - own) == []


def test_changelog_has_a_dated_version() -> None:
    import mammoscope

    changelog = (ROOT / "CHANGELOG.md").read_text("utf-8")
    dated = re.findall(r"^## (\S+) \((\d{4}-\d\d-\d\d)\)$", changelog, re.MULTILINE)
    assert dated
    assert dated[0][0] == mammoscope.__version__


def test_citation_names_the_latest_version() -> None:
    citation = (ROOT / "CITATION.cff").read_text("utf-8")
    changelog = (ROOT / "CHANGELOG.md").read_text("utf-8")
    (version,) = re.findall(r"^version: (\S+)$", citation, re.MULTILINE)
    (date,) = re.findall(r"^date-released: (\S+)$", citation, re.MULTILINE)
    assert f"## {version} ({date})" in changelog


def test_every_metric_of_the_archive_worker_is_documented(tmp_path: Path) -> None:
    page = (DOCS / "guides" / "archive.md").read_text("utf-8")
    with State(f"sqlite:///{tmp_path / 'state.db'}") as state:
        told = {family.name for family in Monitoring(state).registry.collect()}
    own = {name for name in told if name.startswith("mammoscope_")}
    assert set(re.findall(r"^\| `(mammoscope_\w+?)(?:_total)?`", page, re.MULTILINE)) == own
