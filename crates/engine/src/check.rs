//! Questions about a Dockerfile that build nothing: what the lints say, which parameters a target has, which targets there are.
//!
//! [`Engine::check`] and [`Engine::outline`] lower the Dockerfile as a build would, so images are resolved but never pulled;
//! [`Engine::targets`] only reads it.

use crate::build::contexts::{self, Contexts};
use crate::build::dockerfile::{self, Dockerfile};
use crate::build::main_context::{self, Loading, MainContext};
use crate::build::platforms;
use crate::build::resolver::Resolver;
use crate::cancel::CancelToken;
use crate::engine::Engine;
use crate::error::EngineError;
use crate::history::Redaction;
use crate::lint::{self, Lints, Rules, Told};
use crate::request::BuildRequest;
use kiln_dockerfile::ast::{self, From, Instruction, InstructionKind};
use kiln_dockerfile::{SourceMap, Span};
use kiln_graph::Platform;
use kiln_lower::{ImageConfig, Lowered, MountUse, description};
use std::sync::atomic::AtomicU32;

/// What [`Engine::check`] found.
#[derive(Debug)]
pub struct Check {
    /// The findings of the lints, with the Dockerfile's text also if there are none.
    pub lints: Lints,
    /// What else people should know, such as rules that the options name and that don't exist.
    pub notes: Vec<String>,
    /// Why the Dockerfile cannot be built, if something is wrong with it; or the findings, where they are errors.
    pub error: Option<EngineError>,
}

/// What a target asks of whoever builds it.
#[derive(Debug)]
pub struct Outline {
    /// The target's name, if it has one.
    pub name: Option<String>,
    /// What the comment above it says.
    pub description: Option<String>,
    /// The arguments that it and the stages it needs use.
    pub args: Vec<OutlineArg>,
    /// The secrets.
    pub secrets: Vec<OutlineMount>,
    /// The ssh agents.
    pub ssh: Vec<OutlineMount>,
    /// The cache mounts.
    pub caches: Vec<OutlineMount>,
    /// The Dockerfile's text.
    pub text: String,
}

/// An argument of an [`Outline`].
#[derive(Debug)]
pub struct OutlineArg {
    /// Its name.
    pub name: String,
    /// Its value in this build: the one given, or the default.
    pub value: Option<String>,
    /// What the comment above it says.
    pub description: Option<String>,
    /// The first and the last line of its definition, from 1.
    pub lines: (u32, u32),
}

/// A secret, an agent or a cache of an [`Outline`].
#[derive(Debug)]
pub struct OutlineMount {
    /// Its id.
    pub id: String,
    /// Whether the build fails without it.
    pub required: bool,
    /// The first and the last line of its first use, from 1.
    pub lines: (u32, u32),
}

/// The stages of a Dockerfile.
#[derive(Debug)]
pub struct Targets {
    /// In the order of the file.
    pub targets: Vec<Target>,
    /// The Dockerfile's text.
    pub text: String,
}

/// A stage that can be built.
#[derive(Debug)]
pub struct Target {
    /// Its name, if it has one.
    pub name: Option<String>,
    /// Whether it is built when no target is named.
    pub default: bool,
    /// What the comment above it says.
    pub description: Option<String>,
    /// What it begins with, as written.
    pub base: String,
    /// Its `--platform`, as written.
    pub platform: Option<String>,
    /// The first and the last line of its FROM, from 1.
    pub lines: (u32, u32),
}

impl Engine {
    /// Lints the Dockerfile of a request, and finds out whether it could be built: its target, or all stages if none is named.
    ///
    /// # Errors
    /// If there is no Dockerfile to look at, or it cannot be parsed. What else is wrong with it is part of the answer.
    pub fn check(&self, request: &BuildRequest, rules: Rules) -> Result<Check, EngineError> {
        let (main, dockerfile) = self.find(request)?;
        let contexts = contexts::open(self, request, main, &dockerfile)?;
        let resolver = Resolver::new(self, request.pull, CancelToken::new());
        Ok(look(&Look { request, rules, contexts: &contexts, resolver: &resolver }, &dockerfile)?.0)
    }

    /// The parameters of a request's target.
    ///
    /// # Errors
    /// Whatever is wrong with the Dockerfile.
    pub fn outline(&self, request: &BuildRequest) -> Result<Outline, EngineError> {
        let (_, dockerfile) = self.find(request)?;
        let parsed = dockerfile.parse()?;
        let resolver = Resolver::new(self, request.pull, CancelToken::new());
        // What a target asks for is the same for all platforms.
        let platform = platforms::wanted(request).swap_remove(0);
        let lowered = lower(request, &dockerfile, &parsed, &platform, &resolver, &|_| ())?;
        let target = stages(&parsed).nth(lowered.target_stage);
        let lines = SourceMap::new(&dockerfile.text);
        let mounts = |uses: Vec<MountUse>| {
            let mount = |MountUse { id, required, span }| OutlineMount { id, required, lines: lines.lines(span) };
            uses.into_iter().map(mount).collect()
        };
        let name = target.and_then(|(_, from)| from.stage_name());
        let parameters = lowered.parameters;
        let args = parameters.args.into_iter().map(|arg| OutlineArg {
            name: arg.name,
            value: arg.value,
            description: arg.description,
            lines: lines.lines(arg.span),
        });
        Ok(Outline {
            description: target.and_then(|(instruction, _)| description(instruction, name.as_deref()?)),
            name,
            args: args.collect(),
            secrets: mounts(parameters.secrets),
            ssh: mounts(parameters.ssh),
            caches: mounts(parameters.caches),
            text: dockerfile.text,
        })
    }

