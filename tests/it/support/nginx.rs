//! A real nginx, with a configuration of the test's own.

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;

use rustix::process::{Pid, Signal, kill_process};
use socket2::SockAddr;

const NGINX: &str = "/usr/sbin/nginx";

/// The configuration that we recommend.
pub(crate) const RECIPE: &str = include_str!("../../../packaging/nginx/shaveet.conf");

/// What is to be looked at in it: where pages come to, where Shaveet listens, where the web application does.
pub(crate) const LISTEN: &str = "listen 80;";
pub(crate) const SHAVEET: &str = "server 127.0.0.1:8082 max_fails=0;";
pub(crate) const WEB_APP: &str = "proxy_pass http://127.0.0.1:5000;";

/// A running nginx. It ends with the value, and shows its log if the test fails.
pub(crate) struct Nginx {
    process: Child,
    pub(crate) address: SockAddr,
    directory: PathBuf,
}

impl Nginx {
    /// Starts one. `configure` is told where it listens and which directory is its own, and gives what stands in its `nginx.conf`.
    pub(crate) fn start(configure: impl FnOnce(SocketAddr, &Path) -> String) -> Nginx {
        assert!(Path::new(NGINX).exists(), "{NGINX} is missing: tests/run installs it");
        // nginx gets the listening socket instead of a port number: nobody can take the port in between, and whoever
        // connects before nginx is ready waits in the backlog.
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let directory = std::env::temp_dir().join(format!("shaveet-nginx-{}-{}", std::process::id(), address.port()));
        fs::create_dir_all(&directory).expect("a directory for temporary files");
        fs::write(directory.join("nginx.conf"), configure(address, &directory)).expect("the directory is ours");
        let process = nginx(&directory)
            // Its descriptor 0 is a listening socket: nginx's own way of handing its sockets to a newer nginx.
            .env("NGINX", "0;")
            .stdin(OwnedFd::from(listener))
            .stderr(Stdio::null())
            .spawn()
            .expect("nginx starts");
        Nginx { process, address: SockAddr::from(address), directory }
    }

    /// Has it read its configuration again, as an administrator does. Returns when it has been told to.
    pub(crate) fn reload(&self) {
        assert!(nginx(&self.directory).args(["-s", "reload"]).status().expect("nginx starts").success());
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.directory.join("error.log")).unwrap_or_default()
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // Its master process takes the worker along.
        let _ = kill_process(Pid::from_child(&self.process), Signal::TERM);
        let _ = self.process.wait();
        if thread::panicking() {
            eprintln!("--- nginx's log\n{}---", self.log());
        }
        let _ = fs::remove_dir_all(&self.directory);
    }
}

fn nginx(directory: &Path) -> Command {
    let mut command = Command::new(NGINX);
    command.arg("-p").arg(directory).args(["-c", "nginx.conf", "-e", "error.log"]);
    command
}

/// Where its temporary files are to be, as it may have no right to where they are otherwise.
pub(crate) fn temporary(directory: &Path) -> String {
    let here = directory.display();
    let line = |name: &str| format!("{name}_temp_path {here}/{name};\n");
    ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"].map(line).concat()
}

/// The recipe with something else in one of its lines.
pub(crate) fn put(recipe: &str, line: &str, other: &str) -> String {
    assert_eq!(recipe.matches(line).count(), 1, "the recipe has changed: {line}");
    recipe.replace(line, other)
}

/// What stands around the recipe, which is in `shaveet.conf`: everything that nginx writes is in its own directory.
pub(crate) fn surroundings(directory: &Path) -> String {
    let temporary = temporary(directory);
    format!(
        "daemon off;\n\
         worker_processes 1;\n\
         # Started by root, the worker stays root: it must reach a Unix socket of root's.\n\
         user root root;\n\
         pid nginx.pid;\n\
         error_log error.log info;\n\
         events {{ worker_connections 4096; }}\n\
         http {{\naccess_log off;\n{temporary}include shaveet.conf;\n}}\n"
    )
}
