//! What comes before the startup packet: encryption, and requests to cancel what another connection runs.

use std::io;
use std::sync::Arc;

use bytes::{Buf, Bytes, BytesMut};
use futures::FutureExt;
use probepilot_sql::{SqlError, SqlState};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::server::TlsStream;

use super::{Refused, refuse, startup};
use crate::pg::tls::{ALPN, Loaded};
use crate::pg::wire::{Inbox, Outbox, take_packet};
use crate::pg::{Door, TlsPolicy};

const SSL_REQUEST: u32 = 80_877_103;
const GSS_REQUEST: u32 = 80_877_104;
const CANCEL_REQUEST: u32 = 80_877_102;
/// A client may ask for encryption of either kind before it starts; a third request is one too many.
const NEGOTIATIONS_MAX: usize = 4;
/// What a client that begins with TLS sends first: the type of a handshake's record.
const TLS_HANDSHAKE: u8 = 0x16;

/// A client's socket.
pub enum Socket {
    /// Over the network.
    Tcp(TcpStream),
    /// On this host.
    Unix(UnixStream),
    /// Over the network, encrypted.
    Tls(Box<TlsStream<TcpStream>>),
    /// A handshake has it, or has failed: there is nobody to talk to.
    Taken(tokio::io::Empty),
}

impl Socket {
    /// The two halves, which are used by turns and at the same time. `unread` was read already.
    fn split(self, unread: BytesMut) -> (Inbox, Outbox) {
        match self {
            Socket::Tcp(stream) => {
                let (reader, writer) = stream.into_split();
                (Inbox::new(reader, unread), Outbox::new(writer))
            }
            Socket::Unix(stream) => {
                let (reader, writer) = stream.into_split();
                (Inbox::new(reader, unread), Outbox::new(writer))
            }
            Socket::Tls(stream) => {
                let (reader, writer) = tokio::io::split(stream);
                (Inbox::new(reader, unread), Outbox::new(writer))
            }
            Socket::Taken(nobody) => (Inbox::new(nobody, unread), Outbox::new(tokio::io::empty())),
        }
    }

    fn io(&mut self) -> &mut (dyn Io + '_) {
        match self {
            Socket::Tcp(stream) => stream,
            Socket::Unix(stream) => stream,
            Socket::Tls(stream) => stream.as_mut(),
            Socket::Taken(nobody) => nobody,
        }
    }
}

trait Io: AsyncRead + AsyncWrite + Send + Sync + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Sync + Unpin> Io for T {}

/// A client that has said what it wants.
pub struct Greeted {
    /// Messages from the client.
    pub inbox: Inbox,
    /// Messages to the client.
    pub outbox: Outbox,
    /// The version of the protocol that it asked for: major, minor.
    pub version: (u32, u32),
    /// The startup packet after the version.
    pub packet: Bytes,
    /// The hash that may bind its login to our certificate.
    pub end_point: Option<Arc<[u8]>>,
}

/// Answers requests for encryption and cancel requests until the startup packet comes. A client that cannot be let in has
/// been told when this gives an error.
pub async fn greet(door: &Door, socket: Socket) -> Result<Greeted, Refused> {
    let mut caller = Caller { socket, buffer: BytesMut::with_capacity(1 << 10), end_point: None, negotiations: 0 };
    match caller.startup(door).await {
        Ok((version, packet)) => {
            let Caller { socket, buffer, end_point, .. } = caller;
            let (inbox, outbox) = socket.split(buffer);
            Ok(Greeted { inbox, outbox, version, packet, end_point })
        }
        Err(Refused::Told(error)) => {
            let (_inbox, mut outbox) = caller.socket.split(caller.buffer);
            refuse(&mut outbox, &error).await;
            Err(Refused::Silently)
        }
        Err(silently) => Err(silently),
    }
}

struct Caller {
    socket: Socket,
    /// What was read and not used yet.
    buffer: BytesMut,
    end_point: Option<Arc<[u8]>>,
    negotiations: usize,
}

fn violation(message: &str) -> Refused {
    SqlError::new(SqlState::PROTOCOL_VIOLATION, message).into()
}

