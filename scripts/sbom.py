"""Add components to a CycloneDX file, or create one for an image, and validate it.

It runs with the Python of the audit tools.

Usage: python sbom.py SBOM.json < COMPONENTS.json             add to the file
       python sbom.py SBOM.json IMAGE < COMPONENTS.json       create the file for this image
"""

import json
import sys
from pathlib import Path
from typing import Any

PART_OF = "mammoscope:part-of"


def added(sbom: dict[str, Any], components: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the SBOM with the components, and with dependencies of packages on them."""
    depends = {each["ref"]: each for each in sbom.setdefault("dependencies", [])}
    packages = {each["name"].lower().replace("_", "-"): each for each in sbom["components"]}
    for each in components:
        owner = next(known["value"] for known in each["properties"] if known["name"] == PART_OF)
        if owner in packages:
            reference = packages[owner]["bom-ref"]
            entry = depends.setdefault(reference, {"ref": reference})
            entry["dependsOn"] = sorted({*entry.get("dependsOn", ()), each["bom-ref"]})
    return {
        **sbom,
        "components": [*sbom["components"], *components],
        "dependencies": [depends[reference] for reference in sorted(depends)],
    }


def of_image(name: str, components: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the SBOM of a container image."""
    image = {"type": "container", "bom-ref": name, "name": name}
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {"component": image},
        "components": components,
    }


def main(path: Path, image: str | None = None) -> int:
    """Write the file; return 1 if it is invalid."""
    # Installed only in the environment of the audit tools.
    from cyclonedx.schema import SchemaVersion
    from cyclonedx.validation.json import JsonStrictValidator

    components = json.load(sys.stdin)
    if image is None:
        sbom = added(json.loads(path.read_text(encoding="utf-8")), components)
    else:
        sbom = of_image(image, components)
    text = json.dumps(sbom, indent=2) + "\n"
    version = SchemaVersion.from_version(sbom["specVersion"])
    if (wrong := JsonStrictValidator(version).validate_str(text)) is not None:
        print(f"{path.name} is not valid CycloneDX: {wrong}", file=sys.stderr)
        return 1
    path.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), *sys.argv[2:]))
