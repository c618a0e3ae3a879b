//! `docs/auto-cache.md` is made from the rules: a rule that changes without the page fails here. `SNAPSHOTS=overwrite cargo test -p
//! kiln-lower --test page` writes it anew.

use std::fmt::Write;
use std::path::Path;

const HEAD: &str = "# Automatic caches

A RUN step that compiles or installs something is slow in a container because the caches that its tool keeps on a person's own machine are not
there. `kiln build` gives them to it, without an edit of the Dockerfile. The progress says so once for each step:

    #9 [builder 6/6] RUN go build -o app
    #9 auto-cache: go build (1 cache)

| `--auto-cache` | what steps get |
|---|---|
| `off` | nothing but what their `--mount` options say |
| `safe` (the default) | *pure* caches, in stages that are no part of the exported image: neither the exported stage nor those that it is `FROM` |
| `all` | also *outputs*, and in the exported image's own stages the caches that leave no trace in it |

`KILN_AUTO_CACHE=off` turns it off for all builds; a `--mount=type=cache` of your own at, above or below a directory turns it off for that directory and step.

A **pure** cache is a directory that could be dropped at any time without a change to what a later step reads: Go's build cache, downloads. It is
a cache mount of kiln's store: it outlives builds and is in no layer.

An **output** is a directory that later steps do read, like Cargo's `target`. Before the step runs, what its last run left there is laid
under it; what it leaves becomes part of its layer as always.

The last run is that of the same step of the same Dockerfile in the same directory, whatever has changed since. Cargo and its like tell by times what
they have to make again, so the step begins from nothing when a file that it sees is new or changed and yet older than the last run: one that was
moved here, unpacked from an archive, or edited while the last build was running. Leave what the build makes out of the context by a
`.dockerignore`. npm notices less, so its packages are only kept while nothing but the files that list them changed.

## What holds

