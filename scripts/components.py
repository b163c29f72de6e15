"""List non-Python components of Python packages: C libraries in their wheels, or linked into them.

A package index does not list these. This script takes them from

- the lists in wheels (``*.dist-info/sboms``, PEP 770);
- the shared libraries among a package's files, with their SHA-256;
- what imagecodecs, OpenCV, NumPy, SciPy and h5py report about the libraries they are linked with.

With ``--system``, the packages, the interpreter and the Debian packages are listed, too: everything
in an image. The script needs no packages besides the listed ones, so an image can run it from
standard input.

Usage: python components.py PACKAGE ... | --system    prints CycloneDX components, a JSON list
"""

import hashlib
import json
import platform
import re
import sys
from collections.abc import Callable, Iterator
from importlib import import_module, metadata
from pathlib import Path
from typing import Any
from urllib.parse import quote

Component = dict[str, Any]

SHARED = re.compile(r"(?P<name>lib[^/]*?)(?:-[0-9a-f]{8})*\.so(?:\.[0-9.]+)?")
"""Name of a shared library; auditwheel adds eight hexadecimal digits to it, once or twice."""

STATUS = Path("/var/lib/dpkg/status")
RELEASE = Path("/etc/os-release")


def normalised(name: str) -> str:
    """Return a package name in the form that indexes compare."""
    return re.sub(r"[-_.]+", "-", name).lower()


def component(owner: str, name: str, version: str | None, kind: str = "generic") -> Component:
    """Return the component for a library in the package `owner`."""
    at = f"@{quote(version, safe='')}" if version else ""
    made: Component = {
        "type": "library",
        "bom-ref": f"{owner}/{name}{at}",
        "name": name,
        "purl": f"pkg:{kind}/{quote(name, safe='/')}{at}",
        "properties": [{"name": "mammoscope:part-of", "value": owner}],
    }
    return made | {"version": version} if version else made


def carried(owner: str, package: metadata.Distribution) -> Iterator[Component]:
    """Components in the lists of a wheel."""
    for file in package.files or ():
        if file.parent.name != "sboms" or file.suffix != ".json":
            continue
        for each in json.loads(file.read_text()).get("components", ()):
            if normalised(each["name"]) != owner:
                listed = component(owner, each["name"], each.get("version"))
                taken = ("group", "purl", "cpe", "licenses", "hashes")
                yield listed | {key: each[key] for key in taken if key in each}


def shared(owner: str, package: metadata.Distribution) -> Iterator[Component]:
    """Shared libraries among a package's files."""
    for file in package.files or ():
        found = SHARED.fullmatch(file.name)
        path = Path(str(package.locate_file(file)))
        if found and path.is_file():
            listed = component(owner, found["name"], None)
            del listed["purl"]  # the file does not contain its version
            listed["bom-ref"] = f"{owner}/{file}"
            listed["properties"].append({"name": "mammoscope:file", "value": str(file)})
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
            yield listed | {"hashes": [{"alg": "SHA-256", "content": digest}]}


def of_imagecodecs() -> dict[str, str | None]:
    """Libraries of the installed codecs."""
    own = {"imagecodecs", "cython", "numpy", "numpy_abi"}
    told = import_module("imagecodecs").version(dict)
    return {
        name: None if version == "unknown" else version.partition("/")[0]
        for name, version in told.items()
        if name not in own and version != "n/a"
    }


def of_opencv() -> dict[str, str | None]:
    """Libraries in OpenCV's build information."""
    names = {
        "ZLib": "zlib", "JPEG": "libjpeg-turbo", "WEBP": "libwebp", "AVIF": "libavif",
        "PNG": "libpng", "TIFF": "libtiff", "JPEG 2000": "libopenjp2", "avcodec": "libavcodec",
        "avformat": "libavformat", "avutil": "libavutil", "swscale": "libswscale",
        "Intel IPP": "ippicv", "Protobuf": "libprotobuf", "Flatbuffers": "flatbuffers",
    }  # fmt: skip
    account = import_module("cv2").getBuildInformation()
    linked = re.search(r"3rdparty dependencies: *(.*)", account)
    found: dict[str, str | None] = dict.fromkeys(linked[1].split() if linked else ())
    for title, told in re.findall(r"^ +([A-Za-z0-9 ]+): +(.*)$", account, re.MULTILINE):
        version = re.search(r"\d+(?:\.\d+)+", told.rpartition("(")[2]) or re.search(
            r"\d+(?:\.\d+)+", told
        )
        if title in names and (version or names[title] in found):
            found[names[title]] = version[0] if version else None
    return found


def of_blas(package: str) -> dict[str, str | None]:
    """OpenBLAS, from the build information of NumPy or SciPy."""
    blas = import_module(f"{package}.__config__").CONFIG["Build Dependencies"]["blas"]
    return {blas["name"]: blas["version"]}


TOLD: dict[str, Callable[[], dict[str, str | None]]] = {
    "imagecodecs": of_imagecodecs,
    "opencv-python-headless": of_opencv,
    "numpy": lambda: of_blas("numpy"),
    "scipy": lambda: of_blas("scipy"),
    "simplejpeg": lambda: {"libjpeg-turbo": None},  # does not report its version
    "h5py": lambda: {"hdf5": import_module("h5py").version.hdf5_version},
}
"""Packages that report the libraries they are linked with."""


def debian() -> Iterator[Component]:
    """Debian packages of this machine."""
    release = dict(re.findall(r'^(\w+)="?([^"\n]*)"?$', RELEASE.read_text(), re.MULTILINE))
    distribution = f"{release['ID']}-{release['VERSION_ID']}"
    for entry in STATUS.read_text().split("\n\n"):
        facts = dict(re.findall(r"^([A-Z][\w-]*): (.*)$", entry, re.MULTILINE))
        if facts.get("Status", "").endswith(" installed"):
            listed = component(
                release["ID"], f"{release['ID']}/{facts['Package']}", facts["Version"], "deb"
            )
            listed["name"] = facts["Package"]
            listed["purl"] += f"?arch={facts['Architecture']}&distro={distribution}"
            yield listed


def interpreter() -> Iterator[Component]:
    """CPython, and the libraries in its source."""
    yield component("system", "cpython", platform.python_version())
    expat = import_module("pyexpat").EXPAT_VERSION.removeprefix("expat_")
    yield component("cpython", "expat", expat)


def components(names: set[str] | None) -> list[Component]:
    """Return the components of the named packages; None means all packages."""
    found: list[Component] = []
    for package in metadata.distributions():
        owner = normalised(package.name)
        if names is not None and owner not in names:
            continue
        if names is None:
            found.append(component("python", owner, package.version, "pypi"))
        found += [*carried(owner, package), *shared(owner, package)]
        for name, version in TOLD.get(owner, dict)().items():
            found.append(component(owner, name, version))
    if names is None:
        found += [*interpreter(), *(debian() if STATUS.is_file() else ())]
    once = {each["bom-ref"]: each for each in reversed(found)}
    return [once[name] for name in sorted(once)]


if __name__ == "__main__":
    wanted = {normalised(each) for each in sys.argv[1:]}
    json.dump(
        components(None if wanted == {normalised("--system")} else wanted), sys.stdout, indent=1
    )
