"""Images to send: a phantom in many encodings, and images that are not mammograms."""

import io
import struct
import zlib
from typing import Any, Final

import numpy as np
from PIL import Image

from mammoscope.phantoms.drawing import PhantomConfig, draw_phantom

PIXELS: Final = draw_phantom(PhantomConfig(seed=3, height=256, width=208)).pixels
GREY: Final = Image.fromarray(np.rint(PIXELS * 255).astype(np.uint8))
DEEP: Final = Image.fromarray(np.rint(PIXELS * 65535).astype(np.uint16))


def encode(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    """Return `image` in a format that Pillow writes."""
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


IMAGE: Final = encode(GREY)
JPEG: Final = encode(GREY, "JPEG", quality=95)


def chunk(kind: bytes, body: bytes) -> bytes:
    """Return a chunk of a PNG."""
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def with_chunk(kind: bytes, body: bytes) -> bytes:
    """Return the phantom's PNG with another chunk before its pixels."""
    place = IMAGE.index(b"IDAT") - 4
    return IMAGE[:place] + chunk(kind, body) + IMAGE[place:]


def zeros(count: int) -> bytes:
    """Return `count` deflated zeros without storing them uncompressed."""
    packer = zlib.compressobj(9)
    block = bytes(1_000_000)
    parts = [packer.compress(block) for _ in range(count // len(block))]
    return b"".join((*parts, packer.compress(bytes(count % len(block))), packer.flush()))


def bomb(width: int, height: int, rows: int) -> bytes:
    """Return a valid PNG of one grey, a thousandth of its pixels in size."""
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    pixels = zeros((width + 1) * rows)
    chunks = chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunks
