//! An agent on its socket, asked as OpenSSH asks: by its own programs where they are installed, and by hand.

use kiln_ssh::{Agent, Forward, Key, OpenError, SocketOwner};
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair};
use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use tempfile::TempDir;

const FAILURE: u8 = 5;

fn owner() -> SocketOwner {
    let me = fs::metadata("/proc/self").unwrap();
    SocketOwner { mode: 0o600, uid: me.uid(), gid: me.gid() }
}

fn pkcs8(bytes: &[u8]) -> String {
    use base64::Engine as _;
    let body = base64::engine::general_purpose::STANDARD.encode(bytes);
    format!("-----BEGIN PRIVATE KEY-----\n{body}\n-----END PRIVATE KEY-----\n")
}

/// Files with two keys that nobody else has.
fn key_files(dir: &TempDir) -> Vec<PathBuf> {
    let random = SystemRandom::new();
    let ed25519 = Ed25519KeyPair::generate_pkcs8(&random).unwrap();
    let ecdsa = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).unwrap();
    let mut paths = Vec::new();
    for (name, bytes) in [("ed25519", ed25519.as_ref()), ("ecdsa", ecdsa.as_ref())] {
        let path = dir.path().join(name);
        fs::write(&path, pkcs8(bytes)).unwrap();
        paths.push(path);
    }
    paths
}

fn ask(socket: &Path, request: &[u8]) -> Vec<u8> {
    let mut stream = UnixStream::connect(socket).unwrap();
    exchange(&mut stream, request)
}

fn exchange(stream: &mut UnixStream, request: &[u8]) -> Vec<u8> {
    stream.write_all(&u32::try_from(request.len()).unwrap().to_be_bytes()).unwrap();
    stream.write_all(request).unwrap();
    let mut length = [0; 4];
    stream.read_exact(&mut length).unwrap();
    let mut answer = vec![0; u32::from_be_bytes(length) as usize];
    stream.read_exact(&mut answer).unwrap();
    answer
}

#[test]
fn keys_are_listed_and_nothing_else_is_allowed() {
    let dir = tempfile::tempdir().unwrap();
    let agent = Agent::open(&key_files(&dir)).unwrap();
    assert!(format!("{agent:?}").contains("Key(…)"), "{agent:?}");
    let socket = dir.path().join("socket");
    let forward = Forward::start(Arc::new(agent), &socket, owner()).unwrap();
    let metadata = fs::metadata(&socket).unwrap();
    assert!(metadata.file_type().is_socket());
    assert_eq!(metadata.mode() & 0o777, 0o600);
    let identities = ask(&socket, &[11]);
    assert_eq!(identities[..5], [12, 0, 0, 0, 2]);
    let text = String::from_utf8_lossy(&identities).into_owned();
    assert!(text.contains("ssh-ed25519") && text.contains("ecdsa-sha2-nistp256"));
    // Adding, removing, locking and extending, and signing with what is no key of this agent.
    let mut stream = UnixStream::connect(&socket).unwrap();
    for request in [&[17][..], &[18], &[19], &[22], &[23], &[27], &[13], &[13, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]] {
        assert_eq!(exchange(&mut stream, request), [FAILURE], "{request:?}");
    }
    drop(forward);
    assert!(!socket.exists());
    assert_eq!(stream.read(&mut [0]).unwrap(), 0, "the connection has ended");
}

#[test]
fn what_is_no_message_ends_the_connection() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("socket");
    let _forward = Forward::start(Arc::new(Agent::Keys(Vec::new())), &socket, owner()).unwrap();
    for length in [0_u32, 1 << 30] {
        let mut stream = UnixStream::connect(&socket).unwrap();
        stream.write_all(&length.to_be_bytes()).unwrap();
        assert_eq!(stream.read(&mut [0]).unwrap(), 0);
    }
    assert_eq!(ask(&socket, &[11]), [12, 0, 0, 0, 0]);
}

#[test]
fn an_agent_of_the_users_sees_only_what_is_allowed() {
    let dir = tempfile::tempdir().unwrap();
    let theirs = dir.path().join("theirs");
    let listener = UnixListener::bind(&theirs).unwrap();
    let agent = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut seen = Vec::new();
        let mut request = [0; 5];
        while stream.read_exact(&mut request).is_ok() {
            seen.push(request[4]);
            stream.write_all(&[0, 0, 0, 5, 12, 0, 0, 0, 0]).unwrap();
        }
        seen
    });
    let ours = dir.path().join("ours");
    let opened = Agent::open(std::slice::from_ref(&theirs)).unwrap();
    let forward = Forward::start(Arc::new(opened), &ours, owner()).unwrap();
    let mut stream = UnixStream::connect(&ours).unwrap();
    assert_eq!(exchange(&mut stream, &[19]), [FAILURE]);
    assert_eq!(exchange(&mut stream, &[11]), [12, 0, 0, 0, 0]);
    assert_eq!(exchange(&mut stream, &[22]), [FAILURE]);
    // The connection is still open on the step's side.
    drop(forward);
    assert_eq!(agent.join().unwrap(), [11]);
}

