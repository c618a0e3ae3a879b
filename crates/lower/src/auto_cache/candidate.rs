//! One step: what its commands are, what that has to do with the directories of other steps, and which caches it gets.

use super::mentions::{Directories, Directory, Mask, Mentions};
use super::policy::After;
use super::shell::Command;
use super::step::Step;
use super::tool::{Cache, Clears, Index, Kind, Place, TOOLS, Tool, Use};
use crate::AutoCacheMode;
use kiln_graph::{AutoCache, CacheDirectory, CachePurpose, Exec, MountKind, Network};

/// A step that names a tool, or stands on one that does.
pub(super) struct Candidate<'a> {
    step: Step<'a>,
    /// What its commands are to the rules, in their order.
    uses: Vec<Recognised>,
    /// What the step may get.
    caches: Vec<Proposal>,
    is_root: bool,
    /// Whether it does something to the configuration that downloads take.
    configures: bool,
    said: Mentions,
}

/// A command that is a tool's.
struct Recognised {
    /// The command's place in the step.
    command: usize,
    tool: &'static Tool,
    /// What it does. Its caches are among the step's.
    found: Use,
    /// Whether the tool keeps anything.
    keeps: bool,
}

struct Proposal {
    /// The place of the command that asks for it among the step's uses.
    by: usize,
    cache: Cache,
    /// The directories in which the step then leaves nothing.
    mask: Mask,
}

impl<'a> Candidate<'a> {
    /// Asks the rules. `system` tells stages apart by the packages that were installed, and takes those of this step.
    pub(super) fn new(
        step: Step<'a>,
        base: &str,
        platform: &str,
        system: &mut Option<u64>,
        directories: &mut Directories,
    ) -> Self {
        let is_root = is_root(step.exec);
        if step.commands.iter().flatten().any(|command| command.name().is_some_and(installs_packages)) {
            *system = Some(fingerprint(system.unwrap_or_default(), step.text, &step.exec.args));
        }
        let suffix = system.map(|system| format!("+{:08x}", system >> 32)).unwrap_or_default();
        let place = Place { around: &step.around, base, platform, system: &suffix, is_root };
        let mut uses = Vec::new();
        let mut caches: Vec<Proposal> = Vec::new();
        for (index, command) in step.commands.iter().flatten().enumerate() {
            for tool in TOOLS {
                let Some(mut found) = (tool.recognise)(command, &place) else { continue };
                let keeps = !found.caches.is_empty();
                for cache in found.caches.drain(..) {
                    let is_known = |known: &Proposal| {
                        let known = &known.cache;
                        known.directory == cache.directory
                            && known.purpose == cache.purpose
                            && known.instead_of == cache.instead_of
                    };
                    if let Some(known) = caches.iter_mut().find(|known| is_known(known)) {
                        known.cache.unseen = known.cache.unseen.max(cache.unseen);
                        continue;
                    }
                    // One that is not told from others is none: nobody could say who looks at it.
                    let mask = cache.covers().try_fold(0, |mask, (directory, kind)| {
                        Some(mask | directories.bit(directory, is_root, tool.name, kind)?)
                    });
                    if let Some(mask) = mask {
                        caches.push(Proposal { by: uses.len(), cache, mask });
                    }
                }
                uses.push(Recognised { command: index, tool, found, keeps });
            }
        }
        let configures = CONFIGURATION.iter().any(|fragment| step.says(fragment));
        Self { step, uses, caches, is_root, configures, said: Mentions::default() }
    }

    /// Finds out what the step says of all directories, once they are known.
    pub(super) fn listen(&mut self, directories: &Directories) {
        let own = self.commands().map(|(_, uses)| uses.iter().map(|recognised| recognised.tool.name));
        self.said = directories.mentions(&self.step, own, self.is_root);
    }

