# The small image: everything in memory; sourced by boards/image.
# shellcheck shell=bash

make_initramfs() {
    needs cpio kmod
    local kernel data modules
    kernel=$(kernel)
    data=$(unpacked libasound2-data)
    mkdir -p "$root"/{bin,dev,etc,lib,proc,run,sys,tmp,usr/bin,usr/share,var/lib/demeanor}
    install_busybox "$root"
    install -m 755 "$binary" "$root/usr/bin/demeanor"
    install -m 644 "$config" "$root/etc/demeanor.toml"
    install -m 755 "$PARTS/init" "$root/init"
    echo 'root:x:0:0:root:/:/bin/sh' >"$root/etc/passwd"
    printf '%s\n' root:x:0: audio:x:29: video:x:44: >"$root/etc/group"
    cp -r "$data/usr/share/alsa" "$root/usr/share/alsa"
    mapfile -t modules < <(grep -v '^#' "$PARTS/modules")
    printf '%s\n' "${modules[@]}" >"$root/etc/modules"
    if [ "$rehearse" = yes ]; then
        modules+=(snd-aloop vivid)
        rehearsal "$root"
        player_libraries "$root"
    fi
    install_modules "$kernel" "$root" "${modules[@]}"
    step "the small image of $board"
    install -m 644 "$kernel"/boot/vmlinuz-* "$place/vmlinuz"
    cp "$kernel"/usr/lib/linux-image-*/broadcom/bcm2837-rpi-3-b.dtb "$place/"
    pack "$root" "$place/initrd.gz"
}

# What boards/boot needs besides: a recording, its words, something that plays it, and recordings
# to adapt to.
rehearsal() {
    install -m 644 "$PARTS/test/rehearsal" "$1/etc/rehearsal"
    install -m 644 "$sound" "$1/usr/share/sound.wav"
    install -m 644 "${sound%.wav}.txt" "$1/usr/share/sound.txt"
    install -D -m 644 -t "$1/usr/share/recordings" "$ROOT"/tests/data/recordings/*
    install -m 755 "$(unpacked alsa-utils:arm64)/usr/bin/aplay" "$1/usr/bin/aplay"
}

# aplay alone is dynamic: its libraries and the loader.
player_libraries() {
    local folder package
    for package in libc6 libasound2; do
        folder=$(unpacked $package:arm64)
        find "$folder" -path '*/aarch64-linux-gnu/*' \( -name 'ld-linux-*' -o -name libc.so.6 \
            -o -name libm.so.6 -o -name libasound.so.2 \) -exec cp -L -t "$1/lib" {} +
    done
}
