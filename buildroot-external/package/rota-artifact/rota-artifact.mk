################################################################################
#
# rota-artifact
#
################################################################################

ROTA_ARTIFACT_VERSION = $(ROTA_VERSION)
ROTA_ARTIFACT_SOURCE = $(ROTA_SOURCE)
ROTA_ARTIFACT_SITE = $(ROTA_SITE)
ROTA_ARTIFACT_SITE_METHOD = $(ROTA_SITE_METHOD)
ROTA_ARTIFACT_DL_SUBDIR = rota
ROTA_ARTIFACT_LICENSE = MIT or Apache-2.0
ROTA_ARTIFACT_LICENSE_FILES = LICENSE-MIT LICENSE-APACHE
ROTA_ARTIFACT_SUBDIR = artifact

HOST_ROTA_ARTIFACT_PRE_DOWNLOAD_HOOKS += ROTA_FIND_SOURCE
HOST_ROTA_ARTIFACT_CARGO_BUILD_OPTS = --features tool
HOST_ROTA_ARTIFACT_CARGO_INSTALL_OPTS = --features tool

$(eval $(host-cargo-package))
