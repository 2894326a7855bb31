//! Statements of clients: as texts, and prepared with parameters.
//!
//! Invariant: a statement takes effect once, when it is executed, and never while it is prepared,
//! bound or described.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::Arc;

use arrow::datatypes::Schema;
use datafusion::arrow;
use tidegate::{CancellationToken, Session};
use tidegate_extensions::format::postgres::{ValueFormat, oid, pg_type};
use tidegate_extensions::sql::{Parameter, ScriptStatement, SessionCommand};

use super::connection::{Connection, Running};
use super::fault::{Fault, Stop};
use super::message::{Bind, Message, Named};
use super::parameters::{as_literal, type_of_planner, type_of_use, with_value, without_value};
use super::pg_catalog::CatalogQuery;
use super::portal::{Kind, Plan, Portal, Prepared, Sent, Work, formats_of_columns};
use super::reply::{Block, push_u16};

/// The most prepared statements of a connection, the most bytes of their texts, and the most portals.
const MOST_STATEMENTS: usize = 10_000;
const MOST_STATEMENT_BYTES: usize = 32 << 20;
const MOST_PORTALS: usize = 1000;

/// What a statement is.
fn kind_of(statement: ScriptStatement) -> Result<Kind, Fault> {
    Ok(match statement.session_command()? {
        Some(command) => Kind::Command(command),
        None => match CatalogQuery::of(&statement) {
            Some(query) => Kind::Catalog(query),
            None => Kind::Statement(statement),
        },
    })
}

fn split(session: &Session, text: &str) -> Result<Vec<ScriptStatement>, Fault> {
    let script = session.split_script(text)?;
    match script.error {
        Some(error) => Err(error.into()),
        None => Ok(script.statements),
    }
}

impl Connection {
    /// Executes the statements of a text, up to the first error.
    pub(super) async fn simple_query(&mut self, text: &str) -> Result<(), Stop> {
        let statements = split(&self.session, text)?;
        if statements.is_empty() {
            self.replies.message(b'I', |_| {});
        }
        let text: Arc<str> = Arc::from(text);
        // A syntax error anywhere in the text keeps all of its statements from taking effect.
        let mut parsed = Vec::with_capacity(statements.len());
        for statement in statements {
            let kind = kind_of(statement.clone())?;
            if let Kind::Statement(statement) = &kind {
                self.session.check_syntax(statement)?;
            }
            parsed.push((statement, kind));
        }
        for (statement, kind) in parsed {
            let running = self.begin(&text);
            let work = match kind {
                Kind::Command(command) if self.answers(&command)? => Work::Command(command),
                Kind::Catalog(query) => {
                    self.refuse_in_failed_block()?;
                    let plan = self.plan_catalog(&query, &[]).await?;
                    Work::Planned(Plan::Catalog(plan))
                }
                _ => {
                    self.refuse_in_failed_block()?;
                    let planned = self.plan(statement, &running.token).await;
                    Work::Planned(planned.map_err(|stop| self.with_reason(stop))?)
                }
            };
            let mut portal = Portal {
                text: Arc::clone(&text),
                work,
                formats: Vec::new(),
            };
            let done = self.execute(&mut portal, None, true, running).await;
            done.map_err(|stop| self.with_reason(stop))?;
        }
        Ok(())
    }

    /// Answers a message of the extended protocol.
    pub(super) async fn extended(&mut self, message: Message) -> Result<(), Stop> {
        match message {
            Message::Parse {
                statement,
                query,
                types,
            } => self.parse(statement, &query, types).await,
            Message::Bind(bind) => self.bind(bind).await,
            Message::Describe(Named::Statement(name)) => self.describe_statement(&name),
            Message::Describe(Named::Portal(name)) => self.describe_portal(&name),
            Message::Execute { portal, most_rows } => {
                self.execute_portal(portal, u64::from(most_rows)).await
            }
            Message::Close(named) => {
                match named {
                    Named::Statement(name) => drop(self.statements.remove(&name)),
                    Named::Portal(name) => {
                        self.portals.remove(&name);
                        self.cursors.remove(&name);
                    }
                }
                self.replies.message(b'3', |_| {});
                Ok(())
            }
            Message::Refused { fault, .. } => Err(fault.into()),
            Message::CopyData => Ok(()),
            _ => Err(Fault::fatal("08P01", "this message is not expected here").into()),
        }
    }

