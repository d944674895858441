# Targets for people and for CI, which calls the same ones. `make help` lists them.
SHELL := /bin/bash
.DEFAULT_GOAL := help

VENV ?= .venv
PYTHON ?= python3
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: help
help:  ## List the targets
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sort | awk -F ':.*## ' '{printf "  %-16s %s\n", $$1, $$2}'

$(READY): pyproject.toml
	@echo "setting up $(VENV) (once, about two minutes)"
	@$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed, found " + sys.version.split()[0] if sys.version_info < (3, 11) else 0)'
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --upgrade pip
	@$(BIN)/python -m pip install --quiet --editable '.[dev]'
	@touch $@

.PHONY: setup
setup: $(READY)  ## Virtual environment with everything that development needs

.PHONY: demo
demo: $(READY)  ## The main job on this machine, without GPUs: at most eight minutes, live
	@$(BIN)/python -m examples.demo.run

.PHONY: demo-dynamo
demo-dynamo: $(READY)  ## The same with NVIDIA's own frontend and simulated workers from PyPI
	@$(BIN)/python -m examples.demo.run --dynamo

.PHONY: bed
bed: $(READY)  ## Find or compile the control plane, etcd and Prometheus that tests and demo use
	@$(BIN)/python -m tests.testbed build

.PHONY: check
check: $(READY)  ## Format, lint, types, import contracts, spelling, derived files
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/codespell
	$(BIN)/validate-pyproject pyproject.toml
	@$(MAKE) --no-print-directory derived

.PHONY: derived
derived: $(READY)  ## Check that the CRD, the reference pages, Argo CD's ConfigMap and the chart's schema follow from their source
	$(BIN)/python -m slaplanner.api.generate --check
	$(BIN)/python -m slaplanner.controller.metrics_reference --check
	$(BIN)/python manifests/argocd/derive.py --check
	$(BIN)/python charts/derive.py --check
	$(BIN)/python -m manifests.release version --check
	$(BIN)/python manifests/monitoring/dashboards.py --check

.PHONY: docs
docs: $(READY)  ## Write what is derived: the CRD, the reference pages, Argo CD's ConfigMap, the chart's schema
	$(BIN)/python -m slaplanner.api.generate
	$(BIN)/python -m slaplanner.controller.metrics_reference
	$(BIN)/python manifests/argocd/derive.py
	$(BIN)/python charts/derive.py
	$(BIN)/python -m manifests.release version
	$(BIN)/python manifests/monitoring/dashboards.py
	$(BIN)/python -m slaplanner.settings_reference > docs/reference/settings.md

.PHONY: site
site: $(READY)  ## The documents as a site with search, in build/site
	@$(BIN)/python -m pip install --quiet --editable '.[docs]'
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

.PHONY: unit
unit: $(READY)  ## Unit tests: no network
	$(BIN)/python -m pytest -q -n auto --dist loadfile -m "not integration and not e2e"

.PHONY: test
test: check site unit bed  ## All tests but the soaks: unit, and on a real API server, etcd, Prometheus and Argo CD
	@# Both mostly wait: side by side they take little longer than the longer one.
	@$(MAKE) --no-print-directory --jobs=2 --keep-going test-integration test-argocd

.PHONY: test-integration
test-integration: bed  ## Tests on a real API server, etcd and Prometheus
	$(BIN)/python -m pytest -q -n 2 --dist loadfile -m "integration and not argocd"

.PHONY: test-argocd
test-argocd: bed  ## A real Argo CD with self-heal beside the operator: about seven minutes
	$(BIN)/python -m pytest -q -m argocd tests/integration

.PHONY: fuzz
fuzz: $(READY)  ## Odd inputs for every parser, MINUTES=10 altogether; what fails joins the corpus
	$(BIN)/python -m tests.fuzz --minutes $(or $(MINUTES),10)

.PHONY: chaos
chaos: bed  ## Faults on real parts, all of them; writes docs/reliability.md: about twenty minutes
	$(BIN)/python -m tests.chaos

.PHONY: soak
soak: bed  ## Random kills beside thousands of decisions, then an hour of random faults; writes docs/reliability.md
	$(BIN)/python -m pytest -q -m e2e
	$(BIN)/python -m tests.chaos --soak 3600

.PHONY: bench
bench: $(READY)  ## Errors of both interpolations on the measured profiles
	$(BIN)/python benchmarks/profiles.py

.PHONY: bench-forecast
bench-forecast: $(READY)  ## Predictors on real load, beside pmdarima and Prophet: about ten minutes
	$(BIN)/python -m pip install --quiet --editable '.[bench]'
	$(BIN)/python -m benchmarks.forecast

.PHONY: bench-sizing
bench-sizing: $(READY)  ## Sizing beside HPAs, constant sizes and a clairvoyant, four scenarios: about half an hour
	$(BIN)/python -m benchmarks.sizing

.PHONY: bench-sizing-held-out
bench-sizing-held-out: $(READY)  ## The same on scenarios beside those of the bounds: about twenty minutes
	$(BIN)/python -m benchmarks.sizing --held-out

