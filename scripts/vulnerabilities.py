"""Print the result of pip-audit.

Exit codes: 0 no known vulnerability, 1 a known vulnerability, 3 incomplete lookup.

Usage: python scripts/vulnerabilities.py VULNERABILITIES.json
"""

import json
import sys
from pathlib import Path
from typing import Final

NOT_LOOKED_UP: Final = 3


def main(found: Path) -> int:
    """Print the vulnerabilities, then the packages that could not be looked up."""
    packages = json.loads(found.read_text("utf-8"))["dependencies"]
    skipped = [each["name"] for each in packages if "skip_reason" in each]
    known = [
        f"{each['name']} {each['version']}: {vulnerability['id']}, fixed in "
        f"{', '.join(vulnerability['fix_versions']) or 'no release yet'}"
        for each in packages
        for vulnerability in each.get("vulns", [])
    ]
    looked_up = len(packages) - len(skipped)
    if looked_up:
        print(f"Vulnerabilities: {len(known) or 'none'} known in {looked_up} packages")
    print("".join(f"  {line}\n" for line in known), end="")
    if skipped:
        # A package that was not looked up may be vulnerable, so the audit fails.
        which = ", ".join(skipped) if looked_up else f"all {len(packages)} packages"
        print(f"NOT DONE: the index of this machine has no vulnerability data for {which}.")
    if known:
        return 1
    return NOT_LOOKED_UP if skipped else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
