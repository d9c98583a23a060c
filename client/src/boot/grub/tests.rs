use super::block::Block;
use super::*;
use crate::boot::fake::Loader;
use crate::sys::fault::{self, Fault, Loss};
use crate::testing::{self, Folder};
use std::process::Command;
use std::sync::OnceLock;

const PARTS: [u32; 2] = [2, 3];
const NAMES: [&str; 3] = ["env", "lock", "lock.sha256sum"];
const A: State = State { committed: Slot::A, trial: None, attempts_left: 0 };
const B: State = State { committed: Slot::B, trial: None, attempts_left: 0 };
const A_TRIES_B: State = State { committed: Slot::A, trial: Some(Slot::B), attempts_left: 1 };

/// A fresh environment as grub-mender-grubenv makes it, with its own tools.
fn fresh() -> (Folder, Grub) {
    static FILES: OnceLock<[Vec<u8>; 3]> = OnceLock::new();
    let files = FILES.get_or_init(|| {
        let folder = testing::folder();
        let script = "grub-editenv env create && grub-editenv lock create && grub-editenv lock set editing=0 &&
            grub-editenv env set bootcount=0 mender_boot_part=2 upgrade_available=0 x=y && sha256sum lock > lock.sha256sum";
        assert!(Command::new("sh").args(["-c", script]).current_dir(&*folder).status().unwrap().success());
        NAMES.map(|name| std::fs::read(folder.join(name)).unwrap())
    });
    let folder = testing::folder();
    for copy in [1, 2] {
        std::fs::create_dir(folder.join(format!("mender_grubenv{copy}"))).unwrap();
        for (name, content) in NAMES.into_iter().zip(files) {
            std::fs::write(file(&folder, copy, name), content).unwrap();
        }
    }
    let grub = Grub::at(&folder, PARTS);
    (folder, grub)
}

fn file(folder: &Path, copy: u32, name: &str) -> PathBuf {
    folder.join(format!("mender_grubenv{copy}/{name}"))
}

fn set(path: &Path, name: &str, value: &str) {
    let block = Block::parse(std::fs::read(path).unwrap()).unwrap();
    std::fs::write(path, block.with(name, value).unwrap().bytes()).unwrap();
}

/// Both copies are whole in the eyes of the tools: equal, and the sums hold.
fn assert_whole(folder: &Path) {
    let read = |copy, name| std::fs::read(file(folder, copy, name)).unwrap();
    assert_eq!(read(1, "env"), read(2, "env"));
    for copy in ["mender_grubenv1", "mender_grubenv2"] {
        let mut check = Command::new("sha256sum");
        check.args(["--status", "-c", "lock.sha256sum"]).current_dir(folder.join(copy));
        assert!(check.status().unwrap().success(), "{copy}");
        let lock = Command::new("grub-editenv")
            .args(["lock", "list"])
            .current_dir(folder.join(copy))
            .output()
            .unwrap();
        assert_eq!(lock.stdout, b"editing=0\n");
    }
}

#[test]
fn acts_and_states() {
    let (folder, mut grub) = fresh();
    assert_eq!(grub.state().unwrap(), A);
    assert!(grub.arm(Slot::A).is_err() && grub.invalidate(Slot::A).is_err());
    grub.arm(Slot::B).unwrap();
    grub.arm(Slot::B).unwrap();
    assert_eq!(grub.state().unwrap(), A_TRIES_B);
    assert_whole(&folder);
    let listed = Command::new("grub-editenv").arg(file(&folder, 1, "env")).arg("list").output().unwrap();
    let listed = String::from_utf8(listed.stdout).unwrap();
    assert_eq!(listed, "bootcount=0\nmender_boot_part=3\nupgrade_available=1\nx=y\n");
    assert_eq!(grub.power_on(&|_| true).unwrap(), (Slot::B, true));
    assert_eq!(grub.state().unwrap(), State { attempts_left: 0, ..A_TRIES_B });
    grub.commit(Slot::B).unwrap();
    assert_eq!(grub.state().unwrap(), B);
    grub.arm(Slot::A).unwrap();
    grub.invalidate(Slot::A).unwrap();
    assert_eq!(grub.state().unwrap(), B);
    grub.arm(Slot::A).unwrap();
    grub.cancel().unwrap();
    assert_eq!(grub.state().unwrap(), B);
    assert_whole(&folder);
    assert_eq!(grub.repair(Slot::A).unwrap(), None);
}

