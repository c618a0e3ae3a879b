//! What a step runs, read from its exec op: through a shell, without one, or as a script of its own (`RUN <<EOF` with `#!`).

use super::shell::{self, Command, Surroundings};
use kiln_graph::{Action, Exec, Graph, MountKind, Op, SecretTarget, Vertex};

/// A step and its commands.
pub(crate) struct Step<'a> {
    pub(crate) exec: &'a Exec,
    pub(crate) around: Surroundings<'a>,
    /// The text that is run, whatever runs it.
    pub(crate) text: &'a str,
    /// Its commands; `None` if it cannot be read with certainty.
    pub(crate) commands: Option<Vec<Command>>,
}

impl<'a> Step<'a> {
    /// Reads what a step runs.
    pub(crate) fn new(graph: &'a Graph, vertex: &'a Vertex, exec: &'a Exec) -> Self {
        let around = surroundings(exec);
        let (text, commands) = match text(graph, vertex, exec) {
            Text::Shell(text) => (text, shell::read(text, &around).ok()),
            Text::Words => ("", shell::words(&exec.args, &around).ok()),
            Text::Other(text) => (text, None),
        };
        Self { exec, around, text, commands }
    }

    /// Whether a fragment stands anywhere in what it runs.
    pub(crate) fn says(&self, fragment: &str) -> bool {
        self.text.contains(fragment)
            || (self.text.is_empty() && self.exec.args.iter().any(|arg| arg.contains(fragment)))
    }
}

/// What the programs of a step see.
pub(crate) fn surroundings(exec: &Exec) -> Surroundings<'_> {
    let secret = exec.mounts.iter().filter_map(|mount| match &mount.kind {
        MountKind::Secret { target: SecretTarget::Env(name) | SecretTarget::FileAndEnv(name), .. } => {
            Some(name.as_str())
        }
        _ => None,
    });
    let proxies = exec.transparent_env.iter().map(|(name, _)| name.as_str());
    Surroundings { env: &exec.env, hidden: secret.chain(proxies).collect(), cwd: &exec.cwd }
}

/// Whether some text that the step runs holds one of the words that [`super::tool::is_program`] knows: nothing else can be
/// recognised in it. The one question that is asked of every step.
pub(crate) fn names_a_tool(graph: &Graph, vertex: &Vertex, exec: &Exec) -> bool {
    let named = |text: &str| {
        let inner = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.');
        let mut start = None;
        for (at, byte) in text.bytes().chain(Some(b' ')).enumerate() {
            match (inner(byte), start) {
                (true, None) => start = Some(at),
                (false, Some(from)) => {
                    if super::tool::is_program(&text[from..at]) {
                        return true;
                    }
                    start = None;
                }
                _ => {}
            }
        }
        false
    };
    match text(graph, vertex, exec) {
        Text::Shell(text) => named(text),
        Text::Words => exec.args.iter().any(|arg| named(arg)),
        Text::Other(_) => false,
    }
}

/// Whether the step may make a link.
pub(crate) fn makes_links(graph: &Graph, vertex: &Vertex, exec: &Exec) -> bool {
    let says = |text: &str| {
        let may = text.contains("ln") || text.contains("link");
        may && text.split(|c: char| !c.is_ascii_alphanumeric()).any(|word| matches!(word, "ln" | "link"))
    };
    match text(graph, vertex, exec) {
        Text::Shell(text) => says(text),
        Text::Words => exec.args.iter().any(|arg| says(arg)),
        Text::Other(_) => false,
    }
}

enum Text<'a> {
    /// For a shell that `shell` reads.
    Shell(&'a str),
    /// The words of the exec form.
    Words,
    /// For something else.
    Other(&'a str),
}

fn text<'a>(graph: &'a Graph, vertex: &Vertex, exec: &'a Exec) -> Text<'a> {
    let [program, .., last] = &exec.args[..] else { return Text::Words };
    let name = program.rsplit('/').next().unwrap_or_default();
    if !shell::is_shell(name) {
        let is_shell =
            matches!(name, "cmd" | "cmd.exe" | "powershell" | "powershell.exe" | "pwsh" | "zsh" | "fish" | "ksh");
        return if is_shell { Text::Other(last) } else { Text::Words };
    }
    // The flags of SHELL, `-o pipefail -c`, end with the one that takes the text.
    let takes_text = exec.args[exec.args.len() - 2].strip_prefix('-').is_some_and(|flags| flags.ends_with('c'));
    if !takes_text {
        return Text::Words;
    }
    let Some(script) = script(graph, vertex, exec, last) else { return Text::Shell(last) };
    let first = script.lines().next().unwrap_or_default();
    let mut words = first.trim_start_matches("#!").split_ascii_whitespace();
    let mut interpreter = words.next().unwrap_or_default();
    if interpreter.ends_with("/env") {
        interpreter = words.find(|word| !word.starts_with('-')).unwrap_or_default();
    }
    if shell::is_shell(interpreter) { Text::Shell(script) } else { Text::Other(script) }
}

/// The text of a heredoc that is mounted as a file, if that is what the step runs.
fn script<'a>(graph: &'a Graph, vertex: &Vertex, exec: &Exec, line: &str) -> Option<&'a str> {
    let (directory, _) = line.rsplit_once('/')?;
    let mount = exec.mounts.iter().find(|mount| mount.target == directory)?;
    let MountKind::Bind { from, .. } = &mount.kind else { return None };
    let Op::File(file) = &graph.vertex(*vertex.inputs.get(from.0 as usize)?).op else { return None };
    match &file.actions[..] {
        [Action::Mkfile(script)] if file.base.is_none() && line.ends_with(&script.dest) => {
            std::str::from_utf8(&script.data).ok()
        }
        _ => None,
    }
}
