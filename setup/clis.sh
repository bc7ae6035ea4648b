#!/usr/bin/env bash
# Agents and SDKs that tests/clis drives, in the versions that its package.json pins, into the cache folder.
# There is no lock file: npm writes none that holds for programs with a binary package for each system.
set -euo pipefail
cd "$(dirname "$0")/.."

folder=$(.venv/bin/python -c 'from openglm.runtime import cache_folder; print(cache_folder() / "clis")')
if cmp -s tests/clis/package.json "$folder/.installed"; then exit 0; fi

printf 'setup: installing agents and SDKs from npm into %s (1.2 GB)\n' "$folder" >&2
mkdir -p "$folder"
rm -f "$folder/.installed"
cp tests/clis/package.json tests/clis/.npmrc "$folder/"
(cd "$folder" && npm install --no-package-lock)
cp tests/clis/package.json "$folder/.installed"