#[test]
fn files_keep_their_place_on_disk() {
    use std::os::unix::fs::MetadataExt;
    let (folder, mut grub) = fresh();
    let inodes = || -> Vec<(u64, u64)> {
        let paths = [1, 2].into_iter().flat_map(|copy| NAMES.map(|name| (copy, name)));
        let of = |path: PathBuf| std::fs::metadata(path).map(|file| (file.ino(), file.len())).unwrap();
        paths.map(|(copy, name)| of(file(&folder, copy, name))).collect()
    };
    let before = inodes();
    grub.arm(Slot::B).unwrap();
    grub.commit(Slot::B).unwrap();
    assert_eq!(before, inodes());
}

#[test]
fn the_copy_that_counts_is_the_boot_scripts() {
    let cases = [
        // (lock 1, lock 2, copy that counts)
        ("0", "0", 1),
        ("0", "1", 1),
        ("1", "0", 2),
        ("1", "1", 1),
        ("x", "0", 2),
    ];
    for (lock1, lock2, counts) in cases {
        let (folder, mut grub) = fresh();
        set(&file(&folder, 2, "env"), "mender_boot_part", "3");
        set(&file(&folder, 1, "lock"), "editing", lock1);
        set(&file(&folder, 2, "lock"), "editing", lock2);
        let expected = if counts == 1 { A } else { B };
        assert_eq!(grub.state().unwrap(), expected, "locks {lock1} {lock2}");
        let said = grub.repair(Slot::A).unwrap().expect("a difference is repaired");
        assert!(said.contains(&format!("equal to copy {counts}")), "{said}");
        assert_eq!(grub.state().unwrap(), expected);
        assert_whole(&folder);
    }
}

#[test]
fn nonsense_is_refused_and_the_other_copy_counts() {
    let nonsense: [fn(&Path); 7] = [
        |env| set(env, "mender_boot_part", "4"),
        |env| set(env, "mender_boot_part", "02"),
        |env| set(env, "upgrade_available", ""),
        |env| set(env, "bootcount", "2"),
        |env| std::fs::write(env, [0; 1024]).unwrap(),
        |env| std::fs::write(env, "").unwrap(),
        |env| std::fs::remove_file(env).unwrap(),
    ];
    for spoil in nonsense {
        let (folder, mut grub) = fresh();
        set(&file(&folder, 2, "env"), "mender_boot_part", "3");
        spoil(&file(&folder, 1, "env"));
        assert_eq!(grub.state().unwrap(), B);
        assert!(grub.repair(Slot::A).unwrap().is_some());
        assert_eq!(grub.state().unwrap(), B);
        assert_whole(&folder);
        spoil(&file(&folder, 1, "env"));
        spoil(&file(&folder, 2, "env"));
        assert!(matches!(grub.state(), Err(Error::Invalid { .. })));
        assert!(grub.arm(Slot::A).is_err());
        assert!(grub.repair(Slot::B).unwrap().unwrap().contains("slot B committed"));
        assert_eq!(grub.state().unwrap(), B);
        assert_whole(&folder);
    }
}

#[test]
fn all_lost_is_written_anew_but_not_without_the_boot_partition() {
    let (folder, mut grub) = fresh();
    for copy in [1, 2] {
        std::fs::remove_dir_all(folder.join(format!("mender_grubenv{copy}"))).unwrap();
    }
    assert!(grub.repair(Slot::B).unwrap().is_some());
    assert_eq!(grub.state().unwrap(), B);
    assert_whole(&folder);
    let mut unmounted = Grub::at(&folder.join("absent"), PARTS);
    assert!(unmounted.repair(Slot::A).unwrap_err().to_string().contains("mount the boot partition"));
    assert!(!folder.join("absent").exists());
}

#[test]
fn a_lost_sum_is_written_again() {
    let (folder, mut grub) = fresh();
    std::fs::remove_file(file(&folder, 2, "lock.sha256sum")).unwrap();
    assert_eq!(grub.state().unwrap(), A);
    assert!(grub.repair(Slot::A).unwrap().is_some());
    assert_whole(&folder);
}

