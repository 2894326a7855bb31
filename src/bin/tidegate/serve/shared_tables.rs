//! The tables and views that all sessions share.
//!
//! Invariant: the operator's script has run once, before anybody connects. Sessions can read its tables;
//! dropping one drops it from the session alone.

use std::path::Path;
use std::sync::Arc;

use datafusion::catalog::{CatalogProvider, MemorySchemaProvider, TableProvider};
use tidegate::{Engine, Error, ErrorKind, Result, Session};

/// Tables with their schemas and names.
#[derive(Default)]
pub(super) struct SharedTables(Vec<(String, String, Arc<dyn TableProvider>)>);

/// The catalog of a session that its tables are in.
fn catalog(session: &Session) -> Option<Arc<dyn CatalogProvider>> {
    let state = session.context().state();
    session
        .context()
        .catalog(&state.config_options().catalog.default_catalog)
}

impl SharedTables {
    /// Runs a script, and takes the tables and views that it makes.
    ///
    /// # Errors
    /// The file can't be read, or a statement fails; the message has the file and the line.
    pub(super) async fn from_script(engine: &Engine, path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).map_err(|error| {
            let why = format!("{} can't be read: {error}", path.display());
            Error::new(ErrorKind::Io, why)
        })?;
        let session = engine.session()?;
        let known = Self::of(&session).await?;
        let failed = |error: Error| {
            let line = error
                .location()
                .map(|location| format!(" line {}", location.line));
            let why = format!(
                "{}{}: {}",
                path.display(),
                line.unwrap_or_default(),
                error.message()
            );
            let failed = Error::new(error.kind(), why);
            match error.hint() {
                Some(hint) => failed.with_hint(hint),
                None => failed,
            }
        };
        let script = session.split_script(&text)?;
        if let Some(error) = script.error {
            return Err(failed(error));
        }
        for statement in script.statements {
            let executed = async { session.start_statement(statement).await?.collect().await };
            executed.await.map_err(failed)?;
        }
        let mut all = Self::of(&session).await?;
        all.0.retain(|(schema, name, _)| {
            let mut known = known.0.iter();
            !known.any(|(of, other, _)| of == schema && other == name)
        });
        Ok(all)
    }

    async fn of(session: &Session) -> Result<Self> {
        let mut tables = Vec::new();
        let Some(catalog) = catalog(session) else {
            return Ok(Self(tables));
        };
        for schema_name in catalog.schema_names() {
            let Some(schema) = catalog.schema(&schema_name) else {
                continue;
            };
            for name in schema.table_names() {
                if let Some(table) = schema.table(&name).await? {
                    tables.push((schema_name.clone(), name, table));
                }
            }
        }
        Ok(Self(tables))
    }

    /// Adds the tables to a session.
    ///
    /// # Errors
    /// A table has the name of one that the session has.
    pub(super) fn add_to(&self, session: &Session) -> Result<()> {
        let Some(catalog) = catalog(session) else {
            return Ok(());
        };
        for (schema_name, name, table) in &self.0 {
            let schema = match catalog.schema(schema_name) {
                Some(schema) => schema,
                None => {
                    let schema = Arc::new(MemorySchemaProvider::new());
                    catalog.register_schema(schema_name, Arc::clone(&schema) as _)?;
                    schema
                }
            };
            schema.register_table(name.clone(), Arc::clone(table))?;
        }
        Ok(())
    }
}
