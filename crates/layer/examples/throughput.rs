//! Prints how fast layers are applied, packed, compressed, digested and looked up on this machine:
//! `cargo run --release -p kiln-layer --example throughput -- [DIR]`. DIR (by default `/usr/lib`) is packed first, and its tar is
//! what the rest works on; all that is written goes below the system's directory for temporary files (`TMPDIR=/dev/shm` leaves the
//! disk out). Times are of the clock, then of all processors together: on a busy machine only the latter mean anything.

use kiln_digest::ContentDigest;
use kiln_layer::{
    ApplyOptions, BlobFormat, Builder, Directory, Existing, Meta, PackOptions, Stack, Tree, apply, decompress,
    decompress_ahead, diff_digest, pack, write_layer,
};
use std::fs::File;
use std::io::{self, BufWriter, Read, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

fn main() -> Outcome<()> {
    let source = std::env::args_os().nth(1).map_or_else(|| PathBuf::from("/usr/lib"), PathBuf::from);
    let work = tempfile::tempdir()?;
    let tar = work.path().join("layer.tar");
    let (packed, time) =
        timed(|| pack(&source, BufWriter::new(File::create(&tar)?), &PackOptions::default()).map_err(Into::into))?;
    print("pack, first time", packed.size, time);
    let (_, time) = timed(|| Ok(pack(&source, io::sink(), &PackOptions::default())?))?;
    print("pack, in the page cache", packed.size, time);

    let dir = work.path().join("applied");
    let (applied, time) = timed(|| Ok(apply(File::open(&tar)?, &dir, &ApplyOptions::default())?))?;
    print(&format!("apply, {} entries", applied.entries), applied.size, time);
    let (diff, time) = timed(|| Ok(diff_digest(&dir)?))?;
    print("diff digest", diff.size_bytes, time);

    for format in [BlobFormat::Gzip, BlobFormat::Zstd] {
        let blob = work.path().join("blob");
        let mut writer = File::create(&blob)?;
        let (written, time) = timed(|| Ok(write_layer(&dir, format, &mut writer, &PackOptions::default())?))?;
        let ratio = written.uncompressed_size as f64 / written.blob_size as f64;
        print(&format!("write {format:?}, ratio {ratio:.2}"), written.uncompressed_size, time);
        let (size, time) = timed(|| Ok(io::copy(&mut decompress(File::open(&blob)?)?, &mut io::sink())?))?;
        print(&format!("decompress {format:?}"), size, time);
        let (_, time) = timed(|| {
            let reader = decompress(File::open(&blob)?)?;
            Ok(apply(reader, &work.path().join(format!("{format:?}-one")), &ApplyOptions::default())?)
        })?;
        print(&format!("apply {format:?} in one thread"), size, time);
        let (_, time) = timed(|| {
            let reader = decompress_ahead(File::open(&blob)?)?;
            Ok(apply(reader, &work.path().join(format!("{format:?}-two")), &ApplyOptions::default())?)
        })?;
        print(&format!("apply {format:?} in two threads"), size, time);
    }
    levels(&tar)?;
    half_random(work.path())?;
    small_files(work.path())?;
    lookups(work.path())
}

/// What each level of the compressors would give, in one thread: the reason for the pinned ones.
fn levels(tar: &Path) -> Outcome<()> {
    let mut stream = Vec::new();
    File::open(tar)?.take(128 << 20).read_to_end(&mut stream)?;
    let show = |what: String, compressed: usize, time| {
        print(&format!("{what}, ratio {:.3}", stream.len() as f64 / compressed as f64), stream.len() as u64, time);
    };
    for level in 1..=6 {
        let mut compressor = libdeflater::Compressor::new(libdeflater::CompressionLvl::new(level).unwrap_or_default());
        for block in [256 << 10, 1 << 20, 4 << 20] {
            let mut buffer = vec![0; compressor.gzip_compress_bound(block)];
            let (size, time) = timed(|| {
                let mut size = 0;
                for block in stream.chunks(block) {
                    size += compressor.gzip_compress(block, &mut buffer)?;
                }
                Ok(size)
            })?;
            show(format!("libdeflate {level}, {} KiB", block >> 10), size, time);
        }
    }
    for level in [1, 2, 3, 4] {
        for block in [1 << 20, 4 << 20] {
            let (size, time) = timed(|| {
                let mut compressor = zstd::bulk::Compressor::new(level)?;
                let mut size = 0;
                for block in stream.chunks(block) {
                    size += compressor.compress(block)?.len();
                }
                Ok(size)
            })?;
            show(format!("zstd {level}, {} KiB", block >> 10), size, time);
        }
    }
    Ok(())
}

/// The 512 MiB layer of the benchmarks, and one of 2.5 MB.
fn half_random(work: &Path) -> Outcome<()> {
    for (name, size) in [("512 MiB half-random", 512 << 20), ("2.5 MB half-random", 2_500_000)] {
        let dir = work.join(name);
        std::fs::create_dir(&dir)?;
        let mut file = BufWriter::new(File::create(dir.join("data"))?);
        let mut random = File::open("/dev/urandom")?;
        let (mut noise, text) = ([0; 4096], b"the quick brown fox jumps over the lazy dog\n".repeat(94));
        for _ in 0..size / 8192 {
            random.read_exact(&mut noise)?;
            file.write_all(&noise)?;
            file.write_all(&text[..4096])?;
        }
        file.flush()?;
        for format in [BlobFormat::Gzip, BlobFormat::Zstd] {
            let (written, time) = timed(|| Ok(write_layer(&dir, format, &mut io::sink(), &PackOptions::default())?))?;
            print(&format!("write {name}, {format:?}"), written.uncompressed_size, time);
        }
    }
    Ok(())
}

fn small_files(work: &Path) -> Outcome<()> {
    let builder = Builder::new(work.join("small"), None)?;
    let meta = Meta::new(0o644);
    let contents = vec![b'x'; 2000];
    let paths: Vec<PathBuf> =
        (0..30_000).map(|n| PathBuf::from(format!("dir{}/sub{}/file{n}", n / 1000, n / 50))).collect();
    let ((), time) = timed(|| {
        for path in &paths {
            builder.file(path, &meta, &contents[..])?;
        }
        Ok(())
    })?;
    builder.finish()?;
    print_each("30,000 small files, built", paths.len(), time);
    let content = ContentDigest::of_bytes(&contents);
    let small = Directory::new(work.join("small"))?;
    let again = Builder::new(work.join("small-linked"), None)?;
    let ((), time) = timed(|| {
        for path in &paths {
            let existing = Existing { layer: &small, path, size: 2000, content, inode: None };
            again.link_from(path, &meta, existing)?;
        }
        Ok(())
    })?;
    print_each("30,000 small files, linked", paths.len(), time);
    let (_, time) = timed(|| Ok(diff_digest(&work.join("small"))?))?;
    print_each("30,000 small files, digested", paths.len(), time);
    Ok(())
}

fn lookups(work: &Path) -> Outcome<()> {
    let mut layers = Vec::new();
    let meta = Meta::new(0o644);
    for n in 0..10 {
        let dir = work.join(format!("stack{n}"));
        let builder = Builder::new(dir.clone(), None)?;
        for file in 0..1000 {
            builder.file(&PathBuf::from(format!("usr/lib/python3/dir{}/{n}-{file}", file % 10)), &meta, &b"x"[..])?;
        }
        builder.finish()?;
        layers.push(dir);
    }
    let stack = Stack::new(layers)?;
    let paths: Vec<PathBuf> =
        (0..10_000).map(|n| PathBuf::from(format!("usr/lib/python3/dir{}/{}-{n}", n % 10, n % 10))).collect();
    let ((), time) = timed(|| {
        for path in &paths {
            stack.entry(path)?;
        }
        Ok(())
    })?;
    print_each("lookup in 10 layers", paths.len(), time);
    let (children, time) = timed(|| Ok(stack.children(Path::new("usr/lib/python3/dir3"))?.len()))?;
    print_each("child listed in 10 layers", children, time);
    Ok(())
}

/// The time that something took.
#[derive(Clone, Copy)]
struct Time {
    clock: Duration,
    processors: Duration,
}

fn timed<T>(work: impl FnOnce() -> Outcome<T>) -> Outcome<(T, Time)> {
    let used = || {
        let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
        Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0))
    };
    let (start, before) = (Instant::now(), used());
    let value = work()?;
    Ok((value, Time { clock: start.elapsed(), processors: used() - before }))
}

fn print(what: &str, bytes: u64, time: Time) {
    let size = bytes as f64 / 1e6;
    let rate = |time: Duration| size / time.as_secs_f64();
    println!(
        "{what:<36} {size:>7.1} MB {:>8.1} ms {:>6.0} MB/s   processors {:>8.1} ms {:>6.0} MB/s",
        ms(time.clock),
        rate(time.clock),
        ms(time.processors),
        rate(time.processors)
    );
}

/// The time of each of many.
fn print_each(what: &str, count: usize, time: Time) {
    let each = |time: Duration| time.as_secs_f64() * 1e6 / count as f64;
    println!("{what:<36} {:>8.2} µs each   processors {:>8.2} µs", each(time.clock), each(time.processors));
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}
