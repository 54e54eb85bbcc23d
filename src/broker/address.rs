//! Where Redis is, and how it lets us in, as `--broker` has it.
//!
//! ```text
//! redis://[user:password@]host[:port][,host[:port]...][/database]     several: nodes of a Cluster, any of them
//! rediss://...[?ca=/path]                                             the same by TLS
//! redis+sentinel://[user:password@]host[:port],.../NAME[/database]    Sentinels, who know where the master NAME is
//! redis+unix:///path[?db=database]                                    a Unix socket; also unix:///path
//! ```
//!
//! What is not a letter or a digit in a user's name, a password or a path may be written as `%XX`.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// What `--broker` says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// Where to dial, one of them after the other; at least one.
    pub places: Vec<Place>,
    /// The places are Sentinels, who know the master by this name.
    pub master: Option<Box<str>>,
    /// Redis's user; without a name the one that is called `default`.
    pub user: Option<Box<str>>,
    /// The user's password.
    pub password: Option<Password>,
    /// The number of the database.
    pub database: u32,
    /// By TLS.
    pub tls: Option<Tls>,
}

/// Somewhere to dial.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// A name or an address without brackets, and a port.
    Host(Box<str>, u16),
    /// A Unix socket.
    Unix(PathBuf),
}

/// How somebody who is reached by TLS is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tls {
    /// The certificates of who may vouch for it, instead of those that everybody trusts: a PEM file.
    pub ca: Option<PathBuf>,
}

/// A password, which is not shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Password(Box<str>);

const REDIS_PORT: u16 = 6379;
const SENTINEL_PORT: u16 = 26379;

impl FromStr for Address {
    type Err = String;

    /// # Errors
    /// What is wrong and what to write in its place. It shows no part of the text, in which a password may be.
    fn from_str(text: &str) -> Result<Address, String> {
        let (scheme, rest) =
            text.split_once("://").ok_or("no URL: it begins with redis://, as in redis://127.0.0.1")?;
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let query = Query::read(query)?;
        let (authority, path) = rest.find('/').map_or((rest, ""), |at| rest.split_at(at));
        let (login, hosts) =
            authority.rsplit_once('@').map_or((None, authority), |(login, hosts)| (Some(login), hosts));
        let (user, password) = read_login(login.unwrap_or_default())?;
        let (secured, kind) = scheme.strip_prefix("rediss").map_or((false, scheme), |kind| (true, kind));
        let tls = secured.then_some(Tls { ca: query.ca.clone() });
        if secured && !cfg!(feature = "tls") {
            return Err("this program is built without TLS; build it by `cargo build --release --features tls`".into());
        }
        if !secured && query.ca.is_some() {
            return Err("ca is for rediss://, which is TLS".into());
        }
        let mut address = Address { places: Vec::new(), master: None, user, password, database: 0, tls };
        let mut parts = path.trim_start_matches('/').split('/');
        match kind {
            "redis" | "" => {
                address.places = hosts.split(',').map(|host| read_host(host, REDIS_PORT)).collect::<Result<_, _>>()?
            }
            "redis+sentinel" | "+sentinel" => {
                address.places =
                    hosts.split(',').map(|host| read_host(host, SENTINEL_PORT)).collect::<Result<_, _>>()?;
                let name = decoded(parts.next().unwrap_or_default())?;
                if name.is_empty() {
                    return Err(
                        "the master's name is missing, as in redis+sentinel://10.0.0.1,10.0.0.2/mymaster".into()
                    );
                }
                address.master = Some(name.into());
            }
            "redis+unix" | "unix" => {
                if !hosts.is_empty() || path.len() < 2 {
                    return Err("a Unix socket is an absolute path, as in redis+unix:///run/redis/redis.sock".into());
                }
                address.places = vec![Place::Unix(decoded(path)?.into())];
                parts = "".split('/');
            }
            _ => return Err("it begins with redis://, rediss://, redis+sentinel:// or redis+unix://".into()),
        }
        let database = parts.next().filter(|part| !part.is_empty());
        if parts.next().is_some() {
            return Err("there is too much behind the host; a database is a number, as in redis://127.0.0.1/1".into());
        }
        address.database = match (database, query.database) {
            (Some(_), Some(_)) => return Err("the database is named twice".into()),
            (Some(text), None) => read_database(text)?,
            (None, database) => database.unwrap_or_default(),
        };
        Ok(address)
    }
}

