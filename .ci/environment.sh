#!/usr/bin/env bash
# Installs the given categories of Pipfile.lock into .venv; does nothing if they are installed.
#
# Usage: PYTHON=python3 .ci/environment.sh CATEGORY...
#   (packages, tracing, archive, training, distributed, bulk, dev-packages)
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

readonly python=${PYTHON:-python3}

fail() {
    printf 'mammoscope: %s\n' "$*" >&2
    exit 1
}

is_supported() {
    "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null
}

if [[ ! -x .venv/bin/python ]]; then
    command -v "$python" >/dev/null || fail "$python not found; name an interpreter with PYTHON=..."
    is_supported "$python" || fail "Python 3.11 or newer is required; $python is" \
        "$("$python" --version 2>&1). Name another with PYTHON=..."
fi

# One stamp per category: the lock from which it was installed.
lock_hash=$(cksum <Pipfile.lock)
readonly lock_hash
missing=()
for category in "$@"; do
    stamp=.venv/.installed-$category
    [[ -f $stamp && $(<"$stamp") == "$lock_hash" ]] || missing+=("$category")
done
((${#missing[@]})) || exit 0

if [[ -x .venv/bin/python ]]; then
    is_supported .venv/bin/python || fail "The environment in .venv is broken or older than" \
        "Python 3.11; remove the folder and try again."
else
    # venv fails without Debian's python3-venv; its own message names the package.
    "$python" -m venv .venv || fail "$python cannot make a virtual environment in .venv."
fi
if [[ " ${missing[*]} " == *" training "* ]]; then
    # TensorFlow has no release for Python 3.14; the service does not need it.
    .venv/bin/python -c 'import sys; sys.exit(sys.version_info >= (3, 14))' ||
        fail "Training and the tests need TensorFlow, which needs Python 3.11 to 3.13; remove .venv" \
            "and name such an interpreter with PYTHON=..."
fi

# pipenv has a separate environment, so that its dependencies do not mix with the project's.
.ci/tools.sh pipenv .pipenv
echo "Installing into .venv: ${missing[*]}"
PIPENV_IGNORE_VIRTUALENVS=1 PIPENV_VENV_IN_PROJECT=1 PIPENV_PIPFILE="$PWD/Pipfile" \
    PIPENV_NOSPIN=1 .pipenv/bin/pipenv sync --categories "${missing[*]}"
for category in "${missing[@]}"; do
    echo "$lock_hash" >".venv/.installed-$category"
done
