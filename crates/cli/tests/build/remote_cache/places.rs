//! Caches in a registry and in S3.

use super::{MOUNTED, Machines};
use crate::docker_registry::{DockerRegistry, Setup};
use crate::moto::{BUCKET, Moto};

#[test]
fn through_a_registry() {
    let Some(machines) = Machines::new(MOUNTED) else { return };
    let Some(registry) = DockerRegistry::start(Setup::default()) else { return };
    let reference = format!("{}/team/cache:main", registry.address());
    machines.laptop.build([format!("--cache-to=type=registry,ref={reference},mode=max")]).succeeds();
    machines.runner.write("main", "two\n");
    let from = format!("--cache-from={reference}");
    let ran = machines.runner.build([&from]);
    ran.succeeds().cached_from("RUN echo end", &reference).logs("one").logs("two");
    let missing = format!("--cache-from={}/team/cache:none", registry.address());
    machines.runner.write("main", "three\n");
    machines.runner.build([&missing]).succeeds().stderr_has("there is no cache yet").stderr_lacks("warning");
}

#[test]
fn what_the_image_was_pushed_with_is_not_sent_again() {
    let Some(machines) = Machines::new("FROM base\nRUN head -c 1000000 /dev/urandom > /big\n") else { return };
    let Some(registry) = DockerRegistry::start(Setup::default()) else { return };
    let cache = |name: &str| format!("type=registry,ref={}/team/{name}:main", registry.address());
    let push = format!("type=image,push=true,name={}/team/app:1", registry.address());
    let sent = |arguments: &[String]| {
        let ran = machines.laptop.build(arguments);
        let line = ran.succeeds().step("exporting cache").into_iter().find(|line| line.contains(" sent "));
        let words: Vec<u64> = line.expect("a sum").split_whitespace().filter_map(|word| word.parse().ok()).collect();
        words[words.len() - 2]
    };
    let alone = sent(&[format!("--cache-to={}", cache("alone"))]);
    assert!(alone > 1_000_000, "{alone}");
    let beside = sent(&[format!("--output={push}"), format!("--cache-to={}", cache("beside"))]);
    assert!(beside < 20_000, "{beside}");
    machines
        .runner
        .build([format!("--cache-from={}", cache("beside"))])
        .succeeds()
        .cached_from("RUN head", "team/beside");
}

#[test]
fn through_s3() {
    let Some(machines) = Machines::new(MOUNTED) else { return };
    let Some(server) = Moto::start() else { return };
    let bucket = format!(
        "type=s3,bucket={BUCKET},region=us-east-1,endpoint_url=http://{},use_path_style=true,access_key_id=kiln,\
         secret_access_key=geheim",
        server.address()
    );
    let ran = machines.laptop.build([format!("--cache-to={bucket},mode=max")]);
    ran.succeeds().stderr_has("exporting cache to bucket").stderr_lacks("geheim");
    machines.runner.write("main", "two\n");
    let ran = machines.runner.build([format!("--cache-from={bucket}"), format!("--cache-to={bucket},mode=max")]);
    ran.succeeds().cached_from("RUN echo end", "bucket").logs("one").logs("two");
    let elsewhere = bucket.replace(BUCKET, "elsewhere");
    let ran = machines.runner.build([format!("--cache-to={elsewhere},ignore-error=true")]);
    ran.succeeds().stderr_has("the cache was not exported").stderr_lacks("geheim");
}
