#!/usr/bin/env bash
# Runs the image as a cluster would and says what held: `make test-container`.
#
# Docker where its engine answers, else podman with runc, as root. What cannot be tried on this
# machine is said.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

readonly python=$PWD/.venv/bin/python
# Megabytes that may be added to the base: with python:3.11-slim it makes 700.
readonly most_added_mb=570
readonly ready_within_s=300

fail() {
    echo "FAILED: $*" >&2
    exit 1
}
held() { echo "held: $*"; }

work=$(mktemp -d "${TMPDIR:-/tmp}/mammoscope-container.XXXXXX")
container=
finish() {
    local code=$?
    if [[ -n $container ]]; then
        ((code == 0)) || "$engine" logs "$container" 2>&1 | tail -n 20
        "$engine" rm --force "$container" >/dev/null 2>&1 || true
    fi
    rm -rf "$work"
    exit "$code"
}
trap finish EXIT

if docker info >/dev/null 2>&1; then
    engine=docker
else
    engine=podman
    printf '%s\n' '[engine]' 'runtime = "runc"' '[containers]' \
        'default_ulimits = ["nofile=8192:8192", "nproc=16384:16384"]' >"$work/containers.conf"
    export CONTAINERS_CONF=$work/containers.conf
fi
readonly engine

version=$(awk -F'"' '/^version = / { print $2; exit }' pyproject.toml)
base=$(awk -F= '/^ARG BASE=/ { print $2; exit }' Dockerfile)
readonly version base image=mammoscope:$version
inspect() { "$engine" image inspect --format "$2" "$1"; }

size_mb=$(($(inspect "$image" '{{.Size}}') / 1000000))
base_mb=$(($(inspect "$base" '{{.Size}}') / 1000000))
((size_mb - base_mb <= most_added_mb)) ||
    fail "the image adds $((size_mb - base_mb)) MB to its base, $most_added_mb are allowed"
held "$size_mb MB unpacked, of which the base has $base_mb"
[[ $(inspect "$image" '{{.Config.User}}') =~ ^[1-9][0-9]+:[1-9][0-9]+$ ]] || fail "the user is no number"
held "the user is $(inspect "$image" '{{.Config.User}}')"

port=$("$python" -c 'import socket; s = socket.create_server(("127.0.0.1", 0)); print(s.getsockname()[1])')
container=$("$engine" run --detach --network host --env "MAMMOSCOPE_BIND=127.0.0.1:$port" \
    --read-only --tmpfs /tmp:rw,noexec,nosuid,size=256m --user 10001:10001 --cap-drop ALL \
    --security-opt no-new-privileges --memory 3g --cpus 2 --pids-limit 256 "$image")
inside() { "$engine" exec "$container" python -c "$1"; }

healthy() {
    if [[ $engine == podman ]]; then
        podman healthcheck run "$container" >/dev/null 2>&1
    else
        [[ $(docker inspect --format '{{.State.Health.Status}}' "$container") == healthy ]]
    fi
}
SECONDS=0
until healthy; do
    ((SECONDS < ready_within_s)) || fail "HEALTHCHECK is not content after $ready_within_s s"
    sleep 1
done
held "HEALTHCHECK is content after $SECONDS s"
if [[ $engine == podman ]]; then echo "not tried: HEALTHCHECK's timer, which podman leaves to systemd"; fi

inside 'import os; raise SystemExit(os.getuid() != 10001)' || fail "it runs as another user"
if inside 'open("/app/written", "w")' 2>/dev/null; then fail "the root file system can be written to"; fi
held "the root file system is read-only"
inside 'status = open("/proc/1/status").read(); raise SystemExit("CapEff:\t0000000000000000" not in status)' ||
    fail "process 1 has capabilities"
held "no capabilities"
inside 'raise SystemExit(b"gunicorn" not in open("/proc/1/cmdline", "rb").read())' || fail "process 1 is not gunicorn"

"$python" -m mammoscope phantoms "$work/phantoms" --count 4 >/dev/null
"$python" -m mammoscope phantoms "$work/exam" --exams --count 1 --syntax jpeg-2000 >/dev/null
"$python" test.py "$work/phantoms" "$work/exam" --server "http://127.0.0.1:$port" ||
    fail "pictures were refused"
held "JPEG, PNG and DICOM are answered"

picture=$(find "$work/phantoms" -name '*.png' | head -n 1)
# One picture after another until nobody answers, so that SIGTERM comes during a request.
"$python" - "$port" "$picture" >"$work/answered" <<'PYTHON' &
import sys
import time
from pathlib import Path

import requests

picture = Path(sys.argv[2]).read_bytes()
while True:
    began = time.time()
    try:
        answer = requests.post(
            f"http://127.0.0.1:{sys.argv[1]}/predict",
            data=picture,
            headers={"Content-Type": "image/png"},
            timeout=60,
        )
    except requests.ConnectionError:
        break
    print(began, time.time(), answer.status_code, flush=True)
PYTHON
client=$!
sleep 3
"$engine" stop --time 45 "$container" >/dev/null
wait "$client"
# The one that the service was at when the signal came has its answer; what comes later is refused,
# and preStop keeps it from coming.
stopped=$("$engine" logs "$container" 2>&1 | sed -n 's/.*Handling signal: term.*"timestamp": "\([^"]*\)".*/\1/p')
awk -v at="$(date --date "$stopped" +%s.%N)" '$3 != 200 { exit 1 }
    $1 < at && at < $2 { met = 1 } END { exit !met }' "$work/answered" ||
    fail "the request in flight was not answered"
code=$("$engine" inspect --format '{{.State.ExitCode}}' "$container")
((code == 0)) || fail "the exit code after SIGTERM is $code"
held "SIGTERM: what is in flight is answered, exit code 0"
