//! The command line.
//!
//! Invariant: scripts run in the order in which they were named, on one session. The first error
//! ends them, unless `ON_ERROR_STOP` is off.

use std::io::{IsTerminal, Read};
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::{ArgMatches, Args, CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum};
use tidegate::dev_s3::{AccessKey, DevServer};
use tidegate::{
    CLEAN_UP, Catalog, Engine, EngineBuilder, Error, ErrorKind, FileCatalog, KeyFile,
    MemoryCatalog, Prompt, Result, SecretValue, Unfinished,
};
use tidegate_extensions::memory::{LEAST_PROCESS_BYTES, ProcessMemory};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

use crate::allocator;
use crate::demo;
use crate::print::{self, Format};
use crate::progress_line::ShowProgress;
use crate::repl;
use crate::serve::{ServeOptions, UserAction, manage_users, serve};
use crate::shell::{Flow, Settings, Shell, Source};
use crate::signals::{SIGINT, Signals};

/// The maximum number of rows that the shell prints by default.
const MOST_ROWS: u64 = 100;

/// The number of threads that read and write files. Four concurrent requests keep a disk busy.
const BLOCKING_THREADS: usize = 4;

/// The stack of a thread. Planning takes some of it for each operator of a long expression; only what
/// is used takes memory.
const STACK_BYTES: usize = 256 << 20;

/// Exports the result of any SQL query to S3-compatible object storage, all or nothing.
#[derive(Debug, Parser)]
#[command(version, args_conflicts_with_subcommands = true)]
struct Cli {
    #[command(subcommand)]
    action: Option<Action>,

    /// Execute SQL; may be given several times
    #[arg(short = 'c', long = "command", value_name = "SQL")]
    commands: Vec<String>,

    /// Execute a script; may be given several times; "-" is standard input
    #[arg(short = 'f', long = "file", value_name = "FILE")]
    files: Vec<PathBuf>,

    #[command(flatten)]
    limits: Limits,

    #[command(flatten)]
    catalog: CatalogOptions,

    #[command(flatten)]
    output: OutputOptions,

    /// Set a variable that scripts use as :name, :'name' or :"name"; may be given several times
    #[arg(short = 'v', long = "variable", value_name = "NAME=VALUE", value_parser = parse_variable)]
    variables: Vec<(String, String)>,

    /// Plan every statement and make every check of COPY, but write nothing
    #[arg(long)]
    dry_run: bool,
}

#[derive(Debug, Args)]
struct CatalogOptions {
    /// The file that keeps secrets and connections; ":memory:" keeps them until the program ends
    /// [default: in the user's data directory]
    #[arg(long, env = "TIDEGATE_CATALOG", value_name = "PATH")]
    catalog: Option<PathBuf>,

    /// The key that secrets are encrypted with; made on first use [default: in the user's
    /// configuration directory]
    #[arg(long, env = "TIDEGATE_KEY_FILE", value_name = "PATH")]
    key_file: Option<PathBuf>,

    /// Renew temporary credentials this many seconds before they expire
    #[arg(
        long,
        env = "TIDEGATE_CREDENTIAL_MARGIN",
        default_value_t = 300,
        value_name = "SECONDS"
    )]
    credential_margin: u64,
}

#[derive(Debug, Args)]
struct OutputOptions {
    /// How rows are printed
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT")]
    format: Format,

    /// When to show the progress of a statement
    #[arg(long, value_enum, default_value_t, value_name = "WHEN")]
    progress: ShowProgress,

    /// When to use colours; NO_COLOR in the environment means never
    #[arg(long, value_enum, default_value_t, value_name = "WHEN")]
    color: Color,

    /// Print results only, no command tags
    #[arg(short, long)]
    quiet: bool,
}

/// When to use colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
enum Color {
    /// On a terminal
    #[default]
    Auto,
    /// Always
    Always,
    /// Never
    Never,
}

#[derive(Debug, Args)]
struct Limits {
    /// The memory that the process may use, such as 512MB or 4GB [default: three quarters of the
    /// machine's]
    #[arg(long, value_name = "SIZE", value_parser = parse_memory)]
    memory_limit: Option<usize>,

