# How cargo builds for a board's processor; sourced after common.sh by boards/build and
# boards/test, so that what is tested is compiled as what ships.
# shellcheck shell=bash

# Sets RUSTC, RUSTDOC and CARGO to the first ones that have the board's standard library.
toolchain() {
    local folder
    for folder in "$(dirname "$(command -v rustc || echo /usr/bin/rustc)")" /usr/bin; do
        [ -x "$folder/rustc" ] || continue
        [ -d "$("$folder/rustc" --print sysroot)/lib/rustlib/$TARGET/lib" ] || continue
        export RUSTC=$folder/rustc RUSTDOC=$folder/rustdoc CARGO=$folder/cargo
        return
    done
    return 1
}

# cross LINK: the environment of a build that is linked static or dynamic.
cross() {
    needs gcc-aarch64-linux-gnu libc6-dev-arm64-cross pkg-config binutils python3
    toolchain || { needs rustc-web cargo-web libstd-rust-web-dev:arm64 && toolchain; } ||
        die "no Rust here has a standard library for $TARGET"
    local home=${CARGO_HOME:-$HOME/.cargo} flags alsa
    export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$OUT/cargo}
    # folders of this machine must not be told apart in the binary
    flags=("--remap-path-prefix=$ROOT=/demeanor" "--remap-path-prefix=$home=/cargo")
    flags+=("--remap-path-prefix=$CARGO_TARGET_DIR=/target")
    if [ "$1" = static ]; then
        flags+=(-C target-feature=+crt-static)
        alsa=$("$PARTS/alsa-lib")
    else
        needs libasound2-dev:arm64
        alsa=/usr/lib/aarch64-linux-gnu/pkgconfig:/usr/share/pkgconfig
    fi
    export CARGO_ENCODED_RUSTFLAGS=$(IFS=$'\x1f'; echo "${flags[*]}")
    export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=aarch64-linux-gnu-gcc
    export CC_aarch64_unknown_linux_gnu=aarch64-linux-gnu-gcc
    export PKG_CONFIG_ALLOW_CROSS=1 PKG_CONFIG_LIBDIR_aarch64_unknown_linux_gnu=$alsa
    cd "$ROOT"
    "$CARGO" fetch --locked --offline --target $TARGET --quiet 2>/dev/null ||
        "$CARGO" fetch --locked --target $TARGET
}

# Cargo's features of a board's binary.
export BOARD_FEATURES=mic,v4l,tls

# for_board COMMAND [ARGUMENT…]: cargo's command, as the board's binary is built: without the study
# of fusion operators. BOARD_CONFIG may hold a setting, as cargo's --config takes it.
for_board() {
    local command=$1
    shift
    "$CARGO" "$command" --locked --offline --profile board --no-default-features --features "$BOARD_FEATURES" --target $TARGET \
        ${BOARD_CONFIG:+--config "$BOARD_CONFIG"} "$@"
}
