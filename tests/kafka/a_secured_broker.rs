//! A Kafka with TLS and logins, its keys made for it.

use std::{
    fs,
    io::{Read, Write},
    net::TcpStream,
    path::{Path, PathBuf},
    process::Command,
};
use throughline::kafka::Kafka;
use xtask::OwnKafka;

/// Of the key stores, which are gone with the test.
const STORE_PASSWORD: &str = "store-password";

/// A broker with one listener for each way to connect, and the topic `t`.
pub(crate) struct SecuredBroker {
    broker: OwnKafka,
    keys: Keys,
}

/// The broker's key and certificate, and the certificate of somebody else.
struct Keys(PathBuf);

impl SecuredBroker {
    pub(crate) async fn start() -> Self {
        let broker = tokio::task::block_in_place(|| {
            let keys = Keys::make();
            let login = "org.apache.kafka.common.security";
            let mut builder = OwnKafka::builder()
                .listener("TLS", "SSL")
                .listener("LOGIN", "SASL_PLAINTEXT")
                .listener("BOTH", "SASL_SSL")
                .property("ssl.keystore.type", "PKCS12")
                .property("ssl.keystore.location", keys.path("broker.p12").display().to_string())
                .property("ssl.keystore.password", STORE_PASSWORD)
                .property("ssl.key.password", STORE_PASSWORD)
                .property("sasl.enabled.mechanisms", "PLAIN,SCRAM-SHA-256,OAUTHBEARER");
            for listener in ["login", "both"] {
                for (mechanism, module) in [
                    ("plain", "plain.PlainLoginModule required user_bob=\"bob-secret\""),
                    ("scram-sha-256", "scram.ScramLoginModule required"),
                    (
                        "oauthbearer",
                        "oauthbearer.OAuthBearerLoginModule required unsecuredLoginStringClaim_sub=\"broker\"",
                    ),
                ] {
                    let name = format!("listener.name.{listener}.{mechanism}.sasl.jaas.config");
                    builder = builder.property(name, format!("{login}.{module};"));
                }
            }
            let broker = builder.start().unwrap();
            add_carol(&broker.address());
            SecuredBroker { broker, keys }
        });
        Kafka::new(broker.broker.address()).admin().create_topic("t", 1).await.unwrap();
        broker
    }

    /// Where a listener of this name is; `PLAINTEXT` is the one without anything.
    pub(crate) fn address(&self, listener: &str) -> String {
        self.broker.address_of(listener).unwrap_or_else(|| self.broker.address())
    }

    /// The certificate of the authority that signed the broker's.
    pub(crate) fn authority(&self) -> String {
        self.keys.path("broker.pem").display().to_string()
    }

    /// An authority that signed something else.
    pub(crate) fn other_authority(&self) -> String {
        self.keys.path("other.pem").display().to_string()
    }
}

impl Keys {
    fn make() -> Self {
        let folder = std::env::temp_dir().join(format!(
            "throughline-keys-{}-{}",
            std::process::id(),
            fastrand::u64(..)
        ));
        fs::create_dir(&folder).unwrap();
        let keys = Keys(folder);
        for name in ["broker", "other"] {
            let store = keys.path(&format!("{name}.p12"));
            keytool(
                &store,
                &["-genkeypair", "-keyalg", "RSA", "-validity", "2", "-dname", "CN=localhost"],
                &[("-ext", "san=ip:127.0.0.1,dns:localhost"), ("-keypass", STORE_PASSWORD)],
            );
            let pem = keys.path(&format!("{name}.pem")).display().to_string();
            keytool(&store, &["-exportcert", "-rfc"], &[("-file", &pem)]);
        }
        keys
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Keys {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Java's own tool, which is there where Kafka runs.
fn keytool(store: &Path, what: &[&str], options: &[(&str, &str)]) {
    let mut command = Command::new("keytool");
    command.args(what).args(["-alias", "key", "-storetype", "PKCS12", "-storepass", STORE_PASSWORD]);
    command.arg("-keystore").arg(store);
    for (option, value) in options {
        command.args([option, value]);
    }
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}

/// Adds a user for SCRAM-SHA-256 by Kafka's own protocol (AlterUserScramCredentials version 0), for which the client has
/// no call: `carol` with the password `carol-secret`.
fn add_carol(server: &str) {
    let salted_password: [u8; 32] = [
        143, 70, 152, 113, 141, 241, 13, 108, 48, 42, 26, 8, 189, 73, 64, 150, 24, 22, 220, 15, 21, 180, 155,
        222, 157, 25, 232, 107, 101, 251, 27, 133,
    ];
    let compact = |bytes: &[u8]| [&[u8::try_from(bytes.len() + 1).unwrap()], bytes].concat();
    let request = [
        &51_i16.to_be_bytes()[..], // api key
        &0_i16.to_be_bytes(),      // its version
        &1_i32.to_be_bytes(),      // correlation
        &(-1_i16).to_be_bytes(),   // no client id
        &[0],                      // no tagged fields
        &[1],                      // no deletion
        &[2],                      // one addition
        &compact(b"carol"),
        &[1], // SCRAM-SHA-256
        &4096_i32.to_be_bytes(),
        &compact(b"throughline-salt"),
        &compact(&salted_password),
        &[0, 0], // no tagged fields, twice
    ]
    .concat();
    let mut stream = TcpStream::connect(server).unwrap();
    stream.write_all(&i32::try_from(request.len()).unwrap().to_be_bytes()).unwrap();
    stream.write_all(&request).unwrap();
    let mut length = [0; 4];
    stream.read_exact(&mut length).unwrap();
    let mut answer = vec![0; usize::try_from(i32::from_be_bytes(length)).unwrap()];
    stream.read_exact(&mut answer).unwrap();
    // correlation, tags, throttle, one result, its user, then the error code
    let at = 4 + 1 + 4 + 1 + 1 + "carol".len();
    assert_eq!(answer[at..at + 2], [0, 0], "the broker did not take the user");
}
