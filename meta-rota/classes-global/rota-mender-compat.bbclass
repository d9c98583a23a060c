# SPDX-License-Identifier: MIT
#
# For those who come from meta-mender: takes the variables of a Mender build for ours, and warns of those that have no
# meaning here. In local.conf:  INHERIT += "rota-mender-compat"
# A variable of ours that is set wins. Partition sizes have one place here, the board's layout: files/layouts.

ROTA_ARTIFACT_NAME ?= "${@rota_mender(d, 'MENDER_ARTIFACT_NAME', '${IMAGE_BASENAME}-${DISTRO_VERSION}')}"
ROTA_DEVICE_TYPE ?= "${@rota_mender(d, 'MENDER_DEVICE_TYPE', '${MACHINE}')}"
ROTA_DEVICE_TYPES ?= "${@rota_mender(d, 'MENDER_DEVICE_TYPES_COMPATIBLE', '${ROTA_DEVICE_TYPE}')}"
ROTA_SIGNING_KEY ?= "${@rota_mender(d, 'MENDER_ARTIFACT_SIGNING_KEY')}"
ROTA_VERIFY_KEYS ?= "${@rota_mender(d, 'MENDER_ARTIFACT_VERIFY_KEY')}"
ROTA_SERVER_URL ?= "${@rota_mender(d, 'MENDER_SERVER_URL')}"
ROTA_SERVER_CA ?= "${@rota_mender(d, 'MENDER_CERT_LOCATION')}"
ROTA_TENANT_TOKEN ?= "${@rota_mender(d, 'MENDER_TENANT_TOKEN')}"
ROTA_POLL_INTERVAL ?= "${@rota_mender_seconds(d, 'MENDER_UPDATE_POLL_INTERVAL_SECONDS')}"
ROTA_INVENTORY_INTERVAL ?= "${@rota_mender_seconds(d, 'MENDER_INVENTORY_POLL_INTERVAL_SECONDS')}"
ROTA_RETRY_INTERVAL ?= "${@rota_mender_seconds(d, 'MENDER_RETRY_POLL_INTERVAL_SECONDS')}"
ROTA_ARTIFACT_ARGS ?= "${@rota_mender_arguments(d)}"

def rota_mender(d, name, otherwise=""):
    return d.getVar(name) or otherwise

def rota_mender_seconds(d, name):
    value = d.getVar(name)
    return value + "s" if value else ""

def rota_mender_arguments(d):
    """Arguments of `rota-artifact write`: Mender's extra ones, provides and depends."""
    words = (d.getVar("MENDER_ARTIFACT_EXTRA_ARGS") or "").split()
    for name, option in (("PROVIDES", "--provides"), ("DEPENDS", "--depends"), ("PROVIDES_GROUP", "--provides-group"),
                         ("DEPENDS_GROUPS", "--depends-groups"), ("NAME_DEPENDS", "--artifact-name-depends")):
        for value in (d.getVar("MENDER_ARTIFACT_" + name) or "").split():
            words += [option, value]
    return " ".join(words)

# What is taken, and what says the same here by itself.
ROTA_MENDER_TAKEN = "\
    MENDER_ARTIFACT_NAME MENDER_DEVICE_TYPE MENDER_DEVICE_TYPES_COMPATIBLE MENDER_ARTIFACT_SIGNING_KEY \
    MENDER_ARTIFACT_VERIFY_KEY MENDER_SERVER_URL MENDER_CERT_LOCATION MENDER_TENANT_TOKEN \
    MENDER_UPDATE_POLL_INTERVAL_SECONDS MENDER_INVENTORY_POLL_INTERVAL_SECONDS MENDER_RETRY_POLL_INTERVAL_SECONDS \
    MENDER_ARTIFACT_EXTRA_ARGS MENDER_ARTIFACT_PROVIDES MENDER_ARTIFACT_DEPENDS MENDER_ARTIFACT_PROVIDES_GROUP \
    MENDER_ARTIFACT_DEPENDS_GROUPS MENDER_ARTIFACT_NAME_DEPENDS MENDER_DATA_PART_DIR \
"
# What belongs into the board's layout.
ROTA_MENDER_LAYOUT = "\
    MENDER_STORAGE_DEVICE MENDER_STORAGE_DEVICE_BASE MENDER_STORAGE_TOTAL_SIZE_MB MENDER_PARTITION_ALIGNMENT \
    MENDER_BOOT_PART_SIZE_MB MENDER_DATA_PART_SIZE_MB MENDER_SWAP_PART_SIZE_MB MENDER_EXTRA_PARTS MENDER_BOOT_PART \
    MENDER_ROOTFS_PART_A MENDER_ROOTFS_PART_B MENDER_DATA_PART MENDER_UBOOT_STORAGE_INTERFACE MENDER_UBOOT_STORAGE_DEVICE \
    MENDER_UBOOT_ENV_STORAGE_DEVICE_OFFSET MENDER_UBOOT_ENV_STORAGE_DEVICE_OFFSET_1 MENDER_UBOOT_ENV_STORAGE_DEVICE_OFFSET_2 \
"

addhandler rota_mender_warn
rota_mender_warn[eventmask] = "bb.event.SanityCheck"
python rota_mender_warn () {
    taken = set(d.getVar("ROTA_MENDER_TAKEN").split())
    layout = set(d.getVar("ROTA_MENDER_LAYOUT").split())
    for name in sorted(name for name in d.keys() if name.startswith("MENDER_") and d.getVar(name)):
        if name in layout:
            bb.warn("rota-mender-compat: %s = \"%s\" has no effect: partitions are in files/layouts/%s.toml" % (
                name, d.getVar(name), d.getVar("MACHINE")))
        elif name not in taken:
            bb.warn("rota-mender-compat: %s has no meaning to meta-rota" % name)
}
