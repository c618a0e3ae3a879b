//! What `--help` and `--version` print. A change here is a change for users: look at it, then `SNAPSHOTS=overwrite cargo test`.

use crate::support::Kiln;
use snapbox::{IntoData, assert_data_eq, str};

fn help(arguments: &[&str]) -> String {
    let ran = Kiln::new().run(arguments);
    ran.succeeds();
    assert_eq!(ran.stderr, "");
    ran.stdout()
}

#[test]
fn top() {
    assert_data_eq!(
        help(&["--help"]),
        str![[r#"
Build, run and keep container images, without a daemon

Usage: kiln [OPTIONS] <COMMAND>

Commands:
  build    Build an image from a Dockerfile
  check    Lint a Dockerfile
  run      Run a program in an image
  pull     Pull images from their registries
  push     Push images to their registries
  tag      Give an image further names
  inspect  Show what an image is
  login    Store the credentials of a registry
  logout   Remove the credentials of a registry
  images   List images
  rmi      Remove images
  du       Show what takes up disk space
  cache    List and remove cache mounts; write, read and tidy caches of other machines
  prune    Remove what no image needs
  why      Tell why the steps of a build ran
  history  List the builds that kiln remembers
  report   Write a page about a build: its times, reasons, sizes and logs
  version  Show the version

Options:
  -h, --help     Print help
  -V, --version  Print version

Global options:
      --root <DIR>     Where kiln keeps images, caches and layers [env: KILN_ROOT] [default:
                       /var/lib/kiln for root, otherwise $XDG_DATA_HOME/kiln]
      --config <FILE>  The configuration file [env: KILN_CONFIG] [default: /etc/kiln/config.toml for
                       root, otherwise $XDG_CONFIG_HOME/kiln/config.toml]
      --debug          Show errors with everything that is known about their causes

"#]]
        .raw()
    );
}

#[test]
fn build() {
    assert_data_eq!(
        help(&["build", "-h"]),
        str![[r#"
Build an image from a Dockerfile

Usage: kiln build [OPTIONS] CONTEXT

Arguments:
  [CONTEXT]...  What COPY and ADD take files from: a directory, a git repository, an archive at an
                http(s) URL; `-` is an archive or a Dockerfile on standard input

Options:
  -f, --file <FILE>                   The Dockerfile, also at an http(s) URL; `-` reads it from
                                      standard input [default: CONTEXT/Dockerfile]
  -t, --tag <NAME[:TAG]>              A name for the image
      --target <STAGE>                The stage to build [default: the last one]
      --build-arg <NAME[=VALUE]>      The value of an ARG; without a value, that of the environment
      --build-context <NAME=CONTEXT>  Another context, for COPY --from, RUN --mount=from and FROM: a
                                      directory, oci-layout://DIR[:TAG][@DIGEST],
                                      docker-image://REFERENCE, a git repository or a file at an
                                      http(s) URL
      --label <NAME[=VALUE]>          A label of the image
      --platform <OS/ARCH[/VARIANT]>  The platforms to build for [default: this machine's]
      --no-cache[=<BOOL>]             Run every step again
      --no-cache-filter <STAGE,...>   Run every step of these stages again
      --no-cache-mounts[=<BOOL>]      Empty the cache mounts of the steps that --no-cache runs
                                      again; without this they keep what they have
      --auto-cache <off|safe|all>     Which caches of their tools RUN steps get without an edit of
                                      the Dockerfile: none; those that no image shows; or those of
                                      the exported stage, and what a step left behind last time, as
                                      well [env: KILN_AUTO_CACHE] [default: safe]
      --cache-from <CACHE>            A cache of other machines to look in:
                                      type=registry|local|s3[,ATTRIBUTE=VALUE,...], or the reference
                                      of one in a registry; of several, the first that has a step
      --cache-to <CACHE>              Where to leave what this build makes, cache mounts included,
                                      for other machines:
                                      type=registry|local|s3|inline[,mode=min|max][,ATTRIBUTE=VALUE,...]
      --pull[=<BOOL>]                 Ask registries again for every base image
  -o, --output <OUTPUT>               Where the result goes:
                                      type=image|registry|oci|docker|local|tar|cacheonly[,ATTRIBUTE=VALUE,...];
                                      a directory; or `-` [default: type=image]
      --push[=<BOOL>]                 Push the image to the registry of its name; short for
                                      --output=type=registry
      --load[=<BOOL>]                 Load the image into the Docker daemon; short for
                                      --output=type=docker
      --annotation <ANNOTATION>       An annotation of the image: [PLACE[PLATFORM],...:]KEY=VALUE,
                                      on the manifest, manifest-descriptor, index or
                                      index-descriptor [default: manifest]
      --attest <ATTESTATION>          What to state of the image, in its index:
                                      type=provenance|sbom[,ATTRIBUTE=VALUE,...]
      --provenance <PROVENANCE>       How the image was made, in its index: true, false, or
                                      mode=min|max[,...]; short for --attest=type=provenance
      --sbom <SBOM>                   What is in the image, in its index: true or false; short for
                                      --attest=type=sbom
      --iidfile <FILE>                Write the image id to a file
      --metadata-file <FILE>          Write the digests and names of the result to a file, as JSON
      --report <FILE>                 Write a page about the build to a file, whatever becomes of
                                      it: its times, reasons, sizes and logs, as HTML
      --trace <FILE>                  Write the times of the build to a file, as JSON for
                                      chrome://tracing or Perfetto
      --call <METHOD>                 What to do: build, or check, outline or targets, which tell of
                                      the Dockerfile; [,format=text|json] [,ignorestatus=BOOL]
                                      [default: build]
      --check[=<BOOL>]                Lint the Dockerfile instead of building it; short for
                                      --call=check
      --progress <MODE>               How to show progress [env: BUILDKIT_PROGRESS] [default: auto]
                                      [possible values: auto, tty, plain, quiet, rawjson]
  -q, --quiet[=<BOOL>]                Show nothing but the image id
  -h, --help                          Print help (see more with '--help')

Options for RUN steps:
      --secret <SECRET>              A secret for RUN --mount=type=secret:
                                     id=ID[,src=FILE|,env=NAME][,type=file|env]
      --ssh <ID[=SOCKET|KEY[,KEY]]>  An SSH agent, or private keys, for RUN --mount=type=ssh; an id
                                     alone is the agent of $SSH_AUTH_SOCK
      --allow <ENTITLEMENT>          Let steps ask for more than a sandbox: network.host or
                                     security.insecure
      --network <default|none|host>  The network of steps [default: default]
      --add-host <HOST:IP>           A further line of /etc/hosts
      --shm-size <BYTES>             The size of /dev/shm, for instance 128m [default: 64m]
      --ulimit <NAME=SOFT[:HARD]>    A resource limit
      --cgroup-parent <CGROUP>       The control group below which steps run [default: /kiln for
                                     steps with limits, else kiln's own]
  -m, --memory <BYTES>               The most memory that it may use, for instance 512m
      --memory-swap <BYTES>          The most memory and swap together; -1 for any [default: twice
                                     the memory]
  -c, --cpu-shares <WEIGHT>          Its weight when all want the processor; that of others is 1024
      --cpu-period <MICROSECONDS>    The period that --cpu-quota is for, in microseconds [default:
                                     100000]
      --cpu-quota <MICROSECONDS>     Processor time in each period, in microseconds
      --cpuset-cpus <LIST>           The processors that it may use, for instance 0-2,5
      --cpuset-mems <LIST>           The memory nodes that it may use, for instance 0-1

Global options:
      --root <DIR>     Where kiln keeps images, caches and layers [env: KILN_ROOT] [default:
                       /var/lib/kiln for root, otherwise $XDG_DATA_HOME/kiln]
      --config <FILE>  The configuration file [env: KILN_CONFIG] [default: /etc/kiln/config.toml for
                       root, otherwise $XDG_CONFIG_HOME/kiln/config.toml]
      --debug          Show errors with everything that is known about their causes

"#]]
        .raw()
    );
}

#[test]
fn check() {
    assert_data_eq!(
        help(&["check", "-h"]),
        str![[r#"
Lint a Dockerfile

Usage: kiln check [OPTIONS] CONTEXT|FILE

Arguments:
  [CONTEXT|FILE]...  What COPY and ADD take files from: a directory, a git repository, an archive at
                     an http(s) URL; `-` is an archive or a Dockerfile on standard input. Or a
                     Dockerfile, whose directory it is then

Options:
  -f, --file <FILE>                   The Dockerfile, also at an http(s) URL; `-` reads it from
                                      standard input [default: CONTEXT/Dockerfile]
      --target <STAGE>                Look at this stage and those that it needs [default: all
                                      stages]
      --build-arg <NAME[=VALUE]>      The value of an ARG; without a value, that of the environment
      --build-context <NAME=CONTEXT>  Another context, for COPY --from, RUN --mount=from and FROM: a
                                      directory, oci-layout://DIR[:TAG][@DIGEST],
                                      docker-image://REFERENCE, a git repository or a file at an
                                      http(s) URL
      --platform <OS/ARCH[/VARIANT]>  The platforms to build for [default: this machine's]
      --fix                           Mend the Dockerfile, as far as its image stays what it is
      --diff                          Print what --fix changes as a patch; without --fix, leave the
                                      file alone
      --format <FORMAT>               How to print what is found [default: text] [possible values:
                                      text, json, sarif]
  -h, --help                          Print help (see more with '--help')

Global options:
      --root <DIR>     Where kiln keeps images, caches and layers [env: KILN_ROOT] [default:
                       /var/lib/kiln for root, otherwise $XDG_DATA_HOME/kiln]
      --config <FILE>  The configuration file [env: KILN_CONFIG] [default: /etc/kiln/config.toml for
                       root, otherwise $XDG_CONFIG_HOME/kiln/config.toml]
      --debug          Show errors with everything that is known about their causes

"#]]
        .raw()
    );
}

#[test]
fn cache() {
    assert_data_eq!(
        help(&["cache", "ls", "-h"]),
        str![[r#"
List cache mounts, with what uses them and how often they helped, or what a remote cache holds

Usage: kiln cache ls [OPTIONS]

Options:
      --from <CACHE>  List what a remote cache holds, named as in `kiln build --cache-from`, instead
                      of this machine's cache mounts
      --json          Print JSON, one object a line
      --no-trunc      Show whole ids, and every step that uses a cache
  -h, --help          Print help

Global options:
      --root <DIR>     Where kiln keeps images, caches and layers [env: KILN_ROOT] [default:
                       /var/lib/kiln for root, otherwise $XDG_DATA_HOME/kiln]
      --config <FILE>  The configuration file [env: KILN_CONFIG] [default: /etc/kiln/config.toml for
                       root, otherwise $XDG_CONFIG_HOME/kiln/config.toml]
      --debug          Show errors with everything that is known about their causes

"#]]
        .raw()
    );
    assert_data_eq!(
        help(&["cache", "rm", "-h"]),
        str![[r#"
Remove cache mounts

Usage: kiln cache rm [OPTIONS] [ID]...

Arguments:
  [ID]...  Ids, the beginnings of ids, or names of cache mounts

Options:
  -a, --all    Remove all cache mounts
  -f, --force  Do not ask
  -h, --help   Print help

Global options:
      --root <DIR>     Where kiln keeps images, caches and layers [env: KILN_ROOT] [default:
                       /var/lib/kiln for root, otherwise $XDG_DATA_HOME/kiln]
      --config <FILE>  The configuration file [env: KILN_CONFIG] [default: /etc/kiln/config.toml for
                       root, otherwise $XDG_CONFIG_HOME/kiln/config.toml]
      --debug          Show errors with everything that is known about their causes

"#]]
        .raw()
    );
}

#[test]
fn run() {
    assert_data_eq!(
        help(&["run", "-h"]),
        str![[r#"
Run a program in an image

Usage: kiln run [OPTIONS] IMAGE [COMMAND] [ARG]...

Arguments:
  <IMAGE>...  Name or id of an image, which is pulled if kiln does not have it; and what to run
              instead of its own command, with arguments

Options:
  -e, --env <NAME[=VALUE]>           Set an environment variable; without a value, pass on kiln's
                                     own
      --entrypoint <PROGRAM>         Run this instead of the image's entrypoint; an empty one
                                     removes it
  -w, --workdir <DIR>                The working directory
  -u, --user <USER[:GROUP]>          The user, and perhaps the group, by name or number
      --network <default|none|host>  The network it sees [default: default]
      --cgroup-parent <CGROUP>       The control group below which it runs [default: /kiln if it has
                                     limits, else kiln's own]
  -m, --memory <BYTES>               The most memory that it may use, for instance 512m
      --memory-swap <BYTES>          The most memory and swap together; -1 for any [default: twice
                                     the memory]
  -c, --cpu-shares <WEIGHT>          Its weight when all want the processor; that of others is 1024
      --cpu-period <MICROSECONDS>    The period that --cpu-quota is for, in microseconds [default:
                                     100000]
      --cpu-quota <MICROSECONDS>     Processor time in each period, in microseconds
      --cpuset-cpus <LIST>           The processors that it may use, for instance 0-2,5
      --cpuset-mems <LIST>           The memory nodes that it may use, for instance 0-1
      --pull[=<BOOL>]                Ask the registry again even if the image is here
  -h, --help                         Print help

Global options:
      --root <DIR>     Where kiln keeps images, caches and layers [env: KILN_ROOT] [default:
                       /var/lib/kiln for root, otherwise $XDG_DATA_HOME/kiln]
      --config <FILE>  The configuration file [env: KILN_CONFIG] [default: /etc/kiln/config.toml for
                       root, otherwise $XDG_CONFIG_HOME/kiln/config.toml]
      --debug          Show errors with everything that is known about their causes

"#]]
        .raw()
    );
}

#[test]
fn images() {
    assert_data_eq!(
        help(&["images", "-h"]),
        str![[r#"
List images

Usage: kiln images [OPTIONS]

Options:
      --json      Print JSON, one object a line
  -q, --quiet     Print image ids only
      --no-trunc  Print whole ids
  -h, --help      Print help

Global options:
      --root <DIR>     Where kiln keeps images, caches and layers [env: KILN_ROOT] [default:
                       /var/lib/kiln for root, otherwise $XDG_DATA_HOME/kiln]
      --config <FILE>  The configuration file [env: KILN_CONFIG] [default: /etc/kiln/config.toml for
                       root, otherwise $XDG_CONFIG_HOME/kiln/config.toml]
      --debug          Show errors with everything that is known about their causes

"#]]
        .raw()
    );
}

#[test]
fn rmi() {
    assert_data_eq!(
        help(&["rmi", "-h"]),
        str![[r#"
Remove images

Usage: kiln rmi [OPTIONS] <NAME|ID>...

Arguments:
  <NAME|ID>...  Names or ids of images

Options:
  -h, --help  Print help

Global options:
      --root <DIR>     Where kiln keeps images, caches and layers [env: KILN_ROOT] [default:
                       /var/lib/kiln for root, otherwise $XDG_DATA_HOME/kiln]
      --config <FILE>  The configuration file [env: KILN_CONFIG] [default: /etc/kiln/config.toml for
                       root, otherwise $XDG_CONFIG_HOME/kiln/config.toml]
      --debug          Show errors with everything that is known about their causes

"#]]
        .raw()
    );
}

#[test]
fn du() {
    assert_data_eq!(
        help(&["du", "-h"]),
        str![[r#"
Show what takes up disk space

Usage: kiln du [OPTIONS]

Options:
  -v, --verbose  List every image, layer, cache mount, blob and remembered build
      --json     Print JSON
  -h, --help     Print help

Global options:
      --root <DIR>     Where kiln keeps images, caches and layers [env: KILN_ROOT] [default:
                       /var/lib/kiln for root, otherwise $XDG_DATA_HOME/kiln]
      --config <FILE>  The configuration file [env: KILN_CONFIG] [default: /etc/kiln/config.toml for
                       root, otherwise $XDG_CONFIG_HOME/kiln/config.toml]
      --debug          Show errors with everything that is known about their causes

"#]]
        .raw()
    );
}

#[test]
fn prune() {
    assert_data_eq!(
        help(&["prune", "-h"]),
        str![[r#"
Remove what no image needs

Usage: kiln prune [OPTIONS]

Options:
  -a, --all                     Remove everything that is not in use at this moment: caches of
                                recent builds, cache mounts, and what is remembered of builds, too
      --keep-mounts             With --all: keep the cache mounts
      --filter <FILTER>         Remove only what matches: until=DURATION, what was not used for so
                                long, for instance until=24h
      --max-used-space <BYTES>  Remove the least recently used, and only so much that the store
                                takes up no more than this
  -f, --force                   Do not ask
  -h, --help                    Print help

Global options:
      --root <DIR>     Where kiln keeps images, caches and layers [env: KILN_ROOT] [default:
                       /var/lib/kiln for root, otherwise $XDG_DATA_HOME/kiln]
      --config <FILE>  The configuration file [env: KILN_CONFIG] [default: /etc/kiln/config.toml for
                       root, otherwise $XDG_CONFIG_HOME/kiln/config.toml]
      --debug          Show errors with everything that is known about their causes

"#]]
        .raw()
    );
}

#[test]
fn versions_are_the_same() {
    let version = concat!("kiln ", env!("CARGO_PKG_VERSION"), "\n");
    assert_eq!(help(&["--version"]), version);
    assert_eq!(help(&["version"]), version);
}
