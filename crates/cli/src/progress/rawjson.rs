//! `--progress=rawjson`: each event as one line of JSON, with the time (RFC 3339) under `timestamp`.

use super::Renderer;
use jiff::Timestamp;
use kiln_engine::Event;
use serde::Serialize;
use std::time::Duration;

/// The renderer.
pub(super) struct RawJson {
    start: Timestamp,
}

#[derive(Serialize)]
struct Line<'a> {
    timestamp: Timestamp,
    #[serde(flatten)]
    event: &'a Event,
}

impl RawJson {
    /// For a build that started at `start`.
    pub(super) fn new(start: Timestamp) -> Self {
        Self { start }
    }
}

impl Renderer for RawJson {
    fn event(&mut self, at: Duration, event: &Event, out: &mut Vec<u8>) {
        let timestamp = self.start.checked_add(at).unwrap_or(self.start);
        let length = out.len();
        match serde_json::to_writer(&mut *out, &Line { timestamp, event }) {
            Ok(()) => out.push(b'\n'),
            Err(_) => out.truncate(length),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kiln_engine::{StepId, Stream};

    #[test]
    fn one_object_a_line() {
        let mut renderer = RawJson::new("2026-11-22T20:00:00Z".parse().unwrap());
        let mut out = Vec::new();
        renderer.event(Duration::ZERO, &Event::Planned { steps: 2 }, &mut out);
        let log = Event::StepLog { step: StepId(3), stream: Stream::Stderr, data: b"a\n\xff".to_vec() };
        renderer.event(Duration::from_millis(1500), &log, &mut out);
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "{\"timestamp\":\"2026-11-22T20:00:00Z\",\"event\":\"planned\",\"steps\":2}\n\
             {\"timestamp\":\"2026-11-22T20:00:01.5Z\",\"event\":\"step-log\",\"step\":3,\"stream\":\"stderr\",\"data\":\"a\\n\u{fffd}\"}\n"
        );
    }
}
