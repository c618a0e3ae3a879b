//! Automatic caches with real tools: after a change, an image is the same file for file whichever of them its steps had.
//!
//! `cargo xtask test` prepares the context of a base image with Cargo, npm, pip and APT in it and says where it is; without it these
//! tests say `skipped`, and so does a tool whose packages cannot be had. Go, which needs none, is in [`crate::go`].

use crate::support::{Kiln, Ran};
use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Command;

/// The variable in which `cargo xtask test` names the context of the image.
const CONTEXT: &str = "KILN_TEST_TOOLCHAINS";

/// A store with the base image.
fn with_toolchains() -> Option<Kiln> {
    let kiln = Kiln::for_builds()?;
    let Some(context) = std::env::var_os(CONTEXT) else {
        println!("skipped: {CONTEXT} is not set; `cargo xtask test` sets it");
        return None;
    };
    let dockerfile = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../xtask/images/toolchains/Dockerfile");
    let mut command = kiln.command(["build", "-q", "-t", "toolchains:trixie", "-f"]);
    // How this machine knows its registries, the image must know them too.
    command.arg(dockerfile).args(["--build-context", "certificates=/etc/ssl/certs"]).arg(context);
    Ran::of(&mut command).succeeds();
    Some(kiln)
}

#[test]
fn the_mode_changes_no_file_of_any_image() {
    let Some(kiln) = with_toolchains() else { return };
    for tool in [CARGO, NPM, PIP, APT] {
        tool.check(&kiln);
    }
}

/// A project, and a change after which it is built again.
struct Tool {
    /// The modes with which its steps get something.
    modes: &'static [&'static str],
    /// What the progress says.
    command: &'static str,
    /// What the last layer of the image is made of.
    dockerfile: &'static str,
    files: &'static [(&'static str, &'static str)],
    /// The file that changes.
    changed: (&'static str, &'static str),
    /// What the logs of two builds of one mode do not agree in either.
    varying: &'static [&'static str],
}

const CARGO: Tool = Tool {
    modes: &["safe", "all"],
    command: "cargo build",
    dockerfile: "FROM toolchains:trixie AS build\nWORKDIR /src\nCOPY . .\nRUN cargo build\n\
                 FROM scratch\nCOPY --from=build /src/target/debug/app /app\n",
    files: &[
        (
            "Cargo.toml",
            "[package]\nname = \"app\"\nedition = \"2021\"\n[dependencies]\ncfg-if = \"=1.0.0\"\nitoa = \"=1.0.15\"\n",
        ),
        ("src/main.rs", "fn main() { println!(\"{}\", itoa::Buffer::new().format(1)); }\n"),
    ],
    changed: ("src/main.rs", "fn main() { println!(\"changed {}\", itoa::Buffer::new().format(2)); }\n"),
    varying: &[],
};

const NPM: Tool = Tool {
    modes: &["safe", "all"],
    command: "npm install",
    dockerfile: "FROM toolchains:trixie AS build\nWORKDIR /src\nCOPY package.json .\nRUN npm install\n\
                 FROM scratch\nCOPY --from=build /src /src\n",
    files: &[("package.json", "{ \"dependencies\": { \"clsx\": \"2.1.1\" } }\n")],
    changed: ("package.json", "{ \"dependencies\": { \"clsx\": \"2.1.1\", \"is-number\": \"7.0.0\" } }\n"),
    varying: &[],
};

const PIP: Tool = Tool {
    modes: &["safe"],
    command: "pip install",
    // Debugging information would name a directory of pip's that is another one each time.
    dockerfile: "FROM toolchains:trixie AS build\nENV CFLAGS=-g0\nCOPY requirements.txt .\n\
                 RUN pip install --no-compile --prefix=/install -r requirements.txt\n\
                 FROM scratch\nCOPY --from=build /install /usr\n",
    files: &[("requirements.txt", "--no-binary=markupsafe\nmarkupsafe==3.0.2\n")],
    changed: ("requirements.txt", "--no-binary=markupsafe\nmarkupsafe==3.0.2\nsix==1.17.0\n"),
    varying: &[],
};

