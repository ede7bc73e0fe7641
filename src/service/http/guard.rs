//! Who may ask: a browser that was led here by another site may not, nor one without the token.

use super::request::{Refusal, Request};
use crate::Error;
use crate::config::outputs::Http as Config;
use crate::service::secret;
use sha2::{Digest, Sha256};
use std::net::SocketAddr;
use std::path::Path;

/// The cookie that a browser bears instead of the token, which no script can read.
const COOKIE: &str = "demeanor";
/// Characters of a token: fewer are guessed.
const LEAST_TOKEN: usize = 16;

/// What every request has to bear beyond this machine. Only hashes of it are compared, so that
/// how long that takes says nothing.
#[derive(Debug, Clone)]
pub struct Token {
    hash: [u8; 32],
    /// What the cookie holds: it lets in, and does not give the token away.
    cookie: String,
}

impl Token {
    /// The token of a file.
    ///
    /// # Errors
    /// In a sentence: a file that cannot be read or that others may read, a token that is too
    /// short or has characters that need escapes.
    pub fn read(path: &Path) -> Result<Token, Error> {
        let failed = |what: String| {
            let path = path.display();
            Error::Listen(format!("[http] token_file {path}: {what}"))
        };
        let text = secret::read(path).map_err(&failed)?;
        Token::of(&text).map_err(failed)
    }

    fn of(token: &str) -> Result<Token, String> {
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "-._~".contains(c);
        if token.len() < LEAST_TOKEN || !token.chars().all(is_plain) {
            return Err(format!(
                "a token has {LEAST_TOKEN} and more letters, digits, `-`, `.`, `_` or `~`; \
                 `openssl rand -hex 24` makes one"
            ));
        }
        let seen = Sha256::new().chain_update("cookie ").chain_update(token);
        Ok(Token {
            hash: Sha256::digest(token).into(),
            cookie: hex(&seen.finalize()),
        })
    }

    /// Whether this is the token.
    fn is(&self, token: &str) -> bool {
        is_same(&Sha256::digest(token).into(), &self.hash)
    }

    /// Whether the cookie holds what it should.
    fn is_cookie(&self, cookie: &str) -> bool {
        let (seen, own) = (Sha256::digest(cookie), Sha256::digest(&self.cookie));
        is_same(&seen.into(), &own.into())
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Looks at every byte, wherever the first difference is.
fn is_same(a: &[u8; 32], b: &[u8; 32]) -> bool {
    let differ = a.iter().zip(b).fold(0, |differ, (a, b)| differ | (a ^ b));
    std::hint::black_box(differ) == 0
}

/// Whether a request is let in.
#[derive(Debug, PartialEq, Eq)]
pub enum Entry {
    /// It is.
    Open,
    /// It brought the token in the address of the page: this cookie is to be kept instead.
    Login(String),
}

/// Looks at every request before it is answered.
#[derive(Debug)]
pub struct Guard {
    /// Names, each with or without a port, by which it may be reached.
    hosts: Vec<String>,
    token: Option<Token>,
}

impl Guard {
    /// Lets in what comes to `address` by a name of the configuration's, and bears the token.
    pub fn new(config: &Config, address: SocketAddr, token: Option<Token>) -> Guard {
        let port = address.port();
        let mut hosts: Vec<String> = ["localhost", "127.0.0.1", "[::1]"]
            .map(|name| format!("{name}:{port}"))
            .into();
        if !address.ip().is_unspecified() {
            hosts.push(address.to_string());
        }
        if port == 80 {
            let bare: Vec<String> = hosts.iter().map(|h| h.replace(":80", "")).collect();
            hosts.extend(bare);
        }
        hosts.extend(config.hosts.iter().map(|host| host.to_ascii_lowercase()));
        Guard { hosts, token }
    }

    /// Whether a host, as browsers write it, is one of ours.
    fn is_ours(&self, host: &str) -> bool {
        let host = host.to_ascii_lowercase();
        // behind a proxy, a name of the configuration's may have any port
        let name = match host.rsplit_once(':') {
            Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => name,
            _ => &host,
        };
        self.hosts.iter().any(|h| *h == host || *h == name)
    }

    /// Whether it comes by a name of ours, and from no other site. A name that another site
    /// points here would let its scripts read what is answered.
    ///
    /// # Errors
    /// The refusal.
    pub fn site(&self, request: &Request) -> Result<(), Refusal> {
        let host = request.header("host")?;
        if !host.is_some_and(|host| self.is_ours(host)) {
            return Err(Refusal::new(
                403,
                "this Host is not served here; add its name to hosts in [http]",
            ));
        }
        let Some(origin) = request.header("origin")? else {
            return Ok(());
        };
        let schemes = ["http://", "https://"].iter();
        let mut site = schemes.filter_map(|scheme| origin.strip_prefix(scheme));
        match site.next() {
            Some(site) if self.is_ours(site) => Ok(()),
            _ => Err(Refusal::new(403, "other sites are not answered")),
        }
    }

    /// Whether it bears the token, where one is needed.
    ///
    /// # Errors
    /// The refusal.
    pub fn entry(&self, request: &Request) -> Result<Entry, Refusal> {
        let Some(token) = &self.token else {
            return Ok(Entry::Open);
        };
        let header = request.header("authorization")?.unwrap_or_default();
        let bearer = header.strip_prefix("Bearer ").map(str::trim);
        if bearer.is_some_and(|given| token.is(given)) {
            return Ok(Entry::Open);
        }
        let cookie = request.cookie(COOKIE)?;
        if cookie.is_some_and(|given| token.is_cookie(given)) {
            return Ok(Entry::Open);
        }
        let given = request.query.strip_prefix("token=");
        if request.path == "/" && given.is_some_and(|given| token.is(given)) {
            let cookie = &token.cookie;
            return Ok(Entry::Login(format!(
                "{COOKIE}={cookie}; Path=/; HttpOnly; SameSite=Strict"
            )));
        }
        Err(Refusal::new(
            401,
            "the token is needed: `Authorization: Bearer TOKEN`, or /?token=TOKEN in a browser",
        ))
    }
}
