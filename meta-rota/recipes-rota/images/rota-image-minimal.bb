SUMMARY = "The smallest image that updates itself"
DESCRIPTION = "The client, a kernel in each slot, and what it takes to boot."
LICENSE = "MIT"

inherit core-image rota-image

IMAGE_INSTALL = "packagegroup-core-boot ${CORE_IMAGE_EXTRA_INSTALL}"
