# Two commands do all set-up on a Debian or Ubuntu with Python 3.11 or later:
#   make run     a virtual environment, and the launcher in the foreground
#   make test    the Debian packages that the tests need, and all tests
#
# PYTHON=python3.12 picks an interpreter, with an environment of its own (.venv-3.12);
# ARGS=... is handed on: `make run ARGS=--debug`, `make unit ARGS='-k board'`.
# CASE and N pick a part of the bench: `make bench CASE=start N=4`; BASE is an earlier commit that it
# measures beside this one. ARGS picks a part of the mutants: `make mutants ARGS=health`.
# `make test JUNIT=DIRECTORY` writes results there, too. ON picks roots,
# ARGS suites: `make matrix ON=debian-13 ARGS=systemd`.

PYTHON ?=
ARGS =
JUNIT =
ON =
CASE =
N =
BASE =

version = $(shell $(PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null)
VENV := .venv$(if $(PYTHON),-$(version))
PIP = tests/setup/python-packages $(VENV)
PROJECT = --no-build-isolation --use-pep517 --editable
BUILT_OF = pyproject.toml constraints.txt launcher/supervise/processes/_immortal.c

# Tests wait for processes most of their time: those that start some here, and the scenarios on
# systemd, which share a container, run side by side. A worker keeps the tests of a module, which
# share brokers, and takes over some of another worker when it has no more.
PARALLEL = --numprocesses=2 --dist=worksteal
SIDES = functional-side systemd-side
report = $(if $(JUNIT),--junitxml=$(JUNIT)/$1.xml)

# Tests start hundreds of processes: each would compile the sources again.
export PYTHONDONTWRITEBYTECODE =

PACKAGING = build-essential dpkg-dev debhelper python3-dev python3-venv
DEBIAN_PACKAGES = rabbitmq-server postgresql mariadb-server-core pgbouncer iproute2 \
    systemd-sysv dbus systemd-container python3-systemd openssl curl groff-base mmdebstrap \
    debian-archive-keyring $(PACKAGING) lintian
BENCH_PACKAGES = rabbitmq-server openssl
PYTHONS = python3.11 python3.12 python3.13 python3.14
PROJECTS = nova barbican octavia
OF_ROOT = .roots tests/examples/thermometer/build tests/examples/thermometer/*.egg-info
LOCK = .venv-lock/bin/uv pip compile --quiet --universal --python-version 3.11 \
    --custom-compile-command "make lock" $(ARGS)

.DEFAULT_GOAL := help
ifneq ($(MAKECMDGOALS),$(SIDES))
.NOTPARALLEL:
endif
.PHONY: packaging run test unit functional systemd programs bench findings install uninstall dist deb image lint types man coverage mutants matrix pythons lowest lock tree index clean help packages $(SIDES)

run: $(VENV)/.installed ## run compute-launcher with four workers in the foreground
	@exec $(VENV)/bin/compute-launcher --workers 4 $(ARGS)

test: packages $(VENV)/.tested ## all tests; installs what is missing
	@$(VENV)/bin/pytest --numprocesses=2 tests/unit $(call report,unit) $(ARGS)
	@$(MAKE) --no-print-directory --keep-going --jobs=2 $(SIDES)

functional-side:
	@$(VENV)/bin/pytest $(PARALLEL) tests/functional tests/examples \
	    $(call report,functional) $(ARGS)

systemd-side:
	@$(VENV)/bin/pytest --quiet tests/systemd $(call report,systemd) $(ARGS)

unit: $(VENV)/.tested ## the tests that need nothing but Python
	@$(VENV)/bin/pytest --numprocesses=2 tests/unit $(call report,unit) $(ARGS)

functional: packages $(VENV)/.tested ## the tests with real processes, RabbitMQ and databases
	@$(VENV)/bin/pytest $(PARALLEL) tests/functional tests/examples \
	    $(call report,functional) $(ARGS)

systemd: packages $(VENV)/.tested ## the scenarios on a systemd booted in a container; needs root
	@$(VENV)/bin/pytest tests/systemd $(call report,systemd) $(ARGS)

programs: packages $(VENV)/.tested ## real programs of OpenStack under the launcher, and a table of it
	@for name in $(PROJECTS); do \
	    tests/setup/program-environment $$name $(CURDIR)/.roots/programs/$$name $(PYTHON) || exit; \
	done
	@$(VENV)/bin/pytest tests/programs $(ARGS)

bench: $(VENV)/.benched ## measure ours beside its peers, and write tests/bench/RESULTS.md anew
	@tests/setup/debian-packages $(BENCH_PACKAGES)
	@$(VENV)/bin/python -m tests.bench $(CASE) $(if $(N),--n $(N)) $(if $(BASE),--base $(BASE)) $(ARGS)

findings: ## is each surprise about outside software as it was? ARGS='*psutil*' picks some
	@failed=; for script in findings/$(or $(ARGS),*).sh; do \
	    echo "$$script"; sh $$script || failed="$$failed $$script"; \
	done; [ -z "$$failed" ] || { echo "not as they were:$$failed" >&2; exit 1; }

install: ## as root: the service into /opt/compute-launcher, for systemd if it runs here
	@systemd/install.sh install

uninstall: ## as root: take it away again, but for state and configuration
	@systemd/install.sh uninstall

dist: $(VENV)/.installed ## source distribution and wheel into dist/; the same each time
	@tests/setup/distribution $(VENV)/bin/python dist

deb: packaging dist ## a Debian package into dist/, for the Debian and the Python of this machine
	@tests/setup/debian-package dist

image: dist $(VENV)/.tested ## a container image into dist/, without a daemon, and its tests; as root
	@tests/setup/debian-packages mmdebstrap debian-archive-keyring crun systemd
	@$(VENV)/bin/python -m tests.image "$$(ls -t dist/compute_launcher-*.tar.gz | head -n 1)" \
	    dist/compute-launcher.oci.tar
	@$(VENV)/bin/pytest tests/image $(ARGS)

lint: $(VENV)/.tested ## ruff: mistakes and formatting
	@$(VENV)/bin/ruff check --quiet
	@$(VENV)/bin/ruff format --quiet --check

types: $(VENV)/.tested ## mypy, strict
	@$(VENV)/bin/mypy

man: $(VENV)/.installed ## write the man pages in etc/man anew, of its texts and the program
	@$(VENV)/bin/python -m etc.man.generate

tree: ## each module with its first line, to find one's way
	@git ls-files 'launcher/*.py' | xargs awk 'FNR == 1 { gsub(/^"""|"""$$/, ""); \
	    printf "%-46s %s\n", substr(FILENAME, 10), $$0 }'

index: ## the same, with the names of classes, functions and methods
	@git ls-files 'launcher/*.py' | xargs awk 'function flush() { if (names) print "   " names; names = "" } \
	    FNR == 1 { flush(); gsub(/^"""|"""$$/, ""); printf "%s: %s\n", substr(FILENAME, 10), $$0 } \
	    match($$0, /^ *(async )?(def|class) +[A-Za-z_0-9]+/) && !/(def|class) +__/ \
	        { name = substr($$0, RSTART, RLENGTH); sub(/.* /, "", name); names = names " " name } \
	    END { flush() }'

coverage: packages $(VENV)/.tested ## all tests, and which lines they reach, workers included
	@rm -f .coverage .coverage.*
	@$(VENV)/bin/coverage run -m pytest $(ARGS)
	@$(VENV)/bin/coverage combine --quiet
	@$(VENV)/bin/coverage report

mutants: $(VENV)/.mutated ## faults put into what judges: which of them no unit test notices
	@$(VENV)/bin/python -m tests.mutants $(ARGS)

pythons: ## unit and functional tests with every supported Python that is here
	@failed=; for python in $(PYTHONS); do \
	    if ! $$python -c '' 2>/dev/null; then echo "no $$python here"; continue; fi; \
	    $(MAKE) --no-print-directory unit functional PYTHON=$$python || failed="$$failed $$python"; \
	done; \
	if [ -n "$$failed" ]; then echo "failed with:$$failed" >&2; exit 1; fi

matrix: $(VENV)/.made ## all suites on bare Debians, and tests/matrix/RESULTS.md anew; as root
	@tests/setup/debian-packages mmdebstrap debian-archive-keyring git
	@$(VENV)/bin/python -m tests.matrix $(ON) $(ARGS)

lock: ## write constraints.txt and those of the programs anew; ARGS=--upgrade for later versions
	@tests/setup/virtual-environment .venv-lock $(PYTHON)
	@.venv-lock/bin/pip --disable-pip-version-check install --quiet uv
	@$(LOCK) --all-extras --group build --output-file constraints.txt pyproject.toml
	@for name in $(PROJECTS); do \
	    file=tests/programs/requirements/$$name; \
	    $(LOCK) --output-file $$file.txt pyproject.toml $$file.in || exit; \
	done
	@rm -rf .venv-lock

# All but the sample of the configuration, which quotes the texts of the libraries.
lowest: ## unit tests with the lowest versions that pyproject.toml allows
	@tests/setup/virtual-environment .venv-lowest $(PYTHON)
	@.venv-lowest/bin/pip --disable-pip-version-check install --quiet uv
	@.venv-lowest/bin/uv pip install --quiet --python .venv-lowest/bin/python \
	    --resolution lowest-direct --editable '.[test]'
	@.venv-lowest/bin/pytest tests/unit --deselect tests/unit/test_sample.py $(ARGS)

clean: ## remove what these commands have made
	rm -rf .venv .venv-* build dist *.egg-info .coverage .coverage.*
	rm -f launcher/supervise/processes/*.so
	rm -rf .mypy_cache .pytest_cache .ruff_cache .hypothesis .mutants
	rm -rf $(OF_ROOT) 2>/dev/null || sudo rm -rf $(OF_ROOT)

help: ## this list
	@sed -n 's/^\([a-z]*\):.*## /make \1\t/p' Makefile | expand -t 18

# Before the wheel, for the same reason as below.
packaging:
	@tests/setup/debian-packages $(PACKAGING)

# Before the environment: its module in C is built where there is a compiler.
packages:
	@command -v cc >/dev/null || rm -f $(VENV)/.tested
	@tests/setup/debian-packages $(DEBIAN_PACKAGES)
	@tests/setup/promtool $(CURDIR)/$(VENV)/promtool
	@tests/setup/rabbitmq-root trixie $(CURDIR)/.roots/rabbitmq-4

$(VENV)/.made:
	@tests/setup/virtual-environment $(VENV) $(PYTHON)
	@touch $@

$(VENV)/.installed: $(VENV)/.made $(BUILT_OF)
	@echo "installing compute-launcher into $(VENV)"
	@$(PIP) setuptools
	@$(PIP) $(PROJECT) .
	@[ -e .venv ] || ln -sfn $(VENV) .venv # which is what README activates
	@touch $@

$(VENV)/.tested: $(VENV)/.made $(BUILT_OF)
	@echo "installing compute-launcher and what its tests need into $(VENV)"
	@$(PIP) setuptools
	@$(PIP) $(PROJECT) '.[test]'
	@touch $(VENV)/.installed $@

$(VENV)/.benched: $(VENV)/.tested
	@echo "installing what the bench draws with into $(VENV)"
	@$(PIP) $(PROJECT) '.[test,bench]'
	@touch $(VENV)/.installed $(VENV)/.tested $@

$(VENV)/.mutated: $(VENV)/.tested
	@echo "installing into $(VENV) what puts faults into code"
	@$(PIP) $(PROJECT) '.[test,mutants]'
	@touch $(VENV)/.installed $(VENV)/.tested $@
