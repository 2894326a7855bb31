//! Statements about the session: transactions, settings, cursors.
//!
//! Invariant: the status that a client is told, in a transaction block or not, is the one that
//! PostgreSQL would tell it.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema};
use datafusion::arrow;
use tidegate::CancellationToken;
use tidegate_extensions::format::postgres::{PgRows, ValueFormat};
use tidegate_extensions::sql::{DeclareCursor, SessionCommand};
use tokio::io::WriteHalf;

use super::connection::{Connection, NamedCursor};
use super::fault::{Fault, Stop};
use super::portal::formats_of_columns;
use super::reply::{Block, Replies};
use super::settings::{Settings, is_of_planner, unknown};
use super::tls::Socket;

/// The most cursors of a connection.
const MOST_CURSORS: usize = 100;

impl Connection {
    /// Whether the command is answered here, not by the planner.
    ///
    /// # Errors
    /// The command may not be given by a client.
    pub(super) fn answers(&self, command: &SessionCommand) -> Result<bool, Fault> {
        let name = match command {
            SessionCommand::Set { name, .. }
            | SessionCommand::Reset(name)
            | SessionCommand::Show(name) => name,
            SessionCommand::Deallocate(Some(name)) => {
                return Ok(self.statements.contains_key(name));
            }
            _ => return Ok(true),
        };
        let is_show = matches!(command, SessionCommand::Show(_));
        if !is_show && name.starts_with("datafusion.runtime") {
            let why = "settings of the server's runtime can't be changed by a client";
            return Err(Fault::new("42501", why));
        }
        // An unknown name is answered here, too: with PostgreSQL's error.
        Ok(!is_of_planner(name))
    }

    /// The columns of the rows that a command returns; `None` if it returns none.
    pub(super) fn columns_of(&self, command: &SessionCommand) -> Option<Schema> {
        let texts = |names: &[&str]| {
            let fields = names
                .iter()
                .map(|name| Field::new(*name, DataType::Utf8, true));
            Some(Schema::new(fields.collect::<Vec<_>>()))
        };
        match command {
            SessionCommand::Show(name) => texts(&[Settings::written_name(name)]),
            SessionCommand::ShowAll => texts(&["name", "setting", "description"]),
            SessionCommand::Fetch {
                cursor,
                skip: false,
                ..
            } => self.cursors.get(cursor)?.rows.columns().cloned(),
            _ => None,
        }
    }

    /// The forms of the values of a command's rows, if the client does not choose them.
    pub(super) fn formats_of(&self, command: &SessionCommand) -> Vec<ValueFormat> {
        match command {
            SessionCommand::Fetch { cursor, .. } => {
                let cursor = self.cursors.get(cursor);
                cursor.map(NamedCursor::formats).unwrap_or_default()
            }
            _ => Vec::new(),
        }
    }

