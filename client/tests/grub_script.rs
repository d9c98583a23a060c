//! GRUB's boot script runs in GRUB itself (as the program grub-emu, on a disk image), and must decide as the client does.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rota::boot::fake::Loader;
use rota::boot::grub::Grub;
use rota::boot::{Boot, State};
use rota::slot::Slot;

const SCRIPT: &str = include_str!("../../meta-rota/recipes-bsp/grub/files/rota-grub.cfg");
const DEFINES: &str = include_str!("../../meta-rota/recipes-bsp/grub/files/rota-grub-defines.cfg");
const PARTS: [u32; 2] = [2, 3];

/// Stands in for the kernel's loader, which grub-emu does not have: prints its arguments and ends, or fails.
/// `save_env` is replaced by a function that ends when its count is used up: the power goes between two writes.
const STUBS: &str = r#"
function linux {
  if [ "$1" = "(hd0,gpt2)/boot/vmlinuz" -a $loads_a = 1 -o "$1" = "(hd0,gpt3)/boot/vmlinuz" -a $loads_b = 1 ]; then
    echo
    for argument in "$@"; do echo "+$argument"; done
    exit
  fi
  false
}
function save_or_cut {
  if regexp --set=1:writes '^x(.*)$' "$writes"; then save_env "$@"; else echo; echo "+cut"; exit; fi
}
"#;

/// What GRUB did in the end.
#[derive(Debug, PartialEq)]
enum End {
    /// It started a kernel: the slot, and whether on trial.
    Booted(Slot, bool),
    /// The power went.
    Cut,
    /// It starts over.
    Again,
}

/// A disk with a boot partition, in a folder of its own.
struct Machine {
    folder: PathBuf,
}

