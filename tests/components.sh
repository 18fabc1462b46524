#!/bin/sh
# Installs from Debian what tests use and this machine lacks. Where it cannot, it fails: CI must not skip what
# it could run.
set -u

have() {
    command -v "$1" >/dev/null
}

fail() {
    echo "components: $1" >&2
    exit 1
}

# Each package in $@, by the programs that tests look for.
set --
have chromium || have chromium-browser || have google-chrome || set -- "$@" chromium
{ have prometheus && have promtool; } || set -- "$@" prometheus
have wrk || set -- "$@" wrk
[ $# -gt 0 ] || exit 0

have apt-get || fail "there is no apt-get to install $*: install them by hand."
[ "$(id -u)" -eq 0 ] || fail "only root can install $*: apt-get install --no-install-recommends $*"

# Debian's prometheus starts a daemon as soon as it is installed, unless this file forbids it: tests start one
# of their own. Images of containers have such a file.
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
    trap 'rm -f "$policy"' EXIT
    trap 'exit 1' HUP INT TERM
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod 755 "$policy"
fi

echo "Installing $* with apt-get…"
export DEBIAN_FRONTEND=noninteractive
apt-get -qq update || fail "apt-get update failed, so $* cannot be installed."
# All that apt-get says is of use only if it fails.
said=$(apt-get -qq -y --no-install-recommends install "$@" 2>&1) || {
    echo "$said" >&2
    fail "apt-get could not install $*."
}
