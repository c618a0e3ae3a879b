//! Words of a Dockerfile: any text expands, with any variables, to something or to an error that lies in the text.

#![no_main]

use kiln_dockerfile::words::{expand, expand_command, expand_heredoc};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (bool, String, Vec<(String, String)>)| {
    let (backtick, text, variables) = input;
    let escape = if backtick { '`' } else { '\\' };
    let env = |name: &str| variables.iter().find(|(known, _)| known == name).map(|(_, value)| value.clone());
    let results = [
        expand(&text, escape, &env).map(drop),
        expand_heredoc(&text, &env).map(drop),
        expand_command(&text, escape, &env).map(drop),
    ];
    for error in results.into_iter().filter_map(Result::err) {
        assert!(error.range.end <= text.len(), "{error:?} is outside of the text");
    }
});
