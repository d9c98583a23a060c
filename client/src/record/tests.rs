use super::*;
use crate::sys::fault::{self, Fault, Loss};
use crate::testing;

const SIZE: usize = 4096;

fn open(folder: &Path) -> (Pair, Option<Vec<u8>>) {
    Pair::open(folder, "journal", SIZE)
}

fn text(content: Option<Vec<u8>>) -> Option<String> {
    content.map(|bytes| String::from_utf8(bytes).unwrap())
}

#[test]
fn remembers_the_newest() {
    let folder = testing::folder();
    let (mut pair, content) = open(&folder);
    assert_eq!((pair.fault(), content), (None, None));
    for number in 0..5 {
        pair.write(format!("content {number}").as_bytes()).unwrap();
        let (again, content) = open(&folder);
        assert!(again.fault().is_none());
        assert_eq!(text(content), Some(format!("content {number}")));
    }
    assert_eq!(text(newest_content(&folder, "journal")).as_deref(), Some("content 4"));
    assert_eq!(newest_content(&folder, "other"), None);
}

#[test]
fn content_that_does_not_fit_is_refused_and_changes_nothing() {
    let folder = testing::folder();
    let (mut pair, _) = open(&folder);
    pair.write(&[1; SIZE - HEADER]).unwrap();
    assert!(matches!(pair.write(&[2; SIZE - HEADER + 1]), Err(Error::TooLarge { .. })));
    assert_eq!(open(&folder).1, Some(vec![1; SIZE - HEADER]));
}

#[test]
fn damage_of_any_byte_of_the_newest_leaves_the_one_before() {
    let folder = testing::folder();
    let (mut pair, _) = open(&folder);
    pair.write(b"before").unwrap();
    pair.write(b"newest").unwrap();
    let path = folder.join("journal.1");
    let whole = fs::read(&path).unwrap();
    for at in 0..HEADER + 6 {
        let mut damaged = whole.clone();
        damaged[at] ^= 0x10;
        fs::write(&path, damaged).unwrap();
        assert_eq!(text(open(&folder).1).as_deref(), Some("before"), "byte {at}");
    }
}

#[test]
fn whatever_lies_there_stops_nothing() {
    let rubbish: [fn(&Path); 6] = [
        |path| fs::write(path, b"").unwrap(),
        |path| fs::write(path, [0; 20]).unwrap(),
        |path| fs::write(path, vec![0xa5; 3 * SIZE]).unwrap(),
        |path| fs::remove_file(path).unwrap(),
        |path| {
            std::os::unix::fs::symlink("/etc/passwd", {
                fs::remove_file(path).unwrap();
                path
            })
            .unwrap()
        },
        |path| {
            crate::sys::fifo::make({
                fs::remove_file(path).unwrap();
                path
            })
            .unwrap()
        },
    ];
    for (case, spoil) in rubbish.into_iter().enumerate() {
        let folder = testing::folder();
        let (mut pair, _) = open(&folder);
        pair.write(b"one").unwrap();
        pair.write(b"two").unwrap();
        spoil(&folder.join("journal.1"));
        let (mut pair, content) = open(&folder);
        assert_eq!((pair.fault(), text(content).as_deref()), (None, Some("one")), "case {case}");
        pair.write(b"three").unwrap();
        spoil(&folder.join("journal.0"));
        assert_eq!(text(open(&folder).1).as_deref(), Some("three"), "case {case}");
    }
}

#[test]
fn a_folder_in_the_place_of_a_record_is_moved_aside_or_told() {
    let folder = testing::folder();
    for name in ["journal.1/inside", "journal.1.aside/inside"] {
        fs::create_dir_all(folder.join(name)).unwrap();
    }
    let (mut pair, _) = open(&folder);
    assert!(pair.fault().is_some());
    pair.write(b"one").unwrap();
    assert!(pair.write(b"two").unwrap_err().to_string().contains("journal.1"));
    assert_eq!(text(open(&folder).1).as_deref(), Some("one"));
    fs::remove_dir_all(folder.join("journal.1.aside")).unwrap();
    let (mut pair, _) = open(&folder);
    assert!(pair.fault().is_none() && folder.join("journal.1.aside/inside").is_dir());
    pair.write(b"two").unwrap();
    assert_eq!(text(open(&folder).1).as_deref(), Some("two"));
}

