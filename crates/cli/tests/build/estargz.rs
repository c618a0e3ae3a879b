//! `compression=estargz`, judged by programs that know gzip, tar and JSON, and nothing of it.

use crate::support::{Image, Kiln, Ran, has_program};
use serde_json::Value;
use std::fs;
use std::path::Path;
use std::process::Command;

const CONTENTS: &str = "containerd.io/snapshot/stargz/toc.digest";

/// Prints the digest of the table of contents of the blob `$1`, its diff id, and the names of its files with bytes, once each of these was
/// fetched by what the table says and found to be right. `$2` is an empty directory.
const JUDGE: &str = r#"
set -eu
blob=$1 dir=$2
digest() { echo "sha256:$(sha256sum | cut -d' ' -f1)"; }
gzip -dc "$blob" > "$dir/tar"
tar -xOf "$dir/tar" stargz.index.json > "$dir/toc"
digest < "$dir/toc"
digest < "$dir/tar"
offset=$((0x$(tail -c 35 "$blob" | head -c 16)))
tail -c +$((offset + 1)) "$blob" | gzip -dc | tar -tf - > "$dir/last"
test "$(cat "$dir/last")" = stargz.index.json
jq -er '. as $toc | .entries | to_entries[] | select(.value.offset) | .value as $e
    | ($toc.entries | map(select(.name == $e.name and .type == "reg"))[0].size) as $size
    | [$e.offset, $e.chunkSize // ($size - ($e.chunkOffset // 0)), $e.chunkDigest, $e.type, $e.name] | @tsv' "$dir/toc" > "$dir/chunks"
while read -r offset size chunk type name; do
    test "$(tail -c +$((offset + 1)) "$blob" | gzip -dc 2> /dev/null | head -c "$size" | digest)" = "$chunk"
    test "$type" = chunk || echo "$name"
done < "$dir/chunks"
jq -er '.entries[] | select(.digest) | [.digest, .name] | @tsv' "$dir/toc" > "$dir/files"
while read -r whole name; do
    test "$(tar -xOf "$dir/tar" "$name" | digest)" = "$whole"
done < "$dir/files"
"#;

fn project() -> Option<Kiln> {
    let kiln = Kiln::for_builds()?;
    let large: Vec<u8> = (0..400_000_u32).flat_map(u32::to_le_bytes).collect();
    kiln.write("a", "a content").write("large", large).write(
        "Dockerfile",
        "FROM base\nCOPY a large /files/\nRUN echo x > /x && ln -s x /y && rm /etc/group\nCMD [\"cat\", \"/x\"]\n",
    );
    Some(kiln)
}

/// Builds into a layout of this name.
#[track_caller]
fn layout(kiln: &Kiln, name: &str, attributes: &str) -> (Image, Ran) {
    let layout = kiln.path(name);
    let ran =
        kiln.build(["-o", &format!("type=oci,tar=false,dest={},compression=estargz{attributes}", layout.display())]);
    ran.succeeds();
    (Image::of_layout(&layout), ran)
}

/// Judges a layer, and gives the names of its files.
#[track_caller]
fn judge(kiln: &Kiln, layout: &str, layer: &Value, diff_id: &Value) -> Vec<String> {
    let blob = kiln.path(layout).join("blobs").join(layer["digest"].as_str().unwrap().replace(':', "/"));
    let directory = kiln.path("judged");
    fs::create_dir(&directory).unwrap();
    let ran = Ran::of(Command::new("sh").args(["-c", JUDGE, "judge"]).arg(blob).arg(&directory));
    fs::remove_dir_all(&directory).unwrap();
    ran.succeeds();
    let lines: Vec<_> = ran.stdout().lines().map(str::to_owned).collect();
    assert_eq!(layer["annotations"][CONTENTS], lines[0]);
    assert_eq!(*diff_id, lines[1]);
    lines[2..].to_vec()
}

fn verify(layout: &Path, to: &Path) {
    let (from, to) = (format!("oci:{}", layout.display()), format!("dir:{}", to.display()));
    Ran::of(Command::new("skopeo").args(["--insecure-policy", "copy", &from, &to])).succeeds();
}

#[test]
fn single_files_are_fetched_by_the_table_of_contents() {
    let Some(kiln) = project() else { return };
    if !["jq", "skopeo"].into_iter().all(has_program) {
        return;
    }
    let (image, _) = layout(&kiln, "own", "");
    let layers = image.manifest["layers"].as_array().unwrap();
    let diff_ids = image.config["rootfs"]["diff_ids"].as_array().unwrap();
    let [base @ .., copied, run] = &layers[..] else { panic!("{layers:?}") };
    let [.., copied_id, run_id] = &diff_ids[..] else { panic!("{diff_ids:?}") };
    assert!(base.iter().all(|layer| layer["annotations"].is_null()), "{base:#?}");
    assert_eq!(copied["mediaType"], "application/vnd.oci.image.layer.v1.tar+gzip");
    assert_eq!(judge(&kiln, "own", copied, copied_id), [".no.prefetch.landmark", "files/a", "files/large"]);
    assert_eq!(judge(&kiln, "own", run, run_id), [".no.prefetch.landmark", "x"]);
    verify(&kiln.path("own"), &kiln.path("own-copy"));

    // What was converted once is there, with its annotation.
    let (again, ran) = layout(&kiln, "again", "");
    assert_eq!(again.manifest, image.manifest);
    ran.stderr_lacks(" layer ");

    // The base's layers stay as they were unless they are to be like the others.
    let (forced, _) = layout(&kiln, "forced", ",force-compression=true,compression-level=9");
    let layers = forced.manifest["layers"].as_array().unwrap();
    for (layer, diff_id) in layers.iter().zip(forced.config["rootfs"]["diff_ids"].as_array().unwrap()) {
        assert_eq!(judge(&kiln, "forced", layer, diff_id)[0], ".no.prefetch.landmark");
    }
    assert!(layers.iter().all(|layer| layer["digest"] != copied["digest"]), "another level gives other bytes");
    verify(&kiln.path("forced"), &kiln.path("forced-copy"));
    assert_eq!(
        layout(&kiln, "forced-again", ",force-compression=true,compression-level=9").0.manifest,
        forced.manifest
    );
}

#[test]
fn an_image_of_the_store_is_used_as_any_other() {
    let Some(kiln) = project() else { return };
    kiln.build(["-t", "lazy", "-o", "type=image,compression=estargz,force-compression=true"]).succeeds();
    kiln.run(["run", "lazy"]).succeeds().stdout_is("x\n");
    kiln.write("Dockerfile", "FROM lazy\nRUN cat /x /files/a > /both\n");
    let image = kiln.image(["-t", "next"]);
    let layers = image.manifest["layers"].as_array().unwrap();
    assert_eq!(layers.len(), image.config["rootfs"]["diff_ids"].as_array().unwrap().len());
    kiln.build(["-t", "next"]).succeeds();
    kiln.run(["run", "next", "cat", "/both"]).succeeds().stdout_is("x\na content");
}
