#!/usr/bin/env bash
# Kubernetes' manifests, rendered with the kubectl of the environment.
#
# Usage: .ci/manifests.sh render     writes kube-config/mammoscope.yaml, what `kubectl apply` takes
#        .ci/manifests.sh check      looks for weak settings in everything that can be deployed
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

readonly kubectl=.venv/bin/kubectl
readonly checkov_version=3.3.30

case ${1:-} in
    render)
        {
            echo "# kube-config/base, rendered for \`kubectl apply -f kube-config/\`: change that, then \`make manifests\`."
            "$kubectl" kustomize kube-config/base
        } >kube-config/mammoscope.yaml.partial
        mv kube-config/mammoscope.yaml.partial kube-config/mammoscope.yaml
        ;;
    check)
        # checkov asks for other releases of what the service is tested with: its own environment.
        if [[ ! -x .checkov/bin/checkov || $(.checkov/bin/checkov --version) != "$checkov_version" ]]; then
            "${PYTHON:-python3}" -m venv .checkov
            .checkov/bin/python -m pip install --quiet --disable-pip-version-check \
                "checkov==$checkov_version"
        fi
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
        echo 'Usage: .ci/manifests.sh render|check' >&2
        exit 2
        ;;
esac
