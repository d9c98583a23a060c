//! `rota doctor` on fake boards: one that is good, and that one with each thing wrong in turn; and the records of real tools.

mod support;

use std::fs;
use std::os::unix::fs::{symlink, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;

use rota::boot::Boot;
use rota::doctor::Doctor;
use rota::finding::{Finding, Verdict};
use rota::signals::Signals;
use rota::slot::Slot;
use rota::update::Engine;
use support::machine::{Machine, SLOT};
use support::server::Server;

fn write(path: &Path, text: &str) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

fn program(path: &Path, text: &str) {
    write(path, text);
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

/// A file of the fake system.
fn system(machine: &Machine, path: &str) -> PathBuf {
    machine.folder.join("system").join(path)
}

fn mount(machine: &Machine, line: &str) {
    let path = system(machine, "proc/self/mountinfo");
    let old = fs::read_to_string(&path).unwrap();
    fs::write(path, format!("{old}{line}\n")).unwrap();
}

/// A board on which nothing is wrong.
fn board(server: &Server) -> Machine {
    let machine = Machine::new(server);
    mount(&machine, &format!("2 1 8:4 / {} rw - ext4 /dev/sda4 rw", machine.paths.data.display()));
    write(&system(&machine, "proc/cmdline"), "ro panic=5 rota.slot=A\n");
    write(&system(&machine, "proc/sys/kernel/panic"), "5\n");
    write(&system(&machine, "proc/sys/kernel/osrelease"), "6.1.0-9\n");
    fs::create_dir_all(system(&machine, "lib/modules/6.1.0-9")).unwrap();
    program(&system(&machine, "bin/sh"), "");
    program(&machine.paths.lib.join("rota-guard"), "#!/bin/sh\n");
    for (target, unit) in [("sysinit", "rota-guard"), ("multi-user", "rota")] {
        let wants = system(&machine, &format!("etc/systemd/system/{target}.target.wants"));
        fs::create_dir_all(&wants).unwrap();
        symlink("/nowhere", wants.join(format!("{unit}.service"))).unwrap();
    }
    for (name, value) in [("identity", "i6300ESB timer"), ("timeout", "30"), ("state", "active")] {
        write(&system(&machine, &format!("sys/class/watchdog/watchdog0/{name}")), value);
    }
    // As after the daemon's first start.
    drop(Engine::new(machine.device(), Signals::default()));
    let _ = rota::identity::Identity::load(&machine.paths, None).unwrap();
    machine
}

fn examine(machine: &Machine) -> Vec<Finding> {
    Doctor { device: machine.device(), online: false }.examine()
}

/// What is wrong, each with the check's name, what was expected and found, and what to do.
fn wrong(findings: &[Finding]) -> Vec<String> {
    let words = |finding: &Finding| match &finding.verdict {
        Verdict::Wrong { expected, remedy } => {
            Some(format!("{}: {expected} | {} | {remedy}", finding.check, finding.found))
        }
        _ => None,
    };
    findings.iter().filter_map(words).collect()
}

fn finds(findings: &[Finding], check: &str, words: &str) -> bool {
    findings.iter().any(|finding| finding.check == check && finding.found.contains(words))
}

#[test]
fn nothing_is_wrong_with_a_good_board() {
    let server = Server::start();
    let machine = board(&server);
    let findings = examine(&machine);
    assert_eq!(wrong(&findings), Vec::<String>::new());
    for (check, words) in [
        ("slots", "slot A is the image file"),
        ("slot sizes", "both slots have"),
        ("root", "slot A runs"),
        ("boot back end", "fake (the fake boot loader); the boot loader counts, 1 boot a trial"),
        ("kernel", "6.1.0-9 runs and has its modules in the slot"),
        ("watchdog", "watchdog0 (i6300ESB timer), 30 s; it runs, and a program feeds it"),
        ("data partition", "lies on /dev/sda4 (ext4)"),
        ("journal", "are whole"),
        ("CA certificates", "1 that are valid"),
        ("server", "is asked with --online only"),
    ] {
        assert!(finds(&findings, check, words), "{check}: {findings:#?}");
    }
}

/// A certificate, and its key that everybody can read, or another one that nobody can.
fn client_certificate(machine: &mut Machine, exposed: bool) {
    let keys = [rcgen::KeyPair::generate().unwrap(), rcgen::KeyPair::generate().unwrap()];
    let certificate =
        rcgen::CertificateParams::new(vec!["device".into()]).unwrap().self_signed(&keys[0]).unwrap();
    let files = ["client.pem", "client-key.pem"].map(|name| machine.folder.join(name));
    fs::write(&files[0], certificate.pem()).unwrap();
    fs::write(&files[1], keys[usize::from(!exposed)].serialize_pem()).unwrap();
    let mode = if exposed { 0o644 } else { 0o600 };
    fs::set_permissions(&files[1], fs::Permissions::from_mode(mode)).unwrap();
    let [certificate, key] = files;
    (machine.config.client_certificate, machine.config.client_key) = (Some(certificate), Some(key));
}

/// How a good board is spoilt, the check that finds it, and words of what it says.
type Fault = (&'static str, &'static str, fn(&mut Machine));

const FAULTS: [Fault; 36] = [
    ("configuration", "helth: there is no such key", |m| {
        m.config.faults.push("helth: there is no such key".into())
    }),
    ("device type", "no artifact is for this device", |m| m.config.device_type = None),
    ("slots", "no slots are configured", |m| m.config.slots = None),
    ("slots", "No such file", |m| fs::remove_file(&m.layout.b).unwrap()),
    ("slots", "a folder", |m| {
        fs::remove_file(&m.layout.b).unwrap();
        fs::create_dir(&m.layout.b).unwrap();
    }),
    ("slots", "are the same", |m| {
        fs::remove_file(&m.layout.b).unwrap();
        symlink(&m.layout.a, &m.layout.b).unwrap();
    }),
    ("slots", "names end with their partition's number", |m| {
        fs::rename(&m.layout.b, m.folder.join("slot")).unwrap();
        m.config.slots = Some((m.layout.a.clone(), m.folder.join("slot")));
    }),
    ("slot sizes", "slots of one size", |m| fs::write(&m.layout.b, vec![1; SLOT - 4096]).unwrap()),
    ("slot sizes", "the 3145728 bytes of slot A's file system", |m| {
        fs::write(&m.layout.b, vec![1; SLOT - 4096]).unwrap();
        let mkfs = Command::new("/sbin/mkfs.ext4").args(["-q", "-F"]).arg(&m.layout.a).status();
        assert!(mkfs.unwrap().success());
    }),
    ("root", "neither slot A", |m| write(&system(m, "sys/dev/block/7:0/loop/backing_file"), "/elsewhere\n")),
    ("boot back end", "there is no boot back end \"lilo\"", |m| m.config.boot = "lilo".into()),
    ("boot back end", "slot A booted, slot B committed", |m| m.loader().commit(Slot::B).unwrap()),
    ("kernel", "/dev/sda1 is mounted there", |m| mount(m, "3 1 8:1 / /boot rw - vfat /dev/sda1 rw")),
    ("kernel", "does not come from this slot", |m| write(&system(m, "proc/sys/kernel/osrelease"), "6.6.6\n")),
    ("kernel command line", "no rota.slot=", |m| write(&system(m, "proc/cmdline"), "ro panic=5\n")),
    ("kernel command line", "rota.slot=B", |m| write(&system(m, "proc/cmdline"), "ro panic=5 rota.slot=B\n")),
    ("kernel command line", "no rota.trial=1", |m| {
        write(&system(m, "proc/cmdline"), "panic=5 rota.slot=A rota.trial=1\n");
    }),
    ("panic", "stand still for ever", |m| write(&system(m, "proc/sys/kernel/panic"), "0\n")),
    ("panic", "an early panic may hang", |m| write(&system(m, "proc/cmdline"), "rota.slot=A\n")),
    ("guard", "No such file", |m| fs::remove_file(m.paths.lib.join("rota-guard")).unwrap()),
    ("guard", "its interpreter /bin/bash is not there", |m| {
        program(&m.paths.lib.join("rota-guard"), "#!/bin/bash\n");
    }),
    ("guard", "nothing that starts it", |m| {
        fs::remove_dir_all(system(m, "etc/systemd/system/sysinit.target.wants")).unwrap();
    }),
    ("daemon", "nothing that starts it", |m| {
        fs::remove_dir_all(system(m, "etc/systemd/system/multi-user.target.wants")).unwrap();
    }),
    ("watchdog", "none in /sys/class/watchdog", |m| {
        fs::remove_dir_all(system(m, "sys/class/watchdog")).unwrap()
    }),
    ("watchdog", "which nobody has started", |m| {
        write(&system(m, "sys/class/watchdog/watchdog0/state"), "inactive\n");
    }),
    ("data partition", "lies on slot A", |m| {
        mount(m, &format!("4 1 7:0 / {} rw - ext4 /dev/root rw", m.paths.data.display()));
    }),
    ("data partition", "forgets everything", |m| {
        mount(m, &format!("4 1 0:25 / {} rw - tmpfs tmpfs rw", m.paths.data.display()));
    }),
    ("journal", "journal.0 is torn or foreign", |m| fs::write(m.paths.data.join("journal.0"), "x").unwrap()),
    ("device key", "mode 644", |m| {
        let key = m.paths.data.join("device-key.pem");
        fs::set_permissions(key, fs::Permissions::from_mode(0o644)).unwrap();
    }),
    ("CA certificates", "no certificate in PEM form", |m| {
        let ca = m.folder.join("ca.pem");
        fs::write(&ca, "no certificate").unwrap();
        m.config.ca = Some(ca);
    }),
    ("epoch", "expected a number, the least epoch of this image, found x", |m| {
        write(&m.paths.lib.join("epoch"), "x\n");
    }),
    ("epoch", "epoch 3 without keys", |m| write(&m.paths.lib.join("epoch"), "3\n")),
    ("artifact keys", "every artifact is refused", |m| m.config.verify_keys = Some(vec![])),
    ("client certificate", "mode 644", |m| client_certificate(m, true)),
    ("client certificate", "the private key of", |m| client_certificate(m, false)),
    ("artifact keys", "a public key in PEM form", |m| {
        let key = m.folder.join("key.pem");
        fs::write(&key, "no key").unwrap();
        m.config.verify_keys = Some(vec![key]);
    }),
];

#[test]
fn each_thing_that_is_wrong_is_found_with_what_to_do() {
    let server = Server::start();
    for (check, words, spoil) in FAULTS {
        let mut machine = board(&server);
        spoil(&mut machine);
        let found = wrong(&examine(&machine));
        let of_check =
            found.iter().find(|line| line.starts_with(&format!("{check}: ")) && line.contains(words));
        assert!(of_check.is_some(), "{check}, {words}: {found:#?}");
    }
}

#[test]
fn programs_that_updates_run_are_looked_at_one_by_one() {
    let server = Server::start();
    let machine = board(&server);
    program(&machine.paths.lib.join("modules/v3/good"), "#!/bin/sh\n");
    write(&machine.paths.lib.join("modules/v3/plain"), "#!/bin/sh\n");
    program(&machine.paths.mender.join("modules/v3/python"), "#!/usr/bin/python3\n");
    program(&machine.paths.conf.join("scripts/Idle_Enter_00"), "#!/bin/sh\r\n");
    write(&machine.paths.conf.join("scripts/version"), "3");
    machine.health_check("exit 0\n");
    let found = wrong(&examine(&machine));
    assert_eq!(found.len(), 3, "{found:#?}");
    assert!(
        found[0].contains("update module") && found[0].contains("not executable (mode 644)"),
        "{found:#?}"
    );
    assert!(found[1].contains("its interpreter /usr/bin/python3 is not there"), "{found:#?}");
    assert!(found[2].contains("carriage return"), "{found:#?}");
}

#[test]
fn init_systems_start_guard_and_daemon_each_in_its_way() {
    let server = Server::start();
    for (guard, daemon) in
        [("etc/rcS.d/S04rota-guard", "etc/rc5.d/S90rota"), ("etc/init.d/S00rota-guard", "etc/init.d/S80rota")]
    {
        let machine = board(&server);
        fs::remove_dir_all(system(&machine, "etc/systemd")).unwrap();
        program(&system(&machine, guard), "#!/bin/sh\n");
        program(&system(&machine, daemon), "#!/bin/sh\n");
        assert_eq!(wrong(&examine(&machine)), Vec::<String>::new());
    }
    let machine = board(&server);
    fs::remove_dir_all(system(&machine, "etc/systemd")).unwrap();
    write(
        &system(&machine, "etc/inittab"),
        "::sysinit:/usr/lib/rota/rota-guard\n#::respawn:/usr/sbin/rota daemon\n",
    );
    let found = wrong(&examine(&machine));
    assert!(found.len() == 1 && found[0].starts_with("daemon: "), "{found:#?}");
}

#[test]
fn a_watchdog_that_systemd_feeds_or_the_daemon() {
    let server = Server::start();
    let mut machine = board(&server);
    fs::create_dir_all(system(&machine, "run/systemd/system")).unwrap();
    write(&system(&machine, "etc/systemd/system.conf"), "[Manager]\n#RuntimeWatchdogSec=off\n");
    assert!(finds(&examine(&machine), "watchdog", "a program feeds it"));
    write(&system(&machine, "etc/systemd/system.conf.d/10-dog.conf"), "[Manager]\nRuntimeWatchdogSec=30\n");
    write(&system(&machine, "sys/class/watchdog/watchdog0/bootstatus"), "32\n");
    let findings = examine(&machine);
    assert!(finds(&findings, "watchdog", "systemd feeds it (RuntimeWatchdogSec=30)"), "{findings:#?}");
    assert!(finds(&findings, "watchdog", "caused the last restart"), "{findings:#?}");
    machine.config.watchdog = Some("/dev/null".into());
    let found = wrong(&examine(&machine));
    assert!(
        found.len() == 1 && found[0].contains("two: systemd (RuntimeWatchdogSec=30) and rota"),
        "{found:#?}"
    );
    fs::remove_dir_all(system(&machine, "run/systemd")).unwrap();
    assert!(finds(&examine(&machine), "watchdog", "the daemon feeds it while it gets on"));
    machine.config.watchdog = Some("/dev/watchdog77".into());
    let found = wrong(&examine(&machine));
    assert!(found.len() == 1 && found[0].contains("/dev/watchdog77, as watchdog.device says"), "{found:#?}");
}

#[test]
fn certificates_of_another_time() {
    let server = Server::start();
    let mut machine = board(&server);
    for (from, until, words) in
        [(1999, 2001, "they have expired, the last on 2001-01-01"), (2800, 2900, "valid from 2800-01-01")]
    {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut certificate = rcgen::CertificateParams::new(Vec::new()).unwrap();
        certificate.not_before = rcgen::date_time_ymd(from, 1, 1);
        certificate.not_after = rcgen::date_time_ymd(until, 1, 1);
        let file = machine.folder.join("other-ca.pem");
        fs::write(&file, certificate.self_signed(&key).unwrap().pem()).unwrap();
        machine.config.ca = Some(file);
        let found = wrong(&examine(&machine));
        assert!(found.len() == 1 && found[0].contains(words), "{found:#?}");
    }
}

#[test]
fn the_server_is_asked_when_that_is_wished() {
    let (server, stranger) = (Server::start(), Server::start());
    let mut machine = board(&server);
    let online = |machine: &Machine| Doctor { device: machine.device(), online: true }.examine();
    let findings = online(&machine);
    assert!(finds(&findings, "server", "answers over verified TLS (status 401)"), "{findings:#?}");
    assert!(finds(&findings, "server", "it admits this device"), "{findings:#?}");
    server.refuse(1);
    let found = wrong(&online(&machine));
    assert!(found.len() == 1 && found[0].contains("does not admit this device"), "{found:#?}");
    machine.config.ca = Some(stranger.ca.clone());
    let found = wrong(&online(&machine));
    assert!(found.len() == 1 && found[0].contains("TLS: unknown issuer"), "{found:#?}");
}

/// GRUB's records as grub-editenv makes them.
fn grub(server: &Server) -> (Machine, PathBuf) {
    let mut machine = board(server);
    let folder = machine.folder.join("efi/grub-mender-grubenv");
    for copy in ["mender_grubenv1", "mender_grubenv2"] {
        let script =
            "set -e; mkdir -p \"$0\"; cd \"$0\"; grub-editenv env create; grub-editenv lock create\n\
                      grub-editenv env set bootcount=0 mender_boot_part=2 upgrade_available=0\n\
                      grub-editenv lock set editing=0; sha256sum lock >lock.sha256sum";
        let made = Command::new("sh").args(["-c", script]).arg(folder.join(copy)).status();
        assert!(made.unwrap().success());
    }
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../meta-rota/recipes-bsp/grub/files");
    fs::create_dir_all(machine.folder.join("efi/grub")).unwrap();
    fs::copy(script.join("rota-grub.cfg"), machine.folder.join("efi/grub/grub.cfg")).unwrap();
    let defines = machine.folder.join("efi/grub/rota-grub-defines.cfg");
    fs::copy(script.join("rota-grub-defines.cfg"), defines).unwrap();
    write(&system(&machine, "boot/vmlinuz"), "a kernel");
    machine.config.boot = "grub".into();
    machine.config.env_dir = Some(folder.clone());
    (machine, folder)
}

#[test]
fn grubs_records_and_script() {
    let server = Server::start();
    let (mut machine, folder) = grub(&server);
    let findings = examine(&machine);
    assert_eq!(wrong(&findings), Vec::<String>::new());
    assert!(
        finds(&findings, "boot records", "whole and equal")
            && finds(&findings, "boot records", "can be written")
    );
    assert!(finds(&findings, "kernel", "/boot/vmlinuz, 8 bytes"), "{findings:#?}");
    let only = |machine: &Machine, words: &str| {
        let found = wrong(&examine(machine));
        assert!(found.len() == 1 && found[0].contains(words), "{words}: {found:#?}");
    };
    let edit = |file: &str, setting: &str| {
        let edited = Command::new("grub-editenv").arg(folder.join(file)).args(["set", setting]).status();
        assert!(edited.unwrap().success());
    };
    edit("mender_grubenv2/env", "bootcount=1");
    only(&machine, "differ");
    edit("mender_grubenv2/env", "bootcount=0");
    edit("mender_grubenv2/lock", "editing=1");
    only(&machine, "copy 2: it was being written when the power was cut");
    edit("mender_grubenv2/lock", "editing=0");
    let sum = fs::read(folder.join("mender_grubenv1/lock.sha256sum")).unwrap();
    fs::write(folder.join("mender_grubenv1/lock.sha256sum"), "0").unwrap();
    only(&machine, "copy 1: lock.sha256sum is not the sum");
    fs::write(folder.join("mender_grubenv1/lock.sha256sum"), sum).unwrap();
    fs::remove_file(system(&machine, "boot/vmlinuz")).unwrap();
    only(&machine, "/boot/vmlinuz in the slot, where the boot loader takes it from");
    write(&system(&machine, "boot/vmlinuz"), "a kernel");
    let defines = machine.folder.join("efi/grub/rota-grub-defines.cfg");
    fs::write(&defines, "set rota_part_a=2\nset rota_part_b=5\n").unwrap();
    only(&machine, "says 2 and 5");
    fs::remove_file(&defines).unwrap();
    fs::write(machine.folder.join("efi/grub/grub.cfg"), "linux /vmlinuz\n").unwrap();
    only(&machine, "never names upgrade_available");
    machine.config.env_dir = Some(machine.folder.join("nowhere"));
    let found = wrong(&examine(&machine));
    assert!(
        found[0].starts_with("boot records: ") && found[0].contains("mount the boot partition"),
        "{found:#?}"
    );
}

/// U-Boot's environment as mkenvimage makes it; fw_setenv changes it.
fn uboot(server: &Server) -> Machine {
    let mut machine = board(server);
    let folder = machine.folder.join("etc-uboot");
    fs::create_dir_all(&folder).unwrap();
    let copies = ["env0", "env1"].map(|name| folder.join(name));
    let config = folder.join("fw_env.config");
    let text: String = copies.iter().map(|copy| format!("{} 0x0 0x4000\n", copy.display())).collect();
    fs::write(&config, text).unwrap();
    let built_in = "bootcmd=if test ${upgrade_available} = 1; then true; fi; load mmc 0:2 ${kernel_addr_r} /boot/Image; \
                    load mmc 0:2 ${fdt_addr_r} /boot/board.dtb; booti\nmender_boot_part=2\nmender_boot_part_hex=2\n\
                    boot_prefixes=/ /boot/\nupgrade_available=0\nbootcount=0\nbootlimit=1\n";
    fs::write(folder.join("u-boot-initial-env"), built_in).unwrap();
    for copy in &copies {
        let mut mkenvimage = Command::new("mkenvimage");
        mkenvimage.args(["-r", "-s", "0x4000", "-o"]).arg(copy).arg(folder.join("u-boot-initial-env"));
        assert!(mkenvimage.status().unwrap().success());
    }
    write(&system(&machine, "boot/Image"), "a kernel");
    write(&system(&machine, "boot/board.dtb"), "a device tree");
    machine.config.boot = "uboot".into();
    machine.config.env_dir = Some(folder);
    machine
}

#[test]
fn uboots_environment_and_files() {
    let server = Server::start();
    let machine = uboot(&server);
    let folder = machine.config.env_dir.clone().unwrap();
    let findings = examine(&machine);
    assert_eq!(wrong(&findings), Vec::<String>::new());
    for words in ["two copies: ", "every copy is whole, and they are equal", "it can be written"] {
        assert!(finds(&findings, "boot environment", words), "{findings:#?}");
    }
    assert!(finds(&findings, "boot file", "/boot/Image, 8 bytes"), "{findings:#?}");
    let only = |words: &str| {
        let found = wrong(&examine(&machine));
        assert!(found.len() == 1 && found[0].contains(words), "{words}: {found:#?}");
    };
    let set = |name: &str, value: &str| {
        let config = folder.join("fw_env.config");
        let set = Command::new("fw_setenv").arg("-c").arg(config).args([name, value]).status();
        assert!(set.unwrap().success());
    };
    let whole = fs::read(folder.join("env1")).unwrap();
    let restore = || ["env0", "env1"].map(|name| fs::write(folder.join(name), &whole).unwrap());
    set("silent", "1");
    only("the copies differ");
    restore();
    fs::remove_file(system(&machine, "boot/board.dtb")).unwrap();
    only("/boot/board.dtb in the slot");
    write(&system(&machine, "boot/board.dtb"), "a device tree");
    fs::write(folder.join("env1"), vec![0xff; 0x4000]).unwrap();
    only("1 copy is not whole");
    restore();
    let built_in = fs::read(folder.join("u-boot-initial-env")).unwrap();
    fs::remove_file(folder.join("u-boot-initial-env")).unwrap();
    only("could not be made anew");
    fs::write(folder.join("u-boot-initial-env"), built_in).unwrap();
    set("bootcmd", "load mmc 0:1 ${kernel_addr_r} uImage");
    // The copy that counts is the newer one; the kernel is looked for anywhere now.
    let newer = ["env0", "env1"].map(|name| fs::read(folder.join(name)).unwrap());
    let newer = newer.into_iter().find(|bytes| *bytes != whole).unwrap();
    for name in ["env0", "env1"] {
        fs::write(folder.join(name), &newer).unwrap();
    }
    only("a bootcmd that reads mender_boot_part");
    for copy in ["env0", "env1"] {
        fs::write(folder.join(copy), vec![0xff; 0x4000]).unwrap();
    }
    let found = wrong(&examine(&machine));
    assert!(found[0].contains("nothing was ever saved there"), "{found:#?}");
    let (before, config) = (fs::read(folder.join("env0")).unwrap(), folder.join("fw_env.config"));
    fs::write(&config, format!("{} 0x0 0x4000\n", folder.join("env0").display())).unwrap();
    let found = wrong(&examine(&machine));
    assert!(found[0].contains("two copies in different erase blocks"), "{found:#?}");
    assert_eq!(fs::read(folder.join("env0")).unwrap(), before, "the doctor wrote to the environment");
    fs::remove_file(config).unwrap();
    let found = wrong(&examine(&machine));
    assert!(
        found.iter().any(|line| line.contains("cannot read") && line.contains("fw_env.config")),
        "{found:#?}"
    );
}

#[test]
fn the_program_tells_a_person_and_a_program() {
    let server = Server::start();
    let machine = board(&server);
    let config = format!(
        "device_type = \"test-board\"\n[server]\nurl = {:?}\nca = {:?}\n[slots]\na = {:?}\nb = {:?}\n[boot]\n\
         backend = \"fake\"\nenv_dir = {:?}\n",
        machine.config.urls[0],
        machine.config.ca.as_ref().unwrap(),
        machine.layout.a,
        machine.layout.b,
        machine.config.env_dir.as_ref().unwrap()
    );
    fs::write(machine.paths.conf.join("rota.toml"), config).unwrap();
    let run = |words: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_rota"))
            .arg("doctor")
            .args(words)
            .env("ROTA_CONF_DIR", &machine.paths.conf)
            .env("ROTA_DATA_DIR", &machine.paths.data)
            .env("ROTA_RUN_DIR", &machine.paths.run)
            .env("ROTA_LIB_DIR", &machine.paths.lib)
            .env("ROTA_SYSTEM_ROOT", machine.folder.join("system"))
            .output()
            .unwrap();
        (output.status.code().unwrap(), String::from_utf8(output.stdout).unwrap())
    };
    let (code, text) = run(&[]);
    assert!(
        code == 0 && text.contains("ok           root: slot A runs\n") && text.contains(" 0 wrong, "),
        "{text}"
    );
    write(&system(&machine, "proc/sys/kernel/panic"), "0\n");
    let (code, text) = run(&[]);
    assert_eq!(code, 1);
    assert!(
        text.contains("WRONG        panic: expected a restart after a panic")
            && text.contains("\n             -> add panic=5 to the kernel's command line")
            && text.contains(" 1 wrong, "),
        "{text}"
    );
    let (code, text) = run(&["--json"]);
    let json: serde_json::Value = serde_json::from_str(&text).unwrap();
    let checks = json["checks"].as_array().unwrap();
    let panic = checks.iter().find(|check| check["check"] == "panic").unwrap();
    assert_eq!((code, &json["ok"], &panic["verdict"]), (1, &false.into(), &"wrong".into()));
    assert!(panic["expected"].is_string() && panic["remedy"].is_string());
    let (_, text) = run(&["--online"]);
    assert!(text.contains("it admits this device"), "{text}");
}
