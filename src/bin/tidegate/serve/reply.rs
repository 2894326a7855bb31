//! Replies to a client.
//!
//! Invariant: the client gets whole messages, in order. A reply is kept until it is flushed, and a
//! flush that was dropped goes on where it stopped.

use arrow::datatypes::Schema;
use tidegate_extensions::format::postgres::{ValueFormat, pg_type};
use tokio::io::{AsyncWrite, AsyncWriteExt};

use super::fault::{Fault, Gone};

/// Replies of more bytes than this are flushed.
const FULL_BYTES: usize = 32 << 10;

/// Whether a session is in a transaction block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Block {
    None,
    Open,
    Failed,
}

/// Collects replies and writes them.
pub(super) struct Replies<W> {
    socket: W,
    bytes: Vec<u8>,
    /// How many of the bytes are written.
    written: usize,
}

impl<W: AsyncWrite + Unpin> Replies<W> {
    pub(super) fn new(socket: W) -> Self {
        Self {
            socket,
            bytes: Vec::new(),
            written: 0,
        }
    }

    /// Whether the replies should be flushed.
    pub(super) fn is_full(&self) -> bool {
        self.bytes.len() >= FULL_BYTES
    }

    /// Writes everything.
    pub(super) async fn flush(&mut self) -> Result<(), Gone> {
        while self.written < self.bytes.len() {
            match self.socket.write(&self.bytes[self.written..]).await {
                Ok(0) | Err(_) => return Err(Gone),
                Ok(count) => self.written += count,
            }
        }
        self.bytes.clear();
        self.written = 0;
        self.socket.flush().await.map_err(|_| Gone)
    }

    /// Ends the connection. The client then reads the end of the stream.
    pub(super) async fn close(&mut self) {
        let _ = self.socket.shutdown().await;
    }

    /// Appends a message: its kind, its length, and what `body` appends.
    pub(super) fn message(&mut self, kind: u8, body: impl FnOnce(&mut Vec<u8>)) {
        push_message(&mut self.bytes, kind, body);
    }

    pub(super) fn ready(&mut self, block: Block) {
        let status = match block {
            Block::None => b'I',
            Block::Open => b'T',
            Block::Failed => b'E',
        };
        self.message(b'Z', |body| body.push(status));
    }

    pub(super) fn complete(&mut self, tag: &str) {
        self.message(b'C', |body| push_text(body, tag));
    }

    pub(super) fn parameter_status(&mut self, name: &str, value: &str) {
        self.message(b'S', |body| {
            push_text(body, name);
            push_text(body, value);
        });
    }

    /// Tells the columns of a result. A missing format is text.
    pub(super) fn row_description(&mut self, schema: &Schema, formats: &[ValueFormat]) {
        self.message(b'T', |body| {
            push_u16(body, schema.fields().len());
            for (place, field) in schema.fields().iter().enumerate() {
                let of = pg_type(field);
                push_text(body, field.name());
                // No table, no column of it.
                body.extend_from_slice(&[0; 6]);
                body.extend_from_slice(&of.oid.to_be_bytes());
                body.extend_from_slice(&of.size.to_be_bytes());
                body.extend_from_slice(&of.modifier.to_be_bytes());
                let format = formats.get(place).copied().unwrap_or_default();
                push_u16(body, usize::from(format == ValueFormat::Binary));
            }
        });
    }

    /// Begins a `COPY`: `kind` is `H` for one to the client and `G` for one from it.
    pub(super) fn copy_response(&mut self, kind: u8, columns: usize, is_binary: bool) {
        self.message(kind, |body| {
            body.push(u8::from(is_binary));
            push_u16(body, columns);
            for _ in 0..columns {
                push_u16(body, usize::from(is_binary));
            }
        });
    }

    pub(super) fn fault(&mut self, fault: &Fault, text: &str) {
        let severity = if fault.is_fatal { "FATAL" } else { "ERROR" };
        let position = fault.position(text).map(|position| position.to_string());
        self.message(b'E', |body| {
            push_report(body, severity, fault.sqlstate, &fault.message, |body| {
                push_field(body, b'H', fault.hint.as_deref());
                push_field(body, b'P', position.as_deref());
            });
        });
    }

    /// `severity` is `NOTICE` or `WARNING`.
    pub(super) fn notice(&mut self, severity: &str, sqlstate: &str, message: &str) {
        self.message(b'N', |body| {
            push_report(body, severity, sqlstate, message, |_| {});
        });
    }
}

/// Appends a message: its kind, its length, and what `body` appends.
pub(super) fn push_message(bytes: &mut Vec<u8>, kind: u8, body: impl FnOnce(&mut Vec<u8>)) {
    bytes.push(kind);
    let start = bytes.len();
    bytes.extend_from_slice(&[0; 4]);
    body(bytes);
    let length = u32::try_from(bytes.len() - start).unwrap_or(u32::MAX);
    if let Some(place) = bytes.get_mut(start..start + 4) {
        place.copy_from_slice(&length.to_be_bytes());
    }
}

fn push_report(
    body: &mut Vec<u8>,
    severity: &str,
    sqlstate: &str,
    message: &str,
    more: impl FnOnce(&mut Vec<u8>),
) {
    push_field(body, b'S', Some(severity));
    push_field(body, b'V', Some(severity));
    push_field(body, b'C', Some(sqlstate));
    push_field(body, b'M', Some(message));
    more(body);
    body.push(0);
}

fn push_field(body: &mut Vec<u8>, kind: u8, value: Option<&str>) {
    if let Some(value) = value {
        body.push(kind);
        push_text(body, value);
    }
}

/// Appends a text and a zero byte. A zero byte in the text would end it, so it is left out.
pub(super) fn push_text(body: &mut Vec<u8>, text: &str) {
    body.extend(text.bytes().filter(|byte| *byte != 0));
    body.push(0);
}

/// Appends a count in 16 bits.
pub(super) fn push_u16(body: &mut Vec<u8>, count: usize) {
    let count = u16::try_from(count).unwrap_or(u16::MAX);
    body.extend_from_slice(&count.to_be_bytes());
}
