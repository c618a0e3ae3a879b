//! The mounts of RUN: typed fields to [`kiln_graph::Mount`]s, with BuildKit's defaults for what is not said.

use crate::LowerError;
use crate::paths::{absolute, clean};
use crate::stage::{Ports, Step, Tree};
use kiln_dockerfile::Span;
use kiln_dockerfile::ast::MountFlag;
use kiln_dockerfile::mount::{self, Bind, Cache, DEFAULT_SECRET_MODE, DEFAULT_SSH_MODE, Secret, Sharing, Ssh, Tmpfs};
use kiln_graph::{CacheSharing, Exec, Mount, MountKind, SecretTarget};

/// Where scripts look for the agent.
const SSH_VARIABLE: &str = "SSH_AUTH_SOCK";

/// Adds the mounts of a RUN to its exec op, in order, and their trees to its inputs.
///
/// # Errors
/// A mount that cannot be read, a target that is the root, or a stage that stands further down.
pub(crate) fn lower(
    step: &mut Step<'_>,
    flags: &[MountFlag],
    exec: &mut Exec,
    ports: &mut Ports,
) -> Result<(), LowerError> {
    let sources = &step.command.sources;
    let mut sockets = Vec::new();
    for (flag, source) in flags.iter().zip(sources) {
        let fields = flag.expand(|word| step.expand(word))?;
        let from_span = flag.value("from").map_or(flag.span, |word| word.span);
        let tree = match source {
            Some(node) => Some(step.tree(*node, from_span)?),
            None => None,
        };
        let lowered = match mount::parse(&fields, flag.span)? {
            mount::Mount::Bind(bind) => self::bind(step, bind, tree, flag.span, ports)?,
            mount::Mount::Cache(cache) => self::cache(step, cache, tree, flag.span, ports)?,
            mount::Mount::Tmpfs(tmpfs) => self::tmpfs(step, tmpfs, flag.span)?,
            mount::Mount::Secret(secret) => self::secret(step, secret, flag.span)?,
            mount::Mount::Ssh(ssh) => {
                let mount = self::ssh(step, ssh, sockets.len(), flag.span)?;
                sockets.push(mount.target.clone());
                mount
            }
        };
        step.out.parameters.mount(&lowered, flag.span);
        exec.mounts.push(lowered);
    }
    if let Some(socket) = sockets.into_iter().next()
        && !exec.env.iter().any(|(name, _)| name == SSH_VARIABLE)
    {
        exec.env.to_mut().push((SSH_VARIABLE.to_owned(), socket));
    }
    Ok(())
}

fn bind(
    step: &mut Step<'_>,
    bind: Bind,
    tree: Option<Tree>,
    span: Span,
    ports: &mut Ports,
) -> Result<Mount, LowerError> {
    let tree = match tree {
        Some(tree) => tree,
        None => step.context(),
    };
    let from = ports.of(step.vertex(tree));
    Ok(Mount {
        target: target(step, &bind.target, span)?,
        read_only: bind.readonly,
        kind: MountKind::Bind { from, source: source(bind.source) },
    })
}

fn cache(
    step: &mut Step<'_>,
    cache: Cache,
    tree: Option<Tree>,
    span: Span,
    ports: &mut Ports,
) -> Result<Mount, LowerError> {
    let id = cache.id.unwrap_or_else(|| clean(&cache.target));
    let source = source(cache.source);
    // Mode and owner are those of a root that is made, which is empty then; a path of another tree has its own.
    let made = source == "/" && (cache.mode.is_some() || cache.uid.is_some() || cache.gid.is_some());
    let from = match tree {
        None | Some(Tree::Empty) => None,
        Some(_) if made => None,
        Some(tree) => Some(ports.of(step.vertex(tree))),
    };
    Ok(Mount {
        target: target(step, &cache.target, span)?,
        read_only: cache.readonly,
        kind: MountKind::Cache {
            id: match &step.build.settings.cache_namespace {
                Some(namespace) => format!("{namespace}/{id}"),
                None => id,
            },
            sharing: match cache.sharing {
                Sharing::Shared => CacheSharing::Shared,
                Sharing::Private => CacheSharing::Private,
                Sharing::Locked => CacheSharing::Locked,
            },
            from,
            source,
            mode: made.then(|| cache.mode.unwrap_or(0o755) & 0o777),
            uid: cache.uid.filter(|_| made).unwrap_or(0),
            gid: cache.gid.filter(|_| made).unwrap_or(0),
        },
    })
}

fn tmpfs(step: &Step<'_>, tmpfs: Tmpfs, span: Span) -> Result<Mount, LowerError> {
    Ok(Mount {
        target: target(step, &tmpfs.target, span)?,
        read_only: tmpfs.readonly,
        kind: MountKind::Tmpfs { size: tmpfs.size },
    })
}

fn secret(step: &Step<'_>, secret: Secret, span: Span) -> Result<Mount, LowerError> {
    let shown = match (&secret.env, &secret.target) {
        (None, _) => SecretTarget::File,
        (Some(name), None) => SecretTarget::Env(name.clone()),
        (Some(name), Some(_)) => SecretTarget::FileAndEnv(name.clone()),
    };
    let file = secret.target.unwrap_or_else(|| {
        let name = secret.id.trim_end_matches('/').rsplit('/').next().unwrap_or_default();
        format!("/run/secrets/{name}")
    });
    Ok(Mount {
        target: target(step, &file, span)?,
        read_only: true,
        kind: MountKind::Secret {
            id: secret.id,
            target: shown,
            required: secret.required,
            mode: secret.mode.unwrap_or(DEFAULT_SECRET_MODE),
            uid: secret.uid.unwrap_or(0),
            gid: secret.gid.unwrap_or(0),
        },
    })
}

fn ssh(step: &Step<'_>, ssh: Ssh, number: usize, span: Span) -> Result<Mount, LowerError> {
    let socket = ssh.target.unwrap_or_else(|| format!("/run/buildkit/ssh_agent.{number}"));
    Ok(Mount {
        target: target(step, &socket, span)?,
        read_only: true,
        kind: MountKind::Ssh {
            id: ssh.id.unwrap_or_else(|| "default".to_owned()),
            required: ssh.required,
            mode: ssh.mode.unwrap_or(DEFAULT_SSH_MODE),
            uid: ssh.uid.unwrap_or(0),
            gid: ssh.gid.unwrap_or(0),
        },
    })
}

/// Where a mount goes: below the working directory when the text is relative.
fn target(step: &Step<'_>, text: &str, span: Span) -> Result<String, LowerError> {
    let full = absolute(&step.workdir(), text).into_owned();
    if full == "/" {
        return Err(LowerError::new("a mount cannot take the place of the root directory", span)
            .hint("give it a target below `/`"));
    }
    if full == "/proc" || full.starts_with("/proc/") {
        return Err(LowerError::new(format!("a mount cannot be at `{full}`: `/proc` is the kernel's"), span)
            .hint("give it a target elsewhere"));
    }
    Ok(full)
}

fn source(text: Option<String>) -> String {
    text.map_or_else(|| "/".to_owned(), |text| absolute("/", &text).into_owned())
}
