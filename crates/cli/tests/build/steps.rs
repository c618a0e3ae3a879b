//! What a RUN step sees: its shell, its user, its environment, its files, its network; and what it may not do.

use crate::support::Kiln;

#[test]
fn shell_exec_and_heredoc_forms() {
    let Some(kiln) = Kiln::for_builds() else { return };
    kiln.write(
        "Dockerfile",
        r#"FROM base
RUN echo "shell $HOME"
RUN ["/bin/echo", "exec $HOME"]
RUN <<EOF
echo first
echo second
EOF
RUN <<'EOF' cat
raw $HOME
EOF
RUN <<EOF
#!/bin/awk -f
BEGIN { print "from awk" }
EOF
SHELL ["/bin/ash", "-c", "echo via-ash; eval \"$0\""]
RUN echo body
"#,
    );
    let ran = kiln.build::<&str>([]);
    ran.succeeds().logs("shell /root").logs("exec $HOME").logs("first").logs("second").logs("raw $HOME");
    ran.logs("from awk").logs("via-ash").logs("body");
}

#[test]
fn users_and_working_directories() {
    let Some(kiln) = Kiln::for_builds() else { return };
    kiln.write(
        "Dockerfile",
        r#"FROM base
USER app
WORKDIR /home/app/new
RUN echo "$(id -u):$(id -g) $(pwd) $HOME"
RUN stat -c '%u:%g' /home/app/new
USER app:staff
RUN id -g
USER 1234:99
RUN id -u; id -g
USER root
RUN id -u
"#,
    );
    let ran = kiln.build::<&str>([]);
    ran.succeeds().logs("1000:1000 /home/app/new /home/app").logs("50").logs("1234").logs("99").logs("0");
}

#[test]
fn arguments_and_environment() {
    let Some(kiln) = Kiln::for_builds() else { return };
    kiln.write(
        "Dockerfile",
        r#"ARG TAG=base
ARG GLOBAL=outside
FROM ${TAG}
ARG GLOBAL
ARG LOCAL=default
ARG E=shadowed
ENV E=${LOCAL:-none}-${UNSET:-fallback}
RUN echo "$GLOBAL $LOCAL $E $NOT_DECLARED."
RUN echo "E=$E"
"#,
    );
    kiln.build::<&str>([]).succeeds().logs("outside default default-fallback .").logs("E=default-fallback");
    let ran = kiln.build(["--build-arg", "LOCAL=given", "--build-arg", "GLOBAL=too"]);
    ran.succeeds().logs("too given given-fallback .");
}

#[test]
fn the_container_is_a_fresh_one() {
    let Some(kiln) = Kiln::for_builds() else { return };
    kiln.write(
        "Dockerfile",
        r#"FROM base
RUN echo "pid $$"; hostname; ls /proc/self/fd | wc -l
RUN test -s /etc/resolv.conf && grep -q localhost /etc/hosts && echo network files
RUN mount -t tmpfs none /tmp 2>/dev/null || echo no mount
RUN mknod /tmp/disk b 8 0 2>/dev/null && cat /tmp/disk >/dev/null 2>&1 || echo no disk
RUN echo 1 > /proc/sys/kernel/panic 2>/dev/null || echo no sysctl
RUN test -c /dev/null && test -c /dev/urandom && test -e /dev/shm && test -e /dev/pts && echo devices
RUN grep CapEff /proc/self/status
RUN grep Seccomp: /proc/self/status
RUN touch /dev/shm/x && df -k /dev/shm | tail -n 1 | awk '{print "shm", $2}'
"#,
    );
    let ran = kiln.build::<&str>([]);
    ran.succeeds().logs("network files").logs("no mount").logs("no disk").logs("no sysctl").logs("devices");
    ran.logs("buildkitsandbox").logs("shm 65536").logs("Seccomp:\t2").logs("CapEff:\t00000000a80425fb");
    assert!(!ran.stderr.contains(&format!("pid {}", std::process::id())));
    // Nothing of what the container was given stays in the image.
    let files = kiln.files::<&str>([]);
    for path in ["etc/resolv.conf", "etc/hosts", "dev/null", "dev/shm", "proc/self"] {
        assert!(!files.contains_key(path), "{path} is left in the image");
    }
}

