//! A signed client for the S3 requests an export makes.
//!
//! Invariant: every request has a deadline. Every answer is read, because a status of 200 may come
//! with an error body. Every error names the request, the object and the reason.
//!
//! Queries read and list through object_store. This client adds operations that its
//! `MultipartStore` lacks: create an upload with headers, list pending uploads, copy parts, check the answers
//! to abort and complete, and report whether creating an upload was retried. Signing and transport
//! are object_store's own ([`AwsAuthorizer`](object_store::aws::AwsAuthorizer),
//! [`HttpClient`](object_store::client::HttpClient)).
//!
//! The protocol:
//! <https://docs.aws.amazon.com/AmazonS3/latest/API/API_Operations_Amazon_Simple_Storage_Service.html>

mod client;
mod copy;
mod error;
mod part;
mod provider;
mod retry;
mod xml;

#[cfg(any(test, fuzzing))]
pub(crate) use xml::check_bodies;

pub(crate) use client::metadata_header;
pub use client::{NewUpload, S3Client, S3Settings, UploadedPart};
pub use copy::CopySource;
pub use error::{S3Error, S3ErrorKind};
pub use part::PartReceipt;
pub use provider::{Provider, UrlStyle, is_express_bucket, is_private};
pub use retry::RetryPolicy;
pub use xml::{ListedObject, ListedUpload};
