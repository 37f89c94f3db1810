# Docket's front door. `make` alone prints this help.

.DEFAULT_GOAL := help
.PHONY: help demo test test-s3 test-upgrade previous test-clients test-k8s k8s-alerts run bench chaos sim sim-bugs fuzz deny build lint format

CARGO ?= cargo
# Everything but the simulation, which builds the services with bugs that it can turn on (see Cargo.toml).
PROGRAMS := --workspace --exclude simulation
# The simulation lives on speed: its own packages are optimised, with all assertions, and what they need is that of
# every other build.
SIM := --package simulation --config 'profile.dev.package.simulation.opt-level=1' \
	--config 'profile.dev.package.scheduler-svc.opt-level=1' --config 'profile.dev.package.worker-svc.opt-level=1' \
	--config 'profile.dev.package.docket.opt-level=1'
SEED ?= 1
RUNS ?= 300
SECONDS ?= 60
# What `make test-upgrade` upgrades from: an earlier state that was delivered.
PREVIOUS ?= ae78a10
BUF_VERSION := 1.75.0
BUF := target/buf/node_modules/.bin/buf
MOTO_VERSION := 5.2.5
MOTO := target/moto/bin/moto_server
PROMETHEUS := target/prometheus
CLIENTS_VENV := target/clients-venv
K8S_VENV := target/k8s-venv
OPERATOR_ALERTS := k8s/components/monitoring/alerts.yaml

help: ## Print this help
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: ## Watch it work: three sample mailboxes, live (Ctrl-C ends it; DEMO_SECONDS=30 ends by itself)
	@echo "Building both services and the demo (dev profile). The first time takes 3 to 6 minutes on 2 cores; then seconds."
	@$(CARGO) build --quiet --bins --examples $(PROGRAMS)
	@target/debug/examples/demo

test: ## Run all tests, those across real processes included
	@$(CARGO) build $(PROGRAMS) --bins
	@$(CARGO) test $(PROGRAMS) --no-fail-fast
	@$(CARGO) test $(SIM) --no-fail-fast

test-s3: $(MOTO) ## Test the archive's blobs on a server that speaks S3 (needs python3 with venv)
	@$(CARGO) test --quiet --package sync-core --test catalog -- --ignored s3

test-clients: clients/typescript/node_modules $(CLIENTS_VENV) ## Test clients/ and docs/recipes (needs node 20, python3 with venv)
	@$(CARGO) build --quiet $(PROGRAMS) --bins --example fake_gmail
	@npm --prefix clients/typescript --silent test
	@PYTHON=$(CURDIR)/$(CLIENTS_VENV)/bin/python clients/python/generate
	@cd clients/python && PYTHONPATH=gen $(CURDIR)/$(CLIENTS_VENV)/bin/python -m unittest discover -t . -s tests

previous:
	@echo $(PREVIOUS)

# Built in a target folder of its own: cargo takes packages of two worktrees for the same ones.
test-upgrade: ## Upgrade from the release PREVIOUS (a commit or tag) under load, one service at a time
	@git cat-file -e '$(PREVIOUS)^{commit}' || { echo "PREVIOUS=$(PREVIOUS) is no commit of this repository"; exit 1; }
	@rm -rf target/previous && git worktree prune && git worktree add --quiet --force --detach target/previous $(PREVIOUS)
	@cd target/previous && CARGO_TARGET_DIR=$(CURDIR)/target/previous-build $(CARGO) build --quiet $(PROGRAMS) --bins
	@mkdir target/previous/bin && cp target/previous-build/debug/scheduler-svc target/previous-build/debug/worker-svc target/previous/bin
	@$(CARGO) build --quiet $(PROGRAMS) --bins
	@DOCKET_PREVIOUS_BIN=$(CURDIR)/target/previous/bin $(CARGO) test --quiet --test chaos -- --ignored s5

test-k8s: $(K8S_VENV) ## Test the manifests, their rules and what the runbook names (needs kubectl or kustomize, python3 with venv)
	@PYTHONDONTWRITEBYTECODE=1 $(K8S_VENV)/bin/python -m pytest --quiet -p no:cacheprovider k8s/tests

k8s-alerts: ## Make the Prometheus operator's alerts of k8s/alerts.yaml
	@{ echo '# Made of k8s/alerts.yaml by `make k8s-alerts`; a test holds both equal.'; \
	echo 'apiVersion: monitoring.coreos.com/v1'; echo 'kind: PrometheusRule'; echo 'metadata: {name: docket}'; echo 'spec:'; \
	sed -n '/^groups:/,$$ s/^\(.\)/  \1/p' k8s/alerts.yaml; } >$(OPERATOR_ALERTS)

