//! A resolver of made-up images, and the graph as a few lines of text.

use kiln_dockerfile::parse;
use kiln_graph::{
    Action, CacheSharing, Exec, ImageLocation, MountKind, Network, Op, Owner, Port, SecretTarget, Security, Source,
    Unpack, UserName, Vertex,
};
use kiln_lower::{
    DEFAULT_PATH, ImageConfig, ImageRequest, ImageResolver, LowerError, Lowered, Options, ResolveError, ResolvedImage,
    lower,
};
use std::sync::Mutex;

/// Images by canonical name: what is not listed exists, with one layer and nothing but a PATH; `*/missing:*` does not exist.
#[derive(Default)]
pub(crate) struct Images {
    pub(crate) configs: Vec<(&'static str, &'static str)>,
    /// What was asked for, sorted.
    asked: Mutex<Vec<String>>,
}

impl Images {
    pub(crate) fn with(configs: &[(&'static str, &'static str)]) -> Self {
        Self { configs: configs.to_vec(), asked: Mutex::default() }
    }

    pub(crate) fn asked(&self) -> Vec<String> {
        let mut asked = self.asked.lock().unwrap().clone();
        asked.sort();
        asked
    }
}

impl ImageResolver for Images {
    fn resolve(&self, request: &ImageRequest) -> Result<ResolvedImage, ResolveError> {
        let ImageRequest { reference, platform, layout } = request;
        let layout_name = layout.as_ref().map(|layout| format!(" in {layout:?}")).unwrap_or_default();
        self.asked.lock().unwrap().push(format!("{reference} {platform}{layout_name}"));
        if reference.contains("/missing:") {
            return Err(format!("`{reference}` does not exist").into());
        }
        let json = self.configs.iter().find(|(name, _)| name == reference).map_or(
            r#"{"config": {"Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"]}}"#,
            |(_, json)| json,
        );
        let mut config = ImageConfig::from_json(json.as_bytes())?;
        if config.os.is_empty() {
            config.os.clone_from(&platform.os);
            config.architecture.clone_from(&platform.architecture);
            config.variant.clone_from(&platform.variant);
        }
        if !json.contains("diff_ids") {
            config.rootfs.diff_ids = vec!["sha256:1".to_owned()];
        }
        Ok(ResolvedImage {
            reference: reference.clone(),
            digest: kiln_digest::Digest::of_bytes(reference.as_bytes()),
            platform: platform.clone(),
            location: match layout {
                Some(layout) => ImageLocation::Layout(layout.path.clone()),
                None => ImageLocation::Registry,
            },
            config,
        })
    }
}

/// Options for linux/amd64, whatever the tests run on.
pub(crate) fn options() -> Options {
    let amd64: kiln_graph::Platform = "linux/amd64".parse().unwrap();
    Options { platform: amd64.clone(), build_platform: amd64, ..Options::default() }
}

pub(crate) fn try_lower_with(text: &str, options: &Options, images: &Images) -> Result<Lowered, LowerError> {
    let (dockerfile, errors) = parse(text);
    assert_eq!(errors, [], "the Dockerfile is well-formed");
    lower(&dockerfile, options, images)
}

pub(crate) fn lower_with(text: &str, options: &Options, images: &Images) -> Lowered {
    try_lower_with(text, options, images).unwrap_or_else(|error| panic!("{error}"))
}

pub(crate) fn lower_text(text: &str) -> Lowered {
    lower_with(text, &options(), &Images::default())
}

/// The graph of a Dockerfile as text.
pub(crate) fn graph(text: &str) -> String {
    render(&lower_text(text))
}

pub(crate) fn graph_with(text: &str, options: &Options, images: &Images) -> String {
    render(&lower_with(text, options, images))
}

/// The history of the image as text, one entry a line; those without a layer in parentheses.
pub(crate) fn history(lowered: &Lowered) -> String {
    let mut text = String::new();
    for entry in &lowered.config.history {
        assert_eq!(entry.comment, "buildkit.dockerfile.v0");
        let line = entry.created_by.replace('\n', "⏎");
        text.push_str(&if entry.empty_layer { format!("({line})\n") } else { format!("{line}\n") });
    }
    text
}

