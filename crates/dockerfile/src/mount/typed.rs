//! Mounts with types and defaults.

use super::Field;
use crate::error::{Error, ErrorKind, Result};
use crate::size;
use crate::span::Span;

/// The mode of a secret's file when none is given.
pub const DEFAULT_SECRET_MODE: u32 = 0o400;
/// The mode of an agent's socket when none is given.
pub const DEFAULT_SSH_MODE: u32 = 0o600;

/// The options of each type of mount, besides `type` itself.
pub const OPTIONS: &[(&str, &[&str])] = &[
    ("bind", &["target", "dst", "destination", "source", "src", "from", "readonly", "ro", "readwrite", "rw"]),
    (
        "cache",
        &[
            "id",
            "target",
            "dst",
            "destination",
            "source",
            "src",
            "from",
            "readonly",
            "ro",
            "readwrite",
            "rw",
            "sharing",
            "mode",
            "uid",
            "gid",
        ],
    ),
    ("tmpfs", &["target", "dst", "destination", "size"]),
    ("secret", &["id", "source", "src", "target", "dst", "destination", "env", "required", "mode", "uid", "gid"]),
    ("ssh", &["id", "target", "dst", "destination", "required", "mode", "uid", "gid"]),
];

/// A mount of a `RUN`. Targets and sources are as written: relative targets are below the working directory, and `.` stands for
/// it where no target is given.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Mount {
    /// `type=bind`, also when no type is given.
    Bind(Bind),
    /// `type=cache`
    Cache(Cache),
    /// `type=tmpfs`
    Tmpfs(Tmpfs),
    /// `type=secret`
    Secret(Secret),
    /// `type=ssh`
    Ssh(Ssh),
}

/// Files of the context, a stage or an image, seen in one step.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Bind {
    /// A stage, an image or a context; the build context when absent.
    pub from: Option<String>,
    /// What of it, from its root; all when absent.
    pub source: Option<String>,
    /// Where to.
    pub target: String,
    /// Whether writes are refused (the default); else they are discarded after the step.
    pub readonly: bool,
}

/// A directory that outlives builds.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Cache {
    /// Its name; by default the cleaned target.
    pub id: Option<String>,
    /// What an empty one begins with: a stage, an image or a context; nothing when absent.
    pub from: Option<String>,
    /// What of `from`, from its root; all when absent.
    pub source: Option<String>,
    /// Where to.
    pub target: String,
    /// Whether writes are refused (not by default).
    pub readonly: bool,
    /// What happens when two steps want it at once.
    pub sharing: Sharing,
    /// The mode of an empty one; by default 0755.
    pub mode: Option<u32>,
    /// The owner of an empty one; by default 0.
    pub uid: Option<u32>,
    /// The group of an empty one; by default 0.
    pub gid: Option<u32>,
}

/// What happens when two steps want one cache mount at once.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum Sharing {
    /// Both use it.
    #[default]
    Shared,
    /// The second gets another one.
    Private,
    /// The second waits.
    Locked,
}

/// A directory in memory.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Tmpfs {
    /// Where to.
    pub target: String,
    /// The most that it may hold, in bytes; no limit when absent or 0.
    pub size: Option<u64>,
    /// Whether writes are refused (not by default).
    pub readonly: bool,
}

/// A secret, as a file, a variable, or both.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Secret {
    /// Its name (`id`, else `source`, else the last part of the target).
    pub id: String,
    /// The file; `/run/secrets/ID` when neither it nor a variable is asked for.
    pub target: Option<String>,
    /// The variable.
    pub env: Option<String>,
    /// Whether the build fails when the secret isn't given.
    pub required: bool,
    /// The file's mode; by default [`DEFAULT_SECRET_MODE`].
    pub mode: Option<u32>,
    /// The file's owner; by default 0.
    pub uid: Option<u32>,
    /// The file's group; by default 0.
    pub gid: Option<u32>,
}

/// The socket of an SSH agent.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Ssh {
    /// Which agent; `default` when absent.
    pub id: Option<String>,
    /// The socket; by default `/run/buildkit/ssh_agent.N`.
    pub target: Option<String>,
    /// Whether the build fails when the agent isn't given.
    pub required: bool,
    /// The socket's mode; by default [`DEFAULT_SSH_MODE`].
    pub mode: Option<u32>,
    /// The socket's owner; by default 0.
    pub uid: Option<u32>,
    /// The socket's group; by default 0.
    pub gid: Option<u32>,
}