#[test]
fn options_of_steps() {
    let Some(kiln) = Kiln::for_builds() else { return };
    kiln.write(
        "Dockerfile",
        "FROM base\nRUN grep db /etc/hosts\nRUN df -k /dev/shm | tail -n 1 | awk '{print \"shm\", $2}'\nRUN echo nofile $(ulimit -n) $(ulimit -Hn)\n",
    );
    let arguments = ["--add-host", "db:10.1.2.3", "--shm-size", "8m", "--ulimit", "nofile=100:200"];
    let ran = kiln.build(arguments);
    ran.succeeds().logs("shm 8192").logs("nofile 100 200");
    assert!(ran.stderr.contains("10.1.2.3") && ran.stderr.contains("db"), "{ran}");
}

#[test]
fn host_names() {
    let Some(kiln) = Kiln::for_builds() else { return };
    kiln.write("Dockerfile", "FROM base\nRUN echo \"name $(hostname)\" && grep -c $(hostname) /etc/hosts\n");
    kiln.build::<&str>([]).succeeds().logs("name buildkitsandbox").logs("1");
    kiln.build(["--build-arg", "BUILDKIT_SANDBOX_HOSTNAME=box"]).succeeds().logs("name box").logs("1");
    kiln.build(["--build-arg", "BUILDKIT_SANDBOX_HOSTNAME="]).succeeds().cached("RUN");
}

#[test]
fn networks() {
    let Some(kiln) = Kiln::for_builds() else { return };
    kiln.write("Dockerfile", "FROM base\nRUN echo interfaces $(ls /sys/class/net | tr '\\n' ' ')\n");
    kiln.build(["--network=none"]).succeeds().logs("interfaces lo");
    kiln.write(
        "Dockerfile",
        "FROM base\nRUN --network=none ls /proc/net/dev && echo $(grep -c : /proc/net/dev) devices\n",
    );
    kiln.build::<&str>([]).succeeds().logs("1 devices");
}

#[test]
fn a_step_may_delete_and_replace_what_is_below() {
    let Some(kiln) = Kiln::for_builds() else { return };
    kiln.write(
        "Dockerfile",
        r#"FROM base
RUN mkdir -p /d/sub && echo 1 > /d/a && echo 2 > /d/sub/b && ln -s a /d/link
RUN rm /d/a && rm -r /d/sub && mkdir /d/sub && echo 3 > /d/sub/c
RUN rm -r /d/sub && echo file > /d/sub
RUN find /d | sort | tr '\n' ' '; cat /d/sub
"#,
    );
    kiln.build::<&str>([]).succeeds().logs("/d /d/link /d/sub file");
    let files = kiln.files::<&str>([]);
    assert!(files.contains_key("d/link") && files.contains_key("d/sub"));
    assert!(!files.contains_key("d/a") && !files.contains_key("d/sub/c"), "{files:?}");
}

#[test]
fn modes_owners_links_and_xattrs_survive() {
    let Some(kiln) = Kiln::for_builds() else { return };
    kiln.write(
        "Dockerfile",
        r#"FROM base
RUN mkdir /m && cd /m && touch suid && chmod 4755 suid && touch owned && chown 12:34 owned \
    && mkdir -m 1777 sticky && ln owned hard && ln -s /nowhere dangling && mkfifo fifo
"#,
    );
    let files = kiln.files::<&str>([]);
    assert_eq!(files["m/suid"].mode, "-rwsr-xr-x");
    assert_eq!(files["m/owned"].owner, "12/34");
    assert_eq!(files["m/sticky"].mode, "drwxrwxrwt");
    assert_eq!(files["m/dangling"].target.as_deref(), Some("/nowhere"));
    assert_eq!(files["m/fifo"].mode.as_bytes()[0], b'p');
    let linked = files["m/hard"].target.is_some() || files["m/owned"].target.is_some();
    assert!(linked, "no hard link: {files:?}");
}