    pub(super) fn refuse_in_failed_block(&self) -> Result<(), Fault> {
        match self.block {
            Block::Failed => {
                let why = "current transaction is aborted, commands ignored until end of transaction block";
                Err(Fault::new("25P02", why))
            }
            Block::None | Block::Open => Ok(()),
        }
    }

    async fn parse(&mut self, name: String, text: &str, types: Vec<u32>) -> Result<(), Stop> {
        if name.is_empty() {
            self.statements.remove(&name);
        } else if self.statements.contains_key(&name) {
            let why = format!("prepared statement \"{name}\" already exists");
            return Err(Fault::new("42P05", why).into());
        }
        let kept: usize = self.statements.values().map(|kept| kept.text.len()).sum();
        if self.statements.len() >= MOST_STATEMENTS || kept + text.len() > MOST_STATEMENT_BYTES {
            let why = "the connection has too many prepared statements";
            return Err(Fault::new("53400", why)
                .with_hint("DEALLOCATE some of them")
                .into());
        }
        let mut statements = split(&self.session, text)?;
        if statements.len() > 1 {
            let why = "cannot insert multiple commands into a prepared statement";
            return Err(Fault::new("42601", why).into());
        }
        let mut prepared = Prepared {
            text: Arc::from(text),
            kind: Kind::Empty,
            types: Vec::new(),
            columns: Ok(None),
            is_described: false,
            plan: None,
        };
        if let Some(statement) = statements.pop() {
            if statement.begins_with(&["EXECUTE"]) {
                let why = "EXECUTE can't be prepared";
                return Err(Fault::new("0A000", why)
                    .with_hint("send it without parameters, as a simple query")
                    .into());
            }
            prepared.kind = match kind_of(statement.clone())? {
                Kind::Command(command) if !self.answers(&command)? => Kind::Statement(statement),
                kind => kind,
            };
        }
        let planned = match &prepared.kind {
            Kind::Statement(statement) => Some(statement.clone()),
            Kind::Command(SessionCommand::Declare(declared)) => Some(declared.query.clone()),
            Kind::Catalog(_) | Kind::Command(_) | Kind::Empty => None,
        };
        if let Kind::Catalog(query) = &prepared.kind {
            self.refuse_in_failed_block()?;
            let plan = self.plan_catalog(query, &types).await?;
            prepared.types = plan.parameters.clone();
            prepared.columns = Ok(Some(plan.schema));
        }
        if let Some(statement) = planned {
            self.refuse_in_failed_block()?;
            let given = u16::try_from(types.len()).unwrap_or(u16::MAX);
            prepared.types = types;
            let count = statement.parameters()?.max(given);
            prepared.types.resize(usize::from(count), 0);
            let planned = self.plan_prepared(&mut prepared, &statement).await?;
            if let Kind::Statement(_) = prepared.kind {
                match planned {
                    Ok(planned) => {
                        prepared.columns = Ok(planned.columns().cloned());
                        // Values may change the plan.
                        prepared.plan = Some(planned).filter(|_| prepared.types.is_empty());
                    }
                    Err(fault) => prepared.columns = Err(fault),
                }
            }
        }
        self.statements.insert(name, prepared);
        self.replies.message(b'1', |_| {});
        Ok(())
    }

    /// Plans a prepared statement and finds the types of its parameters.
    ///
    /// The inner error is that of a statement whose plan may depend on values, such as the path of a
    /// file. It is planned again when it has them.
    async fn plan_prepared(
        &mut self,
        prepared: &mut Prepared,
        statement: &ScriptStatement,
    ) -> Result<Result<Plan, Fault>, Stop> {
        let types = prepared.types.as_mut_slice();
        let running = self.begin(&prepared.text);
        let token = &running.token;
        if types.is_empty() {
            let planned = self.plan(statement.clone(), token).await;
            return planned.map(Ok).map_err(|stop| self.with_reason(stop));
        }
        let number = |place: usize| u16::try_from(place + 1).unwrap_or(u16::MAX);
        for (place, type_oid) in types.iter_mut().enumerate() {
            if *type_oid == 0 || *type_oid == oid::UNKNOWN {
                let context = statement.parameter_use(number(place));
                *type_oid = context.as_ref().and_then(type_of_use).unwrap_or(0);
            }
        }
        let typed: Vec<Parameter> = types.iter().copied().map(without_value).collect();
        let mut planned = self.plan_with(statement, &typed, token).await;
        let found = match &planned {
            Ok((Plan::Statement(planned), _)) => planned.parameter_types()?,
            Ok((Plan::Catalog(_), _)) | Err(_) => BTreeMap::new(),
        };
        let mut is_complete = planned.is_ok();
        for (place, type_oid) in types.iter_mut().enumerate() {
            if *type_oid == 0 {
                let found = found.get(&number(place)).and_then(Option::as_ref);
                is_complete &= found.is_some();
                *type_oid = found.map_or(oid::TEXT, type_of_planner);
            }
        }
        if !is_complete {
            // Parameters without a type are texts, as in PostgreSQL.
            let texts = types.iter().copied().map(|type_oid| match type_oid {
                oid::TEXT => Parameter {
                    value: None,
                    cast: Some("text"),
                },
                other => without_value(other),
            });
            let texts: Vec<Parameter> = texts.collect();
            planned = self.plan_with(statement, &texts, token).await;
        }
        match planned {
            Ok((planned, _)) => Ok(Ok(planned)),
            Err(Stop::Fault(fault)) => Ok(Err(*fault)),
            Err(Stop::Gone) => Err(Stop::Gone),
        }
    }

