//! The socket that one step sees, and the threads that answer on it.
//!
//! The user's own socket is never shown to a step: it belongs to somebody else, and would let the step do to the agent what it
//! likes.

use crate::agent::{Agent, answer, connect, pass_on, read_message, write_message};
use std::fs;
use std::io;
use std::net::Shutdown;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

/// As many connections as a step may have open at once; further ones are closed.
const MAX_CONNECTIONS: usize = 64;

/// Who may use a step's socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SocketOwner {
    /// Permission bits.
    pub mode: u32,
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
}

/// A socket on which an agent answers, until it is dropped.
#[derive(Debug)]
pub struct Forward {
    path: PathBuf,
    listener: Arc<UnixListener>,
    open: Arc<Mutex<Open>>,
    acceptor: Option<JoinHandle<()>>,
}

/// What is to be shut down at the end: a thread may wait on any of these.
#[derive(Debug, Default)]
struct Open {
    ended: bool,
    streams: Vec<UnixStream>,
}

impl Forward {
    /// Listens at `path`, which must not exist, in a directory that only the caller can enter.
    ///
    /// # Errors
    /// If the socket cannot be made or given to its owner, or no thread be started.
    pub fn start(agent: Arc<Agent>, path: &Path, owner: SocketOwner) -> io::Result<Self> {
        let listener = Arc::new(listen(path)?);
        let remove_again = Remove(path);
        chown(path, Some(owner.uid), Some(owner.gid))?;
        fs::set_permissions(path, fs::Permissions::from_mode(owner.mode & 0o777))?;
        let open = Arc::new(Mutex::new(Open::default()));
        let acceptor = {
            let (listener, open) = (Arc::clone(&listener), Arc::clone(&open));
            thread::Builder::new().name("ssh-agent".into()).spawn(move || accept(&listener, &agent, &open))?
        };
        std::mem::forget(remove_again);
        Ok(Self { path: path.to_owned(), listener, open, acceptor: Some(acceptor) })
    }

    /// Where the socket is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Forward {
    fn drop(&mut self) {
        {
            let mut open = lock(&self.open);
            open.ended = true;
            for stream in &open.streams {
                // It may be closed already.
                let _ = stream.shutdown(Shutdown::Both);
            }
        }
        // Wakes the thread that waits for connections.
        let _ = rustix::net::shutdown(&*self.listener, rustix::net::Shutdown::Both);
        if let Some(acceptor) = self.acceptor.take() {
            let _a_panic_was_reported_by_its_thread = acceptor.join();
        }
        let _its_directory_may_be_gone = fs::remove_file(&self.path);
    }
}

/// Removes a socket that could not be put to use.
struct Remove<'a>(&'a Path);

impl Drop for Remove<'_> {
    fn drop(&mut self) {
        let _ = fs::remove_file(self.0);
    }
}

/// A socket's address has room for 108 bytes only, so it is made by way of its directory's descriptor.
fn listen(path: &Path) -> io::Result<UnixListener> {
    let (Some(directory), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    let directory: OwnedFd = fs::File::open(directory)?.into();
    UnixListener::bind(Path::new("/proc/self/fd").join(directory.as_raw_fd().to_string()).join(name))
}

fn accept(listener: &UnixListener, agent: &Arc<Agent>, open: &Arc<Mutex<Open>>) {
    let mut workers: Vec<JoinHandle<()>> = Vec::new();
    while !lock(open).ended {
        let Ok((client, _)) = listener.accept() else {
            if lock(open).ended {
                break;
            }
            // Out of descriptors, most likely: others must end first.
            thread::sleep(std::time::Duration::from_millis(10));
            continue;
        };
        workers.retain(|worker| !worker.is_finished());
        if workers.len() >= MAX_CONNECTIONS {
            continue;
        }
        let (agent, open) = (Arc::clone(agent), Arc::clone(open));
        // A connection without a thread is closed.
        workers.extend(thread::Builder::new().name("ssh-agent".into()).spawn(move || serve(client, &agent, &open)));
    }
    for worker in workers {
        let _a_panic_was_reported_by_its_thread = worker.join();
    }
}

/// Answers until the client or the agent closes, or the step ends. An error closes the connection, which is all the step learns.
fn serve(mut client: UnixStream, agent: &Agent, open: &Mutex<Open>) {
    let _ = match agent {
        Agent::Keys(keys) => converse(&mut client, open, |request| Ok(answer(request, keys))),
        Agent::Socket(path) => connect(path).and_then(|mut agent| {
            let _registered = Registered::new(&agent, open)?;
            converse(&mut client, open, |request| pass_on(request, &mut agent))
        }),
    };
}

fn converse(
    client: &mut UnixStream,
    open: &Mutex<Open>,
    mut answer: impl FnMut(&[u8]) -> io::Result<Vec<u8>>,
) -> io::Result<()> {
    let _registered = Registered::new(client, open)?;
    while let Some(request) = read_message(client)? {
        write_message(client, &answer(&request)?)?;
    }
    Ok(())
}

/// A stream that is shut down when the step ends.
struct Registered<'a> {
    open: &'a Mutex<Open>,
    fd: i32,
}

impl<'a> Registered<'a> {
    fn new(stream: &UnixStream, open: &'a Mutex<Open>) -> io::Result<Self> {
        let copy = stream.try_clone()?;
        let fd = copy.as_raw_fd();
        let mut list = lock(open);
        if list.ended {
            return Err(io::ErrorKind::ConnectionAborted.into());
        }
        list.streams.push(copy);
        Ok(Self { open, fd })
    }
}

impl Drop for Registered<'_> {
    fn drop(&mut self) {
        lock(self.open).streams.retain(|stream| stream.as_raw_fd() != self.fd);
    }
}

fn lock(open: &Mutex<Open>) -> MutexGuard<'_, Open> {
    open.lock().unwrap_or_else(PoisonError::into_inner)
}
