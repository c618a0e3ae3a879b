//! A git server on the loopback device: repositories below a directory, served by `git http-backend` over plain HTTP.

use super::{Ran, has_program};
use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use tempfile::TempDir;

/// The server. Its threads end with the test process.
pub(crate) struct GitServer {
    directory: TempDir,
    address: String,
    shared: Arc<Shared>,
}

struct Shared {
    root: PathBuf,
    /// The `Authorization` that every request must have.
    wanted: Mutex<Option<String>>,
    requests: Mutex<Vec<String>>,
}

impl GitServer {
    /// A server without repositories; `None`, with the reason on standard output, where there is no git.
    pub(crate) fn start() -> Option<Self> {
        if !has_program("git") {
            return None;
        }
        let directory = tempfile::Builder::new().prefix("kiln-git-").tempdir().expect("a temporary directory");
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address").to_string();
        let root = directory.path().join("served");
        std::fs::create_dir(&root).expect("a directory");
        let shared = Arc::new(Shared { root, wanted: Mutex::default(), requests: Mutex::default() });
        let for_threads = Arc::clone(&shared);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let shared = Arc::clone(&for_threads);
                thread::spawn(move || shared.connection(&stream));
            }
        });
        Some(Self { directory, address, shared })
    }

    /// `127.0.0.1:PORT`.
    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// The URL of a repository: `http://…/NAME.git`.
    pub(crate) fn url(&self, name: &str) -> String {
        format!("http://{}/{name}.git", self.address)
    }

    /// Wants this `Authorization` from now on.
    pub(crate) fn wants(&self, authorization: &str) {
        *self.shared.wanted.lock().expect("wanted") = Some(authorization.to_owned());
    }

    /// What it was asked since the last call.
    pub(crate) fn requests(&self) -> Vec<String> {
        std::mem::take(&mut self.shared.requests.lock().expect("requests"))
    }

    /// Commits files to a repository, which is made when it is not there, and gives the commit's id. What a file is called twice goes.
    pub(crate) fn commit(&self, name: &str, files: &[(&str, &str)]) -> String {
        let work = self.work(name);
        for (path, text) in files {
            let path = work.join(path);
            std::fs::create_dir_all(path.parent().expect("a file")).expect("directories");
            std::fs::write(path, text).expect("a file");
        }
        self.git(name, &["add", "--all"]);
        self.git(name, &["commit", "--quiet", "--allow-empty", "--message", "change"]);
        self.push(name)
    }

    /// Runs git in the working directory of a repository.
    pub(crate) fn git(&self, name: &str, arguments: &[&str]) -> String {
        let ran = Ran::of(&mut git(&self.work(name), arguments));
        ran.succeeds();
        ran.stdout().trim().to_owned()
    }

    /// Publishes all branches and tags, and gives the id of the current commit.
    pub(crate) fn push(&self, name: &str) -> String {
        let served = self.shared.root.join(format!("{name}.git"));
        let served = served.to_str().expect("UTF-8");
        self.git(name, &["push", "--quiet", "--force", "--all", served]);
        self.git(name, &["push", "--quiet", "--force", "--tags", served]);
        Ran::of(&mut git(Path::new(served), &["update-server-info"])).succeeds();
        self.git(name, &["rev-parse", "HEAD"])
    }

    /// The bare repository that is served.
    pub(crate) fn served(&self, name: &str) -> PathBuf {
        self.shared.root.join(format!("{name}.git"))
    }

    /// The working directory of a repository.
    pub(crate) fn work(&self, name: &str) -> PathBuf {
        let work = self.directory.path().join(name);
        if !work.exists() {
            std::fs::create_dir(&work).expect("a directory");
            let served = self.served(name);
            std::fs::create_dir(&served).expect("a directory");
            Ran::of(&mut git(&work, &["init", "--quiet", "--initial-branch=main"])).succeeds();
            Ran::of(&mut git(&served, &["init", "--quiet", "--bare", "--initial-branch=main"])).succeeds();
        }
        work
    }
}

/// Git without anybody's configuration.
fn git(directory: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new("git");
    command.args(arguments).current_dir(directory).env_clear().env("PATH", "/usr/local/bin:/usr/bin:/bin");
    command.env("GIT_CONFIG_NOSYSTEM", "1").env("GIT_CONFIG_GLOBAL", "/dev/null").env("HOME", "/nonexistent");
    command.env("GIT_ALLOW_PROTOCOL", "file:http");
    for who in ["AUTHOR", "COMMITTER"] {
        command.env(format!("GIT_{who}_NAME"), "Test").env(format!("GIT_{who}_EMAIL"), "test@example.org");
    }
    command
}

impl Shared {
    /// Answers one request.
    fn connection(&self, stream: &TcpStream) {
        let mut reader = BufReader::new(stream);
        let mut request = String::new();
        if reader.read_line(&mut request).unwrap_or(0) == 0 {
            return;
        }
        let mut headers = HashMap::new();
        let mut line = String::new();
        while reader.read_line(&mut line).is_ok_and(|length| length > 2) {
            if let Some((name, value)) = line.split_once(':') {
                headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
            }
            line.clear();
        }
        let mut words = request.split(' ');
        let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        self.requests.lock().expect("requests").push(format!("{method} {path}"));
        let mut writer = stream;
        let wanted = self.wanted.lock().expect("wanted").clone();
        if wanted.is_some() && headers.get("authorization") != wanted.as_ref() {
            let _ = writer.write_all(
                b"HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Basic realm=\"x\"\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
            );
            return;
        }
        let length = headers.get("content-length").and_then(|length| length.parse().ok()).unwrap_or(0_u64);
        let mut body = Vec::new();
        if reader.take(length).read_to_end(&mut body).is_err() {
            return;
        }
        let (path, query) = path.split_once('?').unwrap_or((path, ""));
        let header = |name: &str| headers.get(name).map_or("", |value| value);
        let mut command = git(&self.root, &["http-backend"]);
        command.env("GIT_PROJECT_ROOT", &self.root).env("GIT_HTTP_EXPORT_ALL", "1").env("REQUEST_METHOD", method);
        command.env("PATH_INFO", path).env("QUERY_STRING", query).env("CONTENT_TYPE", header("content-type"));
        command.env("CONTENT_LENGTH", length.to_string()).env("GIT_PROTOCOL", header("git-protocol"));
        command.env("HTTP_CONTENT_ENCODING", header("content-encoding"));
        let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn();
        let Ok(mut child) = child else { return };
        if let Some(mut input) = child.stdin.take() {
            thread::spawn(move || input.write_all(&body));
        }
        let Ok(output) = child.wait_with_output() else { return };
        let answer = output.stdout;
        let end = answer.windows(4).position(|window| window == b"\r\n\r\n").unwrap_or(0);
        let head = String::from_utf8_lossy(&answer[..end]);
        let status = head.lines().find_map(|line| line.strip_prefix("Status: ")).unwrap_or("200 OK");
        let body = &answer[(end + 4).min(answer.len())..];
        let head =
            format!("HTTP/1.1 {status}\r\n{head}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
        let _ = writer.write_all(head.as_bytes()).and_then(|()| writer.write_all(body));
    }
}
