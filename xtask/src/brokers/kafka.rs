//! Apache Kafka as one KRaft node, from Maven Central.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use crate::{
    brokers::{Broker, Wish, java, kafka_wire, port, remove_folder},
    failure::{Failure, Outcome, While},
    process::Group,
};

/// slf4j-simple because Kafka logs nothing at all without a binding.
const JARS: &[&str] = &["org.apache.kafka:kafka_2.13:4.4.0", "org.slf4j:slf4j-simple:1.7.36"];
const LIBS: &str = "libs-4.4.0";
const TEMPLATE: &str = "template-4.4.0";
/// Any 16 bytes in base64url; fixed, since the formatted folder is copied for each start.
const CLUSTER: &str = "MkU3OEVBNTcwNTJENDM2Qg";
const PROPERTIES: &str = "server.properties";
const FORMAT: Duration = Duration::from_secs(60);

/// As every lane has it.
pub(super) static PLAIN: Kafka = Kafka { listeners: Vec::new(), extra: Vec::new() };

/// Apache Kafka 4.4.0.
#[derive(Debug, Default, Clone)]
pub(super) struct Kafka {
    /// Beside the one without encryption and login.
    pub(super) listeners: Vec<Listener>,
    /// Server properties, which win over ours.
    pub(super) extra: Vec<(String, String)>,
}

/// One more loopback port, with a security protocol of Kafka's.
#[derive(Debug, Clone)]
pub(super) struct Listener {
    pub(super) name: String,
    pub(super) protocol: String,
    pub(super) port: u16,
}

impl Broker for Kafka {
    fn name(&self) -> &'static str {
        "kafka"
    }

    fn variable(&self) -> &'static str {
        "THROUGHLINE_KAFKA"
    }

    fn wished_port(&self, wish: &Wish) -> Option<u16> {
        wish.kafka_port
    }

    fn fetch(&self, cache: &Path) -> Outcome<()> {
        java::check()?;
        java::fetch_jars(cache, &cache.join(LIBS), JARS)?;
        format_template(cache)
    }

    fn command(&self, cache: &Path, scratch: &Path, port: u16) -> Outcome<Command> {
        let properties = scratch.join(PROPERTIES);
        if !properties.exists() {
            let data = scratch.join("data");
            copy_folder(&cache.join(TEMPLATE), &data)?;
            let mut controller = port;
            while controller == port {
                controller = port::free()?;
            }
            self.write_properties(scratch, &data, port, controller)?;
        }
        let mut command = kafka_java(cache);
        command.arg("kafka.Kafka").arg(properties).current_dir(scratch);
        Ok(command)
    }

    fn warm_up(&self, port: u16) -> Outcome<()> {
        kafka_wire::warm_up(port)
    }
}

/// Formats a data folder once. It holds no port, so a copy of it starts anywhere.
fn format_template(cache: &Path) -> Outcome<()> {
    let template = cache.join(TEMPLATE);
    if template.is_dir() {
        return Ok(());
    }
    let fresh = template.with_extension("new");
    remove_folder(&fresh)?;
    let properties = PLAIN.write_properties(cache, &fresh, 9092, 9093)?;
    let log = cache.join("format.log");
    let file = fs::File::create(&log).while_doing(format!("create {}", log.display()))?;
    let also = file.try_clone().while_doing("share the log of the format")?;
    let mut command = kafka_java(cache);
    command.args(["kafka.tools.StorageTool", "format", "-t", CLUSTER, "-c"]).arg(properties);
    if !Group::spawn("the Kafka storage tool", command.stdout(file).stderr(also))?.wait(FORMAT)?.success() {
        return Err(Failure::said(format!("Kafka could not format its folder, see {}", log.display())));
    }
    fs::rename(&fresh, &template).while_doing(format!("rename {}", fresh.display()))
}

fn kafka_java(cache: &Path) -> Command {
    let mut command = java::java(64, 256);
    command.arg("-Dorg.slf4j.simpleLogger.defaultLogLevel=warn").arg("-cp").arg(cache.join(LIBS).join("*"));
    command
}

