//! Object stores of providers, and whatever speaks like them.
//!
//! Settings come from the environment under the provider's own names, so that what runs elsewhere runs here: a role, an
//! access key, an endpoint of one's own. Calls that fail on the way are repeated within [`RETRY`].

use std::sync::Arc;
use std::time::Duration;

use object_store::aws::AmazonS3Builder;
use object_store::azure::MicrosoftAzureBuilder;
use object_store::gcp::GoogleCloudStorageBuilder;
use object_store::path::Path as Key;
use object_store::prefix::PrefixStore;
use object_store::{ObjectStore, ObjectStoreScheme, RetryConfig};
use reqwest::Url;

use crate::archive::{Error, Result};

/// One blob's put or get, repetitions included, after which the attempt fails as something that passes.
const RETRY: Duration = Duration::from_secs(60);
const RETRIES_MAX: usize = 5;
const SCHEMES: [&str; 3] = ["s3", "gs", "az"];

/// Whether the address names a store of a known kind, and a bucket.
pub fn is_known(url: &str) -> bool {
    Url::parse(url)
        .is_ok_and(|url| SCHEMES.contains(&url.scheme()) && url.host_str().is_some_and(|it| !it.is_empty()))
}

pub fn open(
    address: &str,
    environment: impl IntoIterator<Item = (String, String)>,
) -> Result<Arc<dyn ObjectStore>> {
    let unusable = |error: String| Error::Unusable(format!("blob store: {error}"));
    let url = Url::parse(address).map_err(|error| unusable(error.to_string()))?;
    let (scheme, prefix) = ObjectStoreScheme::parse(&url).map_err(|error| unusable(error.to_string()))?;
    crate::net::choose_cryptography();
    let environment: Vec<(String, String)> = environment.into_iter().collect();
    let built = build(&scheme, address, &environment).map_err(|error| unusable(error.to_string()))?;
    Ok(if prefix == Key::default() { built } else { Arc::new(PrefixStore::new(built, prefix)) })
}

fn build(
    scheme: &ObjectStoreScheme,
    url: &str,
    environment: &[(String, String)],
) -> object_store::Result<Arc<dyn ObjectStore>> {
    let retry = RetryConfig { max_retries: RETRIES_MAX, retry_timeout: RETRY, ..RetryConfig::default() };
    // What the provider's name does not begin is not for it, and names that the builder does not know are of others.
    macro_rules! built {
        ($builder:ty, $prefix:literal) => {{
            let ours = environment.iter().filter(|(name, _)| name.starts_with($prefix));
            let builder = ours.fold(<$builder>::new().with_url(url), |builder, (name, value)| {
                match name.to_ascii_lowercase().parse() {
                    Ok(key) => builder.with_config(key, value),
                    Err(_) => builder,
                }
            });
            Ok(Arc::new(builder.with_retry(retry).build()?))
        }};
    }
    match scheme {
        ObjectStoreScheme::GoogleCloudStorage => built!(GoogleCloudStorageBuilder, "GOOGLE_"),
        ObjectStoreScheme::MicrosoftAzure => built!(MicrosoftAzureBuilder, "AZURE_"),
        _ => built!(AmazonS3Builder, "AWS_"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn variables(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    /// Nothing is asked of a network to open one.
    #[test]
    fn each_provider_is_configured_by_its_own_variables() {
        let aws = variables(&[
            ("AWS_ACCESS_KEY_ID", "id"),
            ("AWS_SECRET_ACCESS_KEY", "s3cret"),
            ("AWS_REGION", "eu-central-1"),
            ("AWS_ENDPOINT", "http://127.0.0.1:1"),
            ("AWS_ALLOW_HTTP", "true"),
            ("AWS_SOMETHING_ELSE", "x"),
            ("ENDPOINT", "not ours"),
        ]);
        let store = open("s3://bucket/a/b", aws).unwrap();
        assert!(store.to_string().contains("a/b"), "{store}");
        assert!(!format!("{store:?}").contains("s3cret"), "{store:?}");
        let azure = variables(&[
            ("AZURE_STORAGE_ACCOUNT_NAME", "account"),
            ("AZURE_STORAGE_ACCOUNT_KEY", "czNjcmV0"),
        ]);
        open("az://container", azure).unwrap();
        let google = variables(&[("GOOGLE_SKIP_SIGNATURE", "true")]);
        open("gs://bucket/prefix", google).unwrap();
    }

    #[test]
    fn other_addresses_are_refused() {
        for url in
            ["s3://", "s3:bucket", "ftp://bucket", "https://bucket.s3.amazonaws.com", "memory:///", "bucket"]
        {
            assert!(!is_known(url), "{url}");
        }
        assert!(open("az://container", Vec::new()).is_err(), "an account is missing");
    }
}
