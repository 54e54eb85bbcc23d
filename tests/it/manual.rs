//! What is made from the command line: the page of the configuration, the manual page, completions.

use std::path::Path;
use std::process::Command;

use crate::support::Nest;
use crate::support::program::{Ended, ended, shaveet};

/// What these arguments have it print.
fn printed(arguments: &[&str]) -> String {
    let mut command = shaveet(arguments);
    // Nothing of the server's may get in the way.
    command.env("SHAVEET_LISTEN", "nowhere").env("SHAVEET_CONFIG", "/missing.toml");
    let Ended { code, stdout, stderr } = ended(command);
    assert_eq!((code, stderr.as_str()), (Some(0), ""), "{arguments:?}");
    stdout
}

fn is_committed(path: &str, arguments: &[&str]) {
    let committed = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap_or_default();
    assert!(committed == printed(arguments), "it is not: shaveet {} > {path}", arguments.join(" "));
}

#[test]
fn the_page_of_the_configuration_is_what_the_program_says() {
    is_committed("docs/configuration/README.md", &["reference"]);
}

#[test]
fn the_manual_page_is_what_the_program_says() {
    is_committed("packaging/man/shaveet.1", &["man"]);
}

#[test]
fn the_manual_page_tells_all_flags_with_reasons_and_each_subcommand_has_its_own() {
    let page = printed(&["man"]);
    let help = printed(&["--help"]).replace('-', "\\-");
    let flags = help.split_whitespace().filter(|word| word.starts_with("\\-\\-") && word.len() > 4);
    for flag in flags.map(|flag| flag.trim_end_matches([',', ';', '.'])) {
        assert!(page.contains(flag), "{flag}");
    }
    for part in
        [".SH NAME\n", ".SH SIGNALS\n", "SIGHUP", ".SH \"EXIT STATUS\"\n", "`proxy_read_timeout`", "shaveet\\-check(1)"]
    {
        assert!(page.contains(part), "{part}");
    }
    for subcommand in
        ["check", "upgrade", "publish", "tail", "channels", "clients", "why", "bench", "completions", "man"]
    {
        assert!(page.contains(&format!("shaveet\\-{subcommand}(1)")), "{subcommand}");
        assert!(printed(&["man", subcommand]).contains(&format!(".TH shaveet-{subcommand} 1")), "{subcommand}");
    }
    assert_eq!(ended(shaveet(&["man", "zebra"])).code, Some(2));
}

#[test]
fn bash_completes_flags_and_subcommands() {
    let script = printed(&["completions", "bash"]);
    let complete = |words: &str, last: usize| {
        let ask = format!(
            "{script}\nCOMP_WORDS=({words}); COMP_CWORD={last}; _shaveet shaveet \"${{COMP_WORDS[{last}]}}\" '' ; echo \"${{COMPREPLY[@]}}\""
        );
        let output = Command::new("bash").args(["--norc", "-c", &ask]).output().expect("bash is there");
        String::from_utf8(output.stdout).expect("names are ASCII").trim().to_owned()
    };
    assert_eq!(complete("shaveet --poll-t", 1), "--poll-timeout");
    assert_eq!(complete("shaveet ch", 1), "check channels");
    assert_eq!(complete("shaveet tail --rpc-t", 2), "--rpc-token-file");
    assert_eq!(complete("shaveet check --max-n", 2), "--max-new-per-address --max-name");
}

#[test]
fn fish_completes_flags_and_subcommands() {
    let nest = Nest::new("fish");
    let script = nest.file("shaveet.fish", printed(&["completions", "fish"]));
    let complete = |line: &str| {
        let mut fish = Command::new("fish");
        let ask = format!("source {}; complete --do-complete '{line}'", script.display());
        // What it keeps of its user is kept there.
        fish.env("HOME", script.with_file_name("")).args(["--no-config", "--command", &ask]);
        let Ended { code, stdout, stderr } = ended(fish);
        assert_eq!((code, &*stderr), (Some(0), ""), "{line}");
        stdout.lines().map(|line| line.split('\t').next().expect("a word").to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(complete("shaveet --poll-t"), ["--poll-timeout"]);
    assert_eq!(complete("shaveet che"), ["check"]);
    assert_eq!(complete("shaveet tail --rpc-t"), ["--rpc-token-file"]);
}

#[test]
fn each_shell_can_read_what_it_is_told() {
    let nest = Nest::new("shells");
    for (shell, only_read) in [("bash", "-n"), ("zsh", "-n"), ("fish", "--no-execute")] {
        let script = printed(&["completions", shell]);
        for word in ["poll-timeout", "max-name", "daemon", "check", "publish", "no-system", "clients", "why", "bench"] {
            assert!(script.contains(word), "{word} for {shell}");
        }
        let mut command = Command::new(shell);
        command.arg(only_read).arg(nest.file(shell, script)).env("HOME", nest.socket.with_file_name(""));
        let Ended { code, stdout, stderr } = ended(command);
        assert_eq!((code, &*stdout, &*stderr), (Some(0), "", ""), "{shell}");
    }
    let Ended { code, stderr, .. } = ended(shaveet(&["completions", "csh"]));
    assert!(code == Some(2) && stderr.contains("zsh"), "{stderr}");
}
