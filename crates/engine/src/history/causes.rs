//! Which steps ran by a cause of their own, and which only because others ran.
//!
//! ```text
//! COPY . .                         main.go changed           a root
//! └ RUN go build                   COPY . . made something else
//!   └ COPY --from=builder /app     app changed
//! ```

use super::record::{BuildRecord, StepEnd, StepRecord};
use kiln_solver::{Change, Reason};
use std::collections::HashMap;

/// A step that ran, with those that ran because of it.
#[derive(Debug, PartialEq)]
pub struct Cause<'a> {
    /// The step.
    pub step: &'a StepRecord,
    /// Steps that ran only because this one did.
    pub consequences: Vec<Cause<'a>>,
}

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

    /// The steps of the Dockerfile that ran, also those that did not come to a good end.
    pub fn ran(&self) -> impl Iterator<Item = &StepRecord> {
        let ran = |step: &&StepRecord| matches!(step.end, StepEnd::Ran | StepEnd::Failed | StepEnd::Cancelled);
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
        let download = step(2, "RUN go mod download", &[1], vec![input("COPY . . made something else")]);
        let out = step(3, "COPY --from=builder /app .", &[2], vec![files("app")]);
        let cached = StepRecord { end: StepEnd::Cached, ..step(4, "RUN true", &[], Vec::new()) };
        let other = step(5, "RUN date", &[4], vec![Change::Text { part: "command".into(), before: None, after: None }]);
        let build = build(vec![copy, download, out, cached, other]);
        let causes = build.causes();
        let shape = |cause: &Cause<'_>| (cause.step.number, cause.consequences.len());
        assert_eq!(causes.iter().map(shape).collect::<Vec<_>>(), [(1, 1), (5, 0)]);
        assert_eq!(shape(&causes[0].consequences[0]), (2, 1));
    }
}