    /// How many threads to work with [default: the number of cores]
    #[arg(long, value_name = "N")]
    threads: Option<NonZeroUsize>,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Start an S3 server, make data, and walk through a whole export
    Demo {
        /// The TPC-H scale factor: 1 is 6 million rows
        #[arg(long, default_value_t = 0.1, value_name = "FACTOR")]
        scale: f64,

        #[command(flatten)]
        limits: Limits,
    },
    /// Serve clients of PostgreSQL: psql, drivers, tools
    Serve {
        #[command(flatten)]
        options: ServeOptions,

        #[command(flatten)]
        limits: Limits,

        #[command(flatten)]
        catalog: CatalogOptions,
    },
    /// Add, remove and list the users that `serve` lets in
    User {
        #[command(subcommand)]
        action: UserAction,
    },
    /// Serve a folder as S3, for trying things out
    S3 {
        /// The folder; each folder in it is a bucket
        #[arg(long, value_name = "DIR")]
        root: PathBuf,

        /// Where to listen; port 0 picks a free one
        #[arg(long, default_value = "127.0.0.1:9000", value_name = "ADDRESS")]
        listen: SocketAddr,

        /// The access key's id
        #[arg(long, default_value = "tidegate", value_name = "ID")]
        access_key_id: String,

        /// The secret access key
        #[arg(
            long,
            env = "TIDEGATE_S3_SECRET_ACCESS_KEY",
            hide_env_values = true,
            default_value = "tidegate-secret",
            value_name = "SECRET"
        )]
        secret_access_key: String,
    },
    /// Print a script that completes this program's options in a shell
    Completions {
        /// The shell
        #[arg(value_enum)]
        shell: clap_complete::Shell,
    },
    /// Print this program's manual page
    Man,
}

/// Parses the command line and runs the program.
pub(crate) fn run() -> ExitCode {
    init_logging();
    let matches = Cli::command().get_matches();
    let cli = match Cli::from_arg_matches(&matches) {
        Ok(cli) => cli,
        Err(error) => error.exit(),
    };
    let limits = match &cli.action {
        Some(Action::Demo { limits, .. } | Action::Serve { limits, .. }) => Some(limits),
        Some(_) => None,
        None => Some(&cli.limits),
    };
    if let Some(limits) = limits {
        let memory = match limits.memory_limit {
            Some(bytes) => ProcessMemory::new(bytes).ok(),
            None => ProcessMemory::of_machine(),
        };
        if let Err(error) = allocator::set_up(memory, limits.threads) {
            print::complain(&format!("tidegate: can't restart itself: {error}"));
            return ExitCode::FAILURE;
        }
    }
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    runtime.enable_all();
    runtime.thread_stack_size(STACK_BYTES);
    // The allocator retains memory for each thread that reads or writes files.
    runtime.max_blocking_threads(BLOCKING_THREADS);
    if let Some(threads) = limits.and_then(|limits| limits.threads) {
        runtime.worker_threads(threads.get());
    }
    let runtime = match runtime.build() {
        Ok(runtime) => runtime,
        Err(error) => {
            print::complain(&format!("tidegate: can't start: {error}"));
            return ExitCode::FAILURE;
        }
    };
    let exit_code = runtime.block_on(dispatch(cli, &matches));
    // Don't wait for a thread that still asks for a secret.
    runtime.shutdown_background();
    exit_code
}

/// Libraries that log signed requests and credentials at levels below warnings.
const LOUD_LIBRARIES: [&str; 7] = [
    "aws_config",
    "aws_credential_types",
    "aws_runtime",
    "aws_sdk_sso",
    "aws_sdk_sts",
    "aws_sigv4",
    "aws_smithy_runtime",
];

/// Logs errors to standard error, and more if `RUST_LOG` asks for it.
fn init_logging() {
    let mut filter = EnvFilter::from_default_env();
    if filter.max_level_hint() > Some(LevelFilter::WARN) {
        for library in LOUD_LIBRARIES {
            if let Ok(directive) = format!("{library}=warn").parse() {
                filter = filter.add_directive(directive);
            }
        }
    }
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .init();
}

