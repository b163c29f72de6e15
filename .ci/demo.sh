#!/usr/bin/env bash
# Shows the service at work: starts it, has it classify phantoms over HTTP, and stops it.
#
# Usage: [DEMO_PORT=9696] [DEMO_COUNT=6] .ci/demo.sh
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

readonly root=$PWD
readonly python=$root/.venv/bin/python
readonly count=${DEMO_COUNT:-6}
readonly ready_within_s=120

work=$(mktemp -d "${TMPDIR:-/tmp}/mammoscope-demo.XXXXXX")
service=
finish() {
    local code=$?
    trap - EXIT INT TERM
    if [[ -n $service ]]; then
        kill -TERM "$service" 2>/dev/null || true
        wait "$service" 2>/dev/null || true
    fi
    if ((code != 0 && code != 130 && code != 143)); then
        printf '\nThe demonstration failed.\n' >&2
        if [[ -s $work/service.log ]]; then
            echo "What the service logged:" >&2
            cat "$work/service.log" >&2
        fi
    fi
    rm -rf "$work"
    exit "$code"
}
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# The port asked for, else 9696, else any that is free.
port=$(
    "$python" - "${DEMO_PORT:-}" <<'PYTHON'
import socket
import sys

for port in [int(sys.argv[1])] if sys.argv[1] else [9696, 0]:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            continue
        print(probe.getsockname()[1])
        break
else:
    sys.exit(f"Port {sys.argv[1]} is taken; name another with DEMO_PORT=...")
PYTHON
)
readonly server=http://127.0.0.1:$port

echo "Starting the service on $server"
MAMMOSCOPE_BIND=127.0.0.1:$port \
    .venv/bin/gunicorn predict:app --config gunicorn.conf.py >"$work/service.log" 2>&1 &
service=$!

# 0: ready; 1: not yet; 2: never, with the service's reason on stderr.
ask_whether_ready() {
    "$python" - "$server/readyz" <<'PYTHON'
import json
import sys
from urllib.error import HTTPError
from urllib.request import ProxyHandler, build_opener

try:
    build_opener(ProxyHandler({})).open(sys.argv[1], timeout=5).close()
except HTTPError as error:
    problem = json.load(error)
    if problem.get("code") != "not_ready":
        print(problem.get("detail", problem), file=sys.stderr)
        sys.exit(2)
    sys.exit(1)
except OSError:
    sys.exit(1)
PYTHON
}
deadline=$((SECONDS + ready_within_s))
until ask_whether_ready; do
    (($? == 1)) || exit 1
    kill -0 "$service" 2>/dev/null || exit 1
    ((SECONDS < deadline)) || { echo "Not ready within $ready_within_s s." >&2; exit 1; }
    sleep 0.3
done

echo "Drawing $count phantoms (synthetic mammograms: no patient's picture)"
"$python" -m mammoscope phantoms "$work/phantoms" --count "$count" >/dev/null

printf '\n$ python test.py phantoms --server %s\n' "$server"
(cd "$work" && "$python" "$root/test.py" phantoms --server "$server")

echo
echo "Drawing an examination: four views of one woman as DICOM objects"
"$python" -m mammoscope phantoms "$work/exam" --studies --count 1 --syntax jpeg-2000 >/dev/null

printf '\n$ python test.py --study exam --server %s\n' "$server"
(cd "$work" && "$python" "$root/test.py" --study exam --server "$server")

cat <<TEXT

The service answered at $server while this ran:
  POST $server/predict   a picture as form field "file", or JSON {"url": "http..."}
  POST $server/studies   an examination: several pictures, each as form field "file"
  GET  $server/          the page
  GET  $server/healthz   is the process alive
  GET  $server/readyz    is the model loaded
It is stopped now. "make serve" starts it on port 9696 to stay.
TEXT
