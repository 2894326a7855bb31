//! What the commit protocol assumes of every store.

use std::time::Duration;

use hyper::HeaderMap;
use tidegate_extensions::s3::{PartReceipt, S3Client};

use crate::servers::TestStore;

/// The next list shows each change.
pub(crate) async fn what_was_written_is_listed_at_once(store: &TestStore) {
    let client = store.client();
    let target = store.new_target();
    let key = format!("{}/x", store.path(&target));
    for _ in 0..10 {
        let put = client.put_object(&key, "x".into(), "text/plain", HeaderMap::new(), false);
        put.await.unwrap();
        assert_eq!(client.list_objects(&key, 10).await.unwrap().len(), 1);
        client.delete_object(&key).await.unwrap();
        assert!(client.list_objects(&key, 10).await.unwrap().is_empty());
        assert_eq!(client.get_object(&key).await.unwrap(), None);

        let (upload, receipts) = start_upload(&client, &key).await;
        assert_eq!(client.list_uploads(&key).await.unwrap().len(), 1);
        let completed = client.complete_upload(&key, &upload, &receipts).await;
        completed.unwrap();
        assert!(client.list_uploads(&key).await.unwrap().is_empty());
        assert_eq!(client.list_objects(&key, 10).await.unwrap().len(), 1);
        client.delete_object(&key).await.unwrap();
        assert!(client.list_objects(&key, 10).await.unwrap().is_empty());
    }
}

/// Starts an upload with one part.
async fn start_upload(client: &S3Client, key: &str) -> (String, [PartReceipt; 1]) {
    let created = client.create_upload(key, HeaderMap::new()).await.unwrap();
    let upload = created.upload_id;
    let part = client.upload_part(key, &upload, 1, "part".into(), None);
    let etag = part.await.unwrap().etag;
    let checksum = None;
    (upload, [PartReceipt { etag, checksum }])
}

/// Once an abort was answered and there is no object, there never will be one. An upload that was
/// completed is an object, unless an abort ran at the same time.
pub(crate) async fn an_upload_is_completed_or_aborted(store: &TestStore) {
    let client = store.client();
    let target = store.new_target();
    let [mut objects, mut aborted] = [0; 2];
    for n in 0..30 {
        let key = format!("{}/{n}", store.path(&target));
        let (upload, receipts) = start_upload(&client, &key).await;
        let abort = async {
            tokio::time::sleep(Duration::from_micros(n * 100)).await;
            client.abort_upload(&key, &upload).await
        };
        let complete = client.complete_upload(&key, &upload, &receipts);
        let (answer, abort) = tokio::join!(complete, abort);
        abort.unwrap();
        let object = client.get_object(&key).await.unwrap();
        match (&answer, object) {
            // An error may follow an attempt whose answer was lost.
            (_, Some(object)) => {
                assert_eq!(&object[..], b"part", "round {n}");
                objects += 1;
            }
            // Garage confirms both requests and drops the object.
            (_, None) => {
                let again = client.complete_upload(&key, &upload, &receipts).await;
                assert!(again.is_err(), "round {n}: {answer:?}, then {again:?}");
                assert_eq!(client.get_object(&key).await.unwrap(), None, "round {n}");
                aborted += 1;
            }
        }
        assert!(client.list_uploads(&key).await.unwrap().is_empty());
    }
    assert_eq!(objects + aborted, 30);

    // The completion comes first.
    let key = format!("{}/completed", store.path(&target));
    let (upload, receipts) = start_upload(&client, &key).await;
    client
        .complete_upload(&key, &upload, &receipts)
        .await
        .unwrap();
    client.abort_upload(&key, &upload).await.unwrap();
    assert!(client.get_object(&key).await.unwrap().is_some());

    // The abort comes first.
    let key = format!("{}/aborted", store.path(&target));
    let (upload, receipts) = start_upload(&client, &key).await;
    client.abort_upload(&key, &upload).await.unwrap();
    let completed = client.complete_upload(&key, &upload, &receipts).await;
    assert!(completed.is_err());
    assert_eq!(client.get_object(&key).await.unwrap(), None);
}
