//! A real `docker-registry` on the loopback interface, with the base images in
//! it, in Docker Hub's place.

use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::debian::{self, program};
use crate::images::Recipe;
use crate::kiln::Binary;
use crate::places::{self, Places};
use crate::process;

pub(crate) struct Registry {
    server: Child,
    address: String,
    storage: PathBuf,
}

impl Registry {
    /// Starts the registry on a free port; its storage outlives it.
    pub(crate) fn start(places: &Places, folder: &Path) -> Result<Self> {
        Self::with_storage(folder, places.cache.join("registry"))
    }

    /// Takes repositories of these first names out of the storage that [`start`](Self::start) uses, while it does not run.
    pub(crate) fn forget(places: &Places, names: &[&str]) -> Result<()> {
        for name in names {
            let repositories = places.cache.join("registry/docker/registry/v2/repositories").join(name);
            match std::fs::remove_dir_all(&repositories) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(error).with_context(|| format!("cannot remove {}", repositories.display()));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Starts it with a storage of the caller's.
    pub(crate) fn with_storage(folder: &Path, storage: PathBuf) -> Result<Self> {
        let needs = [program("docker-registry", "docker-registry"), program("skopeo", "skopeo")];
        debian::ensure("a local registry", &needs)?;
        places::make(&storage)?;
        let listener = TcpListener::bind("127.0.0.1:0").context("no free port")?;
        let address = listener.local_addr()?.to_string();
        drop(listener);
        let config = folder.join("registry.yml");
        places::write(
            &config,
            format!(
                "version: 0.1\nlog:\n  accesslog:\n    disabled: true\n  level: warn\n\
                 storage:\n  filesystem:\n    rootdirectory: {}\nhttp:\n  addr: {address}\n",
                storage.display()
            ),
        )?;
        let log = folder.join("registry.log");
        let file = std::fs::File::create(&log).context("cannot make the registry's log")?;
        let server = Command::new("docker-registry")
            .arg("serve")
            .arg(&config)
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file)
            .spawn()
            .context("cannot start docker-registry")?;
        let registry = Self { server, address, storage };
        let deadline = Instant::now() + Duration::from_secs(10);
        while TcpStream::connect(&registry.address).is_err() {
            if Instant::now() > deadline {
                bail!("docker-registry did not start:\n{}", process::log_tail(&log));
            }
            thread::sleep(Duration::from_millis(20));
        }
        Ok(registry)
    }

    /// `HOST:PORT`; it speaks plain http.
    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// Puts an image of kiln's making into the registry, as Docker Hub has it.
    /// kiln is built only if it must make the image first.
    pub(crate) fn publish(&self, places: &Places, recipe: &Recipe) -> Result<()> {
        let archive = match recipe.cached_archive(places)? {
            Some(archive) => archive,
            None => recipe.archive(places, &Binary::release(places)?)?,
        };
        let modified = std::fs::metadata(&archive)?.modified()?;
        let name = archive.file_name().context("the archive has no name")?;
        let stamp = self.storage.join(name).with_extension("pushed");
        let pushed = std::fs::metadata(&stamp).and_then(|metadata| metadata.modified());
        if pushed.is_ok_and(|pushed| pushed > modified) {
            return Ok(());
        }
        let target = format!("docker://{}/library/{}", self.address, recipe.reference);
        let mut command = Command::new("skopeo");
        command.args(["--insecure-policy", "copy", "--quiet", "--dest-tls-verify=false"]);
        command.arg(format!("oci-archive:{}", archive.display())).arg(target);
        process::quiet(&mut command)?;
        places::write(&stamp, "")
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}
