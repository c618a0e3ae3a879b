//! `kiln login` and `kiln logout`: credentials of registries, where Docker keeps them.

use crate::args::Globals;
use crate::error::{CliError, UsageError};
use crate::exit::ExitStatus;
use crate::{config, paths, terminal};
use clap::Args;
use kiln_registry::{Client, Credential, Credentials, DOCKER_HUB, Reference, RegistryError, Stored};
use std::io::{self, BufRead, IsTerminal, Read, Write};

/// No password is longer.
const PASSWORD_MAX: u64 = 64 << 10;

/// Options of `kiln login`.
#[derive(Debug, Args)]
pub(crate) struct LoginArgs {
    /// The registry, as it is written in names of images [default: docker.io]
    #[arg(value_name = "REGISTRY")]
    registry: Option<String>,
    /// The user's name
    #[arg(short, long, value_name = "NAME")]
    username: Option<String>,
    /// The password or access token; others can see it in the list of processes
    #[arg(short, long, value_name = "PASSWORD", conflicts_with = "password_stdin")]
    password: Option<String>,
    /// Read the password from standard input
    #[arg(long)]
    password_stdin: bool,
}

/// Options of `kiln logout`.
#[derive(Debug, Args)]
pub(crate) struct LogoutArgs {
    /// The registry, as it is written in names of images [default: docker.io]
    #[arg(value_name = "REGISTRY")]
    registry: Option<String>,
}

/// Tries credentials, and stores them if they are good.
pub(crate) fn login(globals: &Globals, args: LoginArgs) -> Result<ExitStatus, CliError> {
    let registry = registry(args.registry.as_deref())?;
    let registries = config::load(paths::config(globals))?;
    let username = match args.username {
        Some(username) => username,
        None => asked("username", "`--username NAME`", false)?,
    };
    let password = match args.password {
        Some(password) => password,
        None if args.password_stdin => from_stdin()?,
        None => asked("password", "`--password-stdin`", true)?,
    };
    if username.is_empty() || password.is_empty() {
        return Err(UsageError::new("an empty username or password is none").into());
    }
    if username.contains(':') {
        return Err(UsageError::new("a username cannot hold a colon").into());
    }
    let credential = Credential::Password { username, password };
    let presented = Credentials::fixed([(registry.clone(), credential.clone())]);
    Client::new(registries, presented).log_in(&registry).map_err(|error| refused(&registry, error))?;
    let stored = Credentials::docker().store(&registry, &credential).map_err(CliError::Credentials)?;
    let place = match stored {
        Stored::File(path) => format!("the credentials are in `{}`, not encrypted", path.display()),
        Stored::Helper(helper) => format!("`docker-credential-{helper}` keeps the credentials"),
    };
    terminal::print(&format!("logged in to {registry}; {place}\n"))?;
    Ok(ExitStatus::SUCCESS)
}

/// What a registry says of credentials that nobody has stored yet.
fn refused(registry: &str, error: RegistryError) -> CliError {
    match error {
        RegistryError::Unauthorized { message: reason, .. }
        | RegistryError::Token { message: reason, denied: Some(_), .. } => {
            CliError::LoginRefused { registry: registry.to_owned(), reason }
        }
        error => CliError::Registry(error),
    }
}

/// Removes credentials.
pub(crate) fn logout(args: &LogoutArgs) -> Result<ExitStatus, CliError> {
    let registry = registry(args.registry.as_deref())?;
    let line = match Credentials::docker().erase(&registry).map_err(CliError::Credentials)? {
        true => format!("logged out of {registry}\n"),
        false => format!("there was no login for {registry}\n"),
    };
    terminal::print(&line)?;
    Ok(ExitStatus::SUCCESS)
}

/// A registry as it is written in references; people also write its URL.
fn registry(text: Option<&str>) -> Result<String, UsageError> {
    let Some(text) = text else { return Ok(DOCKER_HUB.to_owned()) };
    let host = text.trim_start_matches("https://").trim_start_matches("http://");
    let host = host.trim_end_matches('/').trim_end_matches("/v1").trim_end_matches("/v2");
    if matches!(host, "docker.io" | "index.docker.io" | "registry-1.docker.io" | "hub.docker.com") {
        return Ok(DOCKER_HUB.to_owned());
    }
    match Reference::parse(&format!("{host}/x")) {
        Ok(reference) if reference.registry() == host => Ok(host.to_owned()),
        _ => Err(UsageError::new(format!("`{text}` is not a registry")).hint("expected `HOST[:PORT]`")),
    }
}

fn from_stdin() -> Result<String, CliError> {
    let mut text = String::new();
    io::stdin().lock().take(PASSWORD_MAX).read_to_string(&mut text).map_err(CliError::Stdin)?;
    Ok(text.trim_end_matches(['\r', '\n']).to_owned())
}

/// Asks on the terminal, without showing what is typed if it is `secret`.
fn asked(what: &str, option: &str, secret: bool) -> Result<String, CliError> {
    let stdin = io::stdin();
    if !stdin.is_terminal() {
        return Err(UsageError::new(format!("no {what}, and no terminal to ask on"))
            .hint(format!("use {option}"))
            .into());
    }
    let mut stderr = io::stderr();
    // Whoever doesn't see the question can still answer it.
    let _ = write!(stderr, "{what}: ").and_then(|()| stderr.flush());
    let shown = secret.then(|| Hidden::new(&stdin));
    let mut line = String::new();
    let read = stdin.lock().take(PASSWORD_MAX).read_line(&mut line);
    drop(shown);
    if secret {
        let _ = writeln!(stderr);
    }
    read.map_err(CliError::Stdin)?;
    Ok(line.trim_end_matches(['\r', '\n']).to_owned())
}

/// A terminal that does not show what is typed, until it is dropped.
struct Hidden<'a> {
    stdin: &'a io::Stdin,
    before: Option<rustix::termios::Termios>,
}

impl<'a> Hidden<'a> {
    fn new(stdin: &'a io::Stdin) -> Self {
        let before = rustix::termios::tcgetattr(stdin).ok();
        if let Some(mut attributes) = before.clone() {
            attributes.local_modes.remove(rustix::termios::LocalModes::ECHO);
            let _ = rustix::termios::tcsetattr(stdin, rustix::termios::OptionalActions::Now, &attributes);
        }
        Self { stdin, before }
    }
}

impl Drop for Hidden<'_> {
    fn drop(&mut self) {
        if let Some(before) = &self.before {
            let _ = rustix::termios::tcsetattr(self.stdin, rustix::termios::OptionalActions::Now, before);
        }
    }
}

#[cfg(test)]
mod tests {

    #[test]
    fn registries_are_named_as_people_name_them() {
        for (text, registry) in [
            (None, "docker.io"),
            (Some("https://index.docker.io/v1/"), "docker.io"),
            (Some("ghcr.io"), "ghcr.io"),
            (Some("https://127.0.0.1:5000/"), "127.0.0.1:5000"),
            (Some("localhost"), "localhost"),
        ] {
            assert_eq!(super::registry(text).unwrap(), registry, "{text:?}");
        }
        for text in ["", "name", "a b", "h:1/x"] {
            assert!(super::registry(Some(text)).is_err(), "{text}");
        }
    }
}
