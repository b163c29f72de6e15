#!/usr/bin/env bash
# Runs the image like a cluster, including updates of its model, and reports the results:
# `make test-container`.
#
# It also reports what cannot be tested on this machine.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

readonly root=$PWD
readonly python=$root/.venv/bin/python
readonly most_mb=700
readonly ready_within_s=300

# shellcheck source=.ci/engine.sh
source .ci/engine.sh

readonly image=mammoscope:$version

label() { inspect "$image" "{{index .Config.Labels \"org.opencontainers.image.$1\"}}"; }
base=$(label base.name)
readonly base
size_mb=$(($(inspect "$image" '{{.Size}}') / 1000000))
((size_mb <= most_mb)) || fail "the image has $size_mb MB unpacked, $most_mb are allowed"
held "$size_mb MB unpacked, of which the base $base has $(($(inspect "$base" '{{.Size}}') / 1000000))"
[[ $(inspect "$image" '{{.Config.User}}') =~ ^[1-9][0-9]+:[1-9][0-9]+$ ]] || fail "the user is not numeric"
held "the user is $(inspect "$image" '{{.Config.User}}')"
[[ $(label version) == "$version" && $(label licenses) == Apache-2.0 && -n $(label title) &&
    -n $(label description) && $(label revision) =~ ^[0-9a-f]{40}$ ]] || fail "labels are missing or wrong"
held "labels give version $(label version) and revision $(label revision)"

free_port() {
    "$python" -c 'import socket; s = socket.create_server(("127.0.0.1", 0)); print(s.getsockname()[1])'
}
port=$(free_port)
metrics_port=$(free_port)
probe_port=$(free_port)
readonly limited=(--memory 3g --cpus 2 --pids-limit 256)
container=$("$engine" run --detach --network host --env "MAMMOSCOPE_BIND=127.0.0.1:$port" \
    --env "MAMMOSCOPE_METRICS_BIND=127.0.0.1:$metrics_port" \
    --env "MAMMOSCOPE_PROBE_BIND=127.0.0.1:$probe_port" "${confined[@]}" "${limited[@]}" "$image")
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
    ((SECONDS < ready_within_s)) || fail "HEALTHCHECK still fails after $ready_within_s s"
    sleep 1
done
held "HEALTHCHECK passes after $SECONDS s"
if [[ $engine == podman ]]; then echo "not tested: HEALTHCHECK's timer, which podman leaves to systemd"; fi

inside 'import os; raise SystemExit(os.getuid() != 10001)' || fail "it runs as another user"
if inside 'open("/app/written", "w")' 2>/dev/null; then fail "the root file system is writable"; fi
held "the root file system is read-only"
inside 'status = open("/proc/1/status").read(); raise SystemExit("CapEff:\t0000000000000000" not in status)' ||
    fail "process 1 has capabilities"
held "no capabilities"
inside '
children = open("/proc/1/task/1/children").read().split()
names = [open(f"/proc/{process}/cmdline", "rb").read() for process in ["1", *children[:1]]]
raise SystemExit(not names[0].startswith(b"dumb-init\0") or b"gunicorn" not in names[1])
' || fail "process 1 is not the init with gunicorn as its child"
held "process 1 is the init, gunicorn its child"
inside '
import os, time
if os.fork() == 0:
    if os.fork() == 0:
        time.sleep(0.5)  # an orphan by then
    os._exit(0)
os.wait()
' && sleep 2 && inside '
import pathlib
for process in pathlib.Path("/proc").glob("[0-9]*"):
    try:
        assert "\nState:\tZ" not in (process / "status").read_text()
    except OSError:
        pass  # ended meanwhile, and is gone
' || fail "orphans are not reaped"
held "orphans are reaped"
for absent in keras tensorflow scipy pip; do
    if inside "import $absent" 2>/dev/null; then fail "$absent is in the image"; fi
done
held "Keras, TensorFlow, SciPy and pip are absent"

"$python" -m mammoscope phantoms "$work/phantoms" --count 4 >/dev/null
"$python" -m mammoscope phantoms "$work/exam" --studies --count 1 --syntax jpeg-2000 >/dev/null
"$python" test.py "$work/phantoms" "$work/exam" --server "http://127.0.0.1:$port" ||
    fail "images were refused"
