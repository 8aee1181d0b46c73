# SPDX-License-Identifier: Apache-2.0
#
# Sourced by quickstart and tools/check: need PACKAGE... installs the Debian packages that are missing,
# need_amd_compiler what builds code for AMD GPUs.

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

# have PACKAGE...: whether all of them are installed, or can be.
have() {
    for package in "$@"; do
        apt-cache policy "$package" 2>/dev/null | grep -q 'Candidate: [^(]' || return 1
    done
}

# need_amd_compiler: clang and lld for AMD GPUs, the newest that the distribution has, which knows most of them; without
# them the HIP backend is built for its tests only.
need_amd_compiler() {
    [ ! -x /opt/rocm/llvm/bin/clang ] || return 0
    for version in 19 20 21 22; do
        [ ! -x "/usr/lib/llvm-$version/bin/clang" ] || [ ! -x "/usr/lib/llvm-$version/bin/ld.lld" ] || return 0
    done
    for version in 22 21 20 19; do
        if have "clang-$version" "lld-$version"; then
            need "clang-$version" "lld-$version"
            return 0
        fi
    done
    say "left out: code for AMD GPUs (this distribution has no clang and lld from 19 on)"
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

# PoCL 5.0 (Ubuntu 24.04) ends processes unless it compiles loops with barriers in this way (docs/opencl.md).
if command -v dpkg-query >/dev/null 2>&1; then
    case "$(dpkg-query -W -f '${Version}' pocl-opencl-icd 2>/dev/null || true)" in
    5.0*) export POCL_WORK_GROUP_METHOD=cbs ;;
    esac
fi
