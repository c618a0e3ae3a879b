//! `--chmod`: an octal mode, or `chmod`'s symbolic form applied to the mode that a file has.

use kiln_graph::Mode;

/// Why a symbolic mode is none.
#[derive(Debug, thiserror::Error)]
#[error("bad mode `{mode}`: expected octal digits or a symbolic mode\nhint: for example `0755` or `u=rwX,go=rX`")]
pub(crate) struct ModeError {
    mode: String,
}

/// The mode that a file of mode `current` gets.
pub(crate) fn apply(mode: &Mode, current: u32, is_directory: bool) -> Result<u32, ModeError> {
    match mode {
        Mode::Octal(mode) => Ok(mode & 0o7777),
        Mode::Symbolic(text) => {
            let executable = is_directory || current & 0o111 != 0;
            text.split(',')
                .try_fold(current, |mode, clause| apply_clause(clause, mode, executable))
                .ok_or_else(|| ModeError { mode: text.clone() })
        }
    }
}

/// One clause, `[ugoa]*([-+=]([rwxXst]*|[ugo]))+`, as BSD's `chmod` has it: what `X` means depends on the mode that the file had before all
/// clauses, and `=` takes away set-id bits as well. `executable` is whether `X` is an `x`.
fn apply_clause(clause: &str, mut mode: u32, executable: bool) -> Option<u32> {
    let split = clause.find(|c| !"ugoa".contains(c))?;
    let (who, mut actions) = clause.split_at(split);
    let (mut user, mut group, mut other) = (who.contains('u'), who.contains('g'), who.contains('o'));
    if who.is_empty() || who.contains('a') {
        (user, group, other) = (true, true, true);
    }
    let set_ids = (if user { 0o4000 } else { 0 }) | (if group { 0o2000 } else { 0 });
    let spread = |bits: u32| {
        (if user { bits << 6 } else { 0 }) | (if group { bits << 3 } else { 0 }) | (if other { bits } else { 0 })
    };
    while !actions.is_empty() {
        let operator = actions.chars().next().filter(|c| "+-=".contains(*c))?;
        actions = &actions[1..];
        let end = actions.find(|c| "+-=".contains(c)).unwrap_or(actions.len());
        let (permissions, rest) = actions.split_at(end);
        actions = rest;
        let copies = permissions.contains(['u', 'g', 'o']);
        let mut bits = 0;
        for permission in permissions.chars() {
            bits |= match permission {
                'r' => spread(4),
                'w' => spread(2),
                'x' => spread(1),
                'X' if executable && operator != '-' => spread(1),
                'X' => 0,
                's' => set_ids,
                't' if user || group => 0o1000,
                't' => 0,
                'u' => spread(mode >> 6 & 7),
                'g' => spread(mode >> 3 & 7),
                'o' => spread(mode & 7),
                _ => return None,
            };
        }
        mode = match operator {
            '+' => mode | bits,
            '-' => mode & !bits,
            _ if copies => mode & !spread(7) | bits,
            _ => mode & !(spread(7) | set_ids) | bits,
        };
    }
    Some(mode)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_table() {
        for (text, current, is_directory, expected) in [
            ("u=rwX,go=rX", 0o600, false, Some(0o644)),
            ("u=rwX,go=rX", 0o700, true, Some(0o755)),
            ("u=rwX,go=rX", 0o700, false, Some(0o755)),
            ("+x", 0o644, false, Some(0o755)),
            ("a-w", 0o666, false, Some(0o444)),
            ("g=u", 0o740, false, Some(0o770)),
            ("u+s", 0o755, false, Some(0o4755)),
            ("+t", 0o777, true, Some(0o1777)),
            ("u+r-w", 0o200, false, Some(0o400)),
            ("go=", 0o2775, true, Some(0o700)),
            ("u=rwx,go=u-w", 0o4640, false, Some(0o755)),
            ("g=u", 0o2750, true, Some(0o2770)),
            ("o+t", 0o777, true, Some(0o777)),
            ("a-x,u+X", 0o755, false, Some(0o744)),
            ("-X", 0o755, false, Some(0o755)),
            ("u", 0o644, false, None),
            ("z+x", 0o644, false, None),
            ("u+q", 0o644, false, None),
        ] {
            let mode = apply(&Mode::Symbolic(text.to_owned()), current, is_directory).ok();
            assert_eq!(mode, expected, "{text}");
        }
        assert_eq!(apply(&Mode::Octal(0o4755), 0, false).unwrap(), 0o4755);
    }
}
