//! How many processors the steps kept busy, as a curve: each step's processor time spread evenly over the time it ran.

use super::lanes::Lanes;

/// The width of the curve's coordinates; its height is [`HEIGHT`].
const WIDTH: f64 = 1000.0;

/// The height of the curve's coordinates.
const HEIGHT: f64 = 100.0;

/// The curve.
#[derive(Debug, PartialEq)]
pub(super) struct Load {
    /// An SVG path in coordinates of 1000 by 100.
    pub(super) path: String,
    /// Where the line of all processors is, from the top.
    pub(super) line: String,
    /// Processors that were busy on average, over the whole build.
    pub(super) average: f64,
}

/// The curve of a build; `None` where nothing is known of what its steps took.
pub(super) fn load(lanes: &Lanes<'_>, cores: u32) -> Option<Load> {
    let mut changes: Vec<(u64, f64)> = Vec::new();
    let mut sum = 0.0;
    for bar in &lanes.bars {
        let (Some(cpu), step) = (bar.step.cpu, bar.step) else { continue };
        let from = step.waits.iter().map(|wait| wait.finished).fold(step.started, u64::max).min(bar.to);
        let busy = cpu as f64 / (bar.to - from).max(1) as f64;
        sum += cpu as f64;
        changes.extend([(from, busy), (bar.to, -busy)]);
    }
    if sum == 0.0 {
        return None;
    }
    changes.sort_by_key(|change| change.0);
    let mut steps = Vec::new();
    let mut busy: f64 = 0.0;
    for (at, change) in changes {
        busy = (busy + change).max(0.0);
        steps.push((at, busy));
    }
    let top = steps.iter().map(|(_, busy)| *busy).fold(f64::from(cores.max(1)), f64::max) * 1.05;
    let y = |busy: f64| HEIGHT - busy / top * HEIGHT;
    let mut path = format!("M0 {HEIGHT}");
    for (at, busy) in steps {
        path.push_str(&format!("H{:.2}V{:.2}", at as f64 / lanes.end as f64 * WIDTH, y(busy)));
    }
    path.push_str(&format!("H{WIDTH}V{HEIGHT}Z"));
    Some(Load { path, line: format!("{:.2}", y(f64::from(cores))), average: sum / lanes.end as f64 })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::report::lanes::lanes;
    use kiln_engine::{BuildRecord, StepEnd, StepRecord};

    #[test]
    fn the_curve_adds_what_runs_at_the_same_time() {
        let step = |number, started, duration, cpu| StepRecord {
            number,
            started,
            duration,
            cpu,
            end: StepEnd::Ran,
            ..StepRecord::default()
        };
        let steps = vec![step(1, 0, 50, Some(50)), step(2, 0, 100, Some(100)), step(3, 0, 100, None)];
        let build = BuildRecord { duration: 100, steps, ..BuildRecord::default() };
        let load = load(&lanes(&build), 2).unwrap();
        assert_eq!(load.path, "M0 100H0.00V52.38H0.00V4.76H500.00V52.38H1000.00V100.00H1000V100Z");
        assert_eq!((&*load.line, load.average), ("4.76", 1.5));
        assert_eq!(super::load(&lanes(&BuildRecord::default()), 2), None);
    }
}
