"""Results of reading and preprocessing; nothing here depends on the network."""

import dataclasses
from typing import Any

from mammoscope.errors import ImageError
from mammoscope.imaging.dicom import Pseudonyms
from mammoscope.imaging.mammogram import Mammogram
from mammoscope.imaging.preprocessing import preprocess
from mammoscope.imaging.quality import discrepancies, require_mammogram
from mammoscope.imaging.reading import read
from tests.record.encoded_images import PHANTOMS, accepted, phantom, refused
from tests.record.keeping import NETWORK, Entries, sha256

SIZE = (512, 288)
"""Input of the released model, which has three channels."""

_ROUNDING_ENCODER = "htj2k-lossy"
"""Files of this syntax differ with the processor that writes them."""

_KEY = b"the key of the record"


def record() -> Entries:
    entries: Entries = {}
    for name in PHANTOMS:
        drawn = phantom(name)
        entries[f"drawn: {name}"] = {
            "pixels": sha256(drawn.pixels.tobytes()),
            "mass": sha256(drawn.lesion_mask.tobytes()),
        }
    first: dict[str, str] = {}
    for name, data in {**accepted(), **refused()}.items():
        answer = _answer(data)
        own = {"file": sha256(data), "source": answer.pop("source", None)}
        if _ROUNDING_ENCODER in name:
            own = {NETWORK: True, **own}
        # Lossless copies of an image differ in nothing else; it is stored once.
        known = first.setdefault(repr(answer), name)
        entries[name] = {**own, "same_as": known} if known != name else {**own, **answer}
    return entries


def _answer(data: bytes) -> dict[str, Any]:
    stage = "reading"
    try:
        mammogram = read(data, needed=SIZE, pseudonyms=Pseudonyms(_KEY))
        stage = "preparing"
        preprocessed = preprocess(mammogram, SIZE, channels="three")
        stage = "examining"
        appearance = require_mammogram(mammogram, preprocessed)
    except ImageError as err:
        return {"refused": err.code, "while": stage, "message": str(err)}
    return {
        **_facts(mammogram),
        "prepared": sha256(preprocessed.pixels.tobytes()),
        "box": str(preprocessed.box),
        "inverted": preprocessed.inverted,
        "mirrored": preprocessed.mirrored,
        "chest_wall": preprocessed.chest_wall,
        "breast_share": preprocessed.breast_share,
        "warnings": [*mammogram.warnings, *discrepancies(mammogram, preprocessed, appearance)],
    }


def _facts(mammogram: Mammogram) -> dict[str, Any]:
    source, exposure = mammogram.source, dataclasses.asdict(mammogram.exposure)
    layout = f"{source.format} {source.height} x {source.width}, {source.mode} of {source.bits}"
    return {
        "pixels": sha256(mammogram.pixels.tobytes()),
        "read_as": f"{mammogram.pixels.shape[0]} x {mammogram.pixels.shape[1]}",
        "source": layout,
        "coloured": source.coloured,
        "laterality": mammogram.laterality,
        "view": mammogram.view,
        "exposure": {name: value for name, value in exposure.items() if value is not None},
    }
