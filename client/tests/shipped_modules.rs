//! The modules that come with rota, in dash and in BusyBox's shell, with the system's tools and with BusyBox's: what they do,
//! twice, stopped at every command, and undone.

mod support;

use std::fs;
use std::os::unix::fs::{symlink, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use support::module::program;
use support::Folder;

/// What the modules run that changes something.
const TOOLS: &[&str] = &["chmod", "cp", "mkdir", "mv", "rm", "sync", "tar"];

/// Who runs a module.
#[derive(Clone, Copy, PartialEq)]
enum Shell {
    /// dash with the system's tools.
    Dash,
    /// dash with BusyBox's tools.
    DashOnBusyBox,
    /// BusyBox's shell, which runs its own tools without looking for them: nothing can be stopped there.
    BusyBox,
}

const SHELLS: [Shell; 3] = [Shell::Dash, Shell::DashOnBusyBox, Shell::BusyBox];

/// A tree, a place to install to, and a shell with its tools.
struct Bench {
    folder: Folder,
    shell: Shell,
    module: &'static str,
}

impl Bench {
    fn new(module: &'static str, shell: Shell) -> Bench {
        let folder = Folder::new();
        for name in ["tree/files", "tree/tmp", "place", "tools"] {
            fs::create_dir_all(folder.join(name)).unwrap();
        }
        // Each counts; when its turn has come to be cut, the module is killed instead.
        for tool in TOOLS {
            let here = folder.display();
            let real = match (*tool, shell) {
                ("sync", _) => "true".to_owned(),
                (tool, Shell::Dash) => format!("/bin/{tool}"),
                (tool, _) => format!("busybox {tool}"),
            };
            program(
                &folder.join("tools").join(tool),
                &format!(
                    "#!/bin/sh\nif [ -n \"$CUT\" ]; then read -r n <{here}/count; echo $((n + 1)) >{here}/count
                    [ $n != \"$CUT\" ] || kill -9 $PPID; fi\nexec {real} \"$@\"\n"
                ),
            );
        }
        Bench { folder, shell, module }
    }

    fn file(&self, name: &str, content: &str) {
        fs::write(self.folder.join("tree/files").join(name), content).unwrap();
    }

    fn place(&self) -> PathBuf {
        self.folder.join("place")
    }

    fn run(&self, call: &str) -> Command {
        let module = Path::new(env!("CARGO_MANIFEST_DIR")).join("modules").join(self.module);
        let mut command = match self.shell {
            Shell::BusyBox => Command::new("busybox"),
            _ => Command::new("dash"),
        };
        if self.shell == Shell::BusyBox {
            command.args(["sh", "-c", "sync() { :; }; . \"$0\""]);
        }
        let path = format!("{}:{}", self.folder.join("tools").display(), std::env::var("PATH").unwrap());
        command.arg(module).arg(call).arg(self.folder.join("tree")).env("PATH", path);
        // For the modules with containers.
        command.env("ROTA_ENGINE", "podman").env("ROTA_DATA_DIR", self.place());
        command
    }

    fn output(&self, call: &str) -> Output {
        self.run(call).output().unwrap()
    }

    /// A call that ends well, and what it answers.
    fn call(&self, call: &str) -> String {
        let output = self.output(call);
        assert!(output.status.success(), "{call}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// A call that is killed at its `cut`th command. False when it came to its end before.
    fn is_cut(&self, call: &str, cut: usize) -> bool {
        fs::write(self.folder.join("count"), "1\n").unwrap();
        !self.run(call).env("CUT", cut.to_string()).output().unwrap().status.success()
    }

    /// Everything in the place: name, mode, and content or what it leads to.
    fn state(&self) -> Vec<(String, u32, String)> {
        let mut found = Vec::new();
        let mut folders = vec![self.place()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap().flatten() {
                let (path, meta) = (entry.path(), entry.metadata().unwrap());
                let content = if meta.is_dir() {
                    folders.push(path.clone());
                    String::new()
                } else if meta.is_symlink() {
                    fs::read_link(&path).unwrap().display().to_string()
                } else {
                    fs::read_to_string(&path).unwrap()
                };
                let name = path.strip_prefix(self.place()).unwrap().display().to_string();
                found.push((name, meta.permissions().mode() & 0o7777, content));
            }
        }
        found.sort();
        found
    }

    fn begin_anew(&self) {
        let tmp = self.folder.join("tree/tmp");
        fs::remove_dir_all(&tmp).unwrap();
        fs::create_dir(tmp).unwrap();
    }

    /// Stops the installation at each of its commands: it can be undone, and done again; and so can the undoing.
    fn sweep(&self, set_up: &dyn Fn()) {
        let reset = || {
            fs::remove_dir_all(self.place()).unwrap();
            fs::create_dir(self.place()).unwrap();
            self.begin_anew();
            set_up();
        };
        reset();
        let old = self.state();
        for call in ["ArtifactInstall", "ArtifactInstall"] {
            self.call(call);
        }
        let new = self.state();
        assert_ne!(old, new);
        self.call("ArtifactCommit");
        self.call("Cleanup");
        let clean = self.state();
        let mut cuts = 0;
        for cut in 1.. {
            reset();
            if !self.is_cut("ArtifactInstall", cut) {
                break;
            }
            cuts = cut;
            // Done again, and then undone, stopped at each command of that.
            self.call("ArtifactInstall");
            assert_eq!(self.state(), new, "cut {cut}");
            for undo in 1.. {
                reset();
                self.is_cut("ArtifactInstall", cut);
                let over = !self.is_cut("ArtifactRollback", undo);
                self.call("ArtifactRollback");
                self.call("ArtifactFailure");
                self.call("Cleanup");
                assert_eq!(self.state(), old, "cut {cut}, undone {undo}");
                // One of them is enough to stop the undoing, too.
                if over || self.shell != Shell::DashOnBusyBox {
                    break;
                }
            }
        }
        assert!(cuts >= 5 || self.shell == Shell::BusyBox, "{cuts}");
        for cut in 1.. {
            reset();
            self.call("ArtifactInstall");
            let over = !self.is_cut("Cleanup", cut);
            self.call("Cleanup");
            assert_eq!(self.state(), clean);
            if over {
                break;
            }
        }
    }
}

#[test]
fn a_single_file_changes_as_a_whole() {
    for shell in SHELLS {
        let bench = Bench::new("single-file", shell);
        assert_eq!(
            (bench.call("SupportsRollback"), bench.call("NeedsArtifactReboot")),
            ("Yes\n".into(), "No\n".into())
        );
        assert_eq!(bench.call("ArtifactOfTheFuture"), "");
        let folder = bench.place().join("sub folder");
        bench.file("dest_dir", &format!("{}\n", folder.display()));
        bench.file("filename", "a.conf\n");
        bench.file("permissions", "640\n");
        bench.file("a.conf", "new");
        let there = || fs::create_dir_all(&folder).unwrap();
        bench.sweep(&there);
        bench.sweep(&|| {
            there();
            program(&folder.join("a.conf"), "old");
        });
        bench.sweep(&|| {
            there();
            symlink("/nowhere", folder.join("a.conf")).unwrap();
        });
    }
}

#[test]
fn a_single_file_goes_nowhere_else() {
    let bench = Bench::new("single-file", Shell::Dash);
    bench.file("a.conf", "new");
    fs::create_dir(bench.place().join("folder")).unwrap();
    for (folder, name, why) in [
        ("relative", "a.conf", "expected an absolute path"),
        ("/tmp", "../a.conf", "expected the name of a file"),
        ("/tmp", "", "expected the name of a file"),
        (bench.place().to_str().unwrap(), "folder", "is a folder"),
        (bench.place().to_str().unwrap(), "b.conf", "the payload has no file b.conf"),
    ] {
        bench.file("dest_dir", folder);
        bench.file("filename", name);
        let output = bench.output("ArtifactInstall");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && said.contains(why), "{said}");
    }
}

fn pack(bench: &Bench) {
    let from = bench.folder.join("from");
    fs::create_dir_all(from.join("deep")).unwrap();
    fs::write(from.join("deep/file"), "new").unwrap();
    program(&from.join("program"), "new");
    fs::set_permissions(&from, fs::Permissions::from_mode(0o750)).unwrap();
    let archive = bench.folder.join("tree/files/update.tar");
    let tar = Command::new("tar").arg("-cf").arg(archive).arg("-C").arg(from).arg(".").status();
    assert!(tar.unwrap().success());
}

#[test]
fn a_folder_is_replaced_as_a_whole() {
    for shell in SHELLS {
        let bench = Bench::new("directory", shell);
        assert_eq!(
            (bench.call("SupportsRollback"), bench.call("NeedsArtifactReboot")),
            ("Yes\n".into(), "No\n".into())
        );
        pack(&bench);
        let folder = bench.place().join("sub folder/app");
        bench.file("dest_dir", &format!("{}/\n", folder.display()));
        let around = || fs::create_dir_all(folder.parent().unwrap()).unwrap();
        let old = |at: &Path| {
            fs::create_dir_all(at.join("old")).unwrap();
            fs::write(at.join("old/file"), "old").unwrap();
            fs::set_permissions(at, fs::Permissions::from_mode(0o711)).unwrap();
        };
        bench.sweep(&around);
        bench.sweep(&|| old(&folder));
        // What an update left that nobody ended: the only copy comes back.
        around();
        let _ = fs::remove_dir_all(&folder);
        old(&folder.with_file_name("app.rota-old"));
        bench.begin_anew();
        bench.call("ArtifactInstall");
        bench.call("ArtifactRollback");
        bench.call("Cleanup");
        assert!(folder.join("old/file").exists() && !folder.with_file_name("app.rota-old").exists());
    }
}

#[test]
fn a_broken_archive_or_a_bad_place_leaves_the_folder_alone() {
    let bench = Bench::new("directory", Shell::Dash);
    let folder = bench.place().join("app");
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("file"), "old").unwrap();
    let before = bench.state();
    bench.file("update.tar", "garbage");
    for place in [folder.to_str().unwrap(), "//", "relative", "/tmp/../tmp/x", ""] {
        bench.file("dest_dir", place);
        assert!(!bench.output("ArtifactInstall").status.success(), "{place}");
        bench.output("ArtifactRollback");
        bench.output("Cleanup");
        assert_eq!(bench.state(), before, "{place}");
    }
}

#[test]
fn scripts_run_in_order_until_one_fails() {
    for shell in SHELLS {
        let bench = Bench::new("script", shell);
        assert_eq!(
            (bench.call("SupportsRollback"), bench.call("NeedsArtifactReboot")),
            ("No\n".into(), "No\n".into())
        );
        let note = bench.place().join("note");
        for (name, end) in [("a", 0), ("b", 7), ("c", 0)] {
            bench.file(name, &format!("#!/bin/sh\necho {name} >>{}\nexit {end}\n", note.display()));
        }
        assert_eq!(bench.output("ArtifactInstall").status.code(), Some(7));
        assert_eq!(fs::read_to_string(&note).unwrap(), "a\nb\n");
    }
}

#[test]
fn packages_go_to_dpkg_all_at_once() {
    let bench = Bench::new("deb", Shell::Dash);
    for name in ["a.deb", "b.deb"] {
        bench.file(name, "");
    }
    let note = bench.folder.join("note");
    program(
        &bench.folder.join("tools/dpkg"),
        &format!("#!/bin/sh\necho \"$DEBIAN_FRONTEND $*\" >>{}\n", note.display()),
    );
    bench.call("ArtifactInstall");
    let options = "noninteractive --force-confdef --force-confold";
    assert_eq!(
        fs::read_to_string(note).unwrap(),
        format!("{options} --configure -a\n{options} --install files/a.deb files/b.deb\n")
    );
}

/// A podman-compose that only says what it did, so that the module can be stopped at every command.
#[test]
fn a_compose_project_is_replaced_as_a_whole() {
    for shell in SHELLS {
        let bench = Bench::new("docker-compose", shell);
        let tree = bench.folder.join("tree");
        fs::create_dir(tree.join("header")).unwrap();
        fs::write(tree.join("header/meta-data"), r#"{"version": "1", "project_name": "app"}"#).unwrap();
        let project = bench.place().join("docker-compose/app");
        // What runs is what lay in the folder when it was last started.
        program(
            &bench.folder.join("tools/podman-compose"),
            &format!(
                "#!/bin/sh\nfor word; do :; done\ncase $word in down) rm -f {0}/running ;; *) cp compose.yaml {0}/running ;; esac\n",
                bench.place().display()
            ),
        );
        let pack = |content: &str, archive: &Path| {
            let from = bench.folder.join("from");
            fs::create_dir_all(&from).unwrap();
            fs::write(from.join("compose.yaml"), content).unwrap();
            let tar = Command::new("tar").arg("-cf").arg(archive).arg("-C").arg(from).arg(".").status();
            assert!(tar.unwrap().success());
        };
        pack("new", &tree.join("files/manifests.tar"));
        bench.sweep(&|| ());
        bench.sweep(&|| {
            fs::create_dir_all(project.join("current")).unwrap();
            fs::write(project.join("current/compose.yaml"), "old").unwrap();
            fs::write(bench.place().join("running"), "old").unwrap();
        });
        for (wrong, why) in [(r#"{"project_name": "../app"}"#, "project_name is"), ("{}", "project_name is")]
        {
            fs::write(tree.join("header/meta-data"), wrong).unwrap();
            let output = bench.output("ArtifactInstall");
            assert!(!output.status.success() && String::from_utf8_lossy(&output.stderr).contains(why));
        }
    }
}

/// Real packages, with a data base and a root of the test's.
#[test]
fn rpm_packages_are_installed_all_at_once() {
    for shell in [Shell::Dash, Shell::DashOnBusyBox] {
        let bench = Bench::new("rpm", shell);
        assert_eq!(
            (bench.call("SupportsRollback"), bench.call("NeedsArtifactReboot")),
            ("No\n".into(), "No\n".into())
        );
        let here = bench.folder.display();
        program(
            &bench.folder.join("tools/rpm"),
            &format!("#!/bin/sh\nexec /usr/bin/rpm --root {here}/place --dbpath /db \"$@\"\n"),
        );
        let version = |name: &str| {
            let query = bench.folder.join("tools/rpm");
            let output =
                Command::new(query).args(["-q", "--queryformat", "%{VERSION}", name]).output().unwrap();
            String::from_utf8(output.stdout).unwrap()
        };
        rpm(&bench, "app", "2");
        rpm(&bench, "data", "1");
        for call in ["ArtifactInstall", "ArtifactInstall"] {
            bench.call(call);
        }
        assert_eq!((version("app").as_str(), version("data").as_str()), ("2", "1"));
        assert_eq!(fs::read_to_string(bench.place().join("opt/app")).unwrap(), "2\n");
        // An older one is an update like any other.
        bench.begin_anew();
        fs::remove_dir_all(bench.folder.join("tree/files")).unwrap();
        fs::create_dir(bench.folder.join("tree/files")).unwrap();
        rpm(&bench, "app", "1");
        bench.call("ArtifactInstall");
        assert_eq!((version("app").as_str(), version("data").as_str()), ("1", "1"));
        bench.file("garbage.rpm", "garbage");
        assert!(!bench.output("ArtifactInstall").status.success());
        assert_eq!(fs::read_to_string(bench.place().join("opt/app")).unwrap(), "1\n");
    }
}

/// Builds a package that brings a file of its name, with its version in it.
fn rpm(bench: &Bench, name: &str, version: &str) {
    let spec = format!(
        "Name: {name}\nVersion: {version}\nRelease: 1\nSummary: s\nLicense: MIT\nBuildArch: noarch\n%description\nd\n\
         %install\nmkdir -p %{{buildroot}}/opt\necho {version} >%{{buildroot}}/opt/{name}\n%files\n/opt/{name}\n"
    );
    let file = bench.folder.join(format!("{name}.spec"));
    fs::write(&file, spec).unwrap();
    let here = bench.folder.display();
    let defines = [
        format!("_topdir {here}/rpmbuild"),
        format!("_rpmdir {here}/rpms"),
        format!("_dbpath {here}/build-db"),
    ];
    let mut build = Command::new("rpmbuild");
    for define in defines {
        build.arg("--define").arg(define);
    }
    let output = build.arg("-bb").arg(&file).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let package = format!("{name}-{version}-1.noarch.rpm");
    fs::copy(bench.folder.join("rpms/noarch").join(&package), bench.folder.join("tree/files").join(package))
        .unwrap();
}
