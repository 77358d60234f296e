//! The fake as a site.

use crate::fake::{Fake, Script, TOPIC};
use std::{collections::BTreeMap, ops::Deref, time::Duration};
use throughline::{
    Error,
    pubsub::{PubSub, PubSubSink, PubSubSubscription},
};
use throughline_test::conformance::{Broker, Features, Start};
use throughline_tests::Site;

/// A server of its own, with one topic and one subscription, whatever they are called.
pub(crate) struct Own {
    pub(crate) fake: Fake,
    pub(crate) pubsub: PubSub,
}

impl Own {
    /// On a server that does this.
    pub(crate) async fn start(script: Script) -> Self {
        let fake = Fake::start(script).await;
        let address = fake.endpoint().trim_start_matches("http://").to_owned();
        Own { pubsub: PubSub::emulator(address, "p"), fake }
    }
}

impl Deref for Own {
    type Target = Fake;

    fn deref(&self) -> &Fake {
        &self.fake
    }
}

impl Broker for Own {
    type Subscription = PubSubSubscription;
    type Sink = PubSubSink;

    fn features(&self) -> Features {
        Features { delay: true, reject: true, dead_letter: true, ..Features::default() }
    }

    async fn create_topic(&self, _: &str, _: u32) -> Result<(), Error> {
        Ok(())
    }

    fn subscription(&self, _: &str, _: &str, _: Start) -> PubSubSubscription {
        // What was on its way to a stream that is closed comes again after this.
        self.pubsub.subscribe("s").lease(Duration::from_secs(10))
    }

    fn sink(&self, _: &str) -> PubSubSink {
        self.pubsub.topic(TOPIC)
    }
}

impl Site for Own {
    const NAME: &'static str = "pubsub-fake";

    async fn committed(&self, _: &str, _: &str) -> BTreeMap<i32, i64> {
        BTreeMap::new()
    }

    async fn is_all_done(&self, _: &str, _: &str, _: u64) -> bool {
        self.held() == (0, 0)
    }
}
