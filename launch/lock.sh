#!/usr/bin/env bash
# Writes launch/locks anew: of every package that an installation takes, one version and its hashes.
#
#   launch/lock.sh
#
# Versions are the newest within setup.cfg's bounds, for Python 3.12 on 64-bit Linux. It needs uv
# (pip install uv). A lock is named after the extras that it is for, as EXTRA has them.

set -euo pipefail
cd "$(dirname "$0")/.."

# $1: extras with commas between, $2: the oldest platform that has wheels of all.
lock() {
  local extras=()
  IFS=, read -ra extras <<< "$1"
  uv pip compile --quiet --upgrade --generate-hashes --no-header --no-annotate --no-emit-index-url \
    --python-version 3.12 --python-platform "$2" "${extras[@]/#/--extra=}" \
    setup.cfg launch/locks/build.in --output-file "launch/locks/$1.txt"
}

lock cuda13 x86_64-unknown-linux-gnu
lock cuda13,video x86_64-unknown-linux-gnu
lock tpu x86_64-manylinux_2_31
