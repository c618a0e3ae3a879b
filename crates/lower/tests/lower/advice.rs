//! Rules of kiln's own, with what lowering tells them: Dockerfiles in, findings and mended Dockerfiles out.

use crate::support::{Images, options, try_lower_with};
use kiln_dockerfile::rules::{self, Facts, Options as Rules, RULES, Rule, Warning, fix};
use kiln_dockerfile::{parse, parse_strict};
use kiln_lower::{ImageConfig, Options};

pub(crate) fn images() -> Images {
    Images::with(&[(
        "docker.io/library/golang:1.25",
        r#"{"config": {"Env": ["PATH=/usr/local/go/bin:/usr/bin:/bin", "GOPATH=/go"]}}"#,
    )])
}

/// The files at the top of the context.
const CONTEXT: &[(&str, &str)] = &[
    ("go.mod", "module a\n\ngo 1.25\n\nrequire example.org/b v1.0.0\n"),
    ("go.sum", ""),
    ("main.go", "package main\n"),
    ("package.json", "{}"),
    ("requirements.txt", "flask\n"),
];

/// The findings of all of kiln's own rules.
fn findings(text: &str, images: &Images) -> Vec<Warning> {
    let options = Options { advice: true, all_stages: true, ..options() };
    let lowered = try_lower_with(text, &options, images).unwrap_or_else(|error| panic!("{error}: {text}"));
    let file = |name: &str| CONTEXT.iter().find(|(known, _)| *known == name).map(|(_, text)| (*text).to_owned());
    let holds = |name: &str| file(name).is_some();
    let facts = Facts {
        source: text,
        stages: lowered.facts,
        steps: lowered.steps,
        context_holds: Some(&holds),
        context_text: Some(&file),
        ..Facts::default()
    };
    let parsed = parse_strict(text).unwrap();
    let options = Rules { advice: true, ..Rules::default() };
    rules::check(&parsed, &facts, &options).into_iter().filter(|warning| warning.rule.own).collect()
}

pub(crate) fn mended(text: &str, images: &Images) -> fix::Settled {
    fix::settle(text, |text| {
        let offered = findings(text, images).into_iter().filter_map(|found| Some((found.rule.name, found.fix?)));
        Ok::<_, std::convert::Infallible>(offered.collect())
    })
    .unwrap_or_else(|never| match never {})
}

fn config(text: &str, images: &Images) -> ImageConfig {
    try_lower_with(text, &options(), images).unwrap_or_else(|error| panic!("{error}: {text}")).config
}

/// Checks that it is still a Dockerfile of the same image, in which nothing is left to mend.
pub(crate) fn sound(before: &str, after: &str, images: &Images) {
    assert_eq!(parse(after).1, [], "{after}");
    assert_eq!(config(before, images), config(after, images), "{after}");
    assert_eq!(mended(after, images).text, after, "mending is done once");
}

#[test]
fn mended_dockerfiles() {
    let mut all = String::new();
    for (name, text) in CASES {
        let images = images();
        let told = |text: &str| {
            let told = findings(text, &images).into_iter().map(|warning| {
                let fix = warning.fix.map(|fix| format!("    fix: {}\n", fix.title)).unwrap_or_default();
                let hint = warning.hint.map(|hint| format!("    hint: {hint}\n")).unwrap_or_default();
                format!("{}: {}\n{hint}{fix}", warning.rule.name, warning.message)
            });
            told.collect::<String>()
        };
        let after = mended(text, &images).text;
        sound(text, &after, &images);
        let left = if after == *text { "unchanged\n".to_owned() } else { format!("{after}----\n{}", told(&after)) };
        all.push_str(&format!("==== {name}\n{text}----\n{}----\n{left}\n", told(text)));
    }
    insta::assert_snapshot!("mended", all);
}

/// Tested on every Dockerfile that is compared with BuildKit's results.
#[test]
fn cases_stay_what_they_are() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/cases");
    let mut open = vec![root];
    let mut tried = 0;
    while let Some(directory) = open.pop() {
        for entry in std::fs::read_dir(&directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else if path.file_name().is_some_and(|name| name.to_string_lossy().contains("Dockerfile"))
                && let Ok(text) = std::fs::read_to_string(&path)
                && parse(&text).1.is_empty()
                && try_lower_with(&text, &options(), &images()).is_ok()
            {
                let after = mended(&text, &images()).text;
                sound(&text, &after, &images());
                tried += 1;
            }
        }
    }
    assert!(tried > 100, "{tried}");
}

