# SPDX-License-Identifier: Apache-2.0
#
# Sourced by quickstart and tools/check: need PACKAGE... installs the Debian packages that are missing.

say() { printf '\033[1m== %s\033[0m\n' "$*" >&2; }
die() { printf '%s: %s\n' "${0##*/}" "$*" >&2; exit 1; }

# Runs a command as root: directly, or through sudo.
as_root() {
    if [ "$(id -u)" = 0 ]; then
        "$@"
    elif command -v sudo >/dev/null 2>&1; then
        sudo "$@"
    else
        die "neither root nor sudo, for: $*"
    fi
}

need() {
    if ! command -v dpkg-query >/dev/null 2>&1; then
        say "not a Debian system: install by hand what is missing of: $*"
        return 0
    fi
    # A package of another architecture does not count.
    native=$(dpkg --print-architecture)
    missing=
    for package in "$@"; do
        dpkg-query -W -f '${Status} ${Architecture}\n' "$package" 2>/dev/null |
            grep -q "ok installed \($native\|all\)\$" || missing="$missing $package"
    done
    [ -n "$missing" ] || return 0
    say "installing:$missing"
    # Word splitting of the package list is meant.
    # shellcheck disable=SC2086
    { as_root apt-get update -qq &&
        as_root env DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends $missing; } \
        >build-packages.log 2>&1 || { tail -n 20 build-packages.log >&2; die "installing failed:$missing"; }
    rm -f build-packages.log
}
