#!/usr/bin/env bash
# Builds a target of the Dockerfile: Docker where its engine answers, else buildah.
#
# Usage: [BASE=IMAGE@sha256:DIGEST] .ci/image.sh serve|train
#
# BASE replaces the Dockerfile's; a release names it with its digest, and the image keeps the name.
# buildah takes the base from the machine or a registry. Where neither has it, a stand-in is made
# with debootstrap: Debian with its own Python 3.11 under the same name. The stand-in is larger than
# the slim image, and this says so. Needs root, as debootstrap and chroot builds do.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

readonly target=${1:?"Usage: .ci/image.sh serve|train"}
base=${BASE:-$(awk -F= '/^ARG BASE=/ { print $2; exit }' Dockerfile)}
version=$(awk -F'"' '/^__version__ = / { print $2; exit }' mammoscope/__init__.py)
revision=$(git rev-parse HEAD 2>/dev/null || echo unknown)
case $target in
    serve) name=mammoscope ;;
    train) name=mammoscope-train ;;
    *)
        echo "The Dockerfile has the targets serve and train, not $target." >&2
        exit 2
        ;;
esac
readonly base version revision name
readonly arguments=(
    --target "$target" --tag "$name:$version"
    --build-arg "BASE=$base" --build-arg "VERSION=$version" --build-arg "REVISION=$revision"
)

if docker info >/dev/null 2>&1; then
    docker pull --quiet "$base" >/dev/null  # else the builder alone has it, and nobody sees its size
    exec docker build "${arguments[@]}" .
fi
command -v buildah >/dev/null || {
    echo "Neither a Docker engine nor buildah is here; on Debian: apt-get install buildah" >&2
    exit 1
}

stand_in() {
    command -v debootstrap >/dev/null || {
        echo "$base cannot be pulled; for a stand-in: apt-get install debootstrap podman" >&2
        return 1
    }
    local root mirror
    root=$(mktemp -d "${TMPDIR:-/tmp}/mammoscope-base.XXXXXX")
    # The mirror this machine itself installs from.
    mirror=$(apt-get indextargets --format '$(SITE)' 'Created-By: Packages' 2>/dev/null | head -n 1)
    echo "$base cannot be pulled; a stand-in is made of Debian's packages."
    debootstrap --variant=minbase --include=ca-certificates,python3,python3-pip,python3-venv \
        bookworm "$root" "$mirror" >/dev/null
    : >"$root/etc/apt/sources.list"
    # As slim images are made: without documentation and translations.
    rm -rf "$root"/var/cache/apt/{archives/*.deb,*.bin} "$root"/var/lib/apt/lists/* \
        "$root"/var/cache/debconf/*-old "$root"/var/log/* \
        "$root"/usr/share/{doc,man,info,locale,lintian,linda}/*
    tar -C "$root" -c . | podman import --quiet - "$base" >/dev/null
    rm -rf "$root"
}

if ! buildah inspect --type image "$base" >/dev/null 2>&1; then
    timeout 60 buildah pull --quiet "$base" >/dev/null 2>&1 || stand_in
fi

# Where pip is configured on this machine, for an index of its own say, the build's pip is too. The
# files are mounted for the build's steps and become part of no layer.
mounts=()
for file in /etc/ssl/certs/ca-certificates.crt /etc/pip.conf; do
    if [[ -e $file ]]; then mounts+=(--volume "$file:$file:ro"); fi
done
readonly own=${XDG_CONFIG_HOME:-$HOME/.config}/pip/pip.conf
if [[ -e $own ]]; then
    mounts+=(--volume "$own:/root/.config/pip/pip.conf:ro")
    while IFS= read -r folder; do
        if [[ -d $folder ]]; then mounts+=(--volume "$folder:$folder:ro"); fi
    done < <(grep -oE '/[^[:space:]]+' "$own" | sed 's|^//*|/|; s|/simple$||' | sort -u)
fi

# Docker's format keeps HEALTHCHECK; chroot needs no engine and no privileges beyond root's.
exec buildah build --isolation=chroot --layers --format docker --pull-never \
    "${mounts[@]}" "${arguments[@]}" .
