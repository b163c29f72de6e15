"""Show what pip-audit found; 1 if a vulnerability is known, or a package could not be looked up.

Usage: python .ci/vulnerabilities.py VULNERABILITIES.json
"""

import json
import sys
from pathlib import Path


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
    print(
        f"Vulnerabilities: {len(known) or 'none'} known of {len(packages) - len(skipped)} packages"
    )
    print("".join(f"  {line}\n" for line in known), end="")
    if skipped:
        # Silence is not safety: what was not looked up fails.
        print(f"Not looked up, as the index does not tell: {', '.join(skipped)}")
    return int(bool(known or skipped))


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
