//! ElasticMQ, a server that speaks the protocol of SQS, from Maven Central.

use std::{
    fs,
    io::{Read, Write},
    net::{Ipv4Addr, TcpStream},
    path::Path,
    process::Command,
    time::Duration,
};

use crate::{
    brokers::{Broker, Wish, java},
    failure::{Failure, Outcome, While},
    process,
};

const JARS: &[&str] = &["org.elasticmq:elasticmq-server_2.13:1.7.1"];
const LIBS: &str = "libs-1.7.1";
const CONFIG: &str = "elasticmq.conf";
const LOGGING: &str = "logback.xml";
/// How long the first request may take.
const BOUND: Duration = Duration::from_secs(30);

/// As every lane has it: what it holds is gone with its process, which is three times faster than to keep it.
pub(super) static FORGETFUL: Sqs = Sqs { keeps: false };

/// ElasticMQ 1.7.1, with the limits of AWS.
#[derive(Debug)]
pub(super) struct Sqs {
    /// What it has acknowledged outlives a kill.
    pub(super) keeps: bool,
}

impl Broker for Sqs {
    fn name(&self) -> &'static str {
        "sqs"
    }

    fn variable(&self) -> &'static str {
        "THROUGHLINE_SQS"
    }

    fn wished_port(&self, _: &Wish) -> Option<u16> {
        None
    }

    fn fetch(&self, cache: &Path) -> Outcome<()> {
        java::check()?;
        java::fetch_jars(cache, &cache.join(LIBS), JARS)
    }

    fn command(&self, cache: &Path, scratch: &Path, port: u16) -> Outcome<Command> {
        let (config, logging) = (scratch.join(CONFIG), scratch.join(LOGGING));
        for (path, text) in [(&config, self.configuration(scratch, port)), (&logging, LOGBACK.to_owned())] {
            fs::write(path, text).while_doing(format!("write {}", path.display()))?;
        }
        let mut command = java::java(32, 192);
        command
            .arg(format!("-Dconfig.file={}", config.display()))
            .arg(format!("-Dlogback.configurationFile={}", logging.display()))
            .arg("-cp")
            .arg(cache.join(LIBS).join("*"))
            .arg("org.elasticmq.server.Main")
            .current_dir(scratch);
        Ok(command)
    }

    fn warm_up(&self, port: u16) -> Outcome<()> {
        wait_for_queues(port)
    }
}

/// Waits until a server of the protocol of SQS lists its queues.
pub(super) fn wait_for_queues(port: u16) -> Outcome<()> {
    wait_for_these(port, &[])
}

/// Waits until these are among the queues that it lists. A restarted ElasticMQ listens before it has read what it kept:
/// for a moment it answers that a queue does not exist.
pub(super) fn wait_for_these(port: u16, urls: &[String]) -> Outcome<()> {
    let mut last = String::new();
    let done = process::wait_until(BOUND, || {
        last = list_queues(port)?;
        let listed = urls_in(&last);
        Ok(last.starts_with("HTTP/1.1 200 ") && urls.iter().all(|url| listed.contains(&&**url)))
    })?;
    if done {
        return Ok(());
    }
    Err(Failure::said(format!("did not list its queues within {} s: {last:?}", BOUND.as_secs())))
}

const LOGBACK: &str = "<configuration>
  <appender name=\"out\" class=\"ch.qos.logback.core.ConsoleAppender\">
    <encoder><pattern>%d{HH:mm:ss.SSS} %-5level %logger{20} %msg%n</pattern></encoder>
  </appender>
  <root level=\"WARN\"><appender-ref ref=\"out\"/></root>
</configuration>
";

impl Sqs {
    /// On loopback only (its default is every interface); with strict limits, since a test must not pass here and fail on
    /// AWS.
    fn configuration(&self, folder: &Path, port: u16) -> String {
        let storage = if self.keeps { storage(&folder.display().to_string()) } else { String::new() };
        format!(
            "include classpath(\"application.conf\")
node-address {{ protocol = http, host = 127.0.0.1, port = {port}, context-path = \"\" }}
rest-sqs {{ enabled = true, bind-hostname = \"127.0.0.1\", bind-port = {port}, sqs-limits = strict }}
rest-stats {{ enabled = false }}
# Longer than the longest poll of SQS, 20 s.
pekko.http.server.request-timeout = 30 s
pekko.loglevel = \"WARNING\"
{storage}"
        )
    }
}

/// Queues and messages in files. H2 would keep what was acknowledged in the last second in memory, and a kill would lose it.
fn storage(folder: &str) -> String {
    format!(
        "queues-storage {{ enabled = true, path = \"{folder}/queues.conf\" }}
messages-storage {{ enabled = true, driver-class = \"org.h2.Driver\", uri = \"jdbc:h2:{folder}/messages;WRITE_DELAY=0\", username = \"\", password = \"\", prune-data-on-init = false }}
"
    )
}

/// The URLs of the queues that it has now.
pub(super) fn queues(port: u16) -> Outcome<Vec<String>> {
    Ok(urls_in(&list_queues(port)?).into_iter().map(str::to_owned).collect())
}

/// No name of a queue has a character that JSON would write in another way.
fn urls_in(answer: &str) -> Vec<&str> {
    answer.split('"').filter(|part| part.starts_with("http://")).collect()
}

/// The answer to one request of the protocol, which proves that it is spoken there.
fn list_queues(port: u16) -> Outcome<String> {
    let doing = || format!("speak to SQS on port {port}");
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).while_doing(doing())?;
    stream.set_read_timeout(Some(Duration::from_secs(10))).while_doing(doing())?;
    let request = "POST / HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Amz-Target: AmazonSQS.ListQueues\r\n\
                   Content-Type: application/x-amz-json-1.0\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}";
    stream.write_all(request.as_bytes()).while_doing(doing())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).while_doing(doing())?;
    Ok(answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_queues_are_read_from_the_answer() {
        let answer = "HTTP/1.1 200 OK\r\n\r\n{\"QueueUrls\":[\"http://h:1/0/a\",\"http://h:1/0/b.fifo\"]}";
        assert_eq!(urls_in(answer), ["http://h:1/0/a", "http://h:1/0/b.fifo"]);
        assert!(urls_in("HTTP/1.1 200 OK\r\n\r\n{\"QueueUrls\":[]}").is_empty());
    }

    #[test]
    fn the_configuration_names_loopback_only() {
        let text = FORGETFUL.configuration(Path::new("/f"), 29_324);
        assert!(text.contains("bind-hostname = \"127.0.0.1\", bind-port = 29324"));
        assert!(text.contains("sqs-limits = strict"));
        assert!(!text.contains("0.0.0.0") && !text.contains("storage"));
        assert!(Sqs { keeps: true }.configuration(Path::new("/f"), 1).contains("jdbc:h2:/f/messages"));
    }
}
