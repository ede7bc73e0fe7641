//! TLS to the broker, where the program was built with it (cargo feature `tls`).

#[cfg(feature = "tls")]
pub use with::Tls;
#[cfg(not(feature = "tls"))]
pub use without::Tls;

#[cfg(not(feature = "tls"))]
mod without {
    use super::super::link::Stream;
    use crate::config::mqtt::Mqtt as Config;
    use std::io;
    use std::net::TcpStream;
    use std::time::Instant;

    /// There is none.
    #[derive(Debug)]
    pub enum Tls {}

    impl Tls {
        /// Says so.
        ///
        /// # Errors
        /// Always.
        pub fn open(_: &Config) -> Result<Tls, String> {
            Err(
                "this program was built without TLS; build it with --features tls, or write \
                 broker = \"mqtt://…\""
                    .into(),
            )
        }

        pub fn connect(&self, _: &str, _: TcpStream, _: Instant) -> io::Result<Box<dyn Stream>> {
            match *self {}
        }

        pub fn explain(_: &str, _: &io::Error) -> Option<String> {
            None
        }
    }
}

#[cfg(feature = "tls")]
mod with {
    use super::super::link::{Stream, readable};
    use crate::config::mqtt::Mqtt as Config;
    use crate::service::secret;
    use rustix::event::{PollFd, PollFlags};
    use rustls::pki_types::pem::PemObject;
    use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
    use rustls::time_provider::{DefaultTimeProvider, TimeProvider};
    use rustls::{
        AlertDescription, CertificateError, ClientConfig, ClientConnection, Error, RootCertStore,
        StreamOwned,
    };
    use std::fs;
    use std::io::{self, Read, Write};
    use std::net::TcpStream;
    use std::os::fd::{AsFd, BorrowedFd};
    use std::os::unix::fs::PermissionsExt;
    use std::path::Path;
    use std::sync::Arc;
    use std::time::Instant;

    /// Whom we trust, and what we show of ourselves.
    #[derive(Debug, Clone)]
    pub struct Tls(Arc<ClientConfig>);

    impl Tls {
        /// Reads the certificates of the configuration.
        ///
        /// # Errors
        /// In a sentence, a file that is not there, holds something else, or may be read by others.
        pub fn open(config: &Config) -> Result<Tls, String> {
            Tls::with_clock(config, Arc::new(DefaultTimeProvider))
        }

        /// The same by another clock than the machine's.
        pub(in super::super) fn with_clock(
            config: &Config,
            clock: Arc<dyn TimeProvider>,
        ) -> Result<Tls, String> {
            let mut roots = RootCertStore::empty();
            if let Some(path) = &config.ca {
                for certificate in certificates("ca", path)? {
                    roots.add(certificate).map_err(|e| {
                        format!("ca {}: it is no certificate of a CA ({e})", path.display())
                    })?;
                }
            }
            let provider = Arc::new(rustls::crypto::ring::default_provider());
            let builder = ClientConfig::builder_with_details(provider, clock)
                .with_safe_default_protocol_versions()
                .map_err(|e| e.to_string())?
                .with_root_certificates(roots);
            let config = match (&config.cert, &config.key) {
                (Some(cert), Some(path)) => {
                    let chain = certificates("cert", cert)?;
                    builder
                        .with_client_auth_cert(chain, key(path)?)
                        .map_err(|e| {
                            let (cert, key) = (cert.display(), path.display());
                            format!("cert {cert} and key {key} do not belong together ({e})")
                        })?
                }
                _ => builder.with_no_client_auth(),
            };
            Ok(Tls(Arc::new(config)))
        }

        /// Makes the connection a secret one, until `end`.
        ///
        /// # Errors
        /// The other side's certificate, or what it does.
        pub fn connect(
            &self,
            host: &str,
            mut stream: TcpStream,
            end: Instant,
        ) -> io::Result<Box<dyn Stream>> {
            let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
            let connection = ClientConnection::new(Arc::clone(&self.0), name);
            let mut connection = connection.map_err(io::Error::other)?;
            while connection.is_handshaking() {
                while connection.wants_write() {
                    connection.write_tls(&mut stream)?;
                }
                if !connection.is_handshaking() {
                    break;
                }
                let left = end.saturating_duration_since(Instant::now());
                let mut polled = [PollFd::new(&stream, PollFlags::IN)];
                if left.is_zero() {
                    return Err(io::ErrorKind::TimedOut.into());
                }
                if readable(&mut polled, left)? {
                    take(&mut connection, &mut stream)?;
                }
            }
            Ok(Box::new(StreamOwned::new(connection, stream)))
        }