held "JPEG, PNG and DICOM are answered"
"$python" - "$metrics_port" <<'PYTHON' || fail "Prometheus gets no metrics"
import sys
import urllib.request

with urllib.request.urlopen(f"http://127.0.0.1:{sys.argv[1]}/metrics", timeout=30) as answer:
    raise SystemExit(b'mammoscope_requests_total{code="",route="/predict"' not in answer.read())
PYTHON
held "Prometheus gets metrics on their own port"
clients=()
for _ in 1 2 3 4 5 6 7 8; do
    "$python" test.py "$work/exam" --server "http://127.0.0.1:$port" >/dev/null &
    clients+=($!)
done
for client in "${clients[@]}"; do
    wait "$client" || fail "images of eight parallel clients were refused"
done
memory=$(inside '
import glob
print(sum(
    int(line.split()[1])
    for status in glob.glob("/proc/[0-9]*/status")
    for line in open(status)
    if line.startswith("VmHWM")
) // 1000)')
held "eight clients at a time are answered, with at most $memory MB of memory"

mammogram=$(find "$work/phantoms" -name '*.png' | head -n 1)
# One image after another until the service stops, so that SIGTERM arrives during a request.
"$python" - "$port" "$mammogram" >"$work/answered" <<'PYTHON' &
import sys
import time
from pathlib import Path

import requests

image = Path(sys.argv[2]).read_bytes()
while True:
    began = time.time()
    try:
        answer = requests.post(
            f"http://127.0.0.1:{sys.argv[1]}/predict",
            data=image,
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
# The request running at the signal is answered. Later ones are refused; in a cluster, preStop
# prevents them.
stopped=$("$engine" logs "$container" 2>&1 | sed -n 's/.*Handling signal: term.*"timestamp": "\([^"]*\)".*/\1/p')
awk -v at="$(date --date "$stopped" +%s.%N)" '$3 != 200 { exit 1 }
    $1 < at && at < $2 { met = 1 } END { exit !met }' "$work/answered" ||
    fail "the request in flight was not answered"
code=$("$engine" inspect --format '{{.State.ExitCode}}' "$container")
((code == 0)) || fail "the exit code after SIGTERM is $code"
held "SIGTERM: running requests are answered, exit code 0"

# The Job's command, in one container per part, without a network.
mkdir "$work/results"
chmod 777 "$work/results"
chmod -R a+rX "$work"
"$python" - "$root/kube-config/jobs/score/job.yaml" >"$work/job" <<'PYTHON'
import sys
from pathlib import Path

import yaml

spec = yaml.safe_load(Path(sys.argv[1]).read_text("utf-8"))["spec"]
(container,) = spec["template"]["spec"]["containers"]
for index in range(spec["completions"]):
    words = [*container["command"], *container["args"]]
    print("\t".join(each.replace("$(JOB_COMPLETION_INDEX)", str(index)) for each in words))
PYTHON
while IFS=$'\t' read -r program rest; do
    read -r -a words <<<"$rest"
    "$engine" run --rm --network none "${confined[@]}" "${limited[@]}" --volume "$work/phantoms:/data:ro" \
        --volume "$work/results:/results" --entrypoint "$program" "$image" "${words[@]}" \
        </dev/null >/dev/null || fail "the Job's command failed: ${words[*]}"
done <"$work/job"
images=$(find "$work/phantoms" -name '*.png' -o -name '*.jpg' | wc -l)
scored=$(cat "$work"/results/*.jsonl | "$python" -c \
    'import json, sys; print(len({e["path"] for e in map(json.loads, sys.stdin) if "probability" in e}))')
((scored == images)) || fail "the Job's parts scored $scored of $images images"
held "the Job's $(wc -l <"$work/job") parts score all $images images, without a network"

# The replicas are processes with one port each, not containers.
"$engine" cp "$container:/app/model" "$work/model"
"$python" scripts/rehearse.py --model "$work/model" || fail "requests failed during the rehearsal"
held "no request fails while replicas are replaced, killed or broken"
echo "not tested: the training image; use \`make test-container-train\`"
echo "not tested: the API, network policies and autoscaler of a cluster"
