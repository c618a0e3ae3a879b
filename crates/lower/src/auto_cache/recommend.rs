//! The same caches as mounts that a Dockerfile can ask for: what a fix writes into a RUN.

use super::apt;
use kiln_graph::{AutoCache, CacheDirectory, CachePurpose, CacheSharing, Exec};

/// A `--mount=type=cache` that would do for a step what its automatic cache does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecommendedMount {
    /// The command that it is for: `go build`.
    pub command: String,
    /// `target=`, an absolute path.
    pub target: String,
    /// `sharing=`.
    pub sharing: CacheSharing,
    /// `id=`, where the target alone would be shared by what does not fit together.
    pub id: Option<String>,
    /// The variable that tells the tool the same place, for an `ENV` beside it.
    pub variable: Option<&'static str>,
}

/// The mounts for a step that was lowered with [`AutoCacheMode::Safe`](super::AutoCacheMode): only where they change nothing that the image, or
/// any later step, would find. For packages of the system, what empties their directories in the step and in the image
/// (`rm -rf /var/lib/apt/lists/*`, `docker-clean`) must be taken out as well for them to help.
pub fn recommended_mounts(exec: &Exec) -> Vec<RecommendedMount> {
    exec.auto_caches
        .iter()
        .filter(|cache| cache.purpose == CachePurpose::Pure)
        .flat_map(|cache| mounts(exec, cache))
        .collect()
}

fn mounts(exec: &Exec, cache: &AutoCache) -> Vec<RecommendedMount> {
    let Some(path) = absolute(exec, &cache.directory) else { return Vec::new() };
    let targets =
        apt::own_directories(&path).map_or_else(|| vec![path], |own| own.iter().map(|&own| own.to_owned()).collect());
    let mount = |target: String| RecommendedMount {
        command: cache.command.clone(),
        id: of_system(&cache.id).map(|(tool, base)| {
            let last = target.rsplit('/').next().unwrap_or_default();
            let what = if last == tool { tool.to_owned() } else { format!("{tool}-{last}") };
            format!("{what}-{}", base.replace(':', "-"))
        }),
        sharing: cache.sharing,
        variable: (cache.id.starts_with("go/build/")).then_some("GOCACHE"),
        target,
    };
    targets.into_iter().map(mount).collect()
}

/// The package manager and the image's own name in an id of a cache of system packages.
fn of_system(id: &str) -> Option<(&str, &str)> {
    let (tool, rest) = id.split_once('/')?;
    if !matches!(tool, "apt" | "apk" | "dnf") {
        return None;
    }
    // The platform is the last two parts or three.
    rest.split('/').find(|part| part.contains(':')).map(|base| (tool, base))
}

fn absolute(exec: &Exec, directory: &CacheDirectory) -> Option<String> {
    match directory {
        CacheDirectory::Absolute(path) => Some(path.clone()),
        CacheDirectory::Home(below) => {
            let home = exec.env.iter().find(|(name, _)| name == "HOME").map(|(_, home)| home.as_str());
            let is_root =
                matches!(exec.user.as_deref().unwrap_or_default().split(':').next(), Some("" | "root" | "0") | None);
            let home = home.or(is_root.then_some("/root"))?;
            Some(format!("{}/{below}", home.trim_end_matches('/')))
        }
    }
}
