# Every target makes the environment it needs in .venv; "make help" lists them.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.ONESHELL:

# Interpreter that the environment is made with.
PYTHON ?= python3
export PYTHON

BIN := .venv/bin
environment := .ci/environment.sh

.PHONY: help
help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-20s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))

.PHONY: demo
demo:  ## start the service, classify phantoms over HTTP, stop it (DEMO_PORT=9696 DEMO_COUNT=6)
	@$(environment) packages
	exec .ci/demo.sh

.PHONY: serve
serve:  ## the service on port 9696, until Ctrl-C
	@$(environment) packages
	exec $(BIN)/gunicorn predict:app --config gunicorn.conf.py

.PHONY: train
train:  ## train a model: DATA=DIR OUTPUT=RUN [ARGS="--preset reference ..."]
	@test -n '$(DATA)' -a -n '$(OUTPUT)' || { echo 'Usage: make train DATA=DIR OUTPUT=RUN' >&2; exit 2; }
	$(environment) packages training
	exec $(BIN)/python train.py --data '$(DATA)' --output '$(OUTPUT)' $(ARGS)

.PHONY: trainings
trainings:  ## the runs of recipes/experiments.toml, one after another: DATA=DIR [ARGS=...]
	@test -n '$(DATA)' || { echo 'Usage: make trainings DATA=DIR' >&2; exit 2; }
	$(environment) packages training
	exec $(BIN)/python -m mammoscope dev trainings --data '$(DATA)' $(ARGS)

.PHONY: figures
figures:  ## draw the figures in images/ from the records
	@$(environment) packages training
	exec $(BIN)/python -m mammoscope dev figures

.PHONY: notebooks
notebooks:  ## run the notebooks on DATA=DIR and keep them with their outputs [ARGS="04-final ..."]
	@test -n '$(DATA)' || { echo 'Usage: make notebooks DATA=DIR' >&2; exit 2; }
	$(environment) packages training dev-packages
	exec $(BIN)/python .ci/notebooks.py '$(DATA)' $(ARGS)

.PHONY: bench-stages
bench-stages:  ## where the time goes from bytes to score: [ARGS="--model DIR --rounds N"]
	@$(environment) packages
	exec $(BIN)/python -m benchmarks.stages $(ARGS)

.PHONY: bench-decode
bench-decode:  ## what decoding DICOM costs beside the network ([ARGS="--json FILE"])
	@$(environment) packages
	exec $(BIN)/python -m benchmarks.decode $(ARGS)

# Of the benchmarks: seconds a measurement, and how often everything is measured.
SECONDS := 4
ROUNDS := 3
benchmark = $(BIN)/python -m benchmarks --seconds $(SECONDS) --rounds $(ROUNDS) $(ARGS)

.PHONY: bench
bench: bench-engine bench-service bench-train  ## all benchmarks (SECONDS=4 ROUNDS=3)

.PHONY: bench-engine
bench-engine:  ## the network on several engines, beside what the machine could do
	@$(environment) packages
	$(benchmark) engine

.PHONY: bench-service
bench-service:  ## the service beside the reference design and others' servers
	@$(environment) packages
	$(benchmark) service

.PHONY: bench-train
bench-train:  ## the training pipeline beside that of the Keras tutorials
	@$(environment) packages training
	$(benchmark) train

.PHONY: sizing
sizing: environment  ## pods, time and cost for 10 to 10,000 requests a second, of bench-service's results
	$(BIN)/python -m benchmarks.sizing $(ARGS)

.PHONY: image
image:  ## the container image mammoscope:VERSION, with Docker or buildah [TARGET=train]
	@.ci/image.sh '$(or $(TARGET),serve)'

.PHONY: test-container
test-container: image environment  ## the image as clusters run it, the Job's command, the rehearsal
	.ci/container.sh

.PHONY: test-container-train
test-container-train:  ## the image of trainings: built, and a training of seconds in it
	@.ci/image.sh train
	.ci/container_train.sh

.PHONY: rehearse
rehearse: environment  ## rolling update, killed replica, broken model, behind haproxy [ARGS="--rate 1"]
	$(BIN)/python .ci/rehearse.py $(ARGS)

.PHONY: manifests
manifests: environment  ## render kube-config/base into kube-config/mammoscope.yaml
	@.ci/manifests.sh render

.PHONY: audit
audit:  ## parts (CycloneDX), licences and known vulnerabilities of what is served, into audit/
	@$(environment) packages
	.ci/audit.sh audit

.PHONY: environment
environment:  ## .venv with everything: service, traces, training, tools
	@$(environment) packages tracing training dev-packages

.PHONY: lint
lint: environment  ## style, types, the layering of modules, Dockerfile and manifests
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/hadolint Dockerfile
	$(BIN)/yamllint --strict kube-config .checkov.yaml .yamllint.yaml
	.ci/manifests.sh check

# Keras takes one backend a process: the service's tests run on OpenVINO, those of training on
# TensorFlow (tests/conftest.py sets it). The former take one processor for the most part, so the
# latter go on beside them; what they print comes at the end.
.PHONY: test
test: lint  ## lint, then all tests
	@log=$$(mktemp)
	$(BIN)/pytest -m training >"$$log" 2>&1 &
	training=$$!
	trap 'kill "$$training" 2>/dev/null || true; rm -f "$$log"' EXIT
	failed=0
	$(BIN)/pytest || failed=1
	echo "Tests of training, which went on beside:"
	wait "$$training" || failed=1
	cat "$$log"
	exit "$$failed"

.PHONY: test-abuse
test-abuse: environment  ## what the service must survive: bad bodies, pictures, URLs, loads, ends
	$(BIN)/pytest -m 'abuse and not training' $(ARGS)

# Both run short in `make test`, too.
FUZZ_SECONDS := 600
SOAK_SECONDS := 600

.PHONY: fuzz
fuzz: environment  ## bytes that a fuzzer thinks up, read and prepared ([FUZZ_SECONDS=600 CORPUS=DIR])
	$(if $(CORPUS),mkdir -p '$(CORPUS)')
	exec $(BIN)/python -m tests.fuzz $(FUZZ_SECONDS) $(CORPUS) $(ARGS)

.PHONY: soak
soak: environment  ## good and bad requests for a while, with memory flat ([SOAK_SECONDS=600])
	SOAK_SECONDS=$(SOAK_SECONDS) SOAK_MODEL=model $(BIN)/pytest -s tests/e2e/test_service_soak.py $(ARGS)

.PHONY: format
format: environment  ## rewrite the code in the project's style
	@$(BIN)/ruff check --fix
	$(BIN)/ruff format

.PHONY: lock
lock: environment  ## resolve Pipfile into Pipfile.lock anew
	@PIPENV_IGNORE_VIRTUALENVS=1 PIPENV_VENV_IN_PROJECT=1 $(BIN)/python .ci/lock.py .pipenv/bin/pipenv
	$(environment) packages tracing training dev-packages
