"""The page's modules by themselves, imported in a browser."""

import io
import json
import math
import zipfile
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from playwright.sync_api import Page

from mammoscope.phantoms.dicom import Encoding
from tests.conftest import MODEL
from tests.dicom_objects import changed, mammogram_object, parsed

Run = Callable[..., Any]


@pytest.fixture(scope="module")
def run(browser: Any, service: Any) -> Run:
    """Run the body of a function with a module of the page and an argument."""
    page: Page = browser.new_page()
    page.goto(service.address)

    def run_it(module: str, body: str, given: Any = None) -> Any:
        return page.evaluate(
            f"""async (given) => {{
              const module = await import("/static/page/{module}.js");
              const file = (bytes, name = "a") => new File([new Uint8Array(bytes)], name);
              {body}
            }}""",
            given,
        )

    return run_it


def test_a_folder_is_walked_in_batches(run: Run) -> None:
    names = run(
        "intake",
        """
        const leaf = (name) => ({ isFile: true, file: (done) => done(file([], name)) });
        const folder = (...batches) => ({ isFile: false, createReader: () => {
          const left = [...batches, []];
          return { readEntries: (done) => done(left.shift()) };
        } });
        const inner = folder([leaf("b")], [leaf("c")]);
        const tree = folder([leaf("a"), inner], [leaf("d")], [folder(), leaf("e")]);
        const found = [];
        for await (const each of module.walk(tree)) found.push(each.name);
        return found;
        """,
    )
    assert names == ["a", "b", "c", "d", "e"]


def archive(method: int = zipfile.ZIP_DEFLATED, **content: bytes) -> list[int]:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", method) as packed:
        for name, data in content.items():
            packed.writestr(name, data)
    return list(stream.getvalue())


UNZIP = """
const found = {};
try {
  const limits = given.limits ?? module.LIMITS;
  for await (const each of module.entries(file(given.bytes), undefined, limits)) {
    found[each.name] = await each.text();
  }
} catch (error) { return error.reason ?? String(error); }
return found;
"""


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_zip(run: Run, method: int) -> None:
    content = {"one": b"x" * 100_000, "two": b"", "drei.txt": b"abc"}
    found = run("zip", UNZIP, {"bytes": archive(method, **content)})
    assert found == {name: data.decode() for name, data in content.items()}


def test_zip_limits_count_what_comes(run: Run) -> None:
    bomb = archive(one=b"0" * 1_000_000)
    limits = {"entries": 10, "bytes": 1000}
    assert run("zip", UNZIP, {"bytes": bomb, "limits": limits}) == "large"
    lying = bytearray(bomb)
    central = bytes(lying).rindex(b"PK\x01\x02")
    lying[central + 24 : central + 28] = (10).to_bytes(4, "little")
    assert run("zip", UNZIP, {"bytes": list(lying), "limits": limits}) == "large"
    many = archive(**{f"n{number}": b"" for number in range(11)})
    assert run("zip", UNZIP, {"bytes": many, "limits": limits}) == "entries"


@pytest.mark.parametrize("cut", [10, 60, 120])
def test_damaged_zip(run: Run, cut: int) -> None:
    whole = archive(one=b"some text that is deflated", two=b"more")
    assert run("zip", UNZIP, {"bytes": whole[:-cut]}) == "damaged"


@pytest.mark.parametrize(
    "syntax", ["implicit", "explicit", "big-endian", "deflated", "jpeg-2000", "jpeg-lossless"]
)
def test_tags(run: Run, syntax: str) -> None:
    data = mammogram_object(Encoding(syntax=syntax))
    found = run("dicom", "return module.tags(file(given));", list(data))
    assert found["study"] == parsed(data).StudyInstanceUID
    assert "PHANTOM-3" in found["patient"]
    assert (found["laterality"], found["view"]) == ("L", "CC")


def test_malformed_files_have_no_tags(run: Run) -> None:
    assert run("dicom", "return module.tags(file(given));", [1, 2, 3]) is None
    cut = list(mammogram_object()[:700])
    assert isinstance(run("dicom", "return module.tags(file(given));", cut), dict)
    nameless = changed(mammogram_object(), PatientID=None, StudyInstanceUID=None)
    found = run("dicom", "return module.tags(file(given));", list(nameless))
    assert found["study"] is None
    assert found["patient"] is None


