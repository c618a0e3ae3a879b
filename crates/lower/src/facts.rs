//! What lowering learns of the stages that lints cannot see in the text: which are built, and what their base images bring along.

use crate::ResolvedImage;
use crate::contexts::Origin;
use crate::images::Images;
use crate::plan::{Base, NodeKind, Plan};
use kiln_dockerfile::rules::{BaseFacts, StageFacts, StepFacts};
use kiln_graph::Platform;
use std::collections::{HashMap, HashSet};

/// The facts of all stages of the file, in order.
pub(crate) fn of_stages(plan: &Plan<'_>, reached: &[bool], images: &Images) -> Vec<StageFacts> {
    let stages = plan.nodes[..plan.stages].iter().zip(reached);
    let mut known = HashMap::new();
    stages
        .map(|(node, reached)| {
            let base = match &node.base {
                Base::Outside(_, Some(Origin::Image(request))) => {
                    let base = known
                        .entry(request)
                        .or_insert_with(|| images.get(request).map(|image| of_base(image, &request.platform)));
                    base.clone()
                }
                // Files alone set no variable.
                Base::Outside(_, Some(Origin::Local(_) | Origin::Remote(..))) => Some(BaseFacts::default()),
                Base::Outside(..) | Base::Node(_) => None,
            };
            StageFacts { skipped: !reached || node.kind != NodeKind::Stage, base }
        })
        .collect()
}

/// Takes away which caches the steps of stages could have whose base is not known: where a tool keeps them depends on the base's variables
/// and user.
pub(crate) fn forget_caches(steps: &mut [StepFacts], plan: &Plan<'_>, images: &Images) {
    // A stage comes after the one that it builds on.
    let mut unknown: Vec<bool> = Vec::with_capacity(plan.nodes.len());
    for node in &plan.nodes {
        unknown.push(match &node.base {
            Base::Node(base) => unknown.get(base.0).copied().unwrap_or(false),
            Base::Outside(_, Some(Origin::Image(request))) => images.get(request).is_none(),
            Base::Outside(..) => false,
        });
    }
    let stages = plan.nodes[..plan.stages].iter().zip(unknown).filter(|(_, unknown)| *unknown);
    let places: HashSet<u32> =
        stages.flat_map(|(node, _)| node.commands.iter().map(|command| command.instruction.span.start)).collect();
    steps.iter_mut().filter(|step| places.contains(&step.at)).for_each(|step| step.caches.clear());
}

fn of_base(image: &ResolvedImage, wanted: &Platform) -> BaseFacts {
    let config = &image.config;
    let pair = |text: &String| {
        let (name, value) = text.split_once('=').unwrap_or((text, ""));
        (name.to_owned(), value.to_owned())
    };
    // An image that does not say what it is for fits everywhere.
    let differs = |is: &str, wanted: &str| !is.is_empty() && is != wanted;
    let mismatch = differs(&config.os, &wanted.os) || differs(&config.architecture, &wanted.architecture);
    BaseFacts {
        env: config.config.env.iter().map(pair).collect(),
        has_shell: !config.config.shell.is_empty(),
        platform_mismatches: Vec::from_iter(mismatch.then(|| {
            let actual = Platform::from_parts(&config.os, &config.architecture, config.variant.as_deref());
            (wanted.to_string(), actual.to_string())
        })),
    }
}
