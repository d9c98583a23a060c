//! The modules `docker` and `docker-compose` with podman: containers are replaced, and come back.

mod support;

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output};

use support::Folder;

/// podman with images and containers of its own, and a tree for a module.
struct Engine {
    folder: Folder,
    project: String,
}

impl Engine {
    /// `None`, and a word about it, where no container can be started: the kernel or the machine does not allow it.
    fn new(test: &str) -> Option<Engine> {
        let engine = Engine { folder: Folder::new(), project: format!("rota-{test}-{}", std::process::id()) };
        let here = engine.folder.display().to_string();
        for name in ["tree/files", "tree/tmp", "tree/header", "root/bin", "data"] {
            fs::create_dir_all(engine.folder.join(name)).unwrap();
        }
        // Limits that a confined machine may not raise.
        let limits = "[containers]\ndefault_ulimits=[\"nofile=10000:10000\",\"nproc=1000:1000\"]\n[engine]\nruntime=\"runc\"\n";
        fs::write(engine.folder.join("containers.conf"), limits).unwrap();
        let storage =
            format!("[storage]\ndriver=\"overlay\"\ngraphroot=\"{here}/graph\"\nrunroot=\"{here}/run\"\n");
        fs::write(engine.folder.join("storage.conf"), storage).unwrap();
        fs::copy("/bin/busybox", engine.folder.join("root/bin/busybox")).unwrap();
        for version in ["1", "2"] {
            fs::write(engine.folder.join("root/version"), version).unwrap();
            let archive = engine.path("root.tar");
            assert!(Command::new("tar")
                .args(["-cf", &archive, "-C", &engine.path("root"), "."])
                .status()
                .unwrap()
                .success());
            let (stop, what) = ("STOPSIGNAL SIGKILL", r#"CMD ["/bin/busybox", "sleep", "100000"]"#);
            engine.podman(&["import", "--change", stop, "--change", what, &archive, &image(version)]);
        }
        let tried = engine
            .command("podman", &["run", "--rm", "--network", "none", &image("1"), "/bin/busybox", "true"]);
        if !tried.status.success() {
            println!("no container can be started here: {}", String::from_utf8_lossy(&tried.stderr).trim());
            println!("0 passed, 0 failed, 1 skipped");
            return None;
        }
        Some(engine)
    }

    fn path(&self, name: &str) -> String {
        self.folder.join(name).display().to_string()
    }

    fn command(&self, program: &str, words: &[&str]) -> Output {
        let mut command = Command::new(program);
        command.env("CONTAINERS_CONF", self.folder.join("containers.conf"));
        command.env("CONTAINERS_STORAGE_CONF", self.folder.join("storage.conf"));
        command.env("ROTA_ENGINE", "podman").env("ROTA_DATA_DIR", self.folder.join("data"));
        command
            .args(words)
            .output()
            .unwrap_or_else(|error| panic!("{program} is installed (scripts/deps): {error}"))
    }

    #[track_caller]
    fn podman(&self, words: &[&str]) -> String {
        let output = self.command("podman", words);
        assert!(output.status.success(), "podman {words:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    /// Calls of the module; each ends well.
    #[track_caller]
    fn calls(&self, module: &str, calls: &[&str]) {
        for call in calls {
            let output = self.call(module, call);
            let said = [output.stdout, output.stderr].map(|said| String::from_utf8_lossy(&said).into_owned());
            assert!(output.status.success(), "{call}: {}{}", said[0], said[1]);
        }
    }

    fn call(&self, module: &str, call: &str) -> Output {
        let module = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("modules").join(module);
        // BusyBox's shell with its own tools: what dash with the system's does not do, it does not either.
        self.command("busybox", &["sh", module.to_str().unwrap(), call, &self.path("tree")])
    }

    /// What runs: the names of the images.
    fn running(&self) -> Vec<String> {
        let all = self.podman(&["ps", "--format", "{{.Image}}"]);
        let mut all: Vec<String> = all.lines().map(str::to_owned).collect();
        all.sort();
        all
    }

    fn digest(&self, version: &str) -> String {
        let digest = self.podman(&["image", "inspect", "--format", "{{.Digest}}", &image(version)]);
        format!("localhost/rota-app@{digest}")
    }

    fn begin(&self, meta_data: &str) {
        let _ = fs::remove_dir_all(self.folder.join("tree/tmp"));
        fs::create_dir(self.folder.join("tree/tmp")).unwrap();
        fs::write(self.folder.join("tree/header/meta-data"), meta_data).unwrap();
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.command("podman", &["rm", "--all", "--force", "--time", "0"]);
        self.command("podman", &["network", "rm", "--force", &format!("{}_default", self.project)]);
        self.command("podman", &["rmi", "--all", "--force"]);
    }
}

fn image(version: &str) -> String {
    format!("localhost/rota-app:{version}")
}

#[test]
fn containers_are_replaced_and_come_back() {
    let Some(engine) = Engine::new("docker") else { return };
    let [one, two] = ["1", "2"].map(|version| engine.digest(version));
    let calls = |calls: &[&str]| engine.calls("docker", calls);
    let payload = |image: &str| {
        engine.begin(&format!(
            "{{\n \"containers\": [\"{image}\"],\n \"run_args\": \"--network none --env \\\"A=b\\\"\"\n}}"
        ));
    };
    payload(&one);
    calls(&["ArtifactInstall", "ArtifactInstall"]);
    assert_eq!(engine.running(), [one.as_str()]);
    calls(&["ArtifactCommit", "Cleanup"]);
    let first = engine.podman(&["ps", "-q"]);

    payload(&two);
    calls(&["ArtifactInstall"]);
    assert_eq!(engine.running(), [two.as_str()]);
    calls(&["ArtifactRollback", "ArtifactRollback", "ArtifactFailure", "Cleanup"]);
    assert_eq!((engine.running(), engine.podman(&["ps", "-aq"])), (vec![one.clone()], first.clone()));

    // A container that ends by itself is no good.
    payload(&two);
    calls(&["ArtifactInstall"]);
    engine.podman(&["stop", "--latest"]);
    let refused = engine.call("docker", "ArtifactCommit");
    assert!(
        !refused.status.success()
            && String::from_utf8_lossy(&refused.stderr).contains("does not run any more")
    );
    calls(&["ArtifactRollback", "ArtifactFailure", "Cleanup"]);
    assert_eq!(engine.podman(&["ps", "-aq"]), first);

    payload(&two);
    calls(&["ArtifactInstall", "ArtifactCommit", "Cleanup", "Cleanup"]);
    assert_eq!(engine.running(), [two.as_str()]);
    // The former one is gone, with its image.
    assert_eq!(engine.podman(&["ps", "-aq"]).lines().count(), 1);
    assert!(!engine.command("podman", &["image", "exists", &image("1")]).status.success());

    for wrong in ["", "-v /:/host x", "a b", "a;b"] {
        payload(wrong);
        assert!(!engine.call("docker", "ArtifactInstall").status.success(), "{wrong}");
        calls(&["ArtifactRollback", "ArtifactFailure", "Cleanup"]);
        assert_eq!(engine.running(), [two.as_str()]);
    }
}

#[test]
fn a_compose_project_is_replaced_and_comes_back() {
    let Some(engine) = Engine::new("compose") else { return };
    let calls = |calls: &[&str]| engine.calls("docker-compose", calls);
    for version in ["1", "2"] {
        let archive = engine.path(&format!("images{version}.tar"));
        engine.podman(&["save", "--output", &archive, &image(version)]);
        assert!(Command::new("gzip").arg(&archive).status().unwrap().success());
    }
    engine.podman(&["rmi", "--all", "--force"]);
    let payload = |image: &str, version: &str| {
        engine.begin(&format!(r#"{{"project_name":"{}","version":"1"}}"#, engine.project));
        let text = format!("services:\n  app:\n    image: {image}\n");
        fs::write(engine.folder.join("docker-compose.yml"), text).unwrap();
        let (archive, folder) = (engine.path("tree/files/manifests.tar"), engine.path(""));
        assert!(Command::new("tar")
            .args(["-cf", &archive, "-C", &folder, "docker-compose.yml"])
            .status()
            .unwrap()
            .success());
        fs::copy(engine.path(&format!("images{version}.tar.gz")), engine.path("tree/files/images.tar.gz"))
            .unwrap();
    };
    payload(&image("1"), "1");
    calls(&["ArtifactInstall", "ArtifactInstall"]);
    assert_eq!(engine.running(), [image("1")]);
    calls(&["ArtifactCommit", "Cleanup"]);

    payload(&image("2"), "2");
    calls(&["ArtifactInstall"]);
    assert_eq!(engine.running(), [image("2")]);
    calls(&["ArtifactRollback", "ArtifactRollback", "ArtifactFailure", "Cleanup"]);
    assert_eq!(engine.running(), [image("1")]);

    // One that cannot be started is told, and the former one comes back.
    payload("localhost/rota-none:1", "2");
    let failed = engine.call("docker-compose", "ArtifactInstall");
    assert!(!failed.status.success(), "{}", String::from_utf8_lossy(&failed.stdout));
    calls(&["ArtifactRollback", "ArtifactFailure", "Cleanup"]);
    assert_eq!(engine.running(), [image("1")]);

    payload(&image("2"), "2");
    calls(&["ArtifactInstall", "ArtifactCommit", "Cleanup"]);
    assert_eq!(engine.running(), [image("2")]);
    let folder = engine.folder.join("data/docker-compose").join(&engine.project);
    let names: Vec<_> = fs::read_dir(folder).unwrap().flatten().map(|entry| entry.file_name()).collect();
    assert_eq!(names, ["current"]);
}
