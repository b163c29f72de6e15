#!/usr/bin/env bash
# Render and check the Kubernetes manifests with the kubectl in .venv.
#
# Usage: scripts/manifests.sh render     write kube-config/mammoscope.yaml for `kubectl apply -f kube-config/`
#        scripts/manifests.sh check      check every deployable manifest for weak settings
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

readonly kubectl=.venv/bin/kubectl

case ${1:-} in
    render)
        {
            echo "# Rendered from kube-config/base for \`kubectl apply -f kube-config/\`: edit base, then run \`make manifests\`."
            "$kubectl" kustomize kube-config/base
        } >kube-config/mammoscope.yaml.partial
        mv kube-config/mammoscope.yaml.partial kube-config/mammoscope.yaml
        ;;
    check)
        # checkov needs other releases of packages that the service uses, so it gets its own environment.
        .ci/tools.sh checkov .checkov
        rendered=$(mktemp -d)
        trap 'rm -rf "$rendered"' EXIT
        while IFS= read -r folder; do
            name=${folder#kube-config/}
            "$kubectl" kustomize "$folder" >"$rendered/${name//\//-}.yaml"
        done < <(grep -l '^kind: Kustomization' -r kube-config --include kustomization.yaml | xargs -n 1 dirname | sort)
        .checkov/bin/checkov --directory "$rendered" --config-file .checkov.yaml
        echo "checkov finds nothing in: $(cd "$rendered" && echo *)"
        ;;
    *)
        echo 'Usage: scripts/manifests.sh render|check' >&2
        exit 2
        ;;
esac
