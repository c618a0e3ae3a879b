//! RUN: a process in the stage's tree.

use crate::expand::expand_run_line;
use crate::history;
use crate::instructions::files::check_file_name;
use crate::instructions::shell::with_shell;
use crate::label::{internal, summarize, uppercase_keyword};
use crate::stage::{Ports, Step};
use crate::{LowerError, mounts};
use kiln_dockerfile::ast::{self, Run, RunScript};
use kiln_graph::{Action, Exec, File, Mkfile, Mode, Mount, MountKind, Network, Op, SecretTarget, Security};
use std::borrow::Cow;

/// Where a heredoc that is a script of its own is mounted.
const SCRIPTS: &str = "/dev/pipes";

pub(super) fn lower(step: &mut Step<'_>, run: &Run) -> Result<(), LowerError> {
    let options = step.build.options;
    let mut ports = Ports::default();
    let user = &step.stage.config.config.user;
    let mut exec = Exec {
        root: step.stage.head.map(|head| ports.of(head)),
        env: step.stage.env.entries().clone(),
        arguments: step.stage.args.iter().map(|(name, _)| name.clone()).collect(),
        cwd: step.process_directory(),
        user: (!user.is_empty()).then(|| user.clone()),
        hostname: step.build.settings.hostname.clone(),
        network: network(step, run)?,
        security: security(step, run)?,
        shm_size: options.shm_size,
        ulimits: options.ulimits.clone(),
        extra_hosts: options.extra_hosts.clone(),
        cgroup_parent: options.cgroup_parent.clone(),
        resources: options.resources.clone(),
        ..Exec::default()
    };
    let script = run.script();
    exec.args = command_line(step, run, &script, &mut exec.mounts, &mut ports)?;
    mounts::lower(step, &run.mounts, &mut exec, &mut ports)?;
    exec.transparent_env.clone_from(&step.build.settings.proxies);
    let entry = history::layer(history::run(&exec.args, &step.stage.args, &step.stage.env));
    let text = shown(step, run, &script, &exec);
    let label = step.label(&text);
    step.push(Op::Exec(Box::new(exec)), ports, label);
    if let Some(vertex) = step.stage.head.filter(|_| !step.command.onbuild) {
        step.out.runs.push((step.command.instruction.span.start, vertex));
    }
    step.record(entry);
    Ok(())
}

/// What is executed. A heredoc that names its own interpreter becomes a file, mounted before all else.
fn command_line(
    step: &mut Step<'_>,
    run: &Run,
    script: &RunScript,
    mounts: &mut Vec<Mount>,
    ports: &mut Ports,
) -> Result<Vec<String>, LowerError> {
    Ok(match script {
        RunScript::Exec(args) => args.clone(),
        RunScript::Shell(text) => with_shell(&step.stage.config, text),
        RunScript::Shebang { text, .. } if step.stage.config.os == "windows" => with_shell(&step.stage.config, text),
        RunScript::Shebang { name, text } => {
            run.heredocs.iter().try_for_each(check_file_name)?;
            let file = Mkfile {
                dest: format!("/{name}"),
                name: name.clone(),
                data: text.clone().into_bytes(),
                mode: Some(Mode::Octal(0o755)),
                owner: None,
            };
            let op = Op::File(File { base: None, actions: vec![Action::Mkfile(file)] });
            let position = format!("{}/inline/{name}", step.stage.progress.stage);
            let label = internal("preparing inline document", &position);
            let vertex = step.out.graph.add(op, Vec::new(), label, step.use_cache);
            mounts.push(Mount {
                target: SCRIPTS.to_owned(),
                read_only: true,
                kind: MountKind::Bind { from: ports.of(vertex), source: "/".to_owned() },
            });
            with_shell(&step.stage.config, &format!("{SCRIPTS}/{name}"))
        }
    })
}

/// The progress line: variables that are set replaced by their values, secrets by stars.
fn shown(step: &Step<'_>, run: &Run, script: &RunScript, exec: &Exec) -> String {
    let mut line = Cow::Borrowed(&*step.command.instruction.original);
    let lone = match (script, run.heredocs.first()) {
        (RunScript::Shebang { .. }, heredoc) => heredoc,
        (RunScript::Shell(text), Some(heredoc)) if *text == heredoc.text() => Some(heredoc),
        _ => None,
    };
    if let Some(heredoc) = lone {
        line.to_mut().push_str(&format!(" ({})", summarize(&heredoc.content)));
    }
    let secrets: Vec<&str> = exec.mounts.iter().filter_map(secret_variable).collect();
    let env = &step.stage.env;
    let line = if secrets.is_empty() {
        expand_run_line(&line, step.build.escape, env)
    } else {
        let mut env = env.clone();
        secrets.iter().for_each(|name| env.set(name, "****"));
        expand_run_line(&line, step.build.escape, &env)
    };
    uppercase_keyword(line)
}

/// The variable in which a mount shows a secret.
fn secret_variable(mount: &Mount) -> Option<&str> {
    match &mount.kind {
        MountKind::Secret { target: SecretTarget::Env(name) | SecretTarget::FileAndEnv(name), .. } => Some(name),
        _ => None,
    }
}

fn network(step: &Step<'_>, run: &Run) -> Result<Network, LowerError> {
    let options = step.build.options;
    match &run.network {
        None => Ok(options.network),
        Some(flag) => match flag.value {
            ast::Network::Default => Ok(Network::Default),
            ast::Network::None => Ok(Network::None),
            // Steps that say nothing have the host's network: only who took it from them is to be asked.
            ast::Network::Host if options.network == Network::None && !options.allow_network_host => {
                Err(LowerError::new("`--network=host` is not allowed in a build with `--network=none`", flag.span)
                    .hint("allow it with `--allow network.host`"))
            }
            ast::Network::Host => Ok(Network::Host),
        },
    }
}

fn security(step: &Step<'_>, run: &Run) -> Result<Security, LowerError> {
    match &run.security {
        None => Ok(Security::Sandbox),
        Some(flag) => match flag.value {
            ast::Security::Sandbox => Ok(Security::Sandbox),
            ast::Security::Insecure if step.build.options.allow_insecure => Ok(Security::Insecure),
            ast::Security::Insecure => Err(LowerError::new("`--security=insecure` is not allowed", flag.span).hint(
                "allow it with `--allow security.insecure`, if you trust this Dockerfile with the whole machine",
            )),
        },
    }
}
