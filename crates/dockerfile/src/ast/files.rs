//! Instructions that bring files: `COPY`, `ADD`, and heredocs.

use super::Word;
use crate::span::{Span, Spanned};

/// `COPY [flags] SOURCE… DEST`
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Copy {
    /// `--from`: a stage, an image or a context. Not expanded.
    pub from: Option<Word>,
    /// `--chown`
    pub chown: Option<Word>,
    /// `--chmod`
    pub chmod: Option<Word>,
    /// `--link`
    pub link: Option<Spanned<bool>>,
    /// `--parents`
    pub parents: Option<Spanned<bool>>,
    /// `--exclude`, in order.
    pub exclude: Vec<Word>,
    /// What is copied, at least one.
    pub sources: Vec<Source>,
    /// Where to.
    pub dest: Word,
}

/// `ADD [flags] SOURCE… DEST`
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Add {
    /// `--chown`
    pub chown: Option<Word>,
    /// `--chmod`
    pub chmod: Option<Word>,
    /// `--link`
    pub link: Option<Spanned<bool>>,
    /// `--checksum`
    pub checksum: Option<Word>,
    /// `--keep-git-dir`
    pub keep_git_dir: Option<Spanned<bool>>,
    /// `--unpack`: when absent, local archives are unpacked and remote ones are not.
    pub unpack: Option<Spanned<bool>>,
    /// `--exclude`, in order.
    pub exclude: Vec<Word>,
    /// What is added, at least one.
    pub sources: Vec<Source>,
    /// Where to.
    pub dest: Word,
}

/// One source of `COPY` or `ADD`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Source {
    /// A path, a pattern or, for `ADD`, a URL.
    Path(Word),
    /// A file whose text stands in the Dockerfile; its name is that of the heredoc.
    Heredoc(Heredoc),
}

/// `<<NAME`, the lines up to `NAME`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Heredoc {
    /// The delimiter without quotes; for `COPY` and `ADD` also the file's name.
    pub name: String,
    /// The file descriptor before `<<` (0 when absent).
    pub fd: u32,
    /// Whether variables in it are expanded (its name was not quoted). Only `COPY` and `ADD` look at it.
    pub expand: bool,
    /// Whether leading tabs are stripped (`<<-`).
    pub strip_tabs: bool,
    /// The lines as written, each with its line break, tabs still there. See [`Heredoc::text`].
    pub content: String,
    /// Where the marker stands.
    pub span: Span,
    /// Where the lines stand, without the closing one.
    pub content_span: Span,
}

impl Heredoc {
    /// The lines, with leading tabs stripped when the marker was `<<-`.
    pub fn text(&self) -> String {
        if !self.strip_tabs {
            return self.content.clone();
        }
        self.content.split_inclusive('\n').map(|line| line.trim_start_matches('\t')).collect()
    }
}
