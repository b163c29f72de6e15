#!/usr/bin/env bash
# Builds a target of the Dockerfile, with Docker if its engine runs, else with buildah.
#
# Usage: [BASE=IMAGE@sha256:DIGEST] .ci/image.sh serve|train|bulk|archive
#
# BASE replaces the Dockerfile's base. Releases give it with its digest, which a label of the image
# records. buildah takes the base from the machine or a registry. If neither has it, debootstrap makes
# a replacement of the same name: Debian with its own Python 3.11. The script reports this, because
# the replacement is larger than the slim image. debootstrap and chroot builds need root.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

readonly target=${1:?"Usage: .ci/image.sh serve|train|bulk|archive"}
base=${BASE:-$(awk -F= '/^ARG BASE=/ { print $2; exit }' Dockerfile)}
version=$(awk -F'"' '/^__version__ = / { print $2; exit }' mammoscope/__init__.py)
revision=$(git rev-parse HEAD 2>/dev/null || echo unknown)
case $target in
    serve) name=mammoscope ;;
    train | bulk | archive) name=mammoscope-$target ;;
    *)
        echo "The Dockerfile has the targets serve, train, bulk and archive, not $target." >&2
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
    echo "Neither a Docker engine nor buildah is installed; on Debian: apt-get install buildah" >&2
    exit 1
}

stand_in() {
    command -v debootstrap >/dev/null || {
        echo "$base cannot be pulled; for a replacement: apt-get install debootstrap podman" >&2
        return 1
    }
    local root mirror
    root=$(mktemp -d "${TMPDIR:-/tmp}/mammoscope-base.XXXXXX")
    # The mirror from which this machine installs packages.
    mirror=$(apt-get indextargets --format '$(SITE)' 'Created-By: Packages' 2>/dev/null | head -n 1)
    echo "$base cannot be pulled; building a replacement from Debian packages."
    debootstrap --variant=minbase --include=ca-certificates,python3,python3-pip,python3-venv \
        bookworm "$root" "$mirror" >/dev/null
    : >"$root/etc/apt/sources.list"
    # Like slim images: without documentation and translations.
    rm -rf "$root"/var/cache/apt/{archives/*.deb,*.bin} "$root"/var/lib/apt/lists/* \
        "$root"/var/cache/debconf/*-old "$root"/var/log/* \
        "$root"/usr/share/{doc,man,info,locale,lintian,linda}/*
    tar -C "$root" -c . | podman import --quiet - "$base" >/dev/null
    rm -rf "$root"
}

if ! buildah inspect --type image "$base" >/dev/null 2>&1; then
    timeout 60 buildah pull --quiet "$base" >/dev/null 2>&1 || stand_in
fi

# The build uses pip's configuration on this machine, for example its package index. The files are
# mounted during the build and are not in any layer.
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

# Docker's format supports HEALTHCHECK; chroot needs neither an engine nor privileges beyond root's.
exec buildah build --isolation=chroot --layers --format docker --pull-never \
    "${mounts[@]}" "${arguments[@]}" .
