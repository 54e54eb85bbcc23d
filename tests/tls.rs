//! The link to a real Redis by TLS: of a program that has the feature `tls`, without which this file is not built.

#[path = "it/support/mod.rs"]
mod support;

use std::process::Command;

use support::link::{comes_up, goes_down, says};
use support::redis::{Redis, free_port};
use support::{Nest, Server, until};

#[test]
fn it_speaks_to_whom_somebody_vouches_for_and_to_nobody_else() {
    let nest = Nest::new("broker-tls");
    let names = nest.file("names", "subjectAltName = DNS:localhost, IP:127.0.0.1\n").display().to_string();
    let path = |name: &str| names.replace("/names", &format!("/{name}"));
    let openssl = |arguments: &str| {
        let output = Command::new("openssl").args(arguments.split(' ')).output().expect("openssl runs");
        assert!(output.status.success(), "{arguments}: {}", String::from_utf8_lossy(&output.stderr));
    };
    let [ca, ca_key, other, key, request, certificate] =
        ["ca.pem", "ca.key", "other.pem", "key", "request", "certificate"].map(path);
    let new = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes";
    openssl(&format!("req -x509 {new} -days 2 -subj /CN=ca -keyout {ca_key} -out {ca}"));
    openssl(&format!("req -x509 {new} -days 2 -subj /CN=other -keyout {} -out {other}", path("other.key")));
    openssl(&format!("req {new} -subj /CN=redis -keyout {key} -out {request}"));
    openssl(&format!("x509 -req -in {request} -CA {ca} -CAkey {ca_key} -days 2 -extfile {names} -out {certificate}"));
    let port = free_port().to_string();
    let files = ["--tls-cert-file", &certificate, "--tls-key-file", &key, "--tls-ca-cert-file", &ca];
    let redis = Redis::with(&[&["--tls-port", &port, "--tls-auth-clients", "no"][..], &files].concat());
    for host in ["localhost", "127.0.0.1"] {
        let url = format!("rediss://{host}:{port}?ca={ca}");
        let server = Server::with(&["--broker", &url, "--broker-timeout", "1m"]);
        comes_up(&server);
        assert_eq!(redis.nodes(), 1);
        assert_eq!(server.stop().code(), Some(0));
        until("Redis has seen it go", || redis.nodes() == 0);
    }
    for (url, told) in [
        (format!("rediss://localhost:{port}?ca={other}"), "nobody whom we trust vouches for its certificate"),
        (format!("rediss://localhost:{port}"), "nobody whom we trust vouches for its certificate"),
        (format!("rediss://localhost:{port}?ca={names}"), "cannot read the certificates in"),
        (format!("rediss://[::ffff:127.0.0.1]:{port}?ca={ca}"), "TLS: invalid peer certificate"),
        (format!("rediss://localhost:{}?ca={ca}", redis.port), "localhost"),
    ] {
        // A Redis that takes TLS for the beginning of a long line is late.
        let server = Server::with(&["--broker", &url, "--broker-timeout", "1s"]);
        says(&server, told);
        goes_down(&server);
    }
}