@pytest.mark.parametrize(
    ("orientation", "place", "expected"),
    [
        (["A", "R"], "L CC", None),
        (["P", "L"], "R CC", None),
        (["A", "FR"], "L MLO", None),
        (["P", "FL"], "R MLO", None),
        (["P", "R"], "L CC", (False, True, False)),
        (["A", "L"], "L CC", (False, False, True)),
        (["A", "FL"], "R MLO", (False, True, False)),
        (["A", "HL"], "R MLO", (False, True, True)),
        (["FR", "A"], "L MLO", (True, False, False)),
        (["H", "P"], "L MLO", (True, True, True)),
        (["L", "F"], "L MLO", None),
        (None, "L MLO", None),
    ],
)
def test_images_are_put_right(
    run: Run, orientation: list[str] | None, place: str, expected: tuple | None
) -> None:
    made = run("hanging", "return module.putRight(...given);", [orientation, *place.split()])
    assert made == (
        None
        if expected is None
        else dict(zip(("transpose", "flipX", "flipY"), expected, strict=True))
    )


def test_statistics_are_those_of_the_card(run: Run) -> None:
    text = (MODEL / "card.json").read_text("utf-8")
    facts = json.loads(text)
    body = "return module.probability(given.model, given.logit, given.age, given.level);"
    for logit in (-2.0, 0.1, 3.0):
        for age in (None, 40.0, 71.5):
            scale = facts["age_calibration"] if age else facts["calibration"]
            odds = scale["slope"] * logit + scale["intercept"]
            odds += scale["per_decade"] * (age - 60) / 10 if age else 0
            given = {"model": facts, "logit": logit, "age": age, "level": "image"}
            assert run("statistics", body, given) == pytest.approx(1 / (1 + math.exp(-odds)))


def test_predictive_values(run: Run) -> None:
    # Of 10,000 with a prevalence of 2 %: 180 of 200 found, 980 of 9,800 falsely.
    found = run("statistics", "return module.predictiveValues(0.9, 0.9, 0.02);")
    assert found["ppv"] == pytest.approx(180 / 1160)
    assert found["npv"] == pytest.approx(8820 / 8840)


def test_interval_follows_from_the_covariance(run: Run) -> None:
    """The interval is that of many calibrations drawn around the card's."""
    facts = json.loads((MODEL / "card.json").read_text("utf-8"))
    validation = facts["metrics"]["validation"]
    rng = np.random.default_rng(0)
    for level, age, scale, part in (
        ("image", None, facts["calibration"], validation),
        ("image", 75.0, facts["age_calibration"], validation["with_age"]),
        ("breast", 75.0, facts["levels"]["breast"]["calibration"], validation["breast"]),
    ):
        names = ("slope", "intercept", "per_decade")[: len(part["calibration_covariance"])]
        middle = [scale[name] for name in names]
        fits = rng.multivariate_normal(middle, part["calibration_covariance"], 20_000)
        for logit in (-2.5, 0.0, 2.0):
            factors = np.array([logit, 1.0, 1.5])[: len(names)]
            p = 1 / (1 + math.exp(-factors @ middle))
            expected = np.quantile(1 / (1 + np.exp(-fits @ factors)), [0.025, 0.975])
            body = "return module.interval(given.model, given.p, given.age, given.level);"
            given = {"model": facts, "p": p, "age": age, "level": level}
            found = run("statistics", body, given)
            assert found == pytest.approx(list(expected), abs=0.01)


def test_interval_of_older_cards(run: Run) -> None:
    facts = json.loads((MODEL / "card.json").read_text("utf-8"))
    del facts["metrics"]["validation"]["calibration_covariance"]
    body = "return module.interval(given, 0.3);"
    low, high = run("statistics", body, facts)
    assert 0.1 < low < 0.3 < high < 0.6
    assert run("statistics", body, {"metrics": {}}) is None


def test_csv_cells(run: Run) -> None:
    table = run(
        "outputs",
        'return module.csv([{file: "=SUM(A1)", warnings: \'say "no", twice\', logit: -1.5}]);',
    )
    assert "'=SUM(A1)" in table
    assert '"say ""no"", twice"' in table
    assert ",-1.5," in table


def test_padding_is_black_in_every_window(run: Run) -> None:
    body = """
    const table = module.greys({ centre: 32768, width: 65534 }, given);
    return [0, 1, 65535].map((value) => table[value] & 0xff);
    """
    assert run("images", body, False) == [0, 0, 255]
    assert run("images", body, True) == [0, 255, 0]
