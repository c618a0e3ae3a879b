//! A real Go toolchain under kiln: the two Dockerfiles of `examples/hello-go`, edited, run, cross-compiled.
//!
//! `cargo xtask test` prepares the context of a base image with Go in it and says where it is; without it these tests say
//! `skipped`.

use crate::support::{Image, Kiln, Ran, has_program, tar_entries};
use std::path::{Path, PathBuf};
use std::process::Command;

/// The variable in which `cargo xtask test` names the context of the golang image.
const CONTEXT: &str = "KILN_TEST_GOLANG";

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// A store that has the base images of the example; both names stand for one image with Go.
fn with_go() -> Option<Kiln> {
    let kiln = Kiln::for_builds()?;
    let Some(context) = std::env::var_os(CONTEXT) else {
        println!("skipped: {CONTEXT} is not set; `cargo xtask test` sets it");
        return None;
    };
    let dockerfile = workspace().join("xtask/images/golang/Dockerfile");
    let mut command = kiln.command(["build", "-q", "-t", "golang:1.25-trixie", "-t", "ubuntu:24.04", "-f"]);
    Ran::of(command.arg(dockerfile).arg(context)).succeeds();
    Some(kiln)
}

fn build(kiln: &Kiln, arguments: &[&str]) -> Ran {
    let mut command = kiln.command(["build", "--progress=plain"]);
    Ran::of(command.args(arguments).arg(kiln.context()))
}

/// The configuration of the image that a Dockerfile makes, which names all of its files: with the same times for all, so that only
/// what they are can differ.
fn image(kiln: &Kiln, dockerfile: &str) -> serde_json::Value {
    let layout = kiln.path("image");
    let _not_there = std::fs::remove_dir_all(&layout);
    let output =
        format!("type=oci,tar=false,rewrite-timestamp=true,compression=uncompressed,dest={}", layout.display());
    build(kiln, &["-f", dockerfile, "-o", &output, "--build-arg=SOURCE_DATE_EPOCH=0"]).succeeds();
    Image::of_layout(&layout).config
}

#[test]
fn the_examples_build_run_and_rebuild() {
    let Some(kiln) = with_go() else { return };
    let example = workspace().join("examples/hello-go");
    for name in ["main.go", "go.mod", "go.sum", "Dockerfile.baseline", "Dockerfile.cached", ".dockerignore"] {
        kiln.write(name, std::fs::read(example.join(name)).expect("a file of the example"));
    }
    let cached = kiln.context().join("Dockerfile.cached").display().to_string();
    let baseline = kiln.context().join("Dockerfile.baseline").display().to_string();
    build(&kiln, &["-f", &baseline, "-t", "baseline", "--auto-cache=off"]).succeeds();

    // Mended, the slow one makes the same image, by the steps of the one that was written with care.
    let mended = kiln.context().join("Dockerfile.mended").display().to_string();
    std::fs::copy(&baseline, &mended).expect("a copy");
    kiln.run(["check", "--fix", &mended]).stderr_has("CacheMountMissing: add cache mounts");
    build(&kiln, &["-f", &mended]).succeeds().executed("RUN --mount=type=cache,");
    assert_eq!(image(&kiln, &mended), image(&kiln, &baseline));
    build(&kiln, &["-f", &cached, "-t", "cached"]).succeeds().cached("RUN --mount=type=cache,");
    let greeting = kiln.run(["run", "cached"]).succeeds().stdout().to_owned();
    kiln.run(["run", "baseline"]).succeeds().stdout_has(&greeting);

    let source = std::fs::read_to_string(kiln.context().join("main.go")).expect("main.go");
    kiln.write("main.go", source.replace("Hello", "Goodbye"));
    let rebuilt = build(&kiln, &["-f", &cached, "-t", "cached"]);
    rebuilt.succeeds().stderr_has("why: main.go changed").cached("RUN go mod download");
    kiln.run(["run", "cached"]).succeeds().stdout_has("Goodbye");

    // The cache is on the disk, and in no layer.
    let archive = kiln.path("builder.tar");
    let output = format!("type=tar,dest={}", archive.display());
    build(&kiln, &["-f", &cached, "--target", "builder", "-o", &output]).succeeds();
    let entries = tar_entries(&archive);
    assert!(entries.keys().any(|path| path.ends_with("app/app")), "the binary is in the stage");
    assert!(!entries.keys().any(|path| path.contains("go-build")), "the cache is not");
}

#[test]
fn automatic_caches_change_no_file_of_the_image() {
    let Some(kiln) = with_go() else { return };
    kiln.write("go.mod", "module example.com/cached\n\ngo 1.25\n");
    let program = |text: &str| format!("package main\n\nfunc main() {{ println({text:?}) }}\n");
    let stage = "FROM golang:1.25-trixie AS build\nWORKDIR /src\nCOPY . .\nRUN CGO_ENABLED=0 go build -o /app\n";
    kiln.write("Dockerfile", format!("{stage}FROM scratch\nCOPY --from=build /app /app\n"));
    let app = |mode: &str| {
        let out = kiln.path("out");
        build(&kiln, &["--no-cache", "--auto-cache", mode, "-o", &out.display().to_string()]).succeeds();
        std::fs::read(out.join("app")).expect("the program")
    };
    kiln.write("main.go", program("one"));
    app("safe");
    kiln.write("main.go", program("two"));
    let off = app("off");
    assert!(app("safe") == off, "safe");
    assert!(app("all") == off, "all");
    kiln.write("main.go", program("three"));
    build(&kiln, &[]).succeeds().stderr_has("auto-cache: go build");
    let ran = kiln.run(["cache", "ls", "--json"]);
    let caches: Vec<serde_json::Value> =
        ran.succeeds().stdout().lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let compiled = caches.iter().find(|cache| cache["name"].as_str().is_some_and(|name| name.contains("go/build")));
    let compiled = compiled.expect("the build cache");
    assert!(compiled["size"].as_u64() > Some(1 << 20) && compiled["hits"] == 3, "{compiled:#}");
}

