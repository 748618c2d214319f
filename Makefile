# The commands of this repository. Each is written down once: here, or in the script that a target calls.
.POSIX:
.PHONY: quick build test lint fuzz ci cluster faults alerts soak bench load generate release clean

# What to run before every commit: seconds, not minutes.
quick: build
	.ci/run gofmt vet
	go test ./domain ./application/... ./configs ./docs ./test/architecture

build:
	go build -o bin/chatting ./cmd/chatting

# Everything, on the parts inside; on Kafka and PostgreSQL too if test/infra/up was evaluated.
test:
	go test ./...

lint:
	.ci/run gofmt vet lint

fuzz:
	.ci/run fuzz

# All that CI runs, real parts included.
ci:
	.ci/run

# The cluster suite with its full counts: half an hour. Needs: eval "$(test/infra/up)"
cluster:
	CHATTING_TEST_SCALE=full go test -race -timeout 75m -v ./test/cluster

# Three nodes, three brokers and PostgreSQL under 300 faults, for an hour: docs/reliability.md.
faults:
	go run ./test/storm

# A fault for each alert, seen by a real Prometheus, for half an hour: docs/metrics.md. With: eval "$(test/web/install)" it draws the
# dashboard, too.
alerts:
	go run ./test/alarms

# Whether memory, files or rows grow that nobody needs, while users come and go for an hour: docs/reliability.md.
# Needs: eval "$(test/infra/up)"
soak:
	go run ./test/soak

# The Go benchmarks, with allocations.
bench:
	go test -run '^$$' -bench . -benchmem ./adapters/...

# The server against a bare pipe to Kafka: docs/performance.md explains the tables.
load:
	go run ./test/load

# What is generated: configs/chatting.example.yaml and the table in docs/configuration.md from the table of options, and the page
# docs/api.html from docs/openapi.yaml, docs/asyncapi.yaml and docs/schemas, and docs/openapi-string-ids.yaml from the first.
generate:
	go test ./configs ./docs -update

# The archives of a release of the commit that is checked out, for all platforms, in dist: make release VERSION=v1.2.3
release:
	go run ./.ci/release -version "$(VERSION)" -out dist

clean:
	rm -rf bin dist
