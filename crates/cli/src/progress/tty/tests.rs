//! The live progress, fed with events: what a terminal shows.

use super::*;
use kiln_engine::{Change, Reason, Stream};
use snapbox::{assert_data_eq, str};

const SIZE: Size = Size { columns: 40, rows: 12 };

/// A terminal that understands what the renderer writes, so that a test sees what a user would.
#[derive(Default)]
struct Screen {
    rows: Vec<String>,
    row: usize,
}

impl Screen {
    fn write(&mut self, bytes: &[u8], columns: usize) {
        let text = std::str::from_utf8(bytes).unwrap();
        let mut rest = text;
        while !rest.is_empty() {
            if let Some(after) = rest.strip_prefix("\x1b[") {
                let end = after.find(|c: char| c.is_ascii_alphabetic()).unwrap();
                let (parameters, last) = (&after[..end], &after[end..=end]);
                match last {
                    "A" => {
                        self.row = self.row.checked_sub(parameters.parse().unwrap()).expect("moved above the screen")
                    }
                    "J" => self.rows.truncate(self.row),
                    "h" | "l" => {}
                    other => panic!("unexpected sequence {other}"),
                }
                rest = &after[end + 1..];
            } else if let Some(after) = rest.strip_prefix('\r') {
                rest = after;
            } else {
                let end = rest.find('\n').expect("every line ends");
                assert_eq!(self.row, self.rows.len(), "lines are only written at the end");
                let mut line = rest[..end].to_owned();
                while console::measure_text_width(&line) > columns {
                    let at = line.char_indices().nth(columns).unwrap().0;
                    let tail = line.split_off(at);
                    self.rows.push(std::mem::replace(&mut line, tail));
                }
                self.rows.push(line);
                self.row = self.rows.len();
                rest = &rest[end + 1..];
            }
        }
    }

    fn text(&self) -> String {
        self.rows.iter().map(|row| format!("{row}\n")).collect()
    }
}

struct Session {
    tty: Tty,
    screen: Screen,
}

impl Session {
    fn new() -> Self {
        Self { tty: Tty::new(Paint { colours: false }), screen: Screen::default() }
    }

    fn event(&mut self, millis: u64, event: &Event) {
        let mut out = Vec::new();
        self.tty.event(Duration::from_millis(millis), event, &mut out);
        assert!(out.is_empty(), "events alone draw nothing");
    }

    fn frame(&mut self, millis: u64, size: Size) -> String {
        let mut out = Vec::new();
        self.tty.frame(Duration::from_millis(millis), size, &mut out);
        self.screen.write(&out, size.columns);
        self.screen.text()
    }

    fn finish(&mut self) -> (String, Shown) {
        let mut out = Vec::new();
        let shown = self.tty.finish(SIZE, &mut out);
        self.screen.write(&out, SIZE.columns);
        (self.screen.text(), shown)
    }
}

fn started(step: u32, name: &str) -> Event {
    Event::StepStarted { step: StepId(step), name: name.into(), stage: Some("builder".into()) }
}

fn finished(step: u32, error: Option<&str>) -> Event {
    Event::StepFinished { step: StepId(step), duration: Duration::from_millis(1234), error: error.map(str::to_owned) }
}

fn log(step: u32, data: &str) -> Event {
    Event::StepLog { step: StepId(step), stream: Stream::Stdout, data: data.as_bytes().to_vec() }
}

fn begun() -> Session {
    let mut session = Session::new();
    session.event(0, &Event::Planned { steps: 4 });
    let name = "[builder 1/4] FROM golang:1.25-trixie@sha256:0123456789".to_owned();
    session
        .event(1, &Event::StepCached { step: StepId(0), name, stage: Some("builder".into()), saved: None, from: None });
    let changed = Change::Input { part: String::new(), said: "main.go changed".into() };
    session.event(2, &Event::StepWhy { step: StepId(1), reason: Reason::Changed(vec![changed]) });
    session.event(2, &started(1, "[builder 2/4] COPY . ."));
    session.event(900, &finished(1, None));
    session.event(1000, &started(2, "[builder 3/4] RUN go build"));
    session.event(1100, &log(2, "one\ntwo\n\n\x1b[31mthree\x1b[0m\n50%\r60%"));
    let item = |item: &str, current, done| Event::StepProgress {
        step: StepId(2),
        item: item.into(),
        current,
        total: Some(40_000_000),
        done,
    };
    session.event(1100, &item("sha256:aaaa", 1_000_000, false));
    session.event(1100, &item("sha256:bbbb", 2_000_000, false));
    session.event(1200, &item("sha256:bbbb", 40_000_000, true));
    session
}

