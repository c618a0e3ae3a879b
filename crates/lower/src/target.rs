//! The image that comes out: its platform, the labels of the command line, and its time when that is fixed.

use crate::plan::Section;
use crate::{History, ImageConfig, Options};
use kiln_graph::Platform;
use std::sync::Arc;

/// The value of `TARGETSTAGE`: the name asked for, or that of the last stage.
pub(crate) fn name(options: &Options, sections: &[Section<'_>]) -> Option<String> {
    match options.target.as_deref() {
        Some(name) if !name.is_empty() => Some(name.to_owned()),
        _ => sections.last().and_then(|section| section.from.stage_name()),
    }
}

/// Completes the config of the target stage.
pub(crate) fn finish(
    mut config: ImageConfig,
    history: Vec<Arc<History>>,
    options: &Options,
    source_date_epoch: Option<i64>,
) -> ImageConfig {
    config.history = history.into_iter().map(Arc::unwrap_or_clone).collect();
    config.config.labels.extend(options.labels.clone());
    let target = &options.platform;
    if !options.implicit_platform {
        // What the base says of its platform holds only while it is the one asked for.
        let same = config.os == target.os && config.architecture == target.architecture;
        if target.variant.is_some() || !same {
            config.variant.clone_from(&target.variant);
        }
        if !same {
            config.os_version = None;
        }
        config.os.clone_from(&target.os);
        config.architecture.clone_from(&target.architecture);
    }
    if config.os.is_empty() && config.architecture.is_empty() {
        config.os.clone_from(&target.os);
        config.architecture.clone_from(&target.architecture);
    }
    let normal = Platform::from_parts(&config.os, &config.architecture, config.variant.as_deref());
    (config.os, config.architecture, config.variant) = (normal.os, normal.architecture, normal.variant);
    if config.os == "windows" && config.config.working_dir.starts_with('/') {
        // As that system writes paths, and as BuildKit tells it.
        config.config.working_dir = config.config.working_dir.replace('/', "\\");
    }
    if let Some(created) = source_date_epoch.and_then(rfc3339) {
        for entry in config.history.iter_mut().filter(|entry| entry.created.is_none()) {
            entry.created = Some(created.clone());
        }
        config.created = Some(created);
    }
    config
}

fn rfc3339(seconds: i64) -> Option<String> {
    jiff::Timestamp::from_second(seconds).ok().map(|time| time.to_string())
}
