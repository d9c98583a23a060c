# SPDX-License-Identifier: MIT
#
# Stops a build whose DISTRO_FEATURES were wiped: `DISTRO_FEATURES += "rota"` in local.conf is read before the distro's own
# `DISTRO_FEATURES ?=`, which then never takes place.

addhandler rota_sanity
rota_sanity[eventmask] = "bb.event.SanityCheck"
python rota_sanity () {
    features = set((d.getVar("DISTRO_FEATURES") or "").split())
    default = set((d.getVar("DISTRO_FEATURES_DEFAULT") or "").split())
    if "rota" in features and default and not features & default:
        bb.fatal('DISTRO_FEATURES holds "rota" and none of the distro\'s own features: local.conf says += before the '
                 'distro says ?=. Write DISTRO_FEATURES:append = " rota" (with the blank) instead.')
}
