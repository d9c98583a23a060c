//! The Raspberry Pi firmware's part of `rota doctor`.

use std::path::Path;

use super::Tryboot;
use crate::boot::examine::{any_kernel, device_tree, file};
use crate::finding::Finding;

impl Tryboot {
    pub(super) fn look(&self, root: &Path) -> Vec<Finding> {
        let eeprom = match self.eeprom_fault() {
            Some(found) => {
                Finding::wrong("boot EEPROM", "one of 2023 or later", found, "run rpi-eeprom-update -a")
            }
            None => Finding::ok("boot EEPROM", "nothing speaks against it"),
        };
        let flag = match self.flag_is_set() {
            Ok(_) if self.flag.is_some() => {
                Finding::ok("tryboot flag", "the firmware can be told to try a slot")
            }
            Ok(_) => Finding::wrong(
                "tryboot flag",
                "/dev/vcio, or systemd",
                "neither: the firmware cannot be told to try a slot",
                "build the kernel with CONFIG_BCM_VCIO",
            ),
            Err(error) => Finding::wrong(
                "tryboot flag",
                "an answer of the firmware",
                error.to_string(),
                "run this as root; check /dev/vcio",
            ),
        };
        let records = match self.records() {
            Ok(autoboot) => Finding::ok(
                "boot records",
                format!(
                    "autoboot.txt on {} boots partition {} and tries {}",
                    self.config.display(),
                    autoboot.committed,
                    autoboot.tried
                ),
            ),
            Err(error) => Finding::wrong(
                "boot records",
                "autoboot.txt with two boot partitions",
                error.to_string(),
                "set env_dir in [boot] of rota.toml to its partition; `rota daemon` writes a lost one anew",
            ),
        };
        vec![
            eeprom,
            flag,
            records,
            any_kernel(root, "boot/firmware"),
            file("boot file", root, "/boot/firmware/config.txt"),
            file("boot file", root, "/boot/firmware/cmdline.txt"),
            device_tree(root),
        ]
    }
}
