# Every target creates the environment that it needs in .venv. "make help" lists the targets.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.ONESHELL:

# The interpreter that creates the environment.
PYTHON ?= python3
export PYTHON

BIN := .venv/bin
environment := .ci/environment.sh

.PHONY: help
help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-20s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))

.PHONY: demo
demo:  ## start the service, classify phantoms over HTTP, stop (DEMO_PORT=9696 DEMO_COUNT=6)
	@$(environment) packages
	exec scripts/demo.sh

.PHONY: demo-archive
demo-archive:  ## start a PACS (Orthanc) with phantoms, report its studies, show what it has, stop it
	@$(environment) packages archive
	exec $(BIN)/python scripts/demo_archive.py

.PHONY: serve
serve:  ## run the service on port 9696 until Ctrl-C
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
	exec $(BIN)/python -m mammoscope dev trainings --data '$(DATA)' --records model/experiments $(ARGS)

.PHONY: figures
figures:  ## draw the figures in images/ from the records
	@$(environment) packages training
	exec $(BIN)/python -m mammoscope dev figures

.PHONY: notebooks
notebooks:  ## run the notebooks on DATA=DIR and save their outputs [ARGS="04-final ..."]
	@test -n '$(DATA)' || { echo 'Usage: make notebooks DATA=DIR' >&2; exit 2; }
	$(environment) packages training dev-packages
	exec $(BIN)/python scripts/notebooks.py '$(DATA)' $(ARGS)

.PHONY: bench-stages
bench-stages:  ## time of decoding, preprocessing and inference [ARGS="--model DIR --rounds N"]
	@$(environment) packages
	exec $(BIN)/python -m benchmarks.stages $(ARGS)

.PHONY: bench-decode
bench-decode:  ## time and memory of decoding DICOM [ARGS="--json FILE"]
	@$(environment) packages
	exec $(BIN)/python -m benchmarks.decode $(ARGS)

.PHONY: bench-bulk
bench-bulk:  ## bulk prediction on Ray compared with predict [ARGS="--images 2000 --files 100000"]
	@$(environment) packages bulk
	exec $(BIN)/python -m benchmarks.bulk $(ARGS)

.PHONY: bench-archive
bench-archive:  ## the archive worker compared with predict, with Orthanc [ARGS="--studies 20"]
	@$(environment) packages archive dev-packages
	exec $(BIN)/python -m benchmarks.archive $(ARGS)

.PHONY: bench-page
bench-page:  ## the page in a browser: time to paint, layout shift, long tasks, size [ARGS="--json FILE"]
	@$(environment) packages dev-packages
	exec $(BIN)/python -m benchmarks.page $(ARGS)

# Benchmarks: seconds per measurement, and the number of rounds.
SECONDS := 4
ROUNDS := 3
benchmark = $(BIN)/python -m benchmarks --seconds $(SECONDS) --rounds $(ROUNDS) $(ARGS)

.PHONY: bench
bench: bench-engine bench-service bench-train  ## all benchmarks (SECONDS=4 ROUNDS=3)

.PHONY: bench-engine
bench-engine:  ## the network on several engines, compared with the machine's peak
	@$(environment) packages
	$(benchmark) engine

.PHONY: bench-service
bench-service:  ## the service compared with the reference design and other servers
	@$(environment) packages
	$(benchmark) service

.PHONY: bench-train
bench-train:  ## the training pipeline compared with that of the Keras tutorials
	@$(environment) packages training
	$(benchmark) train

.PHONY: sizing
sizing: environment  ## pods and cost for a rate of requests, and for a million studies, from bench-service
	$(BIN)/python -m benchmarks.sizing $(ARGS)

.PHONY: image
image:  ## build the container image mammoscope:VERSION with Docker or buildah [TARGET=train|bulk|archive]
	@.ci/image.sh '$(or $(TARGET),serve)'

.PHONY: test-container
test-container: image environment  ## run the image as clusters do, the Job's command, the rehearsal
	.ci/container.sh

.PHONY: test-container-train
test-container-train:  ## build the training image and train in it for a few seconds
	@.ci/image.sh train
	.ci/container_train.sh

.PHONY: rehearse
rehearse: environment  ## rolling update, killed replica, broken model behind haproxy [ARGS="--rate 1"]
	$(BIN)/python scripts/rehearse.py $(ARGS)

.PHONY: manifests
manifests: environment  ## render kube-config/base into kube-config/mammoscope.yaml
	@scripts/manifests.sh render

.PHONY: audit
audit:  ## components (CycloneDX), licences and known vulnerabilities, into audit/ [IMAGE=...]
	@$(environment) packages
	scripts/audit.sh audit $(IMAGE)

.PHONY: environment
environment:  ## make .venv with everything: service, tracing, archive, training, bulk prediction, tools
	@$(environment) packages tracing archive training distributed bulk dev-packages

