//! The options of `kiln build` that say what RUN steps have and may do.

use super::{secret, ssh};
use crate::error::UsageError;
use crate::resources::{self, ResourceArgs};
use crate::values;
use clap::Args;
use kiln_engine::Entitlements;
use kiln_graph::{HostEntry, Network, Ulimit};

/// Options about RUN steps.
#[derive(Debug, Args)]
#[command(next_help_heading = "Options for RUN steps")]
pub(crate) struct StepArgs {
    /// A secret for RUN --mount=type=secret: id=ID[,src=FILE|,env=NAME][,type=file|env]
    #[arg(long = "secret", value_name = "SECRET", value_parser = secret::parse)]
    pub(super) secrets: Vec<secret::Secret>,
    /// An SSH agent, or private keys, for RUN --mount=type=ssh; an id alone is the agent of $SSH_AUTH_SOCK
    #[arg(long, value_name = "ID[=SOCKET|KEY[,KEY]]", value_parser = ssh::parse)]
    pub(super) ssh: Vec<ssh::Ssh>,
    /// Let steps ask for more than a sandbox: network.host or security.insecure
    #[arg(long, value_name = "ENTITLEMENT", value_delimiter = ',', value_parser = entitlement)]
    pub(super) allow: Vec<Entitlement>,
    /// The network of steps
    #[arg(long, value_name = "default|none|host", default_value = "default", value_parser = values::network)]
    pub(super) network: Network,
    /// A further line of /etc/hosts
    #[arg(long = "add-host", value_name = "HOST:IP", value_parser = values::host)]
    pub(super) add_hosts: Vec<HostEntry>,
    /// The size of /dev/shm, for instance 128m [default: 64m]
    #[arg(long, value_name = "BYTES", value_parser = values::size)]
    pub(super) shm_size: Option<u64>,
    /// A resource limit
    #[arg(long = "ulimit", value_name = "NAME=SOFT[:HARD]", value_parser = values::ulimit)]
    pub(super) ulimits: Vec<Ulimit>,
    /// The control group below which steps run [default: /kiln for steps with limits, else kiln's own]
    #[arg(long, value_name = "CGROUP", value_parser = resources::cgroup_parent)]
    pub(super) cgroup_parent: Option<String>,
    #[command(flatten)]
    pub(super) resources: ResourceArgs,
}

/// Something that `--allow` allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Entitlement {
    NetworkHost,
    SecurityInsecure,
}

/// What the steps are allowed.
pub(super) fn entitlements(allowed: &[Entitlement]) -> Entitlements {
    Entitlements {
        network_host: allowed.contains(&Entitlement::NetworkHost),
        security_insecure: allowed.contains(&Entitlement::SecurityInsecure),
    }
}

fn entitlement(text: &str) -> Result<Entitlement, UsageError> {
    match text {
        "network.host" => Ok(Entitlement::NetworkHost),
        "security.insecure" => Ok(Entitlement::SecurityInsecure),
        _ if text == "device" || text.starts_with("device=") => {
            Err(UsageError::unsupported("devices are not supported").hint("kiln gives no devices to steps"))
        }
        other => Err(UsageError::new(format!("unknown entitlement `{other}`"))
            .hint("expected `network.host` or `security.insecure`")),
    }
}
