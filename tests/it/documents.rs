//! Whoever copies the blocks of docs/protocol.md, as they stand and in their order, sees what stands below them.

use std::path::Path;
use std::process::Command;

use crate::support::program::{Ended, ended};
use crate::support::{Nest, Server};

#[test]
fn the_blocks_of_the_protocol_answer_as_they_say() {
    let page = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/protocol.md")).expect("a page");
    let (calls, answers): (Vec<_>, Vec<_>) = examples(&page).into_iter().unzip();
    assert!(calls.len() > 5, "{calls:?}");
    let (server, nest) = (Server::start(), Nest::new("documents"));
    // What one block sets the next ones use.
    let script = calls.join("printf '\\f'\n").replace("localhost:8082", &format!("127.0.0.1:{}", server.port()));
    let mut shell = Command::new("bash");
    shell.args(["-ec", &script]).current_dir(nest.socket.parent().expect("a folder"));
    let Ended { code, stdout, stderr } = ended(shell);
    assert_eq!((code, &*stderr), (Some(0), ""), "{stdout}");
    let given: Vec<_> = stdout.split('\x0c').map(|answer| masked(answer.trim_end())).collect();
    let told: Vec<_> = answers.iter().map(|answer| masked(answer.trim_end())).collect();
    assert_eq!(given, told);
}

/// Each block of a shell's that has a block of text below it, and that text.
fn examples(page: &str) -> Vec<(&str, &str)> {
    let mut examples = Vec::new();
    for behind in page.split("\n```sh\n").skip(1) {
        let (call, rest) = behind.split_once("```\n").expect("a block has an end");
        if let Some(answer) = rest.trim_start().strip_prefix("```text\n") {
            examples.push((call, answer.split_once("```").expect("a block has an end").0));
        }
    }
    examples
}

/// Without what another server draws anew: the epoch of its positions, and when a page is to come back.
fn masked(answer: &str) -> String {
    let is_epoch = |word: &str| word.len() == 16 && word.bytes().all(|byte| byte.is_ascii_hexdigit());
    let mut masked = String::new();
    for line in answer.lines() {
        let line = if line.starts_with("retry: ") { "retry:" } else { line };
        let words = line.split_inclusive(|c: char| !c.is_ascii_alphanumeric());
        for word in words {
            let name = word.trim_end_matches(|c: char| !c.is_ascii_alphanumeric());
            masked += &if is_epoch(name) { word.replace(name, "EPOCH") } else { word.to_owned() };
        }
        masked.push('\n');
    }
    masked
}
