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
export PIP_DISABLE_PIP_VERSION_CHECK=1
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

# Scripts in an environment hold its path, so a moved folder needs a new environment as a new lock does.
fingerprint() {
  printf '%s\n' "$root"
  cksum pyproject.toml uv.lock src/refold/_version.py tools/setup.sh
}

bootstrap_uv() {
  uv_version=$(sed -n '/^name = "uv"$/{n;s/^version = "\(.*\)"$/\1/p;}' uv.lock)
  if "$python" -c 'import ensurepip' >/dev/null 2>&1; then
    "$python" -m venv --clear .venv
    .venv/bin/python -m pip install --quiet "uv==$uv_version"
  elif "$python" -m pip --version >/dev/null 2>&1; then
    "$python" -m venv --clear --without-pip .venv
    "$python" -m pip --python .venv/bin/python install --quiet "uv==$uv_version"
  else
    say "$python can make no environment: it has neither ensurepip nor pip, and uv is not on PATH."
    say "  Debian, Ubuntu:  apt-get install python3-venv"
    say "  elsewhere:       install uv, or a Python that has its venv module whole"
    exit 1
  fi
}

stamp=.venv/refold-setup
if [ -f "$stamp" ] && is_usable .venv/bin/python && [ "$(cat "$stamp")" = "$(fingerprint)" ]; then
  exit 0
fi

rm -f "$stamp"
if ! { is_usable .venv/bin/python && .venv/bin/uv --version; } >/dev/null 2>&1; then
  python=$(find_python)
  say "setup: making .venv with $python"
  if uv --version >/dev/null 2>&1; then
    uv venv --quiet --clear --python "$python" .venv
    uv=uv
  else
    bootstrap_uv
    uv=.venv/bin/uv
  fi
else
  uv=.venv/bin/uv
fi

say "setup: installing what uv.lock names"
"$uv" sync --quiet --frozen
fingerprint >"$stamp"
say "setup: done"
