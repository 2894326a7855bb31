//! A signed client for the S3 requests an export makes.
//!
//! Invariant: every request has a deadline, every answer is read (a 200 may carry an error body),
//! and every failure says which request failed on which object and why.
//!
//! object_store reads and lists for queries; this client exists for what its `MultipartStore`
//! can't do: create an upload with headers, list pending uploads, abort and complete with answers
//! that are checked, and create without retrying blindly. Signing and transport are object_store's
//! own ([`AwsAuthorizer`](object_store::aws::AwsAuthorizer), [`HttpClient`](object_store::client::HttpClient)).
//!
//! The protocol: <https://docs.aws.amazon.com/AmazonS3/latest/API/API_Operations_Amazon_Simple_Storage_Service.html>

mod client;
mod error;
mod part;
mod provider;
mod retry;
mod xml;

pub(crate) use client::metadata_header;
pub use client::{S3Client, S3Settings, UrlStyle};
pub use error::{S3Error, S3ErrorKind};
pub use part::PartReceipt;
pub use provider::{Provider, is_express_bucket, is_private};
pub use retry::RetryPolicy;
pub use xml::{ListedObject, ListedUpload};
