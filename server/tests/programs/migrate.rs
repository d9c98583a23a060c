//! `rota-migrate`: a device that Debian's Mender client made is taken over, and given back. The server sees one device.
use crate::clients::{ours, part, upload, wait_for_status, Device, Program, DEPLOYMENTS};
use crate::common::device::text;
use crate::common::{wait_for, Client, Server};
use serde_json::{json, Value};
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Output};

/// Starts and stops the two clients as systemd would, conditions and all. A daemon gets a session of its own, since what calls
/// this ends everything that it has started.
const SYSTEMCTL: &str = r#"#!/bin/sh
here=$(dirname "$0")
unit=${2:-}
echo "$*" >>"$here/calls"
pid=$(cat "$here/$unit.pid" 2>/dev/null)
# One that has ended may wait for a parent that never asks.
runs() { [ -n "$pid" ] && grep -q '^State:[[:space:]]*[^Z]' "/proc/$pid/status" 2>/dev/null; }
case $1 in
    cat) [ -e "$here/$unit.sh" ] ;;
    is-active) runs ;;
    start)
        condition=$(sed -n 's/^ConditionPathExists=//p' "$here/units/$unit.d/rota-migrate.conf" 2>/dev/null)
        case $condition in
            '') ;;
            !*) [ ! -e "${condition#!}" ] || exit 0 ;;
            *) [ -e "$condition" ] || exit 0 ;;
        esac
        runs || { setsid sh "$here/$unit.sh" >>"$here/log" 2>&1 </dev/null & echo $! >"$here/$unit.pid"; } ;;
    stop)
        if runs; then kill "$pid"; fi
        while runs; do sleep 0.1; done
        rm -f "$here/$unit.pid" ;;
esac
"#;

const MENDER: &str = r#"exec unshare --mount sh -c 'mount --bind "$0/share" /usr/share/mender && mount --bind "$0/conf" /etc/mender &&
    exec mender --config /etc/mender/mender.conf --data "$0/data" daemon' "$(dirname "$0")"
"#;

/// The machine that both clients are installed on.
struct Machine(Device);

impl Machine {
    fn new(server: &Server) -> Machine {
        let device = Device::new(Program::Mender, server, &server.url, 7);
        let script = |name: &str, content: &str| {
            std::fs::write(device.path(name), content).unwrap();
            std::fs::set_permissions(device.path(name), std::fs::Permissions::from_mode(0o755)).unwrap();
        };
        script("systemctl", SYSTEMCTL);
        script("mender-client.service.sh", MENDER);
        script("rota.service.sh", &format!("exec '{}' daemon\n", ours("rota").display()));
        std::fs::create_dir(device.path("units")).unwrap();
        Machine(device)
    }

    fn run(&self, mut command: Command) -> Output {
        for (name, folder) in [
            ("MENDER_CONF_DIR", "conf"),
            ("MENDER_DATA_DIR", "share"),
            ("MENDER_DATASTORE_DIR", "data"),
            ("ROTA_CONF_DIR", "rota-conf"),
            ("ROTA_DATA_DIR", "rota-data"),
            ("ROTA_LIB_DIR", "rota-lib"),
            ("ROTA_RUN_DIR", "run"),
            ("MENDER_TEST_INSTALLED", "installed"),
        ] {
            command.env(name, self.0.path(folder));
        }
        command.output().unwrap()
    }

    fn systemctl(&self, words: &[&str]) -> bool {
        let mut command = Command::new(self.0.path("systemctl"));
        command.args(words);
        self.run(command).status.success()
    }

    fn migrate(&self, what: &str) -> Output {
        let mut command = Command::new(ours("rota-migrate"));
        command.arg("--rota").arg(ours("rota")).arg("--systemctl").arg(self.0.path("systemctl"));
        command.arg("--units").arg(self.0.path("units")).arg(what);
        self.run(command)
    }

    /// Does it, once the client that is in charge has come to rest.
    fn change(&self, what: &str) {
        wait_for(what, || {
            let output = self.migrate(what);
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(output.status.success() || said.contains("under way"), "{what}: {said}");
            output.status.success()
        });
    }

    fn runs(&self) -> [bool; 2] {
        ["mender-client.service", "rota.service"].map(|unit| self.systemctl(&["is-active", unit]))
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        for unit in ["mender-client.service", "rota.service"] {
            self.systemctl(&["stop", unit]);
        }
    }
}

/// Whose version the inventory tells.
fn version(admin: &Client, id: &str) -> String {
    let shown = admin.get(&format!("/api/management/v1/inventory/devices/{id}")).expect(200).json();
    let list = shown["attributes"].as_array().cloned().unwrap_or_default();
    let found = list.iter().find(|one| one["name"] == "mender_client_version");
    found.map_or(String::new(), |one| text(&one["value"]))
}

/// It is the device that was accepted once, with the one key that it had then.
#[track_caller]
fn is_the_same(admin: &Client, machine: &Machine, id: &str) {
    let known: Value = machine.0.known(admin).unwrap();
    assert_eq!((text(&known["id"]).as_str(), text(&known["status"]).as_str()), (id, "accepted"));
    assert_eq!(known["auth_sets"].as_array().unwrap().len(), 1, "{known}");
    let all = admin.get("/api/management/v2/devauth/devices?per_page=500").expect(200).json();
    assert_eq!(all.as_array().unwrap().len(), 1);
}

#[test]
fn a_mender_device_is_taken_over_and_given_back() {
    let server = Server::start();
    let admin = server.admin();
    let machine = Machine::new(&server);
    assert!(machine.systemctl(&["start", "mender-client.service"]));
    let id = machine.0.accept(&admin);
    let installs = |name: &str| {
        upload(&admin, name, name.as_bytes());
        let deployment = admin.deploy(&format!("to {name}"), name, &[&id]);
        wait_for_status(&admin, &deployment, "success");
        assert_eq!(std::fs::read(machine.0.path("installed")).unwrap(), name.as_bytes());
    };
    // What a client has installed the other one knows of.
    let has = |name: &str, client: &str| {
        let deployment = admin.deploy(&format!("{name} for {client}"), name, &[&id]);
        wait_for_status(&admin, &deployment, "already-installed");
        assert_eq!(part(&admin, &deployment)["status"], "already-installed");
    };
    installs("rel-1");
    let before = std::fs::read(machine.0.path("data/mender-agent.pem")).unwrap();

    wait_for("nothing is in the way", || machine.migrate("show").status.success());
    assert_eq!(machine.runs(), [true, false]);
    machine.change("do");
    assert_eq!(machine.runs(), [false, true]);
    has("rel-1", "rota");
    installs("rel-2");
    wait_for("rota's inventory arrives", || version(&admin, &id).starts_with("0."));
    is_the_same(&admin, &machine, &id);

    machine.change("undo");
    assert_eq!(machine.runs(), [true, false]);
    has("rel-2", "Mender");
    installs("rel-3");
    wait_for("Mender's inventory arrives", || version(&admin, &id).starts_with("3.4.0"));
    is_the_same(&admin, &machine, &id);
    assert_eq!(std::fs::read(machine.0.path("data/mender-agent.pem")).unwrap(), before);

    // And once more, with a token that was given to the other client.
    machine.change("do");
    has("rel-3", "rota again");
    is_the_same(&admin, &machine, &id);
    let all = admin.get(&format!("{DEPLOYMENTS}?per_page=50")).expect(200).json();
    assert!(all.as_array().unwrap().iter().all(|one| one["status"] == json!("finished")), "{all}");
}
