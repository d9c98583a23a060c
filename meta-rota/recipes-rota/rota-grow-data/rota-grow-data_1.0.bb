SUMMARY = "Grows the data partition to the end of the disk"
DESCRIPTION = "At the first boot on a disk that is larger than the image; does nothing at the later ones."
SECTION = "base"
LICENSE = "MIT"
LIC_FILES_CHKSUM = "file://${COMMON_LICENSE_DIR}/MIT;md5=0835ade698e0bcf8506ecda2f7b4f302"

SRC_URI = "file://rota-grow-data file://rota-grow-data.service file://rota-grow-data.init"
S = "${@d.getVar('UNPACKDIR') or d.getVar('WORKDIR')}"

inherit allarch systemd update-rc.d

SYSTEMD_SERVICE:${PN} = "rota-grow-data.service"
INITSCRIPT_NAME = "rota-grow-data"
INITSCRIPT_PARAMS = "start 37 S ."

do_configure[noexec] = "1"
do_compile[noexec] = "1"

do_install() {
    install -D -m 0755 ${S}/rota-grow-data ${D}${sbindir}/rota-grow-data
    if ${@bb.utils.contains('DISTRO_FEATURES', 'systemd', 'true', 'false', d)}; then
        install -D -m 0644 ${S}/rota-grow-data.service ${D}${systemd_system_unitdir}/rota-grow-data.service
    fi
    if ${@bb.utils.contains('DISTRO_FEATURES', 'sysvinit', 'true', 'false', d)}; then
        install -D -m 0755 ${S}/rota-grow-data.init ${D}${sysconfdir}/init.d/rota-grow-data
    fi
}

RDEPENDS:${PN} = "e2fsprogs-resize2fs util-linux-partx util-linux-sfdisk"
