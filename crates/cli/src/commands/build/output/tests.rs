//! What `--output` and `--annotation` take, and what they say of mistakes.

use super::*;
use kiln_engine::{AnnotationPlace, LayerCompression};

fn oci(dest: Destination) -> Output {
    Output::Oci { dest, image: ImageOptions::default() }
}

fn pushed(push: Push) -> ImageOutput {
    ImageOutput { push: Some(push), ..ImageOutput::default() }
}

#[test]
fn outputs() {
    let gzip = Some(LayerCompression::Gzip);
    let file = |path: &str| Destination::File(path.into());
    for (text, output) in [
        ("out", Output::Local { dest: "out".into(), platform_split: None }),
        ("./a=b", Output::Local { dest: "./a=b".into(), platform_split: None }),
        ("-", Output::Tar { dest: Destination::Stdout, platform_split: None }),
        ("type=image", Output::Image(ImageOutput::default())),
        ("type=image,push=false,unpack=true,store=true", Output::Image(ImageOutput::default())),
        ("type=image,push=true", Output::Image(pushed(Push::Names))),
        ("type=registry", Output::Image(pushed(Push::Names))),
        ("type=registry,registry.insecure=true", Output::Image(ImageOutput { insecure: true, ..pushed(Push::Names) })),
        ("type=registry,store=false", Output::Image(ImageOutput { store: false, ..pushed(Push::Names) })),
        (
            "type=image,push-by-digest=true,name-canonical=true,push=true,name=h:1/x",
            Output::Image(ImageOutput {
                image: ImageOptions { names: vec!["h:1/x".into()], ..ImageOptions::default() },
                ..pushed(Push::Digest)
            }),
        ),
        ("type=local,dest=out", Output::Local { dest: "out".into(), platform_split: None }),
        ("dest=out,type=local", Output::Local { dest: "out".into(), platform_split: None }),
        ("type=tar", Output::Tar { dest: Destination::Stdout, platform_split: None }),
        ("type=local,dest=out,platform-split=false", Output::Local { dest: "out".into(), platform_split: Some(false) }),
        ("type=cacheonly", Output::CacheOnly),
        ("type=tar,dest=x.tar", Output::Tar { dest: file("x.tar"), platform_split: None }),
        ("type=oci", oci(Destination::Stdout)),
        ("type=oci,dest=-", oci(Destination::Stdout)),
        (
            "type=oci,dest=x.tar,compression=zstd,compression-level=19,force-compression=true,\"name=a,b:2\"",
            Output::Oci {
                dest: file("x.tar"),
                image: ImageOptions {
                    names: vec!["a".into(), "b:2".into()],
                    compression: Some(LayerCompression::Zstd),
                    compression_level: Some(19),
                    force_compression: true,
                    ..ImageOptions::default()
                },
            },
        ),
        ("type=oci,dest=dir,tar=false", oci(Destination::Directory("dir".into()))),
        ("type=oci,\"dest=a,b.tar\",TAR=true", oci(file("a,b.tar"))),
        ("type=oci,\"dest=a\"\"b.tar\"", oci(file("a\"b.tar"))),
        (
            "type=docker,dest=x.tar,compression=gzip,oci-mediatypes=false",
            Output::Docker {
                dest: file("x.tar"),
                image: ImageOptions { compression: gzip, docker_media_types: true, ..ImageOptions::default() },
            },
        ),
    ] {
        assert_eq!(parse(text).unwrap(), Requested::Whole(output), "{text}");
    }
    assert_eq!(parse("type=docker").unwrap(), Requested::Load(ImageOptions::default()));
}

#[test]
fn annotations() {
    let amd64 = || Some("linux/amd64".parse().unwrap());
    let note =
        |place, platform, key: &str, value: &str| Annotation { place, platform, key: key.into(), value: value.into() };
    for (attribute, option, expected) in [
        ("annotation.a.b=c=d", "a.b=c=d", note(AnnotationPlace::Manifest, None, "a.b", "c=d")),
        ("annotation-index.A=", "index:A=", note(AnnotationPlace::Index, None, "A", "")),
        (
            "annotation-manifest-descriptor[linux/amd64].a=b",
            "manifest-descriptor[linux/amd64]:a=b",
            note(AnnotationPlace::ManifestDescriptor, amd64(), "a", "b"),
        ),
        (
            "annotation[linux/amd64].a=b",
            "manifest[linux/amd64]:a=b",
            note(AnnotationPlace::Manifest, amd64(), "a", "b"),
        ),
        (
            "annotation-index-descriptor.a=b",
            "index-descriptor:a=b",
            note(AnnotationPlace::IndexDescriptor, None, "a", "b"),
        ),
    ] {
        let Requested::Whole(output) = parse(&format!("type=oci,{attribute}")).unwrap() else { panic!("{attribute}") };
        assert_eq!(output.image().unwrap().annotations, std::slice::from_ref(&expected), "{attribute}");
        assert_eq!(annotation::parse(option).unwrap(), [expected], "{option}");
    }
    let both = annotation::parse("index,manifest[linux/amd64]:a=b").unwrap();
    assert_eq!(
        both.iter().map(|note| note.place).collect::<Vec<_>>(),
        [AnnotationPlace::Index, AnnotationPlace::Manifest]
    );
    for (text, message) in [
        ("a", "`a` is not `KEY=VALUE`"),
        ("=b", "`=b` is not `KEY=VALUE`"),
        ("index:=b", "`index:=b` is not `KEY=VALUE`"),
        ("layer:a=b", "unknown place `layer`"),
        ("index[linux/amd64]:a=b", "`index` has no platform"),
        ("manifest[linux/amd64:a=b", "`manifest[linux/amd64` does not close its bracket"),
    ] {
        assert_eq!(annotation::parse(text).unwrap_err().message, message, "{text}");
    }
}

