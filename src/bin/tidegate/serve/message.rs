//! Messages of clients.
//!
//! Invariant: a message is read only up to its own end. One that is not as long as its parts say ends the
//! connection, one with a text that is not UTF-8 is refused, and nothing of either takes effect.
//!
//! The formats: <https://www.postgresql.org/docs/15/protocol-message-formats.html>

use bytes::{Buf, Bytes, BytesMut};
use tidegate_extensions::format::postgres::ValueFormat;
use tokio::io::{AsyncRead, AsyncReadExt};

use super::fault::Fault;

/// The most bytes of a message before a user is known.
pub(super) const MOST_LOGIN_BYTES: usize = 10_000;

/// The most bytes of SQL in a message. Parsed, it takes up to 300 times as much memory.
const MOST_SQL_BYTES: usize = 4 << 20;

/// A message after the start-up.
#[derive(Debug)]
pub(super) enum Message {
    Query(String),
    Parse {
        statement: String,
        query: String,
        types: Vec<u32>,
    },
    Bind(Bind),
    Describe(Named),
    Execute {
        portal: String,
        /// 0 for all rows.
        most_rows: u32,
    },
    Close(Named),
    Flush,
    Sync,
    /// Data for a COPY that has already failed.
    CopyData,
    /// A step of the log-in.
    Password(Bytes),
    Terminate,
    /// A message with a text that is not UTF-8.
    Refused {
        fault: Fault,
        /// It was a `Query`.
        is_query: bool,
    },
}

/// A prepared statement or a portal.
#[derive(Debug)]
pub(super) enum Named {
    Statement(String),
    Portal(String),
}

/// Parameters for a prepared statement.
#[derive(Debug)]
pub(super) struct Bind {
    pub(super) portal: String,
    pub(super) statement: String,
    pub(super) parameter_formats: Vec<ValueFormat>,
    /// `None` is NULL.
    pub(super) parameters: Vec<Option<Bytes>>,
    pub(super) result_formats: Vec<ValueFormat>,
}

/// Reads a client's messages.
pub(super) struct Reader<R> {
    socket: R,
    buffer: BytesMut,
    most_bytes: usize,
}

impl<R: AsyncRead + Unpin> Reader<R> {
    pub(super) fn new(socket: R, most_bytes: usize) -> Self {
        Self {
            socket,
            buffer: BytesMut::new(),
            most_bytes,
        }
    }

    /// Sets the most bytes of a message.
    pub(super) fn allow(&mut self, most_bytes: usize) {
        self.most_bytes = most_bytes;
    }

    /// The next message with its length in bytes. `None` if the client has gone. May be dropped and
    /// called again.
    ///
    /// # Errors
    /// The message is too long or not valid. Nothing can be read after that.
    pub(super) async fn next(&mut self) -> Result<Option<(Message, usize)>, Fault> {
        let Some(header) = self.fill(5).await? else {
            return Ok(None);
        };
        let (kind, length) = (header[0], length_of(&header[1..5]));
        let length = self.check_length(length)?;
        let Some(_) = self.fill(1 + length).await? else {
            return Ok(None);
        };
        let mut body = self.buffer.split_to(1 + length);
        body.advance(5);
        let message = match parse(kind, body.freeze()) {
            Ok(message) => message,
            Err(fault) if fault.is_fatal => return Err(fault),
            Err(fault) => Message::Refused {
                fault,
                is_query: kind == b'Q',
            },
        };
        Ok(Some((message, length)))
    }

    fn check_length(&self, length: u32) -> Result<usize, Fault> {
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        if length < 4 {
            return Err(invalid("is shorter than its length"));
        }
        if length > self.most_bytes {
            let why = format!(
                "a message of {length} bytes is longer than the {} bytes allowed",
                self.most_bytes
            );
            return Err(Fault::fatal("54000", why));
        }
        Ok(length)
    }

    /// Reads until the buffer has `bytes` bytes. `None` if the client has gone.
    async fn fill(&mut self, bytes: usize) -> Result<Option<&[u8]>, Fault> {
        while self.buffer.len() < bytes {
            match self.socket.read_buf(&mut self.buffer).await {
                Ok(0) => return Ok(None),
                Ok(_) => {}
                Err(error) => {
                    tracing::debug!(%error, "a connection can't be read");
                    return Ok(None);
                }
            }
        }
        Ok(Some(&self.buffer))
    }
}

fn length_of(bytes: &[u8]) -> u32 {
    bytes
        .iter()
        .fold(0, |length, byte| length << 8 | u32::from(*byte))
}

