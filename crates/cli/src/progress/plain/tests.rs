//! The plain progress, fed with events: what is written, line by line.

use super::*;
use kiln_engine::{Change, Reason, Stream};
use snapbox::{assert_data_eq, str};

fn render(events: &[(u64, Event)]) -> String {
    let mut renderer = Plain::new(Paint { colours: false });
    let mut out = Vec::new();
    for (millis, event) in events {
        renderer.event(Duration::from_millis(*millis), event, &mut out);
    }
    renderer.finish(Size { columns: 80, rows: 24 }, &mut out);
    String::from_utf8(out).unwrap()
}

fn started(step: u32, name: &str) -> Event {
    Event::StepStarted { step: StepId(step), name: name.into(), stage: None }
}

fn finished(step: u32, millis: u64, error: Option<&str>) -> Event {
    Event::StepFinished { step: StepId(step), duration: Duration::from_millis(millis), error: error.map(str::to_owned) }
}

fn log(step: u32, stream: Stream, data: &str) -> Event {
    Event::StepLog { step: StepId(step), stream, data: data.as_bytes().to_vec() }
}

fn item(current: u64, done: bool) -> Event {
    Event::StepProgress { step: StepId(0), item: "sha256:0123456789ab".into(), current, total: Some(40_000_000), done }
}

#[test]
fn a_build() {
    let why = |step, said: &str| Event::StepWhy {
        step: StepId(step),
        reason: Reason::Changed(vec![Change::Input { part: String::new(), said: said.into() }]),
    };
    let cached = Event::StepCached {
        step: StepId(1),
        name: "[builder 2/4] WORKDIR /app".into(),
        stage: None,
        saved: None,
        from: None,
    };
    let text = render(&[
        (0, Event::Planned { steps: 4 }),
        (1, started(0, "[builder 1/4] FROM golang:1.25")),
        (2, item(0, false)),
        (3, item(1_000_000, false)),
        (6000, item(20_000_000, false)),
        (7000, item(40_000_000, true)),
        (7100, finished(0, 7100, None)),
        (7100, cached),
        (7100, finished(1, 0, None)),
        (7100, why(2, "main.go changed")),
        (7200, started(2, "[builder 3/4] COPY . .")),
        (7300, finished(2, 100, None)),
        (7300, started(3, "[builder 4/4] RUN go build")),
        (7300, why(3, "the input changed")),
        (7400, log(3, Stream::Stdout, "one\ntw")),
        (7500, log(3, Stream::Stderr, "\x1b[31merror\x1b[0m\x1b]0;x\x07\r\n")),
        (7600, log(3, Stream::Stdout, "o")),
        (7700, Event::Warning { message: "tag moved".into(), span: None }),
        (7800, finished(3, 500, Some("process failed\nwith exit status 1"))),
    ]);
    assert_data_eq!(
        text,
        str![[r#"
#1 [builder 1/4] FROM golang:1.25
#1 sha256:0123456789ab 0B / 40MB
#1 sha256:0123456789ab 20MB / 40MB
#1 sha256:0123456789ab 40MB done
#1 DONE 7.1s

#2 [builder 2/4] WORKDIR /app
#2 CACHED

#3 [builder 3/4] COPY . .
#3 why: main.go changed
#3 DONE 0.1s

#4 [builder 4/4] RUN go build
#4 why: the input changed
#4 0.100 one
#4 0.200 [31merror[0m
warning: tag moved
#4 0.500 two
#4 ERROR: process failed with exit status 1


"#]]
    );
}

#[test]
fn nothing_is_nothing() {
    assert_eq!(render(&[]), "");
}
