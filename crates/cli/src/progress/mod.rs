//! Progress: the engine's events, rendered on standard error by a thread of its own, so that no build waits for a terminal.
//!
//! ```text
//! engine threads ──event──▶ Progress ──channel──▶ thread: Renderer ──bytes──▶ standard error
//! ```
//!
//! A [`Renderer`] is a state machine without a clock or a terminal: it is told the time and the terminal's size, and appends
//! bytes to a buffer. The channel is bounded: a step that writes faster than the terminal takes it is slowed, as with any pipe.

mod lines;
mod plain;
mod rawjson;
mod tty;

use crate::error::{CliError, UsageError};
use crate::terminal::{self, Paint, Size};
use clap::ValueEnum;
use kiln_engine::{Event, EventSink};
use std::env;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// Events that may wait for the renderer.
const WAITING: usize = 512;
/// Time between two frames on a terminal.
const FRAME: Duration = Duration::from_millis(100);
/// Once this much is to be written, nothing more is read before it is.
const BATCH: usize = 64 << 10;

/// What the user chose.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ModeChoice {
    /// A live view on a terminal, lines otherwise
    Auto,
    /// A live view
    Tty,
    /// One line for each thing that happens
    Plain,
    /// Nothing but errors
    Quiet,
    /// Every event as one line of JSON
    Rawjson,
}

/// How progress is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    Tty,
    Plain,
    Quiet,
    RawJson,
}

impl Mode {
    /// Whether a line of summary follows.
    pub(crate) fn summarizes(self) -> bool {
        matches!(self, Self::Tty | Self::Plain)
    }
}

/// The mode for `--progress`, `BUILDKIT_PROGRESS` and `--quiet`.
pub(crate) fn choose(choice: Option<ModeChoice>, quiet: bool) -> Result<Mode, UsageError> {
    let variable = env::var("BUILDKIT_PROGRESS").ok().filter(|value| !value.is_empty());
    resolve(choice, variable.as_deref(), quiet, terminal::stderr_size().is_some())
}

fn resolve(
    choice: Option<ModeChoice>,
    variable: Option<&str>,
    quiet: bool,
    terminal: bool,
) -> Result<Mode, UsageError> {
    if quiet {
        return match choice {
            None | Some(ModeChoice::Auto | ModeChoice::Quiet) => Ok(Mode::Quiet),
            Some(_) => Err(UsageError::new("`--quiet` and `--progress` contradict each other").hint("leave one out")),
        };
    }
    let choice = match (choice, variable) {
        (Some(choice), _) => choice,
        (None, None) => ModeChoice::Auto,
        (None, Some(value)) => ModeChoice::from_str(value, false).map_err(|_| {
            UsageError::new(format!("unknown progress `{value}` in the environment variable `BUILDKIT_PROGRESS`"))
                .hint("expected `auto`, `tty`, `plain`, `quiet` or `rawjson`")
        })?,
    };
    match choice {
        ModeChoice::Auto => Ok(if terminal { Mode::Tty } else { Mode::Plain }),
        ModeChoice::Tty if !terminal => {
            Err(UsageError::new("`--progress=tty` needs a terminal on standard error")
                .hint("`--progress=plain` does not"))
        }
        ModeChoice::Tty => Ok(Mode::Tty),
        ModeChoice::Plain => Ok(Mode::Plain),
        ModeChoice::Quiet => Ok(Mode::Quiet),
        ModeChoice::Rawjson => Ok(Mode::RawJson),
    }
}

/// What a user has seen when the progress is over.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Shown {
    /// The log of the step that failed, just above.
    pub(crate) failed_log: bool,
}

/// Turns events into bytes. Times count from the start of the build.
trait Renderer: Send {
    /// Takes an event.
    fn event(&mut self, at: Duration, event: &Event, out: &mut Vec<u8>);

    /// Draws what moves, if anything does.
    fn frame(&mut self, _at: Duration, _size: Size, _out: &mut Vec<u8>) {}

    /// Leaves everything as it shall stay.
    fn finish(&mut self, _size: Size, _out: &mut Vec<u8>) -> Shown {
        Shown::default()
    }
}

/// An event, and when it happened.
type Stamped = (Duration, Event);

