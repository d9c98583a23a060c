SUMMARY = "An image to try updates with"
DESCRIPTION = "The minimal image with a way in: ssh, and root without a password. For the desk; ROTA_PRODUCTION refuses it."
LICENSE = "MIT"

inherit core-image rota-image

IMAGE_FEATURES += "allow-empty-password allow-root-login empty-root-password ssh-server-dropbear"
IMAGE_INSTALL = "packagegroup-core-boot rota-as-mender ${CORE_IMAGE_EXTRA_INSTALL}"
