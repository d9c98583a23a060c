//! mender-cli, every command but those that need a device's connection.
use crate::common::artifacts::{make, named, noise, Plan};
use crate::common::device::Device;
use crate::common::{Server, EMAIL, PASSWORD};
use std::path::Path;
use std::process::{Command, Output};

/// Runs mender-cli with a home of its own.
fn mender_cli(home: &Path, server: &Server, arguments: &[&str]) -> Output {
    let mut command = Command::new("mender-cli");
    command.env("HOME", home).current_dir(home).env("SSL_CERT_FILE", server.data.join("tls/ca.pem"));
    command.args(["--server", &server.url]).args(arguments);
    command.output().expect("mender-cli is installed (scripts/deps)")
}

#[track_caller]
fn good(output: Output) -> String {
    let (text, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{text}{errors}");
    format!("{text}{errors}")
}

#[test]
fn mender_cli_does_all_it_can() {
    let server = Server::start();
    let admin = server.admin();
    let folder = tempfile::tempdir().unwrap();
    let home = folder.path();
    let run = |arguments: &[&str]| mender_cli(home, &server, arguments);
    let login = ["login", "--username", EMAIL, "--password", PASSWORD];
    assert!(!run(&["artifacts", "list"]).status.success());
    assert!(!run(&["login", "--username", EMAIL, "--password", "wrong word"]).status.success());
    assert!(good(run(&login)).contains("login successful"));

    let big = make(&Plan { name: "big", file: ("image", &noise(5 << 20, 1)), ..Default::default() });
    std::fs::write(home.join("big.mender"), big).unwrap();
    std::fs::write(home.join("small.mender"), named("small")).unwrap();
    std::fs::write(home.join("bad.mender"), noise(3 << 20, 2)).unwrap();
    good(run(&["artifacts", "upload", "--description", "from the cli", "big.mender"]));
    good(run(&["artifacts", "upload", "--no-progress", "small.mender"]));
    let again = run(&["artifacts", "upload", "--no-progress", "small.mender"]);
    assert!(!again.status.success());
    assert!(String::from_utf8_lossy(&again.stderr).contains("409"), "{again:?}");
    let bad = run(&["artifacts", "upload", "--no-progress", "bad.mender"]);
    assert!(!bad.status.success());
    assert!(String::from_utf8_lossy(&bad.stderr).contains("400"), "{bad:?}");

    for detail in ["0", "1", "2", "3"] {
        let list = good(run(&["artifacts", "list", "-d", detail]));
        assert!(list.contains("big") && list.contains("small"), "{list}");
    }
    let id =
        admin.get("/api/management/v1/deployments/artifacts?name=small").expect(200).json()[0]["id"].clone();
    good(run(&["artifacts", "delete", id.as_str().unwrap()]));
    assert!(!run(&["artifacts", "delete", id.as_str().unwrap()]).status.success());
    assert!(!good(run(&["artifacts", "list"])).contains("small"));

    let (device, _) = Device::new(1).join(&admin);
    for detail in ["0", "1", "2", "3"] {
        let list = good(run(&["devices", "list", "-d", detail]));
        assert!(list.contains(&device) && list.contains("accepted"), "{list}");
    }
    assert!(good(run(&["devices", "list", "-r"])).contains(&format!("\"id\":\"{device}\"")));

    // Those that need a connection say that there is none.
    for arguments in [
        &["terminal", &device][..],
        &["cp", "small.mender", &format!("{device}:/tmp/x")],
        &["port-forward", &device, "8000:80"],
    ] {
        assert!(!run(arguments).status.success(), "{arguments:?}");
    }
    let token = server.admin().token;
    std::fs::remove_dir_all(home.join(".cache")).unwrap();
    good(run(&["--token-value", &token, "devices", "list"]));
    good(run(&["--token-value", &token, "artifacts", "list"]));
}
