# Without the distro feature this layer changes nothing.
require ${@bb.utils.contains('DISTRO_FEATURES', 'rota', 'rpi-config-rota.inc', '', d)}
