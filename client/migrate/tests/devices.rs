//! Devices of every kind: what is refused, what stays, and what is told.

mod support;

use std::fs;
use std::path::Path;

use rota::provides::{Facts, Provides};
use rota::update::journal::{Journal, Update};
use rota_migrate::acts::{give_back, take_over};
use rota_migrate::lmdb;
use rota_migrate::show::show;
use rota_migrate::store::Store;
use support::{Device, UNITS};

const NAMED: (&str, &str) = ("artifact-name", "rel-1");

#[track_caller]
fn is_refused(device: &Device, why: &str) {
    let (text, can) = show(&device.place);
    assert!(!can && text.contains(why), "{text}");
    let said = take_over(&device.place).unwrap_err();
    assert!(said.contains(why), "{said}");
    device.is_given_back();
}

#[test]
fn there_and_back_twice() {
    let device = Device::new();
    for _ in 0..2 {
        let (text, can) = show(&device.place);
        assert!(can, "{text}");
        for said in [
            "Mender's client is in charge",
            "artifact_name=rel-1",
            r#"{"mac":"02:03","serial":"7"}"#,
            "stops        mender-client.service",
        ] {
            assert!(text.contains(said), "{said}: {text}");
        }
        // Looking changes nothing.
        device.is_given_back();
        for _ in 0..2 {
            take_over(&device.place).unwrap();
            device.is_taken_over();
        }
        assert!(show(&device.place).0.contains("rota is in charge"));
        for _ in 0..2 {
            give_back(&device.place).unwrap();
            device.is_given_back();
        }
    }
}

