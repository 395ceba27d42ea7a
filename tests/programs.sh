#!/bin/sh
# Install what some tests need besides Python packages: ngspice for circuits, Chromium for the report's page, PostgreSQL
# for workers of one study. Where that cannot be done the tests run all the same, those skip themselves, and a sentence says how to have them.
as_root="env DEBIAN_FRONTEND=noninteractive"
[ "$(id -u)" = 0 ] || as_root="sudo -n $as_root"

missing=
for program in ngspice chromium; do
  command -v "$program" >/dev/null && continue
  [ "$program" = chromium ] && { command -v chromium-browser || command -v google-chrome; } >/dev/null && continue
  missing="$missing $program"
done
# Debian keeps its programs off the path.
set -- /usr/lib/postgresql/*/bin/initdb
command -v initdb >/dev/null || [ -e "$1" ] || missing="$missing postgresql"
[ -z "$missing" ] && exit 0

echo "installing$missing for the tests" >&2
if command -v apt-get >/dev/null; then
  $as_root apt-get update -qq >/dev/null 2>&1
fi
for program in $missing; do
  # One at a time: what one distribution lacks must not keep the other out.
  if ! { command -v apt-get && $as_root apt-get install -y -qq -o DPkg::Lock::Timeout=120 "$program"; } >/dev/null 2>&1; then
    echo "Left out: the tests that need $program, which could not be installed; install it yourself and run this again." >&2
  fi
done
