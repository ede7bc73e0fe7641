//! A page for people, live events and figures for programs, by HTTP on this machine.
//!
//! One thread a connection, a few at a time, each within limits; whoever infers waits for none
//! of them. Requests are parsed by `httparse`; there are seven routes and no files.

mod answer;
mod guard;
mod page;
mod request;
mod site;

pub use guard::Token;
pub use site::Site;

use crate::Error;
use crate::config::outputs::Http as Config;
use crate::service::socket::has_left;
use crate::sink::feed::{Next, Reader};
use answer::{Answer, POLICY};
use guard::{Entry, Guard};
use request::{Refusal, Request};
use serde_json::{Value, json};
use std::io::{self, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// Connections at a time.
const MOST_CONNECTIONS: usize = 8;
/// Of these, readers of live events.
const MOST_READERS: usize = 4;
/// Whoever takes nothing for so long is cut.
const PATIENCE: Duration = Duration::from_secs(2);
/// How often a reader that went away is looked for while nothing is told.
const LOOK: Duration = Duration::from_secs(1);
/// A reader to whom nothing is told hears this often that the connection is alive.
const ALIVE: Duration = Duration::from_secs(15);
/// Pause after a connection that could not be taken.
const PAUSE: Duration = Duration::from_millis(200);
/// A wish to mute is obeyed within this time, or the answer says how it is then.
const OBEYED: Duration = Duration::from_secs(1);

/// An address that can be connected to; who does so waits until it is served.
#[derive(Debug)]
pub struct Http {
    listener: TcpListener,
    guard: Guard,
}

impl Http {
    /// Takes the address.
    ///
    /// # Errors
    /// A token that is not as it should be, an address that is not this machine's or is taken.
    pub fn open(config: &Config) -> Result<Http, Error> {
        let token = config.token_file.as_deref().map(Token::read).transpose()?;
        let listen = config.listen;
        let failed = |e: io::Error| {
            let what = match e.kind() {
                io::ErrorKind::AddrInUse => "another program listens there; choose another port",
                io::ErrorKind::AddrNotAvailable => "this machine has no such address",
                io::ErrorKind::PermissionDenied => "it needs a privilege; choose a port from 1024",
                _ => return Error::Listen(format!("[http] listen {listen}: {e}")),
            };
            Error::Listen(format!("[http] listen {listen}: {what}"))
        };
        let listener = TcpListener::bind(listen).map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        Ok(Http {
            listener,
            guard: Guard::new(config, address, token),
        })
    }

    /// Serves whoever connects, in threads of its own.
    ///
    /// # Errors
    /// The system's, when it gives no thread.
    pub fn serve(self, site: Site) -> io::Result<()> {
        let door = Arc::new(Door {
            guard: self.guard,
            site,
            inside: AtomicUsize::new(0),
        });
        let serving = thread::Builder::new().name("http".into());
        serving.spawn(move || {
            loop {
                match self.listener.accept() {
                    Ok((stream, _)) => Door::welcome(&door, stream),
                    Err(e) => {
                        log::debug!("an HTTP connection could not be taken: {e}");
                        thread::sleep(PAUSE);
                    }
                }
            }
        })?;
        Ok(())
    }
}

/// Everything that a connection needs.
struct Door {
    guard: Guard,
    site: Site,
    /// Connections.
    inside: AtomicUsize,
}

/// Somebody is inside; to be dropped when they leave.
struct Visit(Arc<Door>);

impl Drop for Visit {
    fn drop(&mut self) {
        self.0.inside.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Door {
    /// Gives a connection a thread, if there is room.
    fn welcome(door: &Arc<Door>, mut stream: TcpStream) {
        // told at once, and each event by itself
        let _ = stream.set_nodelay(true);
        if stream.set_write_timeout(Some(PATIENCE)).is_err() {
            return;
        }
        let visit = Visit(Arc::clone(door));
        if door.inside.fetch_add(1, Ordering::AcqRel) >= MOST_CONNECTIONS {
            // the buffers of a new connection hold this
            let refused = Answer::text(503, "too many connections; try again in a moment");
            let _ = refused.with("Retry-After", "1").begin(&mut stream);
            return;
        }
        let visiting = thread::Builder::new().name("http visit".into());
        let spawned = visiting.spawn(move || {
            if let Err(e) = visit.0.visit(&mut stream) {
                log::debug!("an HTTP connection ended early: {e}");
            }
        });
        if let Err(e) = spawned {
            log::debug!("an HTTP connection got no thread: {e}");
        }
    }

    fn visit(&self, stream: &mut TcpStream) -> io::Result<()> {
        let request = match Request::read(stream, request::PATIENCE) {
            Ok(Some(request)) => request,
            Ok(None) => return Ok(()),
            Err(refusal) => return refused(&refusal).send(stream),
        };
        match self.answer(&request) {
            Ok(Reply::Whole(answer)) => answer.send(stream),
            Ok(Reply::Events(reader)) => tell(stream, reader),
            Err(refusal) => refused(&refusal).send(stream),
        }
    }

    fn answer(&self, request: &Request) -> Result<Reply, Refusal> {
        self.guard.site(request)?;
        let site = &self.site;
        // a probe has no token, and learns nothing about anybody
        if request.path == "/healthz" {
            only("GET", request)?;
            return Ok(Reply::Whole(healthy(&(site.resting)())));
        }
        if let Entry::Login(cookie) = self.guard.entry(request)? {
            only("GET", request)?;
            let answer = Answer::text(303, "the page is at /");
            let answer = answer.with("Location", "/").with("Set-Cookie", cookie);
            return Ok(Reply::Whole(answer));
        }
        if request.path == "/api/mute" {
            only("POST", request)?;
            return self.mute(request).map(Reply::Whole);
        }
        let answer = match request.path.as_str() {
            "/" => Answer::new(200, "text/html; charset=utf-8", page::PAGE)
                .with(POLICY, &**page::POLICY),
            "/events" => {
                only("GET", request)?;
                return self.events(request).map(Reply::Events);
            }
            "/api/state" => Answer::json(&site.state()),
            "/api/last" => Answer::json(&site.last()),
            "/metrics" => {
                let accept = request.header("accept")?.unwrap_or_default();
                let (kind, page) = site.figures(accept);
                Answer::new(200, kind, page)
            }
            _ => {
                return Err(Refusal::new(
                    404,
                    "there are /, /events, /api/state, /api/last, /api/mute, /metrics and /healthz",
                ));
            }
        };
        only("GET", request)?;
        Ok(Reply::Whole(answer))
    }

    /// A reader of live events, and of what it missed since the last time.
    fn events(&self, request: &Request) -> Result<Reader, Refusal> {
        let seen = request.header("last-event-id")?;
        let reader = self.site.feed.join(MOST_READERS);
        let full = "there are as many readers of events as can be; try again in a moment";
        let mut reader = reader.ok_or(Refusal::new(503, full))?;
        if let Some(seen) = seen.and_then(|seen| seen.parse().ok()) {
            reader.rewind(seen);
        }
        Ok(reader)
    }

    /// Turns the remote latch, and says what came of it.
    fn mute(&self, request: &Request) -> Result<Answer, Refusal> {
        if !self.site.can_mute {
            return Err(Refusal::new(403, "mute = false in [http] forbids it"));
        }
        // a form of another site cannot send this type without asking first
        let kind = request.header("content-type")?.unwrap_or_default();
        let kind = kind.split(';').next().unwrap_or_default().trim();
        if !kind.eq_ignore_ascii_case("application/json") {
            return Err(Refusal::new(
                415,
                "Content-Type: application/json is needed",
            ));
        }
        let body: Value = serde_json::from_slice(&request.body).unwrap_or_default();
        let Some(mutes) = body.get("muted").and_then(Value::as_bool) else {
            return Err(Refusal::new(
                400,
                "the body is {\"muted\":true} or {\"muted\":false}",
            ));
        };
        self.site.remote.wish(mutes);
        let shown = self.site.remote.obeyed(OBEYED);
        Ok(Answer::json(&json!({
            "capturing": shown.is_capturing,
            "muted": shown.latches.is_muted(),
            "muted_by": shown.latches.closed_by(),
        })))
    }
}

/// What a request gets.
enum Reply {
    Whole(Answer),
    Events(Reader),
}

fn only(method: &str, request: &Request) -> Result<(), Refusal> {
    match request.method == method {
        true => Ok(()),
        false if method == "POST" => Err(Refusal::new(405, "only POST is answered here")),
        false => Err(Refusal::new(405, "only GET is answered here")),
    }
}

fn refused(refusal: &Refusal) -> Answer {
    let answer = Answer::text(refusal.status, refusal.why);
    match refusal.status {
        401 => answer.with("WWW-Authenticate", "Bearer"),
        405 => answer.with("Allow", refusal.why.split(' ').nth(1).unwrap_or_default()),
        503 => answer.with("Retry-After", "1"),
        _ => answer,
    }
}

fn healthy(resting: &[&str]) -> Answer {
    match resting {
        [] => Answer::text(200, "ok"),
        _ => Answer::text(503, &format!("no progress of {}", resting.join(" and "))),
    }
}

/// Tells a reader everything, until it goes, falls behind, or all is told.
fn tell(stream: &mut TcpStream, mut reader: Reader) -> io::Result<()> {
    Answer::new(200, "text/event-stream", "").begin(stream)?;
    stream.write_all(b"retry: 2000\n\n")?;
    let mut told = Instant::now();
    loop {
        let written = match reader.next(LOOK) {
            Next::Line(line) => {
                told = Instant::now();
                let text = format!("id: {}\ndata: {}\n\n", line.seq, line.json());
                stream.write_all(text.as_bytes())
            }
            // it comes again, and says what it saw last
            Next::Behind => {
                reader.cut();
                return Ok(());
            }
            Next::Closed => return Ok(()),
            Next::Idle if has_left(&*stream) => return Ok(()),
            Next::Idle if told.elapsed() < ALIVE => Ok(()),
            Next::Idle => {
                told = Instant::now();
                stream.write_all(b":\n\n")
            }
        };
        if let Err(e) = written {
            if matches!(
                e.kind(),
                io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut
            ) {
                reader.cut();
            }
            return Err(e);
        }
    }
}

#[cfg(test)]
mod tests;
