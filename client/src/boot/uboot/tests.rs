use super::*;
use crate::boot::fake::Loader;
use crate::sys::fault::{self, Fault, Kind, Loss};
use crate::testing::{folder, Folder};

const SIZE: usize = 0x800;

/// A board in a folder: one file for each copy, the configuration, the built-in variables.
struct Board {
    folder: Folder,
    copies: usize,
}

impl Board {
    fn new(copies: usize) -> Board {
        let board = Board { folder: folder(), copies };
        let lines: Vec<String> =
            (0..copies).map(|copy| format!("{} 0x0 {SIZE:#x}\n", board.copy(copy).display())).collect();
        fs::write(board.folder.join("fw_env.config"), lines.concat()).unwrap();
        let built_in = "bootcmd=run rota\nboard=x\nmender_boot_part=2\nupgrade_available=0\nbootlimit=1\n";
        fs::write(board.folder.join("u-boot-initial-env"), built_in).unwrap();
        let flag = (copies == 2).then_some(1);
        let image = env::encode(&Env::from_text(built_in.as_bytes()), flag, SIZE).unwrap();
        (0..copies).for_each(|copy| fs::write(board.copy(copy), &image).unwrap());
        board
    }

    fn copy(&self, number: usize) -> PathBuf {
        self.folder.join(format!("uboot{number}.env"))
    }

    fn open(&self) -> UBoot {
        let env_dir = Some(self.folder.to_path_buf());
        UBoot::open(&Settings { backend: "uboot".into(), env_dir, parts: [2, 3] }).unwrap()
    }

    fn state(&self) -> State {
        self.open().state().unwrap()
    }

    fn image(&self, copy: usize) -> Option<(u8, Env)> {
        env::decode(&fs::read(self.copy(copy)).unwrap(), self.copies == 2)
    }

    fn destroy(&self, copy: usize) {
        fs::write(self.copy(copy), vec![0xff; SIZE]).unwrap();
    }

    /// Which copy is in force.
    fn newest(&self) -> usize {
        let flags = [0, 1].map(|copy| self.image(copy).unwrap().0);
        Scheme::Counter.newer(flags)
    }

    /// Switches the board on. Returns the slot that U-Boot starts, and whether that is a trial.
    fn power_on(&self) -> (Slot, bool) {
        self.open().power_on(&|_| true).unwrap()
    }
}

use env::Scheme;

fn committed(slot: Slot) -> State {
    State { committed: slot, trial: None, attempts_left: 0 }
}

fn on_trial(slot: Slot, attempts_left: u32) -> State {
    State { committed: slot.other(), trial: Some(slot), attempts_left }
}

#[test]
fn a_trial_from_arming_to_commit() {
    for copies in [1, 2] {
        let board = Board::new(copies);
        assert_eq!(board.state(), committed(Slot::A));
        board.open().invalidate(Slot::B).unwrap();
        board.open().arm(Slot::B).unwrap();
        board.open().arm(Slot::B).unwrap();
        assert_eq!(board.state(), on_trial(Slot::B, 1));
        assert_eq!(board.power_on(), (Slot::B, true));
        assert_eq!(board.state(), on_trial(Slot::B, 0));
        board.open().commit(Slot::B).unwrap();
        board.open().commit(Slot::B).unwrap();
        assert_eq!(board.state(), committed(Slot::B));
        assert_eq!(board.power_on(), (Slot::B, false));
        let (_, env) = board.image(0).unwrap();
        assert_eq!((env.get("mender_boot_part"), env.get("mender_boot_part_hex")), (Some("3"), Some("3")));
        assert_eq!((env.get("board"), env.get("altbootcmd")), (Some("x"), Some("run bootcmd")));
    }
}

#[test]
fn a_trial_that_is_not_committed_falls_back() {
    let board = Board::new(2);
    board.open().arm(Slot::B).unwrap();
    assert_eq!(board.power_on(), (Slot::B, true));
    assert_eq!(board.power_on(), (Slot::A, false));
    assert_eq!(board.state(), committed(Slot::A));
    board.open().arm(Slot::B).unwrap();
    board.open().cancel().unwrap();
    assert_eq!(board.state(), committed(Slot::A));
    assert_eq!(board.power_on(), (Slot::A, false));
}

