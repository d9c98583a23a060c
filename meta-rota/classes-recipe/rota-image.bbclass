# SPDX-License-Identifier: MIT
#
# An A/B image: the disk for the factory and the artifact for the field, from one root file system.
#
#   inherit core-image rota-image
#
# or, for an image that is not yours, in local.conf: IMAGE_CLASSES += "rota-image"
#
# Makes, besides what IMAGE_FSTYPES holds already:
#   IMAGE.mender         the artifact (payload rootfs-image), signed when there is a key
#   IMAGE.wic, .wic.bmap the disk as the board's layout says; both slots filled with the very file of the artifact
#
# Variables:
#   ROTA_ARTIFACT_NAME        name of the release
#   ROTA_DEVICE_TYPE          what the device calls itself (also in rota-conf)
#   ROTA_DEVICE_TYPES         the device types that the artifact is for
#   ROTA_ARTIFACT_COMPRESSION gzip (any Mender client reads it), zstd_fast, zstd_better, zstd_best, lzma, none
#   ROTA_SIGNING_KEY          file or PKCS#11 URI of the key that signs the artifact
#   ROTA_VERIFY_KEYS          public keys that the device accepts artifacts of (rota-conf installs them)
#   ROTA_STATE_SCRIPTS        recipes (of class rota-state-scripts) whose scripts go into the artifact
#   ROTA_PRODUCTION           "1": refuse to build what must not leave the house
#   ROTA_EPOCH                a number that never falls: a device that has committed it installs no release with a lower one
#                             (needs signed artifacts; stands in the image and in the artifact)
#   ROTA_ARTIFACT_ARGS        further arguments of `rota-artifact write rootfs-image`
#   ROTA_BOOT_FILES           files of the boot partition, in the form of IMAGE_BOOT_FILES
# What the data partition begins with: install it into /data.

inherit rota-layout

IMAGE_TYPES += "mender"
IMAGE_FSTYPES += "mender wic wic.bmap"
IMAGE_TYPEDEP:mender = "ext4"
IMAGE_TYPEDEP:wic += "ext4"
WKS_FILES = "rota.wks.in"
WKS_SEARCH_PATH:prepend = "${LAYERDIR_ROTA}/files/wic:"

ROTA_ARTIFACT_NAME ?= "${IMAGE_BASENAME}-${DISTRO_VERSION}"
ROTA_DEVICE_TYPE ?= "${MACHINE}"
ROTA_DEVICE_TYPES ?= "${ROTA_DEVICE_TYPE}"
ROTA_ARTIFACT_COMPRESSION ?= "gzip"
ROTA_SIGNING_KEY ?= ""
ROTA_VERIFY_KEYS ?= ""
ROTA_PRODUCTION ?= "0"
ROTA_STATE_SCRIPTS ?= ""
ROTA_ARTIFACT_ARGS ?= ""
ROTA_EPOCH ?= ""
ROTA_BOOT_FILES ?= "${@'rota-grub/*' if d.getVar('ROTA_BACKEND') == 'grub' else d.getVar('IMAGE_BOOT_FILES') or ''}"

# The kernel lives in the slot; the client, and for U-Boot its environment's defaults, too.
ROTA_INSTALL = "packagegroup-rota"
ROTA_INSTALL += "${@'' if d.getVar('ROTA_BACKEND') == 'tryboot' else 'kernel-image kernel-devicetree'}"
ROTA_INSTALL += "${@'u-boot-default-env' if d.getVar('ROTA_BACKEND') == 'uboot' else ''}"
IMAGE_INSTALL:append = " ${ROTA_INSTALL}"
IMAGE_FEATURES += "read-only-rootfs"

# The same input gives the same image.
ROTA_FS_UUID = "${@rota.fill.file_system_uuid(d.getVar('MACHINE'), 'rootfs')}"
EXTRA_IMAGECMD:ext4:append = " -U ${ROTA_FS_UUID} -E hash_seed=${ROTA_FS_UUID}"
export E2FSPROGS_FAKE_TIME = "${REPRODUCIBLE_TIMESTAMP_ROOTFS}"

python () {
    if not bb.utils.contains("DISTRO_FEATURES", "rota", True, False, d):
        raise bb.parse.SkipRecipe('rota-image needs DISTRO_FEATURES:append = " rota"')
    if bb.utils.to_boolean(d.getVar("ROTA_PRODUCTION")):
        faults = rota_production_faults(d)
        if faults:
            raise bb.parse.SkipRecipe("ROTA_PRODUCTION is set, and %s" % "; ".join(faults))
    if d.getVar("ROTA_BACKEND") == "grub":
        d.appendVarFlag("do_image_wic", "depends", " rota-grub:do_deploy")
    if d.getVar("ROTA_FW_ENV"):
        d.appendVarFlag("do_image_wic", "depends", " virtual/bootloader:do_deploy u-boot-tools-native:do_populate_sysroot")
}

def rota_production_faults(d):
    """What of a product's configuration must not leave the house."""
    faults = []
    if not d.getVar("ROTA_SIGNING_KEY"):
        faults.append("ROTA_SIGNING_KEY is empty: the artifact would not be signed")
    if not d.getVar("ROTA_VERIFY_KEYS"):
        faults.append("ROTA_VERIFY_KEYS is empty: the device would take any artifact")
    for feature in ("debug-tweaks", "empty-root-password", "allow-empty-password"):
        if bb.utils.contains("IMAGE_FEATURES", feature, True, False, d):
            faults.append("IMAGE_FEATURES holds %s" % feature)
    return faults

# --- the root file system

ROOTFS_POSTPROCESS_COMMAND += "rota_fstab rota_boot_folder rota_epoch"

