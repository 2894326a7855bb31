//! `VALIDATE CONNECTION`: the tests provoke each kind of failure and check that the error names the
//! cause and the remedy.

use std::process::Command;
use std::time::Duration;

use hyper::StatusCode;
use tempfile::TempDir;
use tidegate::{ErrorKind, Session};

use crate::judged::{JudgedServer, refusal};
use crate::manners::{self, Condition, ManneredServer};
use crate::misbehaving::MisbehavingServer;
use crate::program::program;
use crate::servers::{
    ClosedPort, Embedded, TestStore, connection_sql, embedded, execute_all, garage, install,
    serve_tls,
};

/// Executes a statement that must fail. Returns the error's kind, and its message with the hint.
async fn complaint(session: &Session, sql: &str) -> (ErrorKind, String) {
    let error = session.execute(sql).await.unwrap_err();
    (error.kind(), format!("{error}"))
}

/// Applies `changes` to the connection `c` and returns the error of `VALIDATE CONNECTION c`.
async fn validate(store: &TestStore, changes: &str) -> (ErrorKind, String) {
    let (_engine, session) = store.session().await;
    execute_all(&session, &format!("ALTER CONNECTION c {changes}")).await;
    complaint(&session, "VALIDATE CONNECTION c").await
}

fn assert_says(found: &(ErrorKind, String), kind: ErrorKind, parts: &[&str]) {
    assert_eq!(found.0, kind, "{}", found.1);
    for part in parts {
        assert!(found.1.contains(part), "{part}: {}", found.1);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_way_to_the_store() {
    let server = embedded().await;
    let store = &server.store;
    let unreachable = ErrorKind::ConnectionFailure;

    let found = validate(store, "SET (ENDPOINT = 'https://store.invalid')").await;
    assert_says(
        &found,
        unreachable,
        &["the host's name could not be resolved", "check ENDPOINT"],
    );

    let port = ClosedPort::new();
    let closed = format!("SET (ENDPOINT = '{}')", port.endpoint());
    let found = validate(store, &closed).await;
    assert_says(
        &found,
        unreachable,
        &["connection refused", "check ENDPOINT"],
    );

    let tls = serve_tls();
    let self_signed = format!("SET (ENDPOINT = 'https://127.0.0.1:{}')", tls.port);
    let found = validate(store, &self_signed).await;
    assert_says(
        &found,
        unreachable,
        &["the server's certificate is not trusted", "self-signed"],
    );

    let plain = format!("SET (ENDPOINT = 'http://127.0.0.1:{}')", tls.port);
    let found = validate(store, &plain).await;
    assert_says(
        &found,
        unreachable,
        &["does it speak TLS on this port: is it https://?"],
    );

    let over_tls = store.endpoint.replace("http://", "https://");
    let found = validate(store, &format!("SET (ENDPOINT = '{over_tls}')")).await;
    assert_says(
        &found,
        unreachable,
        &["does not speak TLS on this port: is it http://?"],
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_clock() {
    let server = embedded().await;
    let faketime = install("faketime");
    for (offset, words) in [
        ("+1h", "60 minutes ahead of it"),
        ("-2h", "120 minutes behind it"),
    ] {
        let script = format!("{} VALIDATE CONNECTION c", server.store.connection_sql());
        let mut command = Command::new(&faketime);
        command
            .args(["-f", offset])
            .arg(program().get_program())
            .args(["--catalog", ":memory:", "-c", &script]);
        let output = tokio::task::spawn_blocking(move || command.output().unwrap());
        let output = output.await.unwrap();
        let printed = String::from_utf8_lossy(&output.stderr).into_owned();
        for part in [
            "this machine's clock differs too much",
            words,
            "set this machine's clock",
        ] {
            assert!(printed.contains(part), "{offset}: {part}: {printed}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_region() {
    let store = garage();
    let found = validate(&store, "SET (REGION = 'eu-west-1')").await;
    let parts = ["the REGION is wrong", "SET (REGION = 'garage')"];
    assert_says(&found, ErrorKind::InvalidParameter, &parts);
    // Without a REGION, Tidegate uses the region that the store names in its reply.
    let (_engine, session) = store.session().await;
    execute_all(&session, "ALTER CONNECTION c RESET (REGION)").await;
    let target = store.new_target();
    let copy = format!("COPY (SELECT 1 AS a) TO '{target}' (AWS CONNECTION c, FORMAT csv, HEADER)");
    execute_all(&session, &format!("VALIDATE CONNECTION c; {copy}")).await;
    let read = format!("SELECT a FROM read_csv('{target}/', aws_connection => 'c')");
    assert_eq!(session.execute(&read).await.unwrap().tag(), "SELECT 1");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bucket_in_another_region_is_followed() {
    // As AWS answers: https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html
    let server = JudgedServer::start(Duration::ZERO, |asked| {
        let signed = asked.header("authorization");
        if signed.contains("/eu-north-1/s3/") {
            return None;
        }
        let mut refused = refusal(
            StatusCode::BAD_REQUEST,
            "AuthorizationHeaderMalformed",
            "<Region>eu-north-1</Region>",
        );
        let headers = refused.headers_mut();
        headers.insert("x-amz-bucket-region", "eu-north-1".parse().unwrap());
        Some(refused)
    })
    .await;
    let (_engine, session) = server.store.session().await;
    let target = server.store.new_target();
    let copy = format!("COPY (SELECT 1 AS a) TO '{target}' (AWS CONNECTION c, FORMAT csv, HEADER)");
    execute_all(&session, &copy).await;
    let read = format!("SELECT a FROM read_csv('{target}/', aws_connection => 'c')");
    assert_eq!(session.execute(&read).await.unwrap().tag(), "SELECT 1");
    execute_all(&session, "ALTER CONNECTION c SET (REGION = 'us-east-1')").await;
    let found = complaint(&session, "VALIDATE CONNECTION c").await;
    let parts = ["the REGION is wrong", "the right one is 'eu-north-1'"];
    assert_says(&found, ErrorKind::InvalidParameter, &parts);
}

/// The rows of `VALIDATE CONNECTION … FOR`: check, status, detail.
async fn checks(session: &Session, target: &str) -> Vec<[String; 3]> {
    let sql = format!("VALIDATE CONNECTION c FOR '{target}'");
    let outcome = session.execute(&sql).await.unwrap();
    let batch = &outcome.batches()[0];
    let text = |column: usize, row: usize| {
        let column = batch.column(column).as_any();
        let column = column.downcast_ref::<arrow::array::StringArray>().unwrap();
        column.value(row).to_owned()
    };
    (0..batch.num_rows())
        .map(|row| [0, 1, 2].map(|column| text(column, row)))
        .collect()
}

fn with_status<'a>(checks: &'a [[String; 3]], status: &str) -> Vec<&'a str> {
    let wanted = checks.iter().filter(|check| check[1] == status);
    wanted.map(|check| check[0].as_str()).collect()
}

const ALL: [&str; 9] = [
    "list",
    "delete",
    "put",
    "conditional put",
    "read",
    "multipart create",
    "multipart part",
    "multipart list",
    "multipart abort",
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_an_export_does_is_tried() {
    let Embedded { store, .. } = &embedded().await;
    let (_engine, session) = store.session().await;
    let target = store.new_target();
    let found = checks(&session, &target).await;
    assert_eq!(with_status(&found, "ok"), ALL, "{found:?}");
    assert_eq!(found.len(), ALL.len());
    store.assert_untouched(&target).await;

    // Garage ignores conditional headers. Its second key, used below, has no right to write.
    let store = garage();
    let (_engine, session) = store.session().await;
    let target = store.new_target();
    let found = checks(&session, &target).await;
    assert_eq!(with_status(&found, "unsupported"), ["conditional put"]);
    assert_eq!(with_status(&found, "ok").len(), ALL.len() - 1, "{found:?}");
    store.assert_untouched(&target).await;

    let session = tidegate::Engine::builder()
        .build()
        .unwrap()
        .session()
        .unwrap();
    let (key, secret) = store.read_only.clone().unwrap();
    execute_all(&session, &connection_sql("c", &store, &key, &secret)).await;
    let found = checks(&session, &target).await;
    assert_eq!(with_status(&found, "ok"), ["list"], "{found:?}");
    let delete = found.iter().find(|check| check[0] == "delete").unwrap();
    assert!(
        delete[2].contains("access denied: s3:DeleteObject"),
        "{delete:?}"
    );
    store.assert_untouched(&target).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_without_one_right_is_found_out() {
    let server = MisbehavingServer::start().await;
    let (_engine, session) = server.store.session().await;
    let cases = [
        ("DeleteObject", "delete", "s3:DeleteObject"),
        ("PutObject", "put", "s3:PutObject"),
        ("GetObject", "read", "s3:GetObject"),
        ("CreateMultipartUpload", "multipart create", "s3:PutObject"),
        ("UploadPart", "multipart part", "s3:PutObject"),
        (
            "ListMultipartUploads",
            "multipart list",
            "s3:ListBucketMultipartUploads",
        ),
        (
            "AbortMultipartUpload",
            "multipart abort",
            "s3:AbortMultipartUpload",
        ),
        ("ListObjectsV2", "list", "s3:ListBucket"),
    ];
    for (operation, check, right) in cases {
        server.forbid(&[operation]);
        let target = server.store.new_target();
        let found = checks(&session, &target).await;
        let failed = found.iter().find(|found| found[0] == check).unwrap();
        assert_eq!(failed[1], "failed", "{operation}");
        assert!(
            failed[2].contains(&format!("access denied: {right}")),
            "{failed:?}"
        );
        server.behave();
        server.store.assert_untouched(&target).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_manners_of_a_store_are_found_out() {
    for manners in manners::ALL {
        let server = ManneredServer::start(manners).await;
        let (_engine, session) = server.store.session().await;
        let target = server.store.new_target();
        let found = checks(&session, &target).await;
        let mut expected = Vec::new();
        if manners.condition != Condition::Obeyed {
            expected.push("conditional put");
        }
        if manners.lists_uploads_by_key {
            expected.push("multipart list");
        }
        let name = manners.name;
        assert_eq!(with_status(&found, "unsupported"), expected, "{name}");
        assert_eq!(with_status(&found, "failed"), [""; 0], "{name}: {found:?}");
        server.store.assert_untouched(&target).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_store_does_not_offer() {
    let server = JudgedServer::start(Duration::ZERO, |asked| {
        let is_upload = asked.query.starts_with("uploads");
        let is_conditional = asked.headers.contains_key("if-none-match");
        (is_upload || is_conditional)
            .then(|| refusal(StatusCode::NOT_IMPLEMENTED, "NotImplemented", ""))
    })
    .await;
    let (_engine, session) = server.store.session().await;
    let found = checks(&session, &server.store.new_target()).await;
    let expected = ["conditional put", "multipart create"];
    assert_eq!(with_status(&found, "unsupported"), expected, "{found:?}");

    let sql = "VALIDATE CONNECTION c FOR 's3://no-such-bucket/p'";
    let missing = complaint(&session, sql).await;
    let parts = ["connection \"c\"", "does not exist", "create the bucket"];
    assert_says(&missing, ErrorKind::UndefinedObject, &parts);
    let local = complaint(&session, "VALIDATE CONNECTION c FOR '/tmp/x'").await;
    let parts = ["is not on S3, which a connection is for"];
    assert_says(&local, ErrorKind::InvalidParameter, &parts);

    // A secret that does not belong to the access key.
    let folder = TempDir::new().unwrap();
    let secret = folder.path().join("secret");
    std::fs::write(&secret, "not-the-secret\n").unwrap();
    let sql = format!("ALTER SECRET c_secret FROM FILE '{}'", secret.display());
    execute_all(&session, &sql).await;
    let wrong = complaint(&session, "VALIDATE CONNECTION c").await;
    let parts = ["the SECRET ACCESS KEY is wrong for this ACCESS KEY ID"];
    assert_says(&wrong, ErrorKind::InvalidCredentials, &parts);
}