fn invalid(why: &str) -> Fault {
    Fault::fatal("08P01", format!("a message of the client {why}"))
}

/// The rest of a message.
pub(super) struct Fields(Bytes);

impl Fields {
    pub(super) fn new(body: Bytes) -> Self {
        Self(body)
    }

    pub(super) fn bytes(&mut self, count: usize) -> Result<Bytes, Fault> {
        match self.0.len() < count {
            true => Err(invalid("is shorter than its parts")),
            false => Ok(self.0.split_to(count)),
        }
    }

    pub(super) fn u8(&mut self) -> Result<u8, Fault> {
        Ok(self.bytes(1)?[0])
    }

    pub(super) fn u16(&mut self) -> Result<u16, Fault> {
        Ok(self.bytes(2)?.get_u16())
    }

    pub(super) fn u32(&mut self) -> Result<u32, Fault> {
        Ok(self.bytes(4)?.get_u32())
    }

    /// A text that ends with a zero byte.
    pub(super) fn text(&mut self) -> Result<String, Fault> {
        let end = memchr::memchr(0, &self.0);
        let Some(end) = end else {
            return Err(invalid("has a text without an end"));
        };
        let text = self.0.split_to(end);
        self.0.advance(1);
        utf8(&text)
    }

    pub(super) fn rest(&mut self) -> Bytes {
        std::mem::take(&mut self.0)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn formats(&mut self) -> Result<Vec<ValueFormat>, Fault> {
        let count = self.u16()?;
        let format = |code| match code {
            0 => Ok(ValueFormat::Text),
            1 => Ok(ValueFormat::Binary),
            _ => Err(invalid("has an unknown format code")),
        };
        (0..count).map(|_| format(self.u16()?)).collect()
    }

    fn named(&mut self) -> Result<Named, Fault> {
        match self.u8()? {
            b'S' => Ok(Named::Statement(self.text()?)),
            b'P' => Ok(Named::Portal(self.text()?)),
            _ => Err(invalid("names neither a statement nor a portal")),
        }
    }
}

/// Text of a client.
///
/// # Errors
/// It is not UTF-8.
pub(super) fn utf8(bytes: &[u8]) -> Result<String, Fault> {
    match std::str::from_utf8(bytes) {
        Ok(text) => Ok(text.to_owned()),
        Err(_) => Err(Fault::new(
            "22021",
            "a text of the client is not valid UTF-8",
        )),
    }
}

fn parse(kind: u8, body: Bytes) -> Result<Message, Fault> {
    if matches!(kind, b'Q' | b'P') && body.len() > MOST_SQL_BYTES {
        let length = body.len();
        let why =
            format!("SQL of {length} bytes is longer than the {MOST_SQL_BYTES} bytes allowed");
        return Err(Fault::new("54000", why).with_hint("send values as parameters"));
    }
    let mut fields = Fields(body);
    let message = match kind {
        b'Q' => Message::Query(fields.text()?),
        b'P' => Message::Parse {
            statement: fields.text()?,
            query: fields.text()?,
            types: {
                let count = fields.u16()?;
                (0..count).map(|_| fields.u32()).collect::<Result<_, _>>()?
            },
        },
        b'B' => Message::Bind(Bind {
            portal: fields.text()?,
            statement: fields.text()?,
            parameter_formats: fields.formats()?,
            parameters: {
                let count = fields.u16()?;
                let parameter = |_| match fields.u32()? {
                    u32::MAX => Ok(None),
                    length => fields.bytes(length as usize).map(Some),
                };
                (0..count).map(parameter).collect::<Result<_, Fault>>()?
            },
            result_formats: fields.formats()?,
        }),
        b'D' => Message::Describe(fields.named()?),
        b'E' => Message::Execute {
            portal: fields.text()?,
            most_rows: fields.u32()?,
        },
        b'C' => Message::Close(fields.named()?),
        b'H' => Message::Flush,
        b'S' => Message::Sync,
        b'd' | b'c' | b'f' => {
            fields.rest();
            Message::CopyData
        }
        b'p' => Message::Password(fields.rest()),
        b'X' => Message::Terminate,
        b'F' => {
            let why = "function calls of the protocol are not supported";
            return Err(Fault::fatal("0A000", why));
        }
        other => return Err(invalid(&format!("has the unknown kind {other}"))),
    };
    match fields.is_empty() {
        true => Ok(message),
        false => Err(invalid("is longer than its parts")),
    }
}
