//! `/dashboard`: a page that shows whoever may call the API what goes on, and what that page needs.
//!
//! The page and what it loads are for whoever passes the rules of the API, but for the token, which a person gives to the page:
//! it sends that with each call, and keeps it for as long as its tab is open. There are no cookies, so no other site can have a
//! browser do anything with it.
//!
//! | below `/dashboard` | for whom | what it is |
//! | --- | --- | --- |
//! | `open` | who has the token, if there is one | makes a client that is subscribed to the figures |
//! | `call` | the same | some methods of the API: to look, and to kill a client |
//! | `message_updates`, `events`, `socket` | who has such a client's key | what they are everywhere, for this page |
//!
//! The figures are published in a channel of the hub's own, once a second while somebody listens; else nothing is done, and
//! the server sleeps. The page itself draws what they say.

use crate::clock::Ms;
use crate::http::{Exchange, Method, Request, Response, Status};
use crate::hub::Error;

use super::assets::{Asset, File, MODULE};
use super::figures::Figures;
use super::health::is_read;
use super::metrics::Edge;
use super::rpc::{Scope, new_key};
use super::updates::Habit;
use super::{Api, Outcome, PLAIN_TEXT, Visit, not_found};

/// What it does while somebody listens.
#[derive(Debug)]
pub(super) struct Dashboard {
    files: [Asset; FILES.len()],
    /// Where the figures are published. Nobody can guess it: an application may let its visitors choose channels.
    channel: Option<String>,
    /// When that is done next, while somebody listens.
    due: Option<Ms>,
    /// How often in a row nobody did.
    unheard: u32,
}

const FILES: [File; 4] = [
    ("/dashboard", "text/html", include_bytes!("../../static/dashboard/dashboard.html")),
    ("/dashboard/dashboard.css", "text/css", include_bytes!("../../static/dashboard/dashboard.css")),
    ("/dashboard/dashboard.mjs", "text/javascript", include_bytes!("../../static/dashboard/dashboard.mjs")),
    // Where the API has a listener of its own, what pages load is not there.
    ("/dashboard/shaveet.mjs", "text/javascript", MODULE),
];

/// It loads nothing from elsewhere, runs nothing that stands in the page, speaks to nobody else, and stands in nobody's frame.
const FILE_HEADERS: &str = "Cache-Control: no-cache\r\nX-Content-Type-Options: nosniff\r\n\
     Content-Security-Policy: default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; \
     form-action 'none'; base-uri 'none'; frame-ancestors 'none'\r\n\
     Cross-Origin-Resource-Policy: same-origin\r\nReferrer-Policy: no-referrer\r\nX-Frame-Options: DENY\r\n";

const JSON: &str = "Content-Type: application/json\r\nCache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\n";

/// How often figures are published.
const INTERVAL: Ms = Ms::from_secs(1);

/// A page that polls is now and then between two polls. One that has gone is noticed so many figures later.
const UNHEARD_MAX: u32 = 3;

impl Dashboard {
    pub(super) fn new(date: &str) -> Dashboard {
        let files = FILES.map(|file| Asset::with_headers(file, date, FILE_HEADERS));
        Dashboard { files, channel: None, due: None, unheard: 0 }
    }

    /// Somebody listens.
    fn wake(&mut self, now: Ms) {
        self.unheard = 0;
        self.due.get_or_insert(now);
    }
}

impl Api {
    /// Serves what is at `/dashboard` and below it. Whoever may not see it finds nothing there.
    pub(super) fn serve_dashboard(
        &mut self,
        visit: Visit<'_>,
        request: &Request<'_>,
        exchange: Exchange,
        habit: &mut Habit,
        out: &mut Vec<u8>,
    ) -> Outcome {
        if let Err(refusal) = self.access.check_visitor(&visit, request) {
            self.complain(visit, &refusal);
            not_found(visit.date, exchange, out);
            return Outcome::Answered;
        }
        let path = request.path();
        if let Some(file) = self.dashboard.files.iter().find(|file| file.is_at(&path)) {
            if is_read(visit, request, exchange, out) {
                file.serve(visit.date, request, exchange, out);
            }
            return Outcome::Answered;
        }
        match path.strip_prefix(b"/dashboard/").unwrap_or_default() {
            b"open" | b"call" => self.serve_dashboard_call(visit, request, exchange, out),
            transport @ (b"message_updates" | b"events" | b"socket") => {
                self.dashboard.wake(visit.now);
                match transport {
                    b"events" => self.serve_events(visit, request, exchange, out),
                    b"socket" => self.serve_socket(visit, request, exchange, out),
                    _ => self.serve_updates(visit, request, request.query(), exchange, habit, out),
                }
            }
            _ => {
                not_found(visit.date, exchange, out);
                Outcome::Answered
            }
        }
    }