/// All options together, before they are fitted to a type.
#[derive(Default)]
struct Options {
    kind: Option<(&'static str, Span)>,
    from: Option<(String, Span)>,
    source: Option<(String, Span)>,
    target: Option<(String, Span)>,
    id: Option<(String, Span)>,
    env: Option<(String, Span)>,
    readonly: Option<bool>,
    required: bool,
    size: Option<u64>,
    sharing: Sharing,
    mode: Option<u32>,
    uid: Option<u32>,
    gid: Option<u32>,
}

/// Gives expanded fields a type. `span` is the whole flag's.
///
/// Where a field is repeated the last one counts, and `ro` and `rw` undo each other, as in BuildKit. `required` and `size` must
/// stand after `type`.
///
/// # Errors
/// Unknown types and options, options that the type does not have, values that aren't what they should be, and a secret without a name.
pub fn parse(fields: &[Field], span: Span) -> Result<Mount> {
    let mut options = Options::default();
    for field in fields {
        options.read(field)?;
    }
    options.finish(span, fields)
}

fn fault(span: Span, message: impl Into<String>) -> Error {
    Error::new(ErrorKind::Mount, span, message)
}

impl Options {
    fn kind(&self) -> &'static str {
        self.kind.map_or("bind", |(kind, _)| kind)
    }

    fn read(&mut self, field: &Field) -> Result<()> {
        let key = field.key.value.as_str();
        let Some(value) = &field.value else { return self.read_bare(field) };
        let span = value.span;
        let text = || Some((value.value.clone(), span));
        match key {
            "type" => {
                let lower = value.value.to_lowercase();
                let Some((kind, _)) = OPTIONS.iter().find(|(kind, _)| *kind == lower) else {
                    let error = fault(span, format!("there is no mount type `{}`", value.value));
                    let types: Vec<_> = OPTIONS.iter().map(|(kind, _)| *kind).collect();
                    let hint = format!("types are {}", types.join(", "));
                    return Err(error.hint(hint).suggest(&value.value, types));
                };
                self.kind = Some((kind, span));
            }
            "from" => self.from = text(),
            "source" | "src" => self.source = text(),
            "target" | "dst" | "destination" => self.target = text(),
            "id" => self.id = text(),
            "env" if value.value.is_empty() => {
                return Err(fault(span, "`env` needs the name of a variable").hint("write env=NAME"));
            }
            "env" => self.env = text(),
            "readonly" | "ro" => self.readonly = Some(boolean(field, &value.value)?),
            "readwrite" | "rw" => self.readonly = Some(!boolean(field, &value.value)?),
            "required" => {
                self.only(field, &["secret", "ssh"])?;
                self.required = boolean(field, &value.value)?;
            }
            "size" => {
                self.only(field, &["tmpfs"])?;
                self.size = Some(size::parse(&value.value).map_err(|error| fault(span, error.to_string()))?);
            }
            "sharing" => {
                self.sharing = match value.value.to_lowercase().as_str() {
                    "shared" => Sharing::Shared,
                    "private" => Sharing::Private,
                    "locked" => Sharing::Locked,
                    _ => {
                        return Err(fault(span, format!("`sharing` cannot be `{}`", value.value))
                            .hint("it is one of `shared`, `private`, `locked`"));
                    }
                };
            }
            "mode" => self.mode = Some(number(field, &value.value, 8)?),
            "uid" => self.uid = Some(number(field, &value.value, 10)?),
            "gid" => self.gid = Some(number(field, &value.value, 10)?),
            _ => return Err(self.unknown(field)),
        }
        Ok(())
    }

    /// A field without `=`.
    fn read_bare(&mut self, field: &Field) -> Result<()> {
        match field.key.value.as_str() {
            "readonly" | "ro" => self.readonly = Some(true),
            "readwrite" | "rw" => self.readonly = Some(false),
            "required" => {
                self.only(field, &["secret", "ssh"])?;
                self.required = true;
            }
            key if OPTIONS.iter().any(|(_, keys)| keys.contains(&key)) || key == "type" => {
                return Err(fault(field.key.span, format!("mount option `{key}` needs a value"))
                    .hint(format!("write {key}=VALUE")));
            }
            _ => return Err(self.unknown(field)),
        }
        Ok(())
    }

    fn unknown(&self, field: &Field) -> Error {
        let key = &field.key.value;
        if key.is_empty() {
            return fault(field.key.span, "a mount option is empty")
                .hint("options are separated by one comma, without blanks");
        }
        let names = OPTIONS.iter().flat_map(|(_, keys)| keys.iter().copied()).chain(["type"]);
        fault(field.key.span, format!("there is no mount option `{key}`")).suggest(key, names)
    }

    /// Fails when the type so far is not among `kinds`.
    fn only(&self, field: &Field, kinds: &[&str]) -> Result<()> {
        if kinds.contains(&self.kind()) {
            return Ok(());
        }
        let key = &field.key.value;
        let error = fault(field.key.span, format!("{} mount has no option `{key}`", article(self.kind())));
        Err(if self.kind.is_none() { error.hint(format!("`type={}` must stand before it", kinds[0])) } else { error })
    }

