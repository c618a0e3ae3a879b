//! Go: the build cache, and the module cache with its downloads.

use super::shell::{Command, Value};
use super::tool::{Cache, Documented, Kind, Place, Setup, Tool, Use, has_flag, subcommand};
use kiln_graph::{CacheDirectory, Unseen};

/// `go`.
pub(crate) const GO: Tool = Tool {
    name: "go",
    programs: &["go"],
    variables: &["GOCACHE", "GOMODCACHE", "GOPATH", "XDG_CACHE_HOME", "GOENV", "GOTMPDIR"],
    directories: &[
        Documented {
            commands: "`go build`, `install`, `run`, `test`, `vet`, `generate`, `list`, `tool`, `fix`",
            directory: "`$GOCACHE`, else `go-build` below `$XDG_CACHE_HOME` or `~/.cache`",
            purpose: "pure",
            sharing: "shared",
            shared_by: "base image and its packages, platform, files of C",
        },
        Documented {
            commands: "those, `go mod` and `go get`, if no later step of the stage could run Go",
            directory: "`cache/download` of the module cache",
            purpose: "pure",
            sharing: "shared",
            shared_by: "all",
        },
        Documented {
            commands: "the same",
            directory: "`$GOMODCACHE`, else `pkg/mod` of the first directory of `$GOPATH`, else `~/go/pkg/mod`",
            purpose: "output",
            sharing: "–",
            shared_by: "runs of the same step",
        },
    ],
    notes: "Go reads the module files below `cache/download` whenever it builds, so that they are only kept out of a layer on which no \
            later step could run Go: `RUN go mod download` keeps them there. Results of tests are never taken from a cache that kiln \
            gives (`testexpire.txt`), since a test that does not run leaves no files. A step that runs `go clean -cache` or \
            `-modcache` gets no cache. Without `CGO_ENABLED=0`, only steps that see the same \
            headers, libraries and sources of C share the build cache. With `-mod=vendor`, in the command or in `$GOFLAGS`, the module cache is left alone.",
    recognise,
};

/// Later than any result of a test: Go then takes none from the cache (`cmd/go`, `internal/test`, `testExpire`).
const TESTS_EXPIRED: &str = "9223372036854775806\n";

fn recognise(command: &Command, place: &Place<'_>) -> Option<Use> {
    if command.name() != Some("go") {
        return None;
    }
    let Some((name, args)) = subcommand(command.args(), &["-C"]) else { return Use::nothing() };
    let (builds, modules) = match name {
        "build" | "install" | "run" | "test" | "vet" | "generate" | "list" | "tool" | "fix" => (true, true),
        "get" => (true, true),
        "mod" | "work" => (false, true),
        "clean" if has_flag(args, &["-cache", "-modcache", "-testcache", "-fuzzcache"]) => return Use::clearing(),
        "env" => {
            let asks =
                args.is_empty() || args.iter().any(|word| word.text.contains("CACHE") || word.text.contains("PATH"));
            let writes = has_flag(args, &["-w", "-u"]);
            return if asks && !writes { Use::asking() } else { Use::nothing() };
        }
        _ => return Use::nothing(),
    };
    let mut label = format!("go {name}");
    if let ("mod", Some(word)) = (name, args.first().and_then(|word| word.get())) {
        label = format!("go mod {word}");
    }
    let vendored = has_flag(args, &["-mod"])
        || match command.variable("GOFLAGS", place.around) {
            Value::Unset => false,
            Value::Known(flags) => flags.contains("-mod=vendor"),
            Value::Unknown => true,
        };
    let mut caches = Vec::new();
    if builds && let Some(directory) = build_cache(command, place) {
        // Of C, Go hashes the files beside a package's own, and asks no compiler which others it read.
        let without_c = command.variable("CGO_ENABLED", place.around) == Value::Known("0");
        let unseen = if without_c { Unseen::Nothing } else { Unseen::C };
        let build = Cache::pure(directory, place.on_system("go/build"), Kind::Made);
        caches.push(Cache { setup: Some(setup), unseen, ..build });
    }
    if modules
        && !vendored
        && let Some(directory) = module_cache(command, place)
    {
        let downloads = match &directory {
            CacheDirectory::Absolute(path) => CacheDirectory::Absolute(format!("{path}/cache/download")),
            CacheDirectory::Home(path) => CacheDirectory::Home(format!("{path}/cache/download")),
        };
        caches.push(Cache::pure(downloads, place.everywhere("go/download"), Kind::Needed));
        caches.push(Cache::output(directory, "go/mod"));
    }
    let no_proxy = matches!(command.variable("GOPROXY", place.around), Value::Known("off"));
    Some(Use { label, caches, offline: no_proxy, ..Use::default() })
}

