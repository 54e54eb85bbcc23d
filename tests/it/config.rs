//! The configuration: which of flag, variable, file and default counts, what is said of a wrong file, and what a running server
//! takes from one that has changed.

use std::path::Path;
use std::process::Command;

use crate::support::program::{Ended, ended, shaveet};
use crate::support::{Nest, Server};

/// What `check` prints with these arguments and variables: each line without its spaces before the comment.
fn checked(arguments: &[&str], variables: &[(&str, &str)]) -> String {
    let mut command = shaveet(&[&["check"], arguments].concat());
    command.envs(variables.iter().copied());
    let Ended { code, stdout, stderr } = ended(command);
    assert_eq!((code, stderr.as_str()), (Some(0), ""), "{arguments:?} {variables:?}");
    let tight = |line: &str| {
        let (setting, origin) = line.rsplit_once("  # ").unwrap_or_else(|| panic!("says who says so: {line:?}"));
        format!("{} # {origin}\n", setting.trim_end())
    };
    stdout.lines().map(tight).collect()
}

/// The line of a knob among those of [`checked`].
fn line<'t>(report: &'t str, knob: &str) -> &'t str {
    let is_its = |line: &&str| {
        line.trim_start_matches("# ").starts_with(&format!("{knob} =")) || line.starts_with(&format!("# {knob}:"))
    };
    report.lines().find(is_its).unwrap_or_else(|| panic!("{knob} in {report}"))
}

/// What is said of a file with this content, which is wrong: the lines without the file's name. The server says the same as
/// `check`, and does not start.
fn refused(content: impl AsRef<[u8]>) -> Vec<String> {
    let nest = Nest::new("refused");
    let file = nest.file("wrong.toml", content);
    refused_at(&file, &[])
}

fn refused_at(file: &Path, arguments: &[&str]) -> Vec<String> {
    let file = file.to_str().expect("a path in UTF-8");
    let said = [&["check"][..], &[]].map(|subcommand| {
        let Ended { code, stdout, stderr } = ended(shaveet(&[subcommand, &["--config", file], arguments].concat()));
        assert_eq!((code, stdout.as_str()), (Some(2), ""), "{stderr}");
        stderr
    });
    assert_eq!(said[0], said[1], "the server says what check says");
    let ours = format!("shaveet: {file}:");
    said[0]
        .lines()
        .map(|line| line.strip_prefix(&ours).unwrap_or_else(|| panic!("{line:?}")).trim().to_owned())
        .collect()
}

/// The only line that is said of a file with this content.
fn refusal(content: impl AsRef<[u8]>) -> String {
    let lines = refused(content);
    assert_eq!(lines.len(), 1, "{lines:?}");
    lines.concat()
}

