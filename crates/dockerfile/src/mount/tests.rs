//! Tables of mounts, their defaults and their faults.

use super::*;
use crate::ast::InstructionKind;

/// The mount of `RUN --mount=…`, its values taken as they are.
fn read(flag: &str) -> Result<Mount> {
    let source = format!("FROM a\nRUN --mount={flag} x");
    let (dockerfile, errors) = crate::parse(&source);
    assert_eq!(errors, [], "{flag}");
    let InstructionKind::Run(run) = &dockerfile.instructions[1].kind else { panic!("no RUN") };
    let fields = run.mounts[0].expand(|word| Ok::<_, Error>(word.text.clone()))?;
    parse(&fields, run.mounts[0].span).inspect_err(|error| {
        assert!(source.get(error.span.range()).is_some(), "{flag}");
    })
}

fn fault(flag: &str) -> String {
    let source = format!("FROM a\nRUN --mount={flag} x");
    let error = read(flag).unwrap_err();
    let hint = error.hint.map_or(String::new(), |hint| format!(" [{hint}]"));
    format!("{}: {}{hint}", &source[error.span.range()], error.message)
}

fn some(text: &str) -> Option<String> {
    Some(text.to_owned())
}

#[test]
fn binds() {
    let bind = |from: &str, source: &str, target: &str, readonly| {
        Mount::Bind(Bind {
            from: Some(from.to_owned()).filter(|text| !text.is_empty()),
            source: Some(source.to_owned()).filter(|text| !text.is_empty()),
            target: target.to_owned(),
            readonly,
        })
    };
    for (flag, expected) in [
        ("target=/a", bind("", "", "/a", true)),
        ("type=bind,dst=/a,source=b,from=c", bind("c", "b", "/a", true)),
        ("TYPE=Bind,destination=a,src=b,rw", bind("", "b", "a", false)),
        ("target=/a,ro,rw", bind("", "", "/a", false)),
        ("target=/a,rw,ro", bind("", "", "/a", true)),
        ("target=/a,readonly=false", bind("", "", "/a", false)),
        ("target=/a,readwrite=0", bind("", "", "/a", true)),
        ("target=/a,target=/b", bind("", "", "/b", true)),
        ("type=bind", bind("", "", ".", true)),
        ("from=c,source=d,rw", bind("c", "d", ".", false)),
        ("target=", bind("", "", ".", true)),
    ] {
        assert_eq!(read(flag).unwrap(), expected, "{flag}");
    }
}

#[test]
fn caches() {
    let plain = Cache {
        id: None,
        from: None,
        source: None,
        target: "/a".to_owned(),
        readonly: false,
        sharing: Sharing::Shared,
        mode: None,
        uid: None,
        gid: None,
    };
    assert_eq!(read("type=cache,target=/a").unwrap(), Mount::Cache(plain.clone()));
    let full = Cache {
        id: some("b"),
        from: some("c"),
        source: some("d"),
        readonly: true,
        sharing: Sharing::Locked,
        mode: Some(0o755),
        uid: Some(1000),
        gid: Some(0),
        ..plain.clone()
    };
    let flag = "id=b,type=cache,from=c,source=d,target=/a,ro,sharing=LOCKED,mode=0755,uid=1000,gid=0";
    assert_eq!(read(flag).unwrap(), Mount::Cache(full));
    let here = Cache { id: some("b"), target: ".".to_owned(), ..plain };
    assert_eq!(read("type=cache,id=b").unwrap(), Mount::Cache(here));
}

#[test]
fn the_other_types() {
    assert_eq!(
        read("type=tmpfs,target=/a,size=64m").unwrap(),
        Mount::Tmpfs(Tmpfs { target: "/a".to_owned(), size: Some(64 << 20), readonly: false })
    );
    let secret =
        Secret { id: "b".to_owned(), target: None, env: None, required: false, mode: None, uid: None, gid: None };
    assert_eq!(read("type=secret,id=b").unwrap(), Mount::Secret(secret.clone()));
    assert_eq!(read("type=secret,src=b").unwrap(), Mount::Secret(secret.clone()));
    assert_eq!(
        read("type=secret,target=/run/b").unwrap(),
        Mount::Secret(Secret { target: some("/run/b"), ..secret.clone() })
    );
    assert_eq!(
        read("type=secret,id=b,env=TOKEN,required,mode=0440,uid=5").unwrap(),
        Mount::Secret(Secret { env: some("TOKEN"), required: true, mode: Some(0o440), uid: Some(5), ..secret })
    );
    assert_eq!(
        read("type=ssh").unwrap(),
        Mount::Ssh(Ssh { id: None, target: None, required: false, mode: None, uid: None, gid: None })
    );
    assert_eq!(
        read("type=ssh,id=k,required=true,target=/s").unwrap(),
        Mount::Ssh(Ssh { id: some("k"), target: some("/s"), required: true, mode: None, uid: None, gid: None })
    );
}

