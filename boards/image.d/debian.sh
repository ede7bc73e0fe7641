# A small Debian with demeanor as a service; sourced by boards/image.
#
# No program of the board runs on this machine: what packages do when they are set up, they do
# in QEMU, on the board's kernel.
# shellcheck shell=bash

make_debian() {
    [ "$(id -u)" = 0 ] || die "the files of a system belong to root: run this as root"
    needs debootstrap e2fsprogs cpio kmod qemu-system-arm
    local kernel modules disk=$place/root.ext4
    kernel=$(kernel)
    mapfile -t modules < <(grep -v '^#' "$PARTS/modules")
    install -m 644 "$kernel"/boot/vmlinuz-* "$place/vmlinuz"
    step "the kernel's first file system"
    root_initrd "$kernel"
    step "packages of the system"
    unpack_system "$root/system"
    install_service "$root/system"
    [ "$rehearse" = no ] || rehearse_system "$root/system"
    install_modules "$kernel" "$root/system" "${modules[@]}"
    rm -f "$disk" "$disk.part"
    mke2fs -q -t ext4 -L demeanor -d "$root/system" "$disk.part" "${SIZE:-768M}"
    step "setting them up in QEMU (some minutes)"
    set_up "$disk.part"
    mv "$disk.part" "$disk"
    made "$disk"
}

# root_initrd KERNEL: an initramfs that finds the root file system.
root_initrd() {
    local disks=(virtio_pci virtio_mmio virtio_blk mmc_block sdhci-iproc ext4 crc32c_generic)
    mkdir -p "$root/initrd"/{dev,etc,proc,root}
    install_busybox "$root/initrd"
    install -m 755 "$PARTS/root-init" "$root/initrd/init"
    install_modules "$1" "$root/initrd" "${disks[@]}"
    echo "${disks[*]}" >"$root/initrd/etc/modules"
    pack "$root/initrd" "$place/root.initrd.gz"
}

# unpack_system FOLDER: what systemd and ALSA need, from the release of this machine.
unpack_system() {
    local release mirror
    read -r release mirror < <(apt-get indextargets 'Created-By: Packages' 'Origin: Debian' \
        'Component: main' 'Architecture: arm64' --format '$(CODENAME) $(REPO_URI)' | grep -v -- - | head -1)
    debootstrap --foreign --arch=arm64 --variant=minbase \
        --include=systemd-sysv,udev,kmod,libasound2-data,libasound2 \
        "$release" "$1" "$mirror" >"$OUT/debootstrap.log" ||
        die "the packages did not come; see $OUT/debootstrap.log"
    # debootstrap in a container leaves a link to itself there
    rm -rf "$1/proc" && mkdir "$1/proc"
    echo demeanor >"$1/etc/hostname"
    echo 'LABEL=demeanor / ext4 defaults,noatime 0 1' >"$1/etc/fstab"
    install -m 755 "$PARTS/second-stage" "$1/second-stage"
}

# What boards/boot needs besides.
rehearse_system() {
    local drop=$1/etc/systemd/system/demeanor.service.d
    modules+=(snd-aloop vivid)
    rehearsal "$1"
    install -D -m 644 "$PARTS/test/rehearsal.service" "$1/etc/systemd/system/rehearsal.service"
    install -D -m 644 "$PARTS/test/rehearsal.conf" "$drop/rehearsal.conf"
    # the console is the shell's
    ln -s /dev/null "$1/etc/systemd/system/serial-getty@ttyAMA0.service"
}

# set_up DISK: the second stage, in QEMU.
set_up() {
    local log=$OUT/second-stage.log
    timeout 900 qemu-system-aarch64 -M virt -cpu cortex-a72 -smp 2 -m 1024 -nic none -nographic \
        -no-reboot -kernel "$place/vmlinuz" -initrd "$place/root.initrd.gz" \
        -drive "file=$1,format=raw,if=virtio,cache=unsafe" \
        -append "console=ttyAMA0 quiet panic=-1 init=/second-stage" >"$log" </dev/null || true
    grep -q '^second stage: done' "$log" || { tail -20 "$log" >&2; die "the packages were not set up; see $log"; }
}
