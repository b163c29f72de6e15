"""Convert HTTP answers to entries, with replacements for varying parts."""

import base64
import io
import json
import re
from collections.abc import Iterable
from typing import Any

import numpy as np
from PIL import Image
from prometheus_client.parser import text_string_to_metric_families

from tests.record.keeping import as_text, digest, sha256

REQUEST_ID = "record"
"""Sent with every request, so that answers have no other id."""

COMMON_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
        "img-src 'self' blob: data:; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "Mammoscope-Api-Version": "1",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Request-Id": REQUEST_ID,
}
"""Common headers: entries list those that differ, and name those that are missing."""

_VARIES = {"Date": "<date>", "Last-Modified": "<date>", "ETag": "<etag>"}
"""Headers that depend on the clock, or on the time and path of the checkout."""

_LONGEST_PAUSE_S = 30
"""Longer times to wait are those of the rate limit: what is left of a minute."""

_HEX_ID = re.compile(r"\b[0-9a-f]{32}\b")
_PSEUDONYM = re.compile(r'(?<=")[0-9a-f]{16}(?=")')
_MEASUREMENTS = "metrics"
"""Key of the card's measurements: as long as all else together, and read in the card."""


def kept(status: int, headers: Iterable[tuple[str, str]], body: bytes) -> dict[str, Any]:
    """Status, headers and body of an answer."""
    received: dict[str, str] = {}
    for name, value in headers:
        written = _header(name, value)
        received[name] = f"{received[name]} | {written}" if name in received else written
    own = {
        name: value for name, value in sorted(received.items()) if COMMON_HEADERS.get(name) != value
    }
    missing = sorted(set(COMMON_HEADERS) - set(received))
    if own.get("Content-Length") == str(len(body)):
        del own["Content-Length"]  # the rule; kept where it says something else
    entry: dict[str, Any] = {"status": status, "headers": own}
    if missing:
        entry["without"] = missing
    if body:
        told = _body(received.get("Content-Type", ""), body)
        problem = _problem(status, told)
        entry |= {"problem": problem} if problem else {"body": told}
    return entry


def _problem(status: int, body: Any) -> str:
    """A problem document in a line, where all of it follows from code and detail; else nothing."""
    if not isinstance(body, dict) or not {"code", "detail"} <= set(body):
        return ""
    code, detail = body["code"], body["detail"]
    rule = {
        "type": f"urn:mammoscope:problem:{code}",
        "title": code.replace("_", " ").capitalize().replace("Url", "URL"),
        "status": status,
        "detail": detail,
        "code": code,
        "request_id": REQUEST_ID,
    }
    for more, words in ({}, ""), ({"error": detail}, " [said as error, too]"):
        if list(body.items()) == list({**rule, **more}.items()):
            return f"{code}: {detail}{words}"
    return ""


def _header(name: str, value: str) -> str:
    if name in _VARIES:
        return _VARIES[name]
    if name == "Allow":  # written in any order
        return ", ".join(sorted(value.split(", ")))
    if name == "Retry-After" and int(value) > _LONGEST_PAUSE_S:
        return "<seconds>"
    return _HEX_ID.sub("<request id>", value)


def _body(kind: str, body: bytes) -> Any:
    if kind.startswith("image/png"):
        return _png(body)
    if not kind.endswith("json"):
        return as_text(body) if kind.startswith("text/html") else digest(body)
    text = _without_pseudonyms(_HEX_ID.sub("<request id>", body.decode()))
    parsed = json.loads(text)
    # Keys stay in the order in which they were answered. So this proves the bytes between them.
    flask = json.dumps(parsed, separators=(",", ":")) + "\n"
    if text != (flask if kind == "application/json" else json.dumps(parsed)):
        return as_text(text)
    return {name: _short(name, value) for name, value in parsed.items()}


def _short(name: str, value: Any) -> Any:
    """A part of a JSON body; images by their pixels, and what is longest by its digest."""
    if name == _MEASUREMENTS:
        return digest(json.dumps(value).encode())
    if isinstance(value, dict) and value.get("media_type") == "image/png":
        return {**value, "base64": _png(base64.b64decode(value["base64"]))}
    return value


def _png(data: bytes) -> str:
    with Image.open(io.BytesIO(data), formats=["PNG"]) as image:
        pixels = np.asarray(image)
    size = " x ".join(map(str, pixels.shape))
    return f"<PNG {size}, {len(data)} bytes, pixels {sha256(pixels.tobytes())}>"


def _without_pseudonyms(text: str) -> str:
    """Name patients by the order in which they come: their pseudonyms are drawn anew each time."""
    names: dict[str, str] = {}
    return _PSEUDONYM.sub(
        lambda found: names.setdefault(found[0], f"<pseudonym {len(names) + 1}>"), text
    )


def metrics(text: str) -> dict[str, Any]:
    """Metrics: type, help, and each series by its labels; values where no clock decides them."""
    told: dict[str, Any] = {}
    for family in text_string_to_metric_families(text):
        series: dict[str, Any] = {}
        bounds: list[str] = []
        for sample in family.samples:
            if "le" in sample.labels:
                bounds.append(sample.labels["le"])
                continue
            labels = " ".join(f"{name}={value}" for name, value in sorted(sample.labels.items()))
            value = sample.value if _is_counted(sample.name) else "<varies>"
            series[f"{sample.name} {labels}".rstrip()] = value
        told[family.name] = {"type": family.type, "help": family.documentation, "series": series}
        if bounds:
            told[family.name]["buckets"] = " ".join(dict.fromkeys(bounds))
    return told


def _is_counted(name: str) -> bool:
    counted = not name.endswith(("_sum", "_created")) and not name.endswith("seconds")
    return name.startswith("mammoscope_") and counted and "drift" not in name
