use super::*;
use crate::sys::fault::{carry, run, Fault, Loss};
use crate::testing;

#[test]
fn replaces_makes_and_removes() {
    let folder = testing::folder();
    let path = folder.join("file");
    replace(&path, b"one", 0o640).unwrap();
    replace(&path, b"two", 0o600).unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"two");
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(fs::read_dir(&*folder).unwrap().count(), 1, "no temporary file is left");
    remove(&path).unwrap();
    remove(&path).unwrap();
    assert!(!path.exists());
    make_folder(&path).unwrap();
    make_folder(&path).unwrap();
}

#[test]
fn a_cut_leaves_the_old_or_the_new_and_a_leftover_is_used_up() {
    for loss in [Loss::Nothing, Loss::Everything, Loss::Torn(1), Loss::Torn(2), Loss::Torn(3)] {
        for at in 0.. {
            let folder = testing::folder();
            let path = folder.join("file");
            fs::write(&path, "old").unwrap();
            let cut = run(Fault::Cut(at, loss), || replace(&path, &[b'n'; 2000], 0o600).unwrap());
            let content = fs::read(&path).unwrap();
            assert!(
                content == b"old" || content == [b'n'; 2000],
                "cut at {at} ({loss:?}): {} bytes",
                content.len()
            );
            replace(&path, b"newer", 0o600).unwrap();
            assert_eq!(fs::read_dir(&*folder).unwrap().count(), 1);
            if cut.result.is_some() {
                assert_eq!(content.len(), 2000, "what has returned is durable");
                assert_eq!(cut.points.len(), 4);
                break;
            }
        }
    }
}

#[test]
fn a_removal_is_durable_once_it_returns() {
    for (at, there) in [(0, [true, true]), (1, [true, false]), (2, [false, false])] {
        for (loss, there) in [Loss::Everything, Loss::Nothing].into_iter().zip(there) {
            let folder = testing::folder();
            let path = folder.join("file");
            fs::write(&path, "content").unwrap();
            run(Fault::Cut(at, loss), || remove(&path).unwrap());
            assert_eq!(path.exists(), there, "cut at {at} ({loss:?})");
        }
    }
}

#[test]
fn in_place_writes_are_lost_or_torn_until_synced() {
    let folder = testing::folder();
    let path = folder.join("file");
    let mut seen = std::collections::BTreeSet::new();
    for seed in 0..50 {
        fs::write(&path, [b'o'; 2048]).unwrap();
        run(Fault::Cut(1, Loss::Torn(seed)), || InPlace::open(&path).unwrap().write_at(0, &[b'n'; 2048]));
        let content = fs::read(&path).unwrap();
        let new = content.iter().take_while(|&&byte| byte == b'n').count();
        assert!(content[new..].iter().all(|&byte| byte == b'o'));
        seen.insert(new);
    }
    assert_eq!(seen.into_iter().collect::<Vec<_>>(), [0, 512, 1024, 1536, 2048]);
}

#[test]
fn in_place_never_grows() {
    let folder = testing::folder();
    let path = folder.join("file");
    assert!(InPlace::open(&path).is_err());
    fs::write(&path, [0; 10]).unwrap();
    let file = InPlace::open_exclusive(&path).unwrap();
    assert!(file.put(8, b"abc").is_err() && file.put(u64::MAX, b"a").is_err());
    file.write_at(7, b"abc").unwrap();
    let mut read = [0; 4];
    file.read_at(6, &mut read).unwrap();
    assert_eq!((&read, file.size()), (b"\0abc", 10));
}

#[test]
fn a_full_disk_fails_and_leaves_nothing_behind() {
    let folder = testing::folder();
    let path = folder.join("file");
    fs::write(&path, "old").unwrap();
    let full = run(Fault::Full(0), || replace(&path, b"new", 0o600).unwrap_err());
    assert_eq!(full.result.unwrap().raw_os_error(), Some(nix::libc::ENOSPC));
    assert_eq!(fs::read(&path).unwrap(), b"old");
    assert_eq!(fs::read_dir(&*folder).unwrap().count(), 1);
}

#[test]
fn a_plan_is_carried_to_a_helper_and_nothing_succeeds_after_the_cut() {
    struct OnDrop<'p>(&'p Path);
    impl Drop for OnDrop<'_> {
        fn drop(&mut self) {
            assert!(replace(self.0, b"dropped", 0o600).is_err());
        }
    }
    let folder = testing::folder();
    let path = folder.join("file");
    let cut = run(Fault::Cut(2, Loss::Everything), || {
        let _guard = OnDrop(&path);
        let (carry, inner) = (carry(), path.clone());
        let helper = std::thread::spawn(move || {
            carry();
            replace(&inner, b"helped", 0o600)
        });
        let _ = helper.join();
        replace(&path, b"after", 0o600)
    });
    assert!(cut.result.is_none());
    assert_eq!(cut.points.len(), 3);
    assert_eq!(fs::read_dir(&*folder).unwrap().count(), 0);
    replace(&path, b"power is back", 0o600).unwrap();
}

#[test]
fn a_large_file_is_stored_whole_whatever_pieces_it_comes_in() {
    let folder = crate::testing::folder();
    let path = folder.join("large");
    let length = SYNC_EVERY * 2 + 5;
    let mut content = std::io::repeat(7).take(1).chain(std::io::repeat(9).take(length as u64 - 1));
    replace_by(&path, &mut content, length, 0o600).unwrap();
    let stored = fs::read(&path).unwrap();
    assert!(stored.len() == length && stored[0] == 7 && stored[1..].iter().all(|byte| *byte == 9));
}
