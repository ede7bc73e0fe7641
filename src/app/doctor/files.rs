//! The configuration, and the files that `run` is to write.

use super::Check;
use crate::config::Config;
use crate::config::own::IgnoreWhile;
use crate::config::ros::Domain;
use crate::service::http::Token;
use crate::service::mqtt::Mqtt;
use crate::service::ros::{self, Found, Seen};
use crate::service::socket;
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::net::TcpListener;
use std::path::Path;

/// What is written to see whether there is room: more than a page and a record need.
const ROOM: usize = 64 << 10;

/// Reads the configuration, which holds the notice or is refused.
pub(super) fn notice(path: Option<&Path>) -> (Check, Option<Config>) {
    let name = "notice";
    let Some(path) = path else {
        let why = "no --config: notice, devices and files are not checked";
        return (Check::skipped(name, why), None);
    };
    match Config::read(path) {
        Ok(config) => {
            let notice = &config.notice;
            let finding = format!("{}: {}", notice.setting.name(), notice.purpose);
            (Check::ok(name, finding), Some(config))
        }
        Err(e) => (Check::failed(name, e), None),
    }
}

/// Whether the audit log can be written.
pub(super) fn audit(config: Option<&Config>) -> Check {
    let name = "audit";
    let Some(path) = config.and_then(|c| c.audit.file.as_deref()) else {
        return Check::skipped(name, "no [audit] file is configured");
    };
    // one that is there is not made anew, or it would belong to whoever runs the doctor
    let opened = match OpenOptions::new().append(true).open(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other.map(drop),
    };
    written(name, path, opened.and_then(|()| room_beside(path)))
}

/// Whether the page of metrics can be replaced.
pub(super) fn metrics(config: Option<&Config>) -> Check {
    let name = "metrics";
    match config.and_then(|c| c.metrics.file.as_deref()) {
        Some(path) => written(name, path, room_beside(path)),
        None => Check::skipped(name, "no [metrics] file is configured"),
    }
}

/// Whether the socket can be made where it is to lie.
pub(super) fn socket(config: Option<&Config>) -> Check {
    let name = "socket";
    let Some(section) = config.and_then(|c| c.socket.as_ref()) else {
        return Check::skipped(name, "no [socket] is configured");
    };
    listens(name, &section.path, section.group.as_deref())
}

/// Whether the socket of the device's own voice can be made; `None` where there is to be none.
pub(super) fn own_voice(config: Option<&Config>) -> Option<Check> {
    match config?.audio.ignore_while.as_ref()? {
        IgnoreWhile::Connected(voice) => {
            let group = voice.group.as_deref();
            Some(listens("ignore_while", &voice.socket, group))
        }
        IgnoreWhile::Sounds(_) => None,
    }
}

fn listens(name: &'static str, path: &Path, group: Option<&str>) -> Check {
    let shown = path.display();
    if socket::is_served(path) {
        let finding = format!("{shown} is served already; by demeanor, if it runs");
        return Check::warning(name, finding);
    }
    let group = group.map(socket::group).transpose();
    if let Err(what) = socket::check(path).and(group) {
        return Check::failed(name, format!("{shown}: {what}"));
    }
    written(name, path, room_beside(path))
}

/// Whether the token may be used, and the address had.
pub(super) fn http(config: Option<&Config>) -> Check {
    let name = "http";
    let Some(section) = config.and_then(|c| c.http.as_ref()) else {
        return Check::skipped(name, "no [http] is configured");
    };
    let token = section.token_file.as_deref().map(Token::read).transpose();
    if let Err(e) = token {
        return Check::failed(name, e);
    }
    let address = section.listen;
    match TcpListener::bind(address) {
        Ok(_) => Check::ok(name, format!("{address} is free")),
        Err(e) if e.kind() == io::ErrorKind::AddrInUse => {
            let finding = format!("{address} is served already; by demeanor, if it runs");
            Check::warning(name, finding)
        }
        Err(e) => Check::failed(
            name,
            format!("{address}: {e}; choose another in [http] listen"),
        ),
    }
}

/// Days before a certificate's end at which somebody should renew it.
const SOON: i64 = 30;

/// Whether password and certificates may be used, and the broker lets us in.
pub(super) fn mqtt(config: Option<&Config>) -> Check {
    let name = "mqtt";
    let Some((config, section)) = config.and_then(|c| Some((c, c.mqtt.as_ref()?))) else {
        return Check::skipped(name, "no [mqtt] is configured");
    };
    let mqtt = match Mqtt::open(section, &config.device.name()) {
        Ok(mqtt) => mqtt,
        Err(e) => return Check::failed(name, e),
    };
    let now = jiff::Timestamp::now();
    let mut certificates = mqtt.certificates().to_vec();
    let fault = certificates.iter().find_map(|c| c.fault(now));
    match (mqtt.knock(), &fault) {
        (Ok(shown), _) => certificates.extend(shown),
        (Err(refused), None) => return Check::failed(name, refused),
        (Err(refused), Some(fault)) => return Check::failed(name, format!("{refused}; {fault}")),
    }
    let finding = format!("{} lets this device in", section.broker);
    if let Some(fault) = fault {
        return Check::warning(name, format!("{finding}, but {fault}"));
    }
    let Some(first) = certificates.iter().min_by_key(|c| c.until) else {
        return Check::ok(name, finding);
    };
    let (days, whose) = (first.days_left(now), &first.name);
    match days < SOON {
        true => Check::warning(
            name,
            format!("{finding}; {whose} expires in {days} days: renew it"),
        ),
        false => Check::ok(name, format!("{finding}; {whose} holds {days} days more")),
    }
}

/// Whether the bridge lets us in, or who is in the domain.
pub(super) fn ros(config: Option<&Config>) -> Check {
    let name = "ros";
    let Some(section) = config.and_then(|c| c.ros.as_ref()) else {
        return Check::skipped(name, "no [ros] is configured");
    };
    match ros::knock(&section.way) {
        Ok(Found::Bridge(bridge)) => Check::ok(name, format!("{bridge} lets this device in")),
        Ok(Found::Domain(domain, seen)) => seen_in(name, domain, seen),
        Err(fault) => Check::failed(name, fault),
    }
}

fn seen_in(name: &'static str, domain: &Domain, seen: Seen) -> Check {
    let Seen { others, readers } = seen;
    match (others, readers) {
        (0, _) => Check::warning(
            name,
            format!(
                "{domain}: nobody else is seen there; check ROS_DOMAIN_ID of the robot, and that \
                 multicast reaches it"
            ),
        ),
        (_, 0) => Check::ok(
            name,
            format!("{domain}: {others} others are seen, and none reads what is told"),
        ),
        _ => Check::ok(
            name,
            format!("{domain}: {others} others are seen, with {readers} readers of what is told"),
        ),
    }
}

fn written(name: &'static str, path: &Path, tried: io::Result<()>) -> Check {
    let path = path.display();
    match tried {
        Ok(()) => Check::ok(name, format!("{path} can be written")),
        Err(e) => Check::failed(
            name,
            format!("{path}: {e}; check its folder, its owner and the room on its disk"),
        ),
    }
}

/// Writes a file of its own into the same folder and removes it.
fn room_beside(path: &Path) -> io::Result<()> {
    let trial = path.with_file_name(format!(".demeanor-doctor-{}", std::process::id()));
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(&trial)?;
    let tried = file
        .write_all(&[b'\n'; ROOM])
        .and_then(|()| file.sync_all());
    fs::remove_file(&trial).and(tried)
}