impl Machine {
    fn new(name: &str) -> Machine {
        let folder = std::env::temp_dir().join(format!("rota-grub-{}-{name}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(folder.join("records")).unwrap();
        let machine = Machine { folder };
        machine.run("truncate -s 1M esp && mkfs.vfat esp && truncate -s 5M disk");
        machine.run(
            "sgdisk -n 1:1M:+1M -n 2:2M:+1M -n 3:3M:+1M disk && dd if=esp of=disk bs=1M seek=1 conv=notrunc",
        );
        // grub-emu looks for its configuration below the folder that -d names, but on the boot partition.
        let mut folders = vec!["grub".to_owned(), "grub-mender-grubenv".to_owned()];
        folders.extend([1, 2].map(|copy| format!("grub-mender-grubenv/mender_grubenv{copy}")));
        let path = machine.folder.to_string_lossy().into_owned();
        for end in path.match_indices('/').map(|(at, _)| at).skip(1).chain([path.len()]) {
            folders.push(path[1..end].to_owned());
        }
        for folder in folders {
            machine.run(&format!("mmd -i disk@@1M ::/{folder}"));
        }
        let script =
            SCRIPT.replace("save_env", "save_or_cut").replace("sleep 10\nreboot", "echo\necho +again\nexit");
        fs::write(machine.folder.join("script"), script).unwrap();
        fs::write(machine.folder.join("map"), format!("(hd0) {path}/disk\n")).unwrap();
        machine.run("mcopy -i disk@@1M script ::/grub/grub.cfg");
        machine
    }

    fn run(&self, script: &str) {
        let output = Command::new("sh").args(["-ec", script]).current_dir(&self.folder).output().unwrap();
        assert!(output.status.success(), "{script}: {}", String::from_utf8_lossy(&output.stderr));
    }

    /// The records, as the client sees them; `boot` brings them to the disk and back.
    fn records(&self) -> PathBuf {
        self.folder.join("records")
    }

    fn client(&self) -> Grub {
        Grub::at(&self.records(), PARTS)
    }

    /// Runs the boot script once: at most `writes` writes before the power goes.
    fn boot(&self, loads: [bool; 2], writes: usize) -> (End, Vec<String>) {
        let [a, b] = loads.map(u8::from);
        // The console's commands are left out: grub-emu has its own.
        let defines = DEFINES.split("# GRUB's own console.").next().unwrap();
        let defines =
            format!("{defines}{STUBS}set loads_a={a}\nset loads_b={b}\nset writes={}\n", "x".repeat(writes));
        fs::write(self.folder.join("defines"), defines).unwrap();
        let start =
            "set prefix=(hd0,gpt1)/grub\nset root=hd0,gpt1\nconfigfile (hd0,gpt1)/grub/grub.cfg\nexit\n";
        fs::write(self.folder.join("start"), start).unwrap();
        self.run(
            "mcopy -o -i disk@@1M defines ::/grub/rota-grub-defines.cfg
             mcopy -o -i disk@@1M start ::$PWD/grub.cfg
             mdeltree -i disk@@1M ::/grub-mender-grubenv
             mcopy -s -i disk@@1M records ::/grub-mender-grubenv",
        );
        let grub = Command::new("timeout")
            .args(["60", "grub-emu", "-m", "map", "-r", "hd0,gpt1", "-d"])
            .arg(&self.folder)
            .env("TERM", "dumb")
            .current_dir(&self.folder)
            .stdin(Stdio::null())
            .output()
            .unwrap();
        self.run("rm -r records && mcopy -s -n -i disk@@1M ::/grub-mender-grubenv records");
        let console = String::from_utf8_lossy(&grub.stdout).replace('\r', "");
        let said: Vec<String> =
            console.lines().filter_map(|line| line.strip_prefix('+')).map(str::to_owned).collect();
        let slot = |name: &str| if said.iter().any(|word| word == name) { Some(()) } else { None };
        let end = match said.first().map(String::as_str) {
            Some("cut") => End::Cut,
            Some("again") => End::Again,
            Some(_) => {
                let chosen = if slot("rota.slot=A").is_some() { Slot::A } else { Slot::B };
                End::Booted(chosen, slot("rota.trial=1").is_some())
            }
            None => panic!("GRUB said nothing of use: {console}"),
        };
        (end, said)
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// An environment block with these variables.
fn block(variables: &[(&str, &str)]) -> Vec<u8> {
    let mut text = String::from("# GRUB Environment Block\n");
    for (name, value) in variables {
        text.push_str(&format!("{name}={value}\n"));
    }
    let mut bytes = text.into_bytes();
    bytes.resize(1024, b'#');
    bytes
}

fn env(part: &str, trial: &str, count: &str) -> Vec<u8> {
    block(&[("bootcount", count), ("mender_boot_part", part), ("upgrade_available", trial)])
}

fn write_copy(records: &Path, copy: usize, env: &[u8], lock: &[u8]) {
    let folder = records.join(format!("mender_grubenv{copy}"));
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("env"), env).unwrap();
    fs::write(folder.join("lock"), lock).unwrap();
}

fn copy_records(from: &Path, to: &Path) {
    let _ = fs::remove_dir_all(to);
    for copy in ["mender_grubenv1", "mender_grubenv2"] {
        fs::create_dir_all(to.join(copy)).unwrap();
        for name in ["env", "lock"] {
            fs::copy(from.join(copy).join(name), to.join(copy).join(name)).unwrap();
        }
    }
}

#[test]
fn command_line_of_a_trial_and_of_a_committed_slot() {
    let machine = Machine::new("line");
    machine.client().repair(Slot::A).unwrap_or_else(|_| panic!("records are made"));
    machine.client().arm(Slot::B).unwrap();
    let (end, words) = machine.boot([true, true], 99);
    assert_eq!(end, End::Booted(Slot::B, true));
    let line = "(hd0,gpt3)/boot/vmlinuz root=PARTLABEL=rootfs_B ro rootwait console=ttyS0,115200 panic=5 init=/sbin/init";
    assert_eq!(words.join(" "), format!("{line} rota.slot=B rota.trial=1"));
    let (end, words) = machine.boot([true, true], 99);
    assert_eq!(end, End::Booted(Slot::A, false));
    assert_eq!(words[..2], ["(hd0,gpt2)/boot/vmlinuz", "root=PARTLABEL=rootfs_A"]);
    assert_eq!(words.last().unwrap(), "rota.slot=A");
    assert_eq!(machine.boot([false, false], 99).0, End::Again);
}

/// Every combination of records that a device can hold, drawn evenly: GRUB and the client's twin choose the same slot and leave
/// records that say the same.
#[test]
fn grub_and_the_client_decide_alike() {
    let envs = [
        env("2", "0", "0"),
        env("3", "0", "0"),
        env("3", "1", "0"),
        env("3", "1", "1"),
        env("2", "1", "0"),
        env("2", "1", "1"),
        env("4", "0", "0"),
        env("2", "yes", "0"),
        env("3", "1", ""),
        block(&[]),
        vec![0xff; 1024],
    ];
    let locks = [block(&[("editing", "0")]), block(&[("editing", "1")]), block(&[]), vec![0; 1024]];
    let machine = Machine::new("alike");
    let twin_records = machine.folder.join("twin");
    let mut seed = 1u32;
    let mut draw = |below: usize| {
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (seed >> 16) as usize % below
    };
    for round in 0..120 {
        let chosen = [draw(envs.len()), draw(envs.len())];
        // Mostly good locks, mostly good kernels.
        let locked = [draw(8), draw(8)].map(|number| number.saturating_sub(4));
        let loads = [draw(4) > 0, draw(4) > 0];
        if loads == [false, false] {
            continue;
        }
        let _ = fs::remove_dir_all(machine.records());
        for copy in [0, 1] {
            write_copy(&machine.records(), copy + 1, &envs[chosen[copy]], &locks[locked[copy]]);
        }
        copy_records(&machine.records(), &twin_records);
        let mut twin = Grub::at(&twin_records, PARTS);
        let (slot, trial) = twin.power_on(&|slot| loads[slot as usize]).unwrap();
        let (end, _) = machine.boot(loads, 99);
        let case = format!("round {round}: records {chosen:?}, locks {locked:?}, loads {loads:?}");
        assert_eq!(end, End::Booted(slot, trial), "{case}");
        assert_eq!(machine.client().state().ok(), twin.state().ok(), "{case}");
    }
}

/// The power goes between any two writes of GRUB: the next start finds whole records, and no trial is booted twice.
#[test]
fn a_power_cut_in_grub() {
    let old = State { committed: Slot::A, trial: Some(Slot::B), attempts_left: 1 };
    let booted = State { attempts_left: 0, ..old };
    let done = State { committed: Slot::A, trial: None, attempts_left: 0 };
    let machine = Machine::new("cut");
    let cases = [(old, booted, [true, true]), (booted, done, [true, true]), (old, done, [true, false])];
    for ((before, after, loads), stale) in cases.into_iter().flat_map(|case| [(case, false), (case, true)]) {
        let mut cuts = 0;
        loop {
            let _ = fs::remove_dir_all(machine.records());
            fs::create_dir_all(machine.records()).unwrap();
            let mut client = machine.client();
            client.repair(Slot::A).unwrap();
            client.arm(Slot::B).unwrap();
            if before == booted {
                client.power_on(&|_| true).unwrap();
            }
            if stale {
                // An earlier cut left copy 1 behind, and locked.
                write_copy(&machine.records(), 1, &env("3", "0", "0"), &block(&[("editing", "1")]));
            }
            let (end, _) = machine.boot(loads, cuts);
            let state = client.state().unwrap();
            let between = [before, booted, after];
            assert!(between.contains(&state), "after {cuts} writes: {state:?}");
            if end != End::Cut {
                assert_eq!(state, after);
                break;
            }
            let first = machine.boot(loads, 99).0;
            let second = machine.boot(loads, 99).0;
            let expected = match state == old && loads[1] {
                true => [End::Booted(Slot::B, true), End::Booted(Slot::A, false)],
                false => [End::Booted(Slot::A, false), End::Booted(Slot::A, false)],
            };
            assert_eq!([first, second], expected, "after {cuts} writes");
            cuts += 1;
        }
        assert!(cuts >= 6, "{cuts} cuts");
    }
}
