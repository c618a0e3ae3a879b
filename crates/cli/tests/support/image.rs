//! Looks into what a build made, with this machine's `tar` and a JSON reader rather than with kiln's own code.

use super::{Kiln, Ran};
use kiln_digest::Digest;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// An image of one platform in an OCI layout.
pub(crate) struct Image {
    pub(crate) manifest: Value,
    pub(crate) config: Value,
    /// Digest of the config.
    pub(crate) id: String,
}

impl Image {
    /// Reads the only image of a layout.
    #[track_caller]
    pub(crate) fn of_layout(layout: &Path) -> Self {
        let index = read_json(&layout.join("index.json"));
        let manifests = index["manifests"].as_array().expect("manifests");
        // There is one entry for each name.
        assert!(manifests.iter().all(|entry| entry["digest"] == manifests[0]["digest"]), "{index:#}");
        let blob = |digest: &Value| {
            let hex = digest.as_str().and_then(|digest| digest.strip_prefix("sha256:")).expect("a digest");
            read_json(&layout.join("blobs/sha256").join(hex))
        };
        let manifest = blob(&manifests[0]["digest"]);
        let id = manifest["config"]["digest"].as_str().expect("a config").to_owned();
        let config = blob(&manifest["config"]["digest"]);
        Self { manifest, config, id }
    }

    /// A field of the container's configuration: `Env`, `Cmd`, …
    pub(crate) fn field(&self, name: &str) -> &Value {
        &self.config["config"][name]
    }

    /// Each history entry's text, and whether it has no layer.
    pub(crate) fn history(&self) -> Vec<(String, bool)> {
        let entries = self.config["history"].as_array().into_iter().flatten();
        let text = |entry: &Value| entry["created_by"].as_str().unwrap_or_default().to_owned();
        entries.map(|entry| (text(entry), entry["empty_layer"] == true)).collect()
    }
}

/// A layer with the file `/opt/file`, as another tool writes it: what kiln would write of its files is another archive.
pub(crate) fn foreign_layer(kiln: &Kiln) -> Vec<u8> {
    let (directory, archive) = (kiln.path("foreign"), kiln.path("foreign.tar"));
    fs::create_dir_all(directory.join("opt")).expect("a directory");
    fs::write(directory.join("opt/file"), "foreign\n").expect("a file");
    let mut tar = Command::new("tar");
    tar.args(["--format=gnu", "--owner=builder:1234", "-cf"]).arg(&archive).arg("-C").arg(&directory).arg(".");
    Ran::of(&mut tar).succeeds();
    fs::read(&archive).expect("an archive")
}

/// A layout whose image has one more layer than `base`: these bytes.
pub(crate) fn layout_with(kiln: &Kiln, name: &str, layer: &[u8]) -> PathBuf {
    let layout = kiln.path(name);
    Ran::of(
        Command::new("cp")
            .arg("-r")
            .arg(kiln.base().strip_prefix("base=oci-layout://").expect("a layout"))
            .arg(&layout),
    )
    .succeeds();
    let put = |bytes: &[u8]| {
        let digest = Digest::of_bytes(bytes);
        fs::write(layout.join("blobs/sha256").join(digest.hex()), bytes).expect("a blob");
        (digest.to_string(), bytes.len())
    };
    let Image { mut manifest, mut config, .. } = Image::of_layout(&layout);
    let add = |list: &mut Value, value: Value| list.as_array_mut().expect("a list").push(value);
    let (digest, size) = put(layer);
    add(&mut config["rootfs"]["diff_ids"], digest.clone().into());
    add(&mut config["history"], json!({ "created_by": "another tool" }));
    let kind = "application/vnd.oci.image.layer.v1.tar";
    add(&mut manifest["layers"], json!({ "mediaType": kind, "digest": digest, "size": size }));
    let (digest, size) = put(config.to_string().as_bytes());
    manifest["config"]["digest"] = digest.into();
    manifest["config"]["size"] = size.into();
    let (digest, size) = put(manifest.to_string().as_bytes());
    let kind = "application/vnd.oci.image.manifest.v1+json";
    let index = json!({
        "schemaVersion": 2, "manifests": [{ "mediaType": kind, "digest": digest, "size": size }],
    });
    fs::write(layout.join("index.json"), index.to_string()).expect("an index");
    layout
}

fn read_json(path: &Path) -> Value {
    let text = fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_slice(&text).expect("JSON")
}

/// A line of `tar -tv`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    /// As `ls` shows it: `-rwxr-xr-x`.
    pub(crate) mode: String,
    /// `uid/gid`.
    pub(crate) owner: String,
    /// Of a symbolic link.
    pub(crate) target: Option<String>,
}

/// What a tar archive holds, by path without slashes at either end.
#[track_caller]
pub(crate) fn tar_entries(archive: &Path) -> BTreeMap<String, Entry> {
    let ran = Ran::of(Command::new("tar").args(["--numeric-owner", "--quoting-style=literal", "-tvf"]).arg(archive));
    ran.succeeds();
    let mut entries = BTreeMap::new();
    for line in ran.stdout().lines() {
        let mut words = line.split_whitespace();
        let mode = words.next().expect("a mode").to_owned();
        let owner = words.next().expect("an owner").to_owned();
        let rest: Vec<&str> = words.skip(3).collect();
        let rest = rest.join(" ");
        let (path, target) = match rest.split_once(" -> ").or_else(|| rest.split_once(" link to ")) {
            Some((path, target)) => (path, Some(target.to_owned())),
            None => (rest.as_str(), None),
        };
        let path = path.trim_start_matches("./").trim_matches('/').to_owned();
        entries.insert(path, Entry { mode, owner, target });
    }
    entries
}

impl Kiln {
    /// Builds with further arguments, and reads the image from an OCI layout.
    #[track_caller]
    pub(crate) fn image<S: AsRef<std::ffi::OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Image {
        let layout = self.path("image");
        // A layout that is there would be added to.
        let _not_there = fs::remove_dir_all(&layout);
        let output = format!("type=oci,tar=false,dest={}", layout.display());
        let mut command = self.build_command(arguments);
        Ran::of(command.args(["--output", &output])).succeeds();
        Image::of_layout(&layout)
    }

    /// Builds with further arguments, and lists the files of the final stage.
    #[track_caller]
    pub(crate) fn files<S: AsRef<std::ffi::OsStr>>(
        &self,
        arguments: impl IntoIterator<Item = S>,
    ) -> BTreeMap<String, Entry> {
        let archive = self.path("files.tar");
        let output = format!("type=tar,dest={}", archive.display());
        let mut command = self.build_command(arguments);
        Ran::of(command.args(["--output", &output])).succeeds();
        tar_entries(&archive)
    }
}
