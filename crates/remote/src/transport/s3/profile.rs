//! Keys of `~/.aws/credentials`, where the AWS tools keep them: the section that `AWS_PROFILE` names, or `default`.
//! `AWS_SHARED_CREDENTIALS_FILE` names another file.

use crate::location::S3Credentials;
use std::collections::HashMap;
use std::path::PathBuf;

/// Larger files are not what they seem.
const FILE_MAX: u64 = 1 << 20;

/// The user's key, if there is one. A file that cannot be read has none.
pub(super) fn find() -> Option<S3Credentials> {
    let file = std::env::var_os("AWS_SHARED_CREDENTIALS_FILE").filter(|file| !file.is_empty()).map(PathBuf::from);
    let file = file.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".aws/credentials")))?;
    if !std::fs::metadata(&file).is_ok_and(|metadata| metadata.is_file() && metadata.len() <= FILE_MAX) {
        return None;
    }
    let profile = std::env::var("AWS_PROFILE").ok().filter(|profile| !profile.is_empty());
    parse(&std::fs::read_to_string(file).ok()?, profile.as_deref().unwrap_or("default"))
}

fn parse(text: &str, profile: &str) -> Option<S3Credentials> {
    let mut section = "";
    let mut values = HashMap::new();
    for line in text.lines().map(str::trim) {
        if let Some(name) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
            section = name.trim();
        } else if section == profile
            && !line.starts_with(['#', ';'])
            && let Some((name, value)) = line.split_once('=')
        {
            values.insert(name.trim().to_ascii_lowercase(), value.trim().to_owned());
        }
    }
    Some(S3Credentials {
        access_key_id: values.remove("aws_access_key_id")?,
        secret_access_key: values.remove("aws_secret_access_key")?,
        session_token: values.remove("aws_session_token"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_section_is_a_key() {
        let text = "# mine\n[default]\naws_access_key_id = one\naws_secret_access_key=two=2\n[ci]\n; no key\nregion = x\n\
                    [role]\naws_access_key_id=a\naws_secret_access_key=b\naws_session_token=c\n";
        let key = parse(text, "default").unwrap();
        assert_eq!((key.access_key_id.as_str(), key.secret_access_key.as_str()), ("one", "two=2"));
        assert_eq!(parse(text, "role").unwrap().session_token.as_deref(), Some("c"));
        assert!(parse(text, "ci").is_none() && parse(text, "nobody").is_none());
    }
}