    /// Counts what has another name as read, since that may be named by anything; `linked` takes what this step gives one.
    pub(super) fn heed_links(&mut self, linked: &mut Mask) {
        *linked |= self.said.links;
        self.said.reads |= *linked;
    }

    /// Drops what an earlier step left in its layer because later ones look at it; `left` takes what this one looks at.
    pub(super) fn leave_to_earlier(&mut self, left: &mut Mask) {
        let before = *left;
        self.caches.retain(|Proposal { cache, mask, .. }| {
            if cache.kind == Kind::Needed {
                *left |= mask;
            }
            cache.kind != Kind::Needed || mask & before == 0
        });
    }

    /// The commands, each with what it is recognised as.
    fn commands(&self) -> impl Iterator<Item = (&Command, &[Recognised])> {
        let mut rest = &self.uses[..];
        self.step.commands.iter().flatten().enumerate().map(move |(index, command)| {
            let own = rest.iter().take_while(|recognised| recognised.command == index).count();
            (command, rest.split_off(..own).unwrap_or_default())
        })
    }

    /// What this step has to do with directories that steps before it may have left something in.
    pub(super) fn after(&self, directories: &Directories) -> After {
        let mut after = After { blocked: self.said.reads, taken: self.said.takes, ..After::default() };
        let of = |tool: &str, holds: fn(&Directory) -> bool| {
            directories.mask(|directory| directory.tool == tool && holds(directory))
        };
        let downloads: fn(&Directory) -> bool = |directory| directory.kind != Kind::Made;
        let offline = self.step.exec.network == Network::None;
        for (command, recognised) in self.commands() {
            if recognised.is_empty() && !runs_nothing_else(command) {
                after.wanted = Mask::MAX;
            }
            for Recognised { tool, found, keeps, .. } in recognised {
                if *keeps || found.offline {
                    after.wanted |= of(tool.name, |directory| directory.kind != Kind::Index);
                }
                if found.asks {
                    after.blocked |= of(tool.name, |_| true);
                }
                if found.offline || offline {
                    after.blocked |= of(tool.name, downloads);
                }
                if found.index == Index::Reads && !self.fetches_first(tool.name) {
                    after.blocked |= of(tool.name, |directory| directory.kind == Kind::Index);
                }
            }
        }
        if self.step.commands.is_none() {
            after.wanted = Mask::MAX;
        }
        if offline && after.wanted == Mask::MAX {
            after.blocked |= directories.mask(downloads);
        }
        let known = |name: &str| TOOLS.iter().any(|tool| tool.variables.contains(&name));
        for (name, value) in &self.step.exec.env {
            let is_place = value.starts_with('/') && !value.contains(':') && value != "/";
            if is_place && name != "HOME" && !known(name) {
                after.blocked |= directories.named(value);
            }
        }
        after.configures = self.configures;
        after
    }

    /// Whether the tool's index is fetched before anything could read it.
    fn fetches_first(&self, name: &str) -> bool {
        for (command, recognised) in self.commands() {
            let index = recognised.iter().find(|own| own.tool.name == name).map(|own| own.found.index);
            match index {
                Some(Index::Fetches) if command.certain => return true,
                Some(Index::Reads) => return false,
                None if recognised.is_empty() && !runs_nothing_else(command) => return false,
                _ => {}
            }
        }
        false
    }