#[test]
fn the_committed_slot_is_left_alone() {
    let board = Board::new(2);
    let refused = board.open().arm(Slot::A).unwrap_err().to_string();
    assert_eq!(refused, "cannot arm slot A: it is the committed one");
    assert!(board.open().invalidate(Slot::A).is_err());
}

#[test]
fn what_holds_is_in_both_copies_and_arming_is_in_one() {
    let board = Board::new(2);
    board.open().arm(Slot::B).unwrap();
    board.destroy(board.newest());
    assert_eq!(board.state(), committed(Slot::A), "a lost arming is no trial");

    for lost in [0, 1] {
        let board = Board::new(2);
        board.open().arm(Slot::B).unwrap();
        board.power_on();
        board.open().commit(Slot::B).unwrap();
        board.destroy(lost);
        assert_eq!(board.state(), committed(Slot::B), "without copy {lost}");
        assert!(board.open().repair(Slot::A).unwrap().unwrap().contains("one copy"));
        assert_eq!(board.image(0).unwrap().1, board.image(1).unwrap().1);
        assert_eq!(board.open().repair(Slot::A).unwrap(), None);
    }
}

#[test]
fn a_difference_is_repaired_unless_a_trial_made_it() {
    let board = Board::new(2);
    let store = Store::open(&board.folder.join("fw_env.config")).unwrap();
    let mut env = board.open().current().unwrap();
    env.set("who", "fw_setenv");
    store.save(&store.load().unwrap(), &env).unwrap();
    assert_ne!(board.image(0).unwrap().1, board.image(1).unwrap().1);
    assert!(board.open().repair(Slot::A).unwrap().unwrap().contains("differed"));
    assert_eq!(board.image(0).unwrap().1, env);
    assert_eq!(board.image(1).unwrap().1, env);

    board.open().arm(Slot::B).unwrap();
    assert_eq!(board.open().repair(Slot::A).unwrap(), None);
    assert_eq!(board.state(), on_trial(Slot::B, 1));
}

#[test]
fn a_lost_environment_is_made_anew_from_the_built_in_variables() {
    let board = Board::new(2);
    (0..2).for_each(|copy| board.destroy(copy));
    assert!(board.open().state().unwrap_err().to_string().contains("no copy is whole"));
    assert!(board.open().arm(Slot::B).is_err());
    assert!(board.open().repair(Slot::B).unwrap().unwrap().contains("was lost"));
    assert_eq!(board.state(), committed(Slot::B));
    assert_eq!(board.image(1).unwrap().1.get("bootcmd"), Some("run rota"));
    assert_eq!(board.open().repair(Slot::A).unwrap(), None);

    (0..2).for_each(|copy| board.destroy(copy));
    fs::write(board.folder.join("u-boot-initial-env"), "board=x\n").unwrap();
    assert!(board.open().repair(Slot::B).unwrap_err().to_string().contains("no bootcmd"));
    fs::remove_file(board.folder.join("u-boot-initial-env")).unwrap();
    assert!(board.open().repair(Slot::B).is_err());
    assert_eq!(fs::read(board.copy(0)).unwrap(), vec![0xff; SIZE], "U-Boot's own defaults still work");
}

#[test]
fn values_that_name_no_slot_are_repaired() {
    for (name, value) in
        [("mender_boot_part", "7"), ("mender_boot_part", "x\u{1b}"), ("mender_boot_part", "")]
    {
        let board = Board::new(2);
        let mut boot = board.open();
        let mut env = boot.current().unwrap();
        env.set(name, value);
        boot.store.settle(&env).unwrap();
        assert!(boot.state().unwrap_err().to_string().contains("expected 2 or 3"));
        assert!(boot.repair(Slot::B).unwrap().is_some());
        assert_eq!(board.state(), committed(Slot::B));
    }
}

