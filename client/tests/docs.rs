//! Man pages and completions say what the program does.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use rota::cli::HELP;
use rota::update::standalone::STOPS;
use serde_json::Value;

fn dist(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("dist").join(name)
}

fn read(name: &str) -> String {
    std::fs::read_to_string(dist(name)).unwrap()
}

/// Every long option in a text, without its dashes.
fn long_options(text: &str) -> BTreeSet<String> {
    let after = text.match_indices("--").map(|(at, _)| &text[at + 2..]);
    let name =
        |rest: &str| rest.chars().take_while(|c| c.is_ascii_lowercase() || *c == '-').collect::<String>();
    after.map(name).filter(|name| name.starts_with(|c: char| c.is_ascii_lowercase())).collect()
}

/// The commands of the help.
fn commands() -> BTreeSet<String> {
    let lines =
        HELP.lines().skip_while(|line| *line != "commands:").skip(1).take_while(|line| !line.is_empty());
    lines.map(|line| line.split_whitespace().next().unwrap().to_owned()).collect()
}

/// The help has every option that the command line takes, but for those of Mender's client.
#[test]
fn the_help_has_every_option() {
    let code = include_str!("../src/cli.rs").split("#[cfg(test)]").next().unwrap();
    let code = code.split("pub fn parse").nth(1).unwrap();
    let ours: String = code.lines().filter(|line| !line.contains("if menders")).collect();
    let quoted = ours.split('"').skip(1).step_by(2).filter(|text| text.starts_with("--"));
    assert_eq!(long_options(&quoted.collect::<Vec<_>>().join(" ")), long_options(HELP));
}

#[test]
fn the_man_page_has_every_command_and_option() {
    let page = read("rota.1").replace("\\-", "-");
    let section = |name: &str| page.split("\n.SH ").find(|part| part.starts_with(name)).unwrap().to_owned();
    let entries = section("COMMANDS");
    let entries = entries.split("\n.TP\n").skip(1).map(|entry| {
        let line = entry.lines().next().unwrap();
        line.trim_start_matches(|c| c != ' ').trim().split(' ').next().unwrap().to_owned()
    });
    assert_eq!(entries.collect::<BTreeSet<_>>(), commands());
    assert_eq!(long_options(&page), long_options(HELP));
    for (stop, _) in STOPS {
        assert!(page.contains(stop), "{stop}");
    }
}

#[test]
fn completions_have_every_command_option_and_stop() {
    for (name, opens, shuts) in [
        ("completions/rota.bash", "local commands='", "'"),
        ("completions/rota.fish", "set -l commands ", "\n"),
        ("completions/_rota", "commands=(\n", "\n)"),
    ] {
        let text = read(name);
        let list = text.split(opens).nth(1).unwrap().split(shuts).next().unwrap();
        let word = |word: &str| word.split(':').next().unwrap().trim_matches(['\'', '"', ' ']).to_owned();
        let listed: BTreeSet<String> = match list.contains(':') {
            true => list.lines().map(word).collect(),
            false => list.split_whitespace().map(word).collect(),
        };
        assert_eq!(listed, commands(), "{name}");
        let options = match name.ends_with(".fish") {
            true => long_options(&text.replace(" -l ", " --")),
            false => long_options(&text),
        };
        let options: BTreeSet<String> =
            options.into_iter().filter(|option| option != "commands" && option != "stops").collect();
        assert_eq!(options, long_options(HELP), "{name}");
        assert!(STOPS.iter().all(|(stop, _)| text.contains(stop)), "{name}");
    }
    let fish = read("completions/rota.fish");
    assert!(commands().iter().all(|command| fish.contains(&format!(" -a {command} -d "))));
}

/// What the shell says of the words that may follow.
fn run(command: &mut Command) -> String {
    let home = std::env::temp_dir();
    let command = command.env("LC_ALL", "C").env("HOME", home).env_remove("BASH_ENV");
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8(said).unwrap();
    assert!(output.status.success(), "{command:?}: {said}");
    said
}

