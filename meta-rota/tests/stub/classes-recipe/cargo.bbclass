B = "${WORKDIR}/build"
CARGO_TARGET_SUBDIR = "target/release"
CARGO_BUILD_FLAGS = "--frozen"
