//! Runs the same failing query through DataFusion's own COPY and through Tidegate's. The difference
//! is the reason why Tidegate exists.

use std::sync::Arc;

use datafusion::prelude::SessionContext;
use object_store::aws::AmazonS3Builder;
use url::Url;

use crate::servers::{BUCKET, embedded};

/// Divides by zero in one of its last rows.
const FAILS_LATE: &str = "SELECT value, md5(CAST(value AS VARCHAR)) AS digest,
    10 / (390000 - value) AS ratio FROM generate_series(1, 400000)";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn datafusion_publishes_a_truncated_file_and_tidegate_nothing() {
    let server = embedded().await;
    let store = &server.store;
    let reader = AmazonS3Builder::new()
        .with_bucket_name(BUCKET)
        .with_endpoint(&store.endpoint)
        .with_region("us-east-1")
        .with_access_key_id(&store.key)
        .with_secret_access_key(&store.secret)
        .with_allow_http(true)
        .build()
        .unwrap();
    let (_engine, session) = store.session().await;
    for format in ["parquet", "csv"] {
        let target = store.new_target();
        let context = SessionContext::new();
        let url = Url::parse(&format!("s3://{BUCKET}")).unwrap();
        context.register_object_store(&url, Arc::new(reader.clone()));
        let sql = format!("COPY ({FAILS_LATE}) TO '{target}/' STORED AS {format}");
        let theirs = context.sql(&sql).await.unwrap().collect().await;
        assert!(theirs.is_err());
        let published = store.keys(&target).await;
        assert!(
            !published.is_empty(),
            "DataFusion's COPY leaves nothing behind any more: say so in the docs"
        );

        let target = store.new_target();
        let sql = format!("COPY ({FAILS_LATE}) TO '{target}' (AWS CONNECTION c, FORMAT {format})");
        let error = session.execute(&sql).await.unwrap_err();
        assert!(error.message().to_lowercase().contains("divide by zero"));
        store.assert_untouched(&target).await;
    }
}
