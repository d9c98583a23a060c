//! The man page says what the program does.

use std::collections::BTreeSet;

/// Every long option in a text, without its dashes.
fn options(text: &str) -> BTreeSet<&str> {
    let after = text.match_indices("--").map(|(at, _)| &text[at + 2..]);
    after
        .map(|rest| rest.split(|c: char| !c.is_ascii_lowercase() && c != '-').next().unwrap_or_default())
        .filter(|name| !name.is_empty())
        .collect()
}

#[test]
fn the_man_page_has_every_command_and_option() {
    let program = include_str!("../src/main.rs");
    let help = program.split("\\\n").nth(1).unwrap().split("\n\";").next().unwrap();
    let page = include_str!("../rota-migrate.1").replace("\\-", "-");
    assert_eq!(options(&page), options(help));
    for command in ["show", "do", "undo"] {
        assert!(help.contains(&format!("\n  {command} ")) && page.contains(&format!("\n.B {command}\n")));
    }
}
