//! How each provider's buckets are reached. Credentials come from where its own tools keep them;
//! none passes through here in a form that could be printed.

use std::sync::Arc;

use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey, S3ConditionalPut};
use object_store::azure::MicrosoftAzureBuilder;
use object_store::gcp::GoogleCloudStorageBuilder;
use object_store::{ClientOptions, ObjectStore};

use super::answers::Bounding;
use super::aws::{self, Credentials};
use super::bucket::{BucketBackend, Creating, Touch, Traits};
use super::runtime::Runtime;
use super::{Env, Settings, failure, patience};
use crate::remote::location::Bucket;
use crate::remote::{BackendError, BackendFault, Location};

fn wrong(what: &str, why: impl Into<String>) -> BackendError {
    failure::error(BackendFault::Other, "use", what, why)
}

fn is_plain_http(endpoint: &str) -> bool {
    endpoint.starts_with("http://")
}

/// Amazon S3, and what speaks its protocol at `endpoint`.
pub(super) fn s3(
    bucket: &Bucket,
    settings: &Settings,
    env: Env<'_>,
) -> Result<BucketBackend, BackendError> {
    let described = Location::S3(bucket.clone()).to_string();
    // Before the client: it sets TLS up.
    let runtime = Runtime::new()?;
    let answers = Bounding::default();
    let profile = aws::Profile::read(settings.profile.as_deref(), env)
        .map_err(|why| failure::error(BackendFault::Refused, "use", &described, why))?;
    let region = settings
        .region
        .clone()
        .or_else(|| env("AWS_REGION"))
        .or_else(|| env("AWS_DEFAULT_REGION"))
        .or_else(|| profile.region.clone())
        .unwrap_or_else(|| "us-east-1".to_owned());
    let endpoint = settings
        .endpoint
        .clone()
        .or_else(|| env("AWS_ENDPOINT_URL_S3"))
        .or_else(|| env("AWS_ENDPOINT_URL"))
        .or_else(|| profile.endpoint.clone());
    // Roles of machines and containers are asked for by `object_store`, which finds its way by the
    // environment.
    let mut builder = match aws::credentials(&profile, settings.anonymous, env)
        .map_err(|why| failure::error(BackendFault::Refused, "use", &described, why))?
    {
        Credentials::Role => AmazonS3Builder::from_env(),
        Credentials::None => AmazonS3Builder::new().with_skip_signature(true),
        Credentials::Keys(provider) => AmazonS3Builder::new().with_credentials(provider),
    };
    let mut client = patience::client();
    if let Some(endpoint) = &endpoint {
        client = client.with_allow_http(is_plain_http(endpoint));
        let endpoint = match (settings.virtual_hosted, endpoint.split_once("://")) {
            (true, Some((scheme, host))) => format!("{scheme}://{}.{host}", bucket.name),
            _ => endpoint.clone(),
        };
        builder = builder.with_endpoint(endpoint);
    }
    if let Some(encryption) = &settings.encryption {
        let (word, key) = encryption.words();
        let said = [
            ("aws_server_side_encryption", Some(word)),
            ("aws_sse_kms_key_id", key),
        ];
        for (name, value) in said {
            if let Some(value) = value {
                let name = name
                    .parse::<AmazonS3ConfigKey>()
                    .map_err(|e| failure::of_store("use", &described, &e))?;
                builder = builder.with_config(name, value);
            }
        }
    }
    // On an encrypted connection the bodies need no second checksum; names and signatures guard
    // them end to end.
    let is_encrypted = endpoint.as_deref().is_none_or(|e| !is_plain_http(e));
    let conditional = match settings.no_conditional_put {
        true => S3ConditionalPut::Disabled,
        false => S3ConditionalPut::ETagMatch,
    };
    let store = builder
        .with_bucket_name(&bucket.name)
        .with_region(region)
        .with_virtual_hosted_style_request(settings.virtual_hosted)
        .with_conditional_put(conditional)
        .with_unsigned_payload(is_encrypted)
        .with_disable_bulk_delete(true)
        .with_client_options(client)
        .with_retry(patience::retry())
        .with_http_connector(answers.clone())
        .build()
        .map_err(|e| failure::of_store("use", &described, &e))?;
    let described = match &endpoint {
        Some(endpoint) => format!("{described} at {endpoint}"),
        None => described,
    };
    BucketBackend::new(
        runtime,
        Arc::new(store),
        &bucket.prefix,
        traits(Touch::CopyAside, settings),
        described,
        answers,
    )
}

/// Google Cloud Storage.
pub(super) fn gcs(bucket: &Bucket, settings: &Settings) -> Result<BucketBackend, BackendError> {
    let described = Location::Gcs(bucket.clone()).to_string();
    reached(bucket, settings, described, |client, answers| {
        let mut builder = GoogleCloudStorageBuilder::from_env();
        if let Some(endpoint) = &settings.endpoint {
            builder = builder.with_base_url(endpoint);
        }
        let store = builder
            .with_bucket_name(&bucket.name)
            .with_skip_signature(settings.anonymous)
            .with_client_options(client)
            .with_retry(patience::retry())
            .with_http_connector(answers)
            .build()?;
        Ok(Arc::new(store))
    })
}

/// Azure Blob Storage.
pub(super) fn azure(
    bucket: &Bucket,
    settings: &Settings,
    env: Env<'_>,
) -> Result<BucketBackend, BackendError> {
    let described = Location::Azure(bucket.clone()).to_string();
    let account = settings
        .account
        .clone()
        .or_else(|| env("AZURE_STORAGE_ACCOUNT_NAME"))
        .or_else(|| env("AZURE_STORAGE_ACCOUNT"))
        .ok_or_else(|| {
            wrong(
                &described,
                "the storage account is unknown; give it with --account or AZURE_STORAGE_ACCOUNT_NAME",
            )
        })?;
    reached(bucket, settings, described, |client, answers| {
        let mut builder = MicrosoftAzureBuilder::from_env();
        if let Some(endpoint) = &settings.endpoint {
            builder = builder.with_endpoint(endpoint.clone());
        }
        let store = builder
            .with_account(account)
            .with_container_name(&bucket.name)
            .with_skip_signature(settings.anonymous)
            .with_client_options(client)
            .with_retry(patience::retry())
            .with_http_connector(answers)
            .build()?;
        Ok(Arc::new(store))
    })
}

/// A provider that makes objects young by copying them onto themselves.
fn reached(
    bucket: &Bucket,
    settings: &Settings,
    described: String,
    build: impl FnOnce(ClientOptions, Bounding) -> object_store::Result<Arc<dyn ObjectStore>>,
) -> Result<BucketBackend, BackendError> {
    // Before the client: it sets TLS up.
    let runtime = Runtime::new()?;
    let answers = Bounding::default();
    let mut client = patience::client();
    if let Some(endpoint) = &settings.endpoint {
        client = client.with_allow_http(is_plain_http(endpoint));
    }
    let store =
        build(client, answers.clone()).map_err(|e| failure::of_store("use", &described, &e))?;
    let traits = traits(Touch::CopyOnto, settings);
    BucketBackend::new(runtime, store, &bucket.prefix, traits, described, answers)
}

fn traits(touch: Touch, settings: &Settings) -> Traits {
    Traits {
        touch,
        creating: match settings.no_conditional_put {
            true => Creating::LookFirst,
            false => Creating::Conditional,
        },
        takes_parts: true,
        lists_directories: false,
    }
}
