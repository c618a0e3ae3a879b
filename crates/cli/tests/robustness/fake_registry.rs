//! A registry in this process that serves one OCI layout as `base`, and can lie, stall and count (OCI distribution-spec, Pull).

use crate::support::{Kiln, Ran};
use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Serves until dropped.
pub(crate) struct FakeRegistry {
    address: String,
    shared: Arc<Shared>,
}

struct Shared {
    layout: PathBuf,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// Requests for these (`manifests` or `blobs`) are answered by halves, then by silence.
    stall: Option<String>,
    stalled: usize,
    /// What to serve in place of a blob or manifest, by digest or tag.
    instead: BTreeMap<String, Vec<u8>>,
    requests: Vec<String>,
    over: bool,
}

impl FakeRegistry {
    /// Serves the only image of a layout under every tag.
    pub(crate) fn of_layout(layout: &Path) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a loopback port");
        let address = listener.local_addr().expect("an address").to_string();
        let shared = Arc::new(Shared { layout: layout.to_owned(), state: Mutex::default(), changed: Condvar::new() });
        let serving = Arc::clone(&shared);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if serving.state().over {
                    return;
                }
                let serving = Arc::clone(&serving);
                // A client that hangs up ends its thread.
                std::thread::spawn(move || serving.serve(stream));
            }
        });
        Self { address, shared }
    }

    /// `127.0.0.1:PORT`.
    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// A configuration that reaches it.
    pub(crate) fn config(&self) -> String {
        format!("[registry.\"{}\"]\nhttp = true\n", self.address)
    }

    /// Stops answering half-way through requests for `manifests` or `blobs`.
    pub(crate) fn stall(&self, what: &str) {
        self.shared.state().stall = Some(what.to_owned());
    }

    /// How many requests have stalled.
    pub(crate) fn stalled(&self) -> usize {
        self.shared.state().stalled
    }

    /// Waits until more than `before` have.
    #[track_caller]
    pub(crate) fn wait_until_stalled(&self, before: usize) {
        let state = self.shared.state();
        let waited = self.shared.changed.wait_timeout_while(state, Duration::from_secs(30), |s| s.stalled <= before);
        assert!(!waited.unwrap_or_else(PoisonError::into_inner).1.timed_out(), "nobody asked");
        // The client is to be waiting for more when the test goes on.
        std::thread::sleep(Duration::from_millis(200));
    }

    /// Answers again.
    pub(crate) fn resume(&self) {
        self.shared.state().stall = None;
        self.shared.changed.notify_all();
    }

    /// Serves other bytes for a digest or tag.
    pub(crate) fn serve_instead(&self, name: &str, bytes: Vec<u8>) {
        self.shared.state().instead.insert(name.to_owned(), bytes);
    }

    /// `METHOD PATH` of all requests so far.
    pub(crate) fn requests(&self) -> Vec<String> {
        self.shared.state().requests.clone()
    }
}

impl Drop for FakeRegistry {
    fn drop(&mut self) {
        self.shared.state().over = true;
        self.shared.changed.notify_all();
        // Wakes the listener.
        let _refused = TcpStream::connect(&self.address);
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn serve(&self, stream: TcpStream) -> std::io::Result<()> {
        let mut reader = BufReader::new(stream.try_clone()?);
        loop {
            let mut request = String::new();
            if reader.read_line(&mut request)? == 0 {
                return Ok(());
            }
            let mut header = String::from("-");
            while !header.trim().is_empty() {
                header.clear();
                reader.read_line(&mut header)?;
            }
            let mut words = request.split_whitespace();
            let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
            if !path.starts_with("/v2/") {
                // A probe for TLS.
                return Ok(());
            }
            self.state().requests.push(format!("{method} {path}"));
            self.answer(&stream, method, path)?;
        }
    }

    fn answer(&self, mut stream: &TcpStream, method: &str, path: &str) -> std::io::Result<()> {
        let (status, kind, body) = self.find(path);
        let head = format!("HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n\r\n", body.len());
        stream.write_all(head.as_bytes())?;
        if method == "HEAD" {
            return Ok(());
        }
        let stalls = |state: &State| !state.over && state.stall.as_ref().is_some_and(|what| path.contains(&**what));
        let mut rest = &body[..];
        let mut state = self.state();
        if stalls(&state) {
            let half;
            (half, rest) = body.split_at(body.len() / 2);
            stream.write_all(half)?;
            state.stalled += 1;
            self.changed.notify_all();
            while stalls(&state) {
                state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
        }
        drop(state);
        stream.write_all(rest)
    }

    fn find(&self, path: &str) -> (&'static str, String, Vec<u8>) {
        let json = "application/json".to_owned();
        let Some((_, name)) = path.rsplit_once("manifests/").or_else(|| path.rsplit_once("blobs/")) else {
            return ("200 OK", json, b"{}".to_vec());
        };
        let index = fs::read(self.layout.join("index.json")).unwrap_or_default();
        let index: serde_json::Value = serde_json::from_slice(&index).unwrap_or_default();
        let manifest = index["manifests"][0]["digest"].as_str().unwrap_or_default();
        let digest = if name.starts_with("sha256:") { name } else { manifest };
        let blob = self.layout.join("blobs/sha256").join(digest.trim_start_matches("sha256:"));
        let kind =
            if digest == manifest { "application/vnd.oci.image.manifest.v1+json" } else { "application/octet-stream" };
        if let Some(bytes) = self.state().instead.get(name) {
            return ("200 OK", kind.to_owned(), bytes.clone());
        }
        match fs::read(blob) {
            Ok(bytes) => ("200 OK", kind.to_owned(), bytes),
            Err(_) => ("404 Not Found", json, br#"{"errors":[{"code":"NOT_FOUND"}]}"#.to_vec()),
        }
    }
}

/// The layout that `FROM base` means.
pub(crate) fn base_layout(kiln: &Kiln) -> PathBuf {
    PathBuf::from(kiln.base().strip_prefix("base=oci-layout://").expect("a layout"))
}

/// Builds the context's Dockerfile with a configuration.
pub(crate) fn build_with(kiln: &Kiln, config: &str, arguments: &[&str]) -> Ran {
    let path = kiln.path("config.toml");
    fs::write(&path, config).expect("a file");
    Ran::of(kiln.build_command(arguments).env("KILN_CONFIG", path))
}