.PHONY: bench-bursts
bench-bursts: $(READY)  ## The bursts of scenario (b) in sixteen other orders: about a minute
	$(BIN)/python -m benchmarks.bursts

.PHONY: bench-robust
bench-robust: $(READY)  ## Sixty random scenarios that nobody tuned for, beside rivals: about ten minutes
	$(BIN)/python -m benchmarks.robust --page

.PHONY: bench-simulate
bench-simulate: $(READY)  ## Time and memory of simulations and dry-runs of a day: about two minutes
	$(BIN)/python -m benchmarks.simulate

.PHONY: bench-glance
bench-glance: $(READY)  ## Glances between plans at intervals of 60 and 180 s: some minutes
	$(BIN)/python -m benchmarks.glance

.PHONY: bench-scale
bench-scale: bed  ## 100, 300 and 1,000 policies under one operator; writes docs/benchmarks/scale.md: about an hour
	$(BIN)/python -m benchmarks.scale --write

.PHONY: bench-live
bench-live: bed  ## The live fleet under the operator beside the simulator: ten real minutes
	$(BIN)/python -m benchmarks.live

.PHONY: dynamo-facts
dynamo-facts: $(READY)  ## How the metrics of Dynamo's frontends differ from those recorded in tests/dynamo/facts: some minutes
	@$(BIN)/python -m tests.dynamo.record

.PHONY: house
house: $(READY)  ## Size and order of the code: lines, names, packages, contracts; BEFORE=REVISION puts a revision beside
	@$(BIN)/python -m benchmarks.house $(BEFORE)

.PHONY: presubmit
presubmit: check unit  ## What must pass before a commit

VERSION := $(shell sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)
ENGINE ?= $(firstword $(foreach engine,docker podman buildah,$(if $(shell command -v $(engine)),$(engine))))
# docker calls an image without a registry as it is named, podman and buildah put `localhost/` before it.
IMAGE ?= $(if $(filter podman buildah,$(ENGINE)),localhost/)slaplanner:$(VERSION)
KIND_CLUSTER := slaplanner

.PHONY: image
image:  ## Build the operator's image with docker, podman or buildah; IMAGE=registry.example.com/slaplanner:tag
	@test -n "$(ENGINE)" || { echo "none of docker, podman and buildah is on PATH: install one, or name it with ENGINE="; exit 1; }
	$(ENGINE) build --tag $(IMAGE) --build-arg VERSION=$(VERSION) \
	  --build-arg REVISION=$(shell git rev-parse HEAD 2>/dev/null || echo unknown) $(BUILD_ARGS) .

.PHONY: push
push:  ## Push the image to the registry that IMAGE names
	$(ENGINE) push $(IMAGE)

.PHONY: lock
lock: $(READY)  ## Lock the versions and hashes of what the image installs
	$(BIN)/uv pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes --no-annotate --no-header \
	  pyproject.toml --output-file requirements/image.txt
	echo hatchling | $(BIN)/uv pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes --no-annotate --no-header \
	  - --output-file requirements/build.txt

DIST ?= dist

.PHONY: release
release: bed  ## Wheel, sdist, chart, manifests, SBOM, notes and checksums in DIST; DRAFT=--draft before the changelog is cut
	@$(BIN)/python -m pip install --quiet --editable '.[release]'
	@$(BIN)/python -m manifests.release build $(DIST) $(DRAFT) \
	  --kubectl $$($(BIN)/python -m tests.testbed path kubectl) --helm $$($(BIN)/python -m tests.testbed path helm)
	@$(BIN)/python -m cyclonedx_py requirements requirements/image.txt --output-file $(DIST)/sbom.cdx.json
	@$(BIN)/python -m manifests.release sums $(DIST)
	@ls -l $(DIST)

.PHONY: release-check
release-check: $(READY)  ## SBOM, hashes and known vulnerabilities of what the image installs
	@$(BIN)/python -m pip install --quiet --editable '.[release]'
	@$(BIN)/python -m manifests.release_check

.PHONY: kind-up
kind-up: image  ## A cluster on this laptop with the image in it (needs kind and a container engine)
	kind get clusters | grep -qx $(KIND_CLUSTER) || kind create cluster --config kind-config.yaml
	$(ENGINE) $(if $(filter buildah,$(ENGINE)),push $(IMAGE) docker-archive:,save $(IMAGE) --output )slaplanner-image.tar$(if $(filter buildah,$(ENGINE)),:$(IMAGE))
	kind load image-archive slaplanner-image.tar --name $(KIND_CLUSTER)
	rm slaplanner-image.tar

.PHONY: deploy
deploy:  ## Install IMAGE into the current kubectl context
	kubectl kustomize manifests | sed 's|image: slaplanner:.*|image: $(IMAGE)|' | kubectl apply --server-side --filename=-
	kubectl wait --for=condition=Established crd/slapolicies.slaplanner.io --timeout=60s
