//! A web server on the loopback device: pages by path, revalidated as servers do, and a list of what it was asked.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

/// The server. Its threads end with the test process.
pub(crate) struct Web {
    address: String,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    pages: Mutex<HashMap<String, Page>>,
    requests: Mutex<Vec<String>>,
}

/// What is at a path.
#[derive(Clone, Default)]
pub(crate) struct Page {
    status: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
    /// Whether it stops answering after half of the body.
    hangs: bool,
}

impl Page {
    /// A page of these bytes.
    pub(crate) fn new(body: impl AsRef<[u8]>) -> Self {
        Self { status: "200 OK".to_owned(), body: body.as_ref().to_owned(), ..Self::default() }
    }

    /// A page that is no more than its status.
    pub(crate) fn status(status: &str) -> Self {
        Self { status: status.to_owned(), ..Self::new("") }
    }

    /// A redirect.
    pub(crate) fn moved_to(location: &str) -> Self {
        Self::status("302 Found").with("Location", location)
    }

    /// With a header.
    pub(crate) fn with(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// It stops answering after half of the body.
    pub(crate) fn hanging(mut self) -> Self {
        self.hangs = true;
        self
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| &**value)
    }
}

impl Web {
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address").to_string();
        let shared: Arc<Shared> = Arc::default();
        let for_threads = Arc::clone(&shared);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let shared = Arc::clone(&for_threads);
                thread::spawn(move || shared.connection(&stream));
            }
        });
        Self { address, shared }
    }

    /// `127.0.0.1:PORT`.
    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// The URL of a path.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Puts a page at a path, query included.
    pub(crate) fn put(&self, path: &str, page: Page) -> &Self {
        self.shared.pages.lock().expect("pages").insert(path.to_owned(), page);
        self
    }

    /// What it was asked and how it answered since the last call: `GET /x 200`.
    pub(crate) fn requests(&self) -> Vec<String> {
        std::mem::take(&mut self.shared.requests.lock().expect("requests"))
    }
}

impl Shared {
    /// Answers requests until the client closes the connection.
    fn connection(&self, stream: &TcpStream) {
        let mut reader = BufReader::new(stream);
        loop {
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
            let page = self.pages.lock().expect("pages").get(path).cloned();
            let mut page = page.unwrap_or_else(|| Page::status("404 Not Found"));
            let asked = |condition: &str, header: &str| {
                headers.get(condition).is_some_and(|value| page.header(header) == Some(value))
            };
            if asked("if-none-match", "ETag") || asked("if-modified-since", "Last-Modified") {
                page = Page { headers: page.headers, ..Page::status("304 Not Modified") };
            } else if page
                .header("Wants")
                .is_some_and(|wanted| headers.get("authorization").is_none_or(|got| got != wanted))
            {
                page = Page::status("401 Unauthorized");
            }
            let code = page.status.split(' ').next().unwrap_or_default();
            self.requests.lock().expect("requests").push(format!("{method} {path} {code}"));
            let mut head = format!("HTTP/1.1 {}\r\nContent-Length: {}\r\n", page.status, page.body.len());
            for (name, value) in &page.headers {
                head.push_str(&format!("{name}: {value}\r\n"));
            }
            head.push_str("\r\n");
            let mut writer = stream;
            let body = if page.hangs { &page.body[..page.body.len() / 2] } else { &page.body[..] };
            if writer.write_all(head.as_bytes()).and_then(|()| writer.write_all(body)).is_err() {
                return;
            }
            if page.hangs {
                // Until the client hangs up.
                let _ = reader.read_line(&mut request);
                return;
            }
        }
    }
}
