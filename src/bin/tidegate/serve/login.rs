//! The start of a connection: encryption, start-up, and log-in.
//!
//! Invariant: nothing but a user's proof of the password leads to a session. Before that, a client
//! can make the server keep at most one message of 10,000 bytes.
//!
//! The flow: <https://www.postgresql.org/docs/15/protocol-flow.html>

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;

use super::fault::{Fault, Gone, Stop};
use super::message::{Fields, MOST_LOGIN_BYTES, Message, Reader};
use super::reply::{Replies, push_text};
use super::scram::{Exchange, Failure, MECHANISM, Verifier};
use super::tls::{Socket, Tls};
use super::users::{User, UsersFile};

const SSL_REQUEST: u32 = 80_877_103;
const GSS_REQUEST: u32 = 80_877_104;
const CANCEL_REQUEST: u32 = 80_877_102;

/// The newest minor version of protocol 3, and the first one that has long secrets.
pub(super) const NEWEST_MINOR: u16 = 2;

/// The first byte of a TLS handshake.
const TLS_HANDSHAKE: u8 = 0x16;

/// Codes of `AuthenticationOk` and of the steps of SASL.
const OK: u32 = 0;
const SASL: u32 = 10;
const SASL_CONTINUE: u32 = 11;
const SASL_FINAL: u32 = 12;

/// What a client wants.
pub(super) enum Request {
    /// To cancel another connection's statement.
    Cancel { pid: i32, secret: Bytes },
    /// A session.
    Session(Startup),
}

/// A client's start-up message.
#[derive(Debug)]
pub(super) struct Startup {
    /// The minor version of protocol 3.
    pub(super) minor: u16,
    pub(super) user: String,
    /// The name of the database; empty if the client gives none.
    pub(super) database: String,
    /// Settings, in order.
    pub(super) settings: Vec<(String, String)>,
    /// Options of the protocol that are not supported.
    pub(super) unsupported: Vec<String>,
}

/// Negotiates encryption, and reads the start-up message.
pub(super) async fn negotiate(
    mut tcp: TcpStream,
    tls: Option<&Tls>,
) -> Result<(Socket, Bytes), Gone> {
    let mut first = [0];
    let is_tls = match tcp.peek(&mut first).await {
        Ok(1) => first[0] == TLS_HANDSHAKE,
        _ => return Err(Gone),
    };
    if !is_tls {
        loop {
            let message = read_start(&mut tcp).await?;
            match (code_of(&message), tls) {
                (SSL_REQUEST, Some(_)) => break,
                (SSL_REQUEST | GSS_REQUEST, _) => {
                    tcp.write_all(b"N").await.map_err(|_| Gone)?;
                }
                _ => return Ok((Socket::Plain(tcp), message)),
            }
        }
        tcp.write_all(b"S").await.map_err(|_| Gone)?;
    }
    let tls = tls.ok_or(Gone)?;
    let encrypted = tls.accept(tcp).await.map_err(|error| {
        tracing::debug!(%error, "a TLS handshake failed");
        Gone
    })?;
    let mut socket = Socket::Tls(Box::new(encrypted));
    let message = read_start(&mut socket).await?;
    Ok((socket, message))
}

/// Reads a message of the start-up, and no byte more: what follows may be encrypted.
async fn read_start(socket: &mut (impl AsyncRead + Unpin)) -> Result<Bytes, Gone> {
    let length = socket.read_u32().await.map_err(|_| Gone)?;
    let length = usize::try_from(length).unwrap_or(usize::MAX);
    if !(8..=MOST_LOGIN_BYTES).contains(&length) {
        return Err(Gone);
    }
    let mut body = vec![0; length - 4];
    socket.read_exact(&mut body).await.map_err(|_| Gone)?;
    Ok(body.into())
}

fn code_of(message: &Bytes) -> u32 {
    Fields::new(message.clone()).u32().unwrap_or_default()
}

impl Request {
    /// Parses a start-up message.
    ///
    /// # Errors
    /// It is not one of protocol 3, or names no user.
    pub(super) fn parse(message: Bytes) -> Result<Self, Fault> {
        let mut fields = Fields::new(message);
        let code = fields.u32()?;
        if code == CANCEL_REQUEST {
            let pid = fields.u32()?.cast_signed();
            let secret = fields.rest();
            return Ok(Self::Cancel { pid, secret });
        }
        let (major, minor) = (code >> 16, code as u16);
        if major != 3 {
            let why =
                format!("protocol {major}.{minor} is not supported: the server has 3.0 to 3.2");
            return Err(Fault::fatal("0A000", why));
        }
        let (mut user, mut database) = (String::new(), String::new());
        let (mut settings, mut unsupported) = (Vec::new(), Vec::new());
        loop {
            let name = fields.text()?;
            if name.is_empty() {
                break;
            }
            let value = fields.text()?;
            match name.as_str() {
                "user" => user = value,
                "database" => database = value,
                "replication" if ["false", "off", "no", "0"].contains(&value.as_str()) => {}
                "replication" => {
                    return Err(Fault::fatal("0A000", "replication is not supported"));
                }
                "options" => settings.extend(options(&value)?),
                _ if name.starts_with("_pq_.") => unsupported.push(name),
                _ => settings.push((name, value)),
            }
        }
        if user.is_empty() {
            return Err(Fault::fatal("28000", "no user name was given"));
        }
        Ok(Self::Session(Startup {
            minor,
            user,
            database,
            settings,
            unsupported,
        }))
    }
}