/// What may be built as an image is left as it is; what only tests one may lack what the tests leave.
#[test]
fn a_stage_with_the_program_of_its_base_is_an_image() {
    let text = |program: &str| {
        format!(
            "FROM golang:1.25 AS app\n{program}\nFROM app AS debug\nRUN go build -o /a\n\
             FROM golang:1.25 AS b\nRUN true\nFROM scratch\nCOPY --from=b /x /\n"
        )
    };
    for (program, image) in [("RUN true", false), ("CMD [\"/a\"]", true), ("ENTRYPOINT [\"/a\"]", true)] {
        let before = text(program);
        assert_eq!(mended(&before, &images()).text == before, image, "{program}");
    }
}

#[test]
fn examples_prove_their_rules() {
    let own = || RULES.iter().filter(|rule| rule.own);
    assert!(own().count() > 0);
    for rule in own() {
        let named = |text: &str, rule: &Rule| findings(text, &images()).iter().any(|warning| warning.rule == rule);
        // One rule asks what is in the context, which no test here has.
        assert!(rule.bad.is_empty() || named(rule.bad, rule), "{}: the bad example is reported", rule.name);
        for other in own() {
            assert!(!named(rule.good, other), "{}: the good example is not reported by {}", rule.name, other.name);
        }
    }
}

