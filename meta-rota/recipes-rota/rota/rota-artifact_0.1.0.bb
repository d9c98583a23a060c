SUMMARY = "Reads, writes, signs and verifies .mender artifacts"
DESCRIPTION = "The tool of the build host and the bench; image builds use its native form."
SECTION = "devel"

ROTA_CARGO_FLAGS = "--package rota-artifact --features tool --bin rota-artifact"
require rota-sources.inc

do_install() {
    install -D -m 0755 ${B}/target/${CARGO_TARGET_SUBDIR}/rota-artifact ${D}${bindir}/rota-artifact
}

BBCLASSEXTEND = "native nativesdk"
