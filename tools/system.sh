#!/bin/sh
# What the tests need that no Python package brings: a Chromium to look at the HTML report with,
# PostgreSQL to keep logs in, PgBouncer to stand before it, Java and Maven for the brokers of Kafka
# (tools/kafka.sh) and an agent (tools/java.sh), Node and npm for the TypeScript client (tools/node.sh).
# What is in Go is built by tools/go.sh.
# Debian's root gets it installed; everybody else is told the one command to type.
set -eu

say() { printf '%s\n' "$*" >&2; }

has_chromium() {
  for name in chromium chromium-browser google-chrome google-chrome-stable; do
    if command -v "$name" >/dev/null 2>&1; then return 0; fi
  done
  [ -x "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome" ] ||
    [ -x "/Applications/Chromium.app/Contents/MacOS/Chromium" ]
}

# Debian keeps its programs off the PATH; tests/support/postgres.py looks in the same places.
has_postgres() {
  for program in "$(command -v initdb)" /usr/lib/postgresql/*/bin/initdb \
    /opt/homebrew/opt/postgresql*/bin/initdb /usr/local/opt/postgresql*/bin/initdb; do
    if [ -x "$program" ]; then return 0; fi
  done
  return 1
}

has_pgbouncer() { command -v pgbouncer >/dev/null 2>&1 || [ -x /usr/sbin/pgbouncer ]; }

# Java 17 or newer. A name on PATH is not enough: macOS has one with nothing behind it.
has_java() { java -version >/dev/null 2>&1; }
has_maven() { mvn -v >/dev/null 2>&1; }

has_node() { command -v node >/dev/null 2>&1 && command -v npm >/dev/null 2>&1; }

# Without one of these tools/setup.sh has nothing to start from.
can_make_environment() {
  [ -x .venv/bin/uv ] || uv --version >/dev/null 2>&1 ||
    python3 -c 'import ensurepip' >/dev/null 2>&1 || python3 -m pip --version >/dev/null 2>&1
}

is_debian() { [ -r /etc/os-release ] && grep -q '^ID=debian$' /etc/os-release; }

cd "$(dirname "$0")/.."
packages=
has_chromium || packages="chromium fonts-dejavu-core"
has_postgres || packages="$packages postgresql"
has_pgbouncer || packages="$packages pgbouncer"
has_java || packages="$packages default-jre-headless"
has_maven || packages="$packages maven"
has_node || packages="$packages nodejs npm"
if is_debian && ! can_make_environment; then packages="$packages python3-venv"; fi
if [ -z "$packages" ]; then exit 0; fi

if is_debian && [ "$(id -u)" = 0 ]; then
  say "system: installing $packages"
  export DEBIAN_FRONTEND=noninteractive
  apt-get update -qq -o Acquire::Retries=3
  # shellcheck disable=SC2086 # a list of package names
  apt-get install -qq -y -o Acquire::Retries=3 --no-install-recommends $packages >/dev/null
  exit 0
fi

say "The tests look at the HTML report in Chromium, keep logs in a PostgreSQL behind a PgBouncer and feed"
say "the brokers of Kafka that they start, and run programs in Node; something they need is missing. Install it with"
if [ "$(uname -s)" = Darwin ]; then
  say "  brew install --cask google-chrome; brew install postgresql pgbouncer openjdk maven node"
elif is_debian; then
  say "  sudo apt-get install $packages"
else
  say "  your system's package manager, so that chromium or google-chrome, PostgreSQL's initdb, pgbouncer, java, mvn, node and npm are on PATH"
fi
exit 1
