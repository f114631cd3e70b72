#!/bin/sh
# Build what the tests ask of programs by others (tests/audit/go) and an agent (tests/server/go), into
# .cache/go. Quick when it is there.
set -eu

cd "$(dirname "$0")/.."
root=$(pwd -P)
stamp=.cache/go/complete
wanted=$(cat tests/*/go/go.* tests/*/go/*.go tests/*/go/*/*.go | cksum)
if [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$wanted" ]; then exit 0; fi

if ! go version >/dev/null 2>&1; then
  printf '%s\n' "The tests ask verifiers in Go, and there is none: install Go 1.26 or newer (go.dev/dl)" >&2
  exit 1
fi
printf '%s\n' "system: building verifiers by others, and an agent" >&2
mkdir -p .cache/go
export GOMODCACHE="$root/.cache/go/modules" GOCACHE="$root/.cache/go/build" GOWORK=off
export GOFLAGS="-mod=readonly -modcacherw -trimpath -buildvcs=false"
cd tests/audit/go
go build -o "$root/.cache/go/others" .
go build -o "$root/.cache/go/stranger" ./stranger
cd "$root/tests/server/go"
go build -o "$root/.cache/go/agent" .
cd "$root"
printf '%s\n' "$wanted" >"$stamp"
