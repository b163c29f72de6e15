#!/usr/bin/env bash
# Audit the packages of the serving image: components, licences and known vulnerabilities.
#
# Usage: scripts/audit.sh FOLDER [IMAGE]
#
# Writes sbom.cdx.json, licences.json and vulnerabilities.json to FOLDER. With a container image, also
# writes image.cdx.json with all contents of the image: Python and Debian packages, and the C
# libraries in Python packages. The packages are those that Pipfile.lock lists for serving. All steps run; then
# the exit code is 1 if a licence is GPL or unknown or a vulnerability is known, or 3 if
# vulnerabilities could not be looked up, for example without a network.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

readonly folder=${1:?"Usage: scripts/audit.sh FOLDER [IMAGE]"} image=${2:-}
readonly bin=.audit/bin

# shellcheck source=.ci/engine.sh
source .ci/engine.sh

.ci/tools.sh audit .audit
.ci/tools.sh pipenv .pipenv
mkdir -p "$folder"

"$bin/cyclonedx-py" pipenv --categories packages --pyproject pyproject.toml \
    --output-reproducible --output-file "$folder/sbom.cdx.json" . 2>/dev/null
mapfile -t packages < <(.venv/bin/python -c \
    "import json; print(*json.load(open('Pipfile.lock'))['default'], sep='\n')")
.venv/bin/python scripts/components.py "${packages[@]}" |
    "$bin/python" scripts/sbom.py "$folder/sbom.cdx.json"
echo "Components (CycloneDX): $folder/sbom.cdx.json"
if [[ -n $image ]]; then
    "$engine" run --rm --interactive --network none --no-healthcheck "${confined[@]}" --entrypoint python \
        "$image" -I - --system <scripts/components.py >"$work/components"
    "$bin/python" scripts/sbom.py "$folder/image.cdx.json" "$image" <"$work/components"
    echo "Components of the image $image: $folder/image.cdx.json"
fi

"$bin/pip-licenses" --python .venv/bin/python --from mixed --format json \
    --packages "${packages[@]}" >"$folder/licences.json"
licences=0
.venv/bin/python scripts/licences.py "$folder/licences.json" Pipfile.lock || licences=$?

locked=$work/locked
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
