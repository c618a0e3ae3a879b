//! A registry on the loopback device that serves one OCI layout under every name, over plain HTTP, and remembers what it was asked.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::thread;

/// The registry. Its thread ends with the test process.
pub(crate) struct Registry {
    address: String,
    requests: Arc<Mutex<Vec<String>>>,
}

impl Registry {
    /// Serves the base image of the tests.
    pub(crate) fn start() -> Self {
        Self::serve(super::base::layout().to_owned(), |_, bytes| bytes)
    }

    /// Serves the base image of the tests with bytes of each blob replaced, given its path.
    pub(crate) fn tampered(change: fn(&str, Vec<u8>) -> Vec<u8>) -> Self {
        Self::serve(super::base::layout().to_owned(), change)
    }

    fn serve(layout: PathBuf, change: fn(&str, Vec<u8>) -> Vec<u8>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address").to_string();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&requests);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (layout, seen) = (layout.clone(), Arc::clone(&seen));
                thread::spawn(move || connection(&stream, &layout, &seen, change));
            }
        });
        Self { address, requests }
    }

    /// `127.0.0.1:PORT`.
    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// What it was asked since the last call: `GET /v2/…`.
    pub(crate) fn requests(&self) -> Vec<String> {
        std::mem::take(&mut self.requests.lock().expect("requests"))
    }
}

/// Answers requests until the client closes the connection.
fn connection(stream: &TcpStream, layout: &Path, seen: &Mutex<Vec<String>>, change: fn(&str, Vec<u8>) -> Vec<u8>) {
    let mut reader = BufReader::new(stream);
    loop {
        let mut request = String::new();
        if reader.read_line(&mut request).unwrap_or(0) == 0 {
            return;
        }
        let mut header = String::new();
        while reader.read_line(&mut header).is_ok_and(|length| length > 2) {
            header.clear();
        }
        let mut words = request.split(' ');
        let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        seen.lock().expect("requests").push(format!("{method} {path}"));
        let (status, kind, body) = match answer(path, layout) {
            Some((kind, body)) => ("200 OK", kind, change(path, body)),
            None => ("404 Not Found", "application/json".to_owned(), b"{\"errors\":[]}".to_vec()),
        };
        let head = format!("HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n\r\n", body.len());
        let body = if method == "HEAD" { Vec::new() } else { body };
        let mut writer = stream;
        if writer.write_all(head.as_bytes()).and_then(|()| writer.write_all(&body)).is_err() {
            return;
        }
    }
}

/// Media type and bytes of `/v2/NAME/manifests/REFERENCE` and `/v2/NAME/blobs/DIGEST`. Every tag but `missing` is the same manifest.
fn answer(path: &str, layout: &Path) -> Option<(String, Vec<u8>)> {
    if path == "/v2/" {
        return Some(("application/json".to_owned(), b"{}".to_vec()));
    }
    let path = path.split('?').next()?;
    let (rest, reference) = path.rsplit_once('/')?;
    let blob = |digest: &str| fs::read(layout.join("blobs/sha256").join(digest.strip_prefix("sha256:")?)).ok();
    if rest.ends_with("/blobs") {
        return Some(("application/octet-stream".to_owned(), blob(reference)?));
    }
    if !rest.ends_with("/manifests") || reference == "missing" {
        return None;
    }
    let index: serde_json::Value = serde_json::from_slice(&fs::read(layout.join("index.json")).ok()?).ok()?;
    let entry = &index["manifests"][0];
    let digest = if reference.starts_with("sha256:") { reference } else { entry["digest"].as_str()? };
    Some((entry["mediaType"].as_str()?.to_owned(), blob(digest)?))
}
