//! `/demo`, only with `--demo`: a page that shows the server at work, and what that page needs of a web application.
//!
//! Whoever can reach the server gets a client by `POST /demo/client`, and may speak by `POST /demo/say`, in the channel `demo`
//! alone. Pages of other sites may not.

use crate::http::query::Parameters;
use crate::http::{Exchange, Method, Request, Response, Status};
use crate::hub::{Error, Sender, Submission};

use super::assets::File;
use super::rpc::new_key;
use super::{Api, PLAIN_TEXT, Visit, not_found};

/// The page, where it stands.
pub(super) const PAGE: File = ("/demo", "text/html", include_bytes!("../../static/demo.html"));

const CHANNEL: &str = "demo";

/// What is said and who says it are short.
const TEXT_BYTES_MAX: usize = 4096;
const NAME_BYTES_MAX: usize = 64;

const JSON: &str = "Content-Type: application/json\r\nCache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\n";

impl Api {
    /// Serves what is at `/demo` and below it.
    pub(super) fn serve_demo(
        &mut self,
        visit: Visit<'_>,
        request: &Request<'_>,
        exchange: Exchange,
        out: &mut Vec<u8>,
    ) {
        let is_foreign = request.header("sec-fetch-site").is_some_and(|site| site != b"same-origin");
        let Some(page) = &self.demo else { return not_found(visit.date, exchange, out) };
        let done = match (&*request.path(), request.method) {
            (b"/demo", _) => return page.serve(visit.date, request, exchange, out),
            (b"/demo/client", Method::Post) if !is_foreign => self.make_demo_client(visit),
            (b"/demo/say", Method::Post) if !is_foreign => self.say_in_demo(visit, request),
            _ => return not_found(visit.date, exchange, out),
        };
        let (status, headers, body) = match done {
            Ok(body) => (Status::OK, JSON, body),
            Err(Fault::Request(what)) => (Status::BAD_REQUEST, PLAIN_TEXT, what.to_owned()),
            Err(Fault::Hub(error)) => (Status::SERVICE_UNAVAILABLE, PLAIN_TEXT, format!("{error:?}\r\n")),
        };
        Response { status, headers, body: body.as_bytes() }.write(out, visit.date, exchange);
    }

    /// A client as a page needs it: the options of `shaveet.mjs`.
    fn make_demo_client(&mut self, visit: Visit<'_>) -> Result<String, Fault> {
        let key = new_key();
        let name = new_key().hex();
        let id = format!("demo-{}", String::from_utf8_lossy(&name[..12]));
        let key = self.hub.create_client(visit.now, &id, key)?;
        self.hub.subscribe(visit.now, &id, CHANNEL, None)?;
        Ok(format!("{{\"clientId\":\"{id}\",\"key\":\"{}\"}}", String::from_utf8_lossy(&key.hex())))
    }

    /// Publishes the body, from whoever the parameter `from` names.
    fn say_in_demo(&mut self, visit: Visit<'_>, request: &Request<'_>) -> Result<String, Fault> {
        let parameters = Parameters::of(request.query());
        let from = parameters.iter().find_map(|parameter| parameter.value_of(b"from")).unwrap_or_default();
        let from = std::str::from_utf8(from).ok().filter(|from| from.len() <= NAME_BYTES_MAX);
        let from = from.ok_or(Fault::Request("the parameter from is a name of at most 64 bytes of UTF-8\r\n"))?;
        let text = std::str::from_utf8(&request.body).ok().filter(|text| text.len() <= TEXT_BYTES_MAX);
        let text = text.ok_or(Fault::Request("the body is a text of at most 4096 bytes of UTF-8\r\n"))?;
        let submission = Submission { channel: CHANNEL, from: Sender::Id(from), text, exclude: &[], ttl: None };
        let placed = self.hub.publish(visit.now, submission)?;
        Ok(format!("{{\"id\":{}}}", placed.id))
    }
}

/// Why something was not done.
enum Fault {
    /// What is wrong with the request.
    Request(&'static str),
    /// A limit has been reached.
    Hub(Error),
}

impl From<Error> for Fault {
    fn from(error: Error) -> Fault {
        Fault::Hub(error)
    }
}