/// A URL as it may be shown, right or wrong: without what may be a password.
#[must_use]
pub fn shown(url: &str) -> String {
    let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
    let mark = if scheme.is_empty() { "" } else { "://" };
    let (login, place) = rest.rsplit_once('@').map_or((None, rest), |(login, place)| (Some(login), place));
    let (place, query) = place.split_once('?').map_or((place, None), |(place, query)| (place, Some(query)));
    let user = login.and_then(|login| login.split_once(':')).map_or("", |(user, _)| user);
    let colon = if login.is_some_and(|login| login.contains(':')) { ":" } else { "" };
    let mut text = format!("{scheme}{mark}");
    if login.is_some() {
        text += &format!("{user}{colon}***@");
    }
    text += place;
    for (at, pair) in query.into_iter().flat_map(|query| query.split('&')).enumerate() {
        text += if at == 0 { "?" } else { "&" };
        match pair.split_once('=') {
            Some((name, _)) if name != "db" && name != "ca" => text += &format!("{name}=***"),
            _ => text += pair,
        }
    }
    text
}

/// What stands behind the question mark.
#[derive(Default)]
struct Query {
    database: Option<u32>,
    ca: Option<PathBuf>,
}

impl Query {
    fn read(text: &str) -> Result<Query, String> {
        let mut query = Query::default();
        for pair in text.split('&').filter(|pair| !pair.is_empty()) {
            match pair.split_once('=') {
                Some(("db", value)) => query.database = Some(read_database(value)?),
                Some(("ca", path)) if !path.is_empty() => query.ca = Some(decoded(path)?.into()),
                _ => return Err("behind the question mark may stand db=NUMBER and, with rediss, ca=PATH".into()),
            }
        }
        Ok(query)
    }
}

fn read_login(text: &str) -> Result<(Option<Box<str>>, Option<Password>), String> {
    let (user, password) = text.split_once(':').map_or((text, None), |(user, password)| (user, Some(password)));
    let user = Some(decoded(user)?).filter(|user| !user.is_empty());
    let password = password.map(decoded).transpose()?.filter(|password| !password.is_empty());
    Ok((user.map(Into::into), password.map(|password| Password::new(&password))))
}

fn read_host(text: &str, default_port: u16) -> Result<Place, String> {
    let (host, port) = match text.strip_prefix('[').and_then(|text| text.split_once(']')) {
        Some((host, port)) => {
            host.parse::<Ipv6Addr>().map_err(|_| "what stands in brackets is no IPv6 address, such as [::1]")?;
            (host, port.strip_prefix(':').or_else(|| port.is_empty().then_some("")).ok_or(BAD_HOST)?)
        }
        None => text.split_once(':').unwrap_or((text, "")),
    };
    let is_name = host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte));
    if host.is_empty() || !(is_name || host.parse::<IpAddr>().is_ok()) {
        return Err(BAD_HOST.into());
    }
    let port = if port.is_empty() { Some(default_port) } else { port.parse().ok().filter(|port| *port > 0) };
    Ok(Place::Host(host.into(), port.ok_or("a port is a number from 1 to 65535")?))
}

const BAD_HOST: &str = "a host is a name or an address, as in redis://10.0.0.1:6379 or redis://[::1]; signs in a password are \
                        written %XX, such as %2F for a slash";

fn read_database(text: &str) -> Result<u32, String> {
    text.parse().map_err(|_| "a database is a number, as in redis://127.0.0.1/1".into())
}

/// With `%XX` in place (RFC 3986 section 2.1).
fn decoded(text: &str) -> Result<String, String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, behind @ ..] = rest {
        rest = behind;
        if *first != b'%' {
            bytes.push(*first);
            continue;
        }
        let pair = behind.get(..2).and_then(|pair| std::str::from_utf8(pair).ok());
        let byte = pair.filter(|pair| !pair.starts_with('+')).and_then(|pair| u8::from_str_radix(pair, 16).ok());
        bytes.push(byte.ok_or("behind a % stand two hexadecimal digits; % itself is %25")?);
        rest = &behind[2..];
    }
    String::from_utf8(bytes).map_err(|_| "what is written by %XX is not UTF-8".into())
}

impl Password {
    /// This one.
    #[must_use]
    pub fn new(text: &str) -> Password {
        Password(text.into())
    }