fn setup(_: &CacheDirectory, _: bool) -> Setup {
    Setup { files: vec![("testexpire.txt".to_owned(), TESTS_EXPIRED.to_owned())], ..Setup::default() }
}

fn build_cache(command: &Command, place: &Place<'_>) -> Option<CacheDirectory> {
    match command.variable("GOCACHE", place.around) {
        Value::Known(path) if path.starts_with(['/', '~']) => command.directory(path),
        Value::Known("") | Value::Unset => place.xdg_cache(command, "go-build"),
        // `off`, and relative paths, which Go refuses.
        Value::Known(_) | Value::Unknown => None,
    }
}

fn module_cache(command: &Command, place: &Place<'_>) -> Option<CacheDirectory> {
    match command.variable("GOMODCACHE", place.around) {
        Value::Known(path) if path.starts_with(['/', '~']) => return command.directory(path),
        Value::Known("") | Value::Unset => {}
        Value::Known(_) | Value::Unknown => return None,
    }
    match command.variable("GOPATH", place.around) {
        Value::Known(paths) if !paths.is_empty() => {
            let first = paths.split(':').next().unwrap_or_default();
            if first.starts_with(['/', '~']) { command.directory(&format!("{first}/pkg/mod")) } else { None }
        }
        Value::Known(_) | Value::Unset => place.home(command, "go/pkg/mod"),
        Value::Unknown => None,
    }
}

#[cfg(test)]
mod tests {
    use super::GO;
    use crate::auto_cache::testing::check;

    const BUILD: &str = "~/.cache/go-build ~/go/pkg/mod/cache/download (~/go/pkg/mod)";
    const MODULES: &str = "~/go/pkg/mod/cache/download (~/go/pkg/mod)";

    #[test]
    fn commands_that_build() {
        check(
            &GO,
            &[
                ("go build", BUILD),
                ("go build -o app", BUILD),
                ("go build -o /root/.cache/app ./cmd/app", BUILD),
                ("CGO_ENABLED=0 GOOS=linux go build -ldflags \"-s -w -X main.version=$VERSION\" -o /app .", BUILD),
                ("env CGO_ENABLED=0 go build", BUILD),
                ("export CGO_ENABLED=0 && go build", BUILD),
                ("/usr/local/go/bin/go build ./...", BUILD),
                ("go -C cmd build", BUILD),
                ("go install golang.org/x/tools/cmd/stringer@latest", BUILD),
                ("go run ./generate", BUILD),
                ("go test -race ./...", BUILD),
                ("go test -count=1 ./... | tee log", BUILD),
                ("go vet ./...", BUILD),
                ("go generate ./... && go build", BUILD),
                ("set -ex; go build", BUILD),
                ("if [ -d cmd ]; then go build ./cmd; fi", BUILD),
                ("for a in amd64 arm64; do GOARCH=$a go build -o app-$a; done", BUILD),
                ("(cd cmd && go build)", BUILD),
                ("time go build", BUILD),
                ("sh -c 'go build'", BUILD),
                ("/bin/bash -lc \"go build\"", BUILD),
                ("bash -o pipefail -ec 'go build | cat'", BUILD),
                ("x=$(go list -m) && echo $x", BUILD),
                ("eval 'go build'", BUILD),
                (". /etc/os-release && go build", BUILD),
                ("go build \\\n  -o app # comment", BUILD),
            ],
        );
    }

