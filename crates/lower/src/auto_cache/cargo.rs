//! Cargo: the registry and git caches of its home, and the target directory.

use super::shell::{Command, Value};
use super::tool::{Cache, Documented, Kind, Place, Tool, Use, has_flag, option, subcommand};
use kiln_graph::CacheDirectory;

/// `cargo`.
pub(crate) const CARGO: Tool = Tool {
    name: "cargo",
    programs: &["cargo"],
    variables: &["CARGO_HOME", "CARGO_TARGET_DIR", "CARGO_BUILD_TARGET_DIR", "RUSTUP_HOME"],
    directories: &[
        Documented {
            commands: "all that resolve dependencies: `cargo build`, `check`, `test`, `install`, `fetch`, `chef`, …",
            directory: "`registry` and `git` below `$CARGO_HOME`, else below `~/.cargo`",
            purpose: "pure",
            sharing: "locked",
            shared_by: "all",
        },
        Documented {
            commands: "those that compile a project",
            directory: "`--target-dir`, else `$CARGO_TARGET_DIR`, else `target` beside the manifest",
            purpose: "output",
            sharing: "–",
            shared_by: "runs of the same step",
        },
    ],
    notes: "Cargo's own lock (`.package-cache`) lies beside the caches, not in them, so that only one step at a time may use them. \
            Whether a crate is built again, Cargo tells from the times of its files: with `--auto-cache=all`, a source file that changes \
            and gets an older time than the last build is not noticed. `--offline` and `--frozen` keep what they need in the layers.",
    recognise,
};

/// Options before the subcommand that take a value.
const VALUED: &[&str] = &["-C", "-Z", "--config", "--color"];

fn recognise(command: &Command, place: &Place<'_>) -> Option<Use> {
    if command.name() != Some("cargo") {
        return None;
    }
    let Some((name, args)) = subcommand(command.args(), VALUED) else { return Use::nothing() };
    let mut label = format!("cargo {name}");
    let (resolves, compiles) = match name {
        "build" | "b" | "check" | "c" | "test" | "t" | "run" | "r" | "bench" | "doc" | "d" | "rustc" | "rustdoc"
        | "clippy" | "fix" | "nextest" | "llvm-cov" | "tarpaulin" | "zigbuild" | "package" | "publish" | "udeps"
        | "component" | "leptos" => (true, true),
        "install" | "fetch" | "update" | "generate-lockfile" | "metadata" | "tree" | "vendor" | "add" | "audit"
        | "deny" | "outdated" => (true, false),
        "chef" => match args.first().and_then(|word| word.get()) {
            Some(what @ ("cook" | "prepare")) => {
                label = format!("cargo chef {what}");
                (what == "cook", what == "cook")
            }
            _ => return Use::nothing(),
        },
        "cache" => return Use::clearing(),
        _ => return Use::nothing(),
    };
    let mut caches = Vec::new();
    for below in ["registry", "git"] {
        let home = match command.variable("CARGO_HOME", place.around) {
            Value::Known(home) if !home.is_empty() => command.directory(&format!("{home}/{below}")),
            Value::Known(_) | Value::Unset => place.home(command, &format!(".cargo/{below}")),
            Value::Unknown => None,
        };
        if let Some(directory) = home.filter(|_| resolves) {
            caches.push(Cache::pure(directory, place.everywhere(&format!("cargo/{below}")), Kind::Downloaded).locked());
        }
    }
    if let Some(directory) = target(command, place).filter(|_| compiles) {
        caches.push(Cache::output(directory, "cargo/target"));
    }
    let offline =
        has_flag(command.args(), &["--offline", "--frozen"]) || place.may_be_true(command, "CARGO_NET_OFFLINE");
    Some(Use { label, caches, offline, ..Use::default() })
}

fn target(command: &Command, place: &Place<'_>) -> Option<CacheDirectory> {
    if let Some(path) = option(command.args(), &["--target-dir"]).ok()? {
        return command.directory(path);
    }
    for variable in ["CARGO_TARGET_DIR", "CARGO_BUILD_TARGET_DIR"] {
        match command.variable(variable, place.around) {
            Value::Known("") | Value::Unset => {}
            Value::Known(path) => return command.directory(path),
            Value::Unknown => return None,
        }
    }
    match option(command.args(), &["--manifest-path"]).ok()? {
        Some(path) => command.directory(&format!("{}target", path.strip_suffix("Cargo.toml")?)),
        None if command
            .args()
            .iter()
            .take_while(|word| word.text.starts_with(['-', '+']))
            .any(|word| word.text == "-C") =>
        {
            None
        }
        None => command.directory("target"),
    }
}