        /// What an error of TLS means, with advice.
        pub fn explain(host: &str, e: &io::Error) -> Option<String> {
            let error = e.get_ref()?.downcast_ref::<Error>()?;
            Some(match error {
                Error::InvalidCertificate(why) => distrusted(host, why),
                Error::AlertReceived(alert) => refused(*alert),
                Error::InvalidMessage(_) => {
                    "what it speaks is no TLS; check the port, or write broker = \"mqtt://…\""
                        .into()
                }
                other => format!("TLS fails ({other})"),
            })
        }
    }

    /// Why its certificate is not accepted.
    fn distrusted(host: &str, why: &CertificateError) -> String {
        match why {
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => format!(
                "its certificate has expired, by this machine's clock ({}); renew it, or set the \
                 clock",
                today()
            ),
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => format!(
                "its certificate is not valid yet, by this machine's clock ({}); set the clock, \
                 by NTP say",
                today()
            ),
            CertificateError::UnknownIssuer => {
                "its certificate is not signed by the CA of [mqtt] ca; name the file with its CA"
                    .into()
            }
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                format!(
                    "its certificate is not for `{host}`; write in [mqtt] broker a name that it \
                     holds"
                )
            }
            other => format!("its certificate is not accepted ({other})"),
        }
    }

    fn today() -> String {
        let now = crate::event::now();
        now.map_or_else(|| "no date".into(), |now| format!("{now:.0}"))
    }

    /// Why it does not accept ours.
    fn refused(alert: AlertDescription) -> String {
        match alert {
            AlertDescription::CertificateRequired | AlertDescription::HandshakeFailure => {
                "it wants a certificate of this device; name cert and key in [mqtt]".into()
            }
            AlertDescription::CertificateExpired => {
                "it says that our certificate has expired; renew [mqtt] cert, or set its clock"
                    .into()
            }
            AlertDescription::UnknownCA
            | AlertDescription::BadCertificate
            | AlertDescription::CertificateUnknown
            | AlertDescription::CertificateRevoked
            | AlertDescription::UnsupportedCertificate => {
                "it does not accept our certificate; have [mqtt] cert signed by a CA that it trusts"
                    .into()
            }
            other => format!("it ends TLS ({other:?}); its log says why"),
        }
    }

    fn certificates(field: &str, path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
        let at = path.display();
        let failed = |e| format!("{field} {at}: {e}; name a file with certificates in PEM");
        let read = CertificateDer::pem_file_iter(path).map_err(failed)?;
        let found: Vec<_> = read.collect::<Result<_, _>>().map_err(failed)?;
        match found.is_empty() {
            true => Err(format!(
                "{field} {at}: no certificate is in it; name one in PEM"
            )),
            false => Ok(found),
        }
    }

    fn key(path: &Path) -> Result<PrivateKeyDer<'static>, String> {
        let at = path.display();
        let mode = fs::metadata(path).map_err(|e| format!("key {at}: {e}"))?;
        secret::check(mode.permissions().mode()).map_err(|what| format!("key {at}: {what}"))?;
        PrivateKeyDer::from_pem_file(path)
            .map_err(|e| format!("key {at}: {e}; name a file with a private key in PEM"))
    }

    /// Takes what has come, once; `false` at the end.
    fn take(connection: &mut ClientConnection, stream: &mut TcpStream) -> io::Result<bool> {
        let read = connection.read_tls(stream)?;
        if let Err(e) = connection.process_new_packets() {
            // tells the other side why
            let _ = connection.write_tls(stream);
            return Err(io::Error::other(e));
        }
        match read {
            0 if connection.is_handshaking() => Err(io::ErrorKind::UnexpectedEof.into()),
            n => Ok(n > 0),
        }
    }

    impl Stream for StreamOwned<ClientConnection, TcpStream> {
        fn fd(&self) -> BorrowedFd<'_> {
            self.sock.as_fd()
        }

        fn receive(&mut self, into: &mut Vec<u8>) -> io::Result<bool> {
            let goes_on = take(&mut self.conn, &mut self.sock)?;
            let mut bytes = [0; 4096];
            loop {
                match self.conn.reader().read(&mut bytes) {
                    Ok(0) => return Ok(false),
                    Ok(n) => into.extend_from_slice(&bytes[..n]),
                    Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(goes_on),
                    Err(e) => return Err(e),
                }
            }
        }

        fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
            self.write_all(bytes)?;
            self.flush()
        }
    }
}