    /// Runs a command, sends its rows, and returns its tag.
    pub(super) async fn run_command(
        &mut self,
        command: SessionCommand,
        formats: &[ValueFormat],
        token: &CancellationToken,
    ) -> Result<String, Stop> {
        // The memory of replies is bounded, however many commands a text has.
        if self.replies.is_full() {
            self.replies.flush().await?;
        }
        let ends_block = matches!(
            command,
            SessionCommand::Commit { .. }
                | SessionCommand::Rollback { .. }
                | SessionCommand::RollbackTo(_)
        );
        if !ends_block {
            self.refuse_in_failed_block()?;
        }
        let columns = self.columns_of(&command);
        let plain = |tag: &str| Ok(tag.to_owned());
        match command {
            SessionCommand::Begin { words, read_only } => {
                match self.block {
                    Block::None => self.begin_block(),
                    Block::Open | Block::Failed => {
                        let why = "there is already a transaction in progress";
                        self.replies.notice("WARNING", "25001", why);
                    }
                }
                self.set_read_only(read_only, true)?;
                plain(words)
            }
            SessionCommand::Commit { chain } => {
                if chain {
                    self.need_block("COMMIT AND CHAIN")?;
                }
                let is_failed = self.block == Block::Failed;
                self.end_block(is_failed, chain);
                plain(if is_failed { "ROLLBACK" } else { "COMMIT" })
            }
            SessionCommand::Rollback { chain } => {
                if chain {
                    self.need_block("ROLLBACK AND CHAIN")?;
                }
                self.end_block(true, chain);
                plain("ROLLBACK")
            }
            SessionCommand::Savepoint(name) => {
                self.need_block("SAVEPOINT")?;
                self.savepoints.push(name);
                plain("SAVEPOINT")
            }
            SessionCommand::Release(name) => {
                self.need_block("RELEASE SAVEPOINT")?;
                let place = self.savepoint(&name)?;
                self.savepoints.truncate(place);
                plain("RELEASE")
            }
            SessionCommand::RollbackTo(name) => {
                self.need_block("ROLLBACK TO SAVEPOINT")?;
                let place = self.savepoint(&name)?;
                self.savepoints.truncate(place + 1);
                self.block = Block::Open;
                plain("ROLLBACK")
            }
            SessionCommand::SetTransaction { read_only, session } => {
                self.set_read_only(read_only, !session)?;
                plain("SET")
            }
            SessionCommand::Set { name, value, local } => {
                if local && self.block == Block::None {
                    let why = "SET LOCAL can only be used in transaction blocks";
                    self.replies.notice("WARNING", "25P01", why);
                    return plain("SET");
                }
                self.settings().set(&name, value.as_deref(), local)?;
                plain("SET")
            }
            SessionCommand::Reset(name) => {
                if !self.settings().knows(&name) {
                    return Err(unknown(&name).into());
                }
                self.settings().set(&name, None, false)?;
                plain("RESET")
            }
            SessionCommand::ResetAll => {
                self.settings().reset_all();
                plain("RESET")
            }
            SessionCommand::Show(name) => {
                let value = self.settings().get(&name);
                let value = value.ok_or_else(|| unknown(&name))?;
                self.send_texts(columns, vec![vec![Some(value)]], formats)?;
                plain("SHOW")
            }
            SessionCommand::ShowAll => {
                let all = self.settings().all();
                let (names, values): (Vec<_>, Vec<_>) = all.into_iter().unzip();
                let none = vec![None; names.len()];
                let some = |texts: Vec<String>| texts.into_iter().map(Some).collect();
                self.send_texts(columns, vec![some(names), some(values), none], formats)?;
                plain("SHOW")
            }
            SessionCommand::Discard(what) => {
                if what == "ALL" {
                    if self.block != Block::None {
                        let why = "DISCARD ALL cannot run inside a transaction block";
                        return Err(Fault::new("25001", why).into());
                    }
                    self.statements.clear();
                    self.portals.clear();
                    self.cursors.clear();
                    self.settings().reset_all();
                    self.renew_session()?;
                }
                Ok(format!("DISCARD {what}"))
            }
            SessionCommand::Deallocate(name) => match name {
                Some(name) => {
                    self.statements.remove(&name);
                    plain("DEALLOCATE")
                }
                None => {
                    self.statements.clear();
                    plain("DEALLOCATE ALL")
                }
            },
            SessionCommand::Declare(declared) => {
                self.declare(*declared, token).await?;
                plain("DECLARE CURSOR")
            }
            SessionCommand::Fetch { cursor, rows, skip } => {
                self.fetch(&cursor, rows, skip, formats, token).await
            }
            SessionCommand::Close(name) => match name {
                Some(name) => match self.cursors.remove(&name) {
                    Some(_) => plain("CLOSE CURSOR"),
                    None => Err(no_cursor(&name).into()),
                },
                None => {
                    self.cursors.clear();
                    plain("CLOSE CURSOR ALL")
                }
            },
            SessionCommand::Unlisten => plain("UNLISTEN"),
        }
    }

    /// The place of the last savepoint with a name.
    fn savepoint(&self, name: &str) -> Result<usize, Fault> {
        let place = self
            .savepoints
            .iter()
            .rposition(|savepoint| savepoint == name);
        place.ok_or_else(|| Fault::new("3B001", format!("savepoint \"{name}\" does not exist")))
    }

    /// Sets whether statements with an effect are refused, in this block or in all to come.
    fn set_read_only(&mut self, read_only: Option<bool>, local: bool) -> Result<(), Fault> {
        let Some(read_only) = read_only else {
            return Ok(());
        };
        let value = if read_only { "on" } else { "off" };
        match local {
            true if self.block == Block::None => Ok(()),
            true => self
                .settings()
                .set("transaction_read_only", Some(value), true),
            false => self
                .settings()
                .set("default_transaction_read_only", Some(value), false),
        }
    }

