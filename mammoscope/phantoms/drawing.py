"""Synthetic mammograms for tests, demonstration and documentation.

To software, a phantom looks like a mammogram: a breast on black, the chest wall at one edge, skin,
fibroglandular tissue, the pectoral muscle in the oblique view, burned-in text and, optionally, a
mass or calcifications. It is not a model of disease: scores on phantoms say nothing about patients.
"""

import csv
import hashlib
import io
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image

from mammoscope.errors import ConfigurationError, StorageError
from mammoscope.imaging.arrays import Grey, Mask
from mammoscope.imaging.mammogram import Laterality, View
from mammoscope.system.files import replacing

POWER_LAW_EXPONENT: Final = 3.0
"""Exponent of the tissue's power spectrum, P(f) = K / f^3.

References
----------
.. [1] A. E. Burgess, F. L. Jacobson, P. F. Judy, "Human observer detection experiments with
   mammograms and power-law noise", Medical Physics 28(4), 2001, 419-437,
   doi:10.1118/1.1355308.
"""

MIN_SIDE: Final = 96
"""Minimum height and width in pixels, below which a phantom's parts blur together."""

DATASET_SIDE: Final = 640
"""Height and width in pixels of the images of the Kaggle data set."""

_MLO_OUTLINE: Final = (
    (-0.05, 0.56),
    (0.15, 0.58),
    (0.35, 0.74),
    (0.50, 0.92),
    (0.62, 1.00),
    (0.74, 0.96),
    (0.84, 0.72),
    (0.91, 0.38),
    (1.00, 0.12),
    (1.10, 0.08),
)
"""Height as a share of the image's height, and reach of the breast as a share of its depth."""


@dataclass(frozen=True, slots=True)
class PhantomConfig:
    """Description of a phantom.

    Parameters
    ----------
    seed
        Selects the woman: her breast size, density and contrast are the same in both views.
    laterality
        Side of the body; a left breast has the chest wall on the image's left edge.
    view
        ``CC`` or ``MLO``.
    mass
        Whether to draw a bright, ill-defined, spiculated mass.
    calcifications
        Whether to draw a cluster of calcifications.
    label_text
        Whether to burn in laterality and view.
    height, width
        Size in pixels, each at least `MIN_SIDE`.

    Raises
    ------
    ConfigurationError
        If the size is too small, the seed is negative, or the view is neither CC nor MLO.
    """

    seed: int
    laterality: Laterality = Laterality.LEFT
    view: View = View.CRANIO_CAUDAL
    mass: bool = False
    calcifications: bool = False
    label_text: bool = True
    height: int = 1024
    width: int = 832

    def __post_init__(self) -> None:
        if min(self.height, self.width) < MIN_SIDE:
            raise ConfigurationError(
                f"The phantom's size is {self.height} x {self.width} pixels; "
                f"each side must have at least {MIN_SIDE}."
            )
        if self.seed < 0:
            raise ConfigurationError(f"The seed is {self.seed}; it must not be negative.")
        if self.view not in (View.CRANIO_CAUDAL, View.MEDIO_LATERAL_OBLIQUE):
            raise ConfigurationError(f"The view is {self.view}; phantoms have only CC and MLO.")


@dataclass(frozen=True, slots=True, eq=False)
class Phantom:
    """A drawn phantom.

    Parameters
    ----------
    pixels
        float32 (H, W) in [0, 1], dense tissue bright (MONOCHROME2).
    lesion_mask
        bool (H, W): the body of the mass, without its spicules; all False without a mass.
    config
        The description it was drawn from.
    """

    pixels: Grey
    lesion_mask: Mask
    config: PhantomConfig


@dataclass(frozen=True, slots=True)
class _Breast:
    """Properties shared by both views of a breast; lengths are shares of the image's sides."""

    depth: float
    half_height: float
    centre: float
    density: float
    fat: float
    gain: float

    @property
    def acr_density(self) -> str:
        """ACR density category, A (fatty) to D (extremely dense)."""
        return "ABCD"[min(3, int(self.density * 4))]


def _breast(seed: int) -> _Breast:
    rng = np.random.default_rng(seed)
    return _Breast(
        depth=rng.uniform(0.48, 0.70),
        half_height=rng.uniform(0.33, 0.43),
        centre=rng.uniform(0.48, 0.54),
        density=rng.uniform(0.0, 1.0),
        fat=rng.uniform(0.20, 0.45),
        gain=rng.uniform(0.30, 0.45),
    )


