//! U-Boot's environment beside Debian's `fw_printenv`, `fw_setenv` and `mkenvimage`: what one writes the other reads.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use rota::boot::{self, Boot, Settings, State};
use rota::slot::Slot;

const SIZE: usize = 0x1000;
const VARIABLES: &str = "bootcmd=run a; run b\nmender_boot_part=2\nmender_boot_part_hex=2\nupgrade_available=0\n\
                         bootcount=0\nbootlimit=1\naltbootcmd=run bootcmd\nzz=ends with spaces  \nquotes='\"$x\"'\n";

/// A board in a temporary folder whose environment `mkenvimage` has made.
struct Board {
    folder: PathBuf,
    redundant: bool,
}

impl Board {
    fn new(name: &str, redundant: bool) -> Board {
        let folder = std::env::temp_dir().join(format!("rota-uboot-{}-{name}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).unwrap();
        let disk = folder.join("disk");
        let mut config = format!("# the first copy\n{} 0x2000 {SIZE:#x}\n", disk.display());
        if redundant {
            config += &format!("{}\t8192\t{SIZE:x}\t0\t0\n", folder.join("disk2").display());
        }
        fs::write(folder.join("fw_env.config"), config).unwrap();
        fs::write(folder.join("u-boot-initial-env"), VARIABLES).unwrap();
        let board = Board { folder, redundant };
        board.make_images();
        board
    }

    fn make_images(&self) {
        let mut mkenvimage = Command::new("mkenvimage");
        if self.redundant {
            mkenvimage.arg("-r");
        }
        let image = self.folder.join("image");
        mkenvimage
            .args(["-s", &SIZE.to_string(), "-o"])
            .arg(&image)
            .arg(self.folder.join("u-boot-initial-env"));
        assert!(mkenvimage.status().expect("mkenvimage of u-boot-tools").success());
        let mut disk = vec![0x55; 0x4000];
        disk[0x2000..0x2000 + SIZE].copy_from_slice(&fs::read(&image).unwrap());
        fs::write(self.folder.join("disk"), &disk).unwrap();
        fs::write(self.folder.join("disk2"), &disk).unwrap();
    }

    fn open(&self) -> Box<dyn Boot> {
        let env_dir = Some(self.folder.clone());
        boot::open(&Settings { backend: "uboot".into(), env_dir, parts: [2, 3] }).unwrap()
    }

    fn state(&self) -> State {
        self.open().state().unwrap()
    }

    fn fw(&self, program: &str, arguments: &[&str]) -> String {
        let output =
            Command::new(program).arg("-c").arg(self.folder.join("fw_env.config")).args(arguments).output();
        let output = output.unwrap_or_else(|error| panic!("{program} of libubootenv-tool: {error}"));
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && errors.is_empty(), "{program} {arguments:?}: {errors}");
        String::from_utf8(output.stdout).unwrap()
    }

    fn set(&self, name: &str, value: &str) {
        self.fw("fw_setenv", &[name, value]);
    }

    fn print(&self, name: &str) -> String {
        self.fw("fw_printenv", &["-n", name]).trim_end_matches('\n').to_owned()
    }

    fn copy(&self, number: usize) -> Vec<u8> {
        let disk = fs::read(self.folder.join(["disk", "disk2"][number])).unwrap();
        disk[0x2000..0x2000 + SIZE].to_vec()
    }

    fn destroy(&self, number: usize) {
        let path = self.folder.join(["disk", "disk2"][number]);
        let mut disk = fs::read(&path).unwrap();
        disk[0x2000..0x2000 + SIZE].fill(0);
        fs::write(path, disk).unwrap();
    }

    fn bytes_outside_are_untouched(&self) {
        for name in ["disk", "disk2"] {
            let disk = fs::read(self.folder.join(name)).unwrap();
            assert!(disk[..0x2000].iter().chain(&disk[0x2000 + SIZE..]).all(|byte| *byte == 0x55));
        }
    }
}

impl Drop for Board {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

fn committed(slot: Slot) -> State {
    State { committed: slot, trial: None, attempts_left: 0 }
}

#[test]
fn fw_printenv_reads_what_rota_writes() {
    for redundant in [false, true] {
        let board = Board::new(&format!("reads-{redundant}"), redundant);
        assert_eq!(board.state(), committed(Slot::A), "mkenvimage's image is read");
        board.open().arm(Slot::B).unwrap();
        let names =
            ["mender_boot_part", "mender_boot_part_hex", "upgrade_available", "bootcount", "bootlimit"];
        assert_eq!(names.map(|name| board.print(name)), ["3", "3", "1", "0", "1"]);
        board.open().commit(Slot::B).unwrap();
        assert_eq!(names.map(|name| board.print(name)), ["3", "3", "0", "0", "1"]);
        let mut expected: Vec<&str> =
            VARIABLES.lines().filter(|line| !line.contains("mender_boot_part")).collect();
        expected.extend(["mender_boot_part=3", "mender_boot_part_hex=3"]);
        expected.sort_unstable();
        assert_eq!(
            board.fw("fw_printenv", &[]).lines().collect::<Vec<_>>(),
            expected,
            "nothing else has changed"
        );
        board.bytes_outside_are_untouched();
    }
}

#[test]
fn rota_reads_what_fw_setenv_writes() {
    for redundant in [false, true] {
        let board = Board::new(&format!("writes-{redundant}"), redundant);
        let script = board.folder.join("script");
        fs::write(&script, "mender_boot_part=3\nmender_boot_part_hex=3\nupgrade_available=1\nbootcount=0\n")
            .unwrap();
        board.fw("fw_setenv", &["-s", script.to_str().unwrap()]);
        let armed = State { committed: Slot::A, trial: Some(Slot::B), attempts_left: 1 };
        assert_eq!(board.state(), armed, "as the update module of Mender arms");
        board.set("bootcount", "1");
        assert_eq!(board.state(), State { attempts_left: 0, ..armed });
        board.set("upgrade_available", "0");
        assert_eq!(board.state(), committed(Slot::B));
        if redundant {
            assert!(board.open().repair(Slot::A).unwrap().unwrap().contains("differed"));
        }
        assert_eq!(board.open().repair(Slot::A).unwrap(), None);
    }
}

/// The counter runs over at 255: both sides must still agree which copy is the newer one, after every write.
#[test]
fn writing_in_turn_through_the_overflow_of_the_counter() {
    let board = Board::new("overflow", true);
    let mut slot = Slot::A;
    for turn in 0..140 {
        board.set("turn", &turn.to_string());
        slot = slot.other();
        board.open().commit(slot).unwrap();
        assert_eq!(board.state(), committed(slot));
        assert_eq!(board.print("turn"), turn.to_string());
        assert_eq!(board.print("mender_boot_part"), if slot == Slot::A { "2" } else { "3" });
        assert_eq!(board.copy(0)[5..], board.copy(1)[5..], "both copies hold it");
    }
}

/// The same change by either program leaves the same bytes (behind the last variable `fw_setenv` leaves what was in its memory).
#[test]
fn the_bytes_are_those_of_fw_setenv() {
    let by_rota = Board::new("bytes-rota", true);
    let by_fw = Board::new("bytes-fw", true);
    by_rota.open().commit(Slot::B).unwrap();
    for _ in 0..2 {
        let script = by_fw.folder.join("script");
        fs::write(&script, "mender_boot_part=3\nmender_boot_part_hex=3\nupgrade_available=0\nbootcount=0\n")
            .unwrap();
        by_fw.fw("fw_setenv", &["-s", script.to_str().unwrap()]);
    }
    for copy in 0..2 {
        let [rota, fw] = [&by_rota, &by_fw].map(|board| board.copy(copy));
        let end = rota.windows(2).rposition(|pair| pair[0] != 0 && pair[1] == 0).unwrap() + 3;
        assert_eq!(rota[4..end], fw[4..end], "flag and variables of copy {copy}");
    }
}

#[test]
fn either_copy_may_get_lost_after_a_commit() {
    for lost in 0..2 {
        let board = Board::new(&format!("lost-{lost}"), true);
        board.open().commit(Slot::B).unwrap();
        board.destroy(lost);
        assert_eq!(board.print("mender_boot_part"), "3");
        assert!(board.open().repair(Slot::A).unwrap().is_some());
        board.destroy(1 - lost);
        assert_eq!(board.print("mender_boot_part"), "3");
    }
}

#[test]
fn an_environment_made_anew_is_one_for_fw_printenv() {
    for redundant in [false, true] {
        let board = Board::new(&format!("anew-{redundant}"), redundant);
        (0..2).for_each(|copy| board.destroy(copy));
        board.open().repair(Slot::B).unwrap();
        assert_eq!(board.print("bootcmd"), "run a; run b");
        assert_eq!(board.print("mender_boot_part"), "3");
        assert_eq!(board.print("quotes"), "'\"$x\"'");
        board.bytes_outside_are_untouched();
    }
}

#[test]
fn a_value_of_several_lines_is_that_of_mkenvimage() {
    let board = Board::new("lines", true);
    fs::write(board.folder.join("u-boot-initial-env"), VARIABLES.to_owned() + "lines=one \\\ntwo=2\n")
        .unwrap();
    board.make_images();
    let made = board.print("lines");
    assert_eq!(made, "one \ntwo=2");
    (0..2).for_each(|number| board.destroy(number));
    assert!(board.open().repair(Slot::A).unwrap().is_some());
    assert_eq!(board.print("lines"), made);
}

#[test]
fn copies_in_files_of_their_own() {
    let board = Board::new("files", true);
    let file = |number: usize| board.folder.join(format!("uboot{number}.env"));
    let config = |path: &Path| format!("{} 0x0000 {SIZE:#x}\n", path.display());
    (0..2).for_each(|number| fs::write(file(number), board.copy(number)).unwrap());
    fs::write(board.folder.join("fw_env.config"), config(&file(0)) + &config(&file(1))).unwrap();
    board.open().commit(Slot::B).unwrap();
    assert_eq!(board.print("mender_boot_part"), "3");
    fs::write(file(1), "").unwrap();
    assert!(board.open().repair(Slot::A).unwrap().is_some());
    assert_eq!(board.print("mender_boot_part"), "3");
    assert_eq!([0, 1].map(|number| fs::metadata(file(number)).unwrap().len()), [SIZE as u64; 2]);
}
