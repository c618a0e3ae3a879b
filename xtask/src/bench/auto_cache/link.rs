//! A link to the package registries as people have it: an HTTP proxy on the loopback interface that lets so many bits a second
//! through to all of its clients together.
//!
//! Beside a registry's mirror downloads cost next to nothing, and what a cache of downloads saves cannot be seen. The proxy speaks
//! `CONNECT`, for TLS, and takes plain requests as proxies get them (RFC 9112, absolute form), which servers understand as they
//! are. It knows no host: its clients name the registries that they are set up for.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

/// The longest head of a request that is read.
const LONGEST_HEAD: usize = 64 * 1024;

/// The proxy. It ends with the process.
pub(super) struct Link {
    address: SocketAddr,
}

impl Link {
    /// Starts it. `megabits` a second come through.
    pub(super) fn start(megabits: u32) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").context("no free port")?;
        let address = listener.local_addr()?;
        let line = Arc::new(Line { bytes: f64::from(megabits) * 1e6 / 8.0, free: Mutex::new(Instant::now()) });
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let line = Arc::clone(&line);
                // Who cannot be served finds the connection closed, and says so in its own words.
                thread::spawn(move || serve(client, &line));
            }
        });
        Ok(Self { address })
    }

    /// What makes a build's steps use it: kiln knows these arguments, and puts them neither into keys nor into images.
    pub(super) fn arguments(&self) -> Vec<String> {
        let names = ["http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"];
        names.iter().flat_map(|name| ["--build-arg".to_owned(), format!("{name}=http://{}", self.address)]).collect()
    }
}

/// The one line that all connections share.
struct Line {
    /// A second.
    bytes: f64,
    /// When all that was sent so far will have passed.
    free: Mutex<Instant>,
}

impl Line {
    /// Waits for as long as so many bytes need.
    fn pass(&self, bytes: usize) {
        let until = {
            let mut free = self.free.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
            *free = (*free).max(Instant::now()) + Duration::from_secs_f64(bytes as f64 / self.bytes);
            *free
        };
        thread::sleep(until.saturating_duration_since(Instant::now()));
    }
}

fn serve(mut client: TcpStream, line: &Line) -> Option<()> {
    let head = head(&mut client)?;
    let text = String::from_utf8_lossy(&head);
    let mut words = text.split_ascii_whitespace();
    let (method, target) = (words.next()?, words.next()?);
    let mut server = if method == "CONNECT" {
        let server = TcpStream::connect(target).ok()?;
        client.write_all(b"HTTP/1.1 200 Connected\r\n\r\n").ok()?;
        server
    } else {
        let authority = target.strip_prefix("http://")?.split('/').next()?;
        let port = if authority.contains(':') { "" } else { ":80" };
        let mut server = TcpStream::connect(format!("{authority}{port}")).ok()?;
        server.write_all(&head).ok()?;
        server
    };
    let (mut requests, mut to_server) = (client.try_clone().ok()?, server.try_clone().ok()?);
    thread::spawn(move || {
        let _ended_by_either = std::io::copy(&mut requests, &mut to_server);
        let _ended_by_either = to_server.shutdown(Shutdown::Write);
    });
    let mut buffer = vec![0; 16 * 1024];
    loop {
        let count = server.read(&mut buffer).ok().filter(|count| *count > 0);
        let Some(count) = count else { break };
        line.pass(count);
        client.write_all(&buffer[..count]).ok()?;
    }
    client.shutdown(Shutdown::Both).ok()
}

/// The first request, up to the empty line.
fn head(client: &mut TcpStream) -> Option<Vec<u8>> {
    let mut head = Vec::new();
    let mut buffer = [0; 4096];
    while !head.windows(4).any(|end| end == b"\r\n\r\n") {
        let count = client.read(&mut buffer).ok().filter(|count| *count > 0)?;
        head.extend_from_slice(&buffer[..count]);
        if head.len() > LONGEST_HEAD {
            return None;
        }
    }
    Some(head)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_passed_on_and_answers_take_their_time() {
        let server = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = server.local_addr().unwrap();
        let answering = thread::spawn(move || {
            let (mut connection, _) = server.accept().unwrap();
            let asked = head(&mut connection).unwrap();
            connection.write_all(&vec![b'x'; 25_000]).unwrap();
            String::from_utf8(asked).unwrap()
        });
        let link = Link::start(1).unwrap();
        let mut client = TcpStream::connect(link.address).unwrap();
        write!(client, "GET http://{address}/package HTTP/1.1\r\n\r\n").unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        let start = Instant::now();
        let mut answer = Vec::new();
        client.read_to_end(&mut answer).unwrap();
        assert_eq!(answer.len(), 25_000);
        assert!(start.elapsed() >= Duration::from_millis(190), "{:?}", start.elapsed());
        assert!(answering.join().unwrap().starts_with("GET http://"));
    }
}
