#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Makes the disk image for the factory and the artifact for the field, from one root file system.
set -eu

here=$(dirname "$0")
meta=$here/../../../meta-rota
work=$BUILD_DIR/rota-image
image=$BINARIES_DIR/rootfs.ext4
artifact=$BINARIES_DIR/$ROTA_ARTIFACT_NAME.mender

fail() { echo "rota: $*" >&2; exit 1; }

[ -e "$image" ] || fail "there is no $image: set BR2_TARGET_ROOTFS_EXT2_4"
[ -z "$ROTA_VERIFY_KEYS" ] || [ -n "$ROTA_SIGNING_KEY" ] ||
    fail "BR2_PACKAGE_ROTA_VERIFY_KEYS is set, so the device would refuse an unsigned artifact: set BR2_PACKAGE_ROTA_SIGNING_KEY"

# The disk. The files of the partitions are made as for root, whoever runs this.
"$meta/scripts/rota-layout" genimage --rootfs "$(stat -L -c %s "$image")" "$ROTA_LAYOUT" >"$work/genimage.cfg"
fakeroot -- "$here/partitions" fill "$work/partitions"
rm -rf "$work/genimage.tmp"
mkdir -p "$work/empty"
genimage --rootpath "$work/empty" --tmppath "$work/genimage.tmp" --inputpath "$work/partitions" \
    --outputpath "$BINARIES_DIR" --config "$work/genimage.cfg"
# The flash of a board that keeps U-Boot's environment there.
[ ! -e "$work/partitions/flash.img" ] || cp "$work/partitions/flash.img" "$BINARIES_DIR/flash.img"

# The artifact, and whether the device will take it.
# shellcheck disable=SC2086 # words, each an argument
rota-artifact write rootfs-image $ROTA_ARTIFACT_ARGS --no-progress -n "$ROTA_ARTIFACT_NAME" -t "$ROTA_DEVICE_TYPE" -f "$image" \
    ${ROTA_EPOCH:+--provides "rota.epoch:$ROTA_EPOCH"} ${ROTA_SIGNING_KEY:+-k "$ROTA_SIGNING_KEY"} -o "$artifact"
set --
for key in $ROTA_VERIFY_KEYS; do set -- "$@" -k "$key"; done
rota-artifact validate --no-progress "$artifact" "$@"
[ -n "$ROTA_SIGNING_KEY" ] || echo "rota: $artifact is not signed: for the bench only"
