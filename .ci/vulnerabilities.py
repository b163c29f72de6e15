"""Show what pip-audit found.

Exit codes: 0 nothing is known, 1 a vulnerability is known, 3 packages could not be looked up.

Usage: python .ci/vulnerabilities.py VULNERABILITIES.json
"""

import json
import sys
from pathlib import Path
from typing import Final

NOT_LOOKED_UP: Final = 3


def main(found: Path) -> int:
    """Print the vulnerabilities, then the packages about which nothing could be learnt."""
    packages = json.loads(found.read_text("utf-8"))["dependencies"]
    skipped = [each["name"] for each in packages if "skip_reason" in each]
    known = [
        f"{each['name']} {each['version']}: {vulnerability['id']}, mended in "
        f"{', '.join(vulnerability['fix_versions']) or 'no release yet'}"
        for each in packages
        for vulnerability in each.get("vulns", [])
    ]
    looked_up = len(packages) - len(skipped)
    if looked_up:
        print(f"Vulnerabilities: {len(known) or 'none'} known of {looked_up} packages")
    print("".join(f"  {line}\n" for line in known), end="")
    if skipped:
        # Silence is not safety: what was not looked up fails.
        which = ", ".join(skipped) if looked_up else f"not one of {len(packages)} packages"
        print(f"Vulnerabilities NOT LOOKED UP, as the index of this machine does not tell: {which}")
    if known:
        return 1
    return NOT_LOOKED_UP if skipped else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
