# The targets a contributor needs. Everything is set up by them: `make run` and
# `make test` work in a fresh clone with Go, git and make.

GO      ?= go
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
LDFLAGS := -s -w -X main.version=$(VERSION)
# Flags as for the builds of Kubernetes, so that what they share compiles once.
STATIC  := CGO_ENABLED=0 $(GO)
CLUSTER := bin/cluster

# Time for each fuzz target in `make soak`.
FUZZTIME ?= 10m

.PHONY: build generate test unit e2e deps kube soak fuzz bench bench-baseline bench-compare bench-large lint verify up down run help clean FORCE

build: ## bin/asi-gateway and bin/asictl (a link kubectl-asi makes it a kubectl plugin)
	$(STATIC) build -trimpath -buildvcs=false -ldflags '$(LDFLAGS)' -o bin/ ./cmd/asi-gateway ./cmd/asictl
	@ln -sf asictl bin/kubectl-asi

generate: ## what is made from the kinds in pkg/apis
	hack/generate.sh

$(CLUSTER): FORCE
	@$(STATIC) build -trimpath -buildvcs=false -o $@ ./hack/cluster/cmd/cluster
FORCE:

test: deps kube lint unit e2e ## everything that must pass before a change lands

unit: deps ## packages by themselves, with the race detector; and without it what bounds time, or is left out with it
	$(GO) test -race ./pkg/... ./cmd/... ./bench/... ./test/architecture/... ./test/fixture/...
	$(GO) test -run 'Cost$$' ./pkg/limiter ./pkg/routing
	$(GO) test ./pkg/socket
	cd bench/plot && $(GO) vet ./... && $(GO) test ./...

# The gateway is built by the tests: that it has changed is no reason for go test to
# run them again.
e2e: deps kube ## with the real cluster; one package at a time, they are heavy
	$(GO) test -race -count 1 -p 1 -timeout 30m ./hack/... ./test/attack/... ./test/clients/... ./test/consistency/... ./test/deploy/... ./test/differential/... ./test/failover/... ./test/limits/... ./test/storm/... ./test/survival/...

lint: ## gofmt, vet, staticcheck
	@out=$$(gofmt -l bench cmd hack pkg test); [ -z "$$out" ] || { echo "not formatted, run gofmt -w:"; echo "$$out"; exit 1; }
	$(GO) vet ./...
	$(GO) tool -modfile=hack/tools/go.mod staticcheck ./...

verify: lint generate ## lint, generated files as committed, go.mod files tidy and whole
	git diff --exit-code -- pkg/apis
	$(GO) mod tidy -diff
	$(GO) mod verify
	for m in hack/tools hack/cluster/build/kubernetes hack/cluster/build/etcd hack/cluster/build/kwok bench/plot; do (cd $$m && $(GO) mod tidy -diff) || exit 1; done

deps: ## Debian packages that tests need
	@hack/deps.sh

kube: $(CLUSTER) ## build etcd, Kubernetes and kwok into the cache folder (ASI_KUBE_DIR)
	$(CLUSTER) build

# What the suites that are not about the cache are run with once more; but not
# failover, which counts what reaches the kube-apiservers.
CACHED := pods,nodes,services,endpointslices,configmaps,secrets,namespaces,serviceaccounts,deployments.apps,replicasets.apps

# With -v, so that what a test says of itself can be read although it passes:
# NOT JUDGED, RATE SCALED DOWN, how often was relisted, and what was skipped. The last
# line is without -race, as the gateway is that people run: it has other sockets.
SOAK := ASI_SOAK=1 $(GO) test -p 1 -v -timeout 120m

soak: deps kube fuzz ## long: every fuzz target for FUZZTIME, the end-to-end tests several times over
	$(SOAK) -race -count 5 ./test/attack/... ./test/clients/...
	$(SOAK) -race -count 3 ./test/failover/...
	$(SOAK) -race -count 1 ./hack/... ./pkg/limiter/... ./test/consistency/... ./test/deploy/... ./test/differential/... ./test/limits/... ./test/storm/... ./test/survival/...
	ASI_CACHE_RESOURCES=$(CACHED) $(SOAK) -race -count 1 ./test/attack/... ./test/clients/... ./test/survival/...
	$(SOAK) -count 1 ./test/attack/... ./test/clients/... ./test/consistency/... ./test/differential/... ./test/survival/...

fuzz: ## every fuzz target for FUZZTIME
	hack/fuzz.sh $(FUZZTIME)

PLOT := $(GO) run -C bench/plot . ../results

bench: kube ## figures into bench/results: forwarding, idle watches, and the cache at a small size
	$(GO) run ./bench forward
	$(GO) run ./bench watches
	$(GO) run ./bench cache -out bench/results/small
	$(PLOT)

bench-large: kube ## those of the cache at the size of a large cluster: 50,000 pods, 5,000 nodes; scale and day
	$(GO) run ./bench cache -rounds 5 -pods 50000 -nodes 5000 -watchers 2000 -node-watchers 10000 -storm 5000 -hold 20s
	$(GO) run ./bench scale
	$(GO) run ./bench day
	$(PLOT)

# What bench-compare compares with: a commit, or a file of make bench-baseline.
BASE ?= bench/results/baseline.txt

bench-baseline: ## the benchmarks beside the code, into bench/results/baseline.txt
	hack/micro.sh save bench/results/baseline.txt

bench-compare: ## the same now, beside the baseline; or beside a commit, with BASE=COMMIT
	hack/micro.sh compare $(BASE)

up: kube ## a cluster that stays up: two main and a bypass apiserver
	$(CLUSTER) up

down: $(CLUSTER) ## end what `make up` started
	$(CLUSTER) down

run: kube build ## cluster, sample workload and gateway in the foreground; Ctrl-C ends all
	$(CLUSTER) run --gateway bin/asi-gateway

help: ## this list
	@grep -hE '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z0-9-]+):.*## (.*)/\1\t\2/' | column -t -s "$$(printf '\t')"

clean: ## what make build and make run leave here
	rm -rf bin gateway.kubeconfig
