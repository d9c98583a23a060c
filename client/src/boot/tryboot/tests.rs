use super::*;
use crate::boot::fake::Loader;
use crate::sys::fault::{self, Fault, Loss};
use crate::testing::{self, Folder};

const SLOTS: [u32; 2] = [5, 6];
const A: State = State { committed: Slot::A, trial: None, attempts_left: 0 };
const B: State = State { committed: Slot::B, trial: None, attempts_left: 0 };
const A_TRIES_B: State = State { committed: Slot::A, trial: Some(Slot::B), attempts_left: 1 };

/// A board from the factory: folders in the place of partitions, systemd's file for the flag.
fn fresh() -> (Folder, Tryboot) {
    let folder = testing::folder();
    let write = |path: &str, text: &str| {
        let path = folder.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    };
    fs::create_dir_all(folder.join("run/systemd/system")).unwrap();
    fs::create_dir_all(folder.join("disk/p1")).unwrap();
    fs::write(folder.join("disk/p1/autoboot.txt"), Autoboot { committed: 2, tried: 3 }.bytes()).unwrap();
    for (boot, root, slot) in [(2, 5, "A"), (3, 6, "B")] {
        for place in [format!("disk/p{boot}"), format!("disk/p{root}/boot/firmware")] {
            write(&format!("{place}/kernel8.img"), "kernel one");
            write(&format!("{place}/overlays/uart.dtbo"), "overlay");
            let line = format!("root=/dev/mmcblk0p5 ro rootwait rota.slot={slot}\n");
            write(&format!("{place}/cmdline.txt"), &line);
        }
        write(&format!("disk/p{boot}/cmdline.txt"), &cmdline(&folder, slot, false));
    }
    let mut boot = board(&folder);
    assert_eq!(boot.power_on(&|_| true).unwrap(), (Slot::A, false));
    (folder, boot)
}

fn board(folder: &Path) -> Tryboot {
    Tryboot::at(&folder.join("disk/p1"), SLOTS, folder)
}

fn cmdline(folder: &Path, slot: &str, trial: bool) -> String {
    let root = folder.join(if slot == "A" { "disk/p5" } else { "disk/p6" });
    let trial = if trial { " rota.trial=1" } else { "" };
    format!("root={} ro rootwait rota.slot={slot}{trial}\n", root.display())
}

/// An update has been written into slot B: its kernel is another one, and a file has gone.
fn update(folder: &Path) {
    let files = folder.join("disk/p6/boot/firmware");
    fs::write(files.join("kernel8.img"), "kernel two").unwrap();
    fs::write(files.join("new.dtb"), "tree").unwrap();
    fs::remove_dir_all(files.join("overlays")).unwrap();
}

fn read(folder: &Path, path: &str) -> String {
    fs::read_to_string(folder.join(path)).unwrap()
}

#[test]
fn acts_and_states() {
    let (folder, mut boot) = fresh();
    assert_eq!(boot.state().unwrap(), A);
    assert!(
        boot.arm(Slot::A).is_err() && boot.invalidate(Slot::A).is_err() && boot.prepare(Slot::A).is_err()
    );
    update(&folder);
    boot.prepare(Slot::B).unwrap();
    boot.arm(Slot::B).unwrap();
    boot.arm(Slot::B).unwrap();
    assert_eq!(boot.state().unwrap(), A_TRIES_B);
    assert_eq!(read(&folder, "run/systemd/reboot-param"), "0 tryboot");
    assert_eq!(boot.power_on(&|_| true).unwrap(), (Slot::B, true));
    assert_eq!(boot.state().unwrap(), State { attempts_left: 0, ..A_TRIES_B });
    boot.commit(Slot::B).unwrap();
    assert_eq!(boot.state().unwrap(), B);
    assert_eq!(boot.power_on(&|_| true).unwrap(), (Slot::B, false));
    boot.arm(Slot::A).unwrap();
    boot.cancel().unwrap();
    boot.arm(Slot::A).unwrap();
    boot.invalidate(Slot::A).unwrap();
    assert_eq!(boot.state().unwrap(), B);
    assert_eq!(boot.repair(Slot::A).unwrap(), None);
}

#[test]
fn a_trial_is_one_start() {
    let (_folder, mut boot) = fresh();
    boot.arm(Slot::B).unwrap();
    assert_eq!(boot.power_on(&|_| true).unwrap(), (Slot::B, true));
    assert_eq!(boot.power_on(&|_| true).unwrap(), (Slot::A, false));
    assert_eq!(boot.state().unwrap(), A);
    boot.arm(Slot::B).unwrap();
    assert_eq!(boot.power_on(&|slot| slot == Slot::A).unwrap(), (Slot::A, false));
    assert_eq!(boot.state().unwrap(), A);
}

#[test]
fn the_boot_partition_becomes_what_the_slot_brings() {
    let (folder, mut boot) = fresh();
    update(&folder);
    boot.prepare(Slot::B).unwrap();
    assert_eq!(read(&folder, "disk/p3/kernel8.img"), "kernel two");
    assert_eq!(read(&folder, "disk/p3/new.dtb"), "tree");
    assert!(!folder.join("disk/p3/overlays").exists());
    assert_eq!(read(&folder, "disk/p3/cmdline.txt"), cmdline(&folder, "B", true));
    assert_eq!(read(&folder, "disk/p2/kernel8.img"), "kernel one");
    boot.arm(Slot::B).unwrap();
    boot.power_on(&|_| true).unwrap();
    boot.commit(Slot::B).unwrap();
    assert_eq!(read(&folder, "disk/p3/cmdline.txt"), cmdline(&folder, "B", false));
    fs::remove_dir_all(folder.join("disk/p5/boot")).unwrap();
    let said = boot.prepare(Slot::A).unwrap_err().to_string();
    assert!(said.contains("no /boot/firmware") && said.contains("build the image for tryboot"), "{said}");
}