def draw_phantom(config: PhantomConfig) -> Phantom:
    """Draw the phantom that `config` describes; the same configuration gives the same pixels."""
    breast = _breast(config.seed)
    rng = np.random.default_rng(
        [
            config.seed,
            int(config.laterality is Laterality.RIGHT),
            int(config.view is View.CRANIO_CAUDAL),
        ]
    )
    reach, nipple = _outline(config, breast)
    inside, depth_from_skin = _silhouette(config, reach, nipple)

    margin = 0.16 * breast.depth * config.width
    thickness = 1.0 - (1.0 - np.minimum(depth_from_skin / margin, 1.0)) ** 2
    glands = _glands(config, breast, nipple, rng)
    pixels = breast.fat * (0.45 + 0.55 * thickness) + breast.gain * glands * thickness
    pixels += 0.10 * np.exp(-depth_from_skin / (0.006 * config.height))  # the skin line
    if config.view is View.MEDIO_LATERAL_OBLIQUE:
        pixels = _with_pectoral_muscle(pixels, config, breast, rng)

    lesion_mask = np.zeros(pixels.shape, np.bool_)
    if config.mass or config.calcifications:
        centre, radius = _lesion_site(config, depth_from_skin, rng)
        if config.mass:
            profile, lesion_mask = _mass(pixels.shape, centre, radius, rng)
            pixels += (0.85 - np.minimum(pixels, 0.60)) * profile
        if config.calcifications:
            pixels += _calcifications(pixels.shape, centre, radius, rng)

    pixels += 0.012 * rng.standard_normal(pixels.shape, np.float32)
    pixels = np.clip(pixels, 0.02, 0.97) * inside
    lesion_mask &= inside
    if config.laterality is Laterality.RIGHT:
        pixels, lesion_mask = pixels[:, ::-1], lesion_mask[:, ::-1]
    pixels = np.ascontiguousarray(pixels, np.float32)
    if config.label_text:
        _burn_in(pixels, config)
    return Phantom(pixels, np.ascontiguousarray(lesion_mask), config)


