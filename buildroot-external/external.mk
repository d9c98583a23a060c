# In this order: rota-artifact takes rota's version and sources.
include $(BR2_EXTERNAL_ROTA_PATH)/package/rota/rota.mk
include $(BR2_EXTERNAL_ROTA_PATH)/package/rota-artifact/rota-artifact.mk

# What the board's layout and the options of the image mean for Buildroot's own
# packages and for post-build.sh and post-image.sh.

ifeq ($(BR2_PACKAGE_ROTA_IMAGE),y)

ROTA_META = $(abspath $(BR2_EXTERNAL_ROTA_PATH)/../meta-rota)
ROTA_UBOOT_FILES = $(ROTA_META)/recipes-bsp/u-boot/files

export ROTA_LAYOUT = $(call qstrip,$(BR2_PACKAGE_ROTA_LAYOUT))
export ROTA_DEVICE_TYPE = $(or $(call qstrip,$(BR2_PACKAGE_ROTA_DEVICE_TYPE)),$(basename $(notdir $(ROTA_LAYOUT))))
export ROTA_SERVER_URL = $(call qstrip,$(BR2_PACKAGE_ROTA_SERVER_URL))
export ROTA_SERVER_CA = $(call qstrip,$(BR2_PACKAGE_ROTA_SERVER_CA))
export ROTA_VERIFY_KEYS = $(call qstrip,$(BR2_PACKAGE_ROTA_VERIFY_KEYS))
export ROTA_BOOT_FILES = $(call qstrip,$(BR2_PACKAGE_ROTA_BOOT_FILES))
export ROTA_ARTIFACT_NAME ?= $(call qstrip,$(BR2_PACKAGE_ROTA_ARTIFACT_NAME))
export ROTA_ARTIFACT_ARGS = $(call qstrip,$(BR2_PACKAGE_ROTA_ARTIFACT_ARGS))
export ROTA_EPOCH = $(call qstrip,$(BR2_PACKAGE_ROTA_EPOCH))
export ROTA_SIGNING_KEY = $(call qstrip,$(BR2_PACKAGE_ROTA_SIGNING_KEY))
export ROTA_UBOOT_DIR = $(if $(BR2_TARGET_UBOOT),$(UBOOT_DIR))

# U-Boot's boot command and the places of its environment follow from the
# layout. A board's configuration names the fragments before its own ones:
# BR2_TARGET_UBOOT_CONFIG_FRAGMENT_FILES="$(ROTA_UBOOT_FRAGMENTS) ..."
ROTA_UBOOT_FRAGMENTS = \
	$(ROTA_UBOOT_FILES)/rota.cfg \
	$(UBOOT_DIR)/rota/rota-bootcmd.cfg \
	$(UBOOT_DIR)/rota/place.cfg

define ROTA_MAKE_UBOOT_FRAGMENTS
	mkdir -p $(@D)/rota
	$(ROTA_META)/scripts/rota-layout uboot-board $(ROTA_LAYOUT) >$(@D)/rota/board.conf
	$(ROTA_META)/scripts/rota-layout uboot-config $(ROTA_LAYOUT) >$(@D)/rota/place.cfg
	$(ROTA_UBOOT_FILES)/rota-uboot $(@D)/rota/board.conf $(@D)/rota
endef
UBOOT_POST_PATCH_HOOKS += ROTA_MAKE_UBOOT_FRAGMENTS
UBOOT_POST_RSYNC_HOOKS += ROTA_MAKE_UBOOT_FRAGMENTS

define ROTA_CHECK_UBOOT_CONFIG
	$(Q)$(ROTA_UBOOT_FILES)/rota-uboot check $(@D)/.config $(ROTA_UBOOT_FRAGMENTS) || { \
		echo "next: name \$$(ROTA_UBOOT_FRAGMENTS) in BR2_TARGET_UBOOT_CONFIG_FRAGMENT_FILES"; \
		exit 1; }
endef
UBOOT_PRE_BUILD_HOOKS += ROTA_CHECK_UBOOT_CONFIG

endif