    /// A call. Its type is one that pages of other sites cannot send unasked, whatever their browser says of them.
    fn serve_dashboard_call(
        &mut self,
        visit: Visit<'_>,
        request: &Request<'_>,
        exchange: Exchange,
        out: &mut Vec<u8>,
    ) -> Outcome {
        let is_json = request.header("content-type").is_some_and(|kind| kind.starts_with(b"application/json"));
        let (status, headers, body) = if let Err(refusal) = self.access.check_token(request) {
            self.complain(visit, &refusal);
            (
                Status::UNAUTHORIZED,
                UNAUTHORIZED,
                "the token of the API is wanted; its file is that of --rpc-token-file\r\n".to_owned(),
            )
        } else if request.method != Method::Post || !is_json {
            (Status::BAD_REQUEST, PLAIN_TEXT, "it is called by POST, with application/json\r\n".to_owned())
        } else if *request.path() == *b"/dashboard/call" {
            let begun = self.begin_work(visit, &request.body, Scope::Dashboard, exchange, out);
            return begun.map_or(Outcome::Answered, Outcome::Working);
        } else if self.cluster.is_some() {
            // Its figures are messages of this server alone, which have no place in an order that several share.
            (Status::SERVICE_UNAVAILABLE, PLAIN_TEXT, NO_FIGURES.to_owned())
        } else {
            match self.open_dashboard(visit.now) {
                Ok(client) => (Status::OK, JSON, client),
                Err(error) => (Status::SERVICE_UNAVAILABLE, PLAIN_TEXT, format!("a limit is reached: {error:?}\r\n")),
            }
        };
        Response { status, headers, body: body.as_bytes() }.write(out, visit.date, exchange);
        Outcome::Answered
    }

    /// A client that is subscribed to the figures: its id, its key, and the channel. It is not listed in channels.
    fn open_dashboard(&mut self, now: Ms) -> Result<String, Error> {
        let name = || String::from_utf8_lossy(&new_key().hex()).into_owned();
        let channel = self.dashboard.channel.get_or_insert_with(|| format!("dashboard-{}", name()));
        let id = format!("admin-dashboard-{}", &name()[..12]);
        self.hub.open_own(now, channel);
        let key = self.hub.create_own_client(now, &id, new_key())?;
        self.hub.subscribe(now, &id, channel, None)?;
        let key = String::from_utf8_lossy(&key.hex()).into_owned();
        Ok(format!("{{\"clientId\":\"{id}\",\"key\":\"{key}\",\"channel\":\"{channel}\"}}"))
    }

    /// When figures are to be published next. `None` while nobody listens.
    #[must_use]
    pub fn figures_due(&self) -> Option<Ms> {
        self.dashboard.due
    }

    /// Publishes the figures, if somebody listens, and says when it is to be done next.
    pub fn publish_figures(&mut self, now: Ms, edge: &Edge) {
        let Dashboard { due, unheard, .. } = &mut self.dashboard;
        if self.hub.own_listeners() > 0 {
            *unheard = 0;
        } else if *unheard == UNHEARD_MAX {
            *due = None;
            return self.hub.forget_busiest();
        } else {
            *unheard += 1;
        }
        *due = Some(now + INTERVAL);
        if *unheard == 0 {
            let text = self.figures(now, edge);
            self.hub.say_own(now, &text);
        }
    }

    fn figures(&mut self, now: Ms, edge: &Edge) -> String {
        let busiest = Figures::busiest(&mut self.hub);
        let refusals = self.refusals(edge).filter(|&(_, count)| count > 0).collect();
        let refused_calls = self.counts.refused_calls.iter().sum();
        Figures::new(now, &self.hub, edge, busiest, refusals, refused_calls).to_json()
    }
}

const NO_FIGURES: &str =
    "there is no dashboard where several nodes share a Redis (--broker); /metrics has the figures of each node\r\n";

const UNAUTHORIZED: &str = "WWW-Authenticate: Bearer\r\nContent-Type: text/plain; charset=utf-8\r\nCache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\n";