#[test]
fn options_that_are_short_for_outputs() {
    let daemon = || Ok(DaemonAddress::Unix("/d.sock".into()));
    let list = |texts: &[&str], push, load, annotations: &str| {
        let requested = texts.iter().map(|text| parse(text).unwrap()).collect();
        let annotations = if annotations.is_empty() { Vec::new() } else { annotation::parse(annotations).unwrap() };
        all(requested, push, load, annotations, daemon)
    };
    let image = || ImageOptions::default();
    let load = || Output::Load { daemon: daemon().unwrap(), image: image() };
    assert_eq!(list(&[], false, false, "").unwrap(), []);
    assert_eq!(list(&[], true, false, "").unwrap(), [Output::Image(pushed(Push::Names))]);
    assert_eq!(list(&[], true, true, "").unwrap(), [load(), Output::Image(pushed(Push::Names))]);
    assert_eq!(list(&["type=docker"], false, true, "").unwrap(), [load()]);
    assert_eq!(list(&["type=image"], true, false, "").unwrap(), [Output::Image(pushed(Push::Names))]);
    assert_eq!(list(&["out"], true, false, "").unwrap()[1], Output::Image(pushed(Push::Names)));
    let annotated = list(&[], false, false, "a=b").unwrap();
    assert_eq!(annotated[0].image().unwrap().annotations.len(), 1);
    assert!(list(&["out"], false, false, "a=b").unwrap_err().message.contains("without an image"));
    assert!(list(&["type=oci,oci-mediatypes=false"], false, false, "a=b").unwrap_err().message.contains("no place"));
}

#[test]
fn mistakes_in_outputs() {
    for (text, message, unsupported) in [
        ("", "the output is empty", false),
        ("type=oci,dest", "`dest` in `type=oci,dest` is not `key=value`", false),
        ("dest=x,tar=true", "no `type` in `dest=x,tar=true`", false),
        ("type=", "unknown type ``", false),
        ("type=zip", "unknown type `zip`", false),
        ("type=local", "`type=local` needs `dest`", false),
        ("type=local,dest=", "`type=local` needs `dest`", false),
        ("type=local,dest=-", "a directory cannot go to standard output", false),
        ("type=local,dest=x,tar=false", "`tar` says nothing about `type=local`", false),
        ("type=local,dest=x,compression=zstd", "`compression` says nothing about `type=local`", false),
        ("type=image,dest=x", "`dest` says nothing about `type=image`", false),
        ("type=image,store=false", "`store=false` without `push=true` leaves nothing of the image", false),
        ("type=image,push-by-digest=true", "`push-by-digest=true` says how to push", false),
        ("type=image,name-canonical=true", "`name-canonical` is not supported without `push-by-digest=true`", true),
        ("type=registry,registry.insecure=perhaps", "`perhaps` is neither `true` nor `false`", false),
        ("type=local,dest=x,registry.insecure=true", "`registry.insecure` says nothing about `type=local`", false),
        ("type=oci,compression-level=ten", "`ten` is not a compression level", false),
        ("type=oci,compression-level=10", "there is no compression level 10", false),
        ("type=oci,compression=zstd,compression-level=23", "there is no compression level 23", false),
        (
            "type=oci,compression=uncompressed,compression-level=1",
            "`compression=uncompressed` has no `compression-level`",
            false,
        ),
        (
            "type=oci,oci-mediatypes=false,annotation.a=b",
            "`oci-mediatypes=false` leaves no place for annotations",
            false,
        ),
        (
            "type=image,annotation-index-descriptor.a=b",
            "`annotation-index-descriptor.a` says nothing about `type=image`",
            false,
        ),
        ("type=oci,annotation-layer.a=b", "unknown place `layer`", false),
        ("type=oci,annotation.=b", "`annotation.` names no annotation", false),
        ("type=oci,tar=false", "`tar=false` needs `dest`", false),
        ("type=oci,tar=maybe", "`maybe` is neither `true` nor `false`", false),
        ("type=oci,compression=xz", "unknown compression `xz`", false),
        (
            "type=oci,oci-mediatypes=false,compression=estargz",
            "`oci-mediatypes=false` leaves no place for what `compression=estargz` annotates",
            false,
        ),
        ("type=oci,compression=estargz,compression-level=10", "there is no compression level 10", false),
        ("type=oci,name=X", "bad reference `X`: the repository's name must be lower case", false),
        ("type=oci,colour=red", "unknown attribute `colour`", false),
        ("type=oci,\"dest=a", "a quote is not closed in `type=oci,\"dest=a`", false),
        ("type=oci,de\"st=a", "a quote in the middle of a field in `type=oci,de\"st=a`", false),
        ("type=oci,\"dest=a\"b", "text after a closing quote in `type=oci,\"dest=a\"b`", false),
    ] {
        let error = parse(text).unwrap_err();
        assert_eq!((error.message.as_str(), error.unsupported), (message, unsupported), "{text}");
    }
}
