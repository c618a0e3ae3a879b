//! All forms, whole and broken, in one thread and ahead.

use super::*;
use std::io::{Cursor, Write};
use std::process::{Command, Stdio};

fn numbers() -> Vec<u8> {
    (0..400_000_u32).flat_map(|number| (number / 3).to_le_bytes()).collect()
}

/// Two members, frames or streams in a row.
fn compressed(compression: Compression, data: &[u8]) -> Option<Vec<u8>> {
    let mut all = Vec::new();
    for half in data.chunks(data.len() / 2 + 1) {
        all.extend(match compression {
            Compression::None => half.to_vec(),
            Compression::Gzip => {
                let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
                encoder.write_all(half).unwrap();
                encoder.finish().unwrap()
            }
            Compression::Zstd => zstd::encode_all(half, 1).unwrap(),
            Compression::Bzip2 => {
                let mut encoder = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::fast());
                encoder.write_all(half).unwrap();
                encoder.finish().unwrap()
            }
            Compression::Xz => xz(half)?,
        });
    }
    Some(all)
}

fn xz(data: &[u8]) -> Option<Vec<u8>> {
    let child = Command::new("xz").args(["-1", "-c"]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
    let Ok(mut child) = child else {
        println!("skipped: no `xz`");
        return None;
    };
    let mut stdin = child.stdin.take().unwrap();
    let data = data.to_vec();
    let feeder = thread::spawn(move || stdin.write_all(&data).unwrap());
    let output = child.wait_with_output().unwrap();
    feeder.join().unwrap();
    Some(output.stdout)
}

const ALL: [Compression; 5] =
    [Compression::None, Compression::Gzip, Compression::Zstd, Compression::Bzip2, Compression::Xz];

type Open = fn(Cursor<Vec<u8>>) -> io::Result<Box<dyn Read + Send>>;
const BOTH: [Open; 2] = [decompress, decompress_ahead];

#[test]
fn streams_of_all_forms_are_read() {
    let data = numbers();
    for compression in ALL {
        let Some(bytes) = compressed(compression, &data) else { continue };
        assert_eq!(sniff(&bytes), compression);
        for open in BOTH {
            let mut read = Vec::new();
            open(Cursor::new(bytes.clone())).unwrap().read_to_end(&mut read).unwrap();
            assert!(read == data, "{compression:?}");
        }
    }
}

#[test]
fn broken_streams_are_errors() {
    let data = numbers();
    for compression in ALL.into_iter().skip(1) {
        let Some(bytes) = compressed(compression, &data) else { continue };
        let mut damaged = bytes.clone();
        let middle = bytes.len() / 2 - 20;
        damaged[middle..middle + 8].fill(0x55);
        for (what, bytes) in [("cut off", bytes[..bytes.len() - 5].to_vec()), ("damaged", damaged)] {
            for open in BOTH {
                let mut read = Vec::new();
                let result = open(Cursor::new(bytes.clone())).and_then(|mut reader| reader.read_to_end(&mut read));
                assert!(result.is_err() || read != data, "{compression:?}, {what}");
                assert!(result.is_err(), "{compression:?}, {what}: read as {} bytes", read.len());
            }
        }
    }
}

#[test]
fn short_streams_are_plain() {
    for bytes in [&b""[..], b"\x1f", b"\x1f\x8b", b"plain", b"BZhang.txt\0\0\0"] {
        for open in BOTH {
            let mut read = Vec::new();
            open(Cursor::new(bytes.to_vec())).unwrap().read_to_end(&mut read).unwrap();
            assert_eq!(read, bytes);
        }
    }
}

#[test]
fn who_stops_reading_stops_the_thread() {
    /// Tells when it is dropped.
    struct Endless(Cursor<Vec<u8>>, SyncSender<()>);
    impl Read for Endless {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            if self.0.position() == self.0.get_ref().len() as u64 {
                self.0.set_position(0);
            }
            self.0.read(buffer)
        }
    }
    impl Drop for Endless {
        fn drop(&mut self) {
            let _ = self.1.send(());
        }
    }
    let bytes = compressed(Compression::Gzip, &numbers()).unwrap();
    let (dropped, waiting) = sync_channel(1);
    let mut reader = decompress_ahead(Endless(Cursor::new(bytes), dropped)).unwrap();
    reader.read_exact(&mut [0; 100]).unwrap();
    drop(reader);
    waiting.recv_timeout(std::time::Duration::from_secs(10)).unwrap();
}
