//! Power cuts by the hundred, in as many goes as it takes: what came of them is kept in `.build/soak/KIND.json`.

use std::fs;
use std::path::Path;
use std::time::Duration;

use serde_json::{json, Value};

use crate::cuts::{Plug, Tally};
use crate::error::{Context, Error, Result};
use crate::house::{folder, House};
use crate::kind::{self, Kind};
use crate::random::Random;

/// A machine gets so many cuts, then there is a new one.
const ROUND: u64 = 50;

/// Cuts the power of machines of a kind until there were `count` cuts, those of earlier runs counted. An error says what went
/// wrong; the next run goes on with another machine.
pub fn run(kind: &str, count: u64) -> Result<()> {
    let kind = kind::named(kind)?;
    let file = folder(House::find()?.build().join("soak"))?.join(format!("{}.json", kind.name()));
    let (mut tally, mut faults) = load(&file)?;
    let mut random = Random::new();
    while tally.cuts < count {
        let round = ROUND.min(count - tally.cuts);
        let before = tally.cuts;
        if let Err(error) = machine(kind, random.fork(), round, &mut tally, &faults, &file) {
            if tally.cuts == before {
                return Err(error);
            }
            faults.push(format!("after {} cuts: {error}", tally.cuts));
            save(&file, &tally, &faults)?;
            eprintln!("{error}");
        }
        println!("{}: {tally}", kind.name());
    }
    match faults.is_empty() {
        true => Ok(()),
        false => Err(Error::Unexpected {
            what: format!("{count} cuts"),
            expected: "no fault".into(),
            found: faults.join("\n"),
        }),
    }
}

/// A new machine, its cuts, and an update at the end.
fn machine(
    kind: &'static dyn Kind,
    random: Random,
    cuts: u64,
    tally: &mut Tally,
    faults: &[String],
    file: &Path,
) -> Result<()> {
    let mut plug = Plug::new(&format!("soak-{}", kind.name()), kind, random)?;
    for _ in 0..cuts {
        plug.cut(tally)?;
        save(file, tally, faults)?;
    }
    plug.update().map(drop)
}

fn load(file: &Path) -> Result<(Tally, Vec<String>)> {
    let text = match fs::read_to_string(file) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Default::default()),
        text => text.context("read", file.display())?,
    };
    let value: Value =
        serde_json::from_str(&text).map_err(std::io::Error::other).context("read", file.display())?;
    let number = |name: &str| value[name].as_u64().unwrap_or_default();
    let tally = Tally {
        cuts: number("cuts"),
        bricks: number("bricks"),
        half_commits: number("half_commits"),
        untruths: number("untruths"),
        slowest: Duration::from_millis(number("slowest_ms")),
    };
    let faults = value["faults"].as_array().into_iter().flatten();
    Ok((tally, faults.filter_map(|fault| fault.as_str().map(String::from)).collect()))
}

fn save(file: &Path, tally: &Tally, faults: &[String]) -> Result<()> {
    let Tally { cuts, bricks, half_commits, untruths, slowest } = tally;
    let value = json!({
        "cuts": cuts, "bricks": bricks, "half_commits": half_commits, "untruths": untruths,
        "slowest_ms": slowest.as_millis() as u64, "faults": faults,
    });
    fs::write(file, value.to_string()).context("write", file.display())
}
