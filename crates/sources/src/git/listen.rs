//! Running a program to its end while listening to what it writes: it may write only so much, must give signs of life, and is ended
//! with all that it started when told to stop.

use crate::patience::LOOK;
use rustix::process::{Pid, Signal, kill_process_group};
use std::collections::VecDeque;
use std::io::{self, Read};
use std::process::{Child, Command, ExitStatus};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

/// As many bytes are kept of the end of what it complains about.
const COMPLAINT: usize = 64 << 10;

/// What a program may do.
pub(super) struct Limits {
    /// The most bytes of its standard output.
    pub(super) output: usize,
    /// The longest time without a byte from it, if there is one.
    pub(super) silence: Option<Duration>,
}

/// How a program ended.
pub(super) enum Ended {
    /// By itself, with what it wrote and the end of what it complained about.
    ByItself { status: ExitStatus, stdout: Vec<u8>, stderr: Vec<u8> },
    /// Somebody said stop.
    Cancelled,
    /// It was silent for too long.
    Silent,
    /// It wrote too much.
    TooMuch,
}

/// What is heard of a program.
#[derive(Default)]
struct Heard {
    bytes: AtomicU64,
    too_much: AtomicBool,
}

/// Runs a program whose output is piped and which leads a process group of its own.
///
/// # Errors
/// If it cannot be started or waited for.
pub(super) fn run(command: &mut Command, limits: &Limits, stop: &dyn Fn() -> bool) -> io::Result<Ended> {
    let child = command.spawn()?;
    let group = Pid::from_child(&child);
    let heard = Arc::new(Heard::default());
    let (sender, ended) = mpsc::sync_channel(1);
    let (listens, most) = (Arc::clone(&heard), limits.output);
    let waiting = thread::spawn(move || {
        // Whoever waits is there until this thread has ended.
        let _ = sender.send(listen(child, most, &listens));
    });
    let mut last = (0, Instant::now());
    let mut outcome = None;
    loop {
        match ended.recv_timeout(LOOK) {
            Ok(ended) => return Ok(outcome.unwrap_or(ended?)),
            Err(mpsc::RecvTimeoutError::Timeout) if outcome.is_none() => {
                let bytes = heard.bytes.load(Ordering::Relaxed);
                if bytes != last.0 {
                    last = (bytes, Instant::now());
                }
                outcome = if stop() {
                    Some(Ended::Cancelled)
                } else if heard.too_much.load(Ordering::Relaxed) {
                    Some(Ended::TooMuch)
                } else if limits.silence.is_some_and(|silence| last.1.elapsed() > silence) {
                    Some(Ended::Silent)
                } else {
                    None
                };
                if outcome.is_some() {
                    // It may have ended just now.
                    let _ = kill_process_group(group, Signal::KILL);
                }
            }
            Err(mpsc::RecvTimeoutError::Timeout) => {}
            Err(mpsc::RecvTimeoutError::Disconnected) => match waiting.join() {
                Err(panic) => std::panic::resume_unwind(panic),
                Ok(()) => return Ok(Ended::Cancelled),
            },
        }
    }
}

fn listen(mut child: Child, most: usize, heard: &Arc<Heard>) -> io::Result<Ended> {
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let complaint = stderr.map(|mut stderr| {
        let heard = Arc::clone(heard);
        thread::spawn(move || {
            let mut kept = VecDeque::new();
            // What cannot be read any more is the end of it.
            let _ = each(&mut stderr, &heard, |bytes| {
                kept.extend(bytes);
                kept.drain(..kept.len().saturating_sub(COMPLAINT));
            });
            Vec::from(kept)
        })
    });
    let mut output = Vec::new();
    if let Some(mut stdout) = stdout {
        each(&mut stdout, heard, |bytes| {
            if output.len() + bytes.len() <= most {
                output.extend_from_slice(bytes);
            } else {
                heard.too_much.store(true, Ordering::Relaxed);
            }
        })?;
    }
    let stderr = match complaint.map(thread::JoinHandle::join) {
        Some(Err(panic)) => std::panic::resume_unwind(panic),
        Some(Ok(stderr)) => stderr,
        None => Vec::new(),
    };
    let status = child.wait()?;
    match heard.too_much.load(Ordering::Relaxed) {
        true => Ok(Ended::TooMuch),
        false => Ok(Ended::ByItself { status, stdout: output, stderr }),
    }
}

/// Gives all that can be read, piece by piece.
fn each(reader: &mut dyn Read, heard: &Heard, mut take: impl FnMut(&[u8])) -> io::Result<()> {
    let mut buffer = vec![0; 16 << 10];
    loop {
        match reader.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(length) => {
                heard.bytes.fetch_add(length as u64, Ordering::Relaxed);
                take(&buffer[..length]);
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::process::CommandExt;
    use std::process::Stdio;

    fn sh(script: &str, limits: Limits, stop: bool) -> Ended {
        let mut command = Command::new("sh");
        command.args(["-c", script]).process_group(0);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        run(&mut command, &limits, &|| stop).unwrap()
    }

    #[test]
    fn all_is_heard_and_the_end_of_complaints() {
        let limits = Limits { output: 100, silence: None };
        let script = "head -c 100 /dev/zero; head -c 200000 /dev/zero >&2; echo end >&2; exit 3";
        let Ended::ByItself { status, stdout, stderr } = sh(script, limits, false) else { panic!("it ends by itself") };
        assert_eq!((status.code(), stdout.len(), stderr.len()), (Some(3), 100, COMPLAINT));
        assert!(stderr.ends_with(b"end\n"));
    }

    #[test]
    fn whoever_writes_too_much_is_ended() {
        let limits = Limits { output: 1000, silence: None };
        assert!(matches!(sh("cat /dev/zero", limits, false), Ended::TooMuch));
        // Also when the program is faster than whoever looks.
        let limits = Limits { output: 1000, silence: None };
        assert!(matches!(sh("head -c 1001 /dev/zero", limits, false), Ended::TooMuch));
    }

    #[test]
    fn whoever_is_silent_is_ended() {
        let limits = || Limits { output: 1000, silence: Some(Duration::from_millis(200)) };
        assert!(matches!(sh("sleep 1000 & wait", limits(), false), Ended::Silent));
        assert!(matches!(sh("sleep 1000", limits(), true), Ended::Cancelled));
    }
}