#[test]
fn foreign_variables_stay_and_a_hexadecimal_one_follows() {
    let (folder, mut grub) = fresh();
    set(&file(&folder, 1, "env"), "mender_boot_part_hex", "2");
    let mut grub_at_10 = Grub::at(&folder, [2, 10]);
    grub_at_10.commit(Slot::B).unwrap();
    let block = Block::parse(std::fs::read(file(&folder, 2, "env")).unwrap()).unwrap();
    assert_eq!(block.get("mender_boot_part_hex").as_deref(), Some("a"));
    assert_eq!(block.get("x").as_deref(), Some("y"));
    assert!(grub.state().is_err(), "partition 10 is no slot of the other layout");
}

/// Cuts the power at every point of `act`, with every kind of loss, and checks what the boot loader then sees.
fn sweep(prepare: fn(&Path, &mut Grub), act: fn(&mut Grub), allowed: &[State]) -> usize {
    let mut cuts = 0;
    for loss in [Loss::Nothing, Loss::Everything, Loss::Torn(1), Loss::Torn(2), Loss::Torn(3), Loss::Torn(4)]
    {
        for at in 0.. {
            let (folder, mut grub) = fresh();
            fault::run(Fault::Never, || prepare(&folder, &mut grub));
            let outcome = fault::run(Fault::Cut(at, loss), || act(&mut grub));
            let state = grub.state().unwrap();
            assert!(allowed.contains(&state), "cut at {at} of {:?} ({loss:?}): {state:?}", outcome.points);
            assert!(fault::run(Fault::Never, || grub.power_on(&|_| true)).result.unwrap().is_ok());
            fault::run(Fault::Never, || grub.repair(Slot::A).unwrap());
            assert!(Copies::read(&folder, PARTS).unwrap().agree());
            if outcome.result.is_some() {
                break;
            }
            cuts += 1;
        }
    }
    cuts
}

#[test]
fn a_power_cut_leaves_the_old_or_the_new() {
    let arm = |grub: &mut Grub| grub.arm(Slot::B).unwrap();
    let commit = |grub: &mut Grub| grub.commit(Slot::B).unwrap();
    let cuts = sweep(|_, _| (), arm, &[A, A_TRIES_B]);
    assert!(cuts >= 6 * 12, "{cuts} cuts");
    let booted = State { attempts_left: 0, ..A_TRIES_B };
    let on_trial = |_: &Path, grub: &mut Grub| {
        grub.arm(Slot::B).unwrap();
        grub.power_on(&|_| true).unwrap();
    };
    sweep(on_trial, commit, &[booted, B]);
    sweep(on_trial, |grub| grub.cancel().unwrap(), &[booted, A]);
    // From every state that an earlier cut can leave.
    sweep(|folder, _| set(&file(folder, 1, "lock"), "editing", "1"), commit, &[A, B]);
    sweep(|folder, _| set(&file(folder, 2, "lock"), "editing", "1"), commit, &[A, B]);
    let both = |folder: &Path, _: &mut Grub| {
        set(&file(folder, 1, "lock"), "editing", "1");
        set(&file(folder, 2, "lock"), "editing", "1");
    };
    sweep(both, commit, &[A, B]);
    let lost = |folder: &Path, _: &mut Grub| std::fs::write(file(folder, 1, "env"), [b'#'; 1024]).unwrap();
    sweep(lost, commit, &[A, B]);
    let lost_and_locked = |folder: &Path, _: &mut Grub| {
        std::fs::write(file(folder, 1, "env"), [b'#'; 1024]).unwrap();
        set(&file(folder, 2, "lock"), "editing", "1");
    };
    sweep(lost_and_locked, commit, &[A, B]);
}

#[test]
fn a_full_disk_stops_nothing() {
    let (folder, mut grub) = fresh();
    let outcome = fault::run(Fault::Full(0), || {
        grub.arm(Slot::B).unwrap();
        grub.commit(Slot::B).unwrap();
    });
    assert!(outcome.result.is_some());
    assert_eq!(grub.state().unwrap(), B);
    assert_whole(&folder);
}

#[test]
fn the_records_are_found_where_they_usually_are() {
    let folder = testing::folder();
    assert_eq!(find_folder(&folder), None);
    std::fs::create_dir_all(folder.join("boot/grub/grub-mender-grubenv/mender_grubenv1")).unwrap();
    assert_eq!(find_folder(&folder), Some(folder.join("boot/grub/grub-mender-grubenv")));
    std::fs::create_dir_all(folder.join("etc")).unwrap();
    std::fs::write(folder.join("etc/mender_grubenv.config"), "ENV_DIR=/elsewhere\n").unwrap();
    assert_eq!(find_folder(&folder), Some(folder.join("elsewhere")));
}