/// A header outside the package's directory, which Go does not look at.
#[test]
fn a_changed_header_is_compiled_again() {
    let Some(kiln) = with_go() else { return };
    kiln.write("go.mod", "module example.org/v\n\ngo 1.25\n")
        .write("main.go", "package main\n\n// #include \"csrc/v.h\"\nimport \"C\"\n\nfunc main() { println(C.V) }\n");
    kiln.write(
        "Dockerfile",
        "FROM golang:1.25-trixie AS build\nWORKDIR /src\nCOPY . .\nRUN go build -o /app . && /app 2> /v\n\
         FROM ubuntu:24.04\nCOPY --from=build /v /v\nCMD [\"cat\", \"/v\"]\n",
    );
    for version in ["1", "2"] {
        kiln.write("csrc/v.h", format!("#define V {version}\n"));
        build(&kiln, &["-t", "v"]).succeeds().stderr_has("auto-cache: go build");
        assert_eq!(kiln.run(["run", "v"]).succeeds().stdout(), format!("{version}\n"));
    }
}

#[test]
fn cross_compiles_for_arm64_with_a_cache_mount() {
    let Some(kiln) = with_go() else { return };
    kiln.write("go.mod", "module example.com/cross\n\ngo 1.25\n");
    kiln.write("main.go", "package main\n\nvar version = \"dev\"\n\nfunc main() { println(\"version\", version) }\n");
    kiln.write(
        "Dockerfile",
        "FROM golang:1.25-trixie AS build\nWORKDIR /src\nCOPY . .\n\
         RUN --mount=type=cache,target=/root/.cache/go-build \\\n    \
         CGO_ENABLED=0 GOOS=linux GOARCH=arm64 go build -ldflags \"-X main.version=kiln-test-1\" -o /app\n\
         FROM scratch\nCOPY --from=build /app /app\n",
    );
    let out = kiln.path("out");
    build(&kiln, &["-o", &out.display().to_string()]).succeeds();
    let binary = std::fs::read(out.join("app")).expect("the binary");
    assert_eq!(&binary[..4], b"\x7fELF");
    // e_machine of ELF-64, EM_AARCH64.
    assert_eq!(u16::from_le_bytes([binary[18], binary[19]]), 183);
    let version = b"kiln-test-1";
    assert!(binary.windows(version.len()).any(|window| window == version), "-X set the version");
    if has_program("file") {
        let said = Command::new("file").arg("-b").arg(out.join("app")).output().expect("file").stdout;
        assert!(String::from_utf8_lossy(&said).contains("aarch64"));
    }
}

#[test]
fn a_fresh_machine_compiles_what_changed() {
    let Some(laptop) = with_go() else { return };
    let golang = laptop.path("golang");
    let context = std::env::var_os(CONTEXT).expect("as before");
    let mut command = laptop.command(["build", "-q", "-o"]);
    command.arg(format!("type=oci,tar=false,dest={}", golang.display()));
    Ran::of(command.arg("-f").arg(workspace().join("xtask/images/golang/Dockerfile")).arg(context)).succeeds();
    let base = format!("--build-context=golang:1.25-trixie=oci-layout://{}", golang.display());
    let mounts = "--mount=type=cache,target=/root/.cache/go-build --mount=type=cache,target=/go/pkg/mod ";
    for (form, mounts) in [("cached", mounts), ("baseline", "")] {
        let dockerfile = format!(
            "FROM golang:1.25-trixie AS build\nWORKDIR /src\nCOPY go.mod .\nRUN {mounts}go mod download\nCOPY . .\n\
             RUN {mounts}CGO_ENABLED=0 go build -v -o /app .\nFROM scratch\nCOPY --from=build /app /app\nCMD [\"/app\"]\n"
        );
        let write = |kiln: &Kiln, text: &str| {
            kiln.write("Dockerfile", &dockerfile).write("go.mod", "module example.com/x\n\ngo 1.25\n");
            kiln.write("lib/lib.go", "package lib\n\nfunc Text() string { return \"of the library\" }\n");
            let main = "package main\n\nimport \"example.com/x/lib\"\n\nfunc main() { println(TEXT, lib.Text()) }\n";
            kiln.write("main.go", main.replace("TEXT", &format!("{text:?}")));
        };
        let cache = laptop.path(form);
        write(&laptop, "one");
        build(&laptop, &[&base, &format!("--cache-to=type=local,dest={},mode=max", cache.display())]).succeeds();
        let runner = Kiln::for_builds().expect("as before");
        write(&runner, "two");
        let from = format!("--cache-from=type=local,src={}", cache.display());
        let ran = build(&runner, &[&base, &from, "-t", "app"]);
        ran.succeeds().cached_from("go mod download", "directory").executed("go build").logs("example.com/x");
        for package in ["example.com/x/lib", "runtime"] {
            assert!(!ran.logged(package), "{package} was compiled again: {ran}");
        }
        runner.run(["run", "app"]).succeeds().stderr_has("two of the library");
    }
}
