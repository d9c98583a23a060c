#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Puts into the root file system what follows from the board's layout and the options of rota's image (external.mk).
set -eu

here=$(dirname "$0")
meta=$here/../../../meta-rota
work=$BUILD_DIR/rota-image

fail() { echo "rota: $*" >&2; exit 1; }
layout() { "$meta/scripts/rota-layout" "$1" "$ROTA_LAYOUT"; }
# fact NAME: a text of the layout.
fact() { layout json | sed -n "s/^  \"$1\": \"\(.*\)\",*\$/\1/p"; }

[ -n "${ROTA_LAYOUT:-}" ] || fail "BR2_PACKAGE_ROTA_IMAGE and BR2_PACKAGE_ROTA_LAYOUT are needed for this post-build script"
layout fstab | grep -q ' /data ' || fail "$ROTA_LAYOUT mounts no partition at /data, where the client keeps its state"
mkdir -p "$work" "$TARGET_DIR/etc/rota" "$TARGET_DIR/data/rota"
chmod 700 "$TARGET_DIR/data/rota"
ln -sfn /data/rota "$TARGET_DIR/var/lib/rota"

# Where the partitions are mounted.
sed -i '/^# rota: /,$d' "$TARGET_DIR/etc/fstab"
{ echo "# rota: from the board's layout"; layout fstab; } >>"$TARGET_DIR/etc/fstab"
layout fstab | while read -r _ mount _; do mkdir -p "$TARGET_DIR$mount"; done

# The client's configuration; an overlay may bring its own.
made="# Made by post-build.sh."
conf=$TARGET_DIR/etc/rota/rota.toml
if [ ! -e "$conf" ] || [ "$(head -n 1 "$conf")" = "$made" ]; then
    rm -rf "$TARGET_DIR/etc/rota/keys" "$TARGET_DIR/etc/rota/server-ca.pem"
    {
        printf '%s\ndevice_type = "%s"\n\n' "$made" "$ROTA_DEVICE_TYPE"
        if [ -n "$ROTA_SERVER_URL" ]; then
            printf '[server]\nurl = "%s"\n' "$ROTA_SERVER_URL"
            if [ -n "$ROTA_SERVER_CA" ]; then echo 'ca = "/etc/rota/server-ca.pem"'; fi
            echo
        fi
        names=
        for key in $ROTA_VERIFY_KEYS; do names="$names${names:+, }\"/etc/rota/keys/${key##*/}\""; done
        if [ -n "$names" ]; then printf '[artifact]\nverify_keys = [%s]\n\n' "$names"; fi
        layout client
    } >"$conf"
    if [ -n "$ROTA_SERVER_CA" ]; then install -m 0644 "$ROTA_SERVER_CA" "$TARGET_DIR/etc/rota/server-ca.pem"; fi
    for key in $ROTA_VERIFY_KEYS; do install -D -m 0644 "$key" "$TARGET_DIR/etc/rota/keys/${key##*/}"; done
fi
printf 'artifact_name=%s\n' "$ROTA_ARTIFACT_NAME" >"$TARGET_DIR/etc/rota/artifact_info"

# The least epoch of this image: losing the data partition does not lower the floor for releases below it.
rm -f "$TARGET_DIR/usr/lib/rota/epoch"
case ${ROTA_EPOCH:-} in
'') ;;
*[!0-9]*) fail "BR2_PACKAGE_ROTA_EPOCH is $ROTA_EPOCH: expected a number" ;;
*) mkdir -p "$TARGET_DIR/usr/lib/rota" && echo "$ROTA_EPOCH" >"$TARGET_DIR/usr/lib/rota/epoch" ;;
esac

case $(fact backend) in
uboot)
    # Where the client finds U-Boot's environment, and what it makes a lost one anew from.
    layout fw-env >"$TARGET_DIR/etc/fw_env.config"
    layout uboot-board >"$work/board.conf"
    "$meta/recipes-bsp/u-boot/files/rota-uboot" "$work/board.conf" "$work" "$ROTA_UBOOT_DIR/u-boot-initial-env"
    install -m 0644 "$work/rota-env.txt" "$TARGET_DIR/etc/u-boot-initial-env"
    ;;
tryboot)
    # The firmware starts the kernel from a boot partition. The slot carries what belongs there, and the client copies
    # it when it has written the slot.
    "$here/partitions" firmware
    ;;
esac

# The kernel is part of the slot.
kernel=$(fact kernel)
[ "$(fact backend)" = tryboot ] || [ -e "$TARGET_DIR$kernel" ] ||
    fail "the root file system has no $kernel, which $ROTA_LAYOUT starts: set BR2_LINUX_KERNEL_INSTALL_TARGET"