    /// The caches that the step gets.
    pub(super) fn decide(
        &self,
        after: After,
        in_image: bool,
        mode: AutoCacheMode,
        directories: &Directories,
    ) -> Vec<AutoCache> {
        if self.caches.is_empty() || mode == AutoCacheMode::Off || (in_image && mode == AutoCacheMode::Safe) {
            return Vec::new();
        }
        let alone = after.configures || self.may_download_alone();
        let guarded = directories.mask(|directory| match directory.kind {
            Kind::Made => false,
            Kind::Downloaded => alone,
            Kind::Needed | Kind::Index => true,
        });
        let indexes = directories.mask(|directory| directory.kind == Kind::Index);
        let mut given: Vec<AutoCache> = Vec::new();
        for proposal in &self.caches {
            let Proposal { by, cache, mask } = proposal;
            let Recognised { tool, found, .. } = &self.uses[*by];
            let mut requires = cache.made_from.first().cloned();
            let allowed = if cache.purpose == CachePurpose::Output {
                mode == AutoCacheMode::All
                    && !in_image
                    && mask & (after.taken | self.said.takes | self.said.removes) == 0
            } else {
                let redirected = !cache.instead_of.is_empty();
                // What the step empties by itself nobody could have found after it.
                let emptied = if redirected { self.said.empties } else { 0 };
                let named = self.said.reads | if redirected { 0 } else { self.said.removes | self.said.makes };
                let missed = (after.blocked | (after.wanted & guarded)) & !emptied;
                let mut stays = mask & !emptied;
                if let Some((directory, path)) = &cache.emptied_by
                    && in_image
                    && let Some(bit) = directories.known(directory, tool.name, Kind::Downloaded)
                    && stays & bit != 0
                {
                    stays &= !bit;
                    requires = Some((*path).to_owned());
                }
                let order = mask & indexes == 0 || self.fetches_first(tool.name);
                mask & (named | missed) == 0 && order && (!in_image || (redirected && stays == 0))
            };
            // Of those with one id the first that may be given is: what the others would hold is in it. Where that depends on a file
            // of the root, the next stands in for it.
            let stands =
                |known: &AutoCache| known.id == cache.id && (known.requires.is_none() || known.requires == requires);
            let is_new = cache.purpose == CachePurpose::Output || !given.iter().any(stands);
            if allowed && is_new && !self.clears(proposal, directories) && !self.has_mount(cache) {
                let setup = cache.setup.map(|setup| setup(&cache.directory, requires.is_some())).unwrap_or_default();
                given.push(AutoCache {
                    command: found.label.clone(),
                    directory: cache.directory.clone(),
                    id: cache.id.clone(),
                    sharing: cache.sharing,
                    purpose: cache.purpose,
                    env: setup.env,
                    files: setup.files,
                    requires,
                    made_from: cache.made_from.clone(),
                    unseen: cache.unseen,
                });
            }
        }
        // What lies in an output comes and goes with it.
        let outputs: Vec<CacheDirectory> = given
            .iter()
            .filter(|cache| cache.purpose == CachePurpose::Output)
            .map(|cache| cache.directory.clone())
            .collect();
        given.retain(|cache| {
            cache.purpose == CachePurpose::Output || !outputs.iter().any(|output| is_in(&cache.directory, output))
        });
        given
    }

    /// Whether a command of the step empties the cache, tells what is in it, or needs what earlier steps downloaded.
    fn clears(&self, proposal: &Proposal, directories: &Directories) -> bool {
        let offline = self.step.exec.network == Network::None;
        let downloads = proposal.cache.kind != Kind::Made;
        let by = self.uses[proposal.by].tool.name;
        self.uses.iter().filter(|own| own.tool.name == by).any(|Recognised { tool, found, .. }| match &found.clears {
            _ if found.asks || (downloads && (found.offline || offline)) => true,
            Clears::Nothing => false,
            Clears::Everything => true,
            Clears::This(directory) => {
                directories.known(directory, tool.name, Kind::Downloaded).is_some_and(|bit| proposal.mask & bit != 0)
            }
        })
    }

    /// Whether the step has a mount of its own there.
    fn has_mount(&self, cache: &Cache) -> bool {
        if self.step.exec.mounts.is_empty() {
            return false;
        }
        let mut own = Directories::default();
        for directory in cache.covers().map(|(directory, _)| directory).chain([(&cache.directory).into()]) {
            own.bit(directory, self.is_root, "", cache.kind);
        }
        self.step.exec.mounts.iter().any(|mount| own.at(&mount.target) != 0)
    }

