#!/usr/bin/env bash
# Installs tools that are not in Pipfile.lock into an environment; does nothing if they are installed.
# pip refuses every file whose hash is not in .ci/requirements.
#
# Usage: PYTHON=python3 .ci/tools.sh NAME FOLDER    (pipenv, audit, checkov, moto: see .ci/requirements)
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

readonly usage="Usage: .ci/tools.sh NAME FOLDER"
readonly requirements=.ci/requirements/${1:?"$usage"}.txt folder=${2:?"$usage"}
readonly python=${PYTHON:-python3}

lock_hash=$(cksum <"$requirements")
if [[ -f $folder/.installed && $(<"$folder/.installed") == "$lock_hash" ]]; then exit 0; fi
# venv fails without Debian's python3-venv; its own message names the package.
"$python" -m venv --clear "$folder" || {
    echo "mammoscope: $python cannot make a virtual environment in $folder." >&2
    exit 1
}
"$folder/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes \
    --requirement "$requirements"
echo "$lock_hash" >"$folder/.installed"
