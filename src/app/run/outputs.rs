//! Outputs beside standard output: opened before anything is captured, served once there is
//! something to tell. Without their sections in the config no socket is made.

use super::{Shared, machine};
use crate::Error;
use crate::config::Config;
use crate::service::http::{Http, Site};
use crate::service::socket::Socket;
use crate::sink::Fanout;
use crate::sink::feed::Feed;
use std::io;
use std::sync::Arc;
use std::time::Instant;

/// Outputs that can be connected to already.
pub struct Outputs {
    socket: Option<Socket>,
    http: Option<Http>,
}

impl Outputs {
    /// Opens what the configuration asks for.
    ///
    /// # Errors
    /// A path, an address or a token that cannot be had.
    pub fn open(config: &Config) -> Result<Outputs, Error> {
        Ok(Outputs {
            socket: config.socket.as_ref().map(Socket::open).transpose()?,
            http: config.http.as_ref().map(Http::open).transpose()?,
        })
    }

    /// Tells them what the sink is told, and serves who connects. What is returned is to be
    /// dropped at the end of the run.
    ///
    /// # Errors
    /// The system's, when it gives no thread.
    pub fn serve(
        self,
        mut sink: Fanout,
        config: &Config,
        shared: &Arc<Shared>,
        about: About,
    ) -> Result<(Fanout, impl Sized), Error> {
        let failed = |e: io::Error| Error::Listen(format!("an output gets no thread: {e}"));
        let mut feeds = Vec::new();
        let mut file = None;
        if let (Some(socket), Some(section)) = (self.socket, &config.socket) {
            let (feed, writer) = Feed::new(section.words);
            feeds.push(("socket", Arc::clone(&feed)));
            sink = sink.also("socket", writer);
            file = Some(socket.serve(feed).map_err(failed)?);
        }
        if let (Some(http), Some(section)) = (self.http, &config.http) {
            let (feed, writer) = Feed::new(section.words);
            feeds.push(("http", Arc::clone(&feed)));
            sink = sink.also("http", writer);
            let site = site(config, section.mute, feed, shared, about);
            http.serve(site).map_err(failed)?;
        }
        shared.metrics.count_readers(feeds);
        Ok((sink, file))
    }
}

/// What the page says of this run.
pub struct About {
    /// `id@version` of every bundle that answers.
    pub bundles: Vec<String>,
    /// Of the board's CPU.
    pub thermal_zone: Option<String>,
}

fn site(
    config: &Config,
    can_mute: bool,
    feed: Arc<Feed>,
    shared: &Arc<Shared>,
    about: About,
) -> Site {
    let (healthy, counted) = (Arc::clone(shared), Arc::clone(shared));
    let zone = about.thermal_zone;
    let read = zone.clone();
    Site {
        notice: config.notice.clone(),
        device: config.device.name(),
        bundles: about.bundles,
        can_mute,
        remote: Arc::clone(&shared.remote),
        feed,
        resting: Box::new(move || healthy.health.resting(Instant::now())),
        metrics: Box::new(move || {
            let now = Instant::now();
            counted.metrics.render(&machine(zone.as_deref()), now)
        }),
        machine: Box::new(move || machine(read.as_deref())),
        started: Instant::now(),
    }
}