python rota_fstab () {
    rootfs = d.getVar("IMAGE_ROOTFS")
    with open(os.path.join(rootfs, "etc", "fstab"), "a", encoding="utf-8") as fstab:
        fstab.write("\n# rota: from the board's layout\n" + d.getVar("ROTA_FSTAB"))
    for line in d.getVar("ROTA_FSTAB").splitlines():
        bb.utils.mkdirhier(rootfs + line.split()[1])
}

# The least epoch of this image: losing the data partition does not lower the floor below it.
python rota_epoch () {
    epoch = d.getVar("ROTA_EPOCH")
    if epoch:
        if not (epoch.isdecimal() and int(epoch) < 2 ** 64):
            bb.fatal('ROTA_EPOCH = "%s": expected a number from 0 to %d' % (epoch, 2 ** 64 - 1))
        folder = d.getVar("IMAGE_ROOTFS") + d.getVar("nonarch_libdir") + "/rota"
        bb.utils.mkdirhier(folder)
        with open(os.path.join(folder, "epoch"), "w", encoding="utf-8") as file:
            file.write(epoch + "\n")
}

# With tryboot the firmware starts the kernel from a boot partition. The slot carries what belongs there, and the client
# copies it when it has written the slot.
python rota_boot_folder () {
    if d.getVar("ROTA_BACKEND") == "tryboot":
        folder = os.path.join(d.getVar("IMAGE_ROOTFS"), "boot", "firmware")
        try:
            rota.fill.copy_boot_files(d.getVar("ROTA_BOOT_FILES").split(), d.getVar("DEPLOY_DIR_IMAGE"), folder)
        except rota.fill.FillError as error:
            bb.fatal(str(error))
        with open(os.path.join(folder, "cmdline.txt"), "w", encoding="utf-8") as file:
            file.write(d.getVar("ROTA_CMDLINE_A"))
}
do_rootfs[depends] += "${@rota_boot_file_tasks(d)}"

def rota_boot_file_tasks(d):
    """The tasks that deploy the boot files: those that the machine names for wic."""
    if d.getVar("ROTA_BACKEND") != "tryboot":
        return ""
    return " ".join(word for word in (d.getVarFlag("do_image_wic", "depends") or "").split() if word.endswith(":do_deploy"))

do_image_ext4[postfuncs] += "rota_check_rootfs"
python rota_check_rootfs () {
    image = os.path.join(d.getVar("IMGDEPLOYDIR"), d.getVar("IMAGE_NAME") + ".ext4")
    try:
        rota.fill.settle_times(image, d.getVar("IMAGE_ROOTFS"), rota_source(d))
        rota.layout.check_rootfs(rota.layout.load(d.getVar("ROTA_LAYOUT_FILE")), os.stat(image).st_size)
    except (rota.fill.FillError, rota.layout.LayoutError) as error:
        bb.fatal(str(error))
}

def rota_source(d):
    """Where the contents of partitions come from."""
    deploy = d.getVar("DEPLOY_DIR_IMAGE")
    return rota.fill.Source(
        rootfs=d.getVar("IMAGE_ROOTFS"),
        image=os.path.join(d.getVar("IMGDEPLOYDIR"), d.getVar("IMAGE_LINK_NAME") + ".ext4"),
        deploy=deploy,
        boot_files=d.getVar("ROTA_BOOT_FILES").split(),
        uboot_env=os.path.join(deploy, "rota-env.txt"),
        path=d.getVar("PATH"),
        epoch=d.getVar("REPRODUCIBLE_TIMESTAMP_ROOTFS"),
    )

# --- the artifact

do_image_mender[depends] += "rota-artifact-native:do_populate_sysroot"
do_image_mender[depends] += "${@' '.join(each + ':do_deploy' for each in d.getVar('ROTA_STATE_SCRIPTS').split())}"
IMAGE_CMD:mender () {
    set -- -n "${ROTA_ARTIFACT_NAME}" -f "${IMGDEPLOYDIR}/${IMAGE_LINK_NAME}.ext4" -o "${IMGDEPLOYDIR}/${IMAGE_NAME}.mender"
    for type in ${ROTA_DEVICE_TYPES}; do
        set -- "$@" -t "$type"
    done
    for recipe in ${ROTA_STATE_SCRIPTS}; do
        for script in "${DEPLOY_DIR_IMAGE}/rota-state-scripts/$recipe"/*; do
            set -- "$@" -s "$script"
        done
    done
    if [ -n "${ROTA_EPOCH}" ]; then
        set -- "$@" --provides "rota.epoch:${ROTA_EPOCH}"
    fi
    if [ -n "${ROTA_SIGNING_KEY}" ]; then
        set -- "$@" -k "${ROTA_SIGNING_KEY}"
    fi
    rota-artifact write rootfs-image "$@" --compression "${ROTA_ARTIFACT_COMPRESSION}" ${ROTA_ARTIFACT_ARGS}
}
# --- the files that fill the partitions, for wic

do_image_wic[prefuncs] += "rota_fill_partitions"
do_image_wic[depends] += "dosfstools-native:do_populate_sysroot mtools-native:do_populate_sysroot e2fsprogs-native:do_populate_sysroot"
python rota_fill_partitions () {
    folder = d.getVar("ROTA_PARTITIONS")
    try:
        rota.fill.fill(rota.layout.load(d.getVar("ROTA_LAYOUT_FILE")), folder, rota_source(d))
    except rota.fill.FillError as error:
        bb.fatal(str(error))
    flash = os.path.join(folder, "flash.img")
    if os.path.exists(flash):
        bb.utils.copyfile(flash, os.path.join(d.getVar("IMGDEPLOYDIR"), "rota-flash.img"))
}
