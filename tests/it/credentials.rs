//! Sources of credentials (roles, profiles, web identity, containers, instance metadata), and
//! renewal of credentials while an export runs.

use std::collections::HashSet;
use std::process::Output;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use hyper::{Method, StatusCode};
use tempfile::TempDir;
use tidegate::{Engine, ErrorKind};

use crate::judged::{JudgedServer, answer, refusal};
use crate::program::program;
use crate::servers::{TestStore, connection_sql, execute_all, moto_iam};

const COPY: &str = "COPY (SELECT value FROM generate_series(1, 10)) TO";

/// Runs a script with no AWS configuration except these environment variables.
async fn run(variables: &[(&str, &str)], script: String) -> Output {
    let mut command = program();
    for (name, _) in std::env::vars() {
        if name.starts_with("AWS_") {
            command.env_remove(name);
        }
    }
    command
        .env("AWS_CONFIG_FILE", "/no/such/config")
        .env("AWS_SHARED_CREDENTIALS_FILE", "/no/such/credentials")
        .env("AWS_EC2_METADATA_SERVICE_ENDPOINT", "http://127.0.0.1:9")
        .envs(variables.iter().copied())
        .args(["-c", &script]);
    let output = tokio::task::spawn_blocking(move || command.output().unwrap());
    output.await.unwrap()
}