#[test]
fn the_users_agent_may_be_gone() {
    let dir = tempfile::tempdir().unwrap();
    let ours = dir.path().join("ours");
    let agent = Agent::Socket(dir.path().join("gone"));
    let _forward = Forward::start(Arc::new(agent), &ours, owner()).unwrap();
    assert_eq!(UnixStream::connect(&ours).unwrap().read(&mut [0]).unwrap(), 0);
}

#[test]
fn a_long_path_is_no_obstacle() {
    let dir = tempfile::tempdir().unwrap();
    let deep = dir.path().join("d".repeat(200));
    fs::create_dir(&deep).unwrap();
    let forward = Forward::start(Arc::new(Agent::Keys(Vec::new())), &deep.join("socket"), owner()).unwrap();
    assert!(fs::metadata(forward.path()).unwrap().file_type().is_socket());
}

#[test]
fn paths_that_are_no_agent() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("socket");
    let _listener = UnixListener::bind(&socket).unwrap();
    let key = key_files(&dir).remove(0);
    assert!(matches!(Agent::open(&[key.clone(), socket.clone()]), Err(OpenError::Mixed(path)) if path == socket));
    assert!(matches!(Agent::open(&[socket, key]), Err(OpenError::Mixed(_))));
    assert!(matches!(Agent::open(&[dir.path().join("none")]), Err(OpenError::Read { .. })));
    let text = dir.path().join("text");
    fs::write(&text, "hello").unwrap();
    assert!(matches!(Agent::open(&[text]), Err(OpenError::Key { .. })));
}

/// Runs a program of OpenSSH; nothing if it is not installed.
fn openssh(program: &str, arguments: &[&str], socket: Option<&Path>, input: &str) -> Option<(bool, String)> {
    let mut command = Command::new(program);
    command.args(arguments).env_remove("SSH_AUTH_SOCK").stdin(Stdio::piped()).stdout(Stdio::piped());
    if let Some(socket) = socket {
        command.env("SSH_AUTH_SOCK", socket);
    }
    let mut child = match command.stderr(Stdio::piped()).spawn() {
        Ok(child) => child,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            println!("skipped: no `{program}`");
            return None;
        }
        Err(error) => panic!("{error}"),
    };
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    Some((output.status.success(), text))
}

#[test]
fn openssh_takes_our_signatures() {
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    for (name, options) in [
        ("ed25519", &["-t", "ed25519"][..]),
        ("p256", &["-t", "ecdsa", "-b", "256"]),
        ("p384", &["-t", "ecdsa", "-b", "384"]),
        ("rsa", &["-t", "rsa", "-b", "2048"]),
        ("pkcs1", &["-t", "rsa", "-b", "2048", "-m", "PEM"]),
        ("pkcs8", &["-t", "rsa", "-b", "2048", "-m", "PKCS8"]),
    ] {
        let path = file(name);
        let mut arguments = vec!["-q", "-N", "", "-C", "test", "-f", &path];
        arguments.extend(options);
        let Some((made, said)) = openssh("ssh-keygen", &arguments, None, "") else { return };
        assert!(made, "{said}");
        let agent = Agent::open(&[PathBuf::from(&path)]).unwrap_or_else(|error| panic!("{name}: {error}"));
        let socket = dir.path().join(format!("{name}.socket"));
        let _forward = Forward::start(Arc::new(agent), &socket, owner()).unwrap();
        // Given a public key, `ssh-keygen` has the agent sign.
        fs::remove_file(&path).unwrap();
        let public = format!("{path}.pub");
        let data = file(&format!("{name}.data"));
        fs::write(&data, "signed").unwrap();
        let sign = ["-Y", "sign", "-q", "-f", &public, "-n", "kiln", &data];
        let (signed, said) = openssh("ssh-keygen", &sign, Some(&socket), "").unwrap();
        assert!(signed, "{name}: {said}");
        let allowed = file("allowed");
        fs::write(&allowed, format!("me {}", fs::read_to_string(&public).unwrap())).unwrap();
        let signature = format!("{data}.sig");
        let verify = ["-Y", "verify", "-f", &allowed, "-I", "me", "-n", "kiln", "-s", &signature];
        let (good, said) = openssh("ssh-keygen", &verify, None, "signed").unwrap();
        assert!(good, "{name}: {said}");
        let (listed, said) = openssh("ssh-add", &["-L"], Some(&socket), "").unwrap();
        let key: Vec<_> = fs::read_to_string(&public).unwrap().split(' ').take(2).map(str::to_owned).collect();
        assert!(listed && said.contains(&key.join(" ")), "{name}: {said}");
    }
}

#[test]
fn keys_with_a_passphrase_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    for format in ["RFC4716", "PEM", "PKCS8"] {
        let path = dir.path().join(format);
        let arguments = ["-q", "-t", "rsa", "-b", "2048", "-N", "secret", "-m", format, "-f", path.to_str().unwrap()];
        let Some((made, said)) = openssh("ssh-keygen", &arguments, None, "") else { return };
        assert!(made, "{said}");
        let error = Key::parse(&fs::read(&path).unwrap()).unwrap_err();
        assert_eq!(error.to_string(), "the key has a passphrase", "{format}");
    }
}
