//! Functions about the session, as PostgreSQL has them.
//!
//! Invariant: a function tells what the session is at the moment, not when the statement was planned.

use std::hash::{Hash, Hasher};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arrow::datatypes::DataType;
use datafusion::arrow;
use datafusion::common::ScalarValue;
use datafusion::error::Result as DataFusionResult;
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};
use tidegate::{Error, ErrorKind, Session};

use super::backends::Backend;
use super::settings::{SERVER_VERSION, Settings};
use super::users::User;

type Compute = dyn Fn(&[Option<String>]) -> tidegate::Result<ScalarValue> + Send + Sync;

/// A function of texts.
struct SessionFunction {
    name: &'static str,
    aliases: Vec<String>,
    signature: Signature,
    returns: DataType,
    compute: Arc<Compute>,
}

impl std::fmt::Debug for SessionFunction {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SessionFunction")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

impl PartialEq for SessionFunction {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name && Arc::ptr_eq(&self.compute, &other.compute)
    }
}

impl Eq for SessionFunction {}

impl Hash for SessionFunction {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name.hash(state);
    }
}

impl ScalarUDFImpl for SessionFunction {
    fn name(&self) -> &str {
        self.name
    }

    fn aliases(&self) -> &[String] {
        &self.aliases
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arguments: &[DataType]) -> DataFusionResult<DataType> {
        Ok(self.returns.clone())
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> DataFusionResult<ColumnarValue> {
        let texts = args.args.iter().map(|argument| match argument {
            ColumnarValue::Scalar(value) if value.is_null() => Ok(None),
            ColumnarValue::Scalar(value) => Ok(Some(value.to_string())),
            ColumnarValue::Array(_) => {
                let why = format!("the arguments of {} must be constants", self.name);
                Err(Error::new(ErrorKind::Unsupported, why))
            }
        });
        let texts = texts.collect::<tidegate::Result<Vec<_>>>()?;
        Ok(ColumnarValue::Scalar((self.compute)(&texts)?))
    }
}

/// Adds the functions to a session.
pub(super) fn add_session_functions(
    session: &Session,
    user: &User,
    backend: &Backend,
    settings: &Arc<Mutex<Settings>>,
) {
    let add =
        |name: &'static str, arguments: Vec<usize>, returns: DataType, compute: Arc<Compute>| {
            let signature = arguments.into_iter().map(|count| match count {
                0 => datafusion::logical_expr::TypeSignature::Nullary,
                count => datafusion::logical_expr::TypeSignature::Any(count),
            });
            session
                .context()
                .register_udf(ScalarUDF::from(SessionFunction {
                    name,
                    aliases: vec![format!("pg_catalog.{name}")],
                    signature: Signature::one_of(signature.collect(), Volatility::Volatile),
                    returns,
                    compute,
                }));
        };
    let text = |value: String| ScalarValue::Utf8(Some(value));
    let constant = |name, value: ScalarValue| {
        let returns = value.data_type();
        add(name, vec![0], returns, Arc::new(move |_| Ok(value.clone())));
    };
    let catalog = session.context().state();
    let catalog = &catalog.config_options().catalog;
    constant(
        "version",
        text(format!(
            "PostgreSQL {SERVER_VERSION} (Tidegate {})",
            env!("CARGO_PKG_VERSION")
        )),
    );
    constant("current_database", text(catalog.default_catalog.clone()));
    constant("current_catalog", text(catalog.default_catalog.clone()));
    constant("current_schema", text(catalog.default_schema.clone()));
    for name in ["current_user", "session_user", "current_role"] {
        constant(name, text(user.name.clone()));
    }
    constant("pg_backend_pid", ScalarValue::Int32(Some(backend.pid)));
    constant("pg_is_in_recovery", ScalarValue::Boolean(Some(false)));
    constant("pg_advisory_unlock_all", text(String::new()));

    let shared = Arc::clone(settings);
    let current_setting = move |texts: &[Option<String>]| {
        let (name, may_miss) = match texts {
            [Some(name)] => (name, false),
            [Some(name), may_miss] => (name, may_miss.as_deref() == Some("true")),
            _ => return Ok(ScalarValue::Utf8(None)),
        };
        let value = lock(&shared).get(&name.to_lowercase());
        match (value, may_miss) {
            (None, false) => Err(Error::new(
                ErrorKind::UndefinedObject,
                format!("unrecognized configuration parameter \"{name}\""),
            )),
            (value, _) => Ok(ScalarValue::Utf8(value)),
        }
    };
    add(
        "current_setting",
        vec![1, 2],
        DataType::Utf8,
        Arc::new(current_setting),
    );
    let shared = Arc::clone(settings);
    let set_config = move |texts: &[Option<String>]| {
        let [Some(name), value, is_local] = texts else {
            let why = "set_config needs the name of a setting";
            return Err(Error::new(ErrorKind::InvalidParameter, why));
        };
        let name = name.to_lowercase();
        let is_local = is_local.as_deref() == Some("true");
        let mut settings = lock(&shared);
        let set = settings.set(&name, value.as_deref(), is_local);
        set.map_err(|fault| Error::new(ErrorKind::InvalidParameter, fault.message))?;
        Ok(ScalarValue::Utf8(settings.get(&name)))
    };
    add("set_config", vec![3], DataType::Utf8, Arc::new(set_config));
}

fn lock(settings: &Mutex<Settings>) -> MutexGuard<'_, Settings> {
    settings.lock().unwrap_or_else(PoisonError::into_inner)
}
