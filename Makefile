# The commands of the project; `make` lists them.
SHELL := /bin/sh
PYTHON ?= python3
export PYTHONDONTWRITEBYTECODE = 1
# A reference can replace each image of testbed/images: make testbed NODE_IMAGE=registry.example/node:v1.34

.PHONY: help
help: ## List the targets
	@awk -F ':.*## ' '/^##@/ { printf "\n%s\n", substr($$0, 5) } /^[a-z0-9-]+:.*## / { printf "  %-20s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

##@ Testbed
.PHONY: testbed testbed-slurm testbed-kubernetes testbed-status testbed-down demo shell hosts toolchain
testbed: .venv/ready ## Bring up both gateways with everything that they need
	@.venv/bin/python -m testbed up
testbed-slurm: .venv/ready ## Bring up the SLURM half alone, under its public names
	@.venv/bin/python -m testbed up slurm
testbed-kubernetes: .venv/ready ## Bring up the Kubernetes half alone
	@.venv/bin/python -m testbed up kubernetes
testbed-status: .venv/ready ## Show which parts are up, and why the others are down
	@.venv/bin/python -m testbed status
testbed-down: .venv/ready ## Remove containers, networks, mounts and processes
	@.venv/bin/python -m testbed down
demo: .venv/ready ## Run the user guide's snippets as alice on each gateway that is up
	@.venv/bin/python -m testbed demo
AS ?= alice
shell: .venv/ready ## Open a shell in the notebook container, AS=alice; without a terminal it reads a script from standard input
	@.venv/bin/python -m testbed shell --as $(AS)
hosts: .venv/ready ## Print lines for /etc/hosts, by which a browser on this machine opens dashboards
	@.venv/bin/python -m testbed hosts
toolchain: .venv/ready ## Find, install or build Docker, kind, kubectl and Pulumi
	@.venv/bin/python -m testbed up toolchain

##@ Tests
.PHONY: test unit hostile e2e load soak breaks lint
test: lint testbed ## Run lint, bring up the testbed, run unit tests, 3,000 hostile inputs to each parser, and the end-to-end suite
	@HOSTILE_EXAMPLES=3000 .venv/bin/python -m pytest -m hostile --numprocesses auto --durations 5 tests/unit
	@.venv/bin/python -m pytest -m "not hostile and not load and not soak" --durations 60 --durations-min 5 tests
unit: .venv/ready ## Run the tests that need neither network nor Docker
	@.venv/bin/python -m pytest -m "not e2e" --numprocesses auto tests
hostile: .venv/ready ## Feed 20,000 hostile examples to each test of parsers and checks; takes minutes
	@HOSTILE_EXAMPLES=20000 .venv/bin/python -m pytest -m hostile --numprocesses auto --durations 20 tests/unit
e2e: testbed ## Run the end-to-end suite on both back ends
	@.venv/bin/python -m pytest -m "e2e and not load and not soak" tests
load: testbed ## Run the load tests: many workers, users and clusters at once; too long for `make test`
	@.venv/bin/python -m testbed up load-programs
	@.venv/bin/python -m pytest -m load tests
soak: testbed ## Attack both gateways for SOAK_SECONDS (1200) each, beside a working user; too long for `make test`
	@.venv/bin/python -m pytest -m soak -s tests/e2e/test_soak.py
FINDING ?=
breaks: testbed ## Remove each defence in the running testbed, FINDING=R3 one row's, and see that the tests of its attack fail
	@.venv/bin/python -m tests.e2e.defences $(FINDING)
lint: .venv/ready ## Run ruff, mypy and ansible-lint, check the site files and the JSON schema
	@.venv/bin/ruff check .
	@.venv/bin/ruff format --check --quiet .
	@.venv/bin/mypy
	@.venv/bin/python -m gateway.site check sites/*.yaml
	@cd ansible && PATH="$(CURDIR)/.venv/bin:$$PATH" ansible-lint --offline -q
	@.venv/bin/python -m gateway.site schema | diff --unified sites/schema.json - || { echo 'sites/schema.json is out of date: run make schema' >&2; exit 1; }

##@ Maintenance
.PHONY: bench bench-gateways format schema lock
bench: .venv/ready ## Time the testbed's commands, then the gateways; COLD=1 starts without caches and images
	@.venv/bin/python -m testbed.bench commands $(if $(COLD),--cold)
	@.venv/bin/python -m testbed.bench gateways
bench-gateways: .venv/ready ## Time only the gateways, beside stock dask-gateway, on the running testbed
	@.venv/bin/python -m testbed.bench gateways
format: .venv/ready ## Format the Python code
	@.venv/bin/ruff format .
	@.venv/bin/ruff check --fix .
schema: .venv/ready ## Write sites/schema.json
	@.venv/bin/python -m gateway.site schema >sites/schema.json
COMPILE = .venv/bin/uv pip compile --quiet --generate-hashes --no-emit-index-url --no-emit-find-links --no-header \
	--python-version 3.11 --python-platform x86_64-manylinux_2_28
lock: .venv/ready ## Lock all requirements, with hashes
	@$(COMPILE) pyproject.toml --output-file requirements/gateway.txt
	@$(COMPILE) pyproject.toml --group pyproject.toml:development --output-file requirements/development.txt
	@for group in bootstrap environment older hub traefik; do \
		$(COMPILE) --group pyproject.toml:$$group --output-file requirements/$$group.txt || exit 1; done

.venv/ready: requirements/bootstrap.txt requirements/development.txt
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || { [ "$$(id -u)" = 0 ] && apt-get update -qq && apt-get install -qq -y python3-venv; } \
		|| { echo 'Python has no module venv. Ask an administrator to run: apt-get install python3-venv' >&2; exit 1; }
	@echo 'Python environment .venv'
	@$(PYTHON) -m venv --clear .venv
	@.venv/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes --requirement requirements/bootstrap.txt
	@.venv/bin/uv pip install --quiet --compile-bytecode --python .venv/bin/python --require-hashes --requirement requirements/development.txt
	@touch .venv/ready
