# shellcheck shell=bash
# Sourced by the other scripts: where things are. Build outputs lie outside the workspaces.
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
build=${ROTA_BUILD_DIR:-$root/.build}
# Where Debian keeps mkfs, sgdisk and the like, which a user's path leaves out.
export PATH=$PATH:/usr/sbin:/sbin
export CARGO_TERM_COLOR=${CARGO_TERM_COLOR:-auto}

# in_room ROOM COMMAND…: runs a command in client/, server/ or qemu/ with that room's build folder.
in_room() {
    local room=$1
    shift
    (cd "$root/$room" && CARGO_TARGET_DIR=$build/$room "$@")
}
