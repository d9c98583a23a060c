SUMMARY = "Takes a running Mender device over in place"
DESCRIPTION = "For devices that run Mender's client and are to have rota's; a program of its own, which can be removed afterwards."
SECTION = "base"

ROTA_CARGO_FLAGS = "--package rota-migrate --bin rota-migrate"
require rota-sources.inc

ROTA_BESIDE += "file://client/migrate/rota-migrate.1"

do_install() {
    install -D -m 0755 ${B}/target/${CARGO_TARGET_SUBDIR}/rota-migrate ${D}${sbindir}/rota-migrate
    install -D -m 0644 ${S}/migrate/rota-migrate.1 ${D}${mandir}/man1/rota-migrate.1
}

RDEPENDS:${PN} += "rota"