/// `config` of the image as JSON, without a PATH that says nothing.
pub(crate) fn config(text: &str) -> String {
    config_of(&lower_text(text))
}

pub(crate) fn config_of(lowered: &Lowered) -> String {
    let mut config = lowered.config.config.clone();
    config.env.retain(|pair| *pair != format!("PATH={DEFAULT_PATH}"));
    serde_json::to_string_pretty(&config).unwrap()
}

pub(crate) fn render(lowered: &Lowered) -> String {
    let mut text = String::new();
    for (index, vertex) in lowered.graph.vertices().iter().enumerate() {
        let cache = if vertex.use_cache { "" } else { " (no cache)" };
        text.push_str(&format!("{index}: {}{cache}\n", shorten(&vertex.label.name)));
        for line in details(vertex) {
            text.push_str(&format!("     {line}\n"));
        }
    }
    match lowered.target {
        Some(target) => text.push_str(&format!("-> {}", target.0)),
        None => text.push_str("-> nothing"),
    }
    text
}

/// On one line, and with the start of a digest only.
fn shorten(name: &str) -> String {
    let name = name.replace('\n', "⏎");
    match name.split_once("@sha256:") {
        Some((before, after)) => format!("{before}@{}{}", &after[..4], &after[64..]),
        None => name,
    }
}

fn details(vertex: &Vertex) -> Vec<String> {
    let at = |port: Port| vertex.inputs[port.0 as usize].0;
    match &vertex.op {
        Op::Source(Source::Image(image)) => match &image.location {
            ImageLocation::Registry => vec![format!("image {} {}", image.reference, image.platform)],
            ImageLocation::Layout(path) => vec![format!("image of {path} {}", image.platform)],
        },
        Op::Source(Source::Local(local)) => vec![format!("local {}", local.name)],
        Op::Source(Source::Http(file)) => {
            let checksum = file.checksum.map(|digest| format!(" {}", digest.short())).unwrap_or_default();
            vec![format!("http {} as {}{checksum}", file.url, file.filename)]
        }
        Op::Source(Source::Git(tree)) => {
            let part = |what: &str, value: &Option<String>| {
                value.iter().map(|text| format!(" {what}{text}")).collect::<String>()
            };
            let keep = if tree.keep_git_dir { " .git" } else { "" };
            let bare = if tree.submodules { "" } else { " without submodules" };
            let (reference, subdir) = (part("#", &tree.reference), part(":", &tree.subdir));
            vec![format!("git {}{reference}{subdir}{}{keep}{bare}", tree.remote, part("is ", &tree.checksum))]
        }
        Op::Exec(exec) => exec_details(exec, &at),
        Op::File(file) => {
            let mut lines = vec![match file.base {
                Some(base) => format!("file on {}", at(base)),
                None => "file on nothing".to_owned(),
            }];
            lines.extend(file.actions.iter().map(|action| action_details(action, &at)));
            lines
        }
    }
}

fn action_details(action: &Action, at: &dyn Fn(Port) -> u32) -> String {
    match action {
        Action::Copy(copy) => {
            let mut line = format!("copy {}:{:?} to {}", at(copy.from), copy.sources, copy.dest);
            if let Some(owner) = &copy.owner {
                line.push_str(&format!(" owner {}", owner_text(owner)));
            }
            if let Some(mode) = &copy.mode {
                line.push_str(&format!(" mode {mode:?}"));
            }
            if copy.unpack != Unpack::No {
                line.push_str(&format!(" unpack {:?}", copy.unpack));
            }
            for (set, name) in [(copy.parents, "parents"), (copy.link, "link"), (copy.from_context, "(context)")] {
                if set {
                    line.push_str(&format!(" {name}"));
                }
            }
            if !copy.exclude.is_empty() {
                line.push_str(&format!(" exclude {:?}", copy.exclude));
            }
            line
        }
        Action::Mkdir(mkdir) => {
            let owner = mkdir.owner.as_ref().map(|owner| format!(" owner {}", owner_text(owner))).unwrap_or_default();
            format!("mkdir {} {:o}{owner}", mkdir.path, mkdir.mode)
        }
        Action::Mkfile(file) => {
            let owner = file.owner.as_ref().map(|owner| format!(" owner {}", owner_text(owner))).unwrap_or_default();
            let mode = file.mode.as_ref().map(|mode| format!(" mode {mode:?}")).unwrap_or_default();
            format!("mkfile {} at {} {:?}{mode}{owner}", file.name, file.dest, String::from_utf8_lossy(&file.data))
        }
    }
}

