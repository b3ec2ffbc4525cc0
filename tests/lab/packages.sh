#!/usr/bin/env bash
# Installs the Debian packages that the tests and the demo need, as far as they are missing, and says
# which and why. Usage: tests/lab/packages.sh [NAME…]; without names: all that `make test` needs.
# On failure it says what to do by hand and ends with status 1.
set -euo pipefail

# package|why|a file or a pattern of files that it brings
known=(
    "make|runs the Makefile|/usr/bin/make"
    "postfix|the end-to-end tests deliver through a real one|/usr/sbin/postfix"
    "miltertest|another client of the milter protocol plays with ours|/usr/bin/miltertest"
    "postgresql|the store's contract is tested on a real one|/usr/lib/postgresql/*/bin/postgres"
)

missing=()
for entry in "${known[@]}"; do
    IFS='|' read -r package why brings <<<"$entry"
    if [ $# -gt 0 ] && [[ " $* " != *" $package "* ]]; then continue; fi
    if [ $# -eq 0 ] && [ "$package" = make ]; then continue; fi
    # shellcheck disable=SC2086 # the pattern is meant to expand
    if compgen -G $brings >/dev/null; then continue; fi
    echo "missing: $package ($why)" >&2
    missing+=("$package")
done
if [ ${#missing[@]} -eq 0 ]; then exit 0; fi

if ! command -v apt-get >/dev/null; then
    echo "This script knows only Debian's apt-get. Please install the equivalents of: ${missing[*]}" >&2
    exit 1
fi
root=()
if [ "$(id -u)" -ne 0 ]; then
    if ! command -v sudo >/dev/null; then
        echo "Neither root nor sudo here. Please run as root: apt-get install ${missing[*]}" >&2
        exit 1
    fi
    root=(sudo)
fi
echo "installing with apt-get${root:+ (through sudo)}: ${missing[*]}" >&2

# The tests start their own instances: a system-wide Postfix on port 25 or a Postgres cluster on 5432
# would only be in the way. policy-rc.d keeps the packages from starting them; one that is there
# already is the machine's own policy and stays.
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
    printf '#!/bin/sh\nexit 101\n' | "${root[@]}" tee "$policy" >/dev/null
    "${root[@]}" chmod 755 "$policy"
    trap '"${root[@]}" rm -f "$policy"' EXIT
fi

quietly=(env DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=300 -q -y)
"${root[@]}" "${quietly[@]}" update
if [[ " ${missing[*]} " == *" postfix "* ]] && command -v debconf-set-selections >/dev/null; then
    echo "postfix postfix/main_mailer_type select No configuration" | "${root[@]}" debconf-set-selections
fi
"${root[@]}" "${quietly[@]}" install --no-install-recommends "${missing[@]}"
