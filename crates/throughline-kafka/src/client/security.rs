//! TLS, SASL and codecs: what the linked client was built with, and whom it trusts, told before it connects.

use std::{collections::BTreeMap, path::Path};

use rdkafka::ClientConfig;
use throughline_core::{Error, ErrorKind};

/// A property that says how to connect, the values that need something of the client, what that is called there, and
/// what brings it.
const NEEDS: [(&[&str], &str, &str, &str); 9] = [
    (&["security.protocol"], "ssl", "ssl", TLS),
    (&["security.protocol"], "sasl_ssl", "ssl", TLS),
    (SASL, "scram-", "sasl_scram", TLS),
    (SASL, "oauthbearer", "sasl_oauthbearer", TLS),
    (
        SASL,
        "gssapi",
        "sasl_gssapi",
        "build with the cargo feature `gssapi` of the crate `rdkafka`, beside throughline-kafka",
    ),
    (
        &["sasl.oauthbearer.method"],
        "oidc",
        "oidc",
        "build with the cargo features `curl` and `ssl` of the crate `rdkafka`, beside throughline-kafka",
    ),
    (
        CODEC,
        "gzip",
        "gzip",
        "build with the cargo feature `gzip` of throughline-kafka, which is a default one",
    ),
    (
        CODEC,
        "zstd",
        "zstd",
        "build with the cargo feature `zstd` of throughline-kafka, which is a default one",
    ),
    (&["enable.ssl.certificate.verification"], "", "ssl", TLS),
];

const SASL: &[&str] = &["sasl.mechanism", "sasl.mechanisms"];
const CODEC: &[&str] = &["compression.type", "compression.codec"];
const TLS: &str = "build with the cargo feature `tls` of throughline-kafka (TLS, SCRAM and OAUTHBEARER)";

/// Where distributions keep the authorities that they trust, as librdkafka probes for them.
const AUTHORITIES: [&str; 17] = [
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/certs/ca-bundle.crt",
    "/etc/pki/tls/certs/ca-bundle.trust.crt",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/ca-bundle.pem",
    "/etc/pki/tls/cacert.pem",
    "/etc/ssl/cert.pem",
    "/etc/ssl/cacert.pem",
    "/etc/certs/ca-certificates.crt",
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/ssl/certs",
    "/usr/local/etc/ssl/cert.pem",
    "/usr/local/etc/ssl/cacert.pem",
    "/usr/local/etc/ssl/certs/cert.pem",
    "/usr/local/etc/ssl/certs/cacert.pem",
    "/usr/local/share/certs/ca-root-nss.crt",
    "/etc/openssl/certs/ca-certificates.crt",
];

type Properties = BTreeMap<String, String>;

/// What the linked client was built with, in its own words. Cargo features of this crate would say less: another crate
/// may have asked for more.
pub(crate) fn built_in() -> Vec<String> {
    let features = ClientConfig::new().create_native_config().and_then(|c| c.get("builtin.features"));
    features.unwrap_or_default().split(',').map(|feature| feature.trim().to_owned()).collect()
}

/// Refuses settings that this build has no use for, and a TLS that would trust nobody.
///
/// # Errors
/// `Config` naming the property and what is missing: a cargo feature, a function for tokens, or authorities.
pub(crate) fn check(properties: &Properties, token: bool, built_in: &[String]) -> Result<(), Error> {
    lacking(properties, built_in)?;
    if wants(properties, SASL, "oauthbearer")
        && !token
        && !wants(properties, &["sasl.oauthbearer.method"], "oidc")
    {
        return Err(Error::new(
            ErrorKind::Config,
            "sasl.mechanism",
            "OAUTHBEARER needs tokens: give a function for them with `.oauth_token(..)`, or set \
             `sasl.oauthbearer.method` to `oidc`",
        ));
    }
    // OpenSSL's own way to name them.
    let elsewhere = ["SSL_CERT_FILE", "SSL_CERT_DIR"].iter().any(|name| std::env::var_os(name).is_some());
    if elsewhere || !cfg!(target_os = "linux") || !built_in.iter().any(|feature| feature == "ssl") {
        return Ok(());
    }
    trust(properties, Path::exists)
}

/// The value begins so, in any case.
fn wants(properties: &Properties, names: &[&str], value: &str) -> bool {
    let begins = |set: &String| set.to_ascii_lowercase().starts_with(value);
    names.iter().any(|name| properties.get(*name).is_some_and(begins))
}

fn lacking(properties: &Properties, built_in: &[String]) -> Result<(), Error> {
    let has = |feature: &str| built_in.iter().any(|built| built == feature);
    let lack = |name: &str, remedy: &str| {
        Err(Error::new(ErrorKind::Config, name, format!("the client was built without it: {remedy}")))
    };
    for (names, value, feature, remedy) in NEEDS {
        if let Some(name) = names.iter().find(|name| wants(properties, &[name], value))
            && !has(feature)
        {
            return lack(name, remedy);
        }
    }
    match properties.keys().find(|name| name.starts_with("ssl.")) {
        Some(name) if !has("ssl") => return lack(name, TLS),
        _ => {}
    }
    let sasl = wants(properties, &["security.protocol"], "sasl_");
    if sasl && !SASL.iter().any(|name| properties.contains_key(*name)) && !has("sasl_gssapi") {
        return Err(Error::new(
            ErrorKind::Config,
            SASL[0],
            "name a mechanism, such as PLAIN or SCRAM-SHA-512: librdkafka's default is GSSAPI, which it was built without",
        ));
    }
    Ok(())
}

