//! The options of `docker buildx build` and `docker run` that kiln does not have, with what to do instead.

/// Options of `docker buildx build`.
const BUILD: &[(&str, &str)] = &[
    ("--builder", "kiln needs no builder; leave it out"),
    ("--compress", "the context is never sent anywhere; leave it out"),
    ("--disable-content-trust", "kiln checks no signatures; leave it out"),
    ("--force-rm", "nothing is left of a failed step anyway; leave it out"),
    ("--isolation", ""),
    ("--policy", ""),
    ("--print", ""),
    ("--rm", "nothing is left of a step anyway; leave it out"),
    ("--security-opt", ""),
    ("--squash", ""),
    ("--stream", ""),
];

/// Options of `docker run`.
const RUN: &[(&str, &str)] = &[
    ("--add-host", ""),
    ("--cap-add", ""),
    ("--cap-drop", ""),
    ("--cpus", ""),
    ("--detach", "kiln is no daemon: run it in the background with `kiln run … &`"),
    ("-d", "kiln is no daemon: run it in the background with `kiln run … &`"),
    ("--env-file", ""),
    ("--gpus", ""),
    ("--hostname", ""),
    ("-h", ""),
    ("--init", ""),
    ("--interactive", "the program always has kiln's own standard input; leave it out"),
    ("-i", "the program always has kiln's own standard input; leave it out"),
    ("--mount", ""),
    ("--name", "nothing is left of the container when it ends; leave it out"),
    ("--platform", ""),
    ("--privileged", ""),
    ("--publish", "`--network host` shares the host's network"),
    ("-p", "`--network host` shares the host's network"),
    ("--tty", "the program always has kiln's own terminal, if there is one; leave it out"),
    ("-t", "the program always has kiln's own terminal, if there is one; leave it out"),
    ("--volume", ""),
    ("-v", ""),
];

/// Commands of `docker` that kiln has not, or by another name.
const COMMANDS: &[(&str, &str)] = &[
    ("bake", "each target is a `kiln build` of its own"),
    ("builder", "`kiln du` and `kiln prune` look after the caches"),
    ("buildx", "kiln builds without it: `kiln build …`"),
    ("container", "no container outlives `kiln run`"),
    ("create", "no container outlives `kiln run`"),
    ("exec", "no container outlives `kiln run`"),
    ("history", "`kiln build -o type=oci,tar=false,dest=DIR` writes the config, which has the history"),
    ("image", "`kiln images` and `kiln rmi` list and remove images"),
    ("load", "images of a layout are used with `--build-context NAME=oci-layout://DIR`"),
    ("ls", "`kiln images` lists images"),
    ("lint", "`kiln check` lints a Dockerfile"),
    ("ps", "no container outlives `kiln run`"),
    ("rm", "`kiln rmi` removes images"),
    ("save", "`kiln build -o type=docker,dest=FILE` writes an archive"),
    ("start", "no container outlives `kiln run`"),
    ("stop", "no container outlives `kiln run`"),
    ("system", "`kiln du` and `kiln prune` look after the store"),
    ("volume", "`kiln cache` lists and removes cache mounts"),
];

/// The hint for a command that Docker has and kiln has not.
pub(super) fn command(name: &str) -> Option<&'static str> {
    COMMANDS.iter().find(|(command, _)| *command == name).map(|(_, hint)| *hint)
}

/// The hint for an option of `kiln COMMAND` that Docker has and kiln has not; empty where there is no way around it.
pub(super) fn lookup(command: &str, option: &str) -> Option<&'static str> {
    let table = match command {
        "build" => BUILD,
        "run" => RUN,
        _ => return None,
    };
    table.iter().find(|(name, _)| *name == option).map(|(_, hint)| *hint)
}