.PHONY: lint
lint: environment  ## style, types, spelling, layers, docs, Dockerfile and manifests
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/codespell
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/hadolint Dockerfile
	$(BIN)/yamllint --strict kube-config .github .checkov.yaml .pre-commit-config.yaml .yamllint.yaml
	scripts/manifests.sh check
	$(sphinx)

# A warning is an error.
sphinx := $(BIN)/sphinx-build --fail-on-warning --keep-going --quiet --builder html docs docs/_build

.PHONY: docs
docs:  ## build the documentation into docs/_build
	@$(environment) packages dev-packages
	$(sphinx)
	echo "The documentation is in docs/_build/index.html."

# Tests that need neither a separate process nor many images; the excluded files take most of the time,
# or wait for timeouts.
unit_tests := $(addprefix tests/,data evaluation imaging model phantoms service settings studies system) \
	$(addprefix --ignore=tests/,evaluation/test_robustness.py imaging/dicom/test_dicom_equality.py \
	imaging/dicom/test_dicom_memory.py imaging/test_quality.py model/test_engine.py \
	system/test_side_listener.py)

.PHONY: test-fast
test-fast: lint  ## lint, then the unit tests: under 3 minutes
	$(BIN)/pytest $(unit_tests) $(ARGS)

# Keras supports one backend per process: most tests use OpenVINO, training tests use TensorFlow
# (tests/conftest.py sets it). Two processes run at the same time, since each mostly uses one
# processor; the second runs the training tests, then those of the folders below, which makes both
# take about as long. The output of the second comes at the end.
training_tests = $$(grep --recursive --include='test_*.py' --files-with-matches 'mark\.training' tests)
after_training := tests/cli tests/imaging

.PHONY: test
test: lint  ## lint, then the tests, except attacks that need an idle machine
	@.ci/tools.sh moto .moto
	# Tests start hundreds of processes, which compile the package anew where Python may not store it.
	$(BIN)/python -m compileall -q mammoscope
	log=$$(mktemp)
	set -m  # a process group, which can be stopped as a whole
	{
		failed=0
		$(BIN)/pytest -m training $(training_tests) || failed=1
		$(BIN)/pytest $(after_training) || failed=1
		exit "$$failed"
	} >"$$log" 2>&1 &
	second=$$!
	set +m
	trap 'kill -- -"$$second" 2>/dev/null || true; rm -f "$$log"' EXIT
	failed=0
	$(BIN)/pytest $(addprefix --ignore=,$(after_training)) || failed=1
	echo "Tests of training, of commands and of imaging:"
	wait "$$second" || failed=1
	cat "$$log"
	exit "$$failed"

.PHONY: test-abuse
test-abuse: environment  ## bad bodies, images, URLs, load and crashes, sent to a running service
	$(BIN)/pytest -m 'abuse and not training' $(ARGS)

# `make test` also runs both, for a few seconds.
FUZZ_SECONDS := 600
SOAK_SECONDS := 600

.PHONY: fuzz
fuzz: environment  ## fuzz reading and preprocessing ([FUZZ_SECONDS=600 CORPUS=DIR])
	$(if $(CORPUS),mkdir -p '$(CORPUS)')
	exec $(BIN)/python -m tests.fuzz $(FUZZ_SECONDS) $(CORPUS) $(ARGS)

.PHONY: soak
soak: environment  ## good and bad requests for a while; memory must not grow ([SOAK_SECONDS=600])
	SOAK_SECONDS=$(SOAK_SECONDS) SOAK_MODEL=model $(BIN)/pytest -s tests/e2e/test_service_soak.py $(ARGS)

# Studies that workers report while they are killed and connections are cut, and studies that one
# worker reports with flat memory. `make test` also runs both, with a few.
SOAK_STUDIES := 200
SOAK_FLAT_STUDIES := 500

.PHONY: soak-archive
soak-archive: environment  ## kills and cut connections, then compare the archive ([SOAK_STUDIES=200])
	SOAK_STUDIES=$(SOAK_STUDIES) SOAK_FLAT_STUDIES=$(SOAK_FLAT_STUDIES) \
		$(BIN)/pytest -s tests/archive/test_soak.py --timeout 14400 $(ARGS)

# `make test` does the same with a small network.
.PHONY: test-distributed
test-distributed: environment  ## train the preset smoke in one process and in two; compare losses
	DISTRIBUTED_REAL=1 $(BIN)/pytest -s -m training tests/training/test_distributed_training.py $(ARGS)

.PHONY: format
format: environment  ## format the code
	@$(BIN)/ruff check --fix
	$(BIN)/ruff format

.PHONY: lock
lock: environment  ## resolve Pipfile into Pipfile.lock, and the tools of .ci/requirements
	@.ci/tools.sh pipenv .pipenv
	PIPENV_IGNORE_VIRTUALENVS=1 PIPENV_VENV_IN_PROJECT=1 $(BIN)/python scripts/lock.py .pipenv/bin/pipenv
	$(environment) packages tracing archive training distributed bulk dev-packages