/// Whether there is anybody to trust, where nobody was named.
fn trust(properties: &Properties, exists: impl Fn(&Path) -> bool) -> Result<(), Error> {
    let get = |name: &str| properties.get(name).map(String::as_str);
    let tls = ["ssl", "sasl_ssl"].iter().any(|p| wants(properties, &["security.protocol"], p));
    let verifies = !matches!(get("enable.ssl.certificate.verification"), Some("false" | "0" | "f"));
    let named = ["ssl.ca.pem", "ssl.ca"].iter().any(|name| properties.contains_key(*name))
        || get("ssl.ca.location").is_some_and(|location| location != "probe");
    if !tls || !verifies || named || AUTHORITIES.iter().any(|place| exists(Path::new(place))) {
        return Ok(());
    }
    let remedy = format!(
        "there is no file of trusted authorities in any of the usual places ({}): install the package \
         `ca-certificates`, or set `ssl.ca.location`",
        AUTHORITIES.join(", ")
    );
    Err(Error::new(ErrorKind::Config, "ssl.ca.location", remedy))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(pairs: &[(&str, &str)]) -> Properties {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    fn refused(pairs: &[(&str, &str)], built_in: &[&str]) -> Option<(String, String)> {
        let built_in: Vec<_> = built_in.iter().map(|feature| (*feature).to_owned()).collect();
        let error = check(&of(pairs), false, &built_in).err()?;
        assert_eq!(error.kind(), ErrorKind::Config);
        Some((error.resource().to_owned(), error.remedy().to_owned()))
    }

    #[test]
    fn what_this_build_lacks_is_named_with_its_cargo_feature() {
        for (name, value, brings) in [
            ("security.protocol", "SASL_SSL", "`tls`"),
            ("security.protocol", "ssl", "`tls`"),
            ("ssl.ca.location", "/ca.pem", "`tls`"),
            ("ssl.key.password", "hunter2", "`tls`"),
            ("sasl.mechanism", "SCRAM-SHA-512", "`tls`"),
            ("sasl.mechanisms", "OAUTHBEARER", "`tls`"),
            ("sasl.mechanism", "GSSAPI", "`gssapi`"),
            ("sasl.oauthbearer.method", "oidc", "`curl`"),
            ("compression.type", "gzip", "`gzip`"),
            ("compression.codec", "zstd", "`zstd`"),
            ("security.protocol", "sasl_plaintext", "SCRAM-SHA-512"),
        ] {
            let (resource, remedy) = refused(&[(name, value)], &["snappy", "lz4", "sasl_plain"]).unwrap();
            assert!(resource == name || resource == "sasl.mechanism", "{name}: {resource}");
            assert!(remedy.contains(brings) && !remedy.contains("hunter2"), "{name}: {remedy}");
        }
        let all = ["ssl", "sasl_scram", "sasl_gssapi", "gzip", "zstd", "sasl_oauthbearer", "oidc"];
        for (name, value) in [("sasl.mechanism", "SCRAM-SHA-256"), ("compression.type", "zstd")] {
            assert_eq!(refused(&[(name, value)], &all), None);
        }
        let plain = [("security.protocol", "SASL_PLAINTEXT"), ("sasl.mechanism", "PLAIN")];
        assert_eq!(refused(&plain, &["sasl_plain"]), None);
        assert_eq!(refused(&[("security.protocol", "plaintext"), ("compression.type", "lz4")], &[]), None);
    }

    #[test]
    fn tokens_come_from_somewhere() {
        let all = ["ssl", "sasl_oauthbearer", "oidc"];
        let (_, remedy) = refused(&[("sasl.mechanism", "OAUTHBEARER")], &all).unwrap();
        assert!(remedy.contains(".oauth_token(..)"), "{remedy}");
        assert_eq!(
            refused(&[("sasl.mechanism", "OAUTHBEARER"), ("sasl.oauthbearer.method", "oidc")], &all),
            None
        );
    }

    #[test]
    fn a_machine_that_trusts_nobody_is_told_where_was_looked() {
        let tls = ("security.protocol", "ssl");
        let error = trust(&of(&[tls]), |_| false).unwrap_err();
        assert_eq!(error.resource(), "ssl.ca.location");
        assert!(AUTHORITIES.iter().all(|place| error.remedy().contains(place)), "{error}");
        for fine in [
            &[tls, ("ssl.ca.location", "/my/ca.pem")][..],
            &[tls, ("ssl.ca.pem", "-----BEGIN")],
            &[tls, ("enable.ssl.certificate.verification", "false")],
            &[("security.protocol", "sasl_plaintext")],
        ] {
            assert!(trust(&of(fine), |_| false).is_ok(), "{fine:?}");
        }
        assert!(trust(&of(&[tls]), |place| place.ends_with("ca-certificates.crt")).is_ok());
    }

    #[test]
    fn the_client_says_what_it_was_built_with() {
        let built_in = built_in();
        for (feature, built) in [
            ("snappy", true),
            ("lz4", true),
            ("gzip", cfg!(feature = "gzip")),
            ("zstd", cfg!(feature = "zstd")),
        ] {
            // Another crate of the build may have asked for more.
            assert!(!built || built_in.iter().any(|has| has == feature), "{feature}: {built_in:?}");
        }
    }
}
