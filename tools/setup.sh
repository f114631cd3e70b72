#!/bin/sh
# Make .venv hold exactly what uv.lock says. Quick when nothing changed; writes only inside this folder.
set -eu

cd "$(dirname "$0")/.."
root=$(pwd -P)
export UV_CACHE_DIR="$root/.cache/uv"
export UV_PROJECT_ENVIRONMENT="$root/.venv"
export UV_PYTHON_DOWNLOADS=never
export UV_NO_PROGRESS=1
export PIP_CACHE_DIR="$root/.cache/pip"
export TMPDIR="$root/.cache/tmp"
export PIP_DISABLE_PIP_VERSION_CHECK=1
mkdir -p "$TMPDIR"
unset VIRTUAL_ENV PYTHONHOME PYTHONPATH

say() { printf '%s\n' "$*" >&2; }

# A name on PATH is not enough: a version manager's shim may stand there with nothing behind it.
is_usable() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; }

find_python() {
  for name in ${REFOLD_SETUP_PYTHON:-python3 python3.14 python3.13 python3.12 python3.11}; do
    if is_usable "$name"; then
      "$name" -c 'import sys; print(sys.executable)'
      return
    fi
  done
  say "refold needs Python 3.11 or newer, and none was found on PATH."
  say "  Debian 12, Ubuntu 24.04 or newer:  apt-get install python3 python3-venv"
  say "  macOS:                             brew install python@3.12"
  exit 1
}

# The root is part of it: scripts in an environment hold its path, so a moved one is no use.
fingerprint() {
  printf '%s\n' "$root"
  cksum pyproject.toml uv.lock examples/trading/pyproject.toml src/refold/_version.py tools/setup.sh
}

# An environment with the locked uv in it: whatever is at hand makes it, the rest is that uv's work.
make_environment() {
  python=$(find_python)
  say "setup: making .venv with $python"
  locked_uv="uv==$(sed -n '/^name = "uv"$/{n;s/^version = "\(.*\)"$/\1/p;}' uv.lock)"
  if uv --version >/dev/null 2>&1; then
    rm -rf .venv
    uv venv --quiet --python "$python" .venv
    uv pip install --quiet --python .venv/bin/python "$locked_uv"
  elif "$python" -c 'import ensurepip' >/dev/null 2>&1; then
    "$python" -m venv --clear .venv
    .venv/bin/python -m pip install --quiet "$locked_uv"
  elif "$python" -m pip --version >/dev/null 2>&1; then
    "$python" -m venv --clear --without-pip .venv
    "$python" -m pip --python .venv/bin/python install --quiet "$locked_uv"
  else
    say "$python cannot make an environment: it has neither ensurepip nor pip, and uv is not on PATH."
    say "  Debian, Ubuntu:  apt-get install python3-venv"
    say "  elsewhere:       install uv, or a Python that has its venv module whole"
    exit 1
  fi
}

has_environment() {
  is_usable .venv/bin/python && .venv/bin/uv --version >/dev/null 2>&1 &&
    grep -qF "$root/.venv" .venv/bin/activate
}

stamp=.venv/refold-setup
if [ -f "$stamp" ] && is_usable .venv/bin/python && [ "$(cat "$stamp")" = "$(fingerprint)" ]; then
  exit 0
fi

rm -f "$stamp"
has_environment || make_environment
say "setup: installing what uv.lock names"
# Compiled at once, so that the first command is as quick as the second.
.venv/bin/uv sync --quiet --frozen --compile-bytecode
.venv/bin/python -m compileall -q src
fingerprint >"$stamp"
say "setup: done"
