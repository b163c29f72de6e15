#!/usr/bin/env bash
# Audit the packages of the serving image: components, licences and known vulnerabilities.
#
# Usage: scripts/audit.sh FOLDER    write sbom.cdx.json, licences.json and vulnerabilities.json to FOLDER
#
# The packages are those that Pipfile.lock lists for serving. All three steps run; then the exit code
# is 1 if a licence is GPL or unknown or a vulnerability is known, or 3 if vulnerabilities could not
# be looked up, for example without a network.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

readonly folder=${1:?"Usage: scripts/audit.sh FOLDER"}
readonly tools=(pip-audit==2.10.1 cyclonedx-bom==7.5.0 pip-licenses==5.5.5)
readonly bin=.audit/bin

if [[ ! -f .audit/.installed || $(<.audit/.installed) != "${tools[*]}" ]]; then
    "${PYTHON:-python3}" -m venv .audit
    "$bin/python" -m pip install --quiet --disable-pip-version-check "${tools[@]}"
    echo "${tools[*]}" >.audit/.installed
fi
mkdir -p "$folder"

"$bin/cyclonedx-py" pipenv --categories packages --pyproject pyproject.toml \
    --output-reproducible --output-file "$folder/sbom.cdx.json" . 2>/dev/null
echo "Components (CycloneDX): $folder/sbom.cdx.json"

mapfile -t packages < <(.venv/bin/python -c \
    "import json; print(*json.load(open('Pipfile.lock'))['default'], sep='\n')")
"$bin/pip-licenses" --python .venv/bin/python --from mixed --format json \
    --packages "${packages[@]}" >"$folder/licences.json"
licences=0
.venv/bin/python scripts/licences.py "$folder/licences.json" Pipfile.lock || licences=$?

locked=$(mktemp)
trap 'rm -f "$locked" "$locked.log"' EXIT
.pipenv/bin/pipenv requirements --hash --categories packages >"$locked" 2>/dev/null
audited=0
"$bin/pip-audit" --format json --require-hashes --disable-pip --progress-spinner off \
    --requirement "$locked" >"$folder/vulnerabilities.json" 2>"$locked.log" || audited=$?
vulnerabilities=0
if ((audited > 1)) || [[ ! -s $folder/vulnerabilities.json ]]; then
    tail -n 3 "$locked.log" >&2
    echo "NOT DONE: vulnerability lookup; pip-audit failed on this machine."
    vulnerabilities=3
else
    .venv/bin/python scripts/vulnerabilities.py "$folder/vulnerabilities.json" || vulnerabilities=$?
fi
((licences == 0)) || exit "$licences"
exit "$vulnerabilities"
