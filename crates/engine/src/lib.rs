//! Puts kiln together: a [`BuildRequest`] goes in, [`Event`]s come out while it works, and a [`BuildOutcome`] at the end.
//!
//! The engine renders nothing and knows no terminal. What it needs of the outside world it finds in the [`Engine`]'s
//! settings, never in environment variables.

mod archive;
mod attest;
mod build;
mod cancel;
mod check;
mod engine;
mod error;
mod event;
mod export;
mod fix;
mod history;
mod lint;
mod maintenance;
mod ops;
mod outcome;
mod output;
mod remote_cache;
mod request;
mod run;
mod snapshot;
mod transfer;

pub use archive::ContextArchive;
pub use attest::{AttestationOptions, ProvenanceMode, ProvenanceOptions};
pub use cancel::{CancelToken, HookGuard};
pub use check::{Check, Outline, OutlineArg, OutlineMount, Target, Targets};
pub use engine::{Engine, Settings};
pub use error::{EngineError, ErrorKind, Place};
pub use event::{Event, EventSink, ImageLayer, StepId, Stream, Wait};
pub use fix::Fixed;
pub use history::{
    Advice, BuildRecord, Cause, History, ImageRecord, StepEnd, StepKind, StepRecord, TransferRecord, WaitRecord,
};
pub use kiln_dockerfile::rules::{Edit, Fix};
pub use kiln_exporters::DaemonAddress;
pub use kiln_remote::{CacheExport, CacheImport, LocationError as CacheLocationError};
pub use kiln_solver::{Change, Reason, or_none};
pub use kiln_ssh::{Agent as SshAgent, OpenError as SshError};
pub use kiln_store::HistoryId;
pub use lint::{Lint, Lints, Rules};
pub use maintenance::{
    CacheMountInfo, CacheMountKey, ImageSummary, MountId, PruneRequest, Pruned, RemovedMounts, Usage, UsageKind,
    UsageRow,
};
pub use outcome::{BuildOutcome, ManifestDescriptor, StepCounts};
pub use output::{Annotation, AnnotationPlace, Destination, ImageOptions, ImageOutput, LayerCompression, Output, Push};
pub use remote_cache::{CacheContents, CacheLimits, CachedLayerInfo, CachedMountInfo, CollectedCache, ImportedCache};
pub use request::{
    AutoCacheMode, BuildRequest, ContextSource, DockerfileSource, Entitlements, NamedContextSource, NoCache,
    SecretSource, SecretValue,
};
pub use run::{RunEnd, RunRequest};
pub use transfer::{ImageDetails, PlatformDetails, Pulled, PushRequest};
