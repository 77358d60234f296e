//! Tokens for SASL OAUTHBEARER.

use crate::client::block_on::block_on;
use rdkafka::client::OAuthToken;
use std::{
    error::Error as StdError,
    fmt,
    future::Future,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::Arc,
    time::{Duration, SystemTime},
};
use throughline_core::BoxError;
use tokio::runtime::Handle;

/// How long a token may take: the client's thread waits for it.
const PATIENCE: Duration = Duration::from_secs(10);

/// A token by which the broker knows us. Its `Debug` shows everything but the token itself.
#[derive(Clone)]
pub struct OauthToken {
    token: String,
    principal: String,
    expires: SystemTime,
}

/// Where tokens come from.
#[derive(Clone)]
pub(crate) struct Tokens {
    next: Arc<dyn Fn() -> Answer + Send + Sync>,
    /// Drives what the function waits for.
    runtime: Option<Handle>,
}

type Answer = Pin<Box<dyn Future<Output = Result<OauthToken, BoxError>> + Send>>;

impl OauthToken {
    /// A token for this principal, good until `expires`; the client asks for the next one at four fifths of that time.
    pub fn new(token: impl Into<String>, principal: impl Into<String>, expires: SystemTime) -> Self {
        OauthToken { token: token.into(), principal: principal.into(), expires }
    }

    /// # Errors
    /// What the client would refuse: it would repeat the token in its own error.
    fn checked(self) -> Result<OAuthToken, &'static str> {
        let visible = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic());
        if !visible(&self.token) {
            return Err("the token is empty, or has other than visible ASCII characters");
        }
        if self.principal.contains('\0') {
            return Err("the principal has a NUL byte");
        }
        let since_1970 = self.expires.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        if self.expires <= SystemTime::now() {
            return Err("the token has expired already");
        }
        let lifetime_ms = i64::try_from(since_1970.as_millis()).unwrap_or(i64::MAX / 1_000_000);
        Ok(OAuthToken { token: self.token, principal_name: self.principal, lifetime_ms })
    }
}

impl Tokens {
    pub(crate) fn new<F, Fut>(next: F) -> Self
    where
        F: Fn() -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<OauthToken, BoxError>> + Send + 'static,
    {
        Tokens { next: Arc::new(move || Box::pin(next())), runtime: Handle::try_current().ok() }
    }

    /// The next token, for the client's callback: blocks for as long as the function takes, and not longer than 10 s.
    pub(crate) fn generate(tokens: Option<&Tokens>) -> Result<OAuthToken, Box<dyn StdError>> {
        let tokens = tokens.ok_or("no function for tokens was given: use `.oauth_token(..)`")?;
        let _runtime = tokens.runtime.as_ref().map(Handle::enter);
        let next = AssertUnwindSafe(|| block_on((tokens.next)(), PATIENCE));
        let token = catch_unwind(next).map_err(|_| "the function for tokens panicked")?;
        let token = token.ok_or("the function for tokens did not answer within 10 s")?;
        Ok(token.map_err(|error| error.to_string().replace('\0', " "))?.checked()?)
    }
}

impl fmt::Debug for OauthToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (principal, expires) = (&self.principal, &self.expires);
        f.debug_struct("OauthToken")
            .field("principal", principal)
            .field("expires", expires)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn in_an_hour(token: &str) -> OauthToken {
        OauthToken::new(token, "me", SystemTime::now() + Duration::from_secs(3600))
    }

    fn generated<F, Fut>(next: F) -> Result<String, String>
    where
        F: Fn() -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<OauthToken, BoxError>> + Send + 'static,
    {
        let token = Tokens::generate(Some(&Tokens::new(next)));
        token.map(|token| token.token).map_err(|error| error.to_string())
    }

    #[test]
    fn a_token_that_the_client_would_repeat_in_an_error_never_reaches_it() {
        for secret in ["", "hunter2\u{1}", "hunter2 ", "h\u{fc}nter2"] {
            let error = generated(move || async move { Ok(in_an_hour(secret)) }).unwrap_err();
            assert!(!error.contains("nter2"), "{error}");
        }
        let late = || async { Ok(OauthToken::new("hunter2", "me", SystemTime::UNIX_EPOCH)) };
        assert!(generated(late).unwrap_err().contains("expired"));
        assert!(!format!("{:?}", in_an_hour("hunter2")).contains("hunter2"));
        assert_eq!(generated(|| async { Ok(in_an_hour("a.b.c")) }).unwrap(), "a.b.c");
    }

    #[test]
    fn a_function_that_fails_or_panics_is_an_error_of_the_login() {
        assert_eq!(generated(|| async { Err("no server".into()) }), Err("no server".to_owned()));
        let panics = generated(|| async { std::panic::resume_unwind(Box::new("boom")) });
        assert!(panics.unwrap_err().contains("panicked"));
        assert!(Tokens::generate(None).err().unwrap().to_string().contains(".oauth_token(..)"));
    }
}
