//! Beside Debian's mender-artifact, in the same run and on the same image: CPU seconds, wall clock, peak memory. The image
//! is an ext4 of 512 MiB with files of this machine. Each figure is the best of three.
use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Instant,
};

use rota_artifact::Hasher;

const OURS: &str = env!("CARGO_BIN_EXE_rota-artifact");
const MENDER: &str = "mender-artifact";
const IMAGE_MIB: u64 = 512;
const CONTENT_MIB: u64 = 420;
const ROUNDS: usize = 3;

/// What a program took.
#[derive(Clone, Copy)]
struct Cost {
    /// User and system time of all its threads, in seconds.
    cpu: f64,
    wall: f64,
    /// Peak of its resident memory, in MiB.
    memory: f64,
}

/// Runs a program three times; the best of each figure, but the worst of memory.
fn cost(folder: &Path, program: &str, line: &str) -> Cost {
    let run = || {
        let start = Instant::now();
        let mut time = Command::new("time");
        time.args(["-f", "%U %S %M", "-o", "cost", program]).args(line.split_whitespace());
        let status =
            time.current_dir(folder).stdout(Stdio::null()).stderr(Stdio::null()).status().expect("time runs");
        assert!(status.success(), "{program} {line}");
        let text = fs::read_to_string(folder.join("cost")).expect("time writes");
        let figures: Vec<f64> = text.split_whitespace().filter_map(|figure| figure.parse().ok()).collect();
        Cost {
            cpu: figures[0] + figures[1],
            wall: start.elapsed().as_secs_f64(),
            memory: figures[2] / 1024.0,
        }
    };
    (1..ROUNDS).fold(run(), |best, _| {
        let next = run();
        Cost {
            cpu: best.cpu.min(next.cpu),
            wall: best.wall.min(next.wall),
            memory: best.memory.max(next.memory),
        }
    })
}

/// Prints a line of the table and its ratio: how many times less we take. Gives what we take.
fn compare(folder: &Path, what: &str, theirs: &str, ours: &str) -> Cost {
    let [theirs, ours] = [(MENDER, theirs), (OURS, ours)].map(|(program, line)| cost(folder, program, line));
    let ratio = |theirs: f64, ours: f64| theirs / ours;
    println!(
        "{what:<24} {:7.2} {:7.2} {:6.2}x   {:7.2} {:7.2} {:6.2}x   {:7.1} {:7.1}",
        theirs.cpu,
        ours.cpu,
        ratio(theirs.cpu, ours.cpu),
        theirs.wall,
        ours.wall,
        ratio(theirs.wall, ours.wall),
        theirs.memory,
        ours.memory
    );
    ours
}

/// An ext4 with files of /usr, up to a size.
fn make_image(folder: &Path) {
    let stage = folder.join("stage");
    let mut left = CONTENT_MIB << 20;
    let mut todo = vec![PathBuf::from("/usr/bin"), PathBuf::from("/usr/share"), PathBuf::from("/usr/lib")];
    while let Some(path) = todo.pop() {
        let Ok(metadata) = path.symlink_metadata() else { continue };
        if metadata.is_dir() {
            let mut inside: Vec<PathBuf> =
                fs::read_dir(&path).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
            inside.sort();
            todo.extend(inside);
        } else if metadata.is_file() && metadata.len() < 32 << 20 && metadata.len() <= left {
            let target = stage.join(path.strip_prefix("/").expect("absolute"));
            fs::create_dir_all(target.parent().expect("has one")).expect("folder");
            if fs::copy(&path, target).is_ok() {
                left -= metadata.len();
            }
        }
    }
    let run = |line: &str| {
        let words: Vec<&str> = line.split(' ').collect();
        let status = Command::new(words[0]).args(&words[1..]).current_dir(folder).status();
        assert!(status.expect("it runs").success(), "{line}");
    };
    run(&format!("truncate -s {IMAGE_MIB}M image.ext4"));
    run("mkfs.ext4 -q -N 131072 -d stage image.ext4");
    fs::remove_dir_all(stage).expect("it was made");
}

/// The time that one core takes for the SHA-256 of as many bytes as the image has, in seconds.
fn sha256_limit() -> f64 {
    let block = vec![7u8; 64 << 10];
    let on_cpu = || -> f64 {
        let text = fs::read_to_string("/proc/thread-self/schedstat").expect("the kernel counts");
        text.split(' ').next().and_then(|time| time.parse().ok()).expect("nanoseconds")
    };
    let round = || {
        let (start, mut hasher) = (on_cpu(), Hasher::default());
        (0..(IMAGE_MIB << 20) / (64 << 10)).for_each(|_| hasher.update(&block));
        std::hint::black_box(hasher.finish());
        (on_cpu() - start) / 1e9
    };
    (0..ROUNDS).map(|_| round()).fold(f64::MAX, f64::min)
}

fn main() {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("compare");
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).expect("folder");
    make_image(&folder);
    println!("{:<24} {:^24}   {:^24}   {:^15}", "", "CPU s", "wall s", "memory MiB");
    println!(
        "{:<24} {:>7} {:>7} {:>7}   {:>7} {:>7} {:>7}   {:>7} {:>7}",
        "", "mender", "rota", "", "mender", "rota", "", "mender", "rota"
    );

    let write = |compression: &str, who: &str| {
        format!("write rootfs-image -f image.ext4 -n rel-1 -t devA --compression {compression} -o {who}-{compression}.mender")
    };
    for compression in ["gzip", "none"] {
        let (theirs, ours) = (write(compression, "mender"), write(compression, "rota"));
        compare(&folder, &format!("write {compression}"), &theirs, &ours);
    }
    let validate = |compression: &str| {
        // Each validates its own: that is what people do.
        let [theirs, ours] = ["mender", "rota"].map(|who| format!("validate {who}-{compression}.mender"));
        compare(&folder, &format!("validate {compression}"), &theirs, &ours)
    };
    validate("gzip");
    let plain = validate("none");

    let size = |name: &str| fs::metadata(folder.join(name)).expect("was written").len() as f64;
    let (theirs, ours) = (size("mender-gzip.mender"), size("rota-gzip.mender"));
    println!("\ngzip: mender {theirs} bytes, rota {ours} bytes: {:+.1} %", (ours / theirs - 1.0) * 100.0);
    let (hash, read) = (sha256_limit(), cost(&folder, "cat", "rota-none.mender").cpu);
    let share = (hash + read) / plain.cpu;
    println!("limit of the machine: {hash:.2} s for the SHA-256 of the image, {read:.2} s for reading it");
    println!("validate none runs at {share:.2} of that limit");
    fs::remove_dir_all(&folder).expect("it was made");
}
