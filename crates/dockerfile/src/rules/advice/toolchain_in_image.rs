//! `ToolchainInImage`

use super::{Finding, Report, Rule, Scope, keyword};
use crate::rules::CommandFacts;

pub(in crate::rules) static RULE: Rule = Rule {
    name: "ToolchainInImage",
    summary: "images hold what they run, not what made it",
    explanation: "An image whose own stage compiles a program holds the compiler, its libraries and the sources, too: hundreds of megabytes to store and to \
                  send, and more that can be attacked. Compile in a stage of its own, and copy from it what it makes.",
    bad: "FROM golang:1.25\nWORKDIR /src\nCOPY . .\nRUN go build -o /app\nENTRYPOINT [\"/app\"]\n",
    good: "FROM golang:1.25 AS build\nWORKDIR /src\nCOPY . .\n\
           RUN --mount=type=cache,target=/root/.cache/go-build --mount=type=cache,target=/go/pkg/mod/cache/download go build -o /app\n\n\
           FROM debian:13\nCOPY --from=build /app /\nENTRYPOINT [\"/app\"]\n",
    experimental: false,
    own: true,
    check,
};

fn check(scope: &Scope<'_>, report: &mut Report) {
    for stage in scope.built() {
        let found = stage.body.iter().find_map(|instruction| {
            let step = scope.facts.step(instruction).filter(|step| step.in_image)?;
            let removes = step.commands.iter().any(removes);
            let what = step.commands.iter().find_map(|command| match compiles(command) {
                Some(does) => Some(format!("`{does}`")),
                None if removes => None,
                None => installs(command).map(|package| format!("`{package}`")),
            })?;
            Some((instruction, what))
        });
        if let Some((instruction, what)) = found {
            report.push(Finding {
                message: format!("the image keeps the compiler of {what}"),
                span: keyword(instruction),
                hint: Some("compile in a stage of its own, and `COPY --from` it what that makes".to_owned()),
                fix: None,
            });
        }
    }
}

/// What a command compiles, if that is to a program that needs no compiler.
fn compiles(command: &CommandFacts) -> Option<&str> {
    let does = command.does.as_deref()?;
    let compiled =
        ["go build", "go install", "cargo build", "cargo install", "mvn package", "mvn install", "dotnet publish"];
    (compiled.contains(&does) || does.starts_with("gradle build")).then_some(does)
}

/// The compiler that a command installs.
fn installs(command: &CommandFacts) -> Option<&str> {
    const COMPILERS: &[&str] = &[
        "build-essential",
        "build-base",
        "gcc",
        "g++",
        "clang",
        "make",
        "cmake",
        "golang",
        "golang-go",
        "rustc",
        "cargo",
        "default-jdk",
        "maven",
    ];
    let is_manager = matches!(command.name(), "apt-get" | "apt" | "apk" | "dnf" | "yum" | "microdnf");
    let installs = command.args().any(|arg| matches!(arg, "install" | "add"));
    command.args().find(|arg| is_manager && installs && COMPILERS.contains(arg))
}

fn removes(command: &CommandFacts) -> bool {
    matches!(command.name(), "apt-get" | "apt" | "apk" | "dnf" | "yum" | "microdnf")
        && command.args().any(|arg| matches!(arg, "purge" | "remove" | "autoremove" | "del" | "erase"))
}
