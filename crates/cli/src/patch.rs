//! A change of a file as a unified diff, which `patch -p1` and `git apply` take.

use similar::TextDiff;
use std::path::{Component, Path};

/// The patch that makes `after` of `before`; nothing if they are the same. The file is named as it is from the current directory, or
/// else from the root.
pub(crate) fn unified(path: &Path, current: &Path, before: &str, after: &str) -> String {
    let name = name(path, current);
    // Lines end at line feeds and nowhere else: a carriage return before one is part of its line.
    let (old, new): (Vec<&str>, Vec<&str>) =
        (before.split_inclusive('\n').collect(), after.split_inclusive('\n').collect());
    let mut config = TextDiff::configure();
    config.newline_terminated(true);
    let diff = config.diff_slices(&old, &new);
    diff.unified_diff().context_radius(3).header(&header("a", &name), &header("b", &name)).to_string()
}

/// The path from the current directory if it is below that, otherwise from the root.
pub(crate) fn name(path: &Path, current: &Path) -> String {
    let from_here = path.strip_prefix(current).unwrap_or(path);
    let parts = from_here.components().filter_map(|part| match part {
        Component::Normal(part) => Some(part.to_string_lossy()),
        _ => None,
    });
    parts.collect::<Vec<_>>().join("/")
}

/// A name as git writes it: in quotes where it has characters that would end it, with a tab behind it where it has blanks.
fn header(prefix: &str, name: &str) -> String {
    if name.chars().any(|c| c.is_control() || c == '"' || c == '\\') {
        let escape = |c: char| match c {
            '"' | '\\' => format!("\\{c}"),
            c if c.is_control() => {
                let mut bytes = [0; 4];
                c.encode_utf8(&mut bytes).bytes().map(|byte| format!("\\{byte:03o}")).collect()
            }
            c => c.to_string(),
        };
        return format!("\"{prefix}/{}\"", name.chars().map(escape).collect::<String>());
    }
    let end = if name.contains(' ') { "\t" } else { "" };
    format!("{prefix}/{name}{end}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn patch(path: &str, before: &str, after: &str) -> String {
        unified(Path::new(path), Path::new("/here"), before, after)
    }

    #[test]
    fn patches() {
        assert_eq!(patch("/here/a", "x\n", "x\n"), "");
        assert_eq!(patch("/here/d/a", "x\ny\n", "x\nz\n"), "--- a/d/a\n+++ b/d/a\n@@ -1,2 +1,2 @@\n x\n-y\n+z\n");
        assert_eq!(
            patch("/else/a b", "x\r\ny", "x\r\nz"),
            "--- a/else/a b\t\n+++ b/else/a b\t\n@@ -1,2 +1,2 @@\n x\r\n-y\n\\ No newline at end of file\n+z\n\\ No newline at end of file\n"
        );
        assert!(patch("/here/\"\u{1b}", "x\n", "").starts_with("--- \"a/\\\"\\033\"\n"));
    }
}
