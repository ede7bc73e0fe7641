//! TLS to the broker, where the program was built with it (cargo feature `tls`).

#[cfg(feature = "tls")]
pub use with::Tls;
#[cfg(not(feature = "tls"))]
pub use without::Tls;

#[cfg(not(feature = "tls"))]
mod without {
    use super::super::certificate::Certificate;
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

        pub fn certificates(&self) -> &[Certificate] {
            match *self {}
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
    use super::super::certificate::Certificate;
    use super::super::link::Stream;
    use crate::config::mqtt::Mqtt as Config;
    use crate::service::{secret, tcp};
    use rustix::event::{PollFd, PollFlags};
    use rustls::pki_types::pem::PemObject;
    use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
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
    pub struct Tls {
        config: Arc<ClientConfig>,
        certificates: Vec<Certificate>,
    }

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
            let mut dated = Vec::new();
            if let Some(path) = &config.ca {
                let trusted = certificates("ca", path)?;
                // one of them is enough: the one that holds the longest counts
                let name = format!("ca {}", path.display());
                let read = trusted.iter().filter_map(|c| Certificate::read(&name, c));
                dated.extend(read.max_by_key(|certificate| certificate.until));
                for certificate in trusted {
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
                    let name = format!("cert {}", cert.display());
                    dated.extend(chain.first().and_then(|c| Certificate::read(&name, c)));
                    builder
                        .with_client_auth_cert(chain, key(path)?)
                        .map_err(|e| {
                            let (cert, key) = (cert.display(), path.display());
                            format!("cert {cert} and key {key} do not belong together ({e})")
                        })?
                }
                _ => builder.with_no_client_auth(),
            };
            Ok(Tls {
                config: Arc::new(config),
                certificates: dated,
            })
        }

        /// Of the configuration's files, those whose dates can be read.
        pub fn certificates(&self) -> &[Certificate] {
            &self.certificates
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
            let connection = ClientConnection::new(Arc::clone(&self.config), name);
            let mut connection = connection.map_err(io::Error::other)?;
            shake_hands(&mut connection, &mut stream, end).map_err(|e| match e.kind() {
                // whoever speaks no TLS does not like what it hears
                io::ErrorKind::ConnectionReset
                | io::ErrorKind::BrokenPipe
                | io::ErrorKind::UnexpectedEof => io::Error::other(Error::HandshakeNotComplete),
                _ => e,
            })?;
            Ok(Box::new(StreamOwned::new(connection, stream)))
        }

        /// What an error of TLS means, with advice.
        pub fn explain(host: &str, e: &io::Error) -> Option<String> {
            let error = e.get_ref()?.downcast_ref::<Error>()?;
            Some(match error {
                Error::InvalidCertificate(why) => distrusted(host, why),
                Error::AlertReceived(alert) => refused(*alert),
                Error::HandshakeNotComplete => {
                    "it ends the connection before TLS comes about; check the port, or write \
                     broker = \"mqtt://…\""
                        .into()
                }
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
            CertificateError::ExpiredContext { time, not_after } => format!(
                "its certificate has expired on {}, by this machine's clock ({}); renew it, or \
                 set the clock",
                day(*not_after),
                day(*time)
            ),
            CertificateError::NotValidYetContext { time, not_before } => format!(
                "its certificate is not valid before {}, by this machine's clock ({}); set the \
                 clock, by NTP say",
                day(*not_before),
                day(*time)
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

    fn day(time: UnixTime) -> String {
        let seconds = i64::try_from(time.as_secs()).unwrap_or(i64::MAX);
        let time = jiff::Timestamp::from_second(seconds);
        time.map_or_else(|_| "no date".into(), |t| t.strftime("%Y-%m-%d").to_string())
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

    /// Has both sides agree on their secret, until `end`.
    fn shake_hands(
        connection: &mut ClientConnection,
        stream: &mut TcpStream,
        end: Instant,
    ) -> io::Result<()> {
        loop {
            while connection.wants_write() {
                connection.write_tls(stream)?;
            }
            if !connection.is_handshaking() {
                return Ok(());
            }
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(io::ErrorKind::TimedOut.into());
            }
            let mut polled = [PollFd::new(&*stream, PollFlags::IN)];
            if tcp::ready(&mut polled, left)? {
                take(connection, stream)?;
            }
        }
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
            let sent = self.write_all(bytes).and_then(|()| self.flush());
            match sent {
                // whoever has closed the connection may have said why
                Err(e) if e.kind() == io::ErrorKind::BrokenPipe => {
                    Err(take(&mut self.conn, &mut self.sock).err().unwrap_or(e))
                }
                sent => sent,
            }
        }

        fn certificate(&self) -> Option<Certificate> {
            let shown = self.conn.peer_certificates()?.first()?;
            Certificate::read("the broker's certificate", shown)
        }
    }

    #[cfg(test)]
    mod tests {
        use super::*;
        use crate::service::scratch::Folder;
        use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
        use rustls::ServerConfig;
        use std::net::TcpListener;
        use std::thread;
        use std::time::Duration;

        /// A clock that stands still.
        #[derive(Debug)]
        struct Stopped(u64);

        impl TimeProvider for Stopped {
            fn current_time(&self) -> Option<UnixTime> {
                Some(UnixTime::since_unix_epoch(Duration::from_secs(self.0)))
            }
        }

        /// Greets whoever comes by TLS, as `localhost`; the certificate of its CA in PEM.
        fn greeter() -> (u16, String) {
            let mut params = CertificateParams::default();
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            let ca = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
            let key = KeyPair::generate().unwrap();
            let params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
            let chain = vec![params.signed_by(&key, &ca).unwrap().der().clone()];
            let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
            let provider = Arc::new(rustls::crypto::ring::default_provider());
            let config = ServerConfig::builder_with_provider(provider)
                .with_safe_default_protocol_versions()
                .unwrap()
                .with_no_client_auth()
                .with_single_cert(chain, key);
            let config = Arc::new(config.unwrap());
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let port = listener.local_addr().unwrap().port();
            thread::spawn(move || {
                for mut stream in listener.incoming().map_while(Result::ok) {
                    let mut server = rustls::ServerConnection::new(Arc::clone(&config)).unwrap();
                    while server.is_handshaking() && server.complete_io(&mut stream).is_ok() {}
                }
            });
            (port, ca.pem())
        }

        #[test]
        fn a_board_whose_clock_begins_at_1970_is_told_to_set_it_and_connects_once_it_is_set() {
            let (port, ca) = greeter();
            let folder = Folder::new();
            let path = folder.0.join("ca.pem");
            fs::write(&path, ca).unwrap();
            let config = Config {
                ca: Some(path),
                ..Config::default()
            };
            let connect = |clock: Arc<dyn TimeProvider>| {
                let tls = Tls::with_clock(&config, clock).unwrap();
                let stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
                let end = Instant::now() + Duration::from_secs(60);
                let connected = tls.connect("localhost", stream, end);
                connected.map(|stream| stream.certificate())
            };
            let e = connect(Arc::new(Stopped(7))).unwrap_err();
            let said = Tls::explain("localhost", &e).unwrap();
            assert!(
                said.contains("by this machine's clock (1970-01-01); set the"),
                "{said}"
            );
            let shown = connect(Arc::new(DefaultTimeProvider)).unwrap().unwrap();
            assert!(shown.fault(jiff::Timestamp::now()).is_none(), "{shown:?}");
        }
    }
}
