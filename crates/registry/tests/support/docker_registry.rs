//! Debian's `docker-registry`, started on a free loopback port with an empty storage, ended when dropped.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use tempfile::TempDir;

/// The user whom a registry with `login` knows, as `USER:PASSWORD`.
pub(crate) const LOGIN: &str = "kiln:geheim";

/// bcrypt of the password, cost 5 (`perl -e 'print crypt("geheim", "\$2y\$05\$kilnkilnkilnkilnkilnku")'`).
const HTPASSWD: &str = "kiln:$2y$05$kilnkilnkilnkilnkilnku38u.NZuhfCskx6/tzRz0YCon7BoSJOm\n";

/// How a registry is to be set up.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Setup {
    /// Whether every request needs [`LOGIN`].
    pub(crate) login: bool,
    /// Whether it speaks TLS, with a certificate of its own authority.
    pub(crate) tls: bool,
}

/// A running registry.
pub(crate) struct DockerRegistry {
    child: Child,
    address: String,
    setup: Setup,
    directory: TempDir,
}

impl DockerRegistry {
    /// Starts one; `None`, having said so, where the machine lacks a program that this needs.
    pub(crate) fn start(setup: Setup) -> Option<Self> {
        for program in ["docker-registry", "skopeo", "openssl"] {
            if !is_installed(program) {
                println!("skipped: `{program}` is not installed");
                return None;
            }
        }
        let directory = tempfile::tempdir().expect("temporary directory");
        let config = directory.path().join("config.yml");
        fs::write(&config, configuration(directory.path(), setup)).expect("configuration");
        let mut child = Command::new("docker-registry")
            .arg("serve")
            .arg(&config)
            .env_remove("HTTP_PROXY")
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("docker-registry starts");
        let mut lines = BufReader::new(child.stderr.take().expect("piped")).lines().map_while(Result::ok);
        let address = lines.find_map(|line| {
            let (_, rest) = line.split_once("listening on ")?;
            Some(rest.chars().take_while(|c| c.is_ascii_digit() || matches!(c, '.' | ':')).collect())
        });
        // A full pipe would stop it.
        std::thread::spawn(move || lines.for_each(drop));
        let address = address.expect("docker-registry says where it listens");
        Some(Self { child, address, setup, directory })
    }

    /// `127.0.0.1:PORT`.
    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// The certificate authority, if there is one.
    pub(crate) fn authority(&self) -> PathBuf {
        self.directory.path().join("ca.pem")
    }

    /// Copies an image from an OCI layout (`DIR:NAME`) to `repository:tag`, with skopeo.
    pub(crate) fn fill(&self, layout: &str, image: &str, arguments: &[&str]) {
        let mut command = Command::new("skopeo");
        command.args(["--insecure-policy", "copy", "--quiet", "--dest-tls-verify=false"]).args(arguments);
        if self.setup.login {
            command.args(["--dest-creds", LOGIN]);
        }
        command.arg(format!("oci:{layout}")).arg(format!("docker://{}/{image}", self.address));
        run(&mut command);
    }
}

impl Drop for DockerRegistry {
    fn drop(&mut self) {
        // It may have ended by itself, which the test then has noticed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn is_installed(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|directory| directory.join(program).is_file())
}

fn configuration(directory: &Path, setup: Setup) -> String {
    let root = directory.display();
    let mut text = format!(
        "version: 0.1\nlog: {{level: info}}\nstorage: {{filesystem: {{rootdirectory: {root}/data}}}}\nhttp:\n  addr: 127.0.0.1:0\n"
    );
    if setup.tls {
        make_certificates(directory);
        text.push_str(&format!("  tls: {{certificate: {root}/server.pem, key: {root}/server.key}}\n"));
    }
    if setup.login {
        fs::write(directory.join("htpasswd"), HTPASSWD).expect("htpasswd");
        text.push_str(&format!("auth: {{htpasswd: {{realm: kiln, path: {root}/htpasswd}}}}\n"));
    }
    text
}

/// `ca.pem`, and `server.pem` with `server.key` signed by it, for 127.0.0.1.
fn make_certificates(directory: &Path) {
    let key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"];
    let openssl = |arguments: &[&str]| run(Command::new("openssl").current_dir(directory).args(arguments));
    openssl(
        &[&["req", "-x509", "-days", "2", "-subj", "/CN=kiln-test", "-keyout", "ca.key", "-out", "ca.pem"], &key[..]]
            .concat(),
    );
    openssl(&[&["req", "-subj", "/CN=127.0.0.1", "-keyout", "server.key", "-out", "server.csr"], &key[..]].concat());
    fs::write(directory.join("san"), "subjectAltName=IP:127.0.0.1\n").expect("extensions");
    openssl(&[
        "x509",
        "-req",
        "-days",
        "2",
        "-in",
        "server.csr",
        "-CA",
        "ca.pem",
        "-CAkey",
        "ca.key",
        "-CAcreateserial",
        "-extfile",
        "san",
        "-out",
        "server.pem",
    ]);
}

fn run(command: &mut Command) {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{command:?}\n{}", String::from_utf8_lossy(&output.stderr));
}