#[test]
fn another_size_keeps_the_content() {
    let folder = testing::folder();
    open(&folder).0.write(b"kept").unwrap();
    let (pair, content) = Pair::open(&folder, "journal", 2 * SIZE);
    assert_eq!((pair.fault(), text(content).as_deref()), (None, Some("kept")));
    assert_eq!(fs::metadata(folder.join("journal.0")).unwrap().len(), 2 * SIZE as u64);
    let (mut pair, content) = open(&folder);
    assert_eq!((pair.fault(), text(content).as_deref()), (None, Some("kept")));
    assert_eq!(
        fs::metadata(folder.join("journal.0")).unwrap().len(),
        2 * SIZE as u64,
        "the larger one stays"
    );
    pair.write(b"new").unwrap();
    assert_eq!(text(Pair::open(&folder, "journal", 2 * SIZE).1).as_deref(), Some("new"));
}

#[test]
fn sequence_numbers_wrap_around() {
    let folder = testing::folder();
    open(&folder);
    for (at, sequence, content) in [(0, u64::MAX - 1, b"old"), (1, u64::MAX, b"new")] {
        let mut record = encode(sequence, content);
        record.resize(SIZE, 0xff);
        fs::write(folder.join(format!("journal.{at}")), record).unwrap();
    }
    for number in 0..4 {
        let (mut pair, content) = open(&folder);
        assert_eq!(text(content).unwrap(), if number == 0 { "new".to_owned() } else { format!("{number}") });
        pair.write(format!("{}", number + 1).as_bytes()).unwrap();
    }
}

#[test]
fn a_power_cut_leaves_the_old_or_the_new() {
    let mut cuts = 0;
    for loss in [Loss::Nothing, Loss::Everything].into_iter().chain((0..20).map(Loss::Torn)) {
        for at in 0.. {
            let folder = testing::folder();
            let lengths = [0, 3000, 2000, 3500];
            let done = std::cell::Cell::new(0);
            let outcome = fault::run(Fault::Cut(at, loss), || {
                let (mut pair, _) = open(&folder);
                for length in &lengths[1..] {
                    pair.write(&vec![b'x'; *length]).unwrap();
                    done.set(done.get() + 1);
                }
            });
            let (mut pair, content) = fault::run(Fault::Never, || open(&folder)).result.unwrap();
            let length = content.map_or(0, |content| content.len());
            let allowed = &lengths[done.get()..lengths.len().min(done.get() + 2)];
            assert!(allowed.contains(&length), "cut at {at} ({loss:?}): {length}, not {allowed:?}");
            assert!(pair.fault().is_none());
            fault::run(Fault::Never, || pair.write(b"after").unwrap());
            assert_eq!(text(newest_content(&folder, "journal")).as_deref(), Some("after"));
            if outcome.result.is_some() {
                break;
            }
            cuts += 1;
        }
    }
    assert!(cuts > 200, "{cuts} cuts");
}

#[test]
fn a_full_disk_stops_no_write_once_both_are_there() {
    let folder = testing::folder();
    let (mut pair, _) = open(&folder);
    let outcome = fault::run(Fault::Full(0), || {
        for number in 0..10 {
            pair.write(format!("{number}").as_bytes()).unwrap();
        }
        let (fresh, content) = Pair::open(&folder, "never", SIZE);
        assert_eq!((fresh.fault().is_some(), content), (true, None));
    });
    assert!(outcome.result.is_some());
    assert_eq!(text(open(&folder).1).as_deref(), Some("9"));
    assert!(!folder.join(".never.0.new").exists());
}

#[test]
fn a_broken_disk_is_an_error_and_the_newest_stays() {
    let folder = testing::folder();
    let (mut pair, _) = open(&folder);
    pair.write(b"good").unwrap();
    let outcome = fault::run(Fault::Broken(0), || pair.write(b"bad").unwrap_err().to_string());
    assert!(outcome.result.unwrap().starts_with("cannot write"));
    pair.write(b"better").unwrap();
    assert_eq!(text(open(&folder).1).as_deref(), Some("better"));
}
