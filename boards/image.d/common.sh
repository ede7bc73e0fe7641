# Shared by the scripts beside it; sourced, not run.
# shellcheck shell=bash

TARGET=aarch64-unknown-linux-gnu
ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
PARTS=$ROOT/boards/image.d
OUT=$ROOT/target/boards
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git -C "$ROOT" log -1 --format=%ct 2>/dev/null || date -r "$ROOT/Cargo.lock" +%s)}
export SOURCE_DATE_EPOCH LC_ALL=C TZ=UTC PATH=$PATH:/usr/sbin:/sbin
umask 022

step() { printf '== %s\n' "$*" >&2; }
die() { printf 'error: %s\n' "$*" >&2; exit 2; }

# made FILE: says what was made and how large it is on disk.
made() { printf '  %7.2f MiB  %s\n' "$(du -k "$1" | awk '{print $1 / 1024}')" "${1#"$ROOT"/}"; }

# The text at the head of a script, from its second line to the first that is no comment.
usage() { sed -n '2,/^[^#]/s/^# \{0,1\}//p' "$1"; }

# check_board NAME: there is such a board, and it is none that is built by cargo alone.
check_board() {
    local known
    known=$(cd "$ROOT/boards" && echo */board.toml | sed 's,/board.toml,,g')
    [ "$1" != host ] || die "host is the machine you sit at: cargo build --release"
    [ -f "$ROOT/boards/$1/board.toml" ] || die "there is no board '$1'; known are $known"
}

installed() { dpkg-query -W -f '${db:Status-Status}\n' "$1" 2>/dev/null | grep -qx installed; }

# needs PACKAGE…: installs what is missing when root, else says what to install.
needs() {
    local missing=() package
    command -v dpkg-query >/dev/null ||
        die "this script takes its tools and the board's packages from Debian or a relative of it"
    for package; do installed "$package" || missing+=("$package"); done
    [ ${#missing[@]} -gt 0 ] || return 0
    local foreign='dpkg --add-architecture arm64 && apt-get update && '
    [[ "${missing[*]}" == *:arm64* ]] || foreign='apt-get update && '
    [ "$(id -u)" = 0 ] ||
        die "not all is installed; as root: ${foreign}apt-get install --no-install-recommends ${missing[*]}"
    step "installing ${missing[*]}"
    foreign_packages
    DEBIAN_FRONTEND=noninteractive \
        apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
}

# Lets this machine know packages of arm64, once.
foreign_packages() {
    [ "$(dpkg --print-architecture)" = arm64 ] || dpkg --add-architecture arm64
    apt-cache show libc6:arm64 >/dev/null 2>&1 || apt-get update -qq
}
