//! `cargo xtask bench big-layer`: how much memory kiln takes for a layer of 2 GiB, half of which does not compress, while it is made,
//! exported, pushed, pulled and unpacked. Whatever the layer's size, nothing of it may be in memory as a whole.

use std::ffi::OsString;
use std::path::Path;

use anyhow::{Result, bail};
use serde::Serialize;

use super::Arguments;
use super::content;
use super::report::{self, MEMORY_BUDGET};
use crate::kiln::Binary;
use crate::peers::{Registry, Sample, timed};
use crate::places::{self, Places};
use crate::process;

/// The name on the command line.
pub(super) const NAME: &str = "big-layer";

/// The layer: so many times the same 64 MiB.
const TIMES: usize = 32;

/// What was measured of one call of kiln.
#[derive(Debug, Serialize)]
struct Row {
    title: &'static str,
    #[serde(flatten)]
    sample: Sample,
}

impl Row {
    fn mebibytes(&self) -> f64 {
        self.sample.peak_kib as f64 / 1024.0
    }
}

/// Measures and prints the table.
pub(super) fn run(places: &Places, arguments: &Arguments) -> Result<()> {
    if let Some(name) = arguments.workloads.iter().find(|name| *name != NAME) {
        bail!("`{name}` cannot be measured together with `{NAME}`");
    }
    let folder = places.target.join("bench-big-layer");
    places::remove_store(&folder)?;
    let context = folder.join("context");
    places::make(&context)?;
    places::write(&context.join("Dockerfile"), "FROM scratch\nCOPY data /data\n")?;
    content::write_half_compressible(&context.join("data"), 64, TIMES)?;
    let kiln = Binary::release(places)?;
    let registry = Registry::with_storage(&folder, folder.join("registry"))?;
    let rows = measure(&kiln, &folder, &context, registry.address())?;
    if arguments.json {
        println!("{}", serde_json::to_string_pretty(&rows)?);
    } else {
        let version = process::stdout(kiln.plain_command().arg("--version"))?;
        print!("\nMeasured in this run, {}, a layer of 2 GiB:\n\n{}", version.trim(), table(&rows));
    }
    drop(registry);
    places::remove_store(&folder)?;
    match rows.iter().filter(|row| row.mebibytes() > MEMORY_BUDGET).count() {
        0 => Ok(()),
        count => bail!("{count} of {} rows take more than {MEMORY_BUDGET:.0} MiB", rows.len()),
    }
}

fn measure(kiln: &Binary, folder: &Path, context: &Path, registry: &str) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    let mut call = |title: &'static str, store: &str, arguments: &[OsString]| -> Result<()> {
        eprintln!("{NAME}: {title}");
        let mut command = kiln.command(&folder.join(store));
        let sample = timed::run(command.args(arguments), &folder.join("kiln.log"))?;
        rows.push(Row { title, sample });
        Ok(())
    };
    let archive = folder.join("image.oci.tar");
    let build = |output: String| -> Vec<OsString> {
        ["build".into(), "--progress=plain".into(), "-o".into(), output.into(), context.into()].to_vec()
    };
    let oci = |compression: &str| build(format!("type=oci,dest={},compression={compression}", archive.display()));
    call("build: COPY of 2 GiB", "store", &build("type=cacheonly".to_owned()))?;
    call("OCI tar, zstd", "store", &oci("zstd"))?;
    call("OCI tar, gzip", "store", &oci("gzip"))?;
    places::remove(&archive)?;
    call("push", "store", &build(format!("type=registry,name={registry}/big:1")))?;
    // An image that is there is another machine's.
    places::remove_store(&folder.join("store"))?;
    let pull = ["pull".into(), format!("{registry}/big:1").into()];
    call("pull and unpack", "other-store", &pull)?;
    Ok(rows)
}

fn table(rows: &[Row]) -> String {
    let mut lines = vec![["work", "time", "peak memory", "budget", ""].map(str::to_owned).to_vec()];
    for row in rows {
        let memory = row.mebibytes();
        lines.push(vec![
            row.title.to_owned(),
            report::duration(row.sample.seconds),
            format!("{memory:.0} MiB"),
            format!("≤ {MEMORY_BUDGET:.0} MiB"),
            if memory <= MEMORY_BUDGET { "kept" } else { "MISSED" }.to_owned(),
        ]);
    }
    report::layout(&lines)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_judges_memory() {
        let row = |title, peak_kib| Row { title, sample: Sample { seconds: 2.0, peak_kib, sent: None } };
        let text = table(&[row("push", 50 << 10), row("pull", 151 << 10)]);
        let cells = |title: &str| -> Vec<String> {
            let line = text.lines().find(|line| line.contains(title)).unwrap();
            line.split('|').map(|cell| cell.trim().to_owned()).collect()
        };
        assert_eq!(cells("push")[1..6], ["push", "2.00 s", "50 MiB", "≤ 150 MiB", "kept"]);
        assert_eq!(cells("pull")[5], "MISSED");
    }
}