impl Caller {
    async fn startup(&mut self, door: &Door) -> Result<((u32, u32), Bytes), Refused> {
        if let (Some(tls), Socket::Tcp(stream)) = (&door.tls, &self.socket) {
            // The byte stays where it is: the handshake reads it again.
            let mut first = [0];
            if stream.peek(&mut first).await? == 0 {
                return Err(Refused::Silently);
            }
            if first[0] == TLS_HANDSHAKE {
                self.encrypt(&tls.current()).await?;
                let Socket::Tls(stream) = &self.socket else { return Err(Refused::Silently) };
                // Without the name, what speaks TLS here may be a browser that was led to us.
                if stream.get_ref().1.alpn_protocol() != Some(ALPN) {
                    return Err(violation("direct TLS needs the protocol name \"postgresql\" by ALPN"));
                }
            }
        }
        while self.negotiations < NEGOTIATIONS_MAX {
            self.negotiations += 1;
            let (code, mut packet) = self.packet().await?;
            match code {
                SSL_REQUEST if !matches!(self.socket, Socket::Tls(_)) => {
                    let tls = door.tls.as_ref().filter(|_| matches!(self.socket, Socket::Tcp(_)));
                    // Bytes that were sent before the handshake may be somebody else's: they must never be taken for what the
                    // client says inside of it (CVE-2021-23214).
                    self.nothing_waits("received unencrypted data after SSL request")?;
                    self.answer(if tls.is_some() { b'S' } else { b'N' }).await?;
                    if let Some(tls) = tls {
                        self.encrypt(&tls.current()).await?;
                    }
                }
                GSS_REQUEST => {
                    self.nothing_waits("received unencrypted data after GSSAPI encryption request")?;
                    self.answer(b'N').await?;
                }
                CANCEL_REQUEST => {
                    if packet.len() == 8 {
                        door.registry.cancel(packet.get_i32(), packet.get_i32());
                    }
                    return Err(Refused::Silently);
                }
                version => {
                    let version = (version >> 16, version & 0xffff);
                    startup::check_version(version)?;
                    if door.options.tls == TlsPolicy::Required && matches!(self.socket, Socket::Tcp(_)) {
                        let message = "this server lets clients in over TLS only";
                        return Err(SqlError::new(SqlState::INVALID_AUTHORIZATION, message)
                            .hint("Connect with sslmode=require, or by the Unix socket.")
                            .into());
                    }
                    return Ok((version, packet));
                }
            }
        }
        Err(Refused::Silently)
    }

    /// The next packet: its code and the rest.
    async fn packet(&mut self) -> Result<(u32, Bytes), Refused> {
        loop {
            if let Some(packet) = take_packet(&mut self.buffer)? {
                return Ok(packet);
            }
            if self.socket.io().read_buf(&mut self.buffer).await? == 0 {
                return Err(Refused::Silently);
            }
        }
    }

    /// Refuses a client that has sent more than its request.
    fn nothing_waits(&mut self, message: &str) -> Result<(), Refused> {
        let more = match self.socket.io().read_buf(&mut self.buffer).now_or_never() {
            Some(Ok(_)) | None => !self.buffer.is_empty(),
            Some(Err(error)) => return Err(error.into()),
        };
        if more { Err(violation(message)) } else { Ok(()) }
    }

    async fn answer(&mut self, letter: u8) -> io::Result<()> {
        self.socket.io().write_all(&[letter]).await?;
        self.socket.io().flush().await
    }

    /// The handshake. A client that fails it has been told so in its own language.
    async fn encrypt(&mut self, tls: &Loaded) -> Result<(), Refused> {
        let Socket::Tcp(stream) = std::mem::replace(&mut self.socket, Socket::Taken(tokio::io::empty())) else {
            return Err(Refused::Silently);
        };
        let stream = tls.acceptor.accept(stream).await.map_err(|error| {
            tracing::debug!(%error, "a client failed the TLS handshake");
            Refused::Silently
        })?;
        self.socket = Socket::Tls(Box::new(stream));
        self.end_point.clone_from(&tls.end_point);
        Ok(())
    }
}