    /// Fails when one of `fields` is among `options`, which the type does not have.
    fn refuse(&self, fields: &[Field], options: &[&str]) -> Result<()> {
        let Some(field) = fields.iter().find(|field| options.contains(&field.key.value.as_str())) else {
            return Ok(());
        };
        let key = field.key.value.as_str();
        let types: Vec<_> = OPTIONS.iter().filter(|(_, keys)| keys.contains(&key)).map(|(kind, _)| *kind).collect();
        Err(fault(field.key.span, format!("{} mount has no option `{key}`", article(self.kind())))
            .hint(format!("`{key}` is for type={}", types.join(" and type="))))
    }

    /// Where to: without a target, or with one that is empty, the working directory, as in BuildKit.
    fn target(&mut self) -> String {
        filled(self.target.take()).unwrap_or_else(|| ".".to_owned())
    }

    fn finish(mut self, span: Span, fields: &[Field]) -> Result<Mount> {
        let kind = self.kind();
        if !matches!(kind, "secret" | "ssh" | "cache") {
            self.refuse(fields, &["mode", "uid", "gid"])?;
        }
        if kind != "cache" {
            self.refuse(fields, &["sharing"])?;
        }
        if kind != "secret" {
            self.refuse(fields, &["env"])?;
        }
        match kind {
            "secret" => {
                self.refuse(fields, &["from"])?;
                self.secret(span).map(Mount::Secret)
            }
            "ssh" => Ok(Mount::Ssh(Ssh {
                id: filled(self.id),
                target: filled(self.target),
                required: self.required,
                mode: self.mode,
                uid: self.uid,
                gid: self.gid,
            })),
            "tmpfs" => {
                // BuildKit takes it, and then looks for the path in an empty directory.
                self.refuse(fields, &["source", "src"])?;
                Ok(Mount::Tmpfs(Tmpfs {
                    target: self.target(),
                    size: self.size.filter(|size| *size > 0),
                    readonly: self.readonly.unwrap_or(false),
                }))
            }
            "cache" => Ok(Mount::Cache(Cache {
                target: self.target(),
                id: filled(self.id),
                from: filled(self.from),
                source: filled(self.source),
                readonly: self.readonly.unwrap_or(false),
                sharing: self.sharing,
                mode: self.mode,
                uid: self.uid,
                gid: self.gid,
            })),
            _ => Ok(Mount::Bind(Bind {
                target: self.target(),
                from: filled(self.from),
                source: filled(self.source),
                readonly: self.readonly.unwrap_or(true),
            })),
        }
    }

    fn secret(self, span: Span) -> Result<Secret> {
        let (mode, uid, gid) = (self.mode, self.uid, self.gid);
        let (id, source, target) = (filled(self.id), filled(self.source), filled(self.target));
        let id = match (id, source, &target) {
            (Some(_), Some(_), _) => {
                return Err(fault(span, "a secret mount has `id` or `source`, not both"));
            }
            (Some(id), ..) | (None, Some(id), _) => id,
            (None, None, Some(target)) => {
                target.trim_end_matches('/').rsplit('/').next().unwrap_or_default().to_owned()
            }
            (None, None, None) => {
                return Err(fault(span, "a secret mount needs an `id`")
                    .hint("add id=NAME, and give it: --secret id=NAME,src=FILE"));
            }
        };
        let env = self.env.map(|(name, _)| name);
        Ok(Secret { id, target, env, required: self.required, mode, uid, gid })
    }
}

/// An option that is given and not empty.
fn filled(option: Option<(String, Span)>) -> Option<String> {
    option.map(|(value, _)| value).filter(|value| !value.is_empty())
}

fn boolean(field: &Field, text: &str) -> Result<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err(fault(
            field.value.as_ref().map_or(field.key.span, |value| value.span),
            format!("`{}` is `true` or `false`, not `{text}`", field.key.value),
        )),
    }
}

fn number(field: &Field, text: &str, radix: u32) -> Result<u32> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    match u32::from_str_radix(text, radix) {
        Ok(number) if digits => Ok(number),
        _ => {
            let what = if radix == 8 { "octal digits, such as 0755" } else { "a number" };
            Err(fault(
                field.value.as_ref().map_or(field.key.span, |value| value.span),
                format!("`{}` cannot be `{text}`: expected {what}", field.key.value),
            ))
        }
    }
}

/// A type with its article: `an ssh`, but `a bind`.
fn article(kind: &str) -> String {
    if kind == "ssh" { format!("an {kind}") } else { format!("a {kind}") }
}
