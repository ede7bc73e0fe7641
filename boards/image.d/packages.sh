# Packages of the board's architecture, unpacked beside each other; sourced by boards/image.
# shellcheck shell=bash

# unpacked PACKAGE[:arm64]: downloads it once; prints the folder with its content.
unpacked() {
    local folder=$OUT/packages/${1%:*} fresh
    if [ ! -d "$folder" ]; then
        fresh=$(mktemp -d "$OUT/.package.XXXXXX")
        (cd "$fresh" && apt-get download -qq -o APT::Sandbox::User="$(id -un)" "$1" >&2) ||
            die "package $1 cannot be downloaded"
        mkdir -p "$OUT/packages"
        dpkg-deb -x "$fresh"/*.deb "$fresh/content"
        mv "$fresh/content" "$folder"
        rm -r "$fresh"
    fi
    echo "$folder"
}

# The kernel that linux-image-arm64 stands for, unpacked.
kernel() {
    local package
    package=$(cd "$OUT/packages" 2>/dev/null && echo linux-image-[0-9]*)
    [ -d "$OUT/packages/$package" ] ||
        package=$(apt-cache depends linux-image-arm64:arm64 | sed -n 's/^  Depends: \(linux-image-[^:]*\).*/\1/p')
    unpacked "${package:?no linux-image-arm64 is known to apt}:arm64"
}

# install_modules KERNEL ROOT MODULE…: copies modules and what they need.
install_modules() {
    local kernel=$1 root=$2 version path
    shift 2
    version=$(ls "$kernel/lib/modules")
    [ -f "$kernel/lib/modules/$version/modules.dep" ] || depmod -b "$kernel" "$version"
    modprobe -d "$kernel" -S "$version" --show-depends -a "$@" |
        sed -n "s,^insmod $kernel/\([^ ]*\).*,\1,p" | sort -u |
        while read -r path; do install -D -m 644 "$kernel/$path" "$root/$path"; done
    cp "$kernel/lib/modules/$version"/modules.{order,builtin,builtin.modinfo} "$root/lib/modules/$version/"
    depmod -b "$root" "$version"
}

# busybox ROOT: the static one with a link for each of its commands.
install_busybox() {
    local busybox command
    busybox=$(unpacked busybox-static:arm64)/bin/busybox
    install -D -m 755 "$busybox" "$1/bin/busybox"
    # its list of commands is text inside: no emulator is needed to ask for it
    for command in [ ash awk cat chmod cp cut date dmesg echo find free grep head hostname id \
        kill killall ln ls lsmod mkdir mkfifo mknod modprobe mount mv pidof poweroff ps pwd \
        reboot rm sed setsid sh sleep sort stat stty switch_root sync tail test top touch tr \
        umount uname vi wc; do
        ln -s busybox "$1/bin/$command"
    done
}

# pack ROOT FILE: an initramfs that depends on the content alone.
pack() {
    find "$1" -exec touch -h -d "@$SOURCE_DATE_EPOCH" {} +
    (cd "$1" && find . -print0 | sort -z |
        cpio --null --create --format newc --owner 0:0 --reproducible --quiet) | gzip -6n >"$2"
    made "$2"
}
