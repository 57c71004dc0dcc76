# Everything a newcomer needs: `make demo` and `make test` set up what they use.
PYTHON ?= python3
BIN := .venv/bin
# Coverage is measured where engines are required: without them it says little, and costs a third of the time.
# Tests wait for processes and engines; each worker computes 10 s to collect them. With engines, more are better.
WORKERS ?= 3
# What is compiled once, assertions of tests too, is not compiled anew in each of many processes.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help demo test lint bench image lock screenshots docs clean

help:  ## Show the targets
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/'

demo: .venv/run  ## Run a real job on the best engine that answers here
	@$(BIN)/pman demo

test: .venv/dev  ## Run all tests that can run here; engines by DOCKER_HOST, CONTAINER_HOST, KUBECONFIG
ifdef PMAN_REQUIRE_ENGINES
	$(BIN)/coverage erase
	$(BIN)/coverage run -m pytest -n $(WORKERS) $(ARGS)
	$(BIN)/coverage combine -q
	$(BIN)/coverage report --fail-under=95
else
	$(BIN)/python -m pytest -n $(WORKERS) $(ARGS)
endif

lint: .venv/dev  ## Check style, types, and the templates, shipped and of the examples
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/pman lint --strict
	for site in examples/*/templates; do $(BIN)/pman lint --strict $$site || exit 1; done

bench: .venv/dev  ## Measure pman beside the engine alone; see bench/README.md
	$(BIN)/python -m bench $(ARGS)

image: .venv/dev  ## Build the wheel and the container image from it; BASE=...@sha256:... pins what it stands on
	rm -rf dist && $(BIN)/python -m build --wheel
	docker build -t pman $(if $(BASE),--build-arg BASE=$(BASE)) .

lock: .venv/dev  ## Pin what the image needs, with hashes, at the newest releases
	$(BIN)/uv pip compile -q -U --universal --python-version 3.11 --generate-hashes --no-annotate \
	  --custom-compile-command "make lock" -o deploy/requirements.txt pyproject.toml

screenshots: .venv/dev  ## Take the pictures of docs/page.md anew; needs docker, chromium and pngquant
	PMAN_SCREENSHOTS=docs/screenshots $(BIN)/pytest -q tests/browser -k fits
	pngquant --force --ext .png --skip-if-larger --strip docs/screenshots/*.png

docs: .venv/dev  ## Write the generated tables of docs/ anew
	sed -i '/^### Fields/,$$d' docs/options.md
	$(BIN)/pman config --matrix --format markdown >> docs/options.md
	sed -i '/^### All operations/,$$d' docs/api.md
	$(BIN)/python -c 'from pman.web.api.openapi import table; print(table(), end="")' >> docs/api.md
	sed -i '/^| rule/,$$d' docs/lint.md
	$(BIN)/python -c 'from pman.workshop.lint.findings import table; print(table(), end="")' >> docs/lint.md
	$(BIN)/pman templates docs builtin/docker/container.yaml.j2 --format markdown | grep '^| `job' | \
	  sed -i -e '/^| `job\./d' -e '/^| variable | type/{n;r /dev/stdin' -e '}' docs/templates.md
	$(BIN)/python -c 'from pman.translation.inventory.docs import functions_table; print(functions_table(), end="")' | \
	  grep '^| `' | sed -i -e '/^| `[a-z_ ]*(/d' -e '/^| function or test/{n;r /dev/stdin' -e '}' docs/templates.md

clean:  ## Remove what these targets made
	rm -rf .venv dist .coverage* .pytest_cache .mypy_cache .ruff_cache .hypothesis

.venv/run: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "pman needs Python 3.11 or newer; name it: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	@$(PYTHON) -m venv .venv || \
	  { echo "python3 has no venv here; on Debian and Ubuntu: apt install python3-venv"; rm -rf .venv; exit 1; }
	@echo "installing pman into .venv ..."
	@$(BIN)/python -m pip install -q --disable-pip-version-check -e .
	@touch $@

.venv/dev: .venv/run pyproject.toml
	@$(BIN)/python -m pip install -q --disable-pip-version-check -e '.[dev]'
	@touch $@
