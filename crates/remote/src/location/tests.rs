//! Locations as they are typed.

use super::*;

fn fields(text: &str) -> Vec<String> {
    text.split(',').map(str::to_owned).collect()
}

fn nothing(_: &str) -> Option<String> {
    None
}

fn import(text: &str) -> Result<CacheLocation, LocationError> {
    CacheImport::parse(&fields(text), &nothing).map(|mut all| all.remove(0).location)
}

fn export(text: &str) -> Result<CacheExport, LocationError> {
    CacheExport::parse(&fields(text), &nothing).map(|mut all| all.remove(0))
}

fn registry(text: &str, insecure: bool) -> CacheLocation {
    CacheLocation::Registry { reference: Reference::parse(text).unwrap(), insecure }
}

#[test]
fn references_alone_are_registries() {
    let both = CacheImport::parse(&fields("host/app:branch,app"), &nothing).unwrap();
    let locations: Vec<_> = both.into_iter().map(|import| import.location).collect();
    assert_eq!(locations, [registry("host/app:branch", false), registry("app", false)]);
    assert_eq!(export("host/app:cache").unwrap().location, registry("host/app:cache", false));
}

#[test]
fn each_type_has_its_attributes() {
    let digest = Digest::of_bytes(b"");
    let local = |tag: &str, digest| CacheLocation::Local { directory: "a/b".into(), tag: tag.to_owned(), digest };
    assert_eq!(import("type=local,src=a/b").unwrap(), local("latest", None));
    assert_eq!(import(&format!("type=local,src=a/b,tag=x,digest={digest}")).unwrap(), local("x", Some(digest)));
    assert_eq!(import("type=registry,ref=a,registry.insecure=true").unwrap(), registry("a", true));
    assert_eq!(import(&format!("type=registry,ref=a@{digest}")).unwrap(), registry(&format!("a@{digest}"), false));
    let all = export(
        "type=local,dest=a/b,tag=t,mode=max,mounts=id=a,mounts=id=b,compression=zstd,compression-level=5,\
         force-compression=true,image-manifest=true,oci-mediatypes=true,ignore-error=true",
    );
    let options = ExportOptions {
        mode: Mode::Max,
        mounts: Mounts::Ids(vec!["a".to_owned(), "b".to_owned()]),
        compression: Some(BlobCompression { format: kiln_layer::BlobFormat::Zstd, level: Some(5) }),
        force_compression: true,
        ignore_error: true,
    };
    assert_eq!(all.unwrap(), CacheExport { location: local("t", None), options });
    let plain = export("type=inline").unwrap();
    assert_eq!(plain, CacheExport { location: CacheLocation::Inline, options: ExportOptions::default() });
}

#[test]
fn what_a_bucket_leaves_open_the_environment_says() {
    let env = |name: &str| {
        let value = match name {
            "AWS_REGION" => "eu-west-1",
            "AWS_BUCKET" => "everything",
            "AWS_ACCESS_KEY_ID" => "key",
            "AWS_SECRET_ACCESS_KEY" => "hidden",
            _ => return None,
        };
        Some(value.to_owned())
    };
    let read = |text: &str| match CacheImport::parse(&fields(text), &env).unwrap().remove(0).location {
        CacheLocation::S3(location) => *location,
        other => panic!("{other:?}"),
    };
    let least = read("type=s3");
    assert_eq!((least.bucket.as_str(), least.region.as_str()), ("everything", "eu-west-1"));
    assert_eq!((least.names.as_slice(), least.prefix.as_str()), (&["kiln".to_owned()][..], ""));
    assert_eq!((least.blobs_prefix.as_str(), least.manifests_prefix.as_str()), ("blobs/", "manifests/"));
    assert_eq!(least.credentials.as_ref().unwrap().secret_access_key, "hidden");
    assert!(!format!("{least:?}").contains("hidden"), "{least:?}");
    let most = read(
        "type=s3,bucket=b,region=r,endpoint_url=http://h:1,prefix=p/,blobs_prefix=x/,manifests_prefix=y/,name=one;two,\
         use_path_style=true,access_key_id=i,secret_access_key=s,session_token=t,upload_parallelism=8",
    );
    let credentials = S3Credentials {
        access_key_id: "i".to_owned(),
        secret_access_key: "s".to_owned(),
        session_token: Some("t".to_owned()),
    };
    let expected = S3Location {
        bucket: "b".to_owned(),
        region: "r".to_owned(),
        endpoint_url: Some("http://h:1".to_owned()),
        prefix: "p/".to_owned(),
        blobs_prefix: "x/".to_owned(),
        manifests_prefix: "y/".to_owned(),
        names: vec!["one".to_owned(), "two".to_owned()],
        use_path_style: true,
        credentials: Some(credentials),
        upload_parallelism: 8,
    };
    assert_eq!(most, expected);
}

#[test]
fn misuse_is_told() {
    let table = [
        ("", "the cache is empty"),
        ("type=registry", "`type=registry` needs `ref`"),
        ("type=registry,ref=A B", "bad reference `A B`"),
        ("type=registry,ref=a,mode=all", "bad value `all` of `mode`\nhint: expected `min` or `max`"),
        ("type=registry,ref=a,src=b", "unknown attribute `src` of `type=registry`\nhint: it has `ref`"),
        ("type=registry,ref=a,ref=b", "`ref` is given twice"),
        ("type=registry,a", "`a` is not `key=value`"),
        ("ref=a", "no `type` is given"),
        ("type=ftp", "unknown type `ftp`"),
        ("type=gha", "`type=gha` is not supported"),
        ("type=azblob,name=x", "`type=azblob` is not supported"),
        ("type=local,src=x", "`type=local` needs `dest`"),
        ("type=local,dest=x,mounts=some", "bad value `some` of `mounts`"),
        ("type=local,dest=x,mounts=all,mounts=id=a", "`mounts` is given twice"),
        ("type=local,dest=x,compression=estargz", "`compression=estargz` is not supported"),
        ("type=local,dest=x,compression=xz", "bad value `xz` of `compression`"),
        ("type=local,dest=x,compression-level=10", "bad value `10` of `compression-level`"),
        ("type=local,dest=x,oci-mediatypes=false", "`oci-mediatypes=false` is not supported"),
        ("type=local,dest=x,ignore-error=maybe", "bad value `maybe` of `ignore-error`"),
        ("type=s3,bucket=b", "`type=s3` needs `region`, or `AWS_REGION` in the environment"),
        ("type=s3,region=b", "`type=s3` needs `bucket`, or `AWS_BUCKET` in the environment"),
        ("type=s3,bucket=b,region=r,access_key_id=k", "`type=s3` needs `secret_access_key`"),
        ("type=s3,bucket=b,region=r,endpoint_url=https://a:b@c", "bad value `…` of `endpoint_url`"),
        ("type=s3,bucket=b,region=r,endpoint_url=host:1", "bad value `…` of `endpoint_url`"),
        ("type=s3,bucket=b,region=r,upload_parallelism=0", "bad value `0` of `upload_parallelism`"),
    ];
    for (text, expected) in table {
        let error = export(text).unwrap_err().to_string();
        assert!(error.starts_with(expected), "{text}: {error}");
    }
    let error = import("type=inline").unwrap_err();
    assert!(error.is_unsupported() && error.to_string().contains("type=registry,ref=IMAGE"), "{error}");
    let digest = Digest::of_bytes(b"");
    assert!(matches!(export(&format!("a@{digest}")), Err(LocationError::Digest(_))));
}
