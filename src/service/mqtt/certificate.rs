//! From when to when certificates hold, for whoever renews them.

use jiff::Timestamp;

/// What is known of a certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate {
    /// Whose it is: a field of `[mqtt]` with its file, or the broker's.
    pub name: String,
    /// It holds no earlier.
    pub from: Timestamp,
    /// It holds no later.
    pub until: Timestamp,
}

impl Certificate {
    /// Reads the dates of one in DER; `None` where it cannot be read.
    #[cfg(feature = "tls")]
    pub fn read(name: &str, der: &[u8]) -> Option<Certificate> {
        use x509_cert::der::Decode;
        let read = x509_cert::Certificate::from_der(der).ok()?;
        let validity = read.tbs_certificate().validity();
        let at = |time: x509_cert::time::Time| {
            let seconds = i64::try_from(time.to_unix_duration().as_secs()).ok()?;
            Timestamp::from_second(seconds).ok()
        };
        Some(Certificate {
            name: name.to_owned(),
            from: at(validity.not_before)?,
            until: at(validity.not_after)?,
        })
    }

    /// In a sentence, why it does not hold now.
    pub fn fault(&self, now: Timestamp) -> Option<String> {
        let Certificate { name, from, until } = self;
        if now > *until {
            return Some(format!(
                "{name} has expired ({until}; it is {now:.0}); renew it, or set the clock"
            ));
        }
        (now < *from).then(|| {
            format!(
                "{name} is not valid yet (before {from}; it is {now:.0}); set the clock, by NTP say"
            )
        })
    }

    /// Days that are left, rounded down.
    pub fn days_left(&self, now: Timestamp) -> i64 {
        self.until.duration_since(now).as_secs() / 86_400
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_holds_between_its_dates_alone() {
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        let certificate = Certificate {
            name: "cert".into(),
            from: at("2026-01-01T00:00:00Z"),
            until: at("2026-03-01T00:00:00Z"),
        };
        for (now, what) in [
            ("1970-01-01T00:00:07Z", "not valid yet (before 2026-01-01"),
            ("2026-01-01T00:00:00Z", ""),
            ("2026-03-01T00:00:00Z", ""),
            ("2026-03-01T00:00:01Z", "has expired (2026-03-01"),
        ] {
            let said = certificate.fault(at(now)).unwrap_or_default();
            assert_eq!(said.is_empty(), what.is_empty(), "{now}: {said}");
            assert!(said.contains(what), "{now}: {said}");
        }
        assert_eq!(certificate.days_left(at("2026-02-26T23:00:00Z")), 2);
    }
}
