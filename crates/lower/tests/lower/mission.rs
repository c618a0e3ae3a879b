//! The two Dockerfiles that kiln exists for.

use crate::support::{config_of, history, lower_text, render};

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

const CACHED: &str = "\
FROM golang:1.25-trixie as builder

WORKDIR /app

# 1. Dependencies first (better Docker layer caching)
COPY go.mod .
COPY go.sum .
RUN go mod download

# 2. Copy the rest of the source
COPY . .

# 3. Explicit Go build cache location
ENV GOCACHE=/root/.cache/go-build

# 4. Use Docker cache mount for Go build cache
RUN --mount=type=cache,target=\"/root/.cache/go-build\" \\
    go build -o app

FROM ubuntu:24.04

RUN mkdir /app
WORKDIR /app
COPY --from=builder /app/app .

ENTRYPOINT [\"./app\"]
";

#[test]
fn baseline() {
    let lowered = lower_text(BASELINE);
    insta::assert_snapshot!(render(&lowered), @r#"
    0: [builder 1/7] FROM docker.io/library/golang:1.25-trixie@f644
         image docker.io/library/golang:1.25-trixie linux/amd64
    1: [builder 2/7] WORKDIR /app
         file on 0
         mkdir /app 755
    2: [internal] load build context
         local context
    3: [builder 3/7] COPY go.mod .
         file on 1
         copy 2:["go.mod"] to /app/ (context)
    4: [builder 4/7] COPY go.sum .
         file on 3
         copy 2:["go.sum"] to /app/ (context)
    5: [builder 5/7] RUN go mod download
         exec on 4 in /app ["/bin/sh", "-c", "go mod download"]
    6: [builder 6/7] COPY . .
         file on 5
         copy 2:["."] to /app/ (context)
    7: [builder 7/7] RUN go build -o app
         exec on 6 in /app ["/bin/sh", "-c", "go build -o app"]
    8: [stage-1 1/4] FROM docker.io/library/ubuntu:24.04@eaac
         image docker.io/library/ubuntu:24.04 linux/amd64
    9: [stage-1 2/4] RUN mkdir /app
         exec on 8 in / ["/bin/sh", "-c", "mkdir /app"]
    10: [stage-1 3/4] WORKDIR /app
         file on 9
         mkdir /app 755
    11: [stage-1 4/4] COPY --from=builder /app/app .
         file on 10
         copy 7:["app/app"] to /app/
    -> 11
    "#);
    insta::assert_snapshot!(history(&lowered), @r#"
    RUN /bin/sh -c mkdir /app # buildkit
    WORKDIR /app
    COPY /app/app . # buildkit
    (ENTRYPOINT ["./app"])
    "#);
    insta::assert_snapshot!(config_of(&lowered), @r#"
    {
      "Entrypoint": [
        "./app"
      ],
      "WorkingDir": "/app"
    }
    "#);
}

#[test]
fn cached() {
    let lowered = lower_text(CACHED);
    insta::assert_snapshot!(render(&lowered), @r#"
    0: [builder 1/7] FROM docker.io/library/golang:1.25-trixie@f644
         image docker.io/library/golang:1.25-trixie linux/amd64
    1: [builder 2/7] WORKDIR /app
         file on 0
         mkdir /app 755
    2: [internal] load build context
         local context
    3: [builder 3/7] COPY go.mod .
         file on 1
         copy 2:["go.mod"] to /app/ (context)
    4: [builder 4/7] COPY go.sum .
         file on 3
         copy 2:["go.sum"] to /app/ (context)
    5: [builder 5/7] RUN go mod download
         exec on 4 in /app ["/bin/sh", "-c", "go mod download"]
    6: [builder 6/7] COPY . .
         file on 5
         copy 2:["."] to /app/ (context)
    7: [builder 7/7] RUN --mount=type=cache,target="/root/.cache/go-build"     go build -o app
         exec on 6 in /app ["/bin/sh", "-c", "go build -o app"]
         env GOCACHE=/root/.cache/go-build
         mount /root/.cache/go-build rw cache /root/.cache/go-build
    8: [stage-1 1/4] FROM docker.io/library/ubuntu:24.04@eaac
         image docker.io/library/ubuntu:24.04 linux/amd64
    9: [stage-1 2/4] RUN mkdir /app
         exec on 8 in / ["/bin/sh", "-c", "mkdir /app"]
    10: [stage-1 3/4] WORKDIR /app
         file on 9
         mkdir /app 755
    11: [stage-1 4/4] COPY --from=builder /app/app .
         file on 10
         copy 7:["app/app"] to /app/
    -> 11
    "#);
    insta::assert_snapshot!(history(&lowered), @r#"
    RUN /bin/sh -c mkdir /app # buildkit
    WORKDIR /app
    COPY /app/app . # buildkit
    (ENTRYPOINT ["./app"])
    "#);
}
