#!/bin/sh
# Put what the TypeScript client is compiled and tested with into .cache/node. Quick when it is there.
set -eu

cd "$(dirname "$0")/.."
stamp=.cache/node/complete
wanted=$(cat clients/typescript/package.json clients/typescript/package-lock.json | cksum)
if [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$wanted" ]; then exit 0; fi

if ! node -e 'process.exit(AbortSignal.any ? 0 : 1)' >/dev/null 2>&1; then
  printf '%s\n' "The tests run programs in Node, and there is none: install Node 20.3 or newer (nodejs.org)" >&2
  exit 1
fi
printf '%s\n' "system: getting what the TypeScript client is tested with" >&2
rm -rf .cache/node
mkdir -p .cache/node
cp clients/typescript/package.json clients/typescript/package-lock.json .cache/node/
npm ci --prefix .cache/node --silent --no-audit --no-fund --ignore-scripts --cache .cache/npm >&2
printf '%s\n' "$wanted" >"$stamp"