- The exported image has the same files with `safe` as with `off`, but for what [a tool trusts](#what-tools-trust) longer than it should. An
  intermediate layer may lack the directories of pure caches, and nothing else.
- A `--mount` of the Dockerfile always wins: nothing is put at, above or below its target.
- No file of the image is hidden. Where it has files at the cache's place, the step gets a cache of its own that starts as a copy of them.
- Whether a step gets a cache is no part of its cache key. A result that was made with a cache is used again only for steps that still get that cache: a
  `COPY --from` that needs the directory, or `--target` of a stage that was not exported before, makes the step run again without it.
- A cache belongs to a user: a step that does not run as root has another one than root, and may write to it.
- `kiln build --no-cache` keeps the caches; with `--no-cache-mounts` it empties those that are used. `kiln cache ls` and `kiln cache rm` show and remove
  them.

## Steps that fail or are killed

What a step wrote to a cache before it failed stays there: the next run goes on from it. That is safe because each of these tools is made for
being killed at any moment:

| tool | what keeps half-written files from being used |
|---|---|
| go | an entry names the size and digest of its output and is written after it; modules are renamed into place, with a lock for each |
| cargo | a lock on the whole cache; archives are checked against `Cargo.lock`, unpacked crates are marked with `.cargo-ok` last |
| npm, pnpm, yarn, bun | content by digest, checked when it is read; renamed into place |
| pip, uv, poetry | renamed into place; what is downloaded is checked against the index's or the lock file's digest |
| apt, apk, dnf | downloaded beside its place, checked against the signed index, then renamed |
| gradle | downloaded beside its place and renamed; what was not closed cleanly is made again |
| ccache, sccache | renamed into place |
| composer, bundler, nuget | checked against the lock file's or the package's own digest; nuget marks what is whole last |

After a crash of the machine, caches that had not reached the disk are dropped as a whole.

## Which steps

What a step runs is read as a shell would read it: lists and pipelines, `sh -c`, `env`, `sudo`, variables of ENV and ARG and those set on the
way, heredocs, the exec form. What cannot be read with certainty is not recognised: an `eval` of something unknown, an open quote, another
shell, a script in a file. A step whose command line is read gets a cache unless

- it names the directory itself (`du ~/.cache`, `cp -r /root`), removes it, makes it without `mkdir -p`, or empties the cache (`npm cache clean`);
- something that is built upon it names the directory or one above it: a later command, `COPY --from` (also of `/root` or `/`), a bind mount,
  a variable that no tool reads (but `$HOME`), a link that gives it another name, also one made before; or WORKDIR or VOLUME names it or something in it;
- it holds downloads, and a later step must find them: one without network, or one that is told not to use it (`--offline`);
- it holds downloads, and this step alone may be able to make them: it has a secret, an agent, the host's network, a token or a registry on its command
  line, or some step writes or removes a configuration (`.npmrc`, `.netrc`, `git config`); then no later step may want them;
- it holds what a tool looks at each time it runs (Go's module files, the lists of APT and apk), and some later step could run the tool.

A later step that runs a script which nobody has read (`make`, `./build.sh`) keeps no other cache away. Should it run the tool, then the tool
makes or downloads again what it misses, with the same network and configuration as the first time: slower, not different.

With `all`, an output is only carried over in stages that are no part of the exported image, and only if nothing copies the whole directory, one above
it, or whatever fits a pattern in it, since it may hold files of earlier runs. A step of the exported image gets a cache only if the tool is led to
another place than its own directory, and that directory is empty after the step in any case: `apt-get install` in a step that removes the lists, in
an image that removes the packages.

What was compiled against libraries is shared only by steps with the same base image (by name and tag), the same platform, and the same commands of
`apt`, `apk`, `dnf` and the like before them. What tools trust beyond that is said below.

## What tools trust

A tool takes from its cache what it would not make or download anew. Where it looks too little at what that was made from, kiln looks for it:

- Go does not notice when a header changes that is not beside the package's own files, nor a library. Its build cache is therefore only shared by
  steps that see the same files of C: the sources, headers, objects and libraries, known by their names (`*.h`, `*.c`, `*.a`, `*.so.*`, `*.pc`, …),
  in the layers that steps made below and in what is bind-mounted. Where one of them changes, the step begins with an empty build cache. They
  don't count with `CGO_ENABLED=0`, nor do those in Go's module cache, where another version has another path.
- pip, uv and poetry keep the packages that they built. Their caches are only shared by steps that see the same files of C and the same archives, and
  for which the variables that builds read (`$CC`, `$CFLAGS`, `$MAKEFLAGS`, `USE_…` and the like) say the same.

What remains is for `--auto-cache=off`, or a step of its own before:

- a header, library or archive that the step itself makes or downloads before it builds, one in a cache mount of the Dockerfile, and one in a base image
  whose tag moved on;
- a package of the project's own that uv installs from a directory: uv builds it again when its `pyproject.toml`, `setup.py` or `setup.cfg` was
  touched, not for each source;
- answers of registries that a tool trusts for a while instead of asking again: dnf for 48 hours, Gradle for 24 hours (versions like `1.+` and
  snapshots), NuGet for 30 minutes. With `off`, each run of the step asks.

## Whom to share with

All builds of one store share the pure caches of a tool, across projects and Dockerfiles, as far as the last column of the [rules](#rules)
says: those of all, or those with the same base image, platform and the like. Outputs are never shared: they are one step's. So

- who may run a step can write there what another project's step takes for its own;
- a step can read what other projects have left there, such as their sources' compiled packages and their downloads;
- a [cache that travels](cache.md) takes the caches of its build's steps along as they are, what other projects have left in them included.

What is to be kept apart has a store of its own: `--root DIR`, or `KILN_ROOT` in a project's environment. A `--mount=type=cache,id=PROJECT-…` in the
Dockerfile keeps one directory apart, `--auto-cache=off` all of them. Who builds Dockerfiles of strangers does so with one of the first and the last.

## What was measured with Go

- The step needs the build cache and nothing else to be as fast as one with a cache mount: `cargo xtask bench go-edit go-unoptimized` prints both.
- The program that the last run linked is not laid under the step. Go links again whenever a package changed, with the old program or without it;
  only where a file changed that Go does not compile is the old one good for something (the example 0.13 s in place of 0.66 s, the `go` command
  itself 0.8 s in place of 5.1 s, on a busy machine). Such files belong into `.dockerignore`, or below the step.
- The build cache knows packages by the directory that they are in. Stages that compile the same module below different directories share what the
  standard library is made into, but compile the module's own packages once each; with `-trimpath` they share those too.
- With `.git` in the context, Go writes the commit into the program, so that each commit makes another image. `.git` in `.dockerignore` or
  `-buildvcs=false` keeps what is the same the same, and `-ldflags \"-X main.commit=$COMMIT\"` with an ARG right before the last step tells the commit.

## Rules

";

fn page() -> String {
    let mut page = HEAD.to_owned();
    page.push_str("| tool | commands | directory | | sharing | shared by steps of one |\n|---|---|---|---|---|---|\n");
    for rule in kiln_lower::auto_cache_rules() {
        for row in rule.directories {
            let (commands, directory) = (row.commands, row.directory);
            let (purpose, sharing, shared_by) = (row.purpose, row.sharing, row.shared_by);
            writeln!(page, "| {} | {commands} | {directory} | {purpose} | {sharing} | {shared_by} |", rule.name)
                .unwrap();
        }
    }
    page.push('\n');
    for rule in kiln_lower::auto_cache_rules() {
        writeln!(page, "- **{}**: {}", rule.name, rule.notes).unwrap();
    }
    page
}

#[test]
fn the_page_is_what_the_rules_say() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/auto-cache.md");
    let page = page();
    if std::env::var_os("SNAPSHOTS").is_some_and(|value| value == "overwrite") {
        std::fs::write(&path, &page).unwrap();
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        written == page,
        "docs/auto-cache.md differs from the rules: run `SNAPSHOTS=overwrite cargo test -p kiln-lower --test page`"
    );
}
