//! Which steps get caches: Dockerfiles in, the caches of their steps out.

use crate::support::{Images, lower_with, options};
use kiln_graph::{CacheDirectory, CachePurpose, Op, Unseen};
use kiln_lower::{AutoCacheMode, NamedContext, Options};

/// The steps that get caches: `go build: ~/.cache/go-build`, one a line, an output in parentheses.
fn caches_in(mode: AutoCacheMode, text: &str) -> String {
    let options = Options { auto_cache: mode, ..options() };
    let lowered = lower_with(text, &options, &Images::default());
    let mut lines = Vec::new();
    for vertex in lowered.graph.vertices() {
        let Op::Exec(exec) = &vertex.op else { continue };
        for cache in &exec.auto_caches {
            let path = match &cache.directory {
                CacheDirectory::Absolute(path) => path.clone(),
                CacheDirectory::Home(path) => format!("~/{path}"),
            };
            let path = if cache.purpose == CachePurpose::Output { format!("({path})") } else { path };
            lines.push(format!("{}: {path}", cache.command));
        }
    }
    lines.join("\n")
}

fn caches(text: &str) -> String {
    caches_in(AutoCacheMode::Safe, text)
}

const BASELINE: &str = "\
FROM golang:1.25-trixie as builder
WORKDIR /app
COPY go.mod .
COPY go.sum .
RUN go mod download
COPY . .
RUN go build -o app

