# Everything is set up on the way: each target needs only make and Python 3.11 or newer (`make PYTHON=python3.12 …`).

PYTHON ?= python3
BIN := .venv/bin
PIP_INSTALL := $(BIN)/python -m pip install -qq --disable-pip-version-check
# With extras: under --require-hashes, pip 23.0 to 23.2 refuses a package that is asked for with an extra the lock leaves out.
# A release is a week old before it is taken, so that a bad one is found by others first.
LOCK := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-strip-extras --exclude-newer "7 days" \
	--annotation-style line --custom-compile-command "make lock" $(ARGS)

.DEFAULT_GOAL := help
.PHONY: help demo test check release-check dashboards screenshots format lock rules chart bench soak first-look image clean

help: ## list the targets
	@echo 'make TARGET [ARGS="…"]'
	@sed -n 's/^\([a-z-]*\):.*## /  \1|/p' $(MAKEFILE_LIST) | awk -F'|' '{ printf "%-13s %s\n", $$1, $$2 }'

demo: .venv/runtime.stamp ## run the exporter against a built-in simulation of Microsoft; no account, no network
	@exec $(BIN)/office365-activations-exporter demo $(ARGS)

test: .venv/dev.stamp .tools/checkov/ready.stamp ## run every test, with the real tools where they can be had, and measure coverage
	@$(BIN)/python tests/fetch_tools.py
	$(BIN)/python -m pytest --numprocesses auto --dist worksteal --durations 15 --cov --cov-report term:skip-covered --cov-fail-under 95

check: .venv/dev.stamp ## format, lint, types, import direction, dependencies, package metadata, wheel
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/deptry exporter
	$(BIN)/validate-pyproject pyproject.toml
	$(BIN)/pyroma --quiet --min 8 . # 10 wants an e-mail address: the maintainers are reached through the repository
	$(BIN)/repo-review .
	rm -rf dist/check && $(BIN)/uv build --quiet --wheel --no-build-isolation --python $(BIN)/python --out-dir dist/check .
	$(BIN)/check-wheel-contents dist/check

release-check: .venv/dev.stamp ## build the release once, and test that wheel on every supported Python (PYTHONS="…" ARGS="--tag v…")
	$(BIN)/python -m tests.delivery.release $(ARGS)

format: .venv/dev.stamp ## format the code and fix what the linter can fix
	$(BIN)/ruff check --fix-only .
	$(BIN)/ruff format .

lock: .venv/dev.stamp ## write requirements/*.txt from pyproject.toml (ARGS=--upgrade: newest versions)
	$(LOCK) pyproject.toml --output-file requirements/runtime.txt
	$(LOCK) --group pyproject.toml:build --constraints requirements/runtime.txt --output-file requirements/build.txt
	$(LOCK) pyproject.toml --group dev --constraints requirements/runtime.txt \
		--constraints requirements/build.txt --output-file requirements/dev.txt
	$(LOCK) --group pyproject.toml:screenshots --constraints requirements/dev.txt --output-file requirements/screenshots.txt
	$(LOCK) --group pyproject.toml:release --constraints requirements/dev.txt --output-file requirements/release.txt
	$(LOCK) --group pyproject.toml:checkov --output-file requirements/checkov.txt

rules: .venv/dev.stamp ## write the rules, alerts and inhibitions in monitoring/ (ARGS="--set report_stale=5d")
	$(BIN)/python -m monitoring.rules $(ARGS)

chart: .venv/dev.stamp ## write the chart's copies of monitoring/, its version and its README
	$(BIN)/python -m tests.delivery.chart_files

bench: .venv/dev.stamp ## measure against its peers (prometheus-client, nginx, uvicorn) and write docs/benchmarks.md
	@$(BIN)/python tests/fetch_tools.py bench
	$(BIN)/python -m tests.bench $(ARGS)

soak: .venv/dev.stamp ## simulate tenants over months with failures of every kind, and check that no number is ever wrong
	$(BIN)/python -m tests.soak $(ARGS)

first-look: .venv/dev.stamp ## measure the minutes to the first numbers, graph and alert on each way to run it (after make image)
	@$(BIN)/python tests/fetch_tools.py
	EXPORTER_IMAGE=localhost/office365-activations-exporter $(BIN)/python -m pytest --numprocesses 5 -rP \
		--override-ini faulthandler_timeout=0 tests/delivery/first_look.py $(ARGS)

dashboards: .venv/dev.stamp ## write monitoring/dashboards/*.json from the code next to them
	$(BIN)/python -W ignore::DeprecationWarning:grafana_foundation_sdk -m monitoring.dashboards

screenshots: .tools/screenshots/ready.stamp ## draw dashboards and status page in Chromium, check both, and write docs/pictures
	$(BIN)/python -m tests.screenshots $(ARGS)

image: ## build the container image
	@tests/delivery/build_image $(ARGS)

clean: ## remove everything that make made
	rm -rf .venv .tools .coverage* .hypothesis .mypy_cache .pytest_cache .ruff_cache .import_linter_cache dist
	find exporter tests -name __pycache__ -type d -exec rm -rf {} +

# What runs the exporter: its locked dependencies, and itself from this checkout.
.venv/runtime.stamp: requirements/build.txt requirements/runtime.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "$(PYTHON) is missing or older than 3.11: make PYTHON=python3.12 …" >&2; exit 1; }
	@echo 'Setting up .venv (only after a change) …'
	@$(PYTHON) -m venv .venv || { echo "no venv module: on Debian, apt-get install python3-venv" >&2; exit 1; }
	@$(PIP_INSTALL) --no-deps --require-hashes --requirement requirements/build.txt --requirement requirements/runtime.txt
	@$(PIP_INSTALL) --no-deps --no-build-isolation --editable .
	@$(BIN)/python -m pip check --disable-pip-version-check
	@touch $@

# What checks and tests it.
.venv/dev.stamp: .venv/runtime.stamp requirements/dev.txt
	@echo 'Adding what checks and tests need …'
	@$(PIP_INSTALL) --no-compile --no-deps --require-hashes --requirement requirements/dev.txt
	@$(BIN)/python -m pip check --disable-pip-version-check
	@touch $@

# What draws the dashboards: Grafana's components (some 430 MB of them) and a driver for Chromium.
.tools/screenshots/ready.stamp: .venv/dev.stamp requirements/screenshots.txt tests/screenshots/package-lock.json
	@command -v chromium npm >/dev/null || { echo "chromium or npm is missing: apt-get install chromium npm" >&2; exit 1; }
	@$(BIN)/python tests/fetch_tools.py own
	@$(PIP_INSTALL) --no-deps --require-hashes --requirement requirements/screenshots.txt
	@mkdir -p .tools/screenshots && cp tests/screenshots/package*.json .tools/screenshots
	@npm ci --prefix .tools/screenshots --legacy-peer-deps --no-audit --no-fund --loglevel=error
	@touch $@

# What checks the chart and the Dockerfile for risky settings (some 200 MB); where it cannot be had, its test skips.
.tools/checkov/ready.stamp: requirements/checkov.txt
	@echo 'Setting up .tools/checkov (only after a change) …'
	@$(PYTHON) -m venv --clear .tools/checkov \
		&& .tools/checkov/bin/python -m pip install -qq --disable-pip-version-check --no-deps --require-hashes -r $< \
		&& mkdir -p .tools/bin && ln -sfn ../checkov/bin/checkov .tools/bin/checkov && touch $@ \
		|| echo 'checkov is not available here' >&2