    /// The stages of a request's Dockerfile.
    ///
    /// # Errors
    /// If there is no Dockerfile to look at, or it cannot be parsed.
    pub fn targets(&self, request: &BuildRequest) -> Result<Targets, EngineError> {
        let (_, dockerfile) = self.find(request)?;
        let parsed = dockerfile.parse()?;
        let lines = SourceMap::new(&dockerfile.text);
        let span_lines = |span: Span| lines.lines(span);
        let mut targets: Vec<Target> = stages(&parsed)
            .map(|(instruction, from)| {
                let name = from.stage_name();
                Target {
                    default: false,
                    description: name.as_deref().and_then(|name| description(instruction, name)),
                    name,
                    base: from.image.text.clone(),
                    platform: from.platform.as_ref().map(|platform| platform.text.clone()),
                    lines: span_lines(instruction.span),
                }
            })
            .collect();
        if let Some(last) = targets.last_mut() {
            last.default = true;
        }
        Ok(Targets { targets, text: dockerfile.text })
    }

    /// The context, fetched if it is elsewhere, and the Dockerfile.
    pub(crate) fn find(&self, request: &BuildRequest) -> Result<(MainContext, Dockerfile), EngineError> {
        let numbers = AtomicU32::new(0);
        let redaction = Redaction::default();
        let (events, cancel) = (&|_| (), CancelToken::new());
        let loading = Loading { engine: self, events, redaction: &redaction, cancel, numbers: &numbers };
        let main = main_context::load(request, &loading)?;
        let dockerfile = dockerfile::read(request, &main, &loading)?;
        Ok((main, dockerfile))
    }
}

/// What a Dockerfile is looked at with.
pub(crate) struct Look<'a> {
    pub(crate) request: &'a BuildRequest,
    pub(crate) rules: Rules,
    pub(crate) contexts: &'a Contexts,
    pub(crate) resolver: &'a Resolver<'a>,
}

/// Lints a Dockerfile; with the config of its image, if it could be built.
pub(crate) fn look(look: &Look<'_>, dockerfile: &Dockerfile) -> Result<(Check, Option<ImageConfig>), EngineError> {
    let Look { request, rules, contexts, resolver } = look;
    let parsed = dockerfile.parse()?;
    let ask = |options: &mut kiln_lower::Options| {
        options.all_stages = request.target.is_none();
        options.advice = *rules == Rules::All;
        options.pass_over_images = true;
    };
    let (mut stages, mut steps, mut config, mut error) = (Vec::new(), Vec::new(), None, None);
    for (place, platform) in platforms::wanted(request).into_iter().enumerate() {
        let wrong = match lower(request, dockerfile, &parsed, &platform, resolver, &ask) {
            Ok(lowered) => {
                if place == 0 {
                    (stages, steps, config) = (lowered.facts, lowered.steps, Some(lowered.config));
                } else {
                    platforms::add_facts(&mut stages, lowered.facts);
                }
                lowered.unresolved.map(|wrong| dockerfile.lower_error(wrong))
            }
            Err(wrong) => Some(wrong),
        };
        if wrong.is_some() {
            (config, error) = (None, wrong);
            break;
        }
    }
    let told = Told { rules: *rules, build_args: &request.build_args, stages: &stages, steps: &steps, contexts };
    let report = lint::run(dockerfile, &parsed, &told)?;
    let mut lints = Lints { file: dockerfile.name.clone(), text: dockerfile.text.clone(), ..report.lints };
    if error.is_some() {
        // Whether the image would stay what it is cannot be made sure of.
        lints.findings.iter_mut().for_each(|finding| finding.fix = None);
    }
    let error = error.or_else(|| lints.refused());
    let notes = report.unknown.into_iter().map(|unknown| unknown.message).collect();
    Ok((Check { lints, notes, error }, config))
}

fn lower(
    request: &BuildRequest,
    dockerfile: &Dockerfile,
    parsed: &ast::Dockerfile,
    platform: &Platform,
    resolver: &Resolver<'_>,
    ask: &dyn Fn(&mut kiln_lower::Options),
) -> Result<Lowered, EngineError> {
    let mut options = dockerfile::options(request, platform);
    ask(&mut options);
    dockerfile.lower(parsed, &options, resolver)
}

fn stages(parsed: &ast::Dockerfile) -> impl Iterator<Item = (&Instruction, &From)> {
    parsed.instructions.iter().filter_map(|instruction| match &instruction.kind {
        InstructionKind::From(from) => Some((instruction, from)),
        _ => None,
    })
}
