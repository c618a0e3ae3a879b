//! An HTTP server whose every answer a test decides: cut short, slow, endless, wrong.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

/// A request as it came in.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) method: String,
    /// With the query.
    pub(crate) target: String,
    headers: Vec<(String, String)>,
    /// Shorter than it said it would be if the client hung up.
    pub(crate) body: Vec<u8>,
}

impl Request {
    /// A header's value, its name in lower case.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// The first byte that a `Range` asks for.
    pub(crate) fn range_start(&self) -> Option<usize> {
        self.header("range")?.strip_prefix("bytes=")?.strip_suffix('-')?.parse().ok()
    }
}

/// What to answer.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    status: u16,
    headers: Vec<(String, String)>,
    body: Body,
}

#[derive(Clone, Debug)]
enum Body {
    Whole(Arc<Vec<u8>>),
    /// Promises all of it, and hangs up after this many bytes.
    Cut(Arc<Vec<u8>>, usize),
    /// The same byte for ever, its length not said.
    Endless,
    /// Byte by byte, with pauses.
    Drip(Arc<Vec<u8>>, Duration),
    /// Nothing, not even a status.
    Silence(Duration),
}

impl Answer {
    pub(crate) fn new(status: u16, body: impl Into<Vec<u8>>) -> Self {
        Self::shared(status, Arc::new(body.into()))
    }

    pub(crate) fn shared(status: u16, body: Arc<Vec<u8>>) -> Self {
        Self { status, headers: Vec::new(), body: Body::Whole(body) }
    }

    pub(crate) fn endless() -> Self {
        Self { status: 200, headers: Vec::new(), body: Body::Endless }
    }

    pub(crate) fn silence(time: Duration) -> Self {
        Self { status: 200, headers: Vec::new(), body: Body::Silence(time) }
    }

    pub(crate) fn with(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.to_owned(), value.into()));
        self
    }

    pub(crate) fn cut_after(mut self, bytes: usize) -> Self {
        if let Body::Whole(whole) = self.body {
            self.body = Body::Cut(whole, bytes);
        }
        self
    }

    pub(crate) fn dripping(mut self, pause: Duration) -> Self {
        if let Body::Whole(whole) = self.body {
            self.body = Body::Drip(whole, pause);
        }
        self
    }
}

/// A running server. It is never stopped: its threads end with the test's process.
pub(crate) struct FaultyServer {
    address: SocketAddr,
    requests: Arc<Mutex<Vec<Request>>>,
}

impl FaultyServer {
    /// Serves on a free loopback port. `answer` gets each request, and how many came before it.
    pub(crate) fn start(answer: impl Fn(&Request, usize) -> Answer + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("bound");
        let requests = Arc::new(Mutex::new(Vec::new()));
        let log = requests.clone();
        let answer = Arc::new(answer);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (log, answer) = (log.clone(), answer.clone());
                // Clients hang up as they like; that ends the thread, and is not the test's concern.
                thread::spawn(move || serve(stream, &log, answer.as_ref()).ok());
            }
        });
        Self { address, requests }
    }

    /// `127.0.0.1:PORT`.
    pub(crate) fn address(&self) -> String {
        self.address.to_string()
    }

    /// All requests so far.
    pub(crate) fn requests(&self) -> Vec<Request> {
        self.requests.lock().expect("not poisoned").clone()
    }

    /// How many requests had a target that begins so.
    pub(crate) fn count(&self, target: &str) -> usize {
        self.requests().iter().filter(|request| request.target.starts_with(target)).count()
    }
}

fn serve(
    stream: TcpStream,
    log: &Mutex<Vec<Request>>,
    answer: &dyn Fn(&Request, usize) -> Answer,
) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut writer = stream.try_clone()?;
    let mut reader = BufReader::new(stream);
    while let Some(request) = read_request(&mut reader)? {
        let before = {
            let mut log = log.lock().expect("not poisoned");
            log.push(request.clone());
            log.len() - 1
        };
        if !write_answer(&mut writer, &request, answer(&request, before))? {
            return Ok(());
        }
    }
    Ok(())
}

/// `None` at the end, and for what is not HTTP, such as the beginning of TLS.
fn read_request(reader: &mut BufReader<TcpStream>) -> std::io::Result<Option<Request>> {
    match reader.fill_buf()?.first() {
        Some(byte) if byte.is_ascii_uppercase() => {}
        _ => return Ok(None),
    }
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        if line.trim().is_empty() {
            break;
        }
        lines.push(line.trim().to_owned());
    }
    let mut first = lines[0].split(' ').map(str::to_owned);
    let method = first.next().unwrap_or_default();
    let target = first.next().unwrap_or_default();
    let headers: Vec<_> = lines[1..]
        .iter()
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    let mut request = Request { method, target, headers, body: Vec::new() };
    let length = request.header("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
    reader.take(length).read_to_end(&mut request.body)?;
    Ok(Some(request))
}

/// Returns whether the connection may be used again.
fn write_answer(writer: &mut TcpStream, request: &Request, answer: Answer) -> std::io::Result<bool> {
    if let Body::Silence(time) = answer.body {
        thread::sleep(time);
        return Ok(false);
    }
    let mut head = format!("HTTP/1.1 {} X\r\n", answer.status);
    for (name, value) in &answer.headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    match &answer.body {
        Body::Whole(bytes) | Body::Cut(bytes, _) | Body::Drip(bytes, _) => {
            head.push_str(&format!("content-length: {}\r\n\r\n", bytes.len()));
        }
        Body::Endless | Body::Silence(_) => head.push_str("connection: close\r\n\r\n"),
    }
    writer.write_all(head.as_bytes())?;
    if request.method == "HEAD" {
        return Ok(true);
    }
    match answer.body {
        Body::Whole(bytes) => writer.write_all(&bytes).map(|()| true),
        Body::Cut(bytes, length) => writer.write_all(&bytes[..length.min(bytes.len())]).map(|()| false),
        Body::Drip(bytes, pause) => {
            for byte in bytes.iter() {
                writer.write_all(&[*byte])?;
                thread::sleep(pause);
            }
            Ok(true)
        }
        Body::Endless => loop {
            writer.write_all(&[b' '; 64 * 1024])?;
        },
        Body::Silence(_) => Ok(false),
    }
}
