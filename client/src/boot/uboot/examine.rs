//! U-Boot's part of `rota doctor`.

use std::path::Path;

use super::env::Env;
use super::UBoot;
use crate::boot::examine::{device_tree, file, kernel};
use crate::boot::{Error, State};
use crate::finding::Finding;

const ENVIRONMENT: &str = "boot environment";

impl UBoot {
    pub(super) fn look(&self, root: &Path) -> Vec<Finding> {
        let mut findings = vec![self.redundancy(), self.copies(), self.writable(), self.rebuilding()];
        let env = self.current().unwrap_or_default();
        findings.extend(variables(&env));
        findings.extend(prompt(&env));
        findings.extend(taken_from_slot(&env, root));
        findings
    }

    fn redundancy(&self) -> Finding {
        match self.store.is_redundant() {
            true => Finding::ok(ENVIRONMENT, format!("two copies: {}", self.store.name())),
            false => Finding::wrong(
                ENVIRONMENT,
                "two copies in different erase blocks, so that a power cut while one is written loses nothing",
                format!("one copy, {}", self.store.name()),
                "build U-Boot with a redundant environment (meta-rota/recipes-bsp/u-boot), and give fw_env.config two lines",
            ),
        }
    }

    /// Whether every copy is whole, and no two say different things.
    fn copies(&self) -> Finding {
        let expected = "every copy whole, and equal while nothing is on trial";
        let remedy = "`rota daemon` brings the newer one into both when it starts; if this comes back, the medium is failing, or \
                      fw_env.config names another place than U-Boot uses (its `saveenv` says which)";
        let copies = match self.store.load() {
            Ok(copies) => copies,
            Err(error) => return Finding::wrong(ENVIRONMENT, expected, error.to_string(), remedy),
        };
        let Some(env) = copies.current() else {
            let found = "no copy is whole: nothing was ever saved there, or it is another place";
            return Finding::wrong(
                ENVIRONMENT,
                expected,
                found,
                format!("type `saveenv` at U-Boot's prompt; {remedy}"),
            );
        };
        match self.read(env) {
            Err(error) => Finding::wrong(
                ENVIRONMENT,
                "mender_boot_part names one of the slots' partitions",
                error.to_string(),
                "check slots.a and slots.b in rota.toml; the number is the digits at the end of the device",
            ),
            Ok(_) if copies.lost() > 0 => {
                Finding::wrong(ENVIRONMENT, expected, format!("{} copy is not whole", copies.lost()), remedy)
            }
            // They differ on purpose then.
            Ok(State { trial: Some(_), .. }) => {
                Finding::ok(ENVIRONMENT, "every copy is whole; a trial is under way")
            }
            Ok(_) if !copies.all_hold(env) => {
                Finding::wrong(ENVIRONMENT, expected, "the copies differ", remedy)
            }
            Ok(_) => Finding::ok(ENVIRONMENT, "every copy is whole, and they are equal"),
        }
    }

    fn writable(&self) -> Finding {
        match self.store.check_writable() {
            Ok(()) => Finding::ok(ENVIRONMENT, "it can be written"),
            Err(Error::Io { object, source, .. }) => Finding::wrong(
                ENVIRONMENT,
                "places that can be written, so that a trial can be armed and committed",
                format!("{object}: {source}"),
                "run this as root; make the device or its file system writable",
            ),
            Err(error) => Finding::not_checked(ENVIRONMENT, error.to_string()),
        }
    }

    /// Whether an environment that got lost can be made anew.
    fn rebuilding(&self) -> Finding {
        let built_in = self.built_in.display();
        let text = std::fs::read(&self.built_in).unwrap_or_default();
        match Env::from_text(&text).get("bootcmd") {
            Some(_) => Finding::ok(ENVIRONMENT, format!("{built_in} is there to make a lost one anew")),
            None => Finding::wrong(
                ENVIRONMENT,
                format!("{built_in} with U-Boot's built-in variables, bootcmd among them"),
                "none: an environment that got lost could not be made anew",
                "put u-boot-initial-env, which U-Boot's build makes, into the image (u-boot-default-env in Yocto)",
            ),
        }
    }
}

/// Whether the boot script is one that knows of trials.
fn variables(env: &Env) -> Vec<Finding> {
    const SCRIPT: &str = "boot script";
    let knows = |value: &str| value.contains("upgrade_available") || value.contains("mender_setup");
    match env.get("bootcmd") {
        None => vec![Finding::not_checked(SCRIPT, "the environment has no bootcmd")],
        Some(_) if env.values().any(knows) => vec![Finding::ok(SCRIPT, "bootcmd knows of trials")],
        Some(command)
            if command.contains("source") || command.contains("distro") || command.contains("bootflow") =>
        {
            vec![Finding::not_checked(SCRIPT, "bootcmd runs a script from a file, which is not looked into")]
        }
        Some(command) => vec![Finding::wrong(
            SCRIPT,
            "a bootcmd that reads mender_boot_part and upgrade_available",
            format!("{:.60}", command.escape_default().to_string()),
            "build U-Boot with meta-rota's u-boot-rota.inc, or install the boot.scr that rota-uboot makes",
        )],
    }
}

/// Whether a key on the console leads to U-Boot's prompt, where a device stays. Nothing is known of a delay that is built in.
fn prompt(env: &Env) -> Option<Finding> {
    const PROMPT: &str = "boot prompt";
    let keyed =
        ["bootstopkey", "bootdelaykey", "bootstopkeysha256"].iter().any(|name| env.get(name).is_some());
    match env.get("bootdelay")? {
        "-2" => Some(Finding::ok(PROMPT, "no key on the console stops the start (bootdelay=-2)")),
        delay if keyed => Some(Finding::ok(PROMPT, format!("bootdelay={delay:.9}, stopped by a password"))),
        delay => Some(Finding::wrong(
            PROMPT,
            "bootdelay=-2: noise on the console's line, or a key that is pressed, must not stop the start",
            format!("bootdelay={:.9}", delay.escape_default().to_string()),
            "`fw_setenv bootdelay -- -2` once the bench is done with, and CONFIG_BOOTDELAY=-2 in U-Boot",
        )),
    }
}

/// The files of the slot that the boot script names; where it names none, what is usual.
fn taken_from_slot(env: &Env, root: &Path) -> Vec<Finding> {
    let mut named: Vec<String> = env
        .values()
        .flat_map(|value| value.split([' ', ';', '"', '\'', '\n', '\t']))
        // U-Boot's own variables name the folder alone.
        .filter(|word| word.starts_with("/boot/") && !word.ends_with('/') && !word.contains('$'))
        .map(str::to_owned)
        .collect();
    let mender =
        ["mender_kernel_name", "mender_dtb_name"].map(|name| env.get(name).filter(|name| !name.is_empty()));
    named.extend(mender.into_iter().flatten().map(|name| format!("/boot/{name}")));
    named.sort();
    named.dedup();
    match named.is_empty() {
        true => vec![kernel(root, None), device_tree(root)],
        false => named.iter().map(|path| file("boot file", root, path)).collect(),
    }
}
