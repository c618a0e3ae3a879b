//! Paragraphs of `Name: value` lines, as dpkg writes them (Debian policy, section 5.1); apk's database differs only in the names.

/// The fields of one paragraph, in order. A line that continues another is left out: no field that matters here has several.
pub(crate) struct Paragraph<'a>(Vec<(&'a str, &'a str)>);

impl<'a> Paragraph<'a> {
    /// The value of a field.
    pub(crate) fn get(&self, name: &str) -> Option<&'a str> {
        self.0.iter().find(|(field, _)| *field == name).map(|(_, value)| *value).filter(|value| !value.is_empty())
    }

    /// The same, to be kept.
    pub(crate) fn owned(&self, name: &str) -> Option<String> {
        self.get(name).map(str::to_owned)
    }
}

/// All paragraphs of a text.
pub(crate) fn paragraphs(text: &str) -> impl Iterator<Item = Paragraph<'_>> {
    let mut lines = text.lines();
    std::iter::from_fn(move || {
        let mut fields = Vec::new();
        for line in lines.by_ref() {
            if line.trim().is_empty() {
                if fields.is_empty() {
                    continue;
                }
                break;
            }
            if !line.starts_with([' ', '\t'])
                && let Some((name, value)) = line.split_once(':')
            {
                fields.push((name, value.trim()));
            }
        }
        (!fields.is_empty()).then_some(Paragraph(fields))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paragraphs_are_separated_by_empty_lines() {
        let text = "\n\nPackage: a\nDescription: x\n more: y\n\n\n  \nPackage: b\nnonsense\nVersion: 1:2\n";
        let all: Vec<_> = paragraphs(text).collect();
        assert_eq!(all.len(), 2);
        assert_eq!((all[0].get("Package"), all[0].get(" more")), (Some("a"), None));
        assert_eq!((all[1].get("Package"), all[1].get("Version")), (Some("b"), Some("1:2")));
    }
}
