//! COPY, ADD and WORKDIR: what the file ops do.

use crate::support::{Images, graph, graph_with, history, lower_text, options};
use kiln_lower::NamedContext;

#[test]
fn a_working_directory_is_text_but_for_processes() {
    let text = "FROM alpine\nWORKDIR /link/..\nRUN [\"x\"]\nCOPY f g/..\nWORKDIR /a//b/.\nRUN [\"y\"]\nWORKDIR /\n";
    insta::assert_snapshot!(graph(text), @r#"
    0: [1/7] FROM docker.io/library/alpine:latest@c9ef
         image docker.io/library/alpine:latest linux/amd64
    1: [2/7] WORKDIR /link/..
         file on 0
         mkdir / 755
    2: [3/7] RUN ["x"]
         exec on 1 in /link/.. ["x"]
    3: [internal] load build context
         local context
    4: [4/7] COPY f g/..
         file on 2
         copy 3:["f"] to / (context)
    5: [5/7] WORKDIR /a//b/.
         file on 4
         mkdir /a/b 755
    6: [6/7] RUN ["y"]
         exec on 5 in /a/b ["y"]
    -> 6
    "#);
}

#[test]
fn destinations_and_sources() {
    let text = "\
FROM scratch
COPY a b/ ../c ./
WORKDIR /app
COPY . .
COPY *.go /src
COPY /abs/dir sub/
COPY [\"with space\", \"/a b/\"]
";
    insta::assert_snapshot!(graph(text), @r#"
    0: [internal] load build context
         local context
    1: [1/6] COPY a b/ ../c ./
         file on nothing
         copy 0:["a", "b", "c"] to / (context)
    2: [2/6] WORKDIR /app
         file on 1
         mkdir /app 755
    3: [3/6] COPY . .
         file on 2
         copy 0:["."] to /app/ (context)
    4: [4/6] COPY *.go /src
         file on 3
         copy 0:["*.go"] to /src (context)
    5: [5/6] COPY /abs/dir sub/
         file on 4
         copy 0:["abs/dir"] to /app/sub/ (context)
    6: [6/6] COPY [with space, /a b/]
         file on 5
         copy 0:["with space"] to /a b/ (context)
    -> 6
    "#);
    insta::assert_snapshot!(history(&lower_text(text)), @"
    COPY a b/ ../c ./ # buildkit
    WORKDIR /app
    COPY . . # buildkit
    COPY *.go /src # buildkit
    COPY /abs/dir sub/ # buildkit
    COPY with space /a b/ # buildkit
    ");
}

#[test]
fn flags() {
    let text = "\
FROM alpine
ENV U=app G=staff M=0644
COPY --chown=$U:$G --chmod=$M a /a
COPY --chown=1000 --chmod=u=rwX,go=rX --link a /b
COPY --link --exclude=*.md --exclude=docs . /c
COPY --parents x/./y/*.go x/z /d/
ADD --chown=root --link --unpack=false a.tar.gz b.tar.gz /e/
ADD --chmod=755 a.tar /f/
";
    insta::assert_snapshot!(graph(text), @r#"
    0: [1/7] FROM docker.io/library/alpine:latest@c9ef
         image docker.io/library/alpine:latest linux/amd64
    1: [internal] load build context
         local context
    2: [2/7] COPY --chown=app:staff --chmod=0644 a /a
         file on 0
         copy 1:["a"] to /a owner app:staff mode Octal(420) (context)
    3: [3/7] COPY --chown=1000 --chmod=u=rwX,go=rX --link a /b
         file on 2
         copy 1:["a"] to /b owner 1000 mode Symbolic("u=rwX,go=rX") (context)
    4: [4/7] COPY --link --exclude=*.md --exclude=docs . /c
         file on 3
         copy 1:["."] to /c link (context) exclude ["*.md", "docs"]
    5: [5/7] COPY --parents x/./y/*.go x/z /d/
         file on 4
         copy 1:["x/./y/*.go", "x/z"] to /d/ parents (context)
    6: [6/7] ADD --chown=root --link --unpack=false a.tar.gz b.tar.gz /e/
         file on 5
         copy 1:["a.tar.gz", "b.tar.gz"] to /e/ owner 0 link (context)
    7: [7/7] ADD --chmod=755 a.tar /f/
         file on 6
         copy 1:["a.tar"] to /f/ mode Octal(493) unpack Archives (context)
    -> 7
    "#);
    insta::assert_snapshot!(history(&lower_text(text)), @"
    (ENV U=app G=staff M=0644)
    COPY --chown=app:staff --chmod=0644 a /a # buildkit
    COPY --chown=1000 --chmod=u=rwX,go=rX a /b # buildkit
    COPY . /c # buildkit
    COPY --parents x/./y/*.go x/z /d/ # buildkit
    ADD --chown=root a.tar.gz b.tar.gz /e/ # buildkit
    ADD --chmod=755 a.tar /f/ # buildkit
    ");
}

#[test]
fn heredocs() {
    let text = "\
FROM alpine
ENV NAME=World
COPY --chmod=600 --chown=5 <<EOF <<-\"raw\" plain /dir/
hello $NAME \\$NAME ${NAME:-x}
EOF
\thello $NAME
raw
COPY <<EOF /etc/motd
EOF
";
    insta::assert_snapshot!(graph(text), @r#"
    0: [1/3] FROM docker.io/library/alpine:latest@c9ef
         image docker.io/library/alpine:latest linux/amd64
    1: [internal] load build context
         local context
    2: [2/3] COPY --chmod=600 --chown=5 <<EOF <<-raw plain /dir/
         file on 0
         copy 1:["plain"] to /dir/ owner 5 mode Octal(384) (context)
         mkfile EOF at /dir/ "hello World $NAME World\n" mode Octal(384) owner 5
         mkfile raw at /dir/ "hello $NAME\n" mode Octal(384) owner 5
    3: [3/3] COPY <<EOF /etc/motd
         file on 2
         mkfile EOF at /etc/motd ""
    -> 3
    "#);
    insta::assert_snapshot!(history(&lower_text(text)), @"
    (ENV NAME=World)
    COPY --chown=5 --chmod=600 plain <<EOF <<raw /dir/ # buildkit
    COPY <<EOF /etc/motd # buildkit
    ");
}

#[test]
fn downloads() {
    let text = "\
FROM alpine
ADD https://example.org/a/b.tar.gz?x=1 /dl/
ADD --checksum=sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855 https://example.org/ /f
ADD --unpack=true http://example.org/c.tgz local.tgz /x/
";
    insta::assert_snapshot!(graph(text), @r#"
    0: [1/4] FROM docker.io/library/alpine:latest@c9ef
         image docker.io/library/alpine:latest linux/amd64
    1: [internal] fetch https://example.org/a/b.tar.gz?x=1
         http https://example.org/a/b.tar.gz?x=1 as b.tar.gz
    2: [2/4] ADD https://example.org/a/b.tar.gz?x=1 /dl/
         file on 0
         copy 1:["b.tar.gz"] to /dl/
    3: [internal] fetch https://example.org/
         http https://example.org/ as __unnamed__ e3b0c44298fc
    4: [3/4] ADD --checksum=sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855 https://example.org/ /f
         file on 2
         copy 3:["__unnamed__"] to /f
    5: [internal] fetch http://example.org/c.tgz
         http http://example.org/c.tgz as c.tgz
    6: [internal] load build context
         local context
    7: [4/4] ADD --unpack=true http://example.org/c.tgz local.tgz /x/
         file on 4
         copy 5:["c.tgz"] to /x/ unpack Archives
         copy 6:["local.tgz"] to /x/ unpack Archives (context)
    -> 7
    "#);
    insta::assert_snapshot!(history(&lower_text(text)), @"
    ADD https://example.org/a/b.tar.gz?x=1 /dl/ # buildkit
    ADD https://example.org/ /f # buildkit
    ADD http://example.org/c.tgz local.tgz /x/ # buildkit
    ");
}

#[test]
fn repositories() {
    let text = "\
FROM alpine
ADD --keep-git-dir=true https://example.org/a.git#v1:sub /src/
ADD --checksum=abcdef --exclude=*.md git@example.org:b /b
ADD --chown=5 https://example.org/c.git?branch=main&submodules=0 github.com/x /c/
FROM tree
COPY --from=file /context /
COPY --from=tree / /
";
    let named = |text: &str| NamedContext::Git(kiln_graph::GitAddress::parse(text).unwrap().unwrap().tree);
    let mut options = options();
    options.contexts = [
        ("tree".to_owned(), named("https://user:secret@example.org/d.git#v2")),
        ("file".to_owned(), NamedContext::Http(kiln_graph::HttpFile::at("https://example.org/x", None))),
    ]
    .into();
    options.all_stages = true;
    insta::assert_snapshot!(graph_with(text, &options, &Images::default()), @r#"
    0: [stage-0 1/4] FROM docker.io/library/alpine:latest@c9ef
         image docker.io/library/alpine:latest linux/amd64
    1: [internal] fetch https://example.org/a.git#v1:sub
         git https://example.org/a.git #v1 :sub .git
    2: [stage-0 2/4] ADD --keep-git-dir=true https://example.org/a.git#v1:sub /src/
         file on 0
         copy 1:["."] to /src/
    3: [internal] fetch git@example.org:b
         git git@example.org:b is abcdef
    4: [stage-0 3/4] ADD --checksum=abcdef --exclude=*.md git@example.org:b /b
         file on 2
         copy 3:["."] to /b exclude ["*.md"]
    5: [internal] fetch https://example.org/c.git?branch=main&submodules=0
         git https://example.org/c.git #refs/heads/main without submodules
    6: [internal] load build context
         local context
    7: [stage-0 4/4] ADD --chown=5 https://example.org/c.git?branch=main&submodules=0 github.com/x /c/
         file on 4
         copy 5:["."] to /c/ owner 5
         copy 6:["github.com/x"] to /c/ owner 5 unpack Archives (context)
    8: [context tree] https://example.org/d.git
         git https://user:secret@example.org/d.git #v2
    9: [stage-1 1/3] FROM tree
         file on nothing
         copy 8:["."] to /
    10: [context file] https://example.org/x
         http https://example.org/x as x
    11: [stage-1 2/3] COPY --from=file /context /
         file on 9
         copy 10:["context"] to /
    12: [stage-1 3/3] COPY --from=tree / /
         file on 11
         copy 8:["."] to /
    -> 12
    "#);
}

#[test]
fn sources_from_everywhere() {
    let text = "\
FROM alpine AS a
RUN a
FROM alpine
COPY --from=0 /x .
COPY --from=A /x .
COPY --from=scratch / /s
COPY --from=ghcr.io/org/tool:v1 /bin/tool /bin/
";
    insta::assert_snapshot!(graph(text), @r#"
    0: [a 1/2] FROM docker.io/library/alpine:latest@c9ef
         image docker.io/library/alpine:latest linux/amd64
    1: [a 2/2] RUN a
         exec on 0 in / ["/bin/sh", "-c", "a"]
    2: [stage-1 2/5] COPY --from=0 /x .
         file on 0
         copy 1:["x"] to /
    3: [stage-1 3/5] COPY --from=A /x .
         file on 2
         copy 1:["x"] to /
    4: [internal] empty tree
         file on nothing
    5: [stage-1 4/5] COPY --from=scratch / /s
         file on 3
         copy 4:["."] to /s
    6: FROM ghcr.io/org/tool:v1@770a
         image ghcr.io/org/tool:v1 linux/amd64
    7: [stage-1 5/5] COPY --from=ghcr.io/org/tool:v1 /bin/tool /bin/
         file on 5
         copy 6:["bin/tool"] to /bin/
    -> 7
    "#);
}

#[test]
fn a_made_directory_belongs_to_the_user_so_far() {
    let text = "FROM alpine\nWORKDIR /a\nUSER 1000:100\nWORKDIR b/../c\nUSER app\nWORKDIR /d\n";
    insta::assert_snapshot!(graph(text), @"
    0: [1/4] FROM docker.io/library/alpine:latest@c9ef
         image docker.io/library/alpine:latest linux/amd64
    1: [2/4] WORKDIR /a
         file on 0
         mkdir /a 755
    2: [3/4] WORKDIR b/../c
         file on 1
         mkdir /a/c 755 owner 1000:100
    3: [4/4] WORKDIR /d
         file on 2
         mkdir /d 755 owner app
    -> 3
    ");
}