async fn dispatch(cli: Cli, matches: &ArgMatches) -> ExitCode {
    let done = match cli.action {
        Some(Action::Demo { scale, limits }) => match engine_builder(&limits).build() {
            Ok(engine) => finish(&engine, demo::run(&engine, scale)).await,
            Err(error) => Err(Failure::Statement(error)),
        },
        Some(Action::Serve {
            options,
            limits,
            catalog,
        }) => match build_engine(&limits, &catalog, None) {
            Ok(engine) => match serve(engine.clone(), &options).await {
                Ok(signal) => Err(Failure::Interrupted {
                    signal,
                    unfinished: engine.unfinished_exports(),
                }),
                Err(error) => Err(Failure::Statement(error)),
            },
            Err(failure) => Err(failure),
        },
        Some(Action::User { action }) => manage_users(&action).map_err(Failure::Statement),
        Some(Action::S3 {
            root,
            listen,
            access_key_id,
            secret_access_key,
        }) => {
            let key = AccessKey {
                id: access_key_id,
                secret: secret_access_key,
            };
            serve_s3(root, listen, key)
                .await
                .map_err(Failure::Statement)
        }
        Some(Action::Completions { shell }) => {
            let mut text = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "tidegate", &mut text);
            print::write_out(&String::from_utf8_lossy(&text)).map_err(Failure::Statement)
        }
        Some(Action::Man) => {
            let mut text = Vec::new();
            let rendered = clap_mangen::Man::new(Cli::command()).render(&mut text);
            let written = rendered.map_err(print::not_written);
            written
                .and_then(|()| print::write_out(&String::from_utf8_lossy(&text)))
                .map_err(Failure::Statement)
        }
        None => run_scripts(&cli, matches).await,
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure::CommandLine(message)) => {
            print::complain(&format!("tidegate: {message}"));
            ExitCode::from(2)
        }
        // The reader of standard output has gone away.
        Err(Failure::Statement(error)) if print::is_broken_pipe(&error) => ExitCode::from(141),
        Err(Failure::Statement(error)) => {
            print::complain(&format!("tidegate: {error}"));
            ExitCode::FAILURE
        }
        Err(Failure::Script) => ExitCode::FAILURE,
        Err(Failure::Interrupted { signal, unfinished }) => {
            print::complain("tidegate: cancelled");
            for export in unfinished {
                print::unfinished(&export);
            }
            ExitCode::from(128 + signal)
        }
    }
}

/// Why the program exits with a status other than 0.
enum Failure {
    CommandLine(String),
    /// Not yet printed.
    Statement(Error),
    /// Already printed.
    Script,
    /// A signal ended the program. Holds the exports whose leftovers the store did not confirm to
    /// be removed.
    Interrupted {
        signal: u8,
        unfinished: Vec<Unfinished>,
    },
}

fn engine_builder(limits: &Limits) -> EngineBuilder {
    let mut builder = Engine::builder();
    if let Some(bytes) = limits.memory_limit {
        builder = builder.memory_limit(bytes);
    }
    if let Some(threads) = limits.threads {
        builder = builder.threads(threads);
    }
    builder
}

/// An engine with the user's catalog.
fn build_engine(
    limits: &Limits,
    options: &CatalogOptions,
    prompt: Option<Prompt>,
) -> std::result::Result<Engine, Failure> {
    let mut builder =
        engine_builder(limits).credential_margin(Duration::from_secs(options.credential_margin));
    if let Some(prompt) = prompt {
        builder = builder.prompt(prompt);
    }
    let catalog: Arc<dyn Catalog> = match options.catalog.as_deref() {
        Some(path) if path == Path::new(":memory:") => Arc::new(MemoryCatalog::new()),
        _ => Arc::new(open_catalog(options)?),
    };
    let engine = builder.catalog(catalog).build();
    engine.map_err(Failure::Statement)
}

