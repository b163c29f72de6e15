#!/usr/bin/env bash
# What the serving image is made of: a list of parts, their licences, and known vulnerabilities.
#
# Usage: .ci/audit.sh FOLDER    writes sbom.cdx.json, licences.json, vulnerabilities.json into FOLDER
#
# Everything is taken from Pipfile.lock's category for serving. Does all of it, then ends with 1 where
# a licence is GPL or not known, or a vulnerability is known; else with 3 where that could not be
# looked up, as without a network.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

readonly folder=${1:?"Usage: .ci/audit.sh FOLDER"}
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
echo "Parts (CycloneDX): $folder/sbom.cdx.json"

mapfile -t packages < <(.venv/bin/python -c \
    "import json; print(*json.load(open('Pipfile.lock'))['default'], sep='\n')")
"$bin/pip-licenses" --python .venv/bin/python --from mixed --format json \
    --packages "${packages[@]}" >"$folder/licences.json"
licences=0
.venv/bin/python .ci/licences.py "$folder/licences.json" Pipfile.lock || licences=$?

locked=$(mktemp)
trap 'rm -f "$locked" "$locked.log"' EXIT
.pipenv/bin/pipenv requirements --hash --categories packages >"$locked" 2>/dev/null
audited=0
"$bin/pip-audit" --format json --require-hashes --disable-pip --progress-spinner off \
    --requirement "$locked" >"$folder/vulnerabilities.json" 2>"$locked.log" || audited=$?
vulnerabilities=0
if ((audited > 1)) || [[ ! -s $folder/vulnerabilities.json ]]; then
    tail -n 3 "$locked.log" >&2
    echo "Vulnerabilities NOT LOOKED UP: pip-audit failed on this machine."
    vulnerabilities=3
else
    .venv/bin/python .ci/vulnerabilities.py "$folder/vulnerabilities.json" || vulnerabilities=$?
fi
((licences == 0)) || exit "$licences"
exit "$vulnerabilities"
