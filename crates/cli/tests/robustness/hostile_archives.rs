//! Archives and layers that try to get out of the directory that they are unpacked to.

use crate::isolation::{Outside, SECRET};
use crate::leftovers;
use crate::support::{Kiln, layout_with};

/// One entry of a tar archive, with nothing checked (POSIX.1-2017, pax, ustar Header Block).
fn entry(name: &str, kind: u8, link: &str, data: &[u8]) -> Vec<u8> {
    let mut header = [0_u8; 512];
    let mut put = |at: usize, bytes: &[u8]| header[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, name.as_bytes());
    put(100, b"0004755");
    put(108, b"0000000");
    put(116, b"0000000");
    put(124, format!("{:011o}", data.len()).as_bytes());
    put(136, b"00000000000");
    put(156, &[kind]);
    put(157, link.as_bytes());
    put(257, b"ustar\x0000");
    put(329, b"0000000");
    put(337, b"0000000");
    put(148, b"        ");
    let sum: u32 = header.iter().map(|&byte| u32::from(byte)).sum();
    header[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
    let mut bytes = header.to_vec();
    bytes.extend_from_slice(data);
    bytes.resize(bytes.len().next_multiple_of(512), 0);
    bytes
}

/// Archives by what they try.
fn archives(outside: &str) -> Vec<(&'static str, Vec<u8>)> {
    let up = format!("{}{}", "../".repeat(8), &outside[1..]);
    let secret = format!("{outside}/secret");
    let file = |name: &str| entry(name, b'0', "", b"escaped\n");
    let link = |target: &str| entry("l", b'2', target, b"");
    let tries = [
        ("a name with dots", vec![file(&format!("{up}/dots"))]),
        ("an absolute name", vec![file(&format!("{outside}/absolute"))]),
        ("a name through a link", vec![link(outside), file("l/through")]),
        ("a name through a relative link", vec![link(&up), file("l/relative")]),
        ("a file over a link", vec![link(&secret), file("l")]),
        ("a directory over a link", vec![link(outside), entry("l/", b'5', "", b""), file("l/over")]),
        ("a hard link to the host", vec![entry("hard", b'1', &secret, b""), file("hard")]),
        ("a hard link upwards", vec![entry("hard", b'1', &format!("{up}/secret"), b"")]),
        ("a hard link to a link", vec![link(&secret), entry("hard", b'1', "l", b""), file("hard")]),
        ("a deletion outside", vec![entry(&format!("{up}/.wh.secret"), b'0', "", b"")]),
        ("a deletion through a link", vec![link(outside), entry("l/.wh.secret", b'0', "", b"")]),
        ("an opaque mark through a link", vec![link(outside), entry("l/.wh..wh..opq", b'0', "", b"")]),
        ("a deletion of dots", vec![entry(".wh...", b'0', "", b"")]),
        ("a deletion of nothing", vec![entry(".wh.", b'0', "", b"")]),
        ("a whiteout device", vec![entry("dev0", b'3', "", b"")]),
        ("a name of only dots", vec![file("..")]),
        ("a directory of only dots", vec![entry("../", b'5', "", b"")]),
    ];
    let finished = tries.into_iter().map(|(what, entries)| {
        let mut tar = entries.concat();
        tar.extend_from_slice(&[0; 1024]);
        (what, tar)
    });
    finished.collect()
}

#[test]
fn added_archives_stay_where_they_are_unpacked() {
    let Some(kiln) = Kiln::for_builds() else { return };
    let outside = Outside::new(&kiln);
    for (what, tar) in archives(outside.as_str()) {
        kiln.write("evil.tar", &tar);
        kiln.write(
            "Dockerfile",
            "FROM base\nADD evil.tar /unpacked/\nRUN cat /unpacked/hard /unpacked/l 2>/dev/null; true\n",
        );
        let ran = kiln.build::<&str>([]);
        println!("{what}: {:?}", ran.status);
        assert!(matches!(ran.status, Some(0 | 1)), "{what}: {ran}");
        ran.stderr_lacks(SECRET.trim()).stderr_lacks("panicked");
        outside.is_untouched();
        leftovers::no_temporary_files(&kiln);
    }
}

#[test]
fn layers_stay_where_they_are_unpacked() {
    let Some(kiln) = Kiln::for_builds() else { return };
    let outside = Outside::new(&kiln);
    for (number, (what, tar)) in archives(outside.as_str()).into_iter().enumerate() {
        let layout = layout_with(&kiln, &format!("evil{number}"), &tar);
        kiln.write("Dockerfile", "FROM evil\nRUN cat /hard /l 2>/dev/null; true\n");
        let ran = kiln.build(["--build-context", &format!("evil=oci-layout://{}", layout.display())]);
        println!("{what}: {:?}", ran.status);
        assert!(matches!(ran.status, Some(0 | 1 | 3)), "{what}: {ran}");
        ran.stderr_lacks(SECRET.trim()).stderr_lacks("panicked");
        outside.is_untouched();
        leftovers::none(&kiln);
        leftovers::no_temporary_files(&kiln);
    }
}
