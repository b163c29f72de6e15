"""Read tables of image metadata: CSV as written by people and spreadsheets."""

import csv
import io
import math
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final, NoReturn

from mammoscope.errors import MetadataError
from mammoscope.imaging.mammogram import Laterality, View

FILE: Final = "file"
_MISSING: Final = frozenset({"nan", "n/a", "<na>", "nat", "none", "null"})
"""Words, in lower case, that programs write for a missing value."""
_AGES_YEARS: Final = (0.0, 130.0)
_LONGEST_SHOWN: Final = 40
_COLUMNS: Final = ("patient_id", "image_id", "site_id", "machine_id", "birads")
"""Column names that are written with and without a separator between their words."""
_DELIMITERS: Final = ",;\t"
_UTF_16_MARKS: Final = (b"\xff\xfe", b"\xfe\xff")
_CATEGORY: Final = re.compile(r"([0-6])(?:\.0*|[A-C])?", re.ASCII)
"""A BI-RADS assessment, optionally as a decimal number or with a subcategory (4A)."""

_LATERALITIES: Final = {
    "l": Laterality.LEFT,
    "left": Laterality.LEFT,
    "r": Laterality.RIGHT,
    "right": Laterality.RIGHT,
}
_FLAGS: Final = {
    "0": False, "false": False, "no": False, "n": False,
    "1": True, "true": True, "yes": True, "y": True,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Row:
    """A row of the table.

    Parameters
    ----------
    number
        Row number in the file; the header is row 1.
    values
        Values by column name in lower case with underscores, stripped of whitespace.
    decimal_comma
        Whether a comma may be a decimal point, because it is not the column separator.
    """

    number: int
    values: Mapping[str, str]
    decimal_comma: bool = False

    def text(self, column: str) -> str:
        """Return the value of a column; empty if missing."""
        return self.values.get(column, "")

    def patient(self) -> str:
        """Return the patient's identifier; empty if unknown.

        Raises
        ------
        MetadataError
            If it is a word for a missing value: it would make one patient of many.
        """
        text = self.text("patient_id")
        if text.lower() in _MISSING:
            self.refuse("patient_id", "an identifier, or empty if the patient is unknown")
        return text

    def laterality(self) -> Laterality | None:
        """Return the side of the body; None if unknown."""
        text = self.text("laterality")
        if not text:
            return None
        return _LATERALITIES.get(text.lower()) or self.refuse("laterality", "L, R, left or right")

    def view(self) -> View | None:
        """Return the projection; None if unknown."""
        text = self.text("view").upper()
        if not text:
            return None
        return View(text) if text in list(View) else self.refuse("view", ", ".join(View))

    def age(self) -> float | None:
        """Return the age in years; None if unknown."""
        text = self.text("age")
        if not text:
            return None
        low, high = _AGES_YEARS
        try:
            years = float(text.replace(",", ".") if self.decimal_comma else text)
        except ValueError:
            years = math.nan
        if not low <= years <= high:
            return self.refuse("age", f"a number of years from {low:.0f} to {high:.0f}")
        return years

    def birads(self) -> int | None:
        """Return the BI-RADS assessment, 0 to 6; None if unknown."""
        text = self.text("birads").upper()
        if not text:
            return None
        found = _CATEGORY.fullmatch(text.replace(",", ".") if self.decimal_comma else text)
        return int(found[1]) if found else self.refuse("birads", "a whole number from 0 to 6")

    def flag(self, column: str) -> bool | None:
        """Return a yes-or-no value; None if unknown."""
        text = re.sub(r"[.,]0*$", "", self.text(column).lower())
        if not text:
            return None
        found = _FLAGS.get(text)
        return self.refuse(column, "0, 1, no, yes, false or true") if found is None else found

    def refuse(self, column: str, allowed: str) -> NoReturn:
        """Refuse a value.

        Raises
        ------
        MetadataError
            Always; the message gives row, column, value and what is allowed.
        """
        raise MetadataError(f"{self.cell(column)} is not allowed; it must be {allowed}.")

    def cell(self, column: str) -> str:
        """Return row, column and value, for a message."""
        value = self.text(column)
        shown = value if len(value) <= _LONGEST_SHOWN else f"{value[:_LONGEST_SHOWN]}…"
        return f"Row {self.number}, column {column}: {shown!r}"


def read_table(path: Path, required: Sequence[str]) -> tuple[Row, ...]:
    """Read a metadata table.

    Columns are separated by commas, semicolons or tabs. The text is UTF-8, or UTF-16 with a byte
    order mark. Case, spaces, hyphens and underscores in column names are ignored, and ``patient``
    means ``patient_id`` if there is no such column.

    Parameters
    ----------
    path
        The table.
    required
        Required columns.

    Raises
    ------
    MetadataError
        If the file cannot be read, lacks a column, or has a row without a file name or with a wrong
        number of values.
    """
    text = _decoded(path)
    lines = text.splitlines(keepends=True)
    named = re.fullmatch(r"sep=(.)\s*", lines[0]) if lines else None  # Excel's separator line
    first = 2 if named else 1
    content = "".join(lines[1:]) if named else text
    delimiter = named[1] if named else _delimiter(content)
    try:
        reader = csv.reader(io.StringIO(content, newline=""), delimiter=delimiter, strict=True)
        records = list(reader)
    except csv.Error as err:
        raise MetadataError(
            "The metadata table cannot be read as CSV in UTF-8: a quotation mark may be missing, "
            "or a value is too long."
        ) from err
    names, *values = records or [[]]
    return tuple(rows_of(names, values, required, first=first + 1, decimal_comma=delimiter != ","))


def rows_of(
    names: Sequence[str],
    records: Iterable[Sequence[str]],
    required: Sequence[str],
    *,
    first: int = 2,
    decimal_comma: bool = False,
) -> Iterator[Row]:
    """Yield the rows of a table by its column names and the values below them.

    Parameters
    ----------
    names
        Column names as written.
    records
        Values of each row.
    required
        Columns that must be there.
    first
        Number of the first record.
    decimal_comma
        As in `Row`.

    Raises
    ------
    MetadataError
        If a required column is missing or a name is there twice, or a row has too many values or
        names no file.
    """
    header = [_column(name, required) for name in names]
    if "patient_id" not in header and "patient" not in required:
        header = ["patient_id" if name == "patient" else name for name in header]
    missing = [name for name in required if name not in header]
    if missing:
        raise MetadataError(
            f"The metadata table lacks the column {' and '.join(missing)}; it needs "
            f"{' and '.join(required)}, as CSV in UTF-8."
        )
    if twice := sorted({name for name in header if name and header.count(name) > 1}):
        raise MetadataError(f"The metadata table has the column {twice[0]} twice.")
    yield from _rows(header, records, first, decimal_comma=decimal_comma)


def file_of(row: Row) -> PurePosixPath:
    """Return the path that a row names; backslashes separate folders too."""
    return PurePosixPath(row.text(FILE).replace("\\", "/"))


def match_rows(rows: Iterable[Row], files: Sequence[PurePosixPath]) -> dict[PurePosixPath, Row]:
    """Find the row for each file; rows may give only the last parts of a path.

    Parameters
    ----------
    rows
        Rows of the table.
    files
        Paths below the data set's folder.

    Returns
    -------
    dict
        For each file, the row that matches most of its last path parts. Otherwise the only row with
        its name, if no other file has that name. Files without a row are left out.

    Raises
    ------
    MetadataError
        If two rows name one file.
    """
    by_name: dict[str, list[tuple[PurePosixPath, Row]]] = {}
    first: dict[PurePosixPath, int] = {}
    for row in rows:
        named = file_of(row)
        if first.setdefault(named, row.number) != row.number:
            raise MetadataError(
                f"Rows {first[named]} and {row.number} of the metadata table name the same file."
            )
        by_name.setdefault(composed(named.name), []).append((named, row))
    names = Counter(composed(file.name) for file in files)
    matched = {}
    for file in files:
        name = composed(file.name)
        found = by_name.get(name, [])
        ends = [(named, row) for named, row in found if ends_alike(named, file)]
        if ends:
            matched[file] = max(ends, key=lambda each: len(each[0].parts))[1]
        elif len(found) == 1 and names[name] == 1:
            matched[file] = found[0][1]
    return matched


def ends_alike(one: PurePosixPath, other: PurePosixPath) -> bool:
    """Whether the shorter of two paths is the end of the longer one."""
    shared = min(len(one.parts), len(other.parts))
    return shared > 0 and all(
        composed(ours) == composed(theirs)
        for ours, theirs in zip(one.parts[-shared:], other.parts[-shared:], strict=True)
    )


def composed(name: str) -> str:
    """Return a name with composed letters: some file systems and archives split ä into a and ¨."""
    return unicodedata.normalize("NFC", name)


def _decoded(path: Path) -> str:
    try:
        data = path.read_bytes()
        text = data.decode("utf-16" if data.startswith(_UTF_16_MARKS) else "utf-8-sig")
    except OSError as err:
        raise MetadataError("The metadata table cannot be read as CSV in UTF-8.") from err
    except UnicodeDecodeError as err:
        line = data.count(b"\n", 0, err.start) + 1
        raise MetadataError(
            f"The metadata table cannot be read as CSV in UTF-8: row {line} has other bytes. "
            "Save it in UTF-8."
        ) from err
    if "\0" in text:  # UTF-16 without a mark, or UTF-32
        raise MetadataError(
            "The metadata table cannot be read as CSV in UTF-8: it has null characters. Save it in "
            "UTF-8."
        )
    return text


def _delimiter(content: str) -> str:
    """Return the delimiter that splits the header most; a comma if none does."""
    header = content.partition("\n")[0]
    return max(_DELIMITERS, key=header.count)


def _column(name: str, required: Sequence[str]) -> str:
    """Normalise a column name: ``Patient_ID``, ``patient id`` and ``PatientID`` are equal."""
    plain = re.sub(r"[\W_]+", "_", name.strip().lower()).strip("_")
    known = {each.replace("_", ""): each for each in (*required, *_COLUMNS)}
    return known.get(plain.replace("_", ""), plain)


def _rows(
    header: list[str], records: Iterable[Sequence[str]], first: int, *, decimal_comma: bool
) -> Iterator[Row]:
    for number, record in enumerate(records, start=first):
        values = [value.strip() for value in record]
        if not any(values):
            continue
        if any(values[len(header) :]):
            raise MetadataError(
                f"Row {number} has {len(values)} values for {len(header)} columns. Quote values "
                "that contain a separator."
            )
        row = Row(number, dict(zip(header, values, strict=False)), decimal_comma)
        if not row.text(FILE):
            row.refuse(FILE, "the name of a file")
        yield row
