//! The steps that ran as a tree: root causes at the left, what ran because of them below.

use crate::{human, text};
use kiln_engine::{Cause, StepRecord};
use std::time::Duration;

/// The trees of some root causes.
pub(super) fn render(causes: &[Cause<'_>]) -> String {
    let mut out = String::new();
    for cause in causes {
        out.push_str(&line(cause.step));
        below(cause, "", &mut out);
    }
    out
}

/// A step: what it is, where it stands, how long it took.
pub(super) fn line(step: &StepRecord) -> String {
    let place = step.line.map(|line| format!("  (line {line})")).unwrap_or_default();
    let took = human::duration(Duration::from_micros(step.duration));
    format!("{}{place}  {took}\n", text::message(&step.name))
}

/// Why a step ran, and what ran because of it.
fn below(cause: &Cause<'_>, indent: &str, out: &mut String) {
    let consequences = &cause.consequences;
    let bar = if consequences.is_empty() { " " } else { "│" };
    let reason = cause.step.reason.as_ref().map_or_else(|| "pulled".to_owned(), ToString::to_string);
    out.push_str(&format!("{indent}{bar} {}\n", text::message(&reason)));
    for (number, consequence) in consequences.iter().enumerate() {
        let last = number + 1 == consequences.len();
        let (branch, trunk) = if last { ("└", " ") } else { ("├", "│") };
        out.push_str(&format!("{indent}{branch} {}", line(consequence.step)));
        below(consequence, &format!("{indent}{trunk} "), out);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kiln_engine::{Change, Reason};
    use snapbox::{IntoData, assert_data_eq, str};

    #[test]
    fn consequences_hang_below_their_causes() {
        let step = |name: &str, said: &str| StepRecord {
            name: name.to_owned(),
            line: Some(3),
            duration: 1_200_000,
            reason: Some(Reason::Changed(vec![Change::Input { part: String::new(), said: said.to_owned() }])),
            ..StepRecord::default()
        };
        let steps = [
            step("[a 1/2] COPY . .", "main.go changed"),
            step("[a 2/2] RUN make", "COPY . . made something else"),
            step("[b 1/1] COPY --from=a", "app changed"),
            step("[c 1/1] COPY --from=a", "app changed"),
        ];
        let leaf = |index: usize| Cause { step: &steps[index], consequences: Vec::new() };
        let run = Cause { step: &steps[1], consequences: vec![leaf(2)] };
        let root = Cause { step: &steps[0], consequences: vec![run, leaf(3)] };
        assert_data_eq!(
            render(&[root]),
            str![[r#"
[a 1/2] COPY . .  (line 3)  1.2s
│ main.go changed
├ [a 2/2] RUN make  (line 3)  1.2s
│ │ COPY . . made something else
│ └ [b 1/1] COPY --from=a  (line 3)  1.2s
│     app changed
└ [c 1/1] COPY --from=a  (line 3)  1.2s
    app changed

"#]]
            .raw()
        );
    }
}
