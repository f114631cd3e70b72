# One word for everything. Written for GNU make 3.81, the one macOS has.

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help setup system demo docs check static test soak soak-shared soak-ray bench clean

BIN := .venv/bin
# One more than the two cores that are expected: some tests wait, for servers and other processes.
TEST_WORKERS ?= 3
# Where there is room in memory, what tests write lies there until they end: they wait for no disk.
# What a disk must have been told is asked of traced writes (tests/faults/test_power_loss.py).
ROOM_KB ?= 6000000
IN_MEMORY = if [ "$$(df -Pk /dev/shm 2>/dev/null | awk 'NR == 2 { print $$4 }')" -gt $(ROOM_KB) ] 2>/dev/null; then \
	TMPDIR=$$(mktemp -d /dev/shm/refold-XXXXXX); export TMPDIR; chmod 711 "$$TMPDIR"; \
	trap 'rm -rf "$$TMPDIR"' EXIT; trap 'exit 130' INT TERM; fi;

# What a shell sets for its own Python must not decide what the tests see.
unexport PYTHONDONTWRITEBYTECODE PYTHONHOME PYTHONPATH PYTHONUNBUFFERED VIRTUAL_ENV

help: ## print this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/make \1|\2/p' Makefile | while IFS='|' read -r name what; do \
		printf '%-17s %s\n' "$$name" "$$what"; done

setup: ## make .venv hold what uv.lock says; does nothing when it already does
	@sh tools/setup.sh

system: ## find what the tests need from the system; install it where that is Debian and root
	@sh tools/system.sh
	@sh tools/kafka.sh
	@sh tools/go.sh
	@sh tools/java.sh
	@sh tools/node.sh
	@sh tools/axe.sh

demo: setup ## record, replay and compare the demo calls (DB=postgresql://…: there)
	@$(BIN)/refold demo $(if $(DB),--db '$(DB)')
	@$(if $(DB),,printf '\nSee it all in your browser with this line:\n\n$(BIN)/refold ui --db refold-demo.db\n')

docs: setup ## build the documentation as a site that needs no server, into build/site
	@NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs --quiet build
	@echo build/site/index.html

static: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

check: static ## lint, format, types, layers, and the tests of the house itself
	@$(IN_MEMORY) $(BIN)/pytest tests/house -n $(TEST_WORKERS)

test: system static ## everything: the checks above and every test
	@$(IN_MEMORY) $(BIN)/pytest -n $(TEST_WORKERS)

soak: setup ## kill, fuzz, damage and break it for longer (15 minutes at most)
	@$(BIN)/python -m tools.soak

soak-shared: setup system ## kill everything that is shared while it works (13 minutes at most)
	@$(BIN)/python -m tools.soak_shared $(SOAK)

soak-ray: setup system ## replay 12,000 conversations on a cluster that loses machines (40 minutes at most)
	@$(BIN)/python -m tools.soak_ray

bench: setup ## measure speed and size beside other libraries (15 minutes; BENCH=--quick: 2)
	@$(BIN)/python -m bench $(BENCH)

clean: ## remove everything that setup, the tools and the tests made
	rm -rf .venv .cache .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache dist build \
		refold-demo.html refold-demo.db refold-demo.db-shm refold-demo.db-wal
	find src tests tools bench examples -name __pycache__ -type d -prune -exec rm -rf {} +