    /// Plans a statement with its parameters, and returns it with them. If it can't be planned with
    /// numbers that are cast to their types, they are literals: arguments of table functions must be.
    async fn plan_with(
        &mut self,
        statement: &ScriptStatement,
        parameters: &[Parameter],
        token: &CancellationToken,
    ) -> Result<(Plan, ScriptStatement), Stop> {
        let typed = statement.with_parameters(parameters)?;
        let planned = self.plan(typed.clone(), token).await;
        let literals: Vec<Parameter> = parameters.iter().map(as_literal).collect();
        if planned.is_ok() || literals == parameters || token.is_cancelled() {
            return planned.map(|planned| (planned, typed));
        }
        let literal = statement.with_parameters(&literals)?;
        match self.plan(literal.clone(), token).await {
            Ok(again) => Ok((again, literal)),
            Err(_) => planned.map(|planned| (planned, typed)),
        }
    }

    async fn bind(&mut self, bind: Bind) -> Result<(), Stop> {
        if bind.portal.is_empty() {
            self.portals.remove(&bind.portal);
        } else if self.portals.contains_key(&bind.portal) {
            let why = format!("cursor \"{}\" already exists", bind.portal);
            return Err(Fault::new("42P03", why).into());
        }
        if self.portals.len() >= MOST_PORTALS {
            let why = format!("the connection already has {MOST_PORTALS} portals");
            return Err(Fault::new("53400", why).into());
        }
        let missing = || no_statement(&bind.statement);
        let prepared = self.statements.get_mut(&bind.statement);
        let prepared = prepared.ok_or_else(missing)?;
        if let Kind::Catalog(query) = &prepared.kind {
            let (query, types) = (query.clone(), prepared.types.clone());
            let text = Arc::clone(&prepared.text);
            return self.bind_catalog(bind, query, &types, text).await;
        }
        let values = parameters(&bind, &prepared.types)?;
        let text = Arc::clone(&prepared.text);
        let described = match &prepared.columns {
            Ok(columns) if prepared.is_described => Some(type_numbers(columns.as_ref())),
            _ => None,
        };
        let work = match &prepared.kind {
            Kind::Empty | Kind::Catalog(_) => Work::Empty,
            Kind::Command(SessionCommand::Declare(declared)) if !values.is_empty() => {
                let mut declared = declared.clone();
                let running = self.begin(&text);
                let planned = self
                    .plan_with(&declared.query, &values, &running.token)
                    .await;
                let (_, query) = planned.map_err(|stop| self.with_reason(stop))?;
                declared.query = query;
                Work::Command(SessionCommand::Declare(declared))
            }
            Kind::Command(command) => Work::Command(command.clone()),
            Kind::Statement(statement) => {
                let statement = statement.clone();
                let planned = match prepared.plan.take() {
                    Some(planned) => planned,
                    None => {
                        self.refuse_in_failed_block()?;
                        let running = self.begin(&text);
                        let planned = match values.is_empty() {
                            true => self.plan(statement, &running.token).await,
                            false => {
                                let planned = self.plan_with(&statement, &values, &running.token);
                                planned.await.map(|(planned, _)| planned)
                            }
                        };
                        planned.map_err(|stop| self.with_reason(stop))?
                    }
                };
                if described.is_some_and(|described| described != type_numbers(planned.columns())) {
                    let why = "cached plan must not change result type";
                    return Err(Fault::new("0A000", why)
                        .with_hint("prepare the statement again, with the types of its parameters")
                        .into());
                }
                Work::Planned(planned)
            }
        };
        let portal = Portal {
            text,
            work,
            formats: bind.result_formats,
        };
        let columns = match &portal.work {
            Work::Planned(planned) => planned.columns().cloned(),
            Work::Command(command) => self.columns_of(command),
            Work::Empty | Work::Running(_) | Work::Done(_) => None,
        };
        if let Some(columns) = columns {
            portal.column_formats(columns.fields().len())?;
        }
        self.portals.insert(bind.portal, portal);
        self.replies.message(b'2', |_| {});
        Ok(())
    }

