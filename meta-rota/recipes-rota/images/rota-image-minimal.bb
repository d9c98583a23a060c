SUMMARY = "The smallest image that updates itself"
LICENSE = "MIT"

inherit core-image rota-image

IMAGE_INSTALL = "packagegroup-core-boot ${CORE_IMAGE_EXTRA_INSTALL}"
