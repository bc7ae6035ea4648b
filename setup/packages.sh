#!/usr/bin/env bash
# The tests drive Debian's Chromium (with a Chinese font), a PostgreSQL server and nginx; install what is missing.
set -euo pipefail

say() { printf '%s\n' "setup: $*" >&2; }

missing=()
command -v chromium > /dev/null || command -v chromium-browser > /dev/null || missing+=(chromium)
fc-list :lang=zh 2> /dev/null | grep -q . || missing+=(fontconfig fonts-noto-cjk)
command -v pg_ctl > /dev/null || compgen -G '/usr/lib/postgresql/*/bin/pg_ctl' > /dev/null || missing+=(postgresql)
PATH=$PATH:/usr/sbin command -v nginx > /dev/null || missing+=(nginx-light)
if [ ${#missing[@]} -eq 0 ]; then exit 0; fi

if ! command -v apt-get > /dev/null; then
  say "the tests need: ${missing[*]}; install them with this system's package manager"
  exit 1
fi
if [ "$(id -u)" -eq 0 ]; then as_root=(); elif sudo -n true 2> /dev/null; then as_root=(sudo -n); else
  say "the tests need: ${missing[*]}; run: sudo apt-get install ${missing[*]}"
  exit 1
fi
say "installing ${missing[*]} for the tests"
${as_root[@]+"${as_root[@]}"} apt-get update
${as_root[@]+"${as_root[@]}"} env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "${missing[@]}"
