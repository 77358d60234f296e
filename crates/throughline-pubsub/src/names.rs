//! Names of topics and subscriptions: short ones, and those that the service wants.

use throughline_core::{Error, ErrorKind};

/// What a name is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Topic,
    Subscription,
}

impl Kind {
    const fn collection(self) -> &'static str {
        match self {
            Kind::Topic => "topics",
            Kind::Subscription => "subscriptions",
        }
    }
}

/// `projects/PROJECT/topics/NAME`, from that or from its last part.
///
/// # Errors
/// `Config` if it is neither, or what `project` says.
pub(crate) fn full<'p>(
    kind: Kind,
    name: &str,
    project: impl FnOnce() -> Result<&'p str, Error>,
) -> Result<String, Error> {
    let parts: Vec<&str> = name.split('/').collect();
    match parts[..] {
        [short] if !short.is_empty() => Ok(format!("projects/{}/{}/{short}", project()?, kind.collection())),
        ["projects", project, collection, short]
            if !project.is_empty() && collection == kind.collection() && !short.is_empty() =>
        {
            Ok(name.to_owned())
        }
        _ => {
            let remedy = format!("a name, or `projects/PROJECT/{}/NAME`", kind.collection());
            Err(Error::new(ErrorKind::Config, name, remedy))
        }
    }
}

/// The last part.
pub(crate) fn short(name: &str) -> &str {
    name.rsplit('/').next().unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_name_takes_the_project_and_a_full_one_has_its_own() {
        let project = || Ok("p");
        assert_eq!(full(Kind::Topic, "orders", project).unwrap(), "projects/p/topics/orders");
        let none = || Err(Error::new(ErrorKind::Config, "project", ""));
        let name = "projects/q/subscriptions/s";
        assert_eq!(full(Kind::Subscription, name, none).unwrap(), name);
        assert_eq!((short(name), short("s")), ("s", "s"));
    }

    #[test]
    fn what_is_neither_is_refused() {
        for name in
            ["", "a/b", "projects/p/topics/t", "projects//subscriptions/s", "projects/p/subscriptions/"]
        {
            let error = full(Kind::Subscription, name, || Ok("p")).unwrap_err();
            assert_eq!((error.kind(), error.resource()), (ErrorKind::Config, name));
            assert!(error.remedy().contains("projects/PROJECT/subscriptions/NAME"), "{error}");
        }
    }
}
