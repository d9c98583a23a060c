use super::*;
use crate::testing::{self, Folder};

/// Two image files as slots, and a system that knows nothing yet.
fn machine() -> (Folder, Layout) {
    let folder = testing::folder();
    let layout = Layout { a: folder.join("a.img"), b: folder.join("b.img") };
    for slot in Slot::BOTH {
        fs::write(layout.path(slot), [0; 512]).unwrap();
    }
    fs::create_dir_all(folder.join("proc/self")).unwrap();
    (folder, layout)
}

fn write(folder: &Path, path: &str, text: &str) {
    let path = folder.join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

fn loop_device(folder: &Path, number: &str, image: &Path) {
    write(folder, &format!("sys/dev/block/{number}/loop/backing_file"), &format!("{}\n", image.display()));
}

#[test]
fn the_root_is_found_by_device_number_whatever_it_is_called() {
    let (folder, layout) = machine();
    for slot in Slot::BOTH {
        let system = System::pretend(&folder, &layout, slot).unwrap();
        assert_eq!(layout.booted_in(&system).unwrap(), slot);
        let before = system.boot_id();
        assert_ne!(
            System::pretend(&folder, &layout, slot).unwrap().boot_id(),
            before,
            "a start is a new boot"
        );
    }
}

#[test]
fn the_root_is_found_below_overlays_and_device_mapper() {
    let (folder, layout) = machine();
    loop_device(&folder, "7:5", &layout.b);
    write(&folder, "sys/dev/block/254:1/slaves/dm-0/dev", "254:0\n");
    write(&folder, "sys/dev/block/254:0/slaves/loop5/dev", "7:5\n");
    write(
        &folder,
        "proc/self/mountinfo",
        "1 0 0:2 / / rw - rootfs none rw\n\
         20 1 254:1 / /media/root-ro ro - squashfs /dev/mapper/verity ro\n\
         21 1 0:31 / / rw - overlay overlay rw,lowerdir=/media/root-ro,upperdir=/rw/up,workdir=/rw/work\n",
    );
    assert_eq!(layout.booted_in(&System::at(&folder)).unwrap(), Slot::B);
}

#[test]
fn an_overlay_whose_lower_layer_is_out_of_sight_asks_the_command_line() {
    let (folder, layout) = machine();
    let line = "21 1 0:31 / / rw - overlay overlay rw,lowerdir=/lower,upperdir=/up,workdir=/work\n";
    write(&folder, "proc/self/mountinfo", line);
    write(&folder, "proc/cmdline", "root=PARTLABEL=rootfs_A quiet\n");
    // Block devices cannot be made here, so the command line leads nowhere: it must say so, and not loop.
    let error = layout.booted_in(&System::at(&folder)).unwrap_err();
    assert!(error.to_string().contains("no block device"), "{error}");
}

#[test]
fn a_root_that_is_no_slot_or_both_is_an_error_with_names() {
    let (folder, layout) = machine();
    write(&folder, "proc/self/mountinfo", "1 0 8:1 / / rw - ext4 /dev/sda1 rw\n");
    let system = System::at(&folder);
    let error = layout.booted_in(&system).unwrap_err();
    assert!(matches!(error, Error::NoSlot { .. }));
    assert!(error.to_string().contains("device 8:1") && error.to_string().contains("b.img"), "{error}");
    let twice = Layout { a: layout.a.clone(), b: layout.a.clone() };
    let system = System::pretend(&folder, &twice, Slot::A).unwrap();
    assert!(matches!(twice.booted_in(&system), Err(Error::BothSlots { .. })));
    let absent = Layout { a: layout.a.clone(), b: folder.join("absent") };
    assert_eq!(absent.booted_in(&system).unwrap(), Slot::A);
}

#[test]
fn this_machine_has_a_root() {
    let system = System::at(Path::new("/"));
    assert!(system.grounds(Path::new("/")).is_ok() && system.boot_id().len() > 30);
}

#[test]
fn numbers_are_the_digits_at_the_end_of_the_device() {
    let number = |path: &str| Layout { a: path.into(), b: path.into() }.number(Slot::A);
    assert_eq!(number("/dev/nvme0n1p2"), Some(2));
    assert_eq!(number("/dev/sda13"), Some(13));
    assert_eq!(number("/dev/sda"), None);
    let (folder, layout) = machine();
    std::os::unix::fs::symlink(&layout.a, folder.join("slot7")).unwrap();
    assert_eq!(
        number(&folder.join("slot7").to_string_lossy()),
        None,
        "the device's name counts, not the link's"
    );
}