    fn begin_block(&mut self) {
        self.block = Block::Open;
        self.is_warned = false;
        self.savepoints.clear();
        self.settings().begin_block();
    }

    fn end_block(&mut self, is_rolled_back: bool, chain: bool) {
        if self.block == Block::None {
            let why = "there is no transaction in progress";
            self.replies.notice("WARNING", "25P01", why);
            return;
        }
        self.block = Block::None;
        self.settings().end_block(is_rolled_back);
        self.portals.clear();
        self.cursors.retain(|_, cursor| {
            cursor.is_kept |= cursor.hold && !is_rolled_back;
            cursor.is_kept
        });
        if chain {
            self.begin_block();
        }
    }

    fn need_block(&self, what: &str) -> Result<(), Fault> {
        match self.block {
            Block::None => {
                let why = format!("{what} can only be used in transaction blocks");
                Err(Fault::new("25P01", why))
            }
            Block::Open | Block::Failed => Ok(()),
        }
    }

    /// Sends a row for each item of the columns.
    fn send_texts(
        &mut self,
        schema: Option<Schema>,
        columns: Vec<Vec<Option<String>>>,
        formats: &[ValueFormat],
    ) -> Result<(), Fault> {
        let arrays = columns
            .into_iter()
            .map(|texts| Arc::new(StringArray::from(texts)) as ArrayRef);
        let schema = Arc::new(schema.unwrap_or_else(Schema::empty));
        let batch = RecordBatch::try_new(schema, arrays.collect());
        let batch = batch.map_err(|error| Fault::new("XX000", error.to_string()))?;
        let formats = formats_of_columns(formats, batch.num_columns());
        let replies = &mut self.replies;
        PgRows::new(&batch)?.each(0, &formats, |row| {
            replies.message(b'D', |body| body.extend_from_slice(row));
            true
        })?;
        Ok(())
    }

    async fn declare(
        &mut self,
        declared: DeclareCursor,
        token: &CancellationToken,
    ) -> Result<(), Stop> {
        if !declared.hold {
            self.need_block("DECLARE CURSOR")?;
        }
        if self.cursors.contains_key(&declared.name) {
            let why = format!("cursor \"{}\" already exists", declared.name);
            return Err(Fault::new("42P03", why).into());
        }
        if self.cursors.len() >= MOST_CURSORS {
            let why = format!("the connection already has {MOST_CURSORS} cursors");
            return Err(Fault::new("53400", why)
                .with_hint("CLOSE some of them")
                .into());
        }
        let planned = self.plan(declared.query, token).await?;
        if planned.has_effect() || planned.columns().is_none() {
            return Err(Fault::new("42601", "a cursor is for a query").into());
        }
        let rows = self.start(planned, token).await?;
        let cursor = NamedCursor {
            rows,
            binary: declared.binary,
            hold: declared.hold,
            is_kept: self.block == Block::None,
        };
        self.cursors.insert(declared.name, cursor);
        Ok(())
    }

    async fn fetch(
        &mut self,
        name: &str,
        most_rows: Option<u64>,
        skip: bool,
        formats: &[ValueFormat],
        token: &CancellationToken,
    ) -> Result<String, Stop> {
        // A cursor whose query fails is gone.
        let mut cursor = self.cursors.remove(name).ok_or_else(|| no_cursor(name))?;
        cursor.rows.cancelled_by(token);
        let columns = cursor
            .rows
            .columns()
            .map_or(0, |columns| columns.fields().len());
        let formats = formats_of_columns(formats, columns);
        let replies: Option<&mut Replies<WriteHalf<Socket>>> = match skip {
            true => None,
            false => Some(&mut self.replies),
        };
        let (_, sent) = cursor
            .rows
            .send(replies, &formats, most_rows, token)
            .await?;
        self.cursors.insert(name.to_owned(), cursor);
        Ok(match skip {
            true => format!("MOVE {sent}"),
            false => format!("FETCH {sent}"),
        })
    }
}

fn no_cursor(name: &str) -> Fault {
    Fault::new("34000", format!("cursor \"{name}\" does not exist"))
}
