# Without the distro feature this layer changes nothing.
require ${@bb.utils.contains('DISTRO_FEATURES', 'rota', 'u-boot-rota.inc', '', d)}
