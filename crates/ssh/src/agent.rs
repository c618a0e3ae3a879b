//! What answers a step's requests: the user's agent behind its socket, or keys that are held here.
//!
//! draft-miller-ssh-agent, sections 3 and 4: a message is a length, a type and what belongs to it; each request has one answer.

use crate::key::{Key, KeyError};
use crate::wire::{Reader, put_string, put_u32};
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

const FAILURE: u8 = 5;
const REQUEST_IDENTITIES: u8 = 11;
const IDENTITIES_ANSWER: u8 = 12;
const SIGN_REQUEST: u8 = 13;
const SIGN_RESPONSE: u8 = 14;

/// The largest message that OpenSSH's agent takes.
const MAX_MESSAGE: usize = 256 << 10;
/// As much of a key file as BuildKit reads.
const MAX_KEY_FILE: u64 = 100 << 10;

/// Who holds the keys.
#[derive(Debug)]
pub enum Agent {
    /// An agent that listens on a socket of this machine.
    Socket(PathBuf),
    /// This process.
    Keys(Vec<Key>),
}

/// Why paths cannot be an agent.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// There is nothing to read.
    #[error("cannot read `{}`", path.display())]
    Read {
        /// The path.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file that is no usable key.
    #[error("cannot use `{}`: {source}", path.display())]
    Key {
        /// The file.
        path: PathBuf,
        /// Why.
        source: KeyError,
    },
    /// A socket together with anything else.
    #[error("a socket stands alone: `{}` is one", .0.display())]
    Mixed(PathBuf),
}

impl Agent {
    /// An agent from paths: one socket, or files with private keys.
    ///
    /// # Errors
    /// If a path cannot be read, is no private key, or is one socket of several paths.
    pub fn open(paths: &[PathBuf]) -> Result<Self, OpenError> {
        let mut keys = Vec::new();
        for path in paths {
            let unreadable = |source| OpenError::Read { path: path.clone(), source };
            if std::fs::metadata(path).map_err(unreadable)?.file_type().is_socket() {
                return match paths {
                    [only] => Ok(Self::Socket(only.clone())),
                    _ => Err(OpenError::Mixed(path.clone())),
                };
            }
            let mut text = Vec::new();
            File::open(path).and_then(|file| file.take(MAX_KEY_FILE).read_to_end(&mut text)).map_err(unreadable)?;
            keys.push(Key::parse(&text).map_err(|source| OpenError::Key { path: path.clone(), source })?);
        }
        Ok(Self::Keys(keys))
    }
}

/// Reads a message; nothing at the end of the stream.
pub(crate) fn read_message(from: &mut impl Read) -> io::Result<Option<Vec<u8>>> {
    let mut length = [0; 4];
    match from.read_exact(&mut length) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        done => done?,
    }
    let length = u32::from_be_bytes(length) as usize;
    if !(1..=MAX_MESSAGE).contains(&length) {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "a message of this length is not one of an agent"));
    }
    let mut message = vec![0; length];
    from.read_exact(&mut message)?;
    Ok(Some(message))
}

/// Writes a message in one piece.
pub(crate) fn write_message(to: &mut impl Write, message: &[u8]) -> io::Result<()> {
    let mut framed = Vec::with_capacity(4 + message.len());
    put_string(&mut framed, message);
    to.write_all(&framed)
}

/// Whether a step may ask this of an agent.
fn allowed(request: &[u8]) -> bool {
    matches!(request.first(), Some(&REQUEST_IDENTITIES | &SIGN_REQUEST))
}

/// What the user's agent answers.
pub(crate) fn pass_on(request: &[u8], agent: &mut UnixStream) -> io::Result<Vec<u8>> {
    if !allowed(request) {
        return Ok(vec![FAILURE]);
    }
    write_message(agent, request)?;
    read_message(agent)?.ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
}

/// What keys held here answer.
pub(crate) fn answer(request: &[u8], keys: &[Key]) -> Vec<u8> {
    match request.split_first() {
        Some((&REQUEST_IDENTITIES, _)) => {
            let mut answer = vec![IDENTITIES_ANSWER];
            put_u32(&mut answer, keys.len());
            for key in keys {
                put_string(&mut answer, key.public());
                // A comment, which keys of files have none of in BuildKit either.
                put_string(&mut answer, b"");
            }
            answer
        }
        Some((&SIGN_REQUEST, fields)) => sign(fields, keys).unwrap_or_else(|| vec![FAILURE]),
        _ => vec![FAILURE],
    }
}

fn sign(fields: &[u8], keys: &[Key]) -> Option<Vec<u8>> {
    let mut fields = Reader(fields);
    let (public, data, flags) = (fields.string()?, fields.string()?, fields.u32()?);
    let key = keys.iter().find(|key| key.public() == public)?;
    let mut answer = vec![SIGN_RESPONSE];
    put_string(&mut answer, &key.sign(data, flags)?);
    Some(answer)
}

/// Connects to the user's agent.
pub(crate) fn connect(path: &Path) -> io::Result<UnixStream> {
    UnixStream::connect(path)
}