impl Kafka {
    fn write_properties(&self, folder: &Path, data: &Path, port: u16, controller: u16) -> Outcome<PathBuf> {
        let path = folder.join(PROPERTIES);
        fs::write(&path, self.properties(data, port, controller))
            .while_doing(format!("write {}", path.display()))?;
        Ok(path)
    }

    /// One node that is its own controller, small, with group and session times for tests.
    fn properties(&self, data: &Path, port: u16, controller: u16) -> String {
        let data = escaped(&data.display().to_string());
        let more = |one: fn(&Listener) -> String| self.listeners.iter().map(one).collect::<String>();
        let listeners = more(|Listener { name, port, .. }| format!(",{name}://127.0.0.1:{port}"));
        let protocols = more(|Listener { name, protocol, .. }| format!(",{name}:{protocol}"));
        let extra = self.extra.iter().map(|(name, value)| format!("{name}={}\n", escaped(value)));
        let extra = extra.collect::<String>();
        format!(
            "process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller}
log.dirs={data}
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}{listeners}
advertised.listeners=PLAINTEXT://127.0.0.1:{port}{listeners}
controller.listener.names=CONTROLLER
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT{protocols}
inter.broker.listener.name=PLAINTEXT

# A misspelt topic must be an error in a test, and one node holds every replica.
auto.create.topics.enable=false
offsets.topic.num.partitions=1
offsets.topic.replication.factor=1
transaction.state.log.num.partitions=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
log.cleaner.dedupe.buffer.size=4194304
log.segment.bytes=16777216

# Members come, go and die in tests: the defaults make each of that cost seconds.
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=1000
group.consumer.min.session.timeout.ms=1000
group.consumer.session.timeout.ms=3000
group.consumer.heartbeat.interval.ms=300
group.consumer.min.heartbeat.interval.ms=100

# After a kill -9 the controller refuses this broker until its old session ends (9 s by default).
# initial.broker.registration.timeout.ms stays at its 60 s: shorter, such a restart fails now and then.
broker.session.timeout.ms=3000
broker.heartbeat.interval.ms=500
{extra}"
        )
    }
}

/// A properties file takes a backslash for an escape.
fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\")
}

fn copy_folder(from: &Path, to: &Path) -> Outcome<()> {
    let doing = || format!("copy {} to {}", from.display(), to.display());
    fs::create_dir_all(to).while_doing(doing())?;
    for entry in fs::read_dir(from).while_doing(doing())? {
        let entry = entry.while_doing(doing())?;
        let target = to.join(entry.file_name());
        if entry.file_type().while_doing(doing())?.is_dir() {
            copy_folder(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), target).while_doing(doing())?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_properties_name_loopback_only() {
        let text = PLAIN.properties(Path::new("/tmp/data"), 19092, 19093);
        assert!(text.contains("listeners=PLAINTEXT://127.0.0.1:19092,CONTROLLER://127.0.0.1:19093\n"));
        assert!(text.contains("log.dirs=/tmp/data\n"));
        assert!(!text.contains("0.0.0.0"));
    }

    #[test]
    fn what_a_test_wants_comes_last_and_wins() {
        let tls = Listener { name: "TLS".to_owned(), protocol: "SSL".to_owned(), port: 19094 };
        let extra = vec![("offsets.retention.minutes".to_owned(), r"1\".to_owned())];
        let text = Kafka { listeners: vec![tls], extra }.properties(Path::new("/d"), 19092, 19093);
        assert!(text.contains("CONTROLLER://127.0.0.1:19093,TLS://127.0.0.1:19094\n"));
        assert!(text.contains("advertised.listeners=PLAINTEXT://127.0.0.1:19092,TLS://127.0.0.1:19094\n"));
        assert!(text.contains("CONTROLLER:PLAINTEXT,TLS:SSL\n"));
        assert!(text.ends_with("\noffsets.retention.minutes=1\\\\\n"), "{text}");
    }
}