    async fn bind_catalog(
        &mut self,
        bind: Bind,
        query: CatalogQuery,
        types: &[u32],
        text: Arc<str>,
    ) -> Result<(), Stop> {
        self.refuse_in_failed_block()?;
        let plan = self.plan_catalog(&query, types).await?;
        let portal = Portal {
            text,
            formats: bind.result_formats.clone(),
            work: Work::Planned(Plan::Catalog(plan.with_values(&bind)?)),
        };
        if let Work::Planned(plan) = &portal.work {
            let columns = plan.columns().map_or(0, |columns| columns.fields().len());
            let formats = portal.column_formats(columns)?;
            if let Plan::Catalog(plan) = plan {
                plan.check_formats(&formats)?;
            }
        }
        self.portals.insert(bind.portal, portal);
        self.replies.message(b'2', |_| {});
        Ok(())
    }

    fn describe_statement(&mut self, name: &str) -> Result<(), Stop> {
        let missing = || no_statement(name);
        let schema = match &self.statements.get(name).ok_or_else(missing)?.kind {
            Kind::Command(command) => Some(self.columns_of(command)),
            Kind::Catalog(_) | Kind::Statement(_) | Kind::Empty => None,
        };
        let prepared = self.statements.get_mut(name).ok_or_else(missing)?;
        let schema = match (schema, &prepared.columns) {
            (Some(schema), _) => schema,
            (None, Ok(columns)) => columns.clone(),
            (None, Err(fault)) => return Err(fault.clone().into()),
        };
        prepared.is_described = true;
        let types = &prepared.types;
        self.replies.message(b't', |body| {
            push_u16(body, types.len());
            for type_oid in types {
                body.extend_from_slice(&type_oid.to_be_bytes());
            }
        });
        match schema {
            Some(schema) => self.replies.row_description(&schema, &[]),
            None => self.replies.message(b'n', |_| {}),
        }
        Ok(())
    }

    fn describe_portal(&mut self, name: &str) -> Result<(), Stop> {
        // A cursor of DECLARE is a portal, too.
        if let Some(cursor) = self.cursors.get(name) {
            let columns = cursor.rows.columns().cloned().unwrap_or_else(Schema::empty);
            let formats = cursor.formats();
            self.replies.row_description(&columns, &formats);
            return Ok(());
        }
        let portal = self.portals.get(name).ok_or_else(|| no_portal(name))?;
        let schema = match &portal.work {
            Work::Command(command) => self.columns_of(command),
            Work::Planned(planned) => planned.columns().cloned(),
            Work::Running(rows) => rows.columns().cloned(),
            Work::Empty | Work::Done(_) => None,
        };
        match schema {
            Some(schema) => {
                let formats = portal.column_formats(schema.fields().len())?;
                self.replies.row_description(&schema, &formats);
            }
            None => self.replies.message(b'n', |_| {}),
        }
        Ok(())
    }

    async fn execute_portal(&mut self, name: String, most_rows: u64) -> Result<(), Stop> {
        let Entry::Occupied(entry) = self.portals.entry(name.clone()) else {
            return Err(no_portal(&name).into());
        };
        let mut portal = entry.remove();
        let most_rows = (most_rows > 0).then_some(most_rows);
        let running = self.begin(&portal.text);
        let done = self.execute(&mut portal, most_rows, false, running).await;
        done.map_err(|stop| self.with_reason(stop))?;
        self.portals.insert(name, portal);
        Ok(())
    }

