# make demo   install into .venv and run the first recipe
# make test   install into .venv and run every test
# make lint   formatting, lint and types
# make system install Debian's parts of some tests (as root): SSH server, browser, Arm, small shells
# make faults seeded faults and good builds: what catches each, as a table; some minutes

PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin

.PHONY: demo test lint faults system install clean

demo: install
	$(BIN)/edgesr run recipes/jetson.yaml

test: install
	$(BIN)/python -m pytest -n auto

lint: install
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

faults: install
	PYTHONPATH=tests $(BIN)/python -m seeded

# Without these the tests that need them are skipped, each with a reason.
system:
	apt-get update --quiet=2
	apt-get install --quiet=2 --yes --no-install-recommends \
	  openssh-server chromium chromium-driver qemu-user-static debootstrap busybox mksh toybox \
	  nginx-light clang libclang-rt-14-dev libcurl4-openssl-dev libssl-dev libjansson-dev faketime \
	  dosfstools fusefat mtools rauc swupdate mender-artifact skopeo umoci squashfs-tools cpio softhsm2 \
	  time curl

install: .venv/.installed

# Written last, so an interrupted installation is taken up again.
.venv/.installed: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11) and "edgesr needs Python 3.11, this is " + sys.version.split()[0] + "; set PYTHON=/path/to/python3.11")'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	touch $@

clean:
	rm -rf .venv .edgesr out
