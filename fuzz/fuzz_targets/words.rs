//! Words of a Dockerfile: any text expands, with any variables, to something or to an error that lies in the text.

#![no_main]

use kiln_dockerfile::words::{expand, expand_command, expand_heredoc};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (bool, String, Vec<(String, String)>)| {
    let (backtick, text, variables) = input;
    let escape = if backtick { '`' } else { '\\' };
    let env = |name: &str| variables.iter().find(|(known, _)| known == name).map(|(_, value)| value.clone());
    for result in [expand(&text, escape, &env), expand_heredoc(&text, &env), expand_command(&text, escape, &env)] {
        if let Err(error) = result {
            assert!(error.at <= text.len(), "{error:?} is outside of the text");
        }
    }
});
