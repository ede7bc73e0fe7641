# What a board with a system of its own gets: binary, unit, config; sourced by boards/image.
# shellcheck shell=bash

# install_service ROOT: demeanor as an enabled service, where boards/systemd says.
install_service() {
    local units=$ROOT/boards/systemd etc=$1/etc
    install -D -m 755 "$binary" "$1/usr/bin/demeanor"
    install -D -m 644 -t "$1/usr/share/doc/demeanor" "$(dirname "$binary")"/licences/*
    install -D -m 644 "$config" "$etc/demeanor.toml"
    install -D -m 644 -t "$etc/systemd/system" "$units/demeanor.service"
    install -D -m 644 -t "$etc/systemd" "$units/journald@demeanor.conf"
    install -D -m 644 "$units/sysusers.conf" "$etc/sysusers.d/demeanor.conf"
    install -D -m 644 -t "$etc/udev/rules.d" "$units/60-demeanor.rules"
    mkdir -p "$etc/systemd/system/multi-user.target.wants"
    ln -sf ../demeanor.service "$etc/systemd/system/multi-user.target.wants/"
}

make_overlay() {
    needs zstd tar
    local file=$place/demeanor-$board.tar.zst
    step "the overlay for the system of $board"
    install_service "$root"
    # files alone: the folders of the board's system stay as they are
    (cd "$root" && find . \( -type f -o -type l \) -print0 | sort -z |
        tar -c --null -T - --owner=0 --group=0 --numeric-owner --mtime="@$SOURCE_DATE_EPOCH") |
        zstd -q -19 -f -o "$file"
    made "$file"
}