#[test]
fn a_file_that_is_gone_is_a_lost_copy_but_a_folder_that_is_not_mounted_is_not() {
    let board = Board::new(2);
    fs::remove_file(board.copy(0)).unwrap();
    assert!(board.open().repair(Slot::A).unwrap().is_some());
    assert_eq!(board.image(0).unwrap().1, board.image(1).unwrap().1);

    let config = "/rota-not-mounted.env 0 800\n/rota-not-mounted-2.env 0 800\n";
    fs::write(board.folder.join("fw_env.config"), config).unwrap();
    let error = board.open().repair(Slot::A).unwrap_err().to_string();
    assert!(error.ends_with("mount the partition that holds the environment"), "{error}");
}

#[test]
fn a_configuration_that_cannot_be_is_refused() {
    let board = Board::new(2);
    let config = board.folder.join("fw_env.config");
    let file = board.copy(0).display().to_string();
    for (text, says) in [
        (String::new(), "no line says"),
        (format!("{file} 0 400\n{file} 400 800\n"), "differ in size"),
        (format!("{file} 0 fffffff\n"), "is more than"),
        (format!("{file} -0x10000 800\n"), "lies before the start"),
        ("/dev/rota-none 0 800\n".to_owned(), "cannot look at /dev/rota-none"),
        ("/dev/null 0 800\n".to_owned(), "cannot look at /dev/null"),
        ("/dev/ubi77:env 0 800\n".to_owned(), "cannot look at /dev/ubi77:env"),
    ] {
        fs::write(&config, text).unwrap();
        let error = Store::open(&config).unwrap_err().to_string();
        assert!(error.contains(says), "{error}");
    }
}

#[test]
fn two_copies_in_one_device_with_offsets_from_either_end() {
    let board = Board::new(2);
    let disk = board.folder.join("disk");
    fs::write(&disk, vec![0xaa; 0x4000]).unwrap();
    let config = format!("{0} 0x1000 {SIZE:#x}\n{0} -0x1000 {SIZE:#x}\n", disk.display());
    fs::write(board.folder.join("fw_env.config"), config).unwrap();
    let error = board.open().repair(Slot::B).unwrap_err().to_string();
    assert!(error.contains("was never an environment of U-Boot"), "{error}");
    assert_eq!(fs::read(&disk).unwrap(), [0xaa; 0x4000], "another board's configuration spoils nothing");

    let place = |at: usize, content: &[u8]| {
        let mut bytes = fs::read(&disk).unwrap();
        bytes[at..at + content.len()].copy_from_slice(content);
        fs::write(&disk, bytes).unwrap();
    };
    // One copy is blank, the other one is torn.
    place(0x1000, &[0; SIZE]);
    assert!(board.open().repair(Slot::B).is_err());
    place(0x3000, b"torn\x01board=x\0bootcmd=run");
    board.open().repair(Slot::B).unwrap();
    board.open().arm(Slot::A).unwrap();
    assert_eq!(board.state(), on_trial(Slot::A, 1));
    let bytes = fs::read(&disk).unwrap();
    let untouched = [0..0x1000, 0x1000 + SIZE..0x3000, 0x3000 + SIZE..0x4000];
    assert!(untouched.into_iter().all(|range| bytes[range].iter().all(|byte| *byte == 0xaa)));
}

#[test]
fn variables_that_do_not_fit_change_nothing() {
    let board = Board::new(2);
    let store = Store::open(&board.folder.join("fw_env.config")).unwrap();
    let mut env = board.open().current().unwrap();
    env.set("long", "x".repeat(SIZE - 120));
    store.settle(&env).unwrap();
    let error = board.open().arm(Slot::B).unwrap_err().to_string();
    assert!(error.contains("the variables need"), "{error}");
    assert_eq!(board.state(), committed(Slot::A));
}