run: ## Start both services on their default ports, with data in ./data
	@$(CARGO) build --quiet $(PROGRAMS) --bins
	@mkdir -p data/mail
	@echo "scheduler-svc: gRPC 127.0.0.1:7310; worker-svc: gRPC 127.0.0.1:7320; mail folders below data/mail. Ctrl-C stops both."
	@target/debug/scheduler-svc & scheduler=$$!; \
	DOCKET_SOURCES__FOLDER_ROOT=$(CURDIR)/data/mail target/debug/worker-svc & worker=$$!; \
	trap 'kill $$scheduler $$worker 2>/dev/null' INT TERM; \
	wait $$scheduler; wait $$worker; wait

bench: ## Measure upserts, imports, the herd and timing with release builds, beside their goals
	@echo "Building for release. The first time takes some 8 minutes on 2 cores."
	@$(CARGO) build --quiet --release $(PROGRAMS) --bins --example bench
	@target/release/examples/bench
	@$(CARGO) bench --quiet -p scheduler-svc --bench timing

chaos: ## Kill and stop two schedulers, workers and Redis at random; compare (make chaos SECONDS=60 SEED=1)
	@$(CARGO) build --quiet $(PROGRAMS) --bins --example chaos
	@SECONDS=$(SECONDS) SEED=$(SEED) target/debug/examples/chaos

sim: ## Simulate RUNS seeds from SEED on, with faults and a judge (make sim SEED=1 RUNS=10000)
	@$(CARGO) build --quiet $(SIM)
	@target/debug/sim --seed $(SEED) --runs $(RUNS)

sim-bugs: ## Plant one bug after the other; the simulation has to find each
	@$(CARGO) build --quiet $(SIM)
	@target/debug/sim --bugs --seed $(SEED) --runs $(RUNS)

fuzz: ## Fuzz one TARGET of fuzz/fuzz_targets for SECONDS (make fuzz TARGET=pdf SECONDS=300); needs cargo-fuzz, nightly
	@command -v cargo-fuzz >/dev/null || { echo "fuzzing needs cargo-fuzz: cargo install cargo-fuzz --locked"; exit 1; }
	@test -f 'fuzz/fuzz_targets/$(TARGET).rs' || { echo "TARGET is one of:"; ls fuzz/fuzz_targets | sed 's/\.rs$$//'; exit 1; }
	@fuzz/seed $(TARGET)
	@cd fuzz && CARGO_TARGET_DIR=$(CURDIR)/target/fuzz $(CARGO) +nightly fuzz run $(TARGET) -- \
		-max_total_time=$(SECONDS) -max_len=20000 -rss_limit_mb=2048 -timeout=60

lint: $(BUF) ## Formatting, clippy with warnings denied, buf lint
	@$(CARGO) fmt --all --check
	@$(CARGO) clippy --quiet $(PROGRAMS) --all-targets -- -D warnings
	@$(CARGO) clippy --quiet --package simulation --all-targets -- -D warnings
	@$(BUF) lint

deny: ## Licences, sources, advisories and banned crates of all dependencies; needs cargo-deny and the network
	@command -v cargo-deny >/dev/null || { echo "this needs cargo-deny: cargo install cargo-deny --locked"; exit 1; }
	@$(CARGO) deny --workspace check

format: ## Format all code
	@$(CARGO) fmt --all

$(MOTO):
	@python3 -m venv target/moto
	@target/moto/bin/pip install --quiet --disable-pip-version-check 'moto[server]==$(MOTO_VERSION)'

clients/typescript/node_modules: clients/typescript/package-lock.json
	@npm --prefix clients/typescript --silent --no-fund --no-audit ci
	@touch $@

$(CLIENTS_VENV): clients/python/requirements.txt
	@python3 -m venv $@
	@$@/bin/pip install --quiet --disable-pip-version-check --requirement $<
	@touch $@

$(K8S_VENV): k8s/tests/requirements.txt
	@python3 -m venv --clear $@
	@$@/bin/pip install --quiet --disable-pip-version-check -r $<

# Debian's, unpacked and not installed, so that no service starts.
$(PROMETHEUS):
	@mkdir -p $@.new
	@cd $@.new && apt-get download --quiet prometheus && dpkg -x prometheus_*.deb .
	@mv $@.new $@

$(BUF):
	@command -v npm >/dev/null || { echo "buf lint needs npm (Debian: apt-get install npm)"; exit 1; }
	@mkdir -p target/buf
	@npm install --silent --no-fund --no-audit --prefix target/buf @bufbuild/buf@$(BUF_VERSION)