    #[test]
    fn directories() {
        check(
            &GO,
            &[
                ("ENV GOCACHE=/c\ngo build", "/c ~/go/pkg/mod/cache/download (~/go/pkg/mod)"),
                ("ENV GOPATH=/go\ngo build", "~/.cache/go-build /go/pkg/mod/cache/download (/go/pkg/mod)"),
                ("ENV GOPATH=/go:/more\ngo mod download", "/go/pkg/mod/cache/download (/go/pkg/mod)"),
                ("ENV GOPATH=/go\nENV GOMODCACHE=/m\ngo mod download", "/m/cache/download (/m)"),
                ("ENV XDG_CACHE_HOME=/x\ngo vet", "/x/go-build ~/go/pkg/mod/cache/download (~/go/pkg/mod)"),
                ("ENV HOME=/h\ngo vet", "/h/.cache/go-build /h/go/pkg/mod/cache/download (/h/go/pkg/mod)"),
                ("GOCACHE=$HOME/.c go vet", "~/.c ~/go/pkg/mod/cache/download (~/go/pkg/mod)"),
                ("export GOCACHE=/a/../b; go vet", "/b ~/go/pkg/mod/cache/download (~/go/pkg/mod)"),
                // Not exported, so that Go does not see it.
                ("GOCACHE=/a; go vet", BUILD),
                ("GOCACHE=$(pwd)/c go vet", MODULES),
                ("ENV GOCACHE=off\ngo build", MODULES),
                ("ENV GOCACHE=rel\ngo build", MODULES),
                ("GOCACHE=/ go build", MODULES),
                ("env -i go build", "nothing"),
                ("sudo go build", "nothing"),
                (". ./env.sh && go build", "nothing"),
                ("ENV GOFLAGS=-mod=vendor\ngo build", "~/.cache/go-build"),
                ("go build -mod=vendor", "~/.cache/go-build"),
                ("go build -mod vendor", "~/.cache/go-build"),
                ("GOFLAGS=$SECRET go build", "~/.cache/go-build"),
                ("ENV GOPROXY=off\ngo build", &format!("{BUILD} offline")),
            ],
        );
    }

    #[test]
    fn other_commands() {
        check(
            &GO,
            &[
                ("go mod download", MODULES),
                ("go mod tidy && go mod vendor", MODULES),
                ("go work sync", MODULES),
                ("go get ./...", BUILD),
                ("go version", "nothing"),
                ("go fmt ./...", "nothing"),
                ("go help build", "nothing"),
                ("go", "nothing"),
                ("go $COMMAND", "nothing"),
                ("go $SECRET", "nothing"),
                ("go env -w GOFLAGS=-mod=mod", "nothing"),
                ("go env GOCACHE", "asks"),
                ("cp -r $(go env GOPATH)/bin /out", "asks"),
                ("go clean -cache", "clears"),
                ("go build && go clean -cache -modcache", &format!("{BUILD} clears")),
                ("go clean", "nothing"),
            ],
        );
    }

    #[test]
    fn what_is_not_go() {
        check(
            &GO,
            &[
                ("echo go build", ""),
                ("apt-get install -y go", ""),
                ("./go build", ""),
                ("$GO build", ""),
                ("make go", ""),
                ("cat <<EOF > x\ngo build\nEOF", ""),
                ("go() { echo; }; go build", ""),
                ("# go build", ""),
                ("'go build'", ""),
                ("python -c 'go build'", ""),
                ("alias go=echo; go build", "unreadable"),
                ("bash <<EOF\ngo build\nEOF", "unreadable"),
                ("echo \"go build", "unreadable"),
                ("go build )", "unreadable"),
            ],
        );
    }
}
