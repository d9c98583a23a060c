# For those who take the layer alone: in local.conf
#     ROTA_GIT_URI = "git://git.example.com/rota.git;protocol=https;branch=main"
#     PREFERRED_VERSION_rota = "git%"
# ROTA_GIT_REV is the commit; rota-crates.inc of this layer must be of the same one.

ROTA_SOURCE = "git"
ROTA_TREE = "rota/"
require rota.inc

DEFAULT_PREFERENCE = "-1"
PV = "0.1.0+git"

ROTA_GIT_URI ?= ""
ROTA_GIT_REV ?= ""
SRC_URI =+ "${@'${ROTA_GIT_URI};destsuffix=rota' if d.getVar('ROTA_GIT_URI') else ''}"
SRCREV = "${ROTA_GIT_REV}"

python () {
    if not d.getVar("ROTA_GIT_URI") or not d.getVar("ROTA_GIT_REV"):
        raise bb.parse.SkipRecipe("rota_git needs ROTA_GIT_URI (git://…;protocol=…;branch=…) and ROTA_GIT_REV (a commit)")
}
