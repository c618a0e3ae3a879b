//! RUN: forms, mounts, network, confinement.

use crate::support::{Images, graph, graph_with, history, lower_text, options};
use kiln_graph::{HostEntry, Network, Ulimit};
use kiln_lower::Options;

#[test]
fn forms() {
    let text = r#"FROM alpine
RUN echo "a  b" $HOME
RUN ["/bin/echo", "a b", "$HOME"]
SHELL ["/bin/bash", "-c"]
RUN a && \
    # comment
    b
RUN ["x"]
"#;
    insta::assert_snapshot!(graph(text), @r#"
    0: [1/5] FROM docker.io/library/alpine:latest@c9ef
         image docker.io/library/alpine:latest linux/amd64
    1: [2/5] RUN echo "a  b" $HOME
         exec on 0 in / ["/bin/sh", "-c", "echo \"a  b\" $HOME"]
    2: [3/5] RUN ["/bin/echo", "a b", "$HOME"]
         exec on 1 in / ["/bin/echo", "a b", "$HOME"]
    3: [4/5] RUN a &&     b
         exec on 2 in / ["/bin/bash", "-c", "a &&     b"]
    4: [5/5] RUN ["x"]
         exec on 3 in / ["x"]
    -> 4
    "#);
    insta::assert_snapshot!(history(&lower_text(text)), @r#"
    RUN /bin/sh -c echo "a  b" $HOME # buildkit
    RUN /bin/echo a b $HOME # buildkit
    (SHELL [/bin/bash -c])
    RUN /bin/bash -c a &&     b # buildkit
    RUN x # buildkit
    "#);
}

#[test]
fn heredocs() {
    let text = "FROM alpine\nENV A=1\nRUN <<EOF\n\techo $A\necho b\nEOF\nRUN <<-X\n\techo a\n\tX\nRUN <<PY\n#!/usr/bin/env python3\nprint(1)\nPY\nRUN cat <<A > /a && cat <<-'B' > /b\na\nA\n\tb\nB\n";
    insta::assert_snapshot!(graph(text), @r##"
    0: [1/5] FROM docker.io/library/alpine:latest@c9ef
         image docker.io/library/alpine:latest linux/amd64
    1: [2/5] RUN <<EOF (echo 1...)
         exec on 0 in / ["/bin/sh", "-c", "\techo $A\necho b\n"]
         env A=1
    2: [3/5] RUN <<-X (echo a)
         exec on 1 in / ["/bin/sh", "-c", "echo a\n"]
         env A=1
    3: [internal] preparing inline document
         file on nothing
         mkfile PY at /PY "#!/usr/bin/env python3\nprint(1)\n" mode Octal(493)
    4: [4/5] RUN <<PY (#!/usr/bin/env python3...)
         exec on 2 in / ["/bin/sh", "-c", "/dev/pipes/PY"]
         env A=1
         mount /dev/pipes ro bind 3:/
    5: [5/5] RUN cat <<A > /a && cat <<-'B' > /b
         exec on 4 in / ["/bin/sh", "-c", "cat <<A > /a && cat <<-'B' > /b\na\nA\n\tb\nB"]
         env A=1
    -> 5
    "##);
    insta::assert_snapshot!(history(&lower_text(text)), @"
    (ENV A=1)
    RUN /bin/sh -c 	echo $A⏎echo b⏎ # buildkit
    RUN /bin/sh -c echo a⏎ # buildkit
    RUN /bin/sh -c /dev/pipes/PY # buildkit
    RUN /bin/sh -c cat <<A > /a && cat <<-'B' > /b⏎a⏎A⏎	b⏎B # buildkit
    ");
}

#[test]
fn a_progress_line_shows_values_but_no_secret() {
    let text = "\
FROM alpine
ARG V=1.2
ENV TOKEN=x
RUN --mount=type=secret,id=t,env=TOKEN curl -H \"$TOKEN\" \"v$V\" '$V' \\$V $UNSET ${V%.*}
";
    insta::assert_snapshot!(graph(text), @r#"
    0: [stage-0 1/2] FROM docker.io/library/alpine:latest@c9ef
         image docker.io/library/alpine:latest linux/amd64
    1: [stage-0 2/2] RUN --mount=type=secret,id=t,env=TOKEN curl -H "****" "v1.2" '$V' $V $UNSET 1
         exec on 0 in / ["/bin/sh", "-c", "curl -H \"$TOKEN\" \"v$V\" '$V' \\$V $UNSET ${V%.*}"]
         env V=1.2 TOKEN=x
         mount /run/secrets/t ro secret t $TOKEN 400 0:0
    -> 1
    "#);
}

#[test]
fn mounts_with_their_defaults() {
    let text = "\
FROM busybox AS tools
FROM alpine
WORKDIR /src
RUN --mount=target=. bind
RUN --mount=type=bind,from=tools,source=/bin/../lib,target=lib,rw bind
RUN --mount=type=bind,from=debian:12,source=etc,dst=/etc2 bind
RUN --mount=type=cache,target=/root/.cache/go-build/ cache
RUN --mount=type=cache,id=go,target=cache,sharing=locked,mode=0700,uid=1000,gid=100,ro cache
RUN --mount=type=cache,target=/c,from=tools,source=/seed,sharing=private,uid=7 cache
RUN --mount=type=tmpfs,target=/tmp,size=64m tmpfs
RUN --mount=type=secret,id=token secret
RUN --mount=type=secret,id=a/token,required,mode=0440,uid=1,gid=2 secret
RUN --mount=type=secret,id=token,env=TOKEN secret
RUN --mount=type=secret,id=token,env=TOKEN,target=/t secret
RUN --mount=type=secret,target=/root/.netrc secret
RUN --mount=type=ssh ssh
RUN --mount=type=ssh,id=deploy,required=true --mount=type=ssh,target=/agent,mode=0666,uid=5 ssh
";
    insta::assert_snapshot!(graph(text), @r#"
    0: [tools 1/1] FROM docker.io/library/busybox:latest@de68
         image docker.io/library/busybox:latest linux/amd64
    1: [stage-1  1/16] FROM docker.io/library/alpine:latest@c9ef
         image docker.io/library/alpine:latest linux/amd64
    2: [stage-1  2/16] WORKDIR /src
         file on 1
         mkdir /src 755
    3: [internal] load build context
         local context
    4: [stage-1  3/16] RUN --mount=target=. bind
         exec on 2 in /src ["/bin/sh", "-c", "bind"]
         mount /src ro bind 3:/
    5: [stage-1  4/16] RUN --mount=type=bind,from=tools,source=/bin/../lib,target=lib,rw bind
         exec on 4 in /src ["/bin/sh", "-c", "bind"]
         mount /src/lib rw bind 0:/lib
    6: FROM docker.io/library/debian:12@2c60
         image docker.io/library/debian:12 linux/amd64
    7: [stage-1  5/16] RUN --mount=type=bind,from=debian:12,source=etc,dst=/etc2 bind
         exec on 5 in /src ["/bin/sh", "-c", "bind"]
         mount /etc2 ro bind 6:/etc
    8: [stage-1  6/16] RUN --mount=type=cache,target=/root/.cache/go-build/ cache
         exec on 7 in /src ["/bin/sh", "-c", "cache"]
         mount /root/.cache/go-build rw cache /root/.cache/go-build
    9: [stage-1  7/16] RUN --mount=type=cache,id=go,target=cache,sharing=locked,mode=0700,uid=1000,gid=100,ro cache
         exec on 8 in /src ["/bin/sh", "-c", "cache"]
         mount /src/cache ro cache go Locked mode 700 owner 1000:100
    10: [stage-1  8/16] RUN --mount=type=cache,target=/c,from=tools,source=/seed,sharing=private,uid=7 cache
         exec on 9 in /src ["/bin/sh", "-c", "cache"]
         mount /c rw cache /c Private from 0 source /seed
    11: [stage-1  9/16] RUN --mount=type=tmpfs,target=/tmp,size=64m tmpfs
         exec on 10 in /src ["/bin/sh", "-c", "tmpfs"]
         mount /tmp rw tmpfs Some(67108864)
    12: [stage-1 10/16] RUN --mount=type=secret,id=token secret
         exec on 11 in /src ["/bin/sh", "-c", "secret"]
         mount /run/secrets/token ro secret token file 400 0:0
    13: [stage-1 11/16] RUN --mount=type=secret,id=a/token,required,mode=0440,uid=1,gid=2 secret
         exec on 12 in /src ["/bin/sh", "-c", "secret"]
         mount /run/secrets/token ro secret a/token file 440 1:2 required
    14: [stage-1 12/16] RUN --mount=type=secret,id=token,env=TOKEN secret
         exec on 13 in /src ["/bin/sh", "-c", "secret"]
         mount /run/secrets/token ro secret token $TOKEN 400 0:0
    15: [stage-1 13/16] RUN --mount=type=secret,id=token,env=TOKEN,target=/t secret
         exec on 14 in /src ["/bin/sh", "-c", "secret"]
         mount /t ro secret token file and $TOKEN 400 0:0
    16: [stage-1 14/16] RUN --mount=type=secret,target=/root/.netrc secret
         exec on 15 in /src ["/bin/sh", "-c", "secret"]
         mount /root/.netrc ro secret .netrc file 400 0:0
    17: [stage-1 15/16] RUN --mount=type=ssh ssh
         exec on 16 in /src ["/bin/sh", "-c", "ssh"]
         env SSH_AUTH_SOCK=/run/buildkit/ssh_agent.0
         mount /run/buildkit/ssh_agent.0 ro ssh default 600 0:0
    18: [stage-1 16/16] RUN --mount=type=ssh,id=deploy,required=true --mount=type=ssh,target=/agent,mode=0666,uid=5 ssh
         exec on 17 in /src ["/bin/sh", "-c", "ssh"]
         env SSH_AUTH_SOCK=/run/buildkit/ssh_agent.0
         mount /run/buildkit/ssh_agent.0 ro ssh deploy 600 0:0 required
         mount /agent ro ssh default 666 5:0
    -> 18
    "#);
}

#[test]
fn mounts_expand_variables() {
    let text = "FROM alpine\nARG ID=x\nENV DIR=/d\nRUN --mount=type=cache,id=${ID},target=$DIR a\n";
    insta::assert_snapshot!(graph(text), @r#"
    0: [stage-0 1/2] FROM docker.io/library/alpine:latest@c9ef
         image docker.io/library/alpine:latest linux/amd64
    1: [stage-0 2/2] RUN --mount=type=cache,id=x,target=/d a
         exec on 0 in / ["/bin/sh", "-c", "a"]
         env ID=x DIR=/d
         mount /d rw cache x
    -> 1
    "#);
}

#[test]
fn the_agent_is_found_by_its_variable() {
    let lowered = lower_text("FROM alpine\nRUN --mount=type=ssh a\nENV SSH_AUTH_SOCK=/mine\nRUN --mount=type=ssh b\n");
    let agents: Vec<_> = lowered
        .graph
        .vertices()
        .iter()
        .filter_map(|vertex| match &vertex.op {
            kiln_graph::Op::Exec(exec) => exec.env.iter().find(|(name, _)| name == "SSH_AUTH_SOCK").cloned(),
            _ => None,
        })
        .map(|(_, value)| value)
        .collect();
    assert_eq!(agents, ["/run/buildkit/ssh_agent.0", "/mine"]);
}

#[test]
fn a_run_on_scratch_has_no_root() {
    insta::assert_snapshot!(
        graph("FROM busybox AS b\nFROM scratch\nRUN --mount=from=b,target=/b [\"/b/bin/true\"]\n"),
        @r#"
    0: [b 1/1] FROM docker.io/library/busybox:latest@de68
         image docker.io/library/busybox:latest linux/amd64
    1: [stage-1 1/1] RUN --mount=from=b,target=/b ["/b/bin/true"]
         exec on nothing in / ["/b/bin/true"]
         mount /b ro bind 0:/
    -> 1
    "#
    );
}

#[test]
fn what_the_command_line_says_of_steps() {
    let text = "\
FROM alpine
RUN a
RUN --network=none b
RUN --network=host c
RUN --network=default d
RUN --security=insecure e
RUN --security=sandbox f
";
    let options = Options {
        network: Network::None,
        allow_network_host: true,
        allow_insecure: true,
        hostname: Some("box".to_owned()),
        shm_size: Some(1 << 20),
        cgroup_parent: Some("/kiln".to_owned()),
        ulimits: vec![Ulimit { name: "nofile".to_owned(), soft: 10, hard: 20 }],
        extra_hosts: vec![HostEntry { host: "db".to_owned(), ip: "10.0.0.1".to_owned() }],
        ..options()
    };
    insta::assert_snapshot!(graph_with(text, &options, &Images::default()), @r#"
    0: [1/7] FROM docker.io/library/alpine:latest@c9ef
         image docker.io/library/alpine:latest linux/amd64
    1: [2/7] RUN a
         exec on 0 in / ["/bin/sh", "-c", "a"]
         network None
         hostname box
         shm 1048576
         cgroup /kiln
         ulimit nofile 10 20
         host db 10.0.0.1
    2: [3/7] RUN --network=none b
         exec on 1 in / ["/bin/sh", "-c", "b"]
         network None
         hostname box
         shm 1048576
         cgroup /kiln
         ulimit nofile 10 20
         host db 10.0.0.1
    3: [4/7] RUN --network=host c
         exec on 2 in / ["/bin/sh", "-c", "c"]
         network Host
         hostname box
         shm 1048576
         cgroup /kiln
         ulimit nofile 10 20
         host db 10.0.0.1
    4: [5/7] RUN --network=default d
         exec on 3 in / ["/bin/sh", "-c", "d"]
         hostname box
         shm 1048576
         cgroup /kiln
         ulimit nofile 10 20
         host db 10.0.0.1
    5: [6/7] RUN --security=insecure e
         exec on 4 in / ["/bin/sh", "-c", "e"]
         network None
         security Insecure
         hostname box
         shm 1048576
         cgroup /kiln
         ulimit nofile 10 20
         host db 10.0.0.1
    6: [7/7] RUN --security=sandbox f
         exec on 5 in / ["/bin/sh", "-c", "f"]
         network None
         hostname box
         shm 1048576
         cgroup /kiln
         ulimit nofile 10 20
         host db 10.0.0.1
    -> 6
    "#);
}
