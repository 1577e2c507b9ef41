#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Install the Debian packages named as arguments that are missing, without starting their services.
set -eu

missing=""
for package in "$@"; do
    status=$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null || true)
    [ "$status" = installed ] || missing="$missing $package"
done
[ -n "$missing" ] || exit 0

if [ "$(id -u)" != 0 ]; then
    echo "system packages are missing; as root: apt-get install --no-install-recommends$missing" >&2
    exit 1
fi
echo "installing system packages (their services are not started):$missing" >&2

# Debian starts a daemon when its package is installed, unless policy-rc.d says 101 ("not allowed").
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
    trap 'rm -f "$policy"' EXIT INT TERM
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod 755 "$policy"
fi
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
# shellcheck disable=SC2086 # a list of names
apt-get install -qq -y --no-install-recommends $missing >/dev/null