#[test]
fn an_unfinished_update_is_waited_for() {
    for (key, value) in [("state", r#"{"Name":"reboot"}"#), ("standalone-state", r#"{"Version":1}"#)] {
        is_refused(&Device::with(&[NAMED, (key, value)]), "under way");
    }
}

#[test]
fn what_would_make_another_device_of_it_is_refused() {
    type Spoil = fn(&Device);
    let cases: [(Spoil, &str); 10] = [
        (|d| spoil(d, "var/mender/mender-agent.pem", None), "there is no key yet"),
        (|d| spoil(d, "var/mender/mender-agent.pem", Some("x")), "expected an Ed25519"),
        (|d| spoil(d, "var/mender/mender-store", Some("x")), "expected an LMDB data base"),
        (|d| spoil(d, "var/mender/device_type", None), "device_type is missing"),
        (|d| spoil(d, "etc/mender/mender.conf", None), "no Mender device"),
        (
            |d| spoil(d, "etc/mender/mender.conf", Some(r#"{"ServerURL": "https://x", "SkipVerify": true}"#)),
            "always checks",
        ),
        (
            |d| {
                spoil(
                    d,
                    "etc/mender/mender.conf",
                    Some(r#"{"ServerURL": "https://x", "Security": {"AuthPrivateKey": "pkcs11:x"}}"#),
                )
            },
            "pkcs11:x",
        ),
        (|d| spoil(d, "systemd/there/rota.service", None), "install rota first"),
        (|d| spoil(d, "usr/sbin/rota", None), "install rota first"),
        (
            |d| spoil(d, "usr/share/mender/identity/mender-device-identity", Some("#!/bin/sh\nexit 3\n")),
            "exited with code 3",
        ),
    ];
    for (spoil, why) in cases {
        let mut device = Device::new();
        spoil(&device);
        device.keep();
        is_refused(&device, why);
    }
    let mut device = Device::new();
    device.script("usr/lib/rota/identity", "#!/bin/sh\necho mac=other\n");
    device.keep();
    is_refused(&device, "the server would see another device");
    let mut device = Device::new();
    fs::create_dir(device.path("var/rota")).unwrap();
    rota::key::DeviceKey::load(&device.place.paths, Some(&device.path("var/rota/device-key.pem"))).unwrap();
    device.keep();
    is_refused(&device, "is another key than Mender's");
}

fn spoil(device: &Device, file: &str, text: Option<&str>) {
    match text {
        Some(text) => fs::write(device.path(file), text).unwrap(),
        None => fs::remove_file(device.path(file)).unwrap(),
    }
}

#[test]
fn a_client_that_does_not_start_is_replaced_by_the_former_one() {
    let device = Device::new();
    device.fails("start", "rota.service");
    let why = take_over(&device.place).unwrap_err();
    assert!(why.contains("rota.service") && why.contains("Mender's client is in charge"), "{why}");
    device.is_given_back();
}

#[test]
fn a_configuration_for_rota_counts_more() {
    let mut device = Device::new();
    fs::write(device.path("etc/rota/rota.toml"), "[server]\nurl = \"https://mine\"\n").unwrap();
    device.keep();
    assert!(show(&device.place).0.contains("mender.conf is not translated"));
    take_over(&device.place).unwrap();
    assert!(fs::read_to_string(device.path("etc/rota/rota.toml")).unwrap().contains("https://mine"));
    give_back(&device.place).unwrap();
    device.is_given_back();
}

#[test]
fn a_device_that_installed_nothing_provides_what_its_image_says() {
    let device = Device::with(&[]);
    take_over(&device.place).unwrap();
    assert_eq!(Provides::peek(&device.place.paths)["artifact_name"], "rel-0");
    give_back(&device.place).unwrap();
    device.is_given_back();
}

#[test]
fn menders_client_is_told_what_rota_installed() {
    let device = Device::with(&[NAMED, ("authtoken", "t")]);
    take_over(&device.place).unwrap();
    let facts = Facts::from([("artifact_name".into(), "rel-2".into()), ("x.version".into(), "2".into())]);
    Provides::open(&device.place.paths).save(facts.clone(), None).unwrap();
    give_back(&device.place).unwrap();
    let folder = device.path("var/mender");
    assert_eq!(Store::read(&folder).unwrap().facts(), Ok(Some(facts)));
    let pairs = lmdb::read(&fs::read(folder.join("mender-store")).unwrap()).unwrap();
    assert_eq!(pairs[b"authtoken".as_slice()], b"t");
    assert_eq!(device.boot(), "mender-client.service");
}

#[test]
fn an_update_of_rotas_is_waited_for_and_a_lost_client_is_not_given_back_to() {
    let device = Device::new();
    take_over(&device.place).unwrap();
    let mut journal = Journal::open(&device.place.paths.data);
    journal.record.update = Some(Update::default());
    journal.save().unwrap();
    let why = give_back(&device.place).unwrap_err();
    assert!(why.contains("rota has an update under way"), "{why}");
    device.is_taken_over();
    journal.record.update = None;
    journal.save().unwrap();
    fs::remove_file(device.path("systemd/there/mender-client.service")).unwrap();
    let why = give_back(&device.place).unwrap_err();
    assert!(why.contains("no mender-client.service any more"), "{why}");
    device.is_taken_over();
}

#[test]
fn where_no_systemd_is_a_person_changes_the_services() {
    let mut device = Device::new();
    device.place.services.systemctl = None;
    for unit in UNITS {
        fs::remove_file(device.path("systemd/there").join(unit)).unwrap();
    }
    let (text, can) = show(&device.place);
    assert!(can && text.contains("init has to be told by hand"), "{text}");
    // As LMDB does while a client runs.
    let held = device.hold_store();
    let why = take_over(&device.place).unwrap_err();
    assert!(why.contains("Mender's client runs (process"), "{why}");
    drop(held);
    assert!(take_over(&device.place).unwrap().contains("update-rc.d rota defaults"));
    assert!(rota_migrate::acts::is_in_charge(&device.place));
    assert!(fs::read_dir(device.path("units")).unwrap().next().is_none());
    assert!(give_back(&device.place).unwrap().contains("let init start Mender's client"));
    assert!(!rota_migrate::acts::is_in_charge(&device.place));
}

#[test]
fn data_go_to_the_partition_where_menders_are() {
    // Another file system than that of the folder for temporary files.
    let shm = Path::new("/dev/shm").join(format!("rota-migrate-{}", std::process::id()));
    fs::create_dir_all(&shm).unwrap();
    let mut device = Device::new();
    support::behind_a_link(&device, &shm.join("mender"));
    device.keep();
    assert!(show(&device.place).0.contains(&format!("-> {}", shm.join("rota").display())));
    take_over(&device.place).unwrap();
    device.is_taken_over();
    assert_eq!(fs::read_link(device.path("var/rota")).unwrap(), shm.join("rota"));
    assert!(shm.join("rota/device-key.pem").exists());
    give_back(&device.place).unwrap();
    device.is_given_back();
    fs::remove_file(device.path("var/rota")).unwrap();
    fs::create_dir(device.path("var/rota")).unwrap();
    is_refused(&device, "would be lost with the slot");
    fs::remove_dir_all(shm).unwrap();
}
