#!/bin/sh
# Put axe-core, which the tests look at pages with, into .cache/axe. Quick when it is there.
set -eu

cd "$(dirname "$0")/.."
stamp=.cache/axe/complete
wanted=$(cat tools/axe/package.json tools/axe/package-lock.json | cksum)
if [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$wanted" ]; then exit 0; fi

printf '%s\n' "system: getting what pages are checked with" >&2
rm -rf .cache/axe
mkdir -p .cache/axe
cp tools/axe/package.json tools/axe/package-lock.json .cache/axe/
npm ci --prefix .cache/axe --silent --no-audit --no-fund --ignore-scripts --cache .cache/npm >&2
printf '%s\n' "$wanted" >"$stamp"
