SUMMARY = "GRUB for A/B images"
DESCRIPTION = "The loader, rota's boot script and the first environment: what belongs on the EFI system partition."
SECTION = "bootloaders"
LICENSE = "MIT"
LIC_FILES_CHKSUM = "file://${COMMON_LICENSE_DIR}/MIT;md5=0835ade698e0bcf8506ecda2f7b4f302"

DEPENDS = "grub-efi grub-native"

SRC_URI = "file://rota-grub.cfg file://rota-grub-embed.cfg"
S = "${@d.getVar('UNPACKDIR') or d.getVar('WORKDIR')}"

inherit deploy nopackages rota-layout

# nooelint: oelint.file.requirenotfound
require conf/image-uefi.conf

COMPATIBLE_HOST = "(x86_64|i.86|aarch64|arm).*-linux"

# What the boot script uses. A product that verifies its configuration adds pgp or shim modules here.
ROTA_GRUB_MODULES ?= "\
    part_gpt part_msdos fat ext2 normal configfile loadenv test regexp echo linux boot serial terminal \
    reboot halt sleep search search_label search_fs_uuid search_fs_file cat minicmd true \
"
ROTA_GRUB_TARGET:x86-64 = "x86_64-efi"
ROTA_GRUB_TARGET:x86 = "i386-efi"
ROTA_GRUB_TARGET:aarch64 = "arm64-efi"
ROTA_GRUB_TARGET:arm = "arm-efi"

python () {
    if d.getVar("ROTA_BACKEND") not in (None, "", "grub"):
        raise bb.parse.SkipRecipe("the layout of %s boots with %s" % (d.getVar("MACHINE"), d.getVar("ROTA_BACKEND")))
}

do_configure[noexec] = "1"

do_compile() {
    grub-mkimage -O ${ROTA_GRUB_TARGET} -d ${STAGING_LIBDIR}/grub/${ROTA_GRUB_TARGET} -p /grub \
        -c ${S}/rota-grub-embed.cfg -o ${B}/${EFI_BOOT_IMAGE} ${ROTA_GRUB_MODULES}
}

# The environment's two copies, as grub-mender-grubenv lays them out; partition A is committed.
python do_environment() {
    import hashlib
    def block(*lines):
        return ("# GRUB Environment Block\n" + "".join(line + "\n" for line in lines)).ljust(1024, "#").encode()
    part = rota.layout.load(d.getVar("ROTA_LAYOUT_FILE")).of("slot_A").number
    lock = block("editing=0")
    files = {
        "env": block("bootcount=0", "mender_boot_part=%d" % part, "upgrade_available=0"),
        "lock": lock,
        "lock.sha256sum": ("%s  lock\n" % hashlib.sha256(lock).hexdigest()).encode(),
    }
    for copy in ("mender_grubenv1", "mender_grubenv2"):
        folder = os.path.join(d.getVar("B"), "grub-mender-grubenv", copy)
        bb.utils.mkdirhier(folder)
        for name, content in files.items():
            with open(os.path.join(folder, name), "wb") as file:
                file.write(content)
    with open(os.path.join(d.getVar("B"), "rota-grub-defines.cfg"), "w", encoding="utf-8") as file:
        file.write(d.getVar("ROTA_GRUB_DEFINES"))
}
do_environment[dirs] = "${B}"
addtask environment after do_compile before do_deploy

do_install[noexec] = "1"

do_deploy() {
    install -D -m 0644 ${B}/${EFI_BOOT_IMAGE} ${DEPLOYDIR}/rota-grub/EFI/BOOT/${EFI_BOOT_IMAGE}
    install -D -m 0644 ${S}/rota-grub.cfg ${DEPLOYDIR}/rota-grub/grub/grub.cfg
    install -m 0644 ${B}/rota-grub-defines.cfg ${DEPLOYDIR}/rota-grub/grub/
    cp -r ${B}/grub-mender-grubenv ${DEPLOYDIR}/rota-grub/
}
addtask deploy after do_compile before do_build

B = "${WORKDIR}/build"
