"""Remove from the environment of the image what the service never loads.

Run by the interpreter of that environment, at build. `.ci/try_image.py` proves afterwards that
nothing needed is gone.
"""

import re
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Final

CONVERSION: Final = (
    "keras", "keras-image-helper",
    "absl-py", "h5py", "markdown-it-py", "mdurl", "ml-dtypes", "namex", "optree", "pygments",
    "rich", "scipy",
)  # fmt: skip
"""Keras, and what only Keras needs: the network of the image is compiled."""

INSTALLERS: Final = ("setuptools", "pip")

UNUSED: Final = (
    # The service runs on the CPU, and reads only .keras files and OpenVINO's own format.
    "openvino/libs/libopenvino_intel_gpu_plugin.so*",
    "openvino/libs/libopenvino_intel_npu_plugin.so*",
    "openvino/libs/cache.json",
    "openvino/libs/libopenvino_gguf_frontend.so*",
    "openvino/libs/libopenvino_jax_frontend.so*",
    "openvino/libs/libopenvino_onnx_frontend.so*",
    "openvino/libs/libopenvino_paddle_frontend.so*",
    "openvino/libs/libopenvino_pytorch_frontend.so*",
    "openvino/libs/libopenvino_tensorflow_lite_frontend.so*",
    "openvino/include",
    "openvino/libs/libopenvino_tensorflow_frontend.so*",
    # Tests of other projects.
    "numpy/**/tests",
    # Headers and stubs are for compilers and type checkers.
    "numpy/_core/include",
    "numpy/_core/lib/*.a",
    "cv2/**/*.pyi",
    "numpy/**/*.pyi",
    # For AVIF, which the reader refuses.
    "PIL/_avif.*.so",
    "pillow.libs/libavif-*",
    # Codecs that no DICOM transfer syntax uses, and libraries that only these codecs need.
    *(
        f"imagecodecs/_{codec}.*.so"
        for codec in (
            "apng", "avif", "bcn", "bitshuffle", "blosc", "blosc2", "bmp", "brotli", "ccitt",
            "gif", "h5checksum", "jpegxl", "jpegxr", "lerc", "lz4", "lz4f", "lzf", "lzfse", "lzham",
            "lzma", "lzo", "meshopt", "pcodec", "pglz", "pixarlog", "qoi", "quantize", "rcomp",
            "rgbe", "snappy", "sperr", "spng", "sz3", "szip", "tiff", "ultrahdr", "webp", "zfp",
            "zlibng", "zopfli", "zstd",
        )
    ),
    *(
        f"imagecodecs.libs/{library}-*"
        for library in (
            "libLerc", "libSZ3c", "libaec", "libaom", "libavif", "libblosc2", "libcpcodec",
            "libjxl", "libzstd",
        )
    ),
)  # fmt: skip
"""Below site-packages; patterns that find nothing are errors, so that none outlives its package."""


def installed() -> set[str]:
    """Names of the packages that are there, as indexes compare them."""
    return {normalised(each.name) for each in metadata.distributions()}


def normalised(name: str) -> str:
    """Name of a package as indexes compare it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def uninstall() -> list[str]:
    """Uninstall whole packages; what is wrong with that."""
    gone = {*CONVERSION, *INSTALLERS}
    wrong = [f"{name} is not there" for name in sorted(gone - installed())]
    present = sorted(gone & installed(), key=INSTALLERS.__contains__)  # pip at the end
    subprocess.run(
        [sys.executable, "-m", "pip", "uninstall", "--quiet", "--yes", *present], check=True
    )
    for each in metadata.distributions():
        # "name>=1; marker": requirements with a marker for an extra are not needed.
        needs = {
            re.split(r"[^\w.-]", need)[0] for need in each.requires or () if "extra ==" not in need
        }
        wrong += [
            f"{each.name} needs {name}" for name in sorted(gone & set(map(normalised, needs)))
        ]
    return wrong


def delete() -> tuple[int, list[str]]:
    """Delete the files of `UNUSED`; bytes, and the patterns that found nothing."""
    places = sorted({Path(sysconfig.get_path(kind)) for kind in ("purelib", "platlib")})
    removed = 0
    idle = []
    for pattern in UNUSED:
        paths = [path for place in places for path in place.glob(pattern)]
        if not paths:
            idle.append(f"nothing matches {pattern}")
        for path in paths:
            removed += size(path)
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink()
    return removed, idle


def size(path: Path) -> int:
    """Bytes of a file, or of all files below a folder."""
    files: Iterator[Path] = path.rglob("*") if path.is_dir() else iter((path,))
    return sum(each.lstat().st_size for each in files if each.is_file())


def main() -> int:
    """Remove, and say how much; 1 if something named here is not there, or still needed."""
    environment = Path(sys.prefix)
    before = size(environment)
    removed, idle = delete()
    wrong = [*idle, *uninstall()]
    left = size(environment)
    print(f"Serving environment as installed: {before / 1e6:.0f} MB.")
    print(f"Removed: {(before - removed - left) / 1e6:.0f} MB of packages that only Keras needs,")
    print(f"and {removed / 1e6:.0f} MB of other packages' unused files. Left: {left / 1e6:.0f} MB.")
    print("\n".join(wrong))
    return int(bool(wrong))


if __name__ == "__main__":
    raise SystemExit(main())
