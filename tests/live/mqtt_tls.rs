//! `[mqtt]` by TLS with a real broker: certificates that this test makes, good ones and others.
//!
//! Without mosquitto nothing is tested, unless `DEMEANOR_REQUIRE_MOSQUITTO` is set.

#![cfg(all(unix, feature = "tls"))]
#![allow(clippy::unwrap_used, clippy::panic)] // a test fails by panicking

use crate::support::*;
use broker::*;
use jiff::{Timestamp, ToSpan, civil};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, date_time_ymd,
};
use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;

/// Who signs certificates.
type Ca = CertifiedIssuer<'static, KeyPair>;

fn ca(name: &str) -> Ca {
    let mut params = named(name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

fn named(name: &str) -> CertificateParams {
    let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
    params.distinguished_name.push(DnType::CommonName, name);
    params
}

/// The day so many days from now.
fn day(days: i64) -> civil::Date {
    let now = Timestamp::now().to_zoned(jiff::tz::TimeZone::UTC);
    now.date() + days.days()
}

/// Certificates and keys in files of a folder.
struct Files {
    folder: Folder,
}

impl Files {
    /// A certificate for `name` that holds from and until so many days from now, and its key.
    fn signed(&self, ca: &Ca, name: &str, (from, until): (i64, i64)) -> (String, String) {
        let mut params = named(name);
        let date =
            |day: civil::Date| date_time_ymd(day.year().into(), day.month() as u8, day.day() as u8);
        params.not_before = date(day(from));
        params.not_after = date(day(until));
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, ca).unwrap();
        let file = |end: &str| format!("{name}{from}{until}{end}");
        let key = self.folder.file(&file(".key"), key.serialize_pem());
        fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
        (self.folder.file(&file(".pem"), certificate.pem()), key)
    }

    fn ca(&self, name: &str, ca: &Ca) -> String {
        self.folder.file(&format!("{name}.ca"), ca.pem())
    }

    /// A broker that speaks TLS on a port, and in the clear on another.
    fn broker(&self, (cert, key): &(String, String), more: &str) -> Option<(Running, u16, u16)> {
        let (tls, clear) = (free_port(), free_port());
        // started by root, it would not read its key as another user
        let config = format!(
            "user root\nallow_anonymous true\nlistener {clear} 127.0.0.1\n\
             listener {tls} 127.0.0.1\ncertfile {cert}\nkeyfile {key}\n{more}"
        );
        let config = self.folder.file(&format!("{tls}.conf"), config);
        Some((broker(&["-c", &config], tls)?, tls, clear))
    }

    fn doctor(&self, section: &str) -> (String, String) {
        let config = config(&self.folder, section);
        let ran = demeanor(&["doctor", "--board", "host", "--json", "--config", &config]);
        let report: serde_json::Value = serde_json::from_str(&ran.out).expect(&ran.err);
        let checks = report["checks"].as_array().unwrap();
        let check = checks.iter().find(|c| c["name"] == "mqtt").unwrap();
        let word = |key: &str| check[key].as_str().unwrap().to_owned();
        (word("verdict"), word("finding"))
    }
}

const HOLDS: (i64, i64) = (-2, 90);

/// A line of [mqtt] for a broker by its name.
fn section(port: u16, ca: &str, own: Option<&(String, String)>) -> String {
    let own = own.map(|(cert, key)| format!("cert = {cert:?}\nkey = {key:?}\n"));
    let own = own.unwrap_or_default();
    format!("broker = \"mqtts://localhost:{port}\"\nca = {ca:?}\n{own}")
}

#[test]
fn a_broker_that_knows_the_device_by_its_certificate_hears_answers() {
    let folder = Folder::new();
    let files = Files { folder };
    let ours = ca("our fleet");
    let trusted = files.ca("ours", &ours);
    let broker_own = files.signed(&ours, "localhost", HOLDS);
    let own = files.signed(&ours, "door", HOLDS);
    for version in ["tlsv1.2", "tlsv1.3"] {
        let more = format!("cafile {trusted}\nrequire_certificate true\ntls_version {version}\n");
        let Some((_broker, tls, clear)) = files.broker(&broker_own, &more) else {
            return;
        };
        let (_watcher, heard) = subscribe(clear, "demeanor/#", &[]);
        let (mut child, mut words, out) = run(&files.folder, &section(tls, &trusted, Some(&own)));
        heard.wait(&["availability online"]);
        writeln!(words, "this makes me very happy").unwrap();
        heard.wait(&["event/emotion", "\"label\":\"happy\""]);
        publish(clear, "demeanor/door/mute/set", "ON", &[]);
        out.wait(&["\"remote\"", "\"muted\""]);
        drop(words);
        heard.wait(&["availability offline"]);
        assert_eq!(child.exit_code(), Some(0));
        let (verdict, finding) = files.doctor(&section(tls, &trusted, Some(&own)));
        assert_eq!(verdict, "ok", "{finding}");
        assert!(
            finding.contains("lets this device in; ") && finding.contains("days more"),
            "{finding}"
        );
    }
}

#[test]
fn a_broker_that_cannot_be_trusted_is_told_in_a_sentence() {
    let folder = Folder::new();
    let files = Files { folder };
    let (ours, theirs) = (ca("our fleet"), ca("somebody else"));
    let trusted = files.ca("ours", &ours);
    let expired = format!("has expired on {}", day(-1));
    let early = format!("is not valid before {}", day(30));
    let cases = [
        (
            &theirs,
            "localhost",
            HOLDS,
            "is not signed by the CA of [mqtt] ca",
        ),
        (&ours, "localhost", (-90, -1), &*expired),
        (&ours, "localhost", (30, 90), &*early),
        (&ours, "hub.local", HOLDS, "is not for `localhost`"),
    ];
    for (signer, name, dates, sentence) in cases {
        let own = files.signed(signer, name, dates);
        let Some((_broker, tls, clear)) = files.broker(&own, "") else {
            return;
        };
        is_told(&Folder::new(), &section(tls, &trusted, None), sentence);
        let (verdict, finding) = files.doctor(&section(tls, &trusted, None));
        assert_eq!(verdict, "failed", "{finding}");
        assert!(finding.contains(sentence), "{finding}");
        // nobody speaks TLS there
        is_told(
            &Folder::new(),
            &section(clear, &trusted, None),
            "check the port",
        );
    }
}

#[test]
fn a_device_that_the_broker_does_not_trust_is_told_why() {
    let folder = Folder::new();
    let files = Files { folder };
    let (ours, theirs) = (ca("our fleet"), ca("somebody else"));
    let trusted = files.ca("ours", &ours);
    let more = format!("cafile {trusted}\nrequire_certificate true\n");
    let broker_own = files.signed(&ours, "localhost", HOLDS);
    let Some((_broker, tls, _)) = files.broker(&broker_own, &more) else {
        return;
    };
    let old = files.signed(&ours, "door", (-90, -1));
    let strange = files.signed(&theirs, "door", HOLDS);
    for (own, sentence) in [
        (
            None,
            "it wants a certificate of this device; name cert and key",
        ),
        (Some(&old), "our certificate has expired; renew [mqtt] cert"),
        (
            Some(&strange),
            "have [mqtt] cert signed by a CA that it trusts",
        ),
    ] {
        is_told(&Folder::new(), &section(tls, &trusted, own), sentence);
    }
    let (verdict, finding) = files.doctor(&section(tls, &trusted, Some(&old)));
    assert_eq!(verdict, "failed", "{finding}");
    assert!(
        finding.contains(&format!("door-90-1.pem has expired ({}", day(-1))),
        "{finding}"
    );
    let soon = files.signed(&ours, "door", (-2, 5));
    let (verdict, finding) = files.doctor(&section(tls, &trusted, Some(&soon)));
    assert_eq!(verdict, "warning", "{finding}");
    assert!(finding.contains("expires in 4 days: renew it"), "{finding}");
}

#[test]
fn certificates_that_are_of_no_use_are_told_before_anything_is_opened() {
    let folder = Folder::new();
    let files = Files { folder };
    let ours = ca("our fleet");
    let trusted = files.ca("ours", &ours);
    let (cert, key) = files.signed(&ours, "door", HOLDS);
    let (_, other) = files.signed(&ours, "window", HOLDS);
    let open = files.folder.file("open.key", fs::read(&key).unwrap());
    fs::set_permissions(&open, fs::Permissions::from_mode(0o644)).unwrap();
    let gone = "/nowhere/ca.pem".to_owned();
    for (ca, key, sentence) in [
        (&gone, &key, "ca /nowhere/ca.pem: "),
        (&trusted, &open, "chmod 600"),
        (&trusted, &other, "do not belong together"),
        (&trusted, &cert, "name a file with a private key"),
    ] {
        if *key == cert {
            fs::set_permissions(key, fs::Permissions::from_mode(0o600)).unwrap();
        }
        let own = (cert.clone(), key.clone());
        let path = config(&files.folder, &section(8883, ca, Some(&own)));
        demeanor(&["run", "--config", &path]).is_error(sentence);
    }
}
