# The container engine (Docker if it runs, else podman with runc, as root), the restrictions of
# containers, and the output of results. Sourced by the image tests and the audit.
# shellcheck shell=bash disable=SC2034 # used where this is sourced

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
    rm -rf "$work" || true # of another user where Docker is not run by root
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

version=$(awk -F'"' '/^__version__ = / { print $2; exit }' mammoscope/__init__.py)
readonly version
inspect() { "$engine" image inspect --format "$2" "$1"; }

# As in the manifests: no privileges, and nothing writable except a small /tmp.
readonly confined=(
    --read-only --tmpfs /tmp:rw,noexec,nosuid,size=64m --user 10001:10001 --cap-drop ALL
    --security-opt no-new-privileges
)