const APT: Tool = Tool {
    modes: &["all"],
    command: "apt-get update",
    dockerfile: "FROM toolchains:trixie\nENV DEBIAN_FRONTEND=noninteractive\nCOPY packages /\n\
                 RUN apt-get update && apt-get install -y --no-install-recommends $(cat /packages) && rm -rf /var/lib/apt/lists/*\n",
    files: &[("packages", "hello\n")],
    changed: ("packages", "hello\ntree\n"),
    varying: &["var/cache/ldconfig/aux-cache", "var/log/apt/history.log", "var/log/apt/term.log", "var/log/dpkg.log"],
};

impl Tool {
    fn check(&self, kiln: &Kiln) {
        let _from_the_last_tool = std::fs::remove_dir_all(kiln.context());
        for (name, text) in self.files {
            kiln.write(name, text);
        }
        kiln.write("Dockerfile", self.dockerfile);
        let mut first = kiln.command(["build", "--progress=plain", "--auto-cache=all"]);
        let first = Ran::of(first.arg(kiln.context()));
        if first.status != Some(0) {
            println!("skipped: `{}` does not work here:\n{}", self.command, first.stderr);
            return;
        }
        kiln.write(self.changed.0, self.changed.1);
        let off = self.last_layer(kiln, "off");
        assert!(!off.is_empty(), "{}", self.command);
        for mode in self.modes {
            let with = self.last_layer(kiln, mode);
            for path in off.keys().chain(with.keys()) {
                assert!(off.get(path) == with.get(path), "`{}` with `{mode}`: `{path}` differs", self.command);
            }
        }
    }

    /// The files of the image's last layer: mode, owner, and content or target.
    fn last_layer(&self, kiln: &Kiln, mode: &str) -> BTreeMap<String, (u32, u32, u32, Vec<u8>)> {
        let layout = kiln.path("layout");
        let _of_the_last_mode = std::fs::remove_dir_all(&layout);
        let output = format!("type=oci,tar=false,dest={}", layout.display());
        let mut command =
            kiln.command(["build", "--progress=plain", "--no-cache", "-o", &output, "--auto-cache", mode]);
        let ran = Ran::of(command.arg(kiln.context()));
        ran.succeeds();
        if mode != "off" {
            ran.stderr_has(&format!("auto-cache: {}", self.command));
        }
        let image = crate::support::Image::of_layout(&layout);
        let layers = image.manifest["layers"].as_array().expect("layers");
        let digest = layers.last().and_then(|layer| layer["digest"].as_str()).expect("a layer");
        let files = kiln.path("files");
        let _of_the_last_mode = std::fs::remove_dir_all(&files);
        std::fs::create_dir(&files).expect("a directory");
        let mut tar = Command::new("tar");
        tar.arg("--same-owner").arg("-xf").arg(layout.join("blobs").join(digest.replace(':', "/")));
        Ran::of(tar.arg("-C").arg(&files)).succeeds();
        let mut found = BTreeMap::new();
        list(&files, "", &mut found);
        for path in self.varying {
            found.entry((*path).to_owned()).and_modify(|(.., content)| content.clear());
        }
        found
    }
}

fn list(dir: &Path, below: &str, found: &mut BTreeMap<String, (u32, u32, u32, Vec<u8>)>) {
    for entry in std::fs::read_dir(dir).expect("a directory") {
        let entry = entry.expect("an entry");
        let path = format!("{below}{}", entry.file_name().to_string_lossy());
        let metadata = entry.path().symlink_metadata().expect("metadata");
        let content = if metadata.is_symlink() {
            std::fs::read_link(entry.path()).expect("a link").into_os_string().into_encoded_bytes()
        } else if metadata.is_file() {
            std::fs::read(entry.path()).expect("a file")
        } else {
            Vec::new()
        };
        if metadata.is_dir() {
            list(&entry.path(), &format!("{path}/"), found);
        }
        found.insert(path, (metadata.mode(), metadata.uid(), metadata.gid(), content));
    }
}
