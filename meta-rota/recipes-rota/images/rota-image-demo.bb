SUMMARY = "The minimal image with a way in: ssh, and root without a password"
DESCRIPTION = "For the desk. ROTA_PRODUCTION refuses it."
LICENSE = "MIT"

require rota-image-minimal.bb

IMAGE_FEATURES += "ssh-server-dropbear empty-root-password allow-empty-password allow-root-login"
IMAGE_INSTALL += "rota-as-mender"