    /// Whether the step has something that downloads may take and later steps may lack.
    fn may_download_alone(&self) -> bool {
        let exec = self.step.exec;
        let lent = exec.mounts.iter().any(|mount| match &mount.kind {
            MountKind::Secret { .. } | MountKind::Ssh { .. } => true,
            MountKind::Bind { .. } => CONFIGURATION.iter().any(|fragment| mount.target.contains(fragment)),
            MountKind::Cache { .. } | MountKind::Tmpfs { .. } => false,
        });
        let names_a_source = || SOURCES.iter().any(|fragment| self.step.says(fragment));
        lent || exec.network == Network::Host || self.configures || names_a_source()
    }
}

pub(super) fn is_root(exec: &Exec) -> bool {
    let user = exec.user.as_deref().unwrap_or_default();
    matches!(user.split(':').next(), None | Some("" | "root" | "0"))
}

fn is_in(inner: &CacheDirectory, outer: &CacheDirectory) -> bool {
    match (inner, outer) {
        (CacheDirectory::Absolute(inner), CacheDirectory::Absolute(outer))
        | (CacheDirectory::Home(inner), CacheDirectory::Home(outer)) => {
            inner.strip_prefix(outer.as_str()).is_some_and(|rest| rest.starts_with('/'))
        }
        _ => false,
    }
}

fn installs_packages(name: &str) -> bool {
    matches!(name, "apt-get" | "apt" | "apk" | "dnf" | "dnf5" | "yum" | "microdnf" | "zypper" | "pacman" | "aptitude")
}

/// FNV-1a, which is the same for every version of kiln.
pub(super) fn fingerprint(before: u64, text: &str, args: &[String]) -> u64 {
    let bytes = args.iter().flat_map(|arg| arg.bytes()).chain(text.bytes());
    bytes.fold(before ^ 0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

/// What files that hold credentials or registries are called, and what writes them.
const CONFIGURATION: &[&str] = &[
    ".npmrc",
    ".yarnrc",
    ".netrc",
    "pip.conf",
    ".pypirc",
    ".git-credentials",
    "git config",
    "insteadOf",
    "auth.json",
    "settings.xml",
    "credentials",
    "uget.",
    "bunfig",
    "config set",
    " login",
    "bundle config",
    "gradle.properties",
];

/// What names a registry or a token for one command.
const SOURCES: &[&str] = &[
    "TOKEN",
    "PASSW",
    "SECRET",
    "_AUTH",
    "_KEY",
    "INDEX_URL",
    "REGISTR",
    "GOPROXY",
    "GOPRIVATE",
    "--registry",
    "index-url",
    "--token",
    " -i http",
];

/// Whether a program only does what it is asked, and never runs a tool on its own.
fn runs_nothing_else(command: &Command) -> bool {
    #[rustfmt::skip]
    let known = matches!(
        command.name(),
        Some(
            "echo" | "printf" | "cd" | "pushd" | "popd" | "test" | "[" | "true" | "false" | ":" | "mkdir" | "rmdir" | "rm" | "cp" | "mv"
                | "ln" | "cat" | "head" | "tail" | "touch" | "chown" | "chmod" | "chgrp" | "ls" | "grep" | "sed" | "tar" | "gzip" | "gunzip"
                | "unzip" | "useradd" | "adduser" | "groupadd" | "addgroup" | "usermod" | "id" | "whoami" | "uname" | "nproc" | "which"
                | "type" | "command" | "curl" | "wget" | "sha256sum" | "md5sum" | "strip" | "upx" | "du" | "df" | "date" | "sleep" | "tee"
                | "sort" | "tr" | "cut" | "wc" | "file" | "ldd" | "stat" | "dirname" | "basename" | "realpath" | "readlink" | "env"
                | "install" | "dpkg" | "update-ca-certificates" | "ldconfig" | "base64" | "jq" | "diff" | "cmp" | "." | "source" | "gpg"
        )
    );
    known
}