    /// Executes a portal, or goes on with it. `describes` tells the client the columns first.
    async fn execute(
        &mut self,
        portal: &mut Portal,
        most_rows: Option<u64>,
        describes: bool,
        running: Running,
    ) -> Result<(), Stop> {
        let token = &running.token;
        self.server.counters.statements.add(1);
        portal.work = match std::mem::replace(&mut portal.work, Work::Done(String::new())) {
            Work::Planned(planned) => {
                self.refuse_in_failed_block()?;
                Work::Running(self.start(planned, token).await?)
            }
            other => other,
        };
        match &mut portal.work {
            Work::Empty => self.replies.message(b'I', |_| {}),
            Work::Done(tag) => self.replies.complete(tag),
            Work::Planned(_) => {}
            Work::Command(command) => {
                let command = command.clone();
                if describes && let Some(schema) = self.columns_of(&command) {
                    let formats = self.formats_of(&command);
                    self.replies.row_description(&schema, &formats);
                }
                let formats = match describes {
                    true => self.formats_of(&command),
                    false => portal.formats.clone(),
                };
                let tag = self.run_command(command, &formats, token).await?;
                self.replies.complete(&tag);
                portal.work = Work::Done(tag);
            }
            Work::Running(rows) => {
                rows.cancelled_by(token);
                let columns = rows.columns().map_or(0, |columns| columns.fields().len());
                if describes && let Some(schema) = rows.columns() {
                    self.replies.row_description(schema, &[]);
                }
                let formats = formats_of_columns(&portal.formats, columns);
                let replies = &mut self.replies;
                let sent = rows.send(Some(replies), &formats, most_rows, token).await;
                if rows.is_export() && sent.is_err() {
                    self.server.counters.failed_exports.add(1);
                }
                match sent? {
                    (Sent::Limited, _) => self.replies.message(b's', |_| {}),
                    (Sent::All, sent) => {
                        if let Some(report) = rows.export_report() {
                            self.server.counters.exported(&report);
                        }
                        for notice in rows.notices() {
                            self.replies.notice("NOTICE", "00000", &notice);
                        }
                        // A portal that was suspended counts the rows since then.
                        let tag = match (rows.columns(), rows.tag().strip_prefix("SELECT ")) {
                            (Some(_), Some(_)) => format!("SELECT {sent}"),
                            _ => rows.tag(),
                        };
                        self.replies.complete(&tag);
                        portal.work = Work::Done(match columns {
                            0 => tag,
                            _ => "SELECT 0".to_owned(),
                        });
                    }
                }
            }
        }
        Ok(())
    }
}

fn no_statement(name: &str) -> Fault {
    let why = match name {
        "" => "unnamed prepared statement does not exist".to_owned(),
        name => format!("prepared statement \"{name}\" does not exist"),
    };
    Fault::new("26000", why)
}

fn no_portal(name: &str) -> Fault {
    Fault::new("34000", format!("portal \"{name}\" does not exist"))
}

/// The types of columns; none without rows.
fn type_numbers(columns: Option<&Schema>) -> Vec<u32> {
    let fields = columns.into_iter().flat_map(|columns| columns.fields());
    fields.map(|field| pg_type(field).oid).collect()
}

/// The values of a statement's parameters.
fn parameters(bind: &Bind, types: &[u32]) -> Result<Vec<Parameter>, Fault> {
    let formats = parameter_formats(bind, types.len())?;
    let values = bind.parameters.iter().zip(types).zip(formats).enumerate();
    let values = values.map(|(place, ((value, type_oid), format))| {
        with_value(place + 1, *type_oid, format, value.as_ref())
    });
    values.collect()
}

/// The form of each parameter's value.
///
/// # Errors
/// 08P01 if the client sends another number of values or forms.
pub(super) fn parameter_formats(bind: &Bind, count: usize) -> Result<Vec<ValueFormat>, Fault> {
    if bind.parameters.len() != count {
        let why = format!(
            "bind message supplies {} parameters, but prepared statement \"{}\" requires {count}",
            bind.parameters.len(),
            bind.statement,
        );
        return Err(Fault::new("08P01", why));
    }
    let formats = &bind.parameter_formats;
    if formats.len() > 1 && formats.len() != count {
        let why = format!(
            "bind message has {} parameter formats but {count} parameters",
            formats.len(),
        );
        return Err(Fault::new("08P01", why));
    }
    Ok(match formats.as_slice() {
        [] => vec![ValueFormat::Text; count],
        [one] => vec![*one; count],
        each => each.to_vec(),
    })
}
