//! `kiln inspect`: what an image is, in this store or in a registry.

use super::images::familiar;
use crate::args::Globals;
use crate::error::CliError;
use crate::exit::ExitStatus;
use crate::session::Session;
use crate::signals::Interrupts;
use crate::{human, terminal, text};
use clap::{Args, ValueEnum};
use kiln_engine::{ImageDetails, PlatformDetails};
use serde_json::{Value, json};

/// Options of `kiln inspect`.
#[derive(Debug, Args)]
pub(crate) struct InspectArgs {
    /// Names or ids of images; what kiln does not have is looked up in its registry
    #[arg(required = true, value_name = "NAME|ID")]
    images: Vec<String>,
    /// How to print it
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    format: Format,
}

/// How details are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For people
    Text,
    /// A JSON array of all images
    Json,
}

/// Prints what each image is.
pub(crate) fn execute(globals: &Globals, args: &InspectArgs) -> Result<ExitStatus, CliError> {
    let interrupts = Interrupts::install()?;
    let session = Session::open(globals)?;
    let mut all = Vec::with_capacity(args.images.len());
    for name in &args.images {
        let details = session.engine.inspect_image(name, &interrupts.cancel);
        all.push(details.map_err(|error| interrupts.error(error))?);
    }
    let printed = match args.format {
        Format::Json => format!("{:#}\n", Value::Array(all.iter().map(as_json).collect())),
        Format::Text => all.iter().map(as_text).collect::<Vec<_>>().join("\n"),
    };
    terminal::print(&printed)?;
    Ok(ExitStatus::SUCCESS)
}

fn as_json(image: &ImageDetails) -> Value {
    let platform = |image: &PlatformDetails| {
        json!({
            "platform": image.platform,
            "id": image.id.to_string(),
            "digest": image.digest.map(|digest| digest.to_string()),
            "size": image.size,
            "manifest": image.manifest,
            "config": image.config,
        })
    };
    json!({
        "name": image.name,
        "digest": image.digest.map(|digest| digest.to_string()),
        "index": image.index,
        "platforms": image.platforms.iter().map(platform).collect::<Vec<_>>(),
    })
}

fn as_text(image: &ImageDetails) -> String {
    let mut lines = vec![("name", familiar(&image.name))];
    if let Some(digest) = image.digest {
        lines.push(("digest", digest.to_string()));
    }
    for platform in &image.platforms {
        lines.push(("platform", platform.platform.clone()));
        lines.push(("  id", platform.id.to_string()));
        if let Some(digest) = platform.digest.filter(|_| image.index.is_some()) {
            lines.push(("  digest", digest.to_string()));
        }
        if let Some(size) = platform.size {
            lines.push(("  size", human::size(size)));
        }
        let config = &platform.config;
        let layers = config["rootfs"]["diff_ids"].as_array().map_or(0, Vec::len);
        lines.push(("  layers", layers.to_string()));
        for (label, value) in [
            ("  created", &config["created"]),
            ("  entrypoint", &config["config"]["Entrypoint"]),
            ("  command", &config["config"]["Cmd"]),
            ("  directory", &config["config"]["WorkingDir"]),
            ("  user", &config["config"]["User"]),
        ] {
            match value {
                Value::Null => {}
                Value::String(value) if value.is_empty() => {}
                Value::String(value) => lines.push((label, value.clone())),
                other => lines.push((label, other.to_string())),
            }
        }
        for variable in config["config"]["Env"].as_array().into_iter().flatten().filter_map(Value::as_str) {
            lines.push(("  variable", variable.to_owned()));
        }
    }
    lines.iter().map(|(label, value)| format!("{label:14}{}\n", text::message(value))).collect()
}
