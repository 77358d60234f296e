//! What the environment says of the project and of an emulator.

use throughline_core::{Error, ErrorKind};

/// Where Google's emulator is, as its own set-up (`gcloud beta emulators pubsub env-init`) exports it.
pub(crate) const EMULATOR: &str = "PUBSUB_EMULATOR_HOST";
/// Where the project is looked for, in this order. The first is what the emulator's set-up exports, the others are those
/// of Google's clients and tools.
pub(crate) const PROJECT: [&str; 4] =
    ["PUBSUB_PROJECT_ID", "GOOGLE_CLOUD_PROJECT", "GCLOUD_PROJECT", "CLOUDSDK_CORE_PROJECT"];

/// Read once; what is malformed is said where it is needed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Environment {
    /// As it was written.
    emulator: Option<String>,
    project: Option<String>,
}

impl Environment {
    /// That of this process.
    pub(crate) fn read() -> Self {
        Environment::of(|name| std::env::var(name).ok())
    }

    /// A variable that is set but empty counts as not set.
    fn of(get: impl Fn(&str) -> Option<String>) -> Self {
        let get = |name: &str| get(name).map(|text| text.trim().to_owned()).filter(|text| !text.is_empty());
        Environment { emulator: get(EMULATOR), project: PROJECT.into_iter().find_map(get) }
    }

    /// The URL of the emulator, if there is one.
    ///
    /// # Errors
    /// `Config` naming the variable and its form.
    pub(crate) fn emulator(&self) -> Result<Option<String>, Error> {
        self.emulator.as_deref().map(|text| emulator_url(text, EMULATOR)).transpose()
    }

    /// # Errors
    /// `Config` naming the variables that were looked at.
    pub(crate) fn project(&self) -> Result<&str, Error> {
        let missing = || {
            let looked = PROJECT.map(|name| format!("`{name}`")).join(", ");
            let remedy = format!(
                "no project is known: set one of {looked}, say `.project(..)`, or give the full name \
                 (`projects/PROJECT/..`)"
            );
            Error::new(ErrorKind::Config, "project", remedy)
        };
        self.project.as_deref().ok_or_else(missing)
    }
}

/// `host:port`, with or without `http://` and a slash at the end, as a URL. `name` is where it was written.
pub(crate) fn emulator_url(text: &str, name: &str) -> Result<String, Error> {
    let bare = text.strip_prefix("http://").unwrap_or(text);
    let bare = bare.strip_suffix('/').unwrap_or(bare);
    let is_host =
        |host: &str| !host.is_empty() && !host.contains(|c: char| c.is_whitespace() || "/@?#".contains(c));
    match bare.rsplit_once(':') {
        // An IPv6 address has to be in brackets, or its last group would be taken for the port.
        Some((host, port))
            if is_host(host)
                && (!host.contains(':') || (host.starts_with('[') && host.ends_with(']')))
                && port.parse::<u16>().is_ok_and(|port| port > 0) =>
        {
            Ok(format!("http://{bare}"))
        }
        _ => {
            let remedy = format!("`{text}` is not of the form `host:port`, as in `127.0.0.1:8085`");
            Err(Error::new(ErrorKind::Config, name, remedy))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(pairs: &[(&str, &str)]) -> Environment {
        Environment::of(|name| {
            pairs.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn an_empty_variable_is_not_set() {
        for empty in ["", "  "] {
            let environment = with(&[(EMULATOR, empty), ("GOOGLE_CLOUD_PROJECT", empty)]);
            assert_eq!(environment, with(&[]));
            assert_eq!(environment.emulator().unwrap(), None);
        }
    }

    #[test]
    fn the_usual_forms_of_an_emulator_are_one() {
        for text in ["host:8085", "http://host:8085", "host:8085/", "http://host:8085/", " host:8085 "] {
            let url = with(&[(EMULATOR, text)]).emulator().unwrap();
            assert_eq!(url.as_deref(), Some("http://host:8085"), "{text}");
        }
        assert_eq!(emulator_url("[::1]:8085", EMULATOR).unwrap(), "http://[::1]:8085");
    }

    #[test]
    fn another_form_is_refused_by_name() {
        let texts =
            ["host", "host:x", "host:", ":8085", "host:0", "host:99999", "a/b:1", "::1:8085", "https://h:1"];
        for text in texts {
            let error = with(&[(EMULATOR, text)]).emulator().unwrap_err();
            assert_eq!((error.kind(), error.resource()), (ErrorKind::Config, EMULATOR), "{text}");
            assert!(error.remedy().contains("host:port") && error.remedy().contains(text), "{error}");
        }
    }

    #[test]
    fn a_project_is_found_or_the_places_are_named() {
        assert_eq!(with(&[("GCLOUD_PROJECT", "b"), ("PUBSUB_PROJECT_ID", "a")]).project().unwrap(), "a");
        assert_eq!(with(&[("CLOUDSDK_CORE_PROJECT", "c")]).project().unwrap(), "c");
        let error = with(&[]).project().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config);
        assert!(PROJECT.iter().all(|name| error.remedy().contains(name)), "{error}");
    }
}