fn assert_success(output: &Output) {
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

fn complaint(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn connection(endpoint: &str, options: &str) -> String {
    format!(
        "CREATE CONNECTION c TO AWS (ENDPOINT = '{endpoint}', REGION = 'us-east-1', {options});"
    )
}

/// A script that creates the connection `c` with these options and exports a few rows through it.
fn export(store: &TestStore, options: &str) -> String {
    let target = store.new_target();
    let connection = connection(&store.endpoint, options);
    format!("{connection} {COPY} '{target}' (AWS CONNECTION c, FORMAT csv)")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_role_is_assumed() {
    let moto = moto_iam();
    let (key, secret) = &moto.users["assumer"];
    let caller = [
        ("AWS_ACCESS_KEY_ID", key.as_str()),
        ("AWS_SECRET_ACCESS_KEY", secret.as_str()),
    ];
    let role = format!(
        "ASSUME ROLE ARN = '{}', ASSUME ROLE SESSION NAME = 'night-export', EXTERNAL ID = 'x'",
        moto.role
    );
    assert_success(&run(&caller, export(&moto.store, &role)).await);
    // The caller itself has no right to write, so the export above used the role.
    let own = complaint(&run(&caller, export(&moto.store, "CREDENTIAL CHAIN = true")).await);
    assert!(own.contains("access denied: s3:"), "{own}");

    // A caller without the right to assume the role, and no caller at all.
    let (key, secret) = &moto.users["nobody"];
    let nobody = [
        ("AWS_ACCESS_KEY_ID", key.as_str()),
        ("AWS_SECRET_ACCESS_KEY", secret.as_str()),
    ];
    for sql in [
        export(&moto.store, &role),
        connection(&moto.store.endpoint, &role) + "VALIDATE CONNECTION c",
    ] {
        let refused = complaint(&run(&nobody, sql).await);
        for part in [
            "connection \"c\" can't assume role",
            &moto.role,
            "needs sts:AssumeRole",
        ] {
            assert!(refused.contains(part), "{part}: {refused}");
        }
    }
    let refused = complaint(&run(&[], export(&moto.store, &role)).await);
    for part in [
        "has nobody to assume role",
        "no credentials in environment, profile",
        "set AWS_PROFILE",
    ] {
        assert!(refused.contains(part), "{part}: {refused}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn profiles_and_web_identity_are_read() {
    let moto = moto_iam();
    let folder = TempDir::new().unwrap();
    let config = folder.path().join("config");
    let (key, secret) = &moto.users["assumer"];
    let text = format!(
        "[profile base]\naws_access_key_id = {key}\naws_secret_access_key = {secret}\n\
         [profile exports]\nrole_arn = {}\nsource_profile = base\nregion = us-east-1\n",
        moto.role
    );
    std::fs::write(&config, text).unwrap();
    let variables = [
        ("AWS_CONFIG_FILE", config.to_str().unwrap()),
        ("AWS_ENDPOINT_URL_STS", moto.store.endpoint.as_str()),
    ];
    // A profile with a role, and a role that is assumed with a profile's key.
    assert_success(&run(&variables, export(&moto.store, "PROFILE = 'exports'")).await);
    let chained = format!("PROFILE = 'base', ASSUME ROLE ARN = '{}'", moto.role);
    assert_success(&run(&variables, export(&moto.store, &chained)).await);
    let unknown = complaint(&run(&variables, export(&moto.store, "PROFILE = 'exprots'")).await);
    assert!(
        unknown.contains("gets no credentials from profile 'exprots'"),
        "{unknown}"
    );

    // The request for web identity is unsigned, and a moto that checks signatures would refuse it.
    let unchecked = crate::servers::moto();
    let token = folder.path().join("token");
    std::fs::write(&token, "a.web.token").unwrap();
    let variables = [
        ("AWS_WEB_IDENTITY_TOKEN_FILE", token.to_str().unwrap()),
        ("AWS_ROLE_ARN", "arn:aws:iam::123456789012:role/exports"),
        ("AWS_ENDPOINT_URL_STS", unchecked.endpoint.as_str()),
    ];
    let chain = export(&unchecked, "CREDENTIAL CHAIN = true");
    assert_success(&run(&variables, chain.clone()).await);
    complaint(&run(&variables[1..], chain).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_role_is_assumed_again_while_an_export_runs() {
    let moto = moto_iam();
    let (key, secret) = &moto.users["assumer"];
    let folder = TempDir::new().unwrap();
    let credentials = folder.path().join("credentials");
    let text = format!("[base]\naws_access_key_id = {key}\naws_secret_access_key = {secret}\n");
    std::fs::write(&credentials, text).unwrap();
    // Sessions last an hour. With a margin of an hour, each session is used for only a second.
    let script = format!(
        "{} COPY (SELECT value, md5(CAST(value AS VARCHAR)) FROM generate_series(1, 4000000))
         TO '{}' (AWS CONNECTION c, FORMAT csv, MAX FILE SIZE '1MB')",
        connection(
            &moto.store.endpoint,
            &format!("PROFILE = 'base', ASSUME ROLE ARN = '{}'", moto.role)
        ),
        moto.store.new_target()
    );
    let started = Instant::now();
    let output = run(
        &[
            ("AWS_SHARED_CREDENTIALS_FILE", credentials.to_str().unwrap()),
            ("TIDEGATE_CREDENTIAL_MARGIN", "3600"),
            ("RUST_LOG", "tidegate_extensions::credentials=debug"),
        ],
        script,
    )
    .await;
    assert_success(&output);
    let log = String::from_utf8_lossy(&output.stderr);
    let assumed = log.matches("got credentials").count() as u64;
    let seconds = started.elapsed().as_secs();
    assert!(
        assumed > 1 && assumed <= seconds + 2,
        "{assumed} in {seconds} s: {log}"
    );
}

/// Session tokens: the issued tokens with their expiry, and the tokens that were used.
#[derive(Default)]
struct Tokens {
    given: Vec<(String, Instant)>,
    used: HashSet<String>,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_export_outlives_its_credentials() {
    const LIFE: Duration = Duration::from_secs(4);
    let tokens = Arc::new(Mutex::new(Tokens::default()));
    // The endpoint that provides the credentials of a container.
    let giver = Arc::clone(&tokens);
    let container = JudgedServer::start(Duration::ZERO, move |_| {
        let mut tokens = giver.lock().unwrap();
        let token = format!("token-{}", tokens.given.len());
        tokens.given.push((token.clone(), Instant::now() + LIFE));
        let expires = chrono::Utc::now() + LIFE;
        let key = crate::servers::embedded_key();
        let body = serde_json::json!({
            "AccessKeyId": key.id, "SecretAccessKey": key.secret, "Token": token,
            "Expiration": expires.to_rfc3339_opts(chrono::SecondsFormat::Secs, true),
        });
        Some(answer(StatusCode::OK, body.to_string()))
    })
    .await;
    let judge = Arc::clone(&tokens);
    let server = JudgedServer::start(Duration::from_millis(300), move |asked| {
        let mut tokens = judge.lock().unwrap();
        let token = asked.header("x-amz-security-token").to_owned();
        let is_good = |(known, end): &(String, Instant)| *known == token && Instant::now() < *end;
        if tokens.given.iter().any(is_good) {
            tokens.used.insert(token);
            return None;
        }
        Some(refusal(StatusCode::BAD_REQUEST, "ExpiredToken", ""))
    })
    .await;
    let target = server.store.new_target();
    let script = format!(
        "{} COPY (SELECT value, md5(CAST(value AS VARCHAR)) FROM generate_series(1, 3000000))
         TO '{target}' (AWS CONNECTION c, FORMAT csv, MAX FILE SIZE '1MB')",
        connection(&server.store.endpoint, "CREDENTIAL CHAIN = true"),
    );
    let uri = format!("{}/credentials", container.store.endpoint);
    let started = Instant::now();
    let output = run(&[("AWS_CONTAINER_CREDENTIALS_FULL_URI", &uri)], script).await;
    assert_success(&output);
    assert!(
        started.elapsed() > LIFE,
        "the export was too short to show anything"
    );
    assert!(tokens.lock().unwrap().used.len() > 2);

    // An expired SESSION TOKEN that the user set is reported as expired.
    let (_engine, session) = server.store.session().await;
    let sql = "ALTER CONNECTION c SET (SESSION TOKEN = 'token-0')";
    execute_all(&session, sql).await;
    let error = session.execute("VALIDATE CONNECTION c").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidCredentials);
    assert!(
        error.message().contains("the credentials have expired"),
        "{error}"
    );
    let hint = error.hint().unwrap();
    assert!(hint.contains("which renew them"), "{hint}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn instance_metadata_is_asked_only_where_it_is_wanted() {
    let asked = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&asked);
    // https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/instance-metadata-security-credentials.html
    let metadata = JudgedServer::start(Duration::ZERO, move |request| {
        seen.lock().unwrap().push(request.path.clone());
        const ROLES: &str = "/latest/meta-data/iam/security-credentials/";
        let key = crate::servers::embedded_key();
        Some(match (&request.method, request.path.as_str()) {
            (&Method::PUT, "/latest/api/token") => {
                let mut token = answer(StatusCode::OK, "metadata-token");
                let ttl = "x-aws-ec2-metadata-token-ttl-seconds";
                token.headers_mut().insert(ttl, "21600".parse().unwrap());
                token
            }
            (_, ROLES) => answer(StatusCode::OK, "role"),
            (_, path) if path == format!("{ROLES}role") => {
                let expires = chrono::Utc::now() + Duration::from_secs(3600);
                let body = serde_json::json!({
                    "Code": "Success", "Type": "AWS-HMAC", "Token": "t",
                    "AccessKeyId": key.id, "SecretAccessKey": key.secret,
                    "LastUpdated": "2020-01-01T00:00:00Z",
                    "Expiration": expires.to_rfc3339_opts(chrono::SecondsFormat::Secs, true),
                });
                answer(StatusCode::OK, body.to_string())
            }
            _ => answer(StatusCode::NOT_FOUND, ""),
        })
    })
    .await;
    let server = crate::servers::embedded().await;
    let variables = [(
        "AWS_EC2_METADATA_SERVICE_ENDPOINT",
        metadata.store.endpoint.as_str(),
    )];
    let script =
        |options: &str| connection(&server.store.endpoint, options) + "VALIDATE CONNECTION c";
    for options in [
        "ASSUME ROLE ARN = 'arn:aws:iam::123456789012:role/r'",
        "PROFILE = 'p'",
    ] {
        complaint(&run(&variables, script(options)).await);
        assert_eq!(*asked.lock().unwrap(), Vec::<String>::new(), "{options}");
    }
    assert_success(&run(&variables, script("CREDENTIAL CHAIN = true")).await);
    assert!(!asked.lock().unwrap().is_empty());
}

/// If a right that an export needs is missing, the error names it before anything is written.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_missing_right_is_named() {
    let moto = moto_iam();
    const NEEDED: [&str; 6] = [
        "PutObject",
        "DeleteObject",
        "ListBucket",
        "AbortMultipartUpload",
        "ListBucketMultipartUploads",
        "GetObject",
    ];
    // A successful export that meets no other export does not use the other rights.
    const MISSED_BY_COPY: [&str; 3] = ["PutObject", "DeleteObject", "ListBucket"];
    for right in NEEDED {
        let engine = Engine::builder().retry(moto.store.retry.clone());
        let session = engine.build().unwrap().session().unwrap();
        let (key, secret) = &moto.users[&format!("without-{right}")];
        execute_all(&session, &connection_sql("c", &moto.store, key, secret)).await;
        let target = moto.store.new_target();
        let sql = format!("VALIDATE CONNECTION c FOR '{target}'");
        let checks = session.execute(&sql).await.unwrap();
        let shown = arrow::util::pretty::pretty_format_batches(checks.batches()).unwrap();
        let missed = format!("access denied: s3:{right}");
        assert!(shown.to_string().contains(&missed), "{right}:\n{shown}");
        moto.store.assert_untouched(&target).await;
        if !MISSED_BY_COPY.contains(&right) {
            continue;
        }
        let sql = format!("{COPY} '{target}' (AWS CONNECTION c, FORMAT csv)");
        let error = session.execute(&sql).await.unwrap_err();
        assert_eq!(
            error.kind(),
            ErrorKind::InsufficientPrivilege,
            "{right}: {error}"
        );
        assert!(error.message().contains(&missed), "{right}: {error}");
        moto.store.assert_untouched(&target).await;
    }
}