#[test]
fn running_steps_are_below_what_is_over() {
    let mut session = begun();
    assert_data_eq!(
        session.frame(2000, SIZE),
        str![[r#"
 => CACHED [builder 1/4] FROM golang:1…
 => [builder 2/4] COPY . .         1.2s
    why: main.go changed
[+] Building 2.0s (2/4)
 => [builder 3/4] RUN go build     1.0s
 => => sha256:aaaa 1MB / 40MB
 => => one
 => => two
 => => three
 => => 60%

"#]]
    );
    session.event(2100, &finished(2, None));
    session.event(2100, &Event::Warning { message: "a tag moved".into(), span: None });
    session.event(2100, &started(3, "[builder 4/4] RUN x"));
    assert_data_eq!(
        session.frame(2200, SIZE),
        str![[r#"
 => CACHED [builder 1/4] FROM golang:1…
 => [builder 2/4] COPY . .         1.2s
    why: main.go changed
 => [builder 3/4] RUN go build     1.2s
warning: a tag moved
[+] Building 2.2s (3/4)
 => [builder 4/4] RUN x            0.1s

"#]]
    );
    session.event(2300, &finished(3, None));
    let (text, shown) = session.finish();
    assert_data_eq!(
        text,
        str![[r#"
 => CACHED [builder 1/4] FROM golang:1…
 => [builder 2/4] COPY . .         1.2s
    why: main.go changed
 => [builder 3/4] RUN go build     1.2s
warning: a tag moved
 => [builder 4/4] RUN x            1.2s

"#]]
    );
    assert!(!shown.failed_log);
}

#[test]
fn a_failed_step_leaves_its_log() {
    let mut session = begun();
    session.frame(2000, SIZE);
    session.event(2100, &finished(2, Some("exit status 1")));
    let (text, shown) = session.finish();
    assert_data_eq!(
        text,
        str![[r#"
 => CACHED [builder 1/4] FROM golang:1…
 => [builder 2/4] COPY . .         1.2s
    why: main.go changed
 => ERROR [builder 3/4] RUN go bu… 1.2s
    one
    two
    
    three
    60%

"#]]
    );
    assert!(shown.failed_log);
}

#[test]
fn cancelled_steps_leave_no_log() {
    let mut session = begun();
    session.event(2100, &finished(2, Some("cancelled")));
    let (text, shown) = session.finish();
    assert!(text.contains(" => CANCELLED [builder 3/4]"), "{text}");
    assert!(!text.contains("three"));
    assert!(!shown.failed_log);
}

#[test]
fn many_steps_share_a_small_screen() {
    let mut session = Session::new();
    for step in 0..5 {
        session.event(0, &started(step, &format!("step {step}")));
        session.event(0, &log(step, "a\nb\nc\nd\ne\nf\ng\nh\n"));
    }
    for rows in 1..40 {
        let text = session.frame(100, Size { columns: 40, rows });
        assert!(text.lines().count() <= rows.saturating_sub(1).max(2), "{rows}: {text}");
    }
    let (small, larger) = (Size { columns: 40, rows: 5 }, Size { columns: 40, rows: 14 });
    assert_data_eq!(
        session.frame(100, small),
        str![[r#"
[+] Building 0.1s
 => step 0                         0.1s
 => step 1                         0.1s
 => … 3 more steps

"#]]
    );
    assert_data_eq!(
        session.frame(100, larger),
        str![[r#"
[+] Building 0.1s
 => step 0                         0.1s
 => => h
 => step 1                         0.1s
 => => h
 => step 2                         0.1s
 => => h
 => step 3                         0.1s
 => => g
 => => h
 => step 4                         0.1s
 => => g
 => => h

"#]]
    );
}

#[test]
fn a_terminal_made_narrower_is_cleaned_up() {
    let mut session = begun();
    let wide = session.frame(2000, Size { columns: 120, rows: 24 });
    let live = wide.lines().skip_while(|line| !line.starts_with("[+]")).count();
    // The terminal itself has wrapped the live lines by now.
    let narrow = Size { columns: 20, rows: 24 };
    let mut wrapped = Screen::default();
    wrapped.write(wide.as_bytes(), 20);
    session.screen = wrapped;
    let text = session.frame(2100, narrow);
    assert_eq!(text.matches("[+]").count(), 1, "{text}");
    assert!(live > 2);
}

#[test]
fn the_log_that_is_kept_is_bounded() {
    let mut session = Session::new();
    session.event(0, &started(0, "loud"));
    for line in 0..1000 {
        session.event(0, &log(0, &format!("line {line}\n")));
    }
    session.event(0, &finished(0, Some("exit status 1")));
    let (text, _) = session.finish();
    assert!(text.contains("(800 lines before these)"), "{text}");
    assert!(!text.contains("line 799\n") && text.contains("line 800\n") && text.contains("line 999\n"));
}

#[test]
fn tiny_terminals_do_not_panic() {
    let mut session = begun();
    for columns in 0..12 {
        let mut out = Vec::new();
        session.tty.frame(Duration::from_secs(2), Size { columns, rows: columns }, &mut out);
    }
}
