# Everything that can be run here; `make` lists it.
SHELL := /bin/sh
PYTHON ?= python3
export PYTHONDONTWRITEBYTECODE = 1
# Any image of testbed/images can be replaced by a reference: make testbed NODE_IMAGE=registry.example/node:v1.34

.PHONY: help
help: ## List the targets
	@awk -F ':.*## ' '/^##@/ { printf "\n%s\n", substr($$0, 5) } /^[a-z0-9-]+:.*## / { printf "  %-20s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

##@ Testbed
.PHONY: testbed testbed-slurm testbed-kubernetes testbed-status testbed-down demo shell toolchain
testbed: .venv/ready ## Bring up both gateways with all that they need
	@.venv/bin/python -m testbed up
testbed-slurm: .venv/ready ## Bring up the SLURM half alone
	@.venv/bin/python -m testbed up slurm
testbed-kubernetes: .venv/ready ## Bring up the Kubernetes half alone
	@.venv/bin/python -m testbed up kubernetes
testbed-status: .venv/ready ## Tell what is up, what is not, and why
	@.venv/bin/python -m testbed status
testbed-down: .venv/ready ## Remove containers, networks, mounts and processes
	@.venv/bin/python -m testbed down
demo: .venv/ready ## Run the user guide's snippet as alice on both gateways
	@.venv/bin/python -m testbed demo
AS ?= alice
shell: .venv/ready ## A prompt in the notebook container, AS=alice; reads a script from standard input too
	@.venv/bin/python -m testbed shell --as $(AS)
toolchain: .venv/ready ## Docker, kind, kubectl, Pulumi: find, install or build them
	@.venv/bin/python -m testbed up toolchain

##@ Tests
.PHONY: test unit e2e load lint
test: lint testbed ## Lint, types, unit tests, then the testbed and the end-to-end suite
	@HOSTILE_EXAMPLES=3000 .venv/bin/python -m pytest -m "not load" tests
unit: .venv/ready ## Tests without network and Docker
	@.venv/bin/python -m pytest -m "not e2e" tests
e2e: testbed ## The end-to-end suite on both back ends
	@.venv/bin/python -m pytest -m "e2e and not load" tests
load: testbed ## Many workers, users and clusters at once; its length keeps it out of `make test`
	@.venv/bin/python -m testbed up load-programs
	@.venv/bin/python -m pytest -m load tests
lint: .venv/ready ## ruff, mypy, ansible-lint, site files, JSON schema
	@.venv/bin/ruff check .
	@.venv/bin/ruff format --check --quiet .
	@.venv/bin/mypy
	@.venv/bin/python -m gateway.site check sites/*.yaml
	@cd ansible && PATH="$(CURDIR)/.venv/bin:$$PATH" ansible-lint --offline -q
	@.venv/bin/python -m gateway.site schema | diff --unified sites/schema.json - || { echo 'sites/schema.json is old: make schema' >&2; exit 1; }

##@ Maintenance
.PHONY: bench bench-gateways format schema lock
bench: .venv/ready ## Time the testbed's own commands, then the gateways; COLD=1 begins without caches and images
	@.venv/bin/python -m testbed.bench commands $(if $(COLD),--cold)
	@.venv/bin/python -m testbed.bench gateways
bench-gateways: .venv/ready ## Time ours beside stock dask-gateway alone, on the testbed that is up
	@.venv/bin/python -m testbed.bench gateways
format: .venv/ready ## Format the Python code
	@.venv/bin/ruff format .
	@.venv/bin/ruff check --fix .
schema: .venv/ready ## Write sites/schema.json anew
	@.venv/bin/python -m gateway.site schema >sites/schema.json
COMPILE = .venv/bin/uv pip compile --quiet --generate-hashes --no-emit-index-url --no-emit-find-links --no-header \
	--python-version 3.11 --python-platform x86_64-manylinux_2_28
lock: .venv/ready ## Lock all requirements anew, with hashes
	@$(COMPILE) pyproject.toml --output-file requirements/gateway.txt
	@$(COMPILE) pyproject.toml --group pyproject.toml:development --output-file requirements/development.txt
	@for group in bootstrap environment older hub traefik; do \
		$(COMPILE) --group pyproject.toml:$$group --output-file requirements/$$group.txt || exit 1; done

.venv/ready: requirements/bootstrap.txt requirements/development.txt
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || { [ "$$(id -u)" = 0 ] && apt-get update -qq && apt-get install -qq -y python3-venv; } \
		|| { echo 'Python has no venv; an administrator has to run: apt-get install python3-venv' >&2; exit 1; }
	@echo 'Python environment .venv'
	@$(PYTHON) -m venv --clear .venv
	@.venv/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes --requirement requirements/bootstrap.txt
	@.venv/bin/uv pip install --quiet --python .venv/bin/python --require-hashes --requirement requirements/development.txt
	@touch .venv/ready
