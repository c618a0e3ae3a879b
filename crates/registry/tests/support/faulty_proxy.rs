//! A proxy before a real registry that spoils what passes through, as the test decides for each request. One request a connection, so
//! that where a body begins is never in doubt.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

/// What happens to one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Nothing.
    None,
    /// The proxy answers this status by itself.
    Status(u16),
    /// The request's body ends early, and the connection with it.
    CutRequest(u64),
    /// So does the response's.
    CutResponse(u64),
    /// A byte of the request's body is another one.
    SpoilRequest(u64),
    /// A byte of the response's body is.
    SpoilResponse(u64),
    /// All waits a little.
    Slow(Duration),
    /// The registry gets it all; its answer is lost.
    LoseAnswer,
}

/// A running proxy. It is never stopped: its threads end with the test's process.
pub(crate) struct FaultyProxy {
    address: SocketAddr,
    uploaded: Arc<AtomicU64>,
    log: Arc<Mutex<Vec<String>>>,
}

impl FaultyProxy {
    /// Serves on a free loopback port. `fault` gets the request's first line, and how many requests came before it.
    pub(crate) fn start(registry: &str, fault: impl Fn(&str, usize) -> Fault + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("bound");
        let (uploaded, log) = (Arc::new(AtomicU64::new(0)), Arc::new(Mutex::new(Vec::new())));
        let (counter, lines, fault, registry) = (uploaded.clone(), log.clone(), Arc::new(fault), registry.to_owned());
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let (counter, lines, fault, registry) =
                    (counter.clone(), lines.clone(), fault.clone(), registry.clone());
                // Either side hangs up as it likes; that ends the thread, and is not the test's concern.
                thread::spawn(move || pass(client, &registry, &counter, &lines, fault.as_ref()).ok());
            }
        });
        Self { address, uploaded, log }
    }

    /// `127.0.0.1:PORT`.
    pub(crate) fn address(&self) -> String {
        self.address.to_string()
    }

    /// How many bytes of bodies went to the registry.
    pub(crate) fn uploaded(&self) -> u64 {
        self.uploaded.load(Ordering::SeqCst)
    }

    /// The first lines of all requests so far.
    pub(crate) fn requests(&self) -> Vec<String> {
        self.log.lock().expect("not poisoned").clone()
    }
}

/// The head of a message, and the length of its body if that is said.
struct Head {
    text: String,
    length: Option<u64>,
}

impl Head {
    fn read(from: &mut impl BufRead) -> io::Result<Option<Self>> {
        if !from.fill_buf()?.first().is_some_and(u8::is_ascii_uppercase) {
            return Ok(None);
        }
        let mut text = String::new();
        let mut length = None;
        loop {
            let mut line = String::new();
            if from.read_line(&mut line)? == 0 {
                return Ok(None);
            }
            let name = line.to_ascii_lowercase();
            if line.trim().is_empty() {
                text.push_str("connection: close\r\n\r\n");
                return Ok(Some(Self { text, length }));
            }
            if let Some(value) = name.strip_prefix("content-length:") {
                length = value.trim().parse().ok();
            }
            if !name.starts_with("connection:") {
                text.push_str(&line);
            }
        }
    }
}

fn pass(
    mut client: TcpStream,
    registry: &str,
    uploaded: &AtomicU64,
    log: &Mutex<Vec<String>>,
    fault: &dyn Fn(&str, usize) -> Fault,
) -> io::Result<()> {
    client.set_nodelay(true)?;
    let mut from_client = BufReader::new(client.try_clone()?);
    let Some(request) = Head::read(&mut from_client)? else { return Ok(()) };
    let line = request.text.lines().next().unwrap_or_default().to_owned();
    let fault = {
        let mut log = log.lock().expect("not poisoned");
        log.push(line.clone());
        fault(&line, log.len() - 1)
    };
    let length = request.length.unwrap_or(0);
    if let Fault::Status(status) = fault {
        io::copy(&mut from_client.take(length), &mut io::sink())?;
        return client.write_all(
            format!("HTTP/1.1 {status} X\r\nretry-after: 0\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
                .as_bytes(),
        );
    }
    if let Fault::Slow(pause) = fault {
        thread::sleep(pause);
    }
    let mut registry = TcpStream::connect(registry)?;
    registry.write_all(request.text.as_bytes())?;
    let cut = if let Fault::CutRequest(at) = fault { Some(at) } else { None };
    let spoil = if let Fault::SpoilRequest(at) = fault { Some(at) } else { None };
    let sent = relay(&mut from_client.take(length), &mut registry, cut, spoil, uploaded)?;
    if sent < length {
        return Ok(());
    }
    let mut from_registry = BufReader::new(registry.try_clone()?);
    if fault == Fault::LoseAnswer {
        io::copy(&mut from_registry, &mut io::sink())?;
        return Ok(());
    }
    let Some(response) = Head::read(&mut from_registry)? else { return Ok(()) };
    client.write_all(response.text.as_bytes())?;
    let cut = if let Fault::CutResponse(at) = fault { Some(at) } else { None };
    let spoil = if let Fault::SpoilResponse(at) = fault { Some(at) } else { None };
    relay(&mut from_registry, &mut client, cut, spoil, &AtomicU64::new(0))?;
    Ok(())
}

/// Passes a body on, up to `cut`, with the byte at `spoil` changed.
fn relay(
    from: &mut impl Read,
    to: &mut TcpStream,
    cut: Option<u64>,
    spoil: Option<u64>,
    passed: &AtomicU64,
) -> io::Result<u64> {
    let mut at = 0;
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let read = from.read(&mut buffer)?;
        if read == 0 {
            return Ok(at);
        }
        let mut piece = &mut buffer[..read];
        if let Some(place) = spoil.and_then(|spoil| spoil.checked_sub(at)).filter(|&place| place < piece.len() as u64) {
            piece[usize::try_from(place).expect("inside")] ^= 0x20;
        }
        if let Some(left) = cut.map(|cut| cut.saturating_sub(at)).filter(|&left| left < piece.len() as u64) {
            piece = &mut piece[..usize::try_from(left).expect("inside")];
        }
        to.write_all(piece)?;
        at += piece.len() as u64;
        passed.fetch_add(piece.len() as u64, Ordering::SeqCst);
        if cut.is_some_and(|cut| at >= cut) {
            return Ok(at);
        }
    }
}
