//! Stages: which are built, when, and what they take from each other.

use crate::support::Kiln;

#[test]
fn stages_that_nothing_needs_are_skipped() {
    let Some(kiln) = Kiln::for_builds() else { return };
    kiln.write(
        "Dockerfile",
        "FROM base AS broken\nRUN exit 1\nFROM base AS used\nRUN echo used > /used\nFROM does.not.exist/image AS unreachable\nFROM base\nCOPY --from=used /used /\n",
    );
    let ran = kiln.build::<&str>([]);
    ran.succeeds().stderr_lacks("exit 1").stderr_lacks("does.not.exist");
}

#[test]
fn targets() {
    let Some(kiln) = Kiln::for_builds() else { return };
    kiln.write(
        "Dockerfile",
        "FROM base AS One\nRUN echo one\nFROM One AS two\nRUN echo two\nFROM two\nRUN echo three\n",
    );
    let ran = kiln.build(["--target", "two"]);
    ran.succeeds().logs("one").logs("two");
    assert!(!ran.logged("three"), "{ran}");
    kiln.build(["--target", "ONE"]).succeeds().cached("RUN echo one").stderr_lacks("RUN echo two");
    kiln.build(["--target", "0"]).succeeds().stderr_lacks("RUN echo two");
    kiln.build(["--target", "tow"]).exits(1).stderr_has("tow").stderr_has("hint:");
}

#[test]
fn independent_stages_run_at_the_same_time() {
    let Some(kiln) = Kiln::for_builds() else { return };
    let stage = |n| {
        format!(
            "FROM base AS s{n}\nRUN cut -d' ' -f1 /proc/uptime > /o{n}; sleep 1; cut -d' ' -f1 /proc/uptime >> /o{n}\n"
        )
    };
    let mut dockerfile: String = (0..6).map(stage).collect();
    dockerfile += "FROM scratch\n";
    dockerfile.extend((0..6).map(|n| format!("COPY --from=s{n} /o{n} /\n")));
    kiln.write("Dockerfile", dockerfile);
    let out = kiln.path("out");
    kiln.build(["-o", out.to_str().unwrap()]).succeeds();
    let times = |n| std::fs::read_to_string(out.join(format!("o{n}"))).unwrap();
    let times: Vec<Vec<f64>> = (0..6).map(|n| times(n).lines().map(|line| line.parse().unwrap()).collect()).collect();
    let last_start = times.iter().map(|times| times[0]).fold(f64::MIN, f64::max);
    let first_end = times.iter().map(|times| times[1]).fold(f64::MAX, f64::min);
    assert!(last_start < first_end, "not all at once: {times:?}");
}

#[test]
fn identical_steps_run_once() {
    let Some(kiln) = Kiln::for_builds() else { return };
    kiln.write(
        "Dockerfile",
        "FROM base AS a\nRUN --mount=type=cache,target=/c echo ran >> /c/log\nFROM base AS b\nRUN --mount=type=cache,target=/c echo ran >> /c/log\n\
         FROM base\nCOPY --from=a /etc /a\nCOPY --from=b /etc /b\nRUN --mount=type=cache,target=/c echo runs: $(wc -l < /c/log)\n",
    );
    kiln.build::<&str>([]).succeeds().logs("runs: 1");
}

#[test]
fn copies_from_stages_numbers_and_images() {
    let Some(kiln) = Kiln::for_builds() else { return };
    kiln.write("Dockerfile", "FROM base\nRUN echo made elsewhere > /made\n");
    kiln.build(["-t", "elsewhere:1"]).succeeds();
    kiln.write(
        "Dockerfile",
        "FROM base AS first\nRUN echo 1 > /one\nFROM base\nRUN echo 2 > /two\nFROM base\nCOPY --from=first /one /a\nCOPY --from=1 /two /b\n\
         COPY --from=elsewhere:1 /made /c\nCOPY --from=base /etc/passwd /d\nRUN cat /a /b /c; grep -c app /d\n",
    );
    kiln.build::<&str>([]).succeeds().logs("1").logs("2").logs("made elsewhere");
}

#[test]
fn a_stage_may_be_named_like_an_image() {
    let Some(kiln) = Kiln::for_builds() else { return };
    kiln.write("Dockerfile", "FROM base AS golang\nRUN echo mine > /mine\nFROM golang\nRUN cat /mine\n");
    kiln.build::<&str>([]).succeeds().logs("mine");
}

#[test]
fn a_copy_depends_on_what_it_takes_alone() {
    let Some(kiln) = Kiln::for_builds() else { return };
    kiln.write("a", "1").write("b", "1");
    kiln.write("Dockerfile", "FROM scratch AS src\nCOPY a b /\nFROM base\nCOPY --from=src /a /a\nRUN echo expensive\n");
    kiln.build::<&str>([]).succeeds();
    kiln.write("b", "2");
    let ran = kiln.build::<&str>([]);
    ran.succeeds().executed("COPY a b /").cached("COPY --from=src").cached("RUN echo expensive");
}

#[test]
fn scratch_alone() {
    let Some(kiln) = Kiln::for_builds() else { return };
    kiln.write("Dockerfile", "FROM scratch\nLABEL empty=yes\n");
    let image = kiln.image::<&str>([]);
    assert_eq!(image.field("Labels")["empty"], "yes");
    assert_eq!(image.manifest["layers"].as_array().map(Vec::len), Some(0));
}