def _outline(config: PhantomConfig, breast: _Breast) -> tuple[Grey, tuple[float, float]]:
    """Reach of the breast from the chest wall in pixels, by row, and the nipple (x, y)."""
    y = np.arange(config.height) / config.height
    if config.view is View.CRANIO_CAUDAL:
        offset = np.abs(y - breast.centre) / breast.half_height
        reach = np.clip(1.0 - offset**2.2, 0.0, None) ** 0.62
        nipple_y = breast.centre
    else:
        knots = np.array(_MLO_OUTLINE)
        reach = np.interp(y, knots[:, 0], knots[:, 1])
        smooth = max(1, config.height // 14)
        padded = np.pad(reach, smooth, mode="edge")
        reach = np.convolve(padded, np.hanning(2 * smooth + 1) / smooth, mode="valid")
        nipple_y = 0.62
    depth = breast.depth * config.width
    return (reach * depth).astype(np.float32), (
        float(reach.max()) * depth,
        nipple_y * config.height,
    )


def _silhouette(
    config: PhantomConfig, reach: Grey, nipple: tuple[float, float]
) -> tuple[Mask, Grey]:
    """Mask of the breast, and each pixel's distance from the skin in pixels."""
    columns = np.arange(config.width, dtype=np.float32)
    inside = (columns < reach[:, None]).astype(np.uint8)
    axes = (max(2, round(0.022 * config.height)), max(2, round(0.018 * config.height)))
    cv2.ellipse(inside, (round(nipple[0]), round(nipple[1])), axes, 0, 0, 360, 1, -1)
    # The image's edge cuts the body there, so it is not skin.
    framed = np.pad(inside, 1, mode="edge")
    distance = cv2.distanceTransform(framed, cv2.DIST_L2, cv2.DIST_MASK_3)[1:-1, 1:-1]
    return inside.astype(np.bool_), np.asarray(distance, np.float32)


def _power_law_noise(shape: tuple[int, int], rng: np.random.Generator) -> Grey:
    """Noise float32 (H, W) of mean 0 and deviation 1 with a `POWER_LAW_EXPONENT` power spectrum."""
    height, width = (cv2.getOptimalDFTSize((side + 1) // 2) for side in shape)
    radius = np.hypot(np.fft.fftfreq(height)[:, None] * height, np.fft.rfftfreq(width) * width)
    amplitude = np.maximum(radius, 1.0) ** (-POWER_LAW_EXPONENT / 2)
    amplitude[0, 0] = 0.0
    amplitude[radius < 3] *= 0.5  # the longest waves would shade the whole breast
    spectrum = amplitude * np.fft.rfft2(rng.standard_normal((height, width), np.float32))
    noise = np.fft.irfft2(spectrum, (height, width)).astype(np.float32)
    noise /= noise.std()
    full = cv2.resize(noise, (2 * width, 2 * height), interpolation=cv2.INTER_CUBIC)
    return np.asarray(full, np.float32)[: shape[0], : shape[1]]


def _glands(
    config: PhantomConfig,
    breast: _Breast,
    nipple: tuple[float, float],
    rng: np.random.Generator,
) -> Grey:
    """Share of fibroglandular tissue, float32 (H, W) in about [0, 1.5]."""
    shape = (config.height, config.width)
    x = np.arange(config.width, dtype=np.float32)[None, :] / nipple[0]
    y = (np.arange(config.height, dtype=np.float32)[:, None] - nipple[1]) / config.height
    disc = np.exp(-(((x - 0.58) / 0.34) ** 2) - (y / (0.10 + 0.13 * breast.density)) ** 2)
    noise = _power_law_noise(shape, rng)
    parenchyma = 1.0 / (1.0 + np.exp(-2.5 * (noise + 2.2 * disc + 1.4 * breast.density - 2.0)))
    glands = parenchyma * (0.15 + 0.85 * disc) + 0.10 * noise * (0.4 + 0.6 * disc)
    return np.asarray(glands + 0.35 * _strands(config, nipple, rng), np.float32)


def _strands(config: PhantomConfig, nipple: tuple[float, float], rng: np.random.Generator) -> Grey:
    """Ducts and ligaments that fan out from the nipple, float32 (H, W) in [0, 1]."""
    canvas = np.zeros((config.height, config.width), np.uint8)
    steps = np.linspace(0.05, 1.0, 12)
    for _ in range(60):
        angle = rng.normal(0.0, 0.42)
        bend = np.cumsum(rng.normal(0.0, 0.05, steps.size))
        length = rng.uniform(0.35, 1.0) * nipple[0]
        x = nipple[0] - length * steps * np.cos(angle + bend)
        y = nipple[1] + length * steps * np.sin(angle + bend)
        points = np.stack([x, y], axis=1).round().astype(np.int32)
        brightness = int(rng.integers(60, 230))
        cv2.polylines(canvas, [points], False, brightness, 1, cv2.LINE_AA)
    blurred = cv2.GaussianBlur(canvas, (0, 0), max(0.6, config.height / 1024))
    return np.asarray(blurred / 255, np.float32)


def _with_pectoral_muscle(
    pixels: Grey, config: PhantomConfig, breast: _Breast, rng: np.random.Generator
) -> Grey:
    top = rng.uniform(0.30, 0.42) * breast.depth * config.width
    foot = rng.uniform(0.50, 0.66) * config.height
    bulge = 0.07 * config.width
    y = np.linspace(0.0, 1.0, 40)
    edge = np.stack([top * (1 - y) + bulge * np.sin(np.pi * y), foot * y], axis=1)
    canvas = np.zeros(pixels.shape, np.float32)
    corners = np.concatenate([[[0.0, 0.0]], edge])
    cv2.fillPoly(canvas, [corners.round().astype(np.int32)], 1.0)
    muscle = cv2.GaussianBlur(canvas, (0, 0), config.height / 250)
    fibres = breast.fat + 0.22 + 0.03 * _power_law_noise((config.height, config.width), rng)
    return np.asarray(pixels + muscle * np.maximum(fibres - pixels, 0.0), np.float32)


def _lesion_site(
    config: PhantomConfig, depth_from_skin: Grey, rng: np.random.Generator
) -> tuple[tuple[int, int], float]:
    """Centre (x, y) and radius of a lesion in pixels: in the breast, away from skin and muscle."""
    radius = rng.uniform(0.028, 0.045) * config.height
    allowed = depth_from_skin > 2.0 * radius
    allowed[:, : int(2.0 * radius)] = False
    if config.view is View.MEDIO_LATERAL_OBLIQUE:
        allowed[: int(0.45 * config.height)] = False
    if not allowed.any():  # for example a small breast in a narrow image
        allowed = depth_from_skin >= depth_from_skin.max()
    sites = np.flatnonzero(allowed)
    y, x = divmod(int(sites[rng.integers(sites.size)]), config.width)
    return (x, y), radius


def _mass(
    shape: tuple[int, ...], centre: tuple[int, int], radius: float, rng: np.random.Generator
) -> tuple[Grey, Mask]:
    """Brightness float32 (H, W) in [0, 1] of a mass, and its body as bool (H, W)."""
    angles = np.linspace(0.0, 2 * np.pi, 72, endpoint=False)
    lobes = sum(
        rng.uniform(0.03, 0.12) * np.cos(order * angles + rng.uniform(0, 2 * np.pi))
        for order in (2, 3, 5)
    )
    reach = radius * (1.0 + lobes)
    rim = np.stack([centre[0] + reach * np.cos(angles), centre[1] + reach * np.sin(angles)], axis=1)
    body = np.zeros(shape, np.uint8)
    cv2.fillPoly(body, [rim.round().astype(np.int32)], 1)
    lines = np.zeros(shape, np.float32)
    for angle in rng.uniform(0, 2 * np.pi, 16):
        length = radius * rng.uniform(1.4, 2.2)
        tip = (
            round(centre[0] + length * np.cos(angle)),
            round(centre[1] + length * np.sin(angle)),
        )
        cv2.line(lines, centre, tip, float(rng.uniform(0.25, 0.6)), 1, cv2.LINE_8)
    spicules = cv2.GaussianBlur(lines, (0, 0), max(0.6, radius / 28))
    core = cv2.GaussianBlur(body.astype(np.float32), (0, 0), 0.30 * radius)
    return np.maximum(core, spicules).astype(np.float32), body.astype(np.bool_)


def _calcifications(
    shape: tuple[int, ...], centre: tuple[int, int], radius: float, rng: np.random.Generator
) -> Grey:
    grains = np.zeros(shape, np.float32)
    for dx, dy in rng.normal(0.0, 0.5 * radius, (int(rng.integers(9, 18)), 2)):
        size = max(1, round(rng.uniform(0.03, 0.07) * radius))
        at = (round(centre[0] + dx), round(centre[1] + dy))
        cv2.circle(grains, at, size, float(rng.uniform(0.4, 0.8)), -1)
    return np.asarray(cv2.GaussianBlur(grains, (0, 0), 0.6), np.float32)


def _burn_in(pixels: Grey, config: PhantomConfig) -> None:
    """Write laterality and view into the upper corner away from the chest wall."""
    text = f"{config.laterality} {config.view}"
    scale = config.height / 1024
    font, weight = cv2.FONT_HERSHEY_SIMPLEX, max(1, round(2 * scale))
    (width, _), _ = cv2.getTextSize(text, font, scale, weight)
    margin = round(0.05 * config.width)
    left = margin if config.laterality is Laterality.RIGHT else config.width - margin - width
    text_layer = np.zeros(pixels.shape, np.uint8)
    at = (left, round(0.07 * config.height))
    cv2.putText(text_layer, text, at, font, scale, 255, weight)
    np.maximum(pixels, text_layer.astype(np.float32) / 255, out=pixels)


def write_phantoms(folder: Path, count: int, seed: int = 0) -> list[Path]:
    """Write `count` phantoms, alternating between 8-bit JPEG, 8-bit PNG and 16-bit PNG.

    Two views of each breast follow each other. Every second breast has a mass, which the file name
    states. Existing files of the same name are overwritten.

    Returns
    -------
    The written files, in order.

    Raises
    ------
    ConfigurationError
        If `count` is less than 1 or `seed` negative.
    StorageError
        If a file cannot be written; files written before it remain.
    """
    if count < 1:
        raise ConfigurationError(f"The number of phantoms is {count}; it must be at least 1.")
    paths = []
    for index in range(count):
        breast = index // 2
        config = PhantomConfig(
            seed=seed + breast,
            laterality=(Laterality.RIGHT, Laterality.LEFT)[breast // 2 % 2],
            view=(View.CRANIO_CAUDAL, View.MEDIO_LATERAL_OBLIQUE)[index % 2],
            mass=breast % 2 == 0,
            calcifications=breast % 4 == 2,
        )
        pixels = draw_phantom(config).pixels
        kind = "mass" if config.mass else "plain"
        stem = f"phantom_{index + 1:03d}_{config.laterality}_{config.view}_{kind}"
        if index % 3 == 0:
            path, data = folder / f"{stem}.jpg", _encode(_to_8_bit(pixels), "JPEG")
        elif index % 3 == 1:
            path, data = folder / f"{stem}.png", _encode(_to_8_bit(pixels), "PNG")
        else:
            path, data = (
                folder / f"{stem}_16bit.png",
                _encode((pixels * 65535).astype(np.uint16), "PNG"),
            )
        store(path, data)
        paths.append(path)
    return paths


_SPLITS: Final = ("train", "valid", "test", "train", "train")
"""Splits of consecutive patients of one kind, repeating."""


def write_phantom_dataset(
    folder: Path, *, patients: int = 12, seed: int = 0, metadata: bool = False
) -> list[Path]:
    """Write phantoms in the layout of the Kaggle data set, ``SPLIT/LABEL/FILE.jpg``.

    Each patient has two views of each breast, 640 x 640 RGB JPEG, stretched. Every patient is in
    one split only; train, valid and test have about 60, 20 and 20 % of the patients, and each has
    both labels. About two patients in three have a mass in one breast, which has label 1. The
    images of every sixth patient are inverted, as some machines export them.

    Parameters
    ----------
    patients
        Number of patients, at least 3.
    metadata
        Whether to write ``metadata.csv`` too, with the columns of the Kaggle data set's table.

    Returns
    -------
    The written images.

    Raises
    ------
    ConfigurationError
        If `patients` is less than 3 or `seed` negative.
    StorageError
        If a file cannot be written; files written before it remain.
    """
    if patients < 3:
        raise ConfigurationError(f"The number of patients is {patients}; it must be at least 3.")
    if seed < 0:
        raise ConfigurationError(f"The seed is {seed}; it must not be negative.")
    paths, rows = [], []
    splits = {positive: cycle(_SPLITS) for positive in (True, False)}
    for patient in range(patients):
        positive = patient < 3 or patient % 3 != 2
        split = next(splits[positive])
        for path, data, facts in _patient_images(seed, patient, split=split, positive=positive):
            store(folder / path, data)
            paths.append(folder / path)
            rows.append(facts)
    if metadata:
        table = io.StringIO(newline="")
        writer = csv.DictWriter(table, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        store(folder / "metadata.csv", table.getvalue().encode())
    return paths


def _patient_images(
    seed: int, patient: int, *, split: str, positive: bool
) -> Iterator[tuple[Path, bytes, dict[str, Any]]]:
    """Relative path, encoded image and metadata row of each image of a patient."""
    woman = 10_000 * seed + patient
    rng = np.random.default_rng([woman, 1])
    diseased = (Laterality.LEFT, Laterality.RIGHT)[int(rng.integers(2))] if positive else None
    age = round(float(np.clip(rng.normal(60 if positive else 55, 9), 35, 89)))
    inverted = patient % 6 == 1
    image_ids = iter(rng.choice(2_000_000_000, 4, replace=False).tolist())
    for laterality in Laterality:
        label = int(laterality is diseased)
        for view in (View.CRANIO_CAUDAL, View.MEDIO_LATERAL_OBLIQUE):
            config = PhantomConfig(woman, laterality, view, mass=bool(label))
            pixels = cv2.resize(
                draw_phantom(config).pixels,
                (DATASET_SIDE, DATASET_SIDE),
                interpolation=cv2.INTER_AREA,
            )
            grey = _to_8_bit(1 - pixels if inverted else pixels)
            data = _encode(np.repeat(grey[:, :, None], 3, axis=2), "JPEG")
            patient_id, image_id = str(90_000 + patient), str(next(image_ids))
            digest = hashlib.sha256(data).hexdigest()[:32]
            name = f"{patient_id}_{image_id}_png.rf.{digest}.jpg"
            yield (
                Path(split, str(label), name),
                data,
                {
                    "file": name,
                    "split": split,
                    "label": label,
                    "patient_id": patient_id,
                    "image_id": image_id,
                    "site_id": 2 if inverted else 1,
                    "machine_id": 29 if inverted else 49,
                    "laterality": laterality,
                    "view": view,
                    "age": f"{age}.0",
                    "implant": 0,
                    "density": "" if inverted else _breast(woman).acr_density,
                    "BIRADS": "",
                    "biopsy": label,
                    "invasive": label,
                    "difficult_negative_case": False,
                },
            )


def _to_8_bit(pixels: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    return np.asarray(np.clip(pixels * 255, 0, 255).round(), np.uint8)


def _encode(pixels: npt.NDArray[Any], image_format: str) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format=image_format, quality=92)
    return buffer.getvalue()


def store(path: Path, data: bytes) -> None:
    """Write a phantom's file atomically; raises `StorageError`."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as target:
            target.write_bytes(data)
    except OSError as err:
        raise StorageError(
            "The phantom cannot be written: no permission or no space left."
        ) from err
