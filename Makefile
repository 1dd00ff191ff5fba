# The two commands: `make serve` runs the main job on this machine, `make test` checks everything. `make help` lists all.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

PYTHON ?= python3
DATA := data/synthetic
# As many as are there: another number would have all models trained anew
CLIPS ?= $(or $(shell sed -n 's/.*"clips": \([0-9]*\).*/\1/p' $(DATA)/settings.json 2>/dev/null),2000)
# Of models on the frozen convolutions of VGG-16 or YAMNet, which cost ten times what the others do
COSTLY_CLIPS ?= 1000
SEED ?= 1
CODE := client deploy loadtest preprocess_service tests training
PROTO := preprocess_service/proto/wigeup/v1/triage.proto
RUN := .venv/bin/python
# Further options of `python -m training train`, such as --precision mixed_bfloat16
TRAINING ?=
TEST_WORKERS ?= 2

.PHONY: help serve corpus models models-all compare-heads front-end report evaluate test lint format proto lock compose-check interop live-capacity loadtest bench tune sizing clean

help:  ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

serve: models  ## train the demo models once, start Triton and the service, classify a sample call, stay up
	@exec $(RUN) deploy/serve.py

models: corpus  ## the two main demo models, where they are not there yet
	@$(RUN) -m training train multimodal --data $(DATA) --seed $(SEED) $(TRAINING) --if-missing
	@$(RUN) -m training train vgg16 --clips $(COSTLY_CLIPS) --data $(DATA) --seed $(SEED) $(TRAINING) --if-missing

models-all: corpus  ## all seven, where they are not there yet (README's table: CLIPS=20000 COSTLY_CLIPS=4000)
	@$(RUN) -m training train multimodal cnn cnn_lstm lstm --data $(DATA) --seed $(SEED) $(TRAINING) --if-missing
	@$(RUN) -m training train vgg16 vgg16_lstm yamnet --clips $(COSTLY_CLIPS) --data $(DATA) --seed $(SEED) $(TRAINING) --if-missing

compare-heads: corpus  ## the single-logit head of `multimodal` beside the published one
	@train="$(RUN) -m training train multimodal --clips 4000 --data $(DATA) --seed $(SEED) $(TRAINING) --if-missing"; \
	for head in logit reference; do echo "== $$head"; $$train --repository build/heads/$$head --head $$head; \
	$(RUN) -m training evaluate multimodal --data $(DATA) --repository build/heads/$$head --json build/heads/$$head.json; done

corpus: .venv/.done .venv-triton/.done
	@$(RUN) -m training synthesize --out $(DATA) --clips $(CLIPS) --seed $(SEED) --workers $$(nproc) --replace

front-end: .venv/.done  ## the audio front end that Triton runs beside the models (WIGEUP_FRONT_END=triton)
	@$(RUN) -m training front-end

report: models  ## the evaluation report of all models that are trained: build/report/report.html
	@$(RUN) -m training report --data $(DATA)

evaluate: models  ## the README's table of the models that are trained
	@$(RUN) -m training synthesize --out $(DATA)-matched --beside $(DATA) --clips 1000 --workers $$(nproc) --replace
	@$(RUN) -m training evaluate --data $(DATA) --matched $(DATA)-matched

test: models  ## all tests, with a real Triton and the real service
	$(RUN) -m pytest -n $(TEST_WORKERS) --dist loadfile --no-loadscope-reorder

lint: .venv/.done  ## ruff and mypy --strict
	.venv/bin/ruff check $(CODE)
	.venv/bin/ruff format --check $(CODE)
	.venv/bin/mypy $(CODE)

format: .venv/.done  ## let ruff format the code
	.venv/bin/ruff check --fix $(CODE)
	.venv/bin/ruff format $(CODE)

proto: .venv/.done  ## generate the gRPC stubs and Triton's configs
	PATH="$(CURDIR)/.venv/bin:$$PATH" $(RUN) -m grpc_tools.protoc -I. --python_out=. --grpc_python_out=. \
	    --mypy_out=. --mypy_grpc_out=. $(PROTO)
	$(RUN) -m training configs

lock: .venv/.done  ## pin the newest packages that requirements/*.in allow
	cd requirements; compile="../.venv/bin/uv pip compile -q --upgrade --universal --python-version 3.11 --generate-hashes --no-header"; \
	$$compile dev.in -o dev.txt; \
	for kind in service client bridge training loadtest bench; do $$compile $$kind.in -c dev.txt -o $$kind.txt; done; \
	$$compile --no-deps triton.in -o triton.txt; $$compile uv.in -o uv.txt; $$compile interop.in -c bridge.txt -o interop.txt

compose-check: .venv/.done  ## build and run docker-compose.cpu.yml for real (podman)
	$(RUN) -m deploy.compose_check

interop: .venv/.done  ## the WebSocket bridge against pipecat's serializers, in an environment of its own
	$(PYTHON) -m venv build/interop
	.venv/bin/uv pip sync --python build/interop/bin/python --require-hashes requirements/interop.txt
	build/interop/bin/python -m pytest -q -p no:cacheprovider tests/interop

live-capacity: .venv/.done  ## how many live calls a running `make serve` holds on this machine: build/live.json
	$(RUN) -m loadtest live --find --calls 240 --seconds 30 --json build/live.json

loadtest: models  ## what this machine carries, as one HTML page: build/loadtest/report.html (six minutes)
	@$(RUN) -m loadtest report --start --clips $(DATA) --out build/loadtest

bench: models build/bench/.done  ## what is to be reached, measured beside a plain FastAPI service (five minutes)
	@$(RUN) -m loadtest bench --clips $(DATA) --json build/bench.json

tune: models  ## which of Triton's settings serves multimodal best here: build/tune (nine minutes)
	@$(RUN) -m loadtest tune multimodal --out build/tune --json build/tune/multimodal.json

sizing: .venv/.done  ## measure, simulate and size against a running `make serve`: build/sizing.json (five minutes)
	@$(RUN) -m loadtest sizing --calibrate

clean:  ## remove everything that was built, the environments too
	rm -rf .venv .venv-triton build data *.egg-info model_repository/*/[0-9]*

# Environments. uv is fetched by pip with its hash, then installs exactly what the lock files say. It trusts what the
# system trusts, as pip does: many networks have a certificate authority of their own.
export UV_SYSTEM_CERTS := true

.venv/.done: requirements/uv.txt requirements/dev.txt pyproject.toml
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; (3, 11) <= v <= (3, 13) or sys.exit(f"Python {v[0]}.{v[1]} found; 3.11 to 3.13 is needed: make PYTHON=python3.12 ...")'
	$(PYTHON) -m venv .venv
	.venv/bin/pip install --quiet --disable-pip-version-check --require-hashes -r requirements/uv.txt
	.venv/bin/uv pip sync --python .venv/bin/python --require-hashes requirements/dev.txt
	.venv/bin/uv pip install --quiet --python .venv/bin/python --no-build-isolation --no-deps -e .
	touch $@

.venv-triton/.done: .venv/.done requirements/triton.txt
	$(PYTHON) -m venv .venv-triton
	.venv/bin/uv pip sync --python .venv-triton/bin/python --require-hashes requirements/triton.txt
	touch $@

build/bench/.done: .venv/.done requirements/bench.txt
	$(PYTHON) -m venv build/bench
	.venv/bin/uv pip sync --python build/bench/bin/python --require-hashes requirements/bench.txt
	touch $@