#[test]
fn flags_win_over_variables_over_the_file_over_the_defaults() {
    let nest = Nest::new("precedence");
    let file = nest.file("a.toml", "# comment\nmax-idle = \"11s\"\nmin-alive = \"61s\"\n\npoll-timeout = \"21s\"\n");
    let file = file.to_str().unwrap();
    let variables = [("SHAVEET_MIN_ALIVE", "62s"), ("SHAVEET_POLL_TIMEOUT", "22s"), ("SHAVEET_CONFIG", file)];
    for (arguments, variables) in [
        (&["--poll-timeout", "23s", "--config", file][..], &variables[..2]),
        (&["--poll-timeout", "23s"], &variables[..]),
    ] {
        let report = checked(arguments, variables);
        assert_eq!(line(&report, "sweep-interval"), r#"sweep-interval = "10s" # default"#);
        assert_eq!(line(&report, "max-idle"), format!(r#"max-idle = "11s" # {file}:2"#));
        assert_eq!(line(&report, "min-alive"), r#"min-alive = "62s" # SHAVEET_MIN_ALIVE"#);
        assert_eq!(line(&report, "poll-timeout"), r#"poll-timeout = "23s" # --poll-timeout"#);
    }
    let other = nest.file("b.toml", "max-idle = \"12s\"\n");
    let report = checked(&["--config", other.to_str().unwrap()], &variables);
    assert!(line(&report, "max-idle").starts_with(r#"max-idle = "12s""#), "the flag names another file: {report}");
}

#[test]
fn the_loggers_own_variable_counts_unless_ours_is_there_and_stops_nobody() {
    let nest = Nest::new("log");
    let file = nest.file("a.toml", "log = \"warn\"\n");
    let log =
        |variables: &[(&str, &str)]| line(&checked(&["--config", file.to_str().unwrap()], variables), "log").to_owned();
    assert_eq!(log(&[("RUST_LOG", "debug")]), "log = \"debug\" # RUST_LOG");
    assert_eq!(log(&[("RUST_LOG", "debug"), ("SHAVEET_LOG", "error")]), "log = \"error\" # SHAVEET_LOG");
    assert_eq!(log(&[("RUST_LOG", "others")]), "log = \"others=trace\" # RUST_LOG");
    assert_eq!(log(&[("RUST_LOG", "")]), format!("log = \"warn\" # {}:1", file.display()));
}

#[test]
fn a_server_is_where_the_source_that_counts_says() {
    let nest = Nest::new("counts");
    let file = nest.file("a.toml", "listen = \"unix:nowhere/at/all\"\nrpc-listen = \"unix:rpc\"\n");
    let config = ["--config", file.to_str().unwrap()];
    // `Server` gives --listen, without which the file's address would be an error.
    let server = Server::with(&config);
    assert_eq!(server.get("/nowhere").status, 404);
    assert!(nest.file("rpc.is", "").with_file_name("rpc").exists(), "the file's path is relative to the file");
    assert!(!ended(shaveet(&config)).stderr.is_empty());
}

#[test]
fn what_check_prints_says_the_same_as_a_file() {
    let nest = Nest::new("round");
    let token = nest.file("token", "0123456789abcdef\n");
    let first = nest.file(
        "a.toml",
        "listen = [8082, \"unix:a,b.sock\", \"[::1]:0\"]\nrpc-socket-mode = 0o600\nrpc-token-file = \"token\"\n\
         rpc-host = [\"a.example\", \"b.example\"]\ndemo = true\nhistory = [7, \"chat-=500\", \"a\\\"b\\\\\\u0007=6\"]\n\
         presence = [\"log-=off\"]\nhistory-system = \"shared\"\nmax-body = 65536\nmemory-max = \"64MiB\"\nlog = \"debug\"\n\
         trusted-proxy = \"none\"\nallow-origin = \"https://a.example,http://b.example:80\"\nhistory-age = \"30d\"\n",
    );
    let values = |report: &str| -> Vec<String> {
        report.lines().map(|line| line.rsplit_once(" # ").expect("an origin").0.to_owned()).collect()
    };
    let report = checked(&["--config", first.to_str().unwrap()], &[]);
    let unix = format!("unix:{}", token.with_file_name("a,b.sock").display());
    let listens = format!("listen = [8082, \"{unix}\", \"[::1]:0\"] # {}:1", first.display());
    assert_eq!(line(&report, "listen"), listens);
    assert!(line(&report, "rpc-token-file").contains(token.to_str().unwrap()), "{report}");
    assert!(
        line(&report, "history").starts_with("history = [\"7\", \"chat-=500\", \"a\\\"b\\\\\\u0007=6\"] #")
            || line(&report, "history").starts_with("history = [7, \"chat-=500\", \"a\\\"b\\\\\\u0007=6\"] #"),
        "{report}"
    );
    let second = nest.file("b.toml", &report);
    let again = checked(&["--config", second.to_str().unwrap()], &[]);
    assert_eq!(values(&again), values(&report));
    let plain = checked(&[], &[]);
    let third = nest.file("c.toml", &plain);
    assert_eq!(values(&checked(&["--config", third.to_str().unwrap()], &[])), values(&plain), "and so do the defaults");
}

#[test]
fn a_port_is_one_more_place_to_listen_at_whoever_names_the_others() {
    let nest = Nest::new("port");
    let file = nest.file("a.toml", "listen = \"127.0.0.1:1\"\n");
    let listens =
        |arguments: &[&str], variables: &[(&str, &str)]| line(&checked(arguments, variables), "listen").to_owned();
    let file = file.to_str().unwrap();
    assert_eq!(listens(&["-p", "3"], &[]), "listen = \"*:3\" # --port");
    assert_eq!(listens(&["-p", "3", "--listen", "4"], &[]), "listen = [4, \"*:3\"] # --listen and --port");
    assert_eq!(
        listens(&["-p", "3"], &[("SHAVEET_LISTEN", "5,6")]),
        "listen = [5, 6, \"*:3\"] # SHAVEET_LISTEN and --port"
    );
    let said = listens(&["-p", "3", "--config", file], &[]);
    assert_eq!(said, format!("listen = [\"127.0.0.1:1\", \"*:3\"] # {file}:1 and --port"));
}

#[test]
fn keys_that_are_none_are_told_with_what_was_meant() {
    for (content, said) in [
        ("pol-timeout = \"1s\"", "1: unknown key pol-timeout; did you mean poll-timeout?"),
        ("\n\nPOLL_TIMEOUT = \"1s\"", "3: unknown key POLL_TIMEOUT; did you mean poll-timeout?"),
        ("max-client = 1", "1: unknown key max-client; did you mean max-clients?"),
        ("port = 8082", "1: unknown key port; write listen = 8082"),
        ("config = \"b.toml\"", "1: unknown key config; it is for the command line alone"),
        ("zebra = 1", "1: unknown key zebra; `shaveet --help` lists what there is"),
        ("[timers]\npoll-timeout = \"1s\"", "1: unknown key timers; keys stand at the top, in no table"),
    ] {
        assert_eq!(refusal(content), said);
    }
}

#[test]
fn wrong_values_are_told_with_line_key_value_and_what_is_allowed() {
    for (content, parts) in [
        ("\npoll-timeout = 25", ["2: poll-timeout = 25: ", "10ms to 1d"]),
        ("poll-timeout = \"25 parsecs\"", ["1: poll-timeout = \"25 parsecs\": ", "10ms to 1d"]),
        ("poll-timeout = true", ["1: poll-timeout = true: not a value but a TOML boolean", "10ms to 1d"]),
        ("poll-timeout = \"2d\"", ["1: poll-timeout = \"2d\": out of range", "10ms to 1d"]),
        ("poll-timeout = [\"1s\"]", ["1: poll-timeout = [\"1s\"]: it has one value", "10ms to 1d"]),
        ("max-body = \"1023\"", ["1: max-body = \"1023\": out of range", "1KiB to 1GiB"]),
        ("max-body = 1.5", ["1: max-body = 1.5: not a value but a TOML float", "1KiB to 1GiB"]),
        ("max-clients = \"ten\"", ["1: max-clients = \"ten\": ", "1 to 10000000"]),
        ("max-clients = -1", ["1: max-clients = -1: ", "1 to 10000000"]),
        ("max-clients = 99999999999999999999", ["1: max-clients = 99999999999999999999: ", "1 to 10000000"]),
        ("max-clients = 2026-01-01", ["1: max-clients = 2026-01-01: not a value but a TOML datetime", "1 to 10000000"]),
        ("max-clients.a = 1", ["1: max-clients = ", "not a value but a TOML table"]),
        ("rpc-allow = [\"::1\",\n \"localhost\"]", ["2: rpc-allow = \"localhost\": not a network", "10.0.0.0/8"]),
        ("rpc-allow = \"::1,\"", ["1: rpc-allow = \"::1,\": empty; write `any`", "10.0.0.0/8"]),
        ("rpc-allow = []", ["1: rpc-allow = []: an empty list", "the default holds"]),
        ("rpc-allow = [[\"::1\"]]", ["1: rpc-allow = [\"::1\"]: not a value but a TOML array", "10.0.0.0/8"]),
        ("history = [\"chat-=none\"]", ["1: history = \"chat-=none\": ", "1 to 1000000"]),
        ("demo = 1", ["1: demo = 1: ", "on, off"]),
        ("log = \"loud\"", ["1: log = \"loud\": not a level", "debug"]),
        ("rpc-socket-mode = 0o066", ["1: rpc-socket-mode = 0o066: ", "660"]),
        ("rpc-token-file = \"\"", ["1: rpc-token-file = \"\": the path is empty", "one line"]),
        ("listen = \"localhost:80\"", ["1: listen = \"localhost:80\": names are not looked up", "unix:/path"]),
    ] {
        let said = refusal(content);
        assert!(said.starts_with(parts[0]) && said.contains(parts[1]), "{content:?}: {said}");
    }
}

#[test]
fn all_that_is_wrong_is_told_at_once_and_nothing_else_of_it() {
    let said = refused("max-idle = \"x\"\nzebra = 1\nmin-alive = \"1h\"\nlisten = [\"a\",\n\"b\"]\n");
    let lines: Vec<&str> = said.iter().map(|line| line.split(':').next().unwrap()).collect();
    assert_eq!(lines, ["1", "2", "4", "5"], "{said:?}");
    let long = format!("log = '{}\u{7f}'", "x".repeat(100_000));
    assert!(refusal(&long).chars().all(|c| !c.is_control()), "one line");
    assert!(refusal(&long).len() < 400);
}

#[test]
fn a_wrong_value_is_told_even_if_a_flag_wins_over_it() {
    let nest = Nest::new("beaten");
    let file = nest.file("a.toml", "poll-timeout = \"soon\"\n");
    assert!(refused_at(&file, &["--poll-timeout", "1s"]).concat().starts_with("1: poll-timeout = \"soon\""));
}

#[test]
fn what_is_not_toml_is_told_with_its_line() {
    for (content, place) in [
        (&b"max-idle = \"1s\"\nmin-alive = 1s\n"[..], "2: not TOML: "),
        (b"max-idle = \"1s\nmin-alive = 1\n", "1: not TOML: "),
        (b"max-idle = \"1s\"\nmax-idle = \"2s\"\n", "2: not TOML: "),
        (b"max-idle\n", "1: not TOML: "),
        (b"\n\n\xff = 1\n", "3: not UTF-8"),
        (b"max-idle = \"1s\"\n\0\n", "2: not TOML: "),
    ] {
        let said = refused(content);
        assert!(said[0].starts_with(place), "{said:?}");
    }
    for nothing in
        ["", "\n", "# only a comment", "\u{feff}max-idle = \"1s\"", "max-idle = \"1s\"\r\nmin-alive = '2s'\r\n"]
    {
        let nest = Nest::new("nothing");
        checked(&["--config", nest.file("a.toml", nothing).to_str().unwrap()], &[]);
    }
}

#[test]
fn files_that_cannot_be_read_are_named() {
    let nest = Nest::new("unreadable");
    let directory = nest.socket.parent().unwrap().to_owned();
    let said = |path: &Path| refused_at(path, &[]).concat();
    assert!(said(&directory.join("missing.toml")).starts_with("cannot be read: No such file"));
    assert_eq!(said(&directory), "cannot be read: it is a directory");
    assert_eq!(said(Path::new("/dev/zero")), "cannot be read: it is no regular file");
    let large = nest.file("large.toml", "");
    std::fs::File::options().write(true).open(&large).unwrap().set_len(2 << 20).unwrap();
    assert_eq!(said(&large), "cannot be read: it is larger than 1 MiB");
    let pipe = directory.join("pipe");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    assert_eq!(said(&pipe), "cannot be read: it is no regular file", "and nobody waits for its other end");
}

#[test]
fn there_is_one_file() {
    let nest = Nest::new("two");
    let file = nest.file("a.toml", "");
    let file = file.to_str().unwrap();
    let Ended { code, stderr, .. } = ended(shaveet(&["--config", file, "--config", file]));
    assert!(code == Some(2) && stderr.contains("--config") && stderr.contains("multiple times"), "{stderr}");
}

#[test]
fn check_looks_for_the_token() {
    let nest = Nest::new("token");
    let file = nest.file("a.toml", "\nrpc-token-file = \"token\"\n");
    let said = |token: &str| {
        let path = nest.file("token", token);
        let Ended { code, stderr, .. } = ended(shaveet(&["check", "--config", file.to_str().unwrap()]));
        assert_eq!(code, Some(2), "{stderr}");
        assert!(
            stderr.contains(&format!("{}:2: ", file.display())) && stderr.contains(path.to_str().unwrap()),
            "{stderr}"
        );
        stderr
    };
    assert!(said("short").contains("16 to 4096"));
    assert!(!said("secret secret secret").contains("secret secret"), "a token is not shown");
}
