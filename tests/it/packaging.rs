//! What packages are made of. `tests/packages` installs one; here is what can be said without a machine for it.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::program::{Ended, ended, shaveet};
use crate::support::{BINARY, Nest};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_owned()
}

fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// What a server with these arguments would do.
fn checked(arguments: &[&str]) -> String {
    let Ended { code, stdout, stderr } = ended(shaveet(&[&["check"], arguments].concat()));
    assert_eq!((code, &*stderr), (Some(0), ""), "{arguments:?}");
    stdout
}

#[test]
fn the_settings_that_come_along_are_the_defaults_and_all_that_they_name_can_be_set() {
    let settings = read("packaging/deb/shaveet.toml");
    let nest = Nest::new("packaging-settings");
    let as_it_is = nest.file("as-it-is.toml", &settings);
    assert_eq!(checked(&["--config", as_it_is.to_str().expect("UTF-8")]), checked(&[]));
    // A comment that is a setting begins at once behind its mark.
    let is_setting = |line: &&str| line.starts_with(|c: char| c.is_ascii_lowercase());
    let commented: Vec<_> = settings.lines().filter_map(|line| line.strip_prefix('#')).filter(is_setting).collect();
    assert!(commented.len() > 10, "{commented:?}");
    nest.file("token", "0123456789abcdef\n");
    let all = commented.join("\n").replace("/etc/shaveet/token", "token");
    let said = checked(&["--config", nest.file("all.toml", &all).to_str().expect("UTF-8")]);
    assert_eq!(said.matches("all.toml").count(), commented.len(), "{said}");
}

#[test]
fn all_that_the_package_is_made_of_is_there() {
    let manifest = read("Cargo.toml");
    let (_, rest) = manifest.split_once("\nassets = [").expect("the package has a list");
    let (assets, _) = rest.split_once("\n]").expect("the list has an end");
    let sources: Vec<_> = assets.lines().filter_map(|line| line.split('"').nth(1)).collect();
    assert!(sources.len() > 8, "{sources:?}");
    for source in sources.iter().filter(|source| !source.starts_with("target/")) {
        assert!(root().join(source).is_file(), "{source}");
    }
    // What the program says of itself is written by another script.
    let nest = Nest::new("packaging-written");
    let written = nest.socket.with_file_name("written");
    let mut command = Command::new(root().join("packaging/deb/written"));
    command.arg(BINARY).arg(&written);
    let Ended { code, stdout, stderr } = ended(command);
    assert_eq!((code, &*stdout, &*stderr), (Some(0), "", ""));
    let sources: Vec<_> = sources.iter().filter_map(|source| source.strip_prefix("target/release/written/")).collect();
    assert!(sources.len() > 3 && sources.contains(&"man/*"), "{sources:?}");
    for source in sources.iter().filter(|source| **source != "man/*") {
        assert!(written.join(source).metadata().is_ok_and(|file| file.len() > 1000), "{source}");
    }
    let page = ended(shaveet(&["man"])).stdout;
    let named = page.split("shaveet\\-").skip(1).filter_map(|rest| Some(rest.split_once("(1)")?.0));
    let named: BTreeSet<String> = named.map(|name| format!("shaveet-{name}.1.gz")).collect();
    let pages = std::fs::read_dir(written.join("man")).expect("a folder");
    let mut pages: BTreeSet<String> =
        pages.map(|page| page.expect("a file").file_name().into_string().expect("UTF-8")).collect();
    assert!(pages.remove("shaveet.1.gz") && named.len() > 8);
    assert_eq!(pages, named);
}

#[test]
fn the_unit_starts_the_server_with_arguments_that_it_understands() {
    let unit = read("packaging/systemd/shaveet.service");
    let start = unit.lines().find_map(|line| line.strip_prefix("ExecStart=/usr/bin/shaveet ")).expect("it starts one");
    let settings = root().join("packaging/deb/shaveet.toml");
    let start = start.replace("/etc/shaveet/shaveet.toml", settings.to_str().expect("UTF-8"));
    let said = checked(&start.split(' ').collect::<Vec<_>>());
    assert!(said.contains("\nstate = \"/var/lib/shaveet/state\""), "{said}");
}

#[test]
fn the_template_of_a_node_is_the_unit_but_for_its_port_and_what_redis_keeps() {
    let [unit, template] =
        ["shaveet.service", "shaveet@.service"].map(|name| read(&format!("packaging/systemd/{name}")));
    let start =
        template.lines().find_map(|line| line.strip_prefix("ExecStart=/usr/bin/shaveet ")).expect("it starts one");
    let nest = Nest::new("packaging-node");
    let settings = nest.file("shaveet.toml", "broker = \"redis://127.0.0.1\"\n");
    let start = start.replace("/etc/shaveet/shaveet.toml", settings.to_str().expect("UTF-8")).replace("%i", "8083");
    let said = checked(&start.split(' ').collect::<Vec<_>>());
    assert!(said.contains("127.0.0.1:8083") && said.contains("\nbroker = \"redis://127.0.0.1\""), "{said}");
    // What it may not do is the same.
    let own = ["Description=", "After=", "ExecStart=", "StateDirectory=", "Wants=", "RuntimeDirectory="];
    let is_shared =
        |line: &&str| line.contains('=') && !line.starts_with('#') && !own.iter().any(|own| line.starts_with(own));
    for line in unit.lines().filter(is_shared) {
        assert!(template.lines().any(|other| other == line), "{line}");
    }
}

#[test]
fn the_scripts_of_the_package_are_scripts() {
    for (shell, name) in [("sh", "postinst"), ("sh", "prerm"), ("sh", "postrm"), ("bash", "build"), ("bash", "written")]
    {
        let mut shell = Command::new(shell);
        shell.arg("-n").arg(root().join("packaging/deb").join(name));
        let Ended { code, stdout, stderr } = ended(shell);
        assert_eq!((code, &*stdout, &*stderr), (Some(0), "", ""), "{name}");
    }
}
