################################################################################
#
# rota
#
################################################################################

ROTA_VERSION = 0.1.0
# One archive for every series of Buildroot: its crates are in it, so that the
# series' own way of vendoring (the -cargoN in the default name) has no part.
ROTA_SOURCE = rota-$(ROTA_VERSION)-vendored.tar.gz
ROTA_SITE = $(BR2_EXTERNAL_ROTA_PATH)/..
ROTA_SITE_METHOD = file
ROTA_LICENSE = MIT or Apache-2.0
ROTA_LICENSE_FILES = LICENSE-MIT LICENSE-APACHE

define ROTA_FIND_SOURCE
	@test -e $($(PKG)_DL_DIR)/$($(PKG)_SOURCE) || \
		{ echo "$($(PKG)_NAME): $($(PKG)_SOURCE) is not in $($(PKG)_DL_DIR); run scripts/release-tarball --into $(DL_DIR)"; exit 1; }
endef
ROTA_PRE_DOWNLOAD_HOOKS += ROTA_FIND_SOURCE

# Buildroot's profile would win over the one of client/Cargo.toml, which is for
# a small program.
ROTA_CARGO_ENV = \
	CARGO_PROFILE_RELEASE_OPT_LEVEL="z" \
	CARGO_PROFILE_RELEASE_LTO="true" \
	CARGO_PROFILE_RELEASE_CODEGEN_UNITS="1"

ifeq ($(BR2_PACKAGE_ROTA_PKCS11),y)
ROTA_CARGO_BUILD_OPTS += --features pkcs11
endif

define ROTA_INSTALL_TARGET_CMDS
	$(INSTALL) -D -m 0755 \
		$(@D)/target/$(RUSTC_TARGET_NAME)/$(if $(BR2_ENABLE_DEBUG),debug,release)/rota \
		$(TARGET_DIR)/usr/sbin/rota
	$(INSTALL) -D -m 0755 $(@D)/dist/rota-guard $(TARGET_DIR)/usr/lib/rota/rota-guard
	$(INSTALL) -D -m 0755 $(@D)/dist/rota-data $(TARGET_DIR)/usr/lib/rota/rota-data
	$(foreach module,$(call qstrip,$(BR2_PACKAGE_ROTA_MODULES)), \
		$(INSTALL) -D -m 0755 $(if $(findstring /,$(module)),,$(@D)/modules/)$(module) \
			$(TARGET_DIR)/usr/lib/rota/modules/v3/$(notdir $(module))
	)
	$(ROTA_INSTALL_GROW_DATA)
endef

ifeq ($(BR2_PACKAGE_ROTA_GROW_DATA),y)
ROTA_GROW_DATA = $(BR2_EXTERNAL_ROTA_PATH)/../meta-rota/recipes-rota/rota-grow-data/files/rota-grow-data
define ROTA_INSTALL_GROW_DATA
	$(INSTALL) -D -m 0755 $(ROTA_GROW_DATA) $(TARGET_DIR)/usr/sbin/rota-grow-data
endef
define ROTA_INSTALL_GROW_DATA_SYSV
	$(INSTALL) -D -m 0755 $(ROTA_GROW_DATA).init $(TARGET_DIR)/etc/init.d/S37rota-grow-data
endef
define ROTA_INSTALL_GROW_DATA_SYSTEMD
	$(INSTALL) -D -m 0644 $(ROTA_GROW_DATA).service \
		$(TARGET_DIR)/usr/lib/systemd/system/rota-grow-data.service
endef
endif

# The guard before all else: it ends a trial in which nothing else starts.
define ROTA_INSTALL_INIT_SYSV
	$(INSTALL) -D -m 0755 $(@D)/dist/rota-guard.init $(TARGET_DIR)/etc/init.d/S00rota-guard
	$(INSTALL) -D -m 0755 $(@D)/dist/rota.init $(TARGET_DIR)/etc/init.d/S80rota
	$(ROTA_INSTALL_GROW_DATA_SYSV)
endef

define ROTA_INSTALL_INIT_SYSTEMD
	$(INSTALL) -D -m 0644 $(@D)/dist/rota-guard.service \
		$(TARGET_DIR)/usr/lib/systemd/system/rota-guard.service
	$(INSTALL) -D -m 0644 $(@D)/dist/rota.service \
		$(TARGET_DIR)/usr/lib/systemd/system/rota.service
	$(ROTA_INSTALL_GROW_DATA_SYSTEMD)
endef

$(eval $(cargo-package))