/// Every act, cut at every durable step with everything, nothing or parts of what was not synced lost: the loader finds
/// the state from before or after, and the client's next start makes both copies whole.
#[test]
fn a_power_cut_leaves_the_old_state_or_the_new() {
    type Act = (&'static str, fn(&Board), fn(&mut UBoot) -> Result<(), Error>);
    let nothing = |_: &Board| {};
    let armed = |board: &Board| board.open().arm(Slot::B).unwrap();
    let running = |board: &Board| {
        board.open().arm(Slot::B).unwrap();
        board.power_on();
    };
    let acts: [Act; 7] = [
        ("invalidate", nothing, |boot| boot.invalidate(Slot::B)),
        ("arm", nothing, |boot| boot.arm(Slot::B)),
        ("arm again", running, |boot| boot.arm(Slot::B)),
        ("commit", running, |boot| boot.commit(Slot::B)),
        ("commit what runs", nothing, |boot| boot.commit(Slot::B)),
        ("cancel", armed, |boot| boot.cancel()),
        ("roll back", running, |boot| boot.cancel()),
    ];
    for (name, prepare, act) in acts {
        let run = |fault: Fault| {
            let board = Board::new(2);
            prepare(&board);
            let before = board.state();
            let outcome = fault::run(fault, || act(&mut board.open()).unwrap());
            (board, before, outcome)
        };
        let (board, _, outcome) = run(Fault::Never);
        let after = board.state();
        for point in 0..outcome.points.len() {
            for loss in
                [Loss::Nothing, Loss::Everything, Loss::Torn(1), Loss::Torn(2), Loss::Torn(3), Loss::Torn(4)]
            {
                let (board, before, outcome) = run(Fault::Cut(point, loss));
                assert_eq!(outcome.result, None);
                let state = board.state();
                let between = state == committed(Slot::A) && name == "arm again";
                assert!(
                    state == before || state == after || between,
                    "{name}, point {point}, {loss:?}: {state:?}"
                );
                let (slot, _) = board.power_on();
                assert!(Some(slot) == state.trial || slot == state.committed);
                board.open().cancel().unwrap();
                assert_eq!(board.open().repair(Slot::A).unwrap(), None, "cancelling settles");
                assert_eq!(board.image(0).unwrap().1, board.image(1).unwrap().1);
            }
        }
    }
}

#[test]
fn arming_writes_each_time_once() {
    let writes = |board: &Board, act: &dyn Fn(&mut UBoot)| {
        let outcome = fault::run(Fault::Never, || act(&mut board.open()));
        outcome.points.iter().filter(|(kind, _)| *kind == Kind::Write).count()
    };
    let board = Board::new(2);
    assert_eq!(writes(&board, &|boot| boot.arm(Slot::B).unwrap()), 1);
    assert_eq!(writes(&board, &|boot| boot.commit(Slot::B).unwrap()), 2);
    assert_eq!(writes(&board, &|boot| boot.commit(Slot::B).unwrap()), 0);
    assert_eq!(writes(&board, &|boot| assert_eq!(boot.repair(Slot::A).unwrap(), None)), 0);
    assert_eq!(writes(&board, &|boot| boot.invalidate(Slot::A).unwrap()), 0);
}

#[test]
fn a_broken_disk_is_an_error_not_a_lost_environment() {
    let board = Board::new(2);
    let outcome =
        fault::run(Fault::Broken(0), || board.open().commit(Slot::B).map_err(|error| error.to_string()));
    assert!(outcome.result.unwrap().unwrap_err().contains("cannot write"));
    assert_eq!(board.state(), committed(Slot::A));
}

#[test]
fn copies_that_destroy_each_other_are_not_written_for_ever() {
    let board = Board::new(2);
    let (file, other) = (board.copy(0), board.copy(1));
    let mut bytes = fs::read(&file).unwrap();
    bytes.resize(2 * SIZE, 0xff);
    fs::write(&file, bytes).unwrap();
    let config = |first: &Path, second: &Path| {
        let (first, second) = (first.display(), second.display());
        let lines = format!("{first} 0 {SIZE:#x}\n{second} {:#x} {SIZE:#x}\n", SIZE / 2);
        fs::write(board.folder.join("fw_env.config"), lines).unwrap();
    };
    config(&file, &file);
    let error = Store::open(&board.folder.join("fw_env.config")).unwrap_err().to_string();
    assert!(error.contains("the two copies overlap"), "{error}");

    // By two names it is found out when it is written.
    fs::remove_file(&other).unwrap();
    fs::hard_link(&file, &other).unwrap();
    config(&file, &other);
    let error = board.open().commit(Slot::B).unwrap_err().to_string();
    assert!(error.contains("a copy is lost when the other one is written"), "{error}");
}
