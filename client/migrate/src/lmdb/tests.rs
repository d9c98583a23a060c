use std::process::{Command, Stdio};

use super::*;

fn pairs(list: &[(&str, &str)]) -> Pairs {
    list.iter().map(|(key, value)| (key.as_bytes().to_vec(), value.as_bytes().to_vec())).collect()
}

#[test]
fn what_is_written_is_read_whatever_the_width_of_a_word() {
    let long = "x".repeat(9000);
    for list in
        [&[][..], &[("a", "1")], &[("artifact-name", "rel-1"), ("artifact-provides", &long), ("b", "")]]
    {
        for word in [4, 8] {
            let pairs = pairs(list);
            assert_eq!(read(&write_for(&pairs, word).unwrap()), Ok(pairs));
        }
    }
    let many: Pairs = (0..300).map(|n| (format!("key {n}").into_bytes(), vec![7; 20])).collect();
    assert_eq!(write(&many), None);
}

/// A data base that LMDB's own tool made of these pairs.
fn loaded(pairs: &Pairs) -> Vec<u8> {
    let folder = rota_test_folder();
    let file = folder.join("store");
    load(pairs, &folder, &file);
    let bytes = std::fs::read(&file).unwrap();
    std::fs::remove_dir_all(folder).unwrap();
    bytes
}

/// LMDB's own tool puts the pairs into `file`.
fn load(pairs: &Pairs, folder: &std::path::Path, file: &std::path::Path) {
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let mut text = "VERSION=3\nformat=bytevalue\ntype=btree\nmapsize=16777216\nHEADER=END\n".to_owned();
    for (key, value) in pairs {
        text += &format!(" {}\n {}\n", hex(key), hex(value));
    }
    text += "DATA=END\n";
    std::fs::write(folder.join("dump"), text).unwrap();
    let input = std::fs::File::open(folder.join("dump")).unwrap();
    let status = Command::new("mdb_load").arg("-n").arg(file).stdin(input).status().unwrap();
    assert!(status.success());
}

fn rota_test_folder() -> std::path::PathBuf {
    use std::sync::atomic::{AtomicU32, Ordering};
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let name = format!("rota-lmdb-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
    let folder = std::env::temp_dir().join(name);
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

#[test]
fn lmdbs_own_files_are_read_with_branches_and_long_values() {
    let mut many = Pairs::new();
    for number in 0..2000u32 {
        let length = if number % 50 == 0 { 5000 } else { number as usize % 90 };
        many.insert(format!("key {number:05}").into_bytes(), vec![number as u8; length]);
    }
    for pairs in [Pairs::new(), pairs(&[("a", "1")]), many] {
        assert_eq!(read(&loaded(&pairs)), Ok(pairs));
    }
}

#[test]
fn lmdbs_own_tools_read_what_is_written() {
    let folder = rota_test_folder();
    let file = folder.join("store");
    let long = "x".repeat(9000);
    let list = pairs(&[("artifact-name", "rel-1"), ("artifact-provides", &long), ("b", "2")]);
    std::fs::write(&file, write(&list).unwrap()).unwrap();
    let dump =
        Command::new("mdb_dump").args(["-n", "-p"]).arg(&file).stderr(Stdio::inherit()).output().unwrap();
    let text = String::from_utf8(dump.stdout).unwrap();
    assert!(dump.status.success(), "{text}");
    assert!(text.contains(&format!(" artifact-name\n rel-1\n artifact-provides\n {long}\n b\n 2\n")));
    // And they go on writing it.
    let more = pairs(&[("a", "1"), ("c", "3")]);
    load(&more, &folder, &file);
    let all = list.into_iter().chain(more).collect();
    assert_eq!(read(&std::fs::read(&file).unwrap()), Ok(all));
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn garbage_is_refused() {
    for bytes in [vec![], vec![0; 100], vec![0xff; 8192]] {
        assert!(read(&bytes).is_err());
    }
    let whole = write(&pairs(&[("a", &"x".repeat(9000)), ("b", "2")])).unwrap();
    for length in (0..whole.len()).step_by(7) {
        // Once all but the padding of the last page is there, it may be whole.
        let _ = read(&whole[..length]);
    }
    // A tree whose page leads to itself.
    let mut circle = whole.clone();
    circle[2 * OUR_PAGE + 10..][..2].copy_from_slice(&BRANCH.to_ne_bytes());
    let second = usize::from(u16_at(&circle, 2 * OUR_PAGE + 16).unwrap());
    circle[2 * OUR_PAGE + second..][..6].copy_from_slice(&[2, 0, 0, 0, 0, 0]);
    assert!(read(&circle).unwrap_err().to_string().contains("circle"));
}
