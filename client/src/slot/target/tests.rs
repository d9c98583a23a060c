use super::*;
use crate::sys::fault::{self, Fault, Loss};
use crate::testing::{self, Folder};
use std::fs;
use std::path::Path;

const MIB: usize = 1 << 20;

/// Two slots of 4 MiB, full of threes and fours; A is root.
fn machine() -> (Folder, Layout, System) {
    let folder = testing::folder();
    let layout = Layout { a: folder.join("a.img"), b: folder.join("b.img") };
    fs::write(&layout.a, vec![3; 4 * MIB]).unwrap();
    fs::write(&layout.b, vec![4; 4 * MIB]).unwrap();
    let system = System::pretend(&folder, &layout, Slot::A).unwrap();
    (folder, layout, system)
}

/// An image of which no two places are alike.
fn image(length: usize) -> Vec<u8> {
    (0..length as u64).map(|at| (at.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8 | 1).collect()
}

fn install(target: &mut Target, image: &[u8]) -> Result<(), Error> {
    target.invalidate()?;
    let mut writer = target.writer(image.len() as u64)?;
    for piece in image.chunks(100_000) {
        writer.write_all(piece).map_err(target_error)?;
    }
    writer.finish()?;
    target.read_back(image.len() as u64, &Sha256::digest(image).into())
}

fn target_error(source: io::Error) -> Error {
    Error::Io { act: "write", path: PathBuf::new(), source }
}

#[test]
fn writes_images_of_all_sizes_and_nothing_else() {
    for length in [0, 1, 511, MIB - 1, MIB, MIB + 1, 2 * MIB, 3 * MIB + 12_345, 4 * MIB] {
        let (_folder, layout, system) = machine();
        let mut target = Target::open_in(&layout, Slot::A, &system).unwrap();
        assert_eq!((target.slot(), target.size()), (Slot::B, 4 * MIB as u64));
        let image = image(length);
        install(&mut target, &image).unwrap();
        let slot = fs::read(&layout.b).unwrap();
        assert_eq!(slot.len(), 4 * MIB);
        assert!(slot[..length] == image[..], "{length} bytes");
        assert!(slot[length.max(MIB)..].iter().all(|&byte| byte == 4), "beyond the image nothing changes");
        assert!(fs::read(&layout.a).unwrap().iter().all(|&byte| byte == 3));
    }
}

#[test]
fn the_running_slot_cannot_be_opened() {
    let (_folder, layout, system) = machine();
    let error = Target::open_in(&layout, Slot::B, &system).unwrap_err();
    assert!(matches!(error, Error::IsRoot { slot: Slot::A, .. }), "{error}");
    let same = Layout { a: layout.a.clone(), b: layout.a.clone() };
    assert!(matches!(Target::open_in(&same, Slot::A, &system), Err(Error::BothSlots { .. })));
    let elsewhere = System::at(Path::new("/nonexistent"));
    assert!(matches!(Target::open_in(&layout, Slot::A, &elsewhere), Err(Error::Io { .. })));
}

#[test]
fn a_link_to_the_running_slot_is_the_running_slot() {
    let (folder, layout, system) = machine();
    std::os::unix::fs::symlink(&layout.a, folder.join("link")).unwrap();
    let linked = Layout { a: layout.a.clone(), b: folder.join("link") };
    assert!(matches!(Target::open_in(&linked, Slot::A, &system), Err(Error::BothSlots { .. })));
}

#[test]
fn too_large_is_refused_before_anything_is_touched() {
    let (_folder, layout, system) = machine();
    let mut target = Target::open_in(&layout, Slot::A, &system).unwrap();
    let error = target.writer(4 * MIB as u64 + 1).unwrap_err();
    assert!(matches!(error, Error::TooLarge { image: 4_194_305, size: 4_194_304, .. }), "{error}");
    assert!(fs::read(&layout.b).unwrap().iter().all(|&byte| byte == 4));
}

#[test]
fn an_image_of_another_length_never_becomes_whole() {
    let (_folder, layout, system) = machine();
    let mut target = Target::open_in(&layout, Slot::A, &system).unwrap();
    let mut writer = target.writer(2 * MIB as u64).unwrap();
    writer.write_all(&image(2 * MIB - 1)).unwrap();
    assert!(matches!(writer.finish(), Err(Error::WrongLength { .. })));
    let mut writer = target.writer(10).unwrap();
    let error = writer.write_all(&[1; 11]).unwrap_err();
    assert!(error.to_string().contains("10 bytes were announced"), "{error}");
    drop(writer);
    assert!(fs::read(&layout.b).unwrap()[..MIB].iter().all(|&byte| byte == 0));
}

#[test]
fn what_the_storage_lost_is_found() {
    let (_folder, layout, system) = machine();
    let mut target = Target::open_in(&layout, Slot::A, &system).unwrap();
    let image = image(3 * MIB);
    install(&mut target, &image).unwrap();
    let mut slot = fs::read(&layout.b).unwrap();
    slot[2 * MIB + 5] ^= 1;
    fs::write(&layout.b, slot).unwrap();
    let error = target.read_back(image.len() as u64, &Sha256::digest(&image).into()).unwrap_err();
    assert!(matches!(error, Error::ReadBack { .. }), "{error}");
}

/// An unfinished slot cannot boot: at any cut, the front is the old one with all the old rest, or empty, or torn, or
/// the new one with all the new rest.
#[test]
fn a_power_cut_leaves_no_slot_that_looks_whole_and_is_not() {
    let (_folder, layout, system) = machine();
    let image = image(3 * MIB);
    for loss in [Loss::Nothing, Loss::Everything, Loss::Torn(7), Loss::Torn(8), Loss::Torn(9)] {
        for at in 0.. {
            fs::write(&layout.b, vec![4; 4 * MIB]).unwrap();
            let outcome = fault::run(Fault::Cut(at, loss), || {
                let mut target = Target::open_in(&layout, Slot::A, &system).unwrap();
                install(&mut target, &image).unwrap();
            });
            let slot = fs::read(&layout.b).unwrap();
            let (front, rest) = slot.split_at(MIB);
            let (new_front, new_rest) = image.split_at(MIB);
            // Here is the superblock; it is old, zeroed or new.
            match front[1024] {
                4 => assert!(rest.iter().all(|&byte| byte == 4), "cut at {at} ({loss:?})"),
                0 => {}
                _ => {
                    assert!(front[4096..] == new_front[4096..], "cut at {at} ({loss:?})");
                    assert!(rest[..new_rest.len()] == *new_rest, "cut at {at} ({loss:?})");
                }
            }
            if outcome.result.is_some() {
                break;
            }
        }
    }
}

#[test]
fn a_full_disk_does_not_matter_and_a_broken_one_is_told() {
    let (_folder, layout, system) = machine();
    let image = image(2 * MIB);
    let outcome = fault::run(Fault::Full(0), || {
        let mut target = Target::open_in(&layout, Slot::A, &system).unwrap();
        install(&mut target, &image).unwrap();
    });
    assert!(outcome.result.is_some());
    let outcome = fault::run(Fault::Broken(2), || {
        let mut target = Target::open_in(&layout, Slot::A, &system).unwrap();
        install(&mut target, &image).unwrap_err().to_string()
    });
    assert!(outcome.result.unwrap().contains("b.img"));
}