#[test]
fn autoboot_keeps_its_place_on_disk() {
    use std::os::unix::fs::MetadataExt;
    let (folder, mut boot) = fresh();
    let place =
        || fs::metadata(folder.join("disk/p1/autoboot.txt")).map(|file| (file.ino(), file.len())).unwrap();
    let before = place();
    boot.arm(Slot::B).unwrap();
    boot.commit(Slot::B).unwrap();
    assert_eq!(before, place());
    fs::write(folder.join("disk/p1/autoboot.txt"), &Autoboot { committed: 3, tried: 2 }.bytes()[..80])
        .unwrap();
    boot.commit(Slot::A).unwrap();
    assert_eq!(place().1, autoboot::SIZE as u64);
    assert_eq!(boot.state().unwrap(), A);
}

#[test]
fn what_is_lost_is_written_anew() {
    for lost in ["", "nonsense", "[all]\nboot_partition=2\n"] {
        for slot in Slot::BOTH {
            let (folder, mut boot) = fresh();
            fs::write(folder.join("disk/p1/autoboot.txt"), lost).unwrap();
            assert!(matches!(boot.state(), Err(Error::Invalid { .. })));
            assert!(boot.arm(Slot::B).is_err() && boot.commit(Slot::B).is_err());
            assert!(boot.repair(slot).unwrap().unwrap().contains("lost"));
            assert_eq!(boot.state().unwrap().committed, slot);
            assert_eq!(boot.repair(slot.other()).unwrap(), None);
        }
    }
    let (folder, mut boot) = fresh();
    fs::write(folder.join("disk/p2/cmdline.txt"), cmdline(&folder, "A", true)).unwrap();
    assert!(boot.repair(Slot::A).unwrap().unwrap().contains("called it a trial"));
    assert_eq!(read(&folder, "disk/p2/cmdline.txt"), cmdline(&folder, "A", false));
}

#[test]
fn an_old_eeprom_and_no_way_to_tell_it_are_named() {
    let (folder, mut boot) = fresh();
    boot.tell("build-timestamp", 1_619_700_000).unwrap();
    let said = boot.arm(Slot::B).unwrap_err().to_string();
    assert!(said.contains("of 2021-04-29") && said.contains("rpi-eeprom-update"), "{said}");
    assert_eq!(boot.state().unwrap(), A);
    boot.tell("build-timestamp", 1_700_000_000).unwrap();
    boot.arm(Slot::B).unwrap();
    fs::remove_dir_all(folder.join("run")).unwrap();
    let said = board(&folder).arm(Slot::B).unwrap_err().to_string();
    assert!(said.contains("/dev/vcio"), "{said}");
}

/// Power goes: what is volatile with it, and the firmware starts.
fn power_cycle(folder: &Path) -> (Slot, bool) {
    let _ = fs::remove_file(folder.join("run/systemd/reboot-param"));
    board(folder).power_on(&|_| true).unwrap()
}

/// Cuts the power at every point of `act`, with every kind of loss, and checks what then starts.
fn sweep(prepare: fn(&Path, &mut Tryboot), act: fn(&mut Tryboot), allowed: &[Slot]) -> usize {
    let mut cuts = 0;
    for loss in [Loss::Nothing, Loss::Everything, Loss::Torn(1), Loss::Torn(2), Loss::Torn(3)] {
        for at in 0.. {
            let (folder, mut boot) = fresh();
            fault::run(Fault::Never, || prepare(&folder, &mut boot));
            let outcome = fault::run(Fault::Cut(at, loss), || act(&mut boot));
            let (slot, trial) = power_cycle(&folder);
            assert!(allowed.contains(&slot) && !trial, "cut {at} ({loss:?}) starts {slot}, trial {trial}");
            // The next start of the client finds records that make sense, or makes them so, and nothing changes by it.
            let mut boot = board(&folder);
            boot.repair(slot).unwrap();
            assert_eq!(boot.state().unwrap(), State { committed: slot, trial: None, attempts_left: 0 });
            assert_eq!(boot.repair(slot).unwrap(), None);
            let (number, name) = if slot == Slot::A { (2, "A") } else { (3, "B") };
            assert_eq!(read(&folder, &format!("disk/p{number}/cmdline.txt")), cmdline(&folder, name, false));
            // A second update goes through whatever the first one left.
            let other = slot.other();
            boot.prepare(other).unwrap();
            boot.arm(other).unwrap();
            assert_eq!(boot.power_on(&|_| true).unwrap(), (other, true));
            boot.commit(other).unwrap();
            assert_eq!(power_cycle(&folder), (other, false));
            if outcome.result.is_some() {
                break;
            }
            cuts += 1;
        }
    }
    cuts
}

#[test]
fn a_cut_at_any_point_leaves_a_slot_that_starts() {
    let preparing = sweep(|folder, _| update(folder), |boot| boot.prepare(Slot::B).unwrap(), &[Slot::A]);
    let arming = sweep(
        |folder, boot| {
            update(folder);
            boot.prepare(Slot::B).unwrap();
        },
        |boot| boot.arm(Slot::B).unwrap(),
        &[Slot::A],
    );
    let committing = sweep(
        |folder, boot| {
            update(folder);
            boot.prepare(Slot::B).unwrap();
            boot.arm(Slot::B).unwrap();
            boot.power_on(&|_| true).unwrap();
        },
        |boot| boot.commit(Slot::B).unwrap(),
        &[Slot::A, Slot::B],
    );
    println!("cuts: {preparing} preparing, {arming} arming, {committing} committing");
    assert!(preparing >= 40 && arming >= 10 && committing >= 20);
}