    /// The password itself, for Redis alone.
    pub(super) fn secret(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl Place {
    /// Somebody's word for a host and a port (`MOVED`, Sentinel). Who does not know its own name means the one that we have dialled.
    pub(super) fn named(host: &str, port: u16, dialled: &Place) -> Place {
        match (host, dialled) {
            ("" | "?", Place::Host(host, _)) => Place::Host(host.clone(), port),
            ("" | "?", Place::Unix(_)) => Place::Host("127.0.0.1".into(), port),
            _ => Place::Host(host.into(), port),
        }
    }
}

impl From<&Path> for Place {
    fn from(path: &Path) -> Place {
        Place::Unix(path.to_owned())
    }
}

/// `localhost:6379`, `[::1]:6379`, `/run/redis.sock`.
impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Host(host, port) if host.contains(':') => write!(f, "[{host}]:{port}"),
            Place::Host(host, port) => write!(f, "{host}:{port}"),
            Place::Unix(path) => write!(f, "{}", path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Address {
        text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    fn host(name: &str, port: u16) -> Place {
        Place::Host(name.into(), port)
    }

    #[test]
    fn places_are_read_and_shown() {
        for (text, places) in [
            ("redis://localhost", vec![host("localhost", 6379)]),
            ("redis://10.0.0.1:7000/", vec![host("10.0.0.1", 7000)]),
            ("redis://[::1]", vec![host("::1", 6379)]),
            ("redis://[::1]:7000,b.example", vec![host("::1", 7000), host("b.example", 6379)]),
            ("redis+sentinel://a,b:1/main", vec![host("a", 26379), host("b", 1)]),
            ("unix:///run/redis.sock", vec![Place::Unix("/run/redis.sock".into())]),
            ("redis+unix:///run/a%20b?db=3", vec![Place::Unix("/run/a b".into())]),
        ] {
            assert_eq!(read(text).places, places, "{text}");
        }
        let shown = ["redis://a", "redis://[::1]:7", "unix:///run/s"].map(|text| read(text).places[0].to_string());
        assert_eq!(shown, ["a:6379", "[::1]:7", "/run/s"]);
    }

    #[test]
    fn logins_names_and_databases_are_read() {
        let login = |text: &str| {
            let Address { user, password, .. } = read(text);
            (user.map(String::from), password.map(|password| password.secret().to_owned()))
        };
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(login("redis://h"), (None, None));
        assert_eq!(login("redis://:pw@h"), (None, some("pw")));
        assert_eq!(login("redis://u@h"), (some("u"), None));
        assert_eq!(login("redis://u%40:p@%2F:x@h"), (some("u@"), some("p@/:x")));
        assert_eq!(login("unix://u:pw@/run/s"), (some("u"), some("pw")));
        for (text, database) in [
            ("redis://h", 0),
            ("redis://h/3", 3),
            ("redis://h?db=4", 4),
            ("unix:///s?db=5", 5),
            ("redis+sentinel://h/m/6", 6),
        ] {
            assert_eq!(read(text).database, database, "{text}");
        }
        assert_eq!(read("redis+sentinel://h/a%2Fb").master.as_deref(), Some("a/b"));
    }

    #[test]
    fn what_is_no_address_is_told_what_to_write_and_not_the_password() {
        for (text, told) in [
            ("", "begins with redis://"),
            ("localhost:6379", "begins with redis://"),
            ("http://:secret@h", "begins with redis://"),
            ("redis://", "a host is a name"),
            ("redis://:secret@", "a host is a name"),
            ("redis://:se/cret@h", "a host is a name"),
            ("redis://a,,b", "a host is a name"),
            ("redis://h:secret", "a port is"),
            ("redis://h:0", "a port is"),
            ("redis://h:65536", "a port is"),
            ("redis://[::1", "a host is a name"),
            ("redis://[1.2.3.4]", "no IPv6 address"),
            ("redis://[::1]6379", "a host is a name"),
            ("redis://h/x", "a database is a number"),
            ("redis://h/1/2", "too much"),
            ("redis://h/1?db=1", "twice"),
            ("redis://h?password=secret", "db=NUMBER"),
            ("redis://h?ca=/x", "rediss"),
            ("redis://:%zzsecret@h", "hexadecimal"),
            ("redis://:secret%2@h", "hexadecimal"),
            ("redis://:%ff@h", "UTF-8"),
            ("redis+sentinel://h", "the master's name"),
            ("unix://run/s", "absolute path"),
            ("unix:///", "absolute path"),
        ] {
            let error = text.parse::<Address>().expect_err(text);
            assert!(error.contains(told) && !error.contains("secret"), "{text}: {error}");
            assert!(
                !shown(text).contains("cret") || !text.contains('@') && !text.contains("password"),
                "{}",
                shown(text)
            );
        }
    }

    #[test]
    fn passwords_are_not_shown() {
        for (url, as_shown) in [
            ("redis://u:p@ss/word@h:1/2", "redis://u:***@h:1/2"),
            ("redis://:pw@h", "redis://:***@h"),
            ("redis://pw@h", "redis://***@h"),
            ("pw@h", "***@h"),
            ("redis://h?db=1&password=x&ca=/a", "redis://h?db=1&password=***&ca=/a"),
            ("redis://h/3", "redis://h/3"),
        ] {
            assert_eq!(shown(url), as_shown);
        }
        assert!(!format!("{:?}", read("redis://u:verysecret@h")).contains("verysecret"));
    }

    #[test]
    fn tls_is_refused_where_it_is_not_built_in() {
        let address = "rediss://h?ca=/ca.pem".parse::<Address>();
        if cfg!(feature = "tls") {
            assert_eq!(address.unwrap().tls, Some(Tls { ca: Some("/ca.pem".into()) }));
        } else {
            assert!(address.unwrap_err().contains("--features tls"));
        }
    }
}
