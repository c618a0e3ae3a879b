//! Which steps ran by a cause of their own, which only because others ran, and what could be done about it.
//!
//! ```text
//! COPY . .                         main.go changed           a root
//! └ RUN go build                   COPY . . made something else
//!   └ COPY --from=builder /app     app changed
//! ```

use super::record::{BuildRecord, StepEnd, StepRecord};
use kiln_solver::{Change, Reason};
use std::collections::HashMap;
use std::time::Duration;

/// A step that ran, with those that ran because of it.
#[derive(Debug, PartialEq)]
pub struct Cause<'a> {
    /// The step.
    pub step: &'a StepRecord,
    /// Steps that ran only because this one did.
    pub consequences: Vec<Cause<'a>>,
}

/// Something that would make the next build quicker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Advice {
    /// The number of the step that need not have run.
    pub step: u32,
    /// What to do.
    pub text: String,
    /// What it would have saved.
    pub saving: Duration,
}

/// Less is not worth an edit.
const WORTHWHILE: Duration = Duration::from_millis(200);

impl BuildRecord {
    /// The steps that ran, below the root cause of each, in the order in which they ran.
    pub fn causes(&self) -> Vec<Cause<'_>> {
        let mut children: HashMap<u32, Vec<&StepRecord>> = HashMap::new();
        let mut roots = Vec::new();
        for step in self.ran() {
            match self.blamed(step) {
                Some(parent) => children.entry(parent.number).or_default().push(step),
                None => roots.push(step),
            }
        }
        roots.into_iter().map(|step| cause(step, &mut children)).collect()
    }

    /// The step that made this one run; `None` for one that has a cause of its own.
    pub fn blamed(&self, step: &StepRecord) -> Option<&StepRecord> {
        if step.reason.as_ref().is_none_or(|reason| is_own(step, reason)) {
            return None;
        }
        // Inputs come before their users, so this leads up and never around.
        self.ran().filter(|other| other.number != step.number && step.inputs.contains(&other.number)).last()
    }

    /// What would have saved time: a step that ran because of another, and made what it had made before.
    pub fn advice(&self) -> Vec<Advice> {
        let mut advice = Vec::new();
        for step in self.ran().filter(|step| step.same && step.instruction.starts_with("RUN")) {
            let saving = Duration::from_micros(step.duration);
            if saving < WORTHWHILE {
                continue;
            }
            let root = std::iter::successors(Some(step), |step| self.blamed(step)).last().unwrap_or(step);
            if let Some(text) = advise(step, root) {
                advice.push(Advice { step: step.number, text, saving });
            }
        }
        advice.sort_by_key(|advice| std::cmp::Reverse(advice.saving));
        advice
    }

    /// The steps of the Dockerfile that ran, failed ones included.
    pub fn ran(&self) -> impl Iterator<Item = &StepRecord> {
        let ran = |step: &&StepRecord| matches!(step.end, StepEnd::Ran | StepEnd::Failed);
        self.steps.iter().filter(ran).filter(|step| !step.instruction.is_empty())
    }
}

fn cause<'a>(step: &'a StepRecord, children: &mut HashMap<u32, Vec<&'a StepRecord>>) -> Cause<'a> {
    let below = children.remove(&step.number).unwrap_or_default();
    Cause { step, consequences: below.into_iter().map(|step| cause(step, children)).collect() }
}

/// Whether a reason lies in the step itself and not in what other steps made.
fn is_own(step: &StepRecord, reason: &Reason) -> bool {
    let Reason::Changed(changes) = reason else { return true };
    changes.iter().any(|change| match change {
        Change::Text { .. } => true,
        Change::Files { .. } => step.reads_context,
        Change::Input { .. } => false,
    })
}

fn advise(step: &StepRecord, root: &StepRecord) -> Option<String> {
    let Some(Reason::Changed(changes)) = &root.reason else { return None };
    let (step_name, root_name) = (&step.instruction, &root.instruction);
    let first = changes.first()?;
    if root.number != step.number {
        return Some(format!(
            "`{step_name}` made the same as before although {first}: moving `{root_name}` below it would have kept it cached"
        ));
    }
    match first {
        Change::Text { part, .. } if part.starts_with("ARG ") => Some(format!(
            "`{step_name}` made the same as before although {first}: moving `{part}` below it would have kept it cached"
        )),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(number: u32, instruction: &str, inputs: &[u32], changes: Vec<Change>) -> StepRecord {
        StepRecord {
            number,
            instruction: instruction.to_owned(),
            inputs: inputs.to_vec(),
            end: StepEnd::Ran,
            reason: Some(Reason::Changed(changes)),
            duration: 14_000_000,
            ..StepRecord::default()
        }
    }

    fn files(path: &str) -> Change {
        let part = "files".to_owned();
        Change::Files { part, changed: vec![path.to_owned()], added: Vec::new(), removed: Vec::new() }
    }

    fn input(said: &str) -> Change {
        Change::Input { part: "base".to_owned(), said: said.to_owned() }
    }

    fn build(steps: Vec<StepRecord>) -> BuildRecord {
        BuildRecord { steps, ..BuildRecord::default() }
    }

    #[test]
    fn consequences_hang_below_their_root() {
        let copy = StepRecord { reads_context: true, ..step(1, "COPY . .", &[], vec![files("main.go")]) };
        let download = StepRecord {
            same: true,
            ..step(2, "RUN go mod download", &[1], vec![input("COPY . . made something else")])
        };
        let out = step(3, "COPY --from=builder /app .", &[2], vec![files("app")]);
        let cached = StepRecord { end: StepEnd::Cached, ..step(4, "RUN true", &[], Vec::new()) };
        let other = step(5, "RUN date", &[4], vec![Change::Text { part: "command".into(), before: None, after: None }]);
        let build = build(vec![copy, download, out, cached, other]);
        let causes = build.causes();
        let shape = |cause: &Cause<'_>| (cause.step.number, cause.consequences.len());
        assert_eq!(causes.iter().map(shape).collect::<Vec<_>>(), [(1, 1), (5, 0)]);
        assert_eq!(shape(&causes[0].consequences[0]), (2, 1));
        let advice = build.advice();
        assert_eq!(advice.len(), 1);
        assert_eq!(advice[0].saving, Duration::from_secs(14));
        assert_eq!(
            advice[0].text,
            "`RUN go mod download` made the same as before although main.go changed: \
             moving `COPY . .` below it would have kept it cached"
        );
    }

    #[test]
    fn arguments_that_change_nothing_belong_below() {
        let version = |before: &str, after: &str| Change::Text {
            part: "ARG VERSION".to_owned(),
            before: Some(before.to_owned()),
            after: Some(after.to_owned()),
        };
        let run = StepRecord { same: true, ..step(1, "RUN make", &[], vec![version("1", "2")]) };
        let quick = StepRecord { same: true, duration: 10, ..step(2, "RUN true", &[], vec![version("1", "2")]) };
        let differs = step(3, "RUN make", &[], vec![version("1", "2")]);
        let advice = build(vec![run, quick, differs]).advice();
        assert_eq!(advice.len(), 1);
        assert!(advice[0].text.contains("moving `ARG VERSION` below it"), "{}", advice[0].text);
    }
}
