//! Object properties that exports send and stores keep: media type, encryption, storage class and
//! checksum.

use hyper::HeaderMap;
use tidegate::Session;

use crate::misbehaving::MisbehavingServer;
use crate::servers::{TestStore, moto};

const SSE: &str = "x-amz-server-side-encryption";
const KMS_KEY: &str = "x-amz-server-side-encryption-aws-kms-key-id";
const CLASS: &str = "x-amz-storage-class";

fn header<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).map(|value| value.to_str().unwrap())
}

async fn export(session: &Session, target: &str, options: &str) {
    let sql = format!(
        "COPY (SELECT value, md5(CAST(value AS VARCHAR)) AS digest FROM generate_series(1, 1000))
         TO '{target}' (AWS CONNECTION c, {options})"
    );
    session.execute(&sql).await.unwrap();
}

const CONTENT: [(&str, &str, Option<&str>, &str); 6] = [
    (
        "FORMAT parquet, COMPRESSION zstd",
        "application/vnd.apache.parquet",
        None,
        ".parquet",
    ),
    ("FORMAT csv", "text/csv; header=absent", None, ".csv"),
    (
        "FORMAT csv, COMPRESSION gzip",
        "text/csv; header=absent",
        Some("gzip"),
        ".csv.gz",
    ),
    (
        "FORMAT csv, HEADER, COMPRESSION zstd",
        "text/csv; header=present",
        Some("zstd"),
        ".csv.zst",
    ),
    ("FORMAT json", "application/x-ndjson", None, ".json"),
    (
        "FORMAT json, COMPRESSION gzip",
        "application/x-ndjson",
        Some("gzip"),
        ".json.gz",
    ),
];

/// The headers of the requests that created uploads of data. Bookkeeping is JSON of its own.
fn created_data(server: &MisbehavingServer) -> Vec<HeaderMap> {
    let created = server.headers_of("CreateMultipartUpload");
    let (bookkeeping, data): (Vec<_>, Vec<_>) = created
        .into_iter()
        .partition(|headers| header(headers, "content-type") == Some("application/json"));
    // It must be readable at once.
    assert_eq!(bookkeeping.len(), 1);
    assert_eq!(header(&bookkeeping[0], CLASS), None);
    data
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_store_is_told() {
    let server = MisbehavingServer::start().await;
    let (_engine, session) = server.store.session().await;
    for (options, content_type, encoding, extension) in CONTENT {
        server.behave();
        let target = server.store.new_target();
        export(&session, &target, options).await;
        for headers in created_data(&server) {
            assert_eq!(
                header(&headers, "content-type"),
                Some(content_type),
                "{options}"
            );
            assert_eq!(header(&headers, "content-encoding"), encoding, "{options}");
            for unasked in [SSE, KMS_KEY, CLASS, "x-amz-checksum-algorithm"] {
                assert_eq!(header(&headers, unasked), None, "{options}");
            }
        }
        let keys = server.store.keys(&target).await;
        assert!(keys.iter().all(|key| key.ends_with(extension)), "{keys:?}");
    }

    server.behave();
    let options = "FORMAT csv, SERVER SIDE ENCRYPTION = 'aws:kms', KMS KEY ID = 'alias/exports',
                   STORAGE CLASS = 'STANDARD_IA', CHECKSUM = sha256";
    export(&session, &server.store.new_target(), options).await;
    let created = created_data(&server);
    assert!(!created.is_empty());
    for headers in created {
        assert_eq!(header(&headers, SSE), Some("aws:kms"));
        assert_eq!(header(&headers, KMS_KEY), Some("alias/exports"));
        assert_eq!(header(&headers, CLASS), Some("STANDARD_IA"));
        assert_eq!(header(&headers, "x-amz-checksum-algorithm"), Some("SHA256"));
    }
    for headers in server.headers_of("UploadPart") {
        let checksum = header(&headers, "x-amz-checksum-sha256").unwrap();
        assert_eq!(checksum.len(), 44, "base64 of 32 bytes: {checksum}");
    }
    // A bucket policy may require encryption of every object, including bookkeeping.
    for headers in server.headers_of("PutObject") {
        assert_eq!(header(&headers, SSE), Some("aws:kms"));
        assert_eq!(header(&headers, CLASS), None);
    }
}

async fn kept(store: &TestStore, target: &str) -> HeaderMap {
    let keys = store.keys(target).await;
    assert_eq!(keys.len(), 1, "{keys:?}");
    let headers = store.client().head_object(&keys[0]).await.unwrap();
    headers.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_store_keeps_it() {
    let store = moto();
    let (_engine, session) = store.session().await;
    for (options, content_type, encoding, _) in CONTENT {
        let target = store.new_target();
        export(
            &session,
            &target,
            &format!("{options}, STORAGE CLASS = 'STANDARD_IA'"),
        )
        .await;
        let headers = kept(&store, &target).await;
        assert_eq!(
            header(&headers, "content-type"),
            Some(content_type),
            "{options}"
        );
        assert_eq!(header(&headers, "content-encoding"), encoding, "{options}");
        assert_eq!(header(&headers, CLASS), Some("STANDARD_IA"), "{options}");
    }
    let target = store.new_target();
    let options = "FORMAT csv, SERVER SIDE ENCRYPTION = 'aws:kms', KMS KEY ID = 'alias/exports'";
    export(&session, &target, options).await;
    let headers = kept(&store, &target).await;
    assert_eq!(header(&headers, SSE), Some("aws:kms"));
    assert_eq!(header(&headers, KMS_KEY), Some("alias/exports"));

    // 12 MB are uploaded as three parts, each with its own checksum.
    let target = store.new_target();
    let options = "FORMAT csv, CHECKSUM = sha256, MAX FILE SIZE = '20MB'";
    let sql = format!(
        "COPY (SELECT value, repeat('x', 100) FROM generate_series(1, 110000))
         TO '{target}' (AWS CONNECTION c, {options})"
    );
    session.execute(&sql).await.unwrap();
    let bytes = store.contents(&target).await.concat();
    assert_eq!(bytes.iter().filter(|byte| **byte == b'\n').count(), 110_000);
}
