//! `kiln images`: what is in kiln's image store.

use crate::args::Globals;
use crate::error::CliError;
use crate::exit::ExitStatus;
use crate::session::Session;
use crate::table::Table;
use crate::{human, terminal};
use clap::Args;
use jiff::Timestamp;
use kiln_engine::ImageSummary;
use kiln_registry::Reference;
use serde::Serialize;
use std::collections::HashSet;

/// Options of `kiln images`.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct ImagesArgs {
    /// Print JSON, one object a line
    #[arg(long)]
    json: bool,
    /// Print image ids only
    #[arg(short, long, conflicts_with = "json")]
    quiet: bool,
    /// Print whole ids
    #[arg(long)]
    no_trunc: bool,
}

/// One line of `--json`.
#[derive(Debug, Serialize)]
struct Line {
    /// Null for an image without one.
    name: Option<String>,
    id: String,
    platform: String,
    /// RFC 3339.
    created: Option<Timestamp>,
    /// In bytes.
    size: u64,
}

/// Lists images.
pub(crate) fn execute(globals: &Globals, args: &ImagesArgs) -> Result<ExitStatus, CliError> {
    let mut images = Session::open(globals)?.engine.list_images()?;
    // The same image, built with a name and without, is one.
    let named: HashSet<_> = images.iter().filter(|image| !is_unnamed(image)).map(|image| image.id).collect();
    images.retain(|image| !is_unnamed(image) || !named.contains(&image.id));
    terminal::print(&render(&images, args, Timestamp::now()))?;
    Ok(ExitStatus::SUCCESS)
}

fn render(images: &[ImageSummary], args: &ImagesArgs, now: Timestamp) -> String {
    if args.quiet {
        return images.iter().map(|image| format!("{}\n", id(image, args.no_trunc))).collect();
    }
    if args.json {
        return images.iter().map(|image| json(image) + "\n").collect();
    }
    let mut table = Table::new(["NAME", "ID", "PLATFORM", "CREATED", "SIZE"]);
    for image in images {
        table.row([
            if is_unnamed(image) { "<none>".to_owned() } else { familiar(&image.name) },
            id(image, args.no_trunc),
            image.platform.clone(),
            created(image).map_or_else(|| "-".to_owned(), |created| human::age(now.as_second(), created.as_second())),
            human::size(image.size),
        ]);
    }
    table.render()
}

fn json(image: &ImageSummary) -> String {
    let line = Line {
        name: (!is_unnamed(image)).then(|| image.name.clone()),
        id: image.id.to_string(),
        platform: image.platform.clone(),
        created: created(image),
        size: image.size,
    };
    serde_json::to_string(&line).unwrap_or_default()
}

fn is_unnamed(image: &ImageSummary) -> bool {
    image.name.starts_with("<none>")
}

fn created(image: &ImageSummary) -> Option<Timestamp> {
    Timestamp::try_from(image.created).ok()
}

/// The name as people write it: `app:latest` for `docker.io/library/app:latest`.
pub(crate) fn familiar(name: &str) -> String {
    Reference::parse(name).map_or_else(|_| name.to_owned(), |reference| reference.familiar())
}

/// The first 12 digits of the id, as Docker shows it, or all of it with its algorithm.
fn id(image: &ImageSummary, whole: bool) -> String {
    let id = image.id.to_string();
    match id.split_once(':') {
        Some((_, hex)) if !whole => hex.chars().take(12).collect(),
        _ => id,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kiln_digest::Digest;
    use snapbox::{IntoData, assert_data_eq, str};
    use std::time::{Duration, SystemTime};

    fn images() -> Vec<ImageSummary> {
        let image = |name: &str, size| ImageSummary {
            name: name.to_owned(),
            id: Digest::of_bytes(b"config"),
            platform: "linux/amd64".to_owned(),
            created: SystemTime::UNIX_EPOCH + Duration::from_secs(3600),
            size,
            pulled: false,
        };
        let none = format!("<none>@{}", Digest::of_bytes(b"config"));
        vec![image("docker.io/library/app:latest", 12_300_000), image("ghcr.io/a/b:1", 0), image(&none, 7)]
    }

    fn rendered(args: &ImagesArgs) -> String {
        render(&images(), args, Timestamp::from_second(10_800).unwrap())
    }

    #[test]
    fn forms() {
        let table = ImagesArgs { json: false, quiet: false, no_trunc: false };
        assert_data_eq!(
            rendered(&table),
            str![[r#"
NAME            ID             PLATFORM      CREATED       SIZE
app:latest      b79606fb3afe   linux/amd64   2 hours ago   12.3MB
ghcr.io/a/b:1   b79606fb3afe   linux/amd64   2 hours ago   0B
<none>          b79606fb3afe   linux/amd64   2 hours ago   7B

"#]]
            .raw()
        );
        let quiet = ImagesArgs { quiet: true, ..table };
        assert_data_eq!(
            rendered(&quiet),
            str![[r#"
b79606fb3afe
b79606fb3afe
b79606fb3afe

"#]]
            .raw()
        );
        let json = ImagesArgs { json: true, ..table };
        assert_data_eq!(rendered(&json), str![[r#"
{"name":"docker.io/library/app:latest","id":"sha256:b79606fb3afea5bd1609ed40b622142f1c98125abcfe89a76a661b0e8e343910","platform":"linux/amd64","created":"1970-01-01T01:00:00Z","size":12300000}
{"name":"ghcr.io/a/b:1","id":"sha256:b79606fb3afea5bd1609ed40b622142f1c98125abcfe89a76a661b0e8e343910","platform":"linux/amd64","created":"1970-01-01T01:00:00Z","size":0}
{"name":null,"id":"sha256:b79606fb3afea5bd1609ed40b622142f1c98125abcfe89a76a661b0e8e343910","platform":"linux/amd64","created":"1970-01-01T01:00:00Z","size":7}

"#]].raw());
    }
}