fn open_catalog(options: &CatalogOptions) -> std::result::Result<FileCatalog, Failure> {
    let path = options.catalog.clone();
    let path = path.or_else(|| in_directory(dirs::data_dir(), "catalog.db"));
    let key = options.key_file.clone();
    let key = key.or_else(|| in_directory(dirs::config_dir(), "key"));
    let (Some(path), Some(key)) = (path, key) else {
        let why = "no home directory to keep secrets and connections in: give --catalog and --key-file, or --catalog :memory:";
        return Err(Failure::CommandLine(why.to_owned()));
    };
    Ok(FileCatalog::new(path, KeyFile::new(key)))
}

fn in_directory(directory: Option<PathBuf>, name: &str) -> Option<PathBuf> {
    Some(directory?.join("tidegate").join(name))
}

/// Asks for a secret on the terminal without echoing it.
fn ask(prompt: &str) -> std::io::Result<SecretValue> {
    rpassword::prompt_password(prompt).map(SecretValue::new)
}

/// Runs `work` until it ends or a signal arrives, then waits for clean-up.
async fn finish<T>(
    engine: &Engine,
    work: impl Future<Output = Result<T>>,
) -> std::result::Result<T, Failure> {
    let mut signals = Signals::listen(true);
    let ended = tokio::select! {
        ended = work => Ok(ended),
        signal = signals.next() => Err(signal),
    };
    conclude(engine, ended).await
}

/// Waits for clean-up, then returns the result of the work or the signal that ended it.
async fn conclude<T>(
    engine: &Engine,
    ended: std::result::Result<Result<T>, u8>,
) -> std::result::Result<T, Failure> {
    engine.shutdown(CLEAN_UP).await;
    match ended {
        Ok(result) => result.map_err(Failure::Statement),
        Err(signal) => Err(Failure::Interrupted {
            signal,
            unfinished: engine.unfinished_exports(),
        }),
    }
}

fn shell(cli: &Cli, engine: &Engine, interactive: bool) -> std::result::Result<Shell, Failure> {
    let settings = Settings {
        format: cli.output.format,
        expanded: print::Expanded::Off,
        timing: interactive,
        quiet: cli.output.quiet,
        interactive,
        most_rows: interactive.then_some(MOST_ROWS),
        progress: cli.output.progress,
    };
    let dry_run = cli.dry_run.then(|| engine.dry_run()).transpose();
    let dry_run = dry_run.map_err(Failure::Statement)?;
    let session = match &dry_run {
        Some(dry_run) => dry_run.session().clone(),
        None => engine.session().map_err(Failure::Statement)?,
    };
    let mut shell = Shell::new(session, dry_run, settings);
    for (name, value) in &cli.variables {
        let set = shell.variables.set(name, value.clone());
        set.map_err(|why| Failure::CommandLine(format!("-v {name}: {why}")))?;
    }
    Ok(shell)
}

async fn run_scripts(cli: &Cli, matches: &ArgMatches) -> std::result::Result<(), Failure> {
    let Some(sources) = sources(cli, matches).await? else {
        return run_repl(cli).await;
    };
    let engine = build_engine(&cli.limits, &cli.catalog, Some(Prompt::new(ask)))?;
    let mut shell = shell(cli, &engine, false)?;
    let work = async {
        for source in &sources {
            if matches!(
                shell.run_script(source).await?,
                Flow::Failed | Flow::Cancelled
            ) {
                break;
            }
        }
        Ok(())
    };
    finish(&engine, work).await?;
    match shell.has_failed() {
        true => Err(Failure::Script),
        false => Ok(()),
    }
}