fn owner_text(owner: &Owner) -> String {
    let name = |name: &UserName| match name {
        UserName::Id(id) => id.to_string(),
        UserName::Name(name) => name.clone(),
    };
    match &owner.group {
        Some(group) => format!("{}:{}", name(&owner.user), name(group)),
        None => name(&owner.user),
    }
}

fn exec_details(exec: &Exec, at: &dyn Fn(Port) -> u32) -> Vec<String> {
    let mut lines = vec![match exec.root {
        Some(root) => format!("exec on {} in {} {:?}", at(root), exec.cwd, exec.args),
        None => format!("exec on nothing in {} {:?}", exec.cwd, exec.args),
    }];
    let pair = |(name, value): &(String, String)| format!("{name}={value}");
    let env: Vec<_> = exec.env.iter().map(pair).filter(|pair| *pair != format!("PATH={DEFAULT_PATH}")).collect();
    if !env.is_empty() {
        lines.push(format!("env {}", env.join(" ")));
    }
    if !exec.transparent_env.is_empty() {
        lines.push(format!("transparent {}", exec.transparent_env.iter().map(pair).collect::<Vec<_>>().join(" ")));
    }
    if let Some(user) = &exec.user {
        lines.push(format!("user {user}"));
    }
    if exec.network != Network::Default {
        lines.push(format!("network {:?}", exec.network));
    }
    if exec.security != Security::Sandbox {
        lines.push(format!("security {:?}", exec.security));
    }
    for (name, value) in [
        ("hostname", exec.hostname.clone()),
        ("shm", exec.shm_size.map(|size| size.to_string())),
        ("cgroup", exec.cgroup_parent.clone()),
    ] {
        if let Some(value) = value {
            lines.push(format!("{name} {value}"));
        }
    }
    for limit in &exec.ulimits {
        lines.push(format!("ulimit {} {} {}", limit.name, limit.soft, limit.hard));
    }
    for host in &exec.extra_hosts {
        lines.push(format!("host {} {}", host.host, host.ip));
    }
    for mount in &exec.mounts {
        let mode = if mount.read_only { "ro" } else { "rw" };
        lines.push(format!("mount {} {mode} {}", mount.target, mount_details(&mount.kind, at)));
    }
    lines
}

fn mount_details(kind: &MountKind, at: &dyn Fn(Port) -> u32) -> String {
    match kind {
        MountKind::Bind { from, source } => format!("bind {}:{source}", at(*from)),
        MountKind::Cache { id, sharing, from, source, mode, uid, gid } => {
            let mut text = format!("cache {id}");
            if *sharing != CacheSharing::Shared {
                text.push_str(&format!(" {sharing:?}"));
            }
            if let Some(from) = from {
                text.push_str(&format!(" from {}", at(*from)));
            }
            if source != "/" {
                text.push_str(&format!(" source {source}"));
            }
            if let Some(mode) = mode {
                text.push_str(&format!(" mode {mode:o}"));
            }
            if (*uid, *gid) != (0, 0) {
                text.push_str(&format!(" owner {uid}:{gid}"));
            }
            text
        }
        MountKind::Tmpfs { size } => format!("tmpfs {size:?}"),
        MountKind::Secret { id, target, required, mode, uid, gid } => {
            let shown = match target {
                SecretTarget::File => "file".to_owned(),
                SecretTarget::Env(name) => format!("${name}"),
                SecretTarget::FileAndEnv(name) => format!("file and ${name}"),
            };
            format!("secret {id} {shown} {mode:o} {uid}:{gid}{}", if *required { " required" } else { "" })
        }
        MountKind::Ssh { id, required, mode, uid, gid } => {
            format!("ssh {id} {mode:o} {uid}:{gid}{}", if *required { " required" } else { "" })
        }
    }
}