/// The sink of a build's events.
pub(crate) struct Progress {
    start: Instant,
    thread: Option<(SyncSender<Stamped>, JoinHandle<Shown>)>,
}

impl Progress {
    /// Starts to render.
    pub(crate) fn start(mode: Mode) -> Result<Self, CliError> {
        let start = Instant::now();
        let renderer: Box<dyn Renderer> = match mode {
            Mode::Quiet => return Ok(Self { start, thread: None }),
            Mode::Plain => Box::new(plain::Plain::new(Paint::stderr())),
            Mode::RawJson => Box::new(rawjson::RawJson::new(jiff::Timestamp::now())),
            Mode::Tty => Box::new(tty::Tty::new(Paint::stderr())),
        };
        let live = mode == Mode::Tty;
        let (sender, receiver) = sync_channel(WAITING);
        let render = move || render(renderer, &receiver, start, live);
        let thread = thread::Builder::new().name("progress".to_owned()).spawn(render).map_err(CliError::Thread)?;
        Ok(Self { start, thread: Some((sender, thread)) })
    }

    /// Renders what is left and waits for it.
    pub(crate) fn finish(self) -> Shown {
        let Some((sender, thread)) = self.thread else {
            return Shown::default();
        };
        drop(sender);
        thread.join().unwrap_or_default()
    }
}

impl EventSink for Progress {
    fn event(&self, event: Event) {
        if let Some((sender, _)) = &self.thread {
            // The renderer is gone only if it panicked; the build does not depend on it.
            let _gone = sender.send((self.start.elapsed(), event));
        }
    }
}

fn render(mut renderer: Box<dyn Renderer>, receiver: &Receiver<Stamped>, start: Instant, live: bool) -> Shown {
    let mut out = Vec::new();
    let mut drawn = start;
    loop {
        let received = if live {
            receiver.recv_timeout((drawn + FRAME).saturating_duration_since(Instant::now()))
        } else {
            receiver.recv().map_err(Into::into)
        };
        let ended = match received {
            Ok((at, event)) => {
                renderer.event(at, &event, &mut out);
                while out.len() < BATCH
                    && let Ok((at, event)) = receiver.try_recv()
                {
                    renderer.event(at, &event, &mut out);
                }
                false
            }
            Err(RecvTimeoutError::Timeout) => false,
            Err(RecvTimeoutError::Disconnected) => true,
        };
        if ended {
            let shown = renderer.finish(size(), &mut out);
            terminal::error_bytes(&out);
            return shown;
        }
        if live && drawn.elapsed() >= FRAME {
            drawn = Instant::now();
            renderer.frame(start.elapsed(), size(), &mut out);
        }
        if !live || !out.is_empty() {
            terminal::error_bytes(&out);
            out.clear();
        }
    }
}

fn size() -> Size {
    terminal::stderr_size().unwrap_or(Size { columns: 80, rows: 24 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes() {
        use ModeChoice::{Auto, Plain, Quiet, Rawjson, Tty};
        for (choice, variable, quiet, terminal, mode) in [
            (None, None, false, true, Ok(Mode::Tty)),
            (None, None, false, false, Ok(Mode::Plain)),
            (Some(Auto), Some("plain"), false, true, Ok(Mode::Tty)),
            (None, Some("plain"), false, true, Ok(Mode::Plain)),
            (None, Some("rawjson"), false, true, Ok(Mode::RawJson)),
            (None, Some("loud"), false, true, Err("unknown progress `loud`")),
            (None, Some("plain"), true, true, Ok(Mode::Quiet)),
            (Some(Quiet), None, true, true, Ok(Mode::Quiet)),
            (Some(Plain), None, true, true, Err("contradict")),
            (Some(Rawjson), None, false, true, Ok(Mode::RawJson)),
            (Some(Tty), None, false, false, Err("needs a terminal")),
        ] {
            let resolved = resolve(choice, variable, quiet, terminal).map_err(|error| error.message);
            match (resolved, mode) {
                (Err(message), Err(part)) => assert!(message.contains(part), "{message}"),
                (resolved, mode) => assert_eq!(resolved, mode.map_err(str::to_owned)),
            }
        }
    }
}
