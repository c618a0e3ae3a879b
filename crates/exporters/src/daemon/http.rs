//! As much of HTTP/1.1 (RFC 9112) as a Docker daemon on a local socket needs: one request a connection, a body that is sent in chunks, an
//! answer that is read whole. All waiting ends when `stop` is true.

use super::DaemonAddress;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// How often somebody who waits looks whether to stop.
const LOOK: Duration = Duration::from_millis(100);
/// Most bytes of an answer that are kept, and of its head.
const ANSWER_MAX: u64 = 8 << 20;
const HEAD_MAX: u64 = 64 << 10;
/// Bytes of a chunk.
const CHUNK: usize = 128 << 10;

/// A status and a body.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) body: Vec<u8>,
}

/// Asks without a body.
pub(super) fn ask(address: &DaemonAddress, method: &str, target: &str, stop: &AtomicBool) -> io::Result<Answer> {
    let mut socket = Socket::connect(address, stop)?;
    write!(socket, "{method} {target} HTTP/1.1\r\nHost: docker\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")?;
    read_answer(socket)
}

/// Posts what `write` writes. If the daemon answers early, its answer counts, not the broken pipe.
pub(super) fn post<E: From<io::Error>>(
    address: &DaemonAddress,
    target: &str,
    stop: &AtomicBool,
    write: impl FnOnce(&mut dyn Write) -> Result<(), E>,
) -> Result<Answer, E> {
    let mut socket = Socket::connect(address, stop)?;
    write!(
        socket,
        "POST {target} HTTP/1.1\r\nHost: docker\r\nContent-Type: application/x-tar\r\nTransfer-Encoding: chunked\r\n\
         Connection: close\r\n\r\n"
    )?;
    let mut chunks = Chunks { socket, buffer: Vec::with_capacity(CHUNK), broken: false };
    let written = write(&mut chunks).and_then(|()| Ok(chunks.end()?));
    match (written, chunks.broken) {
        (Err(error), false) => Err(error),
        (Err(error), true) => read_answer(chunks.socket).map_err(|_| error),
        (Ok(()), _) => Ok(read_answer(chunks.socket)?),
    }
}

fn read_answer(socket: Socket<'_>) -> io::Result<Answer> {
    let malformed = || io::Error::new(io::ErrorKind::InvalidData, "its answer is not HTTP");
    let mut reader = BufReader::new(socket);
    let mut head = reader.by_ref().take(HEAD_MAX);
    let mut line = String::new();
    head.read_line(&mut line)?;
    let status =
        line.strip_prefix("HTTP/1.").and_then(|rest| rest.split(' ').nth(1)).and_then(|s| s.trim().parse().ok());
    let status = status.ok_or_else(malformed)?;
    let mut chunked = false;
    let mut length = None;
    loop {
        line.clear();
        if head.read_line(&mut line)? == 0 {
            return Err(malformed());
        }
        let Some((name, value)) = line.split_once(':') else { break };
        match name.to_ascii_lowercase().as_str() {
            "transfer-encoding" => chunked = value.trim().eq_ignore_ascii_case("chunked"),
            "content-length" => length = value.trim().parse::<u64>().ok(),
            _ => {}
        }
    }
    let mut body = Vec::new();
    if chunked {
        loop {
            line.clear();
            reader.by_ref().take(HEAD_MAX).read_line(&mut line)?;
            let size = line.trim().split(';').next().and_then(|size| u64::from_str_radix(size, 16).ok());
            let size = size.filter(|&size| size <= ANSWER_MAX).ok_or_else(malformed)?;
            if size == 0 {
                break;
            }
            reader.by_ref().take(size).read_to_end(&mut body)?;
            line.clear();
            reader.by_ref().take(2).read_line(&mut line)?;
            // What a daemon tells of its progress may be long; the end is what matters.
            if body.len() as u64 > ANSWER_MAX {
                body.drain(..body.len() / 2);
            }
        }
    } else {
        reader.take(length.unwrap_or(ANSWER_MAX).min(ANSWER_MAX)).read_to_end(&mut body)?;
    }
    Ok(Answer { status, body })
}

/// A body of unknown length.
struct Chunks<'a> {
    socket: Socket<'a>,
    buffer: Vec<u8>,
    /// Whether the daemon takes no more.
    broken: bool,
}

impl Chunks<'_> {
    fn send(&mut self) -> io::Result<()> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let sent = write!(self.socket, "{:x}\r\n", self.buffer.len())
            .and_then(|()| self.socket.write_all(&self.buffer))
            .and_then(|()| self.socket.write_all(b"\r\n"));
        self.broken |= sent.is_err();
        self.buffer.clear();
        sent
    }

    fn end(&mut self) -> io::Result<()> {
        self.send()?;
        let ended = self.socket.write_all(b"0\r\n\r\n");
        self.broken |= ended.is_err();
        ended
    }
}

impl Write for Chunks<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let taken = bytes.len().min(CHUNK - self.buffer.len());
        self.buffer.extend_from_slice(&bytes[..taken]);
        if self.buffer.len() == CHUNK {
            self.send()?;
        }
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

trait Stream: Read + Write {}
impl<T: Read + Write> Stream for T {}

/// A connection whose waiting can be stopped.
struct Socket<'a> {
    stream: Box<dyn Stream>,
    stop: &'a AtomicBool,
}

impl<'a> Socket<'a> {
    fn connect(address: &DaemonAddress, stop: &'a AtomicBool) -> io::Result<Self> {
        let stream: Box<dyn Stream> = match address {
            DaemonAddress::Unix(path) => {
                let stream = UnixStream::connect(path)?;
                stream.set_read_timeout(Some(LOOK))?;
                stream.set_write_timeout(Some(LOOK))?;
                Box::new(stream)
            }
            DaemonAddress::Tcp(address) => {
                let stream = TcpStream::connect(address)?;
                stream.set_read_timeout(Some(LOOK))?;
                stream.set_write_timeout(Some(LOOK))?;
                Box::new(stream)
            }
        };
        Ok(Self { stream, stop })
    }

    fn patiently<T>(&mut self, mut act: impl FnMut(&mut dyn Stream) -> io::Result<T>) -> io::Result<T> {
        loop {
            if self.stop.load(Ordering::Relaxed) {
                // Not `Interrupted`, which everybody takes for a reason to try again.
                return Err(io::Error::other("cancelled"));
            }
            match act(self.stream.as_mut()) {
                Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {}
                done => return done,
            }
        }
    }
}

impl Read for Socket<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.patiently(|stream| stream.read(buffer))
    }
}

impl Write for Socket<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.patiently(|stream| stream.write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()
    }
}
