# SPDX-License-Identifier: MIT
#
# A board's layout for recipes: reads files/layouts/${ROTA_LAYOUT} of any layer and sets what follows from it.
#
#   ROTA_LAYOUT          file name; ${MACHINE}.toml unless set
#   ROTA_LAYOUT_OPTIONAL "1": a machine without a layout is none of this recipe's business
#
# Set by this class, empty without a layout:
#   ROTA_BACKEND         grub, uboot or tryboot
#   ROTA_DATA_MOUNT      where the data partition is mounted
#   ROTA_CLIENT_CONF     [slots] and [boot] of rota.toml
#   ROTA_FSTAB, ROTA_FW_ENV, ROTA_UBOOT_CONFIG, ROTA_UBOOT_BOARD, ROTA_GRUB_DEFINES, ROTA_AUTOBOOT, ROTA_CMDLINE_A, _B
#   ROTA_WKS             the kickstart file, naming files in ${ROTA_PARTITIONS}
# They are plain text: signatures follow the layout and nothing else.

ROTA_LAYOUT ?= "${MACHINE}.toml"
ROTA_LAYOUT_OPTIONAL ?= "0"
ROTA_LAYOUT_FILE = "${@rota_layout_file(d)}"
ROTA_LAYOUT_FILE[vardepvalue] = "${ROTA_LAYOUT}"
ROTA_PARTITIONS ?= "${WORKDIR}/rota-partitions"

PACKAGE_ARCH = "${MACHINE_ARCH}"

def rota_layout_file(d):
    path = ":".join(os.path.join(each, "files", "layouts") for each in d.getVar("BBPATH").split(":"))
    return bb.utils.which(path, d.getVar("ROTA_LAYOUT"))

def rota_layout(d):
    file = d.getVar("ROTA_LAYOUT_FILE")
    if not file:
        raise bb.parse.SkipRecipe("no layer has files/layouts/%s: write the layout of this board there, or name another "
                                  "one with ROTA_LAYOUT (see docs/porting.md of meta-rota)" % d.getVar("ROTA_LAYOUT"))
    bb.parse.mark_dependency(d, file)
    try:
        return rota.layout.load(file)
    except rota.layout.LayoutError as error:
        raise bb.parse.SkipRecipe(str(error))

python () {
    if not d.getVar("ROTA_LAYOUT_FILE") and bb.utils.to_boolean(d.getVar("ROTA_LAYOUT_OPTIONAL")):
        return
    layout = rota_layout(d)
    derive = rota.derive
    backend = layout.boot.backend
    d.setVar("ROTA_BACKEND", backend)
    d.setVar("ROTA_DATA_MOUNT", layout.of("data").mount or "")
    d.setVar("ROTA_CLIENT_CONF", derive.client(layout))
    d.setVar("ROTA_FSTAB", derive.fstab(layout))
    d.setVar("ROTA_WKS", derive.wks(layout, "${ROTA_PARTITIONS}"))
    if backend == "uboot":
        d.setVar("ROTA_FW_ENV", derive.fw_env(layout))
        d.setVar("ROTA_UBOOT_CONFIG", derive.uboot_config(layout))
        d.setVar("ROTA_UBOOT_BOARD", derive.uboot_board(layout))
    elif backend == "grub":
        d.setVar("ROTA_GRUB_DEFINES", derive.grub_defines(layout))
    else:
        d.setVar("ROTA_AUTOBOOT", derive.autoboot(layout))
        d.setVar("ROTA_CMDLINE_A", derive.cmdline(layout, "A"))
        d.setVar("ROTA_CMDLINE_B", derive.cmdline(layout, "B"))
}