async fn run_repl(cli: &Cli) -> std::result::Result<(), Failure> {
    let engine = build_engine(&cli.limits, &cli.catalog, Some(Prompt::new(ask)))?;
    let shell = shell(cli, &engine, true)?;
    let colors = match cli.output.color {
        Color::Always => true,
        Color::Never => false,
        Color::Auto => std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()),
    };
    let history = match std::env::var_os("TIDEGATE_HISTORY") {
        Some(path) => Some(PathBuf::from(path)).filter(|path| !path.as_os_str().is_empty()),
        None => in_directory(dirs::data_dir(), "history"),
    };
    let interrupt = shell.interrupt().clone();
    let terminal = repl::Terminal::take();
    // This must precede the editor, which handles Ctrl-C while it reads a line and then restores
    // the previous handler.
    let mut signals = Signals::listen(false);
    let typing = repl::run(shell, colors, history);
    let told_to_leave = async {
        loop {
            match signals.next().await {
                SIGINT => interrupt.cancel(),
                signal => return signal,
            }
        }
    };
    let ended = tokio::select! {
        ended = typing => Ok(ended),
        signal = told_to_leave => Err(signal),
    };
    if ended.is_err() {
        interrupt.cancel();
        terminal.interrupt_editor();
    }
    conclude(&engine, ended).await
}

/// The scripts to execute, in the order of the command line. If none is named, standard input; none
/// if that is a terminal.
async fn sources(
    cli: &Cli,
    matches: &ArgMatches,
) -> std::result::Result<Option<Vec<Source>>, Failure> {
    let places = |id: &str| -> Vec<usize> {
        matches
            .indices_of(id)
            .map(Iterator::collect)
            .unwrap_or_default()
    };
    let mut ordered: Vec<(usize, Source)> = Vec::new();
    for (place, sql) in places("commands").into_iter().zip(&cli.commands) {
        ordered.push((place, Source::new("-c", sql.clone())));
    }
    for (place, path) in places("files").into_iter().zip(&cli.files) {
        let source = if path.as_os_str() == "-" {
            read_standard_input()?
        } else {
            let read = Source::read(path).await;
            read.map_err(|error| Failure::CommandLine(error.message().to_owned()))?
        };
        ordered.push((place, source));
    }
    if ordered.is_empty() {
        if std::io::stdin().is_terminal() {
            return Ok(None);
        }
        return Ok(Some(vec![read_standard_input()?]));
    }
    ordered.sort_by_key(|(place, _)| *place);
    Ok(Some(
        ordered.into_iter().map(|(_, source)| source).collect(),
    ))
}

fn read_standard_input() -> std::result::Result<Source, Failure> {
    let mut text = String::new();
    std::io::stdin()
        .read_to_string(&mut text)
        .map_err(|error| Failure::CommandLine(format!("can't read standard input: {error}")))?;
    Ok(Source::new("<stdin>", text))
}

async fn serve_s3(root: PathBuf, listen: SocketAddr, key: AccessKey) -> Result<()> {
    if !listen.ip().is_loopback() {
        return Err(Error::new(
            ErrorKind::InvalidParameter,
            format!("{listen} is not on this machine's loopback"),
        )
        .with_hint("the server is for trying things out; listen on 127.0.0.1"));
    }
    let server = DevServer::start(&root, &key, listen).await?;
    println!(
        "S3 endpoint {} serves {}",
        server.endpoint(),
        root.display()
    );
    println!("access key id {}", key.id);
    println!("To connect, with its secret access key:");
    println!("  CREATE SECRET local_key FROM PROMPT;");
    println!(
        "  CREATE CONNECTION local TO AWS (ENDPOINT = '{}', ACCESS KEY ID = '{}', SECRET ACCESS KEY = SECRET local_key);",
        server.endpoint(),
        key.id
    );
    println!("Each folder in {} is a bucket.", root.display());
    let mut signals = Signals::listen(true);
    tokio::select! {
        () = server.run() => {}
        _ = signals.next() => {}
    }
    Ok(())
}

fn parse_variable(text: &str) -> std::result::Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) => Ok((name.to_owned(), value.to_owned())),
        None => Err("must be NAME=VALUE".to_owned()),
    }
}

fn parse_memory(text: &str) -> std::result::Result<usize, String> {
    let bytes = tidegate_extensions::plan::parse_bytes(text)?;
    let bytes = usize::try_from(bytes).map_err(|_| "is too large".to_owned())?;
    if bytes < LEAST_PROCESS_BYTES {
        return Err(format!("must be at least {}MB", LEAST_PROCESS_BYTES >> 20));
    }
    Ok(bytes)
}
