//! A server that speaks S3's protocol (`moto_server`), started on a free loopback port with one empty bucket, ended when dropped.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

/// The bucket that there is.
pub(crate) const BUCKET: &str = "caches";

/// A running server.
pub(crate) struct Moto {
    child: Child,
    address: String,
}

impl Moto {
    /// Starts one; `None`, having said so, where the machine lacks it.
    pub(crate) fn start() -> Option<Self> {
        let Some(program) = program() else {
            println!("skipped: `moto_server` is not installed");
            return None;
        };
        let mut child = Command::new(program)
            .args(["-H", "127.0.0.1", "-p", "0"])
            .env("PYTHONUNBUFFERED", "1")
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("moto_server starts");
        let mut lines = BufReader::new(child.stderr.take().expect("piped")).lines().map_while(Result::ok);
        let address = lines.find_map(|line| Some(line.split_once("Running on http://")?.1.trim().to_owned()));
        // A full pipe would stop it.
        std::thread::spawn(move || lines.for_each(drop));
        let address = address.expect("moto_server says where it listens");
        let moto = Self { child, address };
        moto.ask(&format!("/{BUCKET}"), b"");
        Some(moto)
    }

    /// `127.0.0.1:PORT`.
    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// Writes an object of the bucket.
    pub(crate) fn put(&self, key: &str, bytes: &[u8]) {
        self.ask(&format!("/{BUCKET}/{key}"), bytes);
    }

    fn ask(&self, path: &str, body: &[u8]) {
        let mut stream = TcpStream::connect(&self.address).expect("it listens");
        let length = body.len();
        // It wants to see a signature, whichever.
        let signature =
            "AWS4-HMAC-SHA256 Credential=kiln/20260101/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=0";
        let head = format!(
            "PUT {path} HTTP/1.1\r\nhost: {}\r\nauthorization: {signature}\r\ncontent-length: {length}\r\n\
             connection: close\r\n\r\n",
            self.address
        );
        stream.write_all(&[head.as_bytes(), body].concat()).expect("it reads");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("it answers");
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }
}

impl Drop for Moto {
    fn drop(&mut self) {
        // It may have ended by itself, which the test then has noticed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Where `cargo xtask test` puts it, or wherever the machine has it.
fn program() -> Option<PathBuf> {
    let cache = std::env::var_os("XDG_CACHE_HOME").filter(|cache| !cache.is_empty()).map(PathBuf::from);
    let cache = cache.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache")));
    let own = cache.map(|cache| cache.join("kiln-xtask/moto-5/bin/moto_server"));
    let path = std::env::var_os("PATH").unwrap_or_default();
    let anywhere = std::env::split_paths(&path).map(|directory| directory.join("moto_server"));
    own.into_iter().chain(anywhere).find(|program| program.is_file())
}