#[cfg(test)]
mod tests {
    use super::CARGO;
    use crate::auto_cache::testing::check;

    const HOME: &str = "~/.cargo/registry ~/.cargo/git";
    const BUILD: &str = "~/.cargo/registry ~/.cargo/git (/src/target)";

    #[test]
    fn commands_that_compile() {
        check(
            &CARGO,
            &[
                ("cargo build", BUILD),
                ("cargo build --release --locked", BUILD),
                ("cargo +nightly build", BUILD),
                ("cargo --color always b", BUILD),
                ("RUSTFLAGS='-C target-cpu=native' cargo build --release", BUILD),
                ("/usr/local/cargo/bin/cargo check", BUILD),
                ("cargo test --workspace", BUILD),
                ("cargo nextest run", BUILD),
                ("cargo clippy -- -D warnings", BUILD),
                ("cargo doc --no-deps", BUILD),
                ("cargo run --bin gen > out.rs", BUILD),
                ("cargo chef cook --release --recipe-path recipe.json", BUILD),
                ("cargo zigbuild --target x86_64-unknown-linux-musl", BUILD),
                ("cargo rustc -- -C lto", BUILD),
                ("set -e; cargo build; strip target/release/app", BUILD),
                ("sh -ec 'cargo build'", BUILD),
                ("env FOO=1 cargo build", BUILD),
                (". \"$HOME/.cargo/env\" && cargo build", BUILD),
                ("cargo build || cat log", BUILD),
            ],
        );
    }

    #[test]
    fn directories() {
        check(
            &CARGO,
            &[
                (
                    "ENV CARGO_HOME=/usr/local/cargo\ncargo build",
                    "/usr/local/cargo/registry /usr/local/cargo/git (/src/target)",
                ),
                ("CARGO_HOME=/c cargo fetch", "/c/registry /c/git"),
                ("CARGO_HOME=$SECRET cargo fetch", "nothing"),
                ("ENV CARGO_TARGET_DIR=/t\ncargo build", &format!("{HOME} (/t)")),
                ("export CARGO_TARGET_DIR=out && cargo build", &format!("{HOME} (/src/out)")),
                ("cargo build --target-dir /t/d", &format!("{HOME} (/t/d)")),
                ("cargo build --target-dir=/t/d", &format!("{HOME} (/t/d)")),
                ("cargo build --target-dir $SECRET", &format!("{HOME} offline")),
                ("cargo build --manifest-path app/Cargo.toml", &format!("{HOME} (/src/app/target)")),
                ("cargo build --manifest-path=/x/Cargo.toml", &format!("{HOME} (/x/target)")),
                ("cd app && cargo build", &format!("{HOME} (/src/app/target)")),
                ("cd $SECRET && cargo build", HOME),
                ("WORKDIR /\ncargo build", &format!("{HOME} (/target)")),
                ("sudo cargo build", "offline"),
            ],
        );
    }

    #[test]
    fn other_commands() {
        check(
            &CARGO,
            &[
                ("cargo fetch --locked", HOME),
                ("cargo install cargo-chef --locked", HOME),
                ("cargo install --path .", HOME),
                ("cargo vendor > config", HOME),
                ("cargo update -p serde", HOME),
                ("cargo build --offline", &format!("{BUILD} offline")),
                ("cargo build --frozen", &format!("{BUILD} offline")),
                ("ENV CARGO_NET_OFFLINE=true\ncargo build", &format!("{BUILD} offline")),
                ("ENV CARGO_NET_OFFLINE=false\ncargo build", BUILD),
                ("cargo chef prepare --recipe-path recipe.json", "nothing"),
                ("cargo --version", "nothing"),
                ("cargo clean", "nothing"),
                ("cargo init && cargo fmt", "nothing"),
                ("cargo", "nothing"),
                ("cargo cache -a", "clears"),
            ],
        );
    }

    #[test]
    fn what_is_not_cargo() {
        check(
            &CARGO,
            &[
                ("echo cargo build", ""),
                ("apt-get install -y cargo", ""),
                ("./cargo build", ""),
                ("rustup component add cargo", ""),
                ("mkdir -p ~/.cargo", ""),
                ("cat <<'E'\ncargo build\nE", ""),
                ("make cargo", ""),
                ("$CARGO build", ""),
                ("cargo() { true; }; cargo build", ""),
            ],
        );
    }
}
