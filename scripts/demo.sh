#!/usr/bin/env bash
# Starts the service, sends it phantoms over HTTP, and stops it.
#
# Usage: [DEMO_PORT=9696] [DEMO_COUNT=6] scripts/demo.sh
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
        printf '\nThe demo failed.\n' >&2
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

# The requested port; by default 9696, or a free port if 9696 is in use.
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
    sys.exit(f"Port {sys.argv[1]} is taken. Choose another with DEMO_PORT=PORT.")
PYTHON
)
readonly server=http://127.0.0.1:$port

echo "Starting the service on $server"
MAMMOSCOPE_BIND=127.0.0.1:$port \
    .venv/bin/gunicorn predict:app --config gunicorn.conf.py >"$work/service.log" 2>&1 &
service=$!

# 0: ready; 1: not yet; 2: it failed, with the reason on stderr.
check_ready() {
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
until check_ready; do
    (($? == 1)) || exit 1
    kill -0 "$service" 2>/dev/null || exit 1
    ((SECONDS < deadline)) || { echo "The service was not ready within $ready_within_s s." >&2; exit 1; }
    sleep 0.3
done

echo "Drawing $count phantoms (synthetic mammograms, no patient data)"
"$python" -m mammoscope phantoms "$work/phantoms" --count "$count" >/dev/null

printf '\n$ python test.py phantoms --server %s\n' "$server"
(cd "$work" && "$python" "$root/test.py" phantoms --server "$server")

echo
echo "Drawing a study: four views of one woman as DICOM files"
"$python" -m mammoscope phantoms "$work/study" --studies --count 1 --syntax jpeg-2000 >/dev/null

printf '\n$ python test.py --study study --server %s\n' "$server"
(cd "$work" && "$python" "$root/test.py" --study study --server "$server")

cat <<TEXT

While it ran, the service answered these requests:
  POST $server/predict   one image, as form field "file" or as JSON {"url": "https://..."}
  POST $server/studies   one study, each image as a form field "file"
  GET  $server/          the web page
  GET  $server/healthz   liveness
  GET  $server/readyz    readiness: is the model loaded?
The demo has stopped it. "make serve" starts the service on port 9696.
TEXT
