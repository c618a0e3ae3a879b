//! The lines of the live view: what is said of a step, how the rows of the screen are shared out, how the last frame is drawn over.

use super::{Over, Running, Tty};
use crate::human;
use crate::terminal::{Look, Paint, Size};
use crate::text::{self, Escapes};
use console::{measure_text_width, truncate_str};
use std::borrow::Cow;
use std::time::Duration;

/// Lines of output or transfers below each running step.
const DETAILS: usize = 6;

/// A line of the live view, with its width without colours.
pub(super) struct Line {
    text: String,
    width: usize,
}

/// The live view: a header, the running steps, and as much of their output as there is room for.
pub(super) fn live(tty: &Tty, at: Duration, size: Size) -> Vec<Line> {
    let width = size.columns.saturating_sub(1).max(1);
    // One row stays free for the cursor.
    let rows = size.rows.saturating_sub(1).max(2);
    let mut header = format!("[+] Building {:.1}s", at.as_secs_f64());
    if tty.planned > 0 {
        header += &format!(" ({}/{})", tty.done, tty.planned.max(tty.done));
    }
    let mut lines = vec![plain(&header, width, |text| tty.paint.paint(Look::Bold, text))];

    let room = rows - 1;
    let shown = if tty.running.len() > room { room - 1 } else { tty.running.len() };
    let mut spare = room.saturating_sub(tty.running.len());
    for (index, step) in tty.running[..shown].iter().enumerate() {
        let elapsed = format!("{:.1}s", at.saturating_sub(step.start).as_secs_f64());
        lines.push(step_line("", &step.name, &elapsed, width, |text| text.to_owned()));
        // What earlier steps do not use is left for later ones.
        let share = (spare / (shown - index)).min(DETAILS);
        let details = details(step, share);
        spare -= details.len();
        lines.extend(
            details.iter().map(|text| plain(&format!(" => => {text}"), width, |text| tty.paint.paint(Look::Dim, text))),
        );
    }
    if shown < tty.running.len() {
        let more = human::count((tty.running.len() - shown) as u64, "more step");
        lines.push(plain(&format!(" => … {more}"), width, |text| tty.paint.paint(Look::Dim, text)));
    }
    lines
}

/// Erases the last frame, prints what is over, and draws `live`.
pub(super) fn draw(tty: &mut Tty, size: Size, live: &[Line], out: &mut Vec<u8>) {
    let mut text = String::from("\x1b[?25l");
    // A terminal that was made narrower since has wrapped what was drawn.
    let rows: usize = tty.drawn.iter().map(|width| width.div_ceil(size.columns.max(1)).max(1)).sum();
    if rows > 0 {
        text.push_str(&format!("\x1b[{rows}A\r\x1b[J"));
    }
    for over in std::mem::take(&mut tty.over) {
        permanent(&over, tty.paint, size.columns.saturating_sub(1).max(1), &mut text);
    }
    for line in live {
        text.push_str(&line.text);
        text.push('\n');
    }
    text.push_str("\x1b[?25h");
    tty.drawn = live.iter().map(|line| line.width).collect();
    out.extend_from_slice(text.as_bytes());
}

/// What stays of something that is over.
fn permanent(over: &Over, paint: Paint, width: usize, text: &mut String) {
    let mut push = |line: &str| {
        text.push_str(line);
        text.push('\n');
    };
    match over {
        Over::Cached { name } => {
            push(&step_line("CACHED ", name, "", width, |text| paint.paint(Look::Cached, text)).text)
        }
        Over::Done { name, duration, notes } => {
            let elapsed = format!("{:.1}s", duration.as_secs_f64());
            push(&step_line("", name, &elapsed, width, |text| paint.paint(Look::Done, text)).text);
            for note in notes {
                push(&plain(&format!("    {note}"), width, |text| paint.paint(Look::Dim, text)).text);
            }
        }
        Over::Failed { name, duration, error, log, dropped } => {
            let word = if error == "cancelled" { "CANCELLED " } else { "ERROR " };
            let elapsed = format!("{:.1}s", duration.as_secs_f64());
            push(&step_line(word, name, &elapsed, width, |text| paint.paint(Look::Failed, text)).text);
            if *dropped > 0 {
                push(&paint.paint(Look::Dim, &format!("    ({} before these)", human::count(*dropped as u64, "line"))));
            }
            let escapes = if paint.colours { Escapes::Colours } else { Escapes::None };
            for line in log {
                push(&format!("    {}", text::line(line, escapes)));
            }
        }
        Over::Warning { message } => push(&format!("{}: {message}", paint.paint(Look::Warning, "warning"))),
    }
}

/// ` => WORD name`, with the time at the right edge.
fn step_line(word: &str, name: &str, elapsed: &str, width: usize, look: impl Fn(&str) -> String) -> Line {
    let left = format!(" => {word}{name}");
    let room = width.saturating_sub(if elapsed.is_empty() { 0 } else { elapsed.len() + 1 });
    let left = truncate_str(&left, room, "…");
    let padding = if elapsed.is_empty() { 0 } else { room.saturating_sub(measure_text_width(&left)) + 1 };
    let text = format!("{left}{}{elapsed}", " ".repeat(padding));
    Line { width: measure_text_width(&text), text: look(&text) }
}

fn plain(text: &str, width: usize, look: impl Fn(&str) -> String) -> Line {
    let text = truncate_str(text, width, "…");
    Line { width: measure_text_width(&text), text: look(&text) }
}

/// Transfers, and the last lines of output, at most `count` in all.
fn details(step: &Running, count: usize) -> Vec<String> {
    let mut details: Vec<String> = step.transfers.iter().map(transfer).take(count).collect();
    let room = count - details.len();
    let unfinished: Vec<&[u8]> = step.lines.unfinished().collect();
    let lines = step.log.iter().map(Vec::as_slice).chain(unfinished).rev();
    let lines = lines.map(|line| text::line(line, Escapes::None)).filter(|line| !line.trim().is_empty());
    let mut last: Vec<String> = lines.take(room).map(Cow::into_owned).collect();
    last.reverse();
    details.append(&mut last);
    details
}

fn transfer(transfer: &super::Transfer) -> String {
    let total = transfer.total.map(|total| format!(" / {}", human::size(total))).unwrap_or_default();
    format!("{} {}{total}", text::line(transfer.item.as_bytes(), Escapes::None), human::size(transfer.current))
}