/// The settings in `-c name=value --name=value`, where a backslash escapes a space.
fn options(text: &str) -> Result<Vec<(String, String)>, Fault> {
    let mut words = vec![String::new()];
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => {
                if let (Some(word), Some(escaped)) = (words.last_mut(), chars.next()) {
                    word.push(escaped);
                }
            }
            c if c.is_whitespace() => words.push(String::new()),
            c => {
                if let Some(word) = words.last_mut() {
                    word.push(c);
                }
            }
        }
    }
    let mut words = words.into_iter().filter(|word| !word.is_empty());
    let mut settings = Vec::new();
    while let Some(word) = words.next() {
        let next = match word.as_str() {
            "-c" => words.next(),
            _ => None,
        };
        let setting = next.as_deref().or_else(|| {
            let long = word.strip_prefix("--");
            long.or_else(|| word.strip_prefix("-c"))
        });
        match setting.and_then(|setting| setting.split_once('=')) {
            Some((name, value)) => settings.push((name.replace('-', "_"), value.to_owned())),
            None => {
                let why =
                    format!("the option {word} of the connection is not of the form -c name=value");
                return Err(Fault::fatal("42601", why));
            }
        }
    }
    Ok(settings)
}

/// Lets a client prove that it knows the password of its user.
///
/// # Errors
/// The proof is wrong, or the client does not keep to the protocol.
pub(super) async fn authenticate<R, W>(
    reader: &mut Reader<R>,
    replies: &mut Replies<W>,
    name: &str,
    users: &UsersFile,
    nobody: &[u8],
) -> Result<User, Stop>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    step(replies, SASL, |body| {
        push_text(body, MECHANISM);
        body.push(0);
    });
    replies.flush().await?;
    let user = users.read().map_err(|error| {
        tracing::error!(%error, "users can't be read");
        Fault::fatal("58030", "the users of the server can't be read")
    })?;
    let user = user.into_iter().find(|user| user.name == name);
    let verifier = match &user {
        Some(user) => user.verifier.clone(),
        None => Verifier::of_unknown(name, nobody),
    };

    let mut first = Fields::new(response(reader).await?);
    if first.text()? != MECHANISM {
        let why = format!("the client must log in by {MECHANISM}");
        return Err(Fault::fatal("28000", why).into());
    }
    let length = first.u32()? as usize;
    let first = first.bytes(length)?;
    let failed = |failure| match failure {
        Failure::Protocol(why) => Fault::fatal("08P01", why),
        Failure::Password => {
            let why = format!("password authentication failed for user \"{name}\"");
            Fault::fatal("28P01", why)
        }
    };
    let exchange = Exchange::begin(verifier, &first).map_err(failed)?;
    step(replies, SASL_CONTINUE, |body| {
        body.extend_from_slice(exchange.server_first().as_bytes());
    });
    replies.flush().await?;
    let last = response(reader).await?;
    let server_last = exchange.finish(&last).map_err(failed)?;
    // No password fits the verifier of an unknown user, so the user exists.
    let user = user.ok_or_else(|| failed(Failure::Password))?;
    step(replies, SASL_FINAL, |body| {
        body.extend_from_slice(server_last.as_bytes());
    });
    step(replies, OK, |_| {});
    Ok(user)
}

fn step<W: AsyncWrite + Unpin>(
    replies: &mut Replies<W>,
    code: u32,
    more: impl FnOnce(&mut Vec<u8>),
) {
    replies.message(b'R', |body| {
        body.extend_from_slice(&code.to_be_bytes());
        more(body);
    });
}

async fn response<R: AsyncRead + Unpin>(reader: &mut Reader<R>) -> Result<Bytes, Stop> {
    match reader.next().await? {
        Some((Message::Password(response), _)) => Ok(response),
        Some(_) => Err(Fault::fatal("08P01", "expected a step of the log-in").into()),
        None => Err(Stop::Gone),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn startup(code: u32, parameters: &[u8]) -> Result<Startup, Fault> {
        let message = [&code.to_be_bytes(), parameters].concat();
        match Request::parse(message.into())? {
            Request::Session(startup) => Ok(startup),
            Request::Cancel { .. } => panic!("a cancel request"),
        }
    }

    #[test]
    fn startup_messages_are_parsed() {
        let parameters =
            b"user\0me\0database\0d\0options\0-c a.b=1\\ 2 --statement-timeout=5s\0_pq_.x\0y\0\0";
        let parsed = startup(3 << 16, parameters).unwrap();
        assert_eq!(parsed.user, "me");
        let pairs = [("a.b", "1 2"), ("statement_timeout", "5s")];
        let pairs = pairs.map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(parsed.settings, pairs);
        assert_eq!(parsed.unsupported, ["_pq_.x"]);
    }

    #[test]
    fn other_messages_are_refused() {
        for (code, parameters) in [
            (2 << 16, &b"user\0me\0\0"[..]),
            (3 << 16, b"\0"),
            (3 << 16, b"user\0me"),
            (3 << 16, b"user\0me\0options\0-x\0\0"),
            (3 << 16, b"user\0me\0replication\0database\0\0"),
            (3 << 16, b"user\0\xff\0\0"),
        ] {
            assert!(startup(code, parameters).is_err(), "{parameters:?}");
        }
    }
}
