//! Which rules run: `skip=Rule,Rule;experimental=Rule;error=true`.

use super::{RULES, Rule};
use crate::suggest;

/// What `# check=…` (or `BUILDKIT_DOCKERFILE_CHECK`) asks for.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Options {
    /// `skip=all`: no rule runs but the experimental ones that are asked for.
    pub skip_all: bool,
    /// `skip=`: these don't run.
    pub skip: Vec<String>,
    /// `experimental=all`: all experimental rules run too.
    pub experimental_all: bool,
    /// `experimental=`: these run too.
    pub experimental: Vec<String>,
    /// `error=true`: findings fail the build.
    pub error: bool,
    /// Whether the rules of kiln's own run, which no text asks for: a build has none of their advice.
    pub advice: bool,
}

/// Options that cannot be read.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OptionsError {
    /// Not `name=value`.
    #[error("check option `{0}` has no value\nhint: options are skip=…, experimental=… and error=…, separated by `;`")]
    NoValue(String),
    /// An option that doesn't exist.
    #[error("there is no check option `{0}`\nhint: options are skip, experimental and error")]
    Unknown(String),
    /// `error` of something else than a truth value.
    #[error("check option `error` is `true` or `false`, not `{0}`")]
    NotBoolean(String),
}

impl Options {
    /// Reads the value of the directive.
    ///
    /// # Errors
    /// On options that don't exist or have no value. Rules that don't exist are none: see [`Options::unknown_rules`].
    pub fn parse(text: &str) -> Result<Self, OptionsError> {
        let mut options = Self::default();
        if text.trim().is_empty() {
            return Ok(options);
        }
        for part in text.split(';') {
            let Some((name, value)) = part.split_once('=') else {
                return Err(OptionsError::NoValue(part.trim().to_owned()));
            };
            let value = value.trim();
            let names = || value.split(',').map(|name| name.trim().to_owned()).collect();
            match name.trim() {
                "skip" if value == "all" => options.skip_all = true,
                "skip" => options.skip = names(),
                "experimental" if value == "all" => options.experimental_all = true,
                "experimental" => options.experimental = names(),
                "error" => {
                    options.error = match value {
                        "1" | "t" | "T" | "true" | "TRUE" | "True" => true,
                        "0" | "f" | "F" | "false" | "FALSE" | "False" => false,
                        _ => return Err(OptionsError::NotBoolean(value.to_owned())),
                    }
                }
                other => return Err(OptionsError::Unknown(other.to_owned())),
            }
        }
        Ok(options)
    }

    /// Whether a rule runs.
    pub fn runs(&self, rule: &Rule) -> bool {
        let named = |names: &[String]| names.iter().any(|name| name == rule.name);
        if rule.experimental {
            self.experimental_all || named(&self.experimental)
        } else {
            (self.advice || !rule.own) && !self.skip_all && !named(&self.skip)
        }
    }

    /// Names that no rule has, each with the rule that was probably meant.
    pub fn unknown_rules(&self) -> Vec<(&str, Option<&'static str>)> {
        let names = self.skip.iter().chain(&self.experimental).map(String::as_str);
        names
            .filter(|name| !name.is_empty() && !RULES.iter().any(|rule| rule.name == *name))
            .map(|name| (name, suggest::nearest(name, RULES.iter().map(|rule| rule.name))))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_read() {
        let parse = |text| Options::parse(text).unwrap();
        assert_eq!(parse(""), Options::default());
        assert_eq!(parse(" skip=all ; error=true"), Options { skip_all: true, error: true, ..Options::default() });
        let options = parse("skip=StageNameCasing, FromAsCasing;experimental=all");
        assert_eq!(options.skip, ["StageNameCasing", "FromAsCasing"]);
        assert!(options.experimental_all);
        assert_eq!(parse("error=0"), Options::default());
    }

    #[test]
    fn faults_are_told() {
        assert_eq!(Options::parse("skip"), Err(OptionsError::NoValue("skip".to_owned())));
        assert_eq!(Options::parse("skip=a;warn=b"), Err(OptionsError::Unknown("warn".to_owned())));
        assert_eq!(Options::parse("error=maybe"), Err(OptionsError::NotBoolean("maybe".to_owned())));
        let options = Options::parse("skip=StageNameCase,Nothing,FromAsCasing").unwrap();
        assert_eq!(options.unknown_rules(), [("StageNameCase", None), ("Nothing", None)]);
        let options = Options::parse("skip=FromAsCaseing").unwrap();
        assert_eq!(options.unknown_rules(), [("FromAsCaseing", Some("FromAsCasing"))]);
    }

    #[test]
    fn rules_are_chosen() {
        let names = |text| {
            let options = Options::parse(text).unwrap();
            RULES.iter().filter(|rule| options.runs(rule)).map(|rule| rule.name).collect::<Vec<_>>()
        };
        let own = RULES.iter().filter(|rule| rule.own).count();
        assert_eq!(names("").len(), RULES.len() - own - 2);
        let advice = Options { advice: true, ..Options::parse("skip=CacheMountMissing").unwrap() };
        let ran = RULES.iter().filter(|rule| advice.runs(rule)).count();
        assert_eq!(ran, RULES.len() - 2 - 1);
        assert!(!names("skip=UndefinedVar").contains(&"UndefinedVar"));
        assert_eq!(names("skip=all;experimental=CopyIgnoredFile"), ["CopyIgnoredFile"]);
        assert_eq!(names("experimental=all").len(), RULES.len() - own);
    }
}
