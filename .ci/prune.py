"""Remove from the environment of the image what the service never loads.

Run by the interpreter of that environment, at build. `.ci/try_image.py` proves afterwards that
nothing needed is gone.
"""

import shutil
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from typing import Final

UNUSED: Final = (
    # The service computes on the processor; the .keras and OpenVINO's own format are all it reads.
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
    # Tests of other projects.
    "h5py/tests",
    "keras/**/*_test.py",
    "numpy/**/tests",
    "scipy/**/tests",
    # Headers and stubs are for compilers and type checkers.
    "numpy/_core/include",
    "numpy/_core/lib/*.a",
    "cv2/**/*.pyi",
    "numpy/**/*.pyi",
    # AVIF, which the reader does not allow.
    "PIL/_avif.*.so",
    "pillow.libs/libavif-*",
    # Codecs that no transfer syntax of DICOM uses, and libraries that only they link.
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


def found(pattern: str, places: list[Path]) -> Iterator[Path]:
    """Files and folders that `pattern` names."""
    for place in places:
        yield from place.glob(pattern)


def main() -> int:
    """Remove, and say how much; 1 if a pattern found nothing."""
    places = sorted({Path(sysconfig.get_path(kind)) for kind in ("purelib", "platlib")})
    removed = 0
    idle = []
    for pattern in UNUSED:
        paths = list(found(pattern, places))
        if not paths:
            idle.append(pattern)
        for path in paths:
            files = (
                [each for each in path.rglob("*") if each.is_file()] if path.is_dir() else [path]
            )
            removed += sum(each.stat().st_size for each in files)
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink()
    print(f"Removed {removed / 1e6:.0f} MB that the service never loads.")
    if idle:
        print("Nothing matches: " + ", ".join(idle))
    return int(bool(idle))


if __name__ == "__main__":
    raise SystemExit(main())