#[test]
fn shells_complete_words() {
    let bash = |line: &str| {
        let script = format!(
            "source {}; COMP_WORDS=(rota {line}); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)); _rota; echo ${{COMPREPLY[@]}}",
            dist("completions/rota.bash").display()
        );
        run(Command::new("bash").args(["--norc", "-c", &script])).trim().to_owned()
    };
    assert_eq!(bash("st"), "status");
    assert_eq!(bash("status --w"), "--why");
    assert_eq!(bash("-l warning show-"), "show-artifact show-provides");
    assert_eq!(bash("commit --stop-before C"), "Cleanup");
    assert_eq!(bash("commit --w"), "");
    let fish = |line: &str| {
        let script = format!("source {}; complete -C 'rota {line}'", dist("completions/rota.fish").display());
        run(Command::new("fish").args(["--no-config", "-c", &script])).trim().replace('\t', ": ")
    };
    assert_eq!(fish("stat"), "status: what runs, and what went on");
    assert_eq!(fish("status --wh"), "--why: every attempt and its reason");
    assert_eq!(fish("resume --stop-before Cl"), "Cleanup: stop there, for resume to go on");
    assert_eq!(run(Command::new("zsh").args(["-f", "-n"]).arg(dist("completions/_rota"))), "");
}

#[test]
fn man_pages_are_well_formed() {
    for page in ["rota.1", "rota.toml.5"] {
        assert_eq!(run(Command::new("mandoc").args(["-T", "lint", "-W", "warning"]).arg(dist(page))), "");
    }
}

/// The keys of `rota.toml(5)`, as the schema has them.
#[test]
fn the_man_page_has_every_key() {
    let root: Value = serde_json::from_str(&read("rota.schema.json")).unwrap();
    let mut text = String::new();
    let (tables, keys): (Vec<_>, Vec<_>) =
        root["properties"].as_object().unwrap().iter().partition(|(_, of)| of["type"] == "object");
    keys.iter().for_each(|(key, of)| text += &entry(key, of));
    for (name, of) in tables {
        let _ = writeln!(text, ".SS [{name}]\n{}", escaped(&of["description"]));
        of["properties"].as_object().unwrap().iter().for_each(|(key, of)| text += &entry(key, of));
    }
    let page = read("rota.toml.5");
    let (before, rest) = page.split_once(" writes it.\n").unwrap();
    let (keys, after) = rest.split_once(".\\\" End of the keys.").unwrap();
    if std::env::var_os("UPDATE_DOCS").is_some() {
        let page = format!("{before} writes it.\n{text}.\\\" End of the keys.{after}");
        std::fs::write(dist("rota.toml.5"), page).unwrap();
        return;
    }
    assert!(keys == text, "dist/rota.toml.5 has other keys than the schema; UPDATE_DOCS=1 writes it anew");
}

fn entry(key: &str, of: &Value) -> String {
    let kind = match (of["$ref"].as_str(), of["enum"].as_array(), of["items"]["$ref"].as_str()) {
        (Some(name), _, _) => name.trim_start_matches("#/definitions/").to_owned(),
        (_, Some(words), _) => words.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(", "),
        (_, _, Some(name)) => format!("list of {}s", name.trim_start_matches("#/definitions/")),
        _ => match of["type"].as_str().unwrap() {
            "string" if of.get("pattern").is_some() => "absolute path".into(),
            "string" => "text".into(),
            "boolean" => "true or false".into(),
            "integer" => "number".into(),
            _ => "list of absolute paths".into(),
        },
    };
    let shown = match (of.get("default"), of["examples"].get(0)) {
        (Some(default), _) => format!("Default: {}.", escaped(default)),
        (_, example) => format!("Example: {}.", escaped(example.unwrap())),
    };
    format!(".TP\n.BR {key} \" (\" \"{kind}\" )\n{}\n{shown}\n", escaped(&of["description"]))
}

fn escaped(value: &Value) -> String {
    let text =
        value.as_str().filter(|text| text.ends_with('.')).map_or_else(|| value.to_string(), str::to_owned);
    text.replace('\\', "\\e").replace('-', "\\-")
}