#[test]
fn faults() {
    for (flag, expected) in [
        ("type=cahce,target=/a", "cahce: there is no mount type `cahce` [did you mean `cache`?]"),
        (
            "type=volume,target=/a",
            "volume: there is no mount type `volume` [types are bind, cache, tmpfs, secret, ssh]",
        ),
        ("traget=/a", "traget: there is no mount option `traget` [did you mean `target`?]"),
        ("target=/a,bogus=1", "bogus: there is no mount option `bogus`"),
        ("target=/a,", ": a mount option is empty [options are separated by one comma, without blanks]"),
        ("target", "target: mount option `target` needs a value [write target=VALUE]"),
        ("bogus", "bogus: there is no mount option `bogus`"),
        ("target=/a,ro=maybe", "maybe: `ro` is `true` or `false`, not `maybe`"),
        (
            "target=/a,mode=0755",
            "mode: a bind mount has no option `mode` [`mode` is for type=cache and type=secret and type=ssh]",
        ),
        (
            "type=tmpfs,target=/a,uid=1",
            "uid: a tmpfs mount has no option `uid` [`uid` is for type=cache and type=secret and type=ssh]",
        ),
        ("target=/a,sharing=locked", "sharing: a bind mount has no option `sharing` [`sharing` is for type=cache]"),
        (
            "type=cache,target=/a,sharing=none",
            "none: `sharing` cannot be `none` [it is one of `shared`, `private`, `locked`]",
        ),
        ("type=cache,target=/a,mode=9", "9: `mode` cannot be `9`: expected octal digits, such as 0755"),
        ("type=cache,target=/a,uid=root", "root: `uid` cannot be `root`: expected a number"),
        ("type=cache,target=/a,gid=-1", "-1: `gid` cannot be `-1`: expected a number"),
        ("type=cache,target=/a,size=1m", "size: a cache mount has no option `size`"),
        ("type=cache,target=/a,env=A", "env: a cache mount has no option `env` [`env` is for type=secret]"),
        ("type=secret,id=a,env=", ": `env` needs the name of a variable [write env=NAME]"),
        ("type=cache,target=/a,required", "required: a cache mount has no option `required`"),
        (
            "required,type=secret,id=a",
            "required: a bind mount has no option `required` [`type=secret` must stand before it]",
        ),
        ("type=tmpfs,target=/a,size=big", "big: `big` is not a size such as `64m` or `1GiB`"),
        (
            "type=secret",
            "--mount=type=secret: a secret mount needs an `id` [add id=NAME, and give it: --secret id=NAME,src=FILE]",
        ),
        ("type=secret,id=a,src=b", "--mount=type=secret,id=a,src=b: a secret mount has `id` or `source`, not both"),
        ("type=ssh,env=x", "env: an ssh mount has no option `env` [`env` is for type=secret]"),
        ("type=ssh,mode=x", "x: `mode` cannot be `x`: expected octal digits, such as 0755"),
        ("type=ssh,required=x", "x: `required` is `true` or `false`, not `x`"),
        (
            "type=tmpfs,target=/a,source=/b",
            "source: a tmpfs mount has no option `source` [`source` is for type=bind and type=cache and type=secret]",
        ),
        ("type=secret,id=a,required=x", "x: `required` is `true` or `false`, not `x`"),
        ("type=secret,id=a,mode=x", "x: `mode` cannot be `x`: expected octal digits, such as 0755"),
        ("type=secret,id=a,uid=-1", "-1: `uid` cannot be `-1`: expected a number"),
        ("type=tmpfs,target=/a,size=-1", "-1: `-1` is not a size such as `64m` or `1GiB`"),
        ("type=", ": there is no mount type `` [types are bind, cache, tmpfs, secret, ssh]"),
        ("type", "type: mount option `type` needs a value [write type=VALUE]"),
        (
            "type=secret,id=a,from=b",
            "from: a secret mount has no option `from` [`from` is for type=bind and type=cache]",
        ),
    ] {
        assert_eq!(fault(flag), expected, "{flag}");
    }
}

#[test]
fn options_of_each_type_are_known() {
    for (kind, options) in OPTIONS {
        for option in *options {
            let value = match *option {
                "ro" | "readonly" | "rw" | "readwrite" | "required" => "true",
                "uid" | "gid" | "mode" | "size" => "1",
                "sharing" => "shared",
                _ => "/x",
            };
            let flag = match *option {
                "target" | "dst" | "destination" | "source" | "src" | "id" => format!("type={kind},{option}={value}"),
                _ if *kind == "secret" => format!("type={kind},id=a,{option}={value}"),
                _ => format!("type={kind},target=/t,{option}={value}"),
            };
            let result = read(&flag);
            assert!(result.is_ok(), "{flag}: {result:?}");
        }
    }
}
