#!/usr/bin/env bash
# Trains in the training image like the Job, but on phantoms and for seconds, with one interruption:
# `make test-container-train`.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# shellcheck source=.ci/engine.sh
source .ci/engine.sh

readonly image=mammoscope-train:$version
held "$(($(inspect "$image" '{{.Size}}') / 1000000)) MB unpacked"
mkdir "$work/data" "$work/runs"
chmod 755 "$work"
chmod 777 "$work/data" "$work/runs"
readonly alone=("${confined[@]}" --network none --memory 8g --cpus 2 --pids-limit 1024)

"$engine" run --rm "${alone[@]}" "$image" | grep -q -- --preset || fail "the usage does not name the options of training"
held "without arguments it lists its options"
"$engine" run --rm "${alone[@]}" --volume "$work/data:/data" --entrypoint python "$image" \
    -m mammoscope phantoms /data/dataset --dataset --count 12

train=(
    "${alone[@]}" --volume "$work/data:/data:ro" --volume "$work/runs:/runs" "$image"
    --preset smoke --weights none --data /data/dataset --output /runs/smoke --resume
)
container=$("$engine" run --detach "${train[@]}")
sleep 3
SECONDS=0
"$engine" stop --time 60 "$container" >/dev/null
code=$("$engine" inspect --format '{{.State.ExitCode}}' "$container")
((code == 143)) || fail "the exit code after SIGTERM is $code, not 143"
held "SIGTERM reaches the training: it ends after $SECONDS s"
"$engine" rm "$container" >/dev/null
container=

SECONDS=0
"$engine" run --rm "${train[@]}" || fail "the training failed"
for name in model.keras card.json history.json; do
    [[ -s $work/runs/smoke/$name ]] || fail "the run has no $name"
done
held "a run of seconds ends, after $SECONDS s, with a model, its card and its history"
