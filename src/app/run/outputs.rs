//! Outputs beside standard output: opened before anything is captured, served once there is
//! something to tell. Without their sections in the config none makes a socket.

use super::{Shared, machine};
use crate::Error;
use crate::config::Config;
use crate::service::http::{Http, Site};
use crate::service::metrics::Published;
use crate::service::mqtt::{self, Mqtt, Report, Reporter};
use crate::service::outbox::Outbox;
use crate::service::ros;
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
    mqtt: Option<Mqtt>,
}

impl Outputs {
    /// Opens what the configuration asks for.
    ///
    /// # Errors
    /// A path, an address or a token that cannot be had.
    pub fn open(config: &Config) -> Result<Outputs, Error> {
        let device = config.device.name();
        let mqtt = config
            .mqtt
            .as_ref()
            .map(|section| Mqtt::open(section, &device));
        if let Some(section) = &config.ros {
            let failed = |fault| Error::Listen(format!("[ros] {fault}"));
            ros::check(&section.way).map_err(failed)?;
        }
        Ok(Outputs {
            socket: config.socket.as_ref().map(Socket::open).transpose()?,
            http: config.http.as_ref().map(Http::open).transpose()?,
            mqtt: mqtt.transpose()?,
        })
    }

    /// Tells them what the sink is told, and serves who connects. What is returned is to be
    /// dropped at the end of the run.
    ///
    /// # Errors
    /// A thread that cannot be started.
    pub fn serve(
        self,
        mut sink: Fanout,
        config: &Config,
        shared: &Arc<Shared>,
        about: About,
    ) -> Result<(Fanout, impl Sized), Error> {
        let failed = |e: io::Error| Error::Listen(format!("an output gets no thread: {e}"));
        let (mut feeds, mut links) = (Vec::new(), Vec::new());
        let mut file = None;
        if let (Some(socket), Some(section)) = (self.socket, &config.socket) {
            let (feed, writer) = Feed::new(section.words);
            feeds.push(("socket", Arc::clone(&feed)));
            sink = sink.also("socket", writer);
            file = Some(socket.serve(feed).map_err(failed)?);
        }
        if let (Some(mqtt), Some(section)) = (self.mqtt, &config.mqtt) {
            let report = Report::new(
                section,
                reported(config, shared, &about),
                Arc::clone(&shared.remote),
            );
            let report = Arc::new(report.map_err(failed)?);
            sink = sink.also("mqtt", Reporter(Arc::clone(&report)));
            links.push(("mqtt", published(&report.outbox)));
            let showing = Arc::clone(&report);
            shared.activity.watch(move |voice| showing.hear(voice));
            let telling = Arc::clone(shared);
            let tell = move |told| telling.status.relay(told);
            mqtt.serve(report, Arc::clone(&shared.remote), tell)
                .map_err(failed)?;
        }
        if let Some(section) = &config.ros {
            let about = of_robot(config, shared, &about);
            let report = ros::Report::new(section, about, Arc::clone(&shared.remote));
            let report = Arc::new(report.map_err(failed)?);
            sink = sink.also("ros", ros::Reporter(Arc::clone(&report)));
            links.push(("ros", published(&report.outbox)));
            let showing = Arc::clone(&report);
            shared.activity.watch(move |voice| showing.hear(voice));
            let telling = Arc::clone(shared);
            let tell = move |told| telling.status.relay(told);
            ros::serve(section.way.clone(), report, tell).map_err(failed)?;
        }
        if let (Some(http), Some(section)) = (self.http, &config.http) {
            let (feed, writer) = Feed::new(section.words);
            feeds.push(("http", Arc::clone(&feed)));
            sink = sink.also("http", writer);
            let site = site(config, section.mute, feed, shared, about);
            http.serve(site).map_err(failed)?;
        }
        shared.metrics.count_readers(feeds);
        shared.metrics.count_published(links);
        Ok((sink, file))
    }
}

/// What the metrics tell of an outbox.
fn published<P: Clone + PartialEq + Send + 'static>(outbox: &Arc<Outbox<P>>) -> Published {
    let outbox = Arc::clone(outbox);
    Published(Box::new(move || outbox.counts()))
}

/// What outputs say of this run.
pub struct About {
    /// Name of the board.
    pub board: String,
    /// Tasks that may answer, with their labels.
    pub tasks: Vec<(String, Vec<String>)>,
    /// There is a camera.
    pub sees: bool,
    /// There is a microphone, and it may be told whether somebody speaks.
    pub hears: bool,
    /// SHA-256 of the configuration's file.
    pub config_sha256: String,
    /// `id@version` of every bundle that answers.
    pub bundles: Vec<String>,
    /// Of the board's CPU.
    pub thermal_zone: Option<String>,
}

/// What the broker hears of this run.
fn reported(config: &Config, shared: &Arc<Shared>, about: &About) -> mqtt::About {
    let healthy = Arc::clone(shared);
    let zone = about.thermal_zone.clone();
    mqtt::About {
        device: config.device.name(),
        board: about.board.clone(),
        bundles: about.bundles.clone(),
        tasks: about.tasks.clone(),
        sees: about.sees,
        hears: about.hears,
        aggregate: config.aggregate,
        setting: config.notice.setting.name(),
        purpose: config.notice.purpose.clone(),
        config_sha256: about.config_sha256.clone(),
        resting: Box::new(move || healthy.health.resting(Instant::now())),
        machine: Box::new(move || machine(zone.as_deref())),
    }
}

/// What a robot hears of this run.
fn of_robot(config: &Config, shared: &Arc<Shared>, about: &About) -> ros::About {
    let healthy = Arc::clone(shared);
    let zone = about.thermal_zone.clone();
    ros::About {
        device: config.device.name(),
        hears: about.hears,
        resting: Box::new(move || healthy.health.resting(Instant::now())),
        machine: Box::new(move || machine(zone.as_deref())),
    }
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
        aggregate: config.aggregate,
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