const CASES: &[(&str, &str)] = &[
    ("mission", include_str!("../../../../examples/hello-go/Dockerfile.baseline")),
    (
        "comments",
        "FROM golang:1.25 AS b\nWORKDIR /src\n\n# Sources\nCOPY . .\n# Build the\n#   server\nRUN go build -o /a . # all\nFROM scratch\nCOPY --from=b /a /\n",
    ),
    (
        "crlf",
        "FROM golang:1.25 AS b\r\nCOPY . .\r\nRUN \\\r\n  go vet && \\\r\n  go build -o /a\r\nFROM scratch\r\nCOPY --from=b /a /\r\n",
    ),
    ("backtick", "# escape=`\nFROM golang:1.25 AS b\nRUN go build -o /a `\n  ./cmd\nFROM scratch\nCOPY --from=b /a /"),
    (
        "heredoc",
        "FROM node AS b\nCOPY package.json .\nRUN <<EOF\n# install\nnpm install\nEOF\nFROM scratch\nCOPY --from=b /node_modules /\n",
    ),
    ("list", "FROM node AS b\nRUN [\"npm\", \"install\"]\nFROM scratch\nCOPY --from=b /node_modules /\n"),
    (
        "some mounts",
        "FROM node AS b\nRUN --mount=type=bind,target=/src --network=default npm install\nFROM scratch\nCOPY --from=b /x /\n",
    ),
    (
        "every mount",
        "FROM node AS b\nRUN --mount=type=cache,target=/root/.npm npm install\nFROM scratch\nCOPY --from=b /x /\n",
    ),
    ("in the image", "FROM node\nCOPY . .\nRUN npm install\nCMD [\"node\", \"x\"]\n"),
    ("a user", "FROM node AS b\nUSER node\nRUN npm install\nFROM scratch\nCOPY --from=b /x /\n"),
    (
        "a user later",
        "FROM golang:1.25 AS b\nRUN go build -o /a\nUSER app\nRUN go test\nFROM scratch\nCOPY --from=b /a /\n",
    ),
    (
        "a base",
        "FROM golang:1.25 AS b\nRUN go vet\nFROM b AS c\nRUN go build -o /a\nFROM scratch\nCOPY --from=c /a /\n",
    ),
    ("a variable", "FROM golang:1.25 AS b\nENV GOCACHE=/cache\nRUN go build -o /a\nFROM scratch\nCOPY --from=b /a /\n"),
    (
        "an old frontend",
        "# syntax=docker/dockerfile:1.1\nFROM golang:1.25 AS b\nRUN go build -o /a\nFROM scratch\nCOPY --from=b /a /\n",
    ),
    ("odd words", "FROM node AS b\nENV HOME=\"/h o,me\"\nRUN npm install\nFROM scratch\nCOPY --from=b /x /\n"),
    ("it is copied", "FROM node AS b\nRUN npm install\nFROM scratch\nCOPY --from=b /root /\n"),
    (
        "cargo",
        "FROM rust AS b\nWORKDIR /app\nCOPY . .\nRUN\tcargo build --release\nFROM debian\nCOPY --from=b /app/target/release/app /\n",
    ),
    ("python", "FROM python AS b\nRUN pip install --target /out flask\nFROM scratch\nCOPY --from=b /out /\n"),
    (
        "apt",
        "FROM debian AS b\nRUN apt-get update && apt-get install -y gcc\nRUN gcc -o /x /x.c\nFROM debian\nCOPY --from=b /x /\n",
    ),
    (
        "apt, emptied",
        "FROM debian AS b\nRUN apt-get update && apt-get install -y gcc && rm -rf /var/lib/apt/lists/*\nRUN gcc -o /x /x.c\nFROM debian\nCOPY --from=b /x /\n",
    ),
    (
        "apt, twice",
        "FROM ubuntu:24.04 AS b\n# Tools\nRUN apt-get update \\\n    && apt-get install -y gcc \\\n    && rm -rf /var/lib/apt/lists/*\nRUN apt-get update && rm -rf /var/lib/apt/lists/* && true\nFROM b AS c\nRUN apt update && apt install -y make\nFROM debian\nCOPY --from=c /x /\n",
    ),
    (
        "apt, with a comment",
        "FROM debian AS b\nRUN apt-get update && apt-get install -y gcc \\\n# why\n && rm -rf /var/lib/apt/lists/*\nRUN gcc\nFROM debian\nCOPY --from=b /x /\n",
    ),
    (
        "apt, whose packages stay",
        "FROM debian AS b\nRUN echo > /etc/apt/apt.conf.d/docker-clean\nRUN apt-get update && apt-get install -y gcc\nFROM debian\nCOPY --from=b /x /\n",
    ),
    (
        "apt, whose configuration is taken",
        "FROM debian AS b\nRUN apt-get update && apt-get install -y gcc\nFROM debian\nCOPY --from=b /etc /etc\n",
    ),
    (
        "apt, emptied with more",
        "FROM debian AS b\nRUN apt-get update && apt-get install -y gcc && rm -rf /var/lib/apt/lists/* /tmp/*\nRUN apt-get update; rm -rf /var/lib/apt/lists/*\nFROM debian\nCOPY --from=b /x /\n",
    ),
    (
        "apt, emptied in the image",
        "FROM debian\nRUN apt-get update && apt-get install -y gcc && rm -rf /var/lib/apt/lists/*\n",
    ),
    (
        "npm, emptied",
        "FROM node AS b\nCOPY package.json .\nRUN npm install && npm cache clean --force\nFROM scratch\nCOPY --from=b /x /\n",
    ),
    (
        "everything first",
        "FROM node AS b\nWORKDIR /app\nARG COMMIT\nCOPY . .\nRUN npm ci\nRUN npm run build && echo $COMMIT > dist/commit\nFROM scratch\nCOPY --from=b /app/dist /\n",
    ),
    (
        "modules after everything",
        "FROM golang:1.25 AS b\nWORKDIR /src\n# Sources\ncopy . .\nENV A=b\n# Modules\nRUN --mount=type=cache,target=/go/pkg/mod/cache/download go mod download \\\n  -x\nRUN go build -o /a\nFROM scratch\nCOPY --from=b /a /\n",
    ),
    (
        "modules after everything, crlf, at the end",
        "FROM golang:1.25 AS b\r\nCOPY . /src\r\nWORKDIR /src\r\nFROM golang:1.25 AS c\r\nWORKDIR /src\r\nCOPY ./ /src\r\nRUN go mod download\r\nFROM scratch\r\nCOPY --from=c /a /\r\n",
    ),
    (
        "modules after everything, in the image",
        "FROM golang:1.25\nWORKDIR /src\nCOPY . .\nRUN go mod download\nCMD [\"/a\"]\n",
    ),
    (
        "modules after everything, taken as a whole",
        "FROM golang:1.25 AS b\nWORKDIR /src\nCOPY . .\nRUN go mod download\nFROM scratch\nCOPY --from=b /src /\n",
    ),
    (
        "modules after everything, elsewhere",
        "FROM golang:1.25 AS b\nWORKDIR /src\nCOPY . ./x\nRUN go mod download\nFROM scratch\nCOPY --from=b /a /\n",
    ),
    (
        "modules after everything, where Go keeps them",
        "FROM golang:1.25 AS b\nWORKDIR /go\nCOPY . .\nRUN go mod download\nFROM scratch\nCOPY --from=b /a /\n",
    ),
    (
        "modules after everything, with more",
        "FROM golang:1.25 AS b\nWORKDIR /src\nCOPY . .\nRUN go mod download > log\nFROM golang:1.25 AS c\nWORKDIR /src\nCOPY . .\nRUN go mod download && ./x.sh\nFROM golang:1.25 AS d\nWORKDIR /src\nCOPY . .\nRUN ./x.sh\nRUN go mod download\nFROM golang:1.25 AS e\nWORKDIR /src\nCOPY --chown=1 . .\nRUN go mod download\nFROM golang:1.25 AS f\nWORKDIR /src\nCOPY . .\nRUN --mount=type=bind,target=/x go mod download\nFROM scratch\nCOPY --from=b /a /\nCOPY --from=c /a /\nCOPY --from=d /a /\nCOPY --from=e /a /\nCOPY --from=f /a /\n",
    ),
    (
        "an argument first",
        "FROM golang:1.25 AS b\n# The commit\nARG COMMIT=none\nWORKDIR /src\nCOPY go.mod .\nRUN go mod download\nCOPY . .\n# All\nRUN go build -ldflags \"-X main.commit=$COMMIT\" -o /a\nFROM scratch\nCOPY --from=b /a /\n",
    ),
    (
        "an argument above what may read it",
        "FROM golang:1.25 AS b\nARG BUILD_DATE\nCOPY go.mod .\nRUN go mod download\nRUN make\nRUN go build -o /a\nFROM scratch\nCOPY --from=b /a /\n",
    ),
    (
        "an argument that something may read",
        "FROM golang:1.25 AS b\nARG COMMIT\nRUN npm ci\nRUN echo $COMMIT\nFROM golang:1.25 AS c\nARG COMMIT\nRUN go mod download && echo $(env)\nRUN echo $COMMIT\nFROM golang:1.25 AS d\nARG GO_COMMIT\nRUN go mod download\nRUN echo $GO_COMMIT\nFROM golang:1.25 AS e\nARG COMMIT\nENV CC=/src/cc\nRUN go build\nRUN echo $COMMIT\nFROM golang:1.25 AS f\nARG COMMIT=$A\nRUN go build\nRUN echo $COMMIT\nFROM golang:1.25 AS g\nARG COMMIT\nSHELL [\"/bin/bash\", \"-lc\"]\nRUN go build\nRUN echo $COMMIT\nFROM golang:1.25 AS h\nARG COMMIT\nCOPY <<EOF /x\n$COMMIT\nEOF\nRUN go build\nFROM scratch\nCOPY --from=b /a /\nCOPY --from=c /a /\nCOPY --from=d /a /\nCOPY --from=e /a /\nCOPY --from=f /a /\nCOPY --from=g /a /\nCOPY --from=h /a /\n",
    ),
    (
        "a compiler in the image",
        "FROM debian\nRUN apt-get update && apt-get install -y build-essential && make && apt-get purge -y build-essential\nRUN apt-get install -y gcc\n",
    ),
    (
        "arguments that stay",
        "FROM golang:1.25 AS b\nARG LIB_COMMIT=0123456789abcdef\nARG VERSION\nARG COMMIT\nCOPY go.mod .\nRUN go mod download && echo ${COMMIT}\nFROM scratch\nCOPY --from=b /x /\n",
    ),
];