FROM ubuntu:24.04
RUN mkdir /app
WORKDIR /app
COPY --from=builder /app/app .
ENTRYPOINT [\"./app\"]
";

#[test]
fn the_mission() {
    assert_eq!(caches(BASELINE), "go build: ~/.cache/go-build");
    assert_eq!(caches_in(AutoCacheMode::Off, BASELINE), "");
}

#[test]
fn ids_name_the_base_and_the_platform() {
    let ids = |options: &Options| -> Vec<String> {
        let lowered = lower_with(BASELINE, options, &Images::default());
        let execs = lowered.graph.vertices().iter().filter_map(|vertex| match &vertex.op {
            Op::Exec(exec) => Some(exec),
            _ => None,
        });
        execs.flat_map(|exec| exec.auto_caches.iter().map(|cache| cache.id.clone())).collect()
    };
    assert_eq!(ids(&options()), ["go/build/docker.io/library/golang:1.25-trixie/linux/amd64"]);
    // Where a layout is on one machine says nothing to another.
    let in_layout = |path: &str| {
        let layout = NamedContext::OciLayout { path: path.to_owned(), reference: None };
        ids(&Options { contexts: [("golang:1.25-trixie".to_owned(), layout)].into(), ..options() })
    };
    assert_eq!(in_layout("/home/a/base"), in_layout("/home/b/base"));
    assert!(in_layout("/home/a/base")[0].starts_with("go/build/sha256:"));
}

/// A builder of these lines, from which the exported image takes one file.
fn builder(lines: &str) -> String {
    format!("FROM golang:1.25 AS build\nWORKDIR /src\n{lines}\nFROM scratch\nCOPY --from=build /src/app /app\n")
}

/// What the steps of a builder get.
fn in_builder(lines: &str) -> String {
    caches(&builder(lines))
}

const GO: &str = "go build: ~/.cache/go-build\ngo build: ~/go/pkg/mod/cache/download";

#[test]
fn only_stages_that_are_not_exported() {
    assert_eq!(caches("FROM golang\nRUN go build\n"), "");
    assert_eq!(
        caches("FROM golang AS a\nRUN go build\nFROM a\nRUN true\n"),
        "",
        "the exported image has its base's layers"
    );
    assert_eq!(
        caches("FROM golang AS a\nRUN go build\nFROM a AS b\nRUN go vet\nFROM scratch\nCOPY --from=b /x /x\n")
            .lines()
            .count(),
        2
    );
    // The same step in an exported stage is the same step.
    assert_eq!(caches("FROM golang AS a\nRUN go build\nFROM golang\nRUN go build\nCOPY --from=a /x /x\n"), "");
    assert_eq!(in_builder("RUN go build -o app"), GO);
}

#[test]
fn what_the_step_itself_says() {
    for line in [
        "RUN go build && du -sh /root/.cache",
        "RUN go build && cp -r ~/.cache/go-build /out",
        "RUN go build && tar cf /x.tar /root",
        "RUN cd && go build && tar cf /x.tar .",
        "WORKDIR /link/..\nRUN go build && cp -r .cache /out",
        "RUN go build && rm -rf /root/.cache",
        "RUN go build && rm -rf ~/.cache/*",
        "RUN mkdir /root/.cache && go build",
        "RUN go build && go clean -cache",
        "RUN ls $(go env GOCACHE) && go build",
        "RUN --mount=type=cache,target=/root/.cache/go-build go build",
        "RUN --mount=type=cache,target=/root/.cache go build",
        "RUN --mount=type=tmpfs,target=/root/.cache/go-build/x go build",
        "RUN go build > /root/.cache/go-build/log",
        "RUN find / -name x && go build",
        "RUN go build && ln -s /root/.cache /c",
        "RUN ln -s ~ /c\nRUN go build",
        "RUN ln -s -t /c /root/.cache\nRUN go build",
        "RUN go build \"",
        "RUN [\"go-build\"]",
    ] {
        assert!(!in_builder(line).contains(".cache/go-build"), "{line}");
    }
    for line in [
        "RUN mkdir -p /root/.cache/go-build && go build",
        "RUN ln -s /r /root/.cache && mkdir /r\nRUN go build",
        "RUN go build && ln -s /src/app /usr/bin/app",
        "RUN go build && cp app /usr/bin/",
        "RUN go build && tar cf /x.tar /src",
        "RUN --mount=type=cache,target=/go go build",
        "RUN --mount=type=bind,source=.,target=/src go build",
        "RUN [\"go\", \"build\"]",
        "RUN [\"sh\", \"-c\", \"go build\"]",
        "SHELL [\"/bin/bash\", \"-o\", \"pipefail\", \"-c\"]\nRUN go build",
        "RUN <<EOF\nset -e\ngo build\nEOF",
        "RUN <<EOF\n#!/usr/bin/env bash\nset -e\ngo build\nEOF",
        "ENV GOCACHE=/root/.cache/go-build\nRUN go build",
        "ARG TARGETARCH=arm64\nRUN GOARCH=$TARGETARCH go build",
    ] {
        assert!(in_builder(line).contains(".cache/go-build"), "{line}");
    }
    for line in ["RUN <<EOF\n#!/usr/bin/python3\ngo build\nEOF", "SHELL [\"fish\", \"-c\"]\nRUN go build"] {
        assert_eq!(in_builder(line), "", "{line}");
    }
}

#[test]
fn a_variable_above_it() {
    assert!(in_builder("RUN go build\nENV HOME=/root URL=/ APP=/app\nRUN ./pack.sh").contains("go-build"));
    assert!(!in_builder("RUN go build\nENV DIR=/root/.cache\nRUN ./pack.sh").contains("go-build"));
}

#[test]
fn what_comes_after_it() {
    for line in [
        "RUN du -sh /root/.cache",
        "RUN cp -r /root /out",
        "RUN tar cf x.tar ~/.cache",
        "RUN ls /root/.cach*",
        "RUN ./scan /root",
        "RUN [\"python3\", \"scan.py\", \"/root/.cache\"]",
        "RUN cp -r $(go env GOCACHE) /out",
        "WORKDIR /root/.cache/go-build",
        "VOLUME /root/.cache/go-build",
        "ENV KEPT=/root/.cache/go-build\nRUN ./x",
        "RUN <<EOF\n#!/usr/bin/python3\nimport os; os.listdir('/root/.cache/go-build')\nEOF",
    ] {
        assert!(!in_builder(&format!("RUN go build\n{line}")).contains("go-build"), "{line}");
    }
    for line in [
        "RUN ./build.sh",
        "RUN make",
        "RUN go test ./...",
        "RUN rm -rf /root/.cache",
        "RUN cp app /usr/local/bin",
        "WORKDIR /root",
        "ENV HOME=/root",
        "RUN --network=none ./test.sh",
        "COPY x /root/x",
    ] {
        assert!(in_builder(&format!("RUN go build\n{line}")).contains("go build: ~/.cache/go-build"), "{line}");
    }
}

#[test]
fn what_is_copied_from_it() {
    let copied = |last: &str| caches(&format!("FROM golang AS build\nRUN go build\nFROM alpine\n{last}\n"));
    for last in [
        "COPY --from=build /root /root",
        "COPY --from=build / /",
        "COPY --from=build /root/.cache/go-build /c",
        "COPY --from=build /root/.cache/go-build/00 /c",
        "COPY --from=build /root/.c* /c/",
        "COPY --from=build /r?ot/x /c/",
        "COPY --from=build --parents /root/./.cache /",
        "RUN --mount=from=build,target=/b x",
        "RUN --mount=from=build,source=/root,target=/b x",
        "RUN --mount=type=cache,from=build,source=/root/.cache,target=/b x",
    ] {
        assert!(!copied(last).contains("go-build"), "{last}");
    }
    for last in [
        "COPY --from=build /src/app /app",
        "COPY --from=build /usr/local /usr/local",
        "COPY --from=build /root2 /root",
        "RUN --mount=from=build,source=/src,target=/b x",
        "COPY --from=build /root/app /app",
    ] {
        assert!(copied(last).contains("go-build"), "{last}");
    }
    // What is copied from a stage in between counts, what is not in that stage does not.
    let between = |first: &str| {
        caches(&format!(
            "FROM golang AS build\nRUN go build\nFROM build AS more\nRUN x\nFROM alpine\nCOPY --from=more {first} /x\n"
        ))
    };
    assert!(!between("/root").contains("go-build"));
    assert!(between("/app").contains("go-build"));
}

#[test]
fn users_whose_home_nobody_knows() {
    let user = |path: &str| {
        caches(&format!(
            "FROM node AS build\nUSER node\nWORKDIR /app\nRUN npm ci\nFROM alpine\nCOPY --from=build {path} /x\n"
        ))
    };
    for path in ["/app", "/home/node", "/home", "/", "/srv/x", "/app/.npm"] {
        assert_eq!(user(path), "", "{path}");
    }
    for path in ["/app/dist", "/app/node_modules", "/usr/local/bin/app", "/app/build/static"] {
        assert_eq!(user(path), "npm ci: ~/.npm/_cacache", "{path}");
    }
}

#[test]
fn downloads_that_a_later_step_must_find() {
    let npm = "npm ci: ~/.npm/_cacache";
    let steps = |first: &str, second: &str| {
        caches(&format!(
            "FROM node AS build\nWORKDIR /app\n{first}\n{second}\nFROM alpine\nCOPY --from=build /app/dist /x\n"
        ))
    };
    let got = |first: &str, second: &str| steps(first, second).lines().next() == Some(npm);
    assert!(got("RUN npm ci", "RUN npm run build"));
    assert!(got("RUN npm ci", "RUN ./build.sh"));
    assert!(got("RUN npm ci", "RUN npm ci --omit=dev"));
    assert!(!got("RUN npm ci", "RUN npm ci --offline"));
    assert!(!got("RUN npm ci", "RUN --network=none npm ci"));
    assert!(!got("RUN npm ci", "RUN --network=none ./build.sh"));
    assert!(got("RUN npm ci", "RUN --network=none cp -r a b"));
    // Only the first can download.
    let secret = "RUN --mount=type=secret,id=npmrc,target=/root/.npmrc npm ci";
    assert!(!got(secret, "RUN ./build.sh"));
    assert!(!got(secret, "RUN npm install --omit=dev"));
    assert!(got(secret, "RUN cp -r a b"));
    assert!(!got("RUN NPM_TOKEN=x npm ci", "RUN make"));
    assert!(!got("RUN npm ci --registry https://example.org", "RUN make"));
    assert!(!got("RUN npm ci", "RUN rm .npmrc\nRUN make"));
    assert!(!got("RUN --network=host npm ci", "RUN make"));
    assert!(got("RUN --mount=type=bind,source=package.json,target=package.json npm ci", "RUN make"));
}

#[test]
fn module_files_of_go() {
    let download = "RUN go mod download";
    assert_eq!(in_builder(download), "go mod download: ~/go/pkg/mod/cache/download");
    for later in ["RUN go build", "RUN make", "RUN ./build.sh"] {
        assert!(!in_builder(&format!("{download}\n{later}")).contains("mod download:"), "{later}");
    }
    assert!(in_builder(&format!("{download}\nRUN cp a b")).contains("mod download:"));
}

#[test]
fn apt() {
    let apt = |lines: &str| {
        caches(&format!("FROM debian:trixie AS build\n{lines}\nFROM alpine\nCOPY --from=build /x /x\n")).lines().count()
    };
    let files = |lines: &str| {
        let text = format!("FROM debian:trixie AS build\n{lines}\nFROM alpine\nCOPY --from=build /x /x\n");
        let lowered = lower_with(&text, &options(), &Images::default());
        let configured = lowered.graph.vertices().iter().find_map(|vertex| match &vertex.op {
            Op::Exec(exec) => exec.auto_caches.first().map(|cache| cache.files.last().unwrap().1.clone()),
            _ => None,
        });
        let text = configured.unwrap_or_default();
        (text.contains("Dir::Cache::archives"), text.contains("Dir::State::lists"))
    };
    let usual = "RUN apt-get update && apt-get install -y curl && rm -rf /var/lib/apt/lists/*";
    assert_eq!(apt(usual), 1);
    assert_eq!(files(usual), (true, true));
    assert_eq!(files(&format!("{usual}\nRUN make")), (true, true), "the step itself removes the lists");
    assert_eq!(files("RUN apt-get update && apt-get install -y curl"), (true, true));
    assert_eq!(files("RUN apt-get update && apt-get install -y curl\nRUN make"), (true, false));
    assert_eq!(files("RUN apt-get update && apt-get install -y curl\nRUN apt-get install -y git"), (true, false));
    assert_eq!(
        files("RUN apt-get update && apt-get install -y curl\nRUN apt-get update && apt-get install -y git"),
        (true, true)
    );
    assert_eq!(files("RUN apt-get install -y curl"), (true, false));
    assert_eq!(files("RUN apt-get update || true; apt-get install -y curl"), (true, true));
    assert_eq!(files("RUN if x; then apt-get update; fi; apt-get install -y curl"), (true, false));
    assert_eq!(files("RUN ./setup.sh && apt-get update && apt-get install -y curl"), (true, false));
    assert_eq!(files("RUN apt-get update\nRUN apt-get install -y curl"), (true, false));
    assert_eq!(apt("RUN apt-get update\nRUN apt-get install -y curl"), 2);
    assert_eq!(
        files("RUN apt-get update && apt-get install -y curl && apt-get clean && rm -rf /var/lib/apt/lists/*"),
        (false, true)
    );
    assert_eq!(
        apt(
            "RUN --mount=type=cache,target=/var/cache/apt --mount=type=cache,target=/var/lib/apt apt-get update && apt-get install -y x"
        ),
        0
    );
    assert_eq!(
        files("RUN --mount=type=cache,target=/var/cache/apt apt-get update && apt-get install -y x"),
        (false, true)
    );
    assert_eq!(apt("RUN apt-get update && apt-get install -y x && ls /var/cache/apt/archives"), 1);
    assert_eq!(files("RUN apt-get update && apt-get install -y x && ls /var/cache/apt/archives"), (false, true));
    assert_eq!(apt("RUN apt-get install -y --download-only x\nRUN apt-get install -y --no-download x"), 0);
    assert_eq!(apt("RUN sudo apt-get update && sudo apt-get install -y x"), 0);
}

#[test]
fn caches_of_what_was_compiled_fit_the_installed_packages() {
    let id = |before: &str| {
        let lowered = lower_with(&builder(&format!("{before}RUN go build")), &options(), &Images::default());
        let vertices = lowered.graph.vertices().iter();
        let mut id = vertices.filter_map(|vertex| match &vertex.op {
            Op::Exec(exec) => {
                exec.auto_caches.iter().find(|cache| cache.command == "go build").map(|cache| cache.id.clone())
            }
            _ => None,
        });
        id.next_back().unwrap()
    };
    assert_eq!(id(""), "go/build/docker.io/library/golang:1.25/linux/amd64");
    assert_eq!(id("RUN true\n"), id(""));
    let with_package = id("RUN apt-get update && apt-get install -y libx-dev\n");
    assert_ne!(with_package, id(""));
    assert_ne!(with_package, id("RUN apt-get update && apt-get install -y liby-dev\n"));
    assert_eq!(with_package, id("RUN apt-get update && apt-get install -y libx-dev\nRUN true\n"));
}

#[test]
fn caches_of_built_wheels_fit_the_settings() {
    let id = |lines: &str| {
        let text = format!("FROM python:3 AS build\n{lines}\nFROM scratch\nCOPY --from=build /x /x\n");
        let lowered = lower_with(&text, &options(), &Images::default());
        let ids = lowered.graph.vertices().iter().find_map(|vertex| match &vertex.op {
            Op::Exec(exec) => exec.auto_caches.first().map(|cache| (cache.id.clone(), cache.unseen)),
            _ => None,
        });
        ids.map(|(id, unseen)| {
            assert_eq!(unseen, Unseen::CAndArchives);
            id
        })
    };
    for tool in ["pip install x", "uv pip install x", "poetry install"] {
        let plain = id(&format!("RUN {tool}"));
        assert!(plain.is_some(), "{tool}");
        assert_eq!(id(&format!("ARG COMMIT=1\nENV APP=/srv\nRUN {tool}")), plain);
        for other in
            [format!("ENV CFLAGS=-O3\nRUN {tool}"), format!("RUN CC=clang {tool}"), format!("ARG USE_X=1\nRUN {tool}")]
        {
            assert!(id(&other).is_some_and(|id| Some(id) != plain), "{other}");
        }
        assert_eq!(id(&format!("RUN CFLAGS=$(flags) {tool}")), None);
    }
}

#[test]
fn all_adds_outputs_and_what_leaves_no_trace() {
    let all = |text: &str| caches_in(AutoCacheMode::All, text);
    assert_eq!(all(BASELINE), "go mod download: (~/go/pkg/mod)\ngo build: ~/.cache/go-build\ngo build: (~/go/pkg/mod)");
    let cargo = |last: &str| {
        all(&format!("FROM rust AS build\nWORKDIR /app\nRUN cargo build --release\nFROM debian\n{last}\n"))
    };
    let whole = "cargo build: ~/.cargo/registry\ncargo build: ~/.cargo/git\ncargo build: (/app/target)";
    assert_eq!(cargo("COPY --from=build /app/target/release/app /"), whole);
    for last in [
        "COPY --from=build /app /app",
        "COPY --from=build /app/target /t",
        "COPY --from=build /app/target/release/*.so /",
    ] {
        assert!(!cargo(last).contains("(/app/target)"), "{last}");
    }
    // The exported image.
    assert_eq!(all("FROM golang\nRUN go build\n"), "");
    assert_eq!(all("FROM rust\nRUN cargo build\n"), "");
    let usual = "FROM debian\nRUN apt-get update && apt-get install -y curl && rm -rf /var/lib/apt/lists/*\n";
    // Both in an image that empties the archives, else the lists alone.
    assert_eq!(all(usual), "apt-get update: /var/cache/kiln/apt\napt-get update: /var/cache/kiln/apt-lists");
    assert_eq!(caches(usual), "");
    assert_eq!(
        all("FROM debian\nRUN apt-get update && apt-get install -y curl\n"),
        "apt-get update: /var/cache/kiln/apt-archives"
    );
    let lowered = lower_with(usual, &Options { auto_cache: AutoCacheMode::All, ..options() }, &Images::default());
    let requires = lowered.graph.vertices().iter().find_map(|vertex| match &vertex.op {
        Op::Exec(exec) => Some(exec.auto_caches.iter().map(|cache| cache.requires.as_deref()).collect::<Vec<_>>()),
        _ => None,
    });
    let docker_clean = Some("/etc/apt/apt.conf.d/docker-clean");
    assert_eq!(requires.as_deref(), Some(&[docker_clean, None][..]), "something must empty the archives");
}

#[test]
fn no_key_depends_on_it() {
    let definitions = |mode| {
        let lowered = lower_with(BASELINE, &Options { auto_cache: mode, ..options() }, &Images::default());
        lowered.graph.vertices().iter().map(|vertex| vertex.definition).collect::<Vec<_>>()
    };
    assert_eq!(definitions(AutoCacheMode::Off), definitions(AutoCacheMode::All));
}

#[test]
fn mounts_that_do_the_same() {
    let recommended = |text: &str| {
        let lowered = lower_with(text, &Options { advice: true, all_stages: true, ..options() }, &Images::default());
        let mut lines = Vec::new();
        for (step, mount) in lowered.steps.iter().flat_map(|step| step.caches.iter().map(move |mount| (step, mount))) {
            let id = mount.id.as_ref().map(|id| format!("id={id},")).unwrap_or_default();
            let locked = if mount.locked { " locked" } else { "" };
            let variable = mount.variable.map(|name| format!(" ENV {name}")).unwrap_or_default();
            let image = if step.in_image { " in the image" } else { "" };
            lines.push(format!("{}: {id}target={}{locked}{variable}{image}", mount.command, mount.target));
        }
        lines.join("\n")
    };
    assert_eq!(recommended(BASELINE), "go build: target=/root/.cache/go-build ENV GOCACHE");
    let user = "USER app\nENV HOME=/home/app\nRUN npm ci";
    assert_eq!(recommended(&builder(user)), "", "a cache mount is root's");
    assert_eq!(recommended(&builder("ENV HOME=/h\nRUN npm ci")), "npm ci: target=/h/.npm/_cacache");
    assert_eq!(
        recommended(&builder("RUN apt-get update && apt-get install -y x && rm -rf /var/lib/apt/lists/*")),
        "apt-get update: id=apt-golang-1.25,target=/var/cache/apt locked\n\
         apt-get update: id=apt-lists-golang-1.25,target=/var/lib/apt/lists locked"
    );
    assert_eq!(
        recommended("FROM golang\nRUN go vet\n"),
        "go vet: target=/root/.cache/go-build ENV GOCACHE in the image\n\
         go vet: target=/root/go/pkg/mod/cache/download in the image"
    );
    // Images are also the stages that nobody uses, but for those that try something out.
    let image =
        |stage: &str| recommended(&format!("FROM golang AS a\nRUN go vet\n{stage}\nFROM scratch\n")).contains("image");
    assert!(
        image("")
            && image("FROM a AS b\nCMD x")
            && image("FROM a AS b\nRUN x\nCMD y")
            && image("FROM a AS b\nCOPY x y")
    );
    assert!(!image("FROM a AS b\nRUN go test") && !image("FROM scratch AS b\nCOPY --from=a x /"));
}
