# SPDX-License-Identifier: MIT
#
# A recipe of update modules: executables named after the payload type they install.
#
#   SRC_URI = "file://fpga-bitstream"
#   inherit rota-module
#
#   ROTA_MODULES         the files, otherwise every local file of SRC_URI
#   ROTA_MODULES_SOURCE  the folder that holds them, otherwise where SRC_URI is unpacked

ROTA_MODULES ?= "${@' '.join(each[len('file://'):].split(';')[0] for each in d.getVar('SRC_URI').split() if each.startswith('file://'))}"
ROTA_MODULES_SOURCE ?= "${@d.getVar('UNPACKDIR') or d.getVar('WORKDIR')}"
ROTA_MODULES_DIR = "${nonarch_libdir}/rota/modules/v3"

do_install:append() {
    for module in ${ROTA_MODULES}; do
        install -D -m 0755 "${ROTA_MODULES_SOURCE}/$module" "${D}${ROTA_MODULES_DIR}/$(basename "$module")"
    done
}

FILES:${PN} += "${ROTA_MODULES_DIR}"
RDEPENDS:${PN} += "rota"
