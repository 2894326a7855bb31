//! Known providers of stores, recognised by their host names.
//!
//! Invariant: only this module recognises a provider by its host name. An unknown store (MinIO,
//! Garage, Ceph and others run on any host) is treated like AWS, with the defaults of a custom
//! endpoint.

use url::{Host, Url};

/// Where a bucket's name goes in a URL.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum UrlStyle {
    /// `https://endpoint/bucket/key`
    Path,
    /// `https://bucket.endpoint/key`
    Virtual,
}

/// A provider of stores.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Provider {
    /// The name to show to users.
    pub name: &'static str,
    /// The end of its host names; empty if any host name is possible.
    host_suffix: &'static str,
    region: Region,
    /// Where the bucket goes in a URL.
    pub url_style: UrlStyle,
    /// Whether it verifies `x-amz-checksum-…` headers.
    pub checksums: bool,
}

/// The default region for signing, if the connection sets none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Region {
    /// Always this region.
    Fixed(&'static str),
    /// The label of the host name at this index, counted from the left, from 0.
    Label(usize),
}

/// <https://docs.aws.amazon.com/general/latest/gr/s3.html>
const AWS: Provider = Provider {
    name: "AWS",
    host_suffix: ".amazonaws.com",
    region: Region::Fixed("us-east-1"),
    url_style: UrlStyle::Virtual,
    checksums: true,
};

const KNOWN: &[Provider] = &[
    // Regions: https://developers.cloudflare.com/r2/api/s3/api/#bucket-region
    // Checksums: https://developers.cloudflare.com/r2/api/s3/api/ (UploadPart, PutObject).
    // R2 requires all parts of an upload but the last to have the same size. Exports do so anyway:
    // https://developers.cloudflare.com/r2/objects/multipart-objects/#limitations
    Provider {
        name: "Cloudflare R2",
        host_suffix: ".r2.cloudflarestorage.com",
        region: Region::Fixed("auto"),
        url_style: UrlStyle::Path,
        checksums: true,
    },
    // https://cloud.google.com/storage/docs/interoperability: only the headers listed there are
    // supported, and checksums are not listed. Bulk delete, which exports never use, is not
    // supported either:
    // https://cloud.google.com/storage/docs/migrating#methods-comparison
    Provider {
        name: "Google Cloud Storage",
        host_suffix: "storage.googleapis.com",
        region: Region::Fixed("auto"),
        url_style: UrlStyle::Path,
        checksums: false,
    },
    // s3.<region>.backblazeb2.com: https://www.backblaze.com/docs/cloud-storage-s3-compatible-api
    // The same page: no checksum headers.
    Provider {
        name: "Backblaze B2",
        host_suffix: ".backblazeb2.com",
        region: Region::Label(1),
        url_style: UrlStyle::Path,
        checksums: false,
    },
    // <location>.your-objectstorage.com:
    // https://docs.hetzner.com/storage/object-storage/overview/#buckets
    Provider {
        name: "Hetzner Object Storage",
        host_suffix: ".your-objectstorage.com",
        region: Region::Label(0),
        url_style: UrlStyle::Path,
        checksums: true,
    },
];

const OTHER: Provider = Provider {
    name: "S3-compatible store",
    host_suffix: "",
    region: Region::Fixed("us-east-1"),
    url_style: UrlStyle::Path,
    checksums: true,
};

impl Provider {
    /// The provider of the store at `endpoint`; AWS if there is no endpoint.
    pub fn of(endpoint: Option<&Url>) -> Self {
        let Some(host) = endpoint.map(|url| url.host_str().unwrap_or_default()) else {
            return AWS;
        };
        if host.trim_end_matches(".cn").ends_with(AWS.host_suffix) {
            return AWS;
        }
        let is_its = |provider: &&Self| host.ends_with(provider.host_suffix);
        *KNOWN.iter().find(is_its).unwrap_or(&OTHER)
    }

    /// Whether it is AWS itself.
    pub fn is_aws(&self) -> bool {
        *self == AWS
    }

    /// The region to sign for, if the connection sets none.
    pub fn default_region(&self, endpoint: Option<&Url>) -> String {
        let host = endpoint.and_then(Url::host_str).unwrap_or_default();
        let label = match self.region {
            Region::Fixed(region) => return region.to_owned(),
            Region::Label(place) => host.split('.').nth(place),
        };
        label.unwrap_or("us-east-1").to_owned()
    }
}

/// Whether a bucket is an S3 Express bucket, which uses another protocol (sessions, no ETags of
/// content, no versions):
/// <https://docs.aws.amazon.com/AmazonS3/latest/userguide/directory-bucket-naming-rules.html>
pub fn is_express_bucket(bucket: &str) -> bool {
    bucket.ends_with("--x-s3")
}

/// Whether traffic to `url` stays on this machine or in a private network.
pub fn is_private(url: &Url) -> bool {
    match url.host() {
        Some(Host::Ipv4(address)) => {
            address.is_loopback() || address.is_private() || address.is_link_local()
        }
        Some(Host::Ipv6(address)) => {
            address.is_loopback() || address.is_unique_local() || address.is_unicast_link_local()
        }
        Some(Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(endpoint: &str) -> (&'static str, String) {
        let url = Url::parse(endpoint).unwrap();
        let provider = Provider::of(Some(&url));
        (provider.name, provider.default_region(Some(&url)))
    }

    #[test]
    fn providers_are_known_by_their_hosts() {
        assert_eq!(Provider::of(None), AWS);
        let cases = [
            (
                "https://x.r2.cloudflarestorage.com",
                "Cloudflare R2",
                "auto",
            ),
            (
                "https://x.eu.r2.cloudflarestorage.com",
                "Cloudflare R2",
                "auto",
            ),
            (
                "https://storage.googleapis.com",
                "Google Cloud Storage",
                "auto",
            ),
            (
                "https://s3.eu-central-003.backblazeb2.com",
                "Backblaze B2",
                "eu-central-003",
            ),
            (
                "https://fsn1.your-objectstorage.com",
                "Hetzner Object Storage",
                "fsn1",
            ),
            ("https://s3.eu-west-1.amazonaws.com", "AWS", "us-east-1"),
            ("https://s3.cn-north-1.amazonaws.com.cn", "AWS", "us-east-1"),
            ("http://127.0.0.1:9000", "S3-compatible store", "us-east-1"),
        ];
        for (endpoint, name, region) in cases {
            assert_eq!(of(endpoint), (name, region.to_owned()), "{endpoint}");
        }
    }

    #[test]
    fn private_addresses_are_told_from_public_ones() {
        let private = [
            "http://127.0.0.1:1",
            "http://10.1.2.3",
            "http://192.168.0.1",
            "http://[::1]:9000",
            "http://[fd00::1]",
            "http://localhost:9000",
            "http://169.254.169.254",
        ];
        let public = [
            "http://8.8.8.8",
            "http://minio.example.com",
            "http://[2001:db8::1]",
            "http://localhost.example.com",
            "http://minio:9000",
        ];
        for url in private {
            assert!(is_private(&Url::parse(url).unwrap()), "{url}");
        }
        for url in public {
            assert!(!is_private(&Url::parse(url).unwrap()), "{url}");
        }
    }
}
