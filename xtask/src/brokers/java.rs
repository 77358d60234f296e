//! What the brokers on the JVM share: a Java, Maven, flags for a small machine.

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use crate::{
    brokers::remove_folder,
    failure::{Failure, Outcome, While},
    process::Group,
};

/// Small heaps and the fast compiler: a broker in a test lives for minutes and shares two cores with its clients.
const FLAGS: &[&str] = &[
    "-XX:+UseSerialGC",
    "-XX:TieredStopAtLevel=1",
    "-XX:MaxMetaspaceSize=128m",
    "-XX:ReservedCodeCacheSize=48m",
    "-Xss512k",
];
/// The oldest Java that Kafka 4 and ElasticMQ run on.
const OLDEST: u32 = 17;
const APT: &str = "apt-get install openjdk-17-jre-headless maven";
/// How long a download may take.
const DOWNLOAD: Duration = Duration::from_secs(15 * 60);

/// `java` with the flags for all brokers and a heap in megabytes.
pub(super) fn java(start_heap: u32, most_heap: u32) -> Command {
    let mut command = Command::new("java");
    command.arg(format!("-Xms{start_heap}m")).arg(format!("-Xmx{most_heap}m")).args(FLAGS);
    // Notes of the JVM on stdout about options from the environment would end up in what we read.
    command.env_remove("JAVA_TOOL_OPTIONS");
    command
}

/// Checks that `java` is there and new enough.
///
/// # Errors
/// `Lacks`, with the command that brings it.
pub(super) fn check() -> Outcome<()> {
    let lacks = |what: String| Err(Failure::Lacks { what, remedy: APT.to_owned() });
    match Command::new("java").arg("-version").stdin(Stdio::null()).output() {
        Err(_) => lacks(format!("no java (>= {OLDEST}) is installed")),
        Ok(output) => match version(&String::from_utf8_lossy(&output.stderr)) {
            Some(found) if found >= OLDEST => Ok(()),
            Some(found) => lacks(format!("java {found} is too old, {OLDEST} is needed")),
            None => lacks("java does not tell its version".to_owned()),
        },
    }
}

/// The jars of `group:artifact:version` coordinates and all they need, from Maven Central into `folder`. A folder that
/// exists is complete: it gets its name only after the download.
///
/// # Errors
/// `Lacks` when there is no Maven or it cannot fetch.
pub(super) fn fetch_jars(cache: &Path, folder: &Path, coordinates: &[&str]) -> Outcome<()> {
    if folder.is_dir() {
        return Ok(());
    }
    if Command::new("mvn").arg("--version").stdin(Stdio::null()).output().is_err() {
        return Err(Failure::Lacks {
            what: "no mvn (Apache Maven) is installed".to_owned(),
            remedy: APT.to_owned(),
        });
    }
    eprintln!("fetching {} from Maven Central", coordinates.join(", "));
    let pom = cache.join("pom.xml");
    fs::write(&pom, pom_of(coordinates)).while_doing(format!("write {}", pom.display()))?;
    let fresh = folder.with_extension("new");
    remove_folder(&fresh)?;
    let mut command = Command::new("mvn");
    command
        .args(["-q", "-B", "-f"])
        .arg(&pom)
        .args(["dependency:copy-dependencies", "-DincludeScope=runtime"]);
    command.arg(format!("-DoutputDirectory={}", fresh.display()));
    let log = cache.join("maven.log");
    let file = fs::File::create(&log).while_doing(format!("create {}", log.display()))?;
    let also = file.try_clone().while_doing("share the log of Maven")?;
    let fetched = Group::spawn("mvn", command.stdout(file).stderr(also))?.wait(DOWNLOAD)?.success();
    if !fetched || !fresh.is_dir() {
        return Err(Failure::Lacks {
            what: format!("Maven could not fetch {} (see {})", coordinates.join(", "), log.display()),
            remedy: "give this machine a way to Maven Central, or a mirror in ~/.m2/settings.xml".to_owned(),
        });
    }
    fs::rename(&fresh, folder).while_doing(format!("rename {}", fresh.display()))
}

fn pom_of(coordinates: &[&str]) -> String {
    let dependencies: String = coordinates
        .iter()
        .map(|coordinate| {
            let mut parts = coordinate.split(':');
            let [group, artifact, version] = std::array::from_fn(|_| parts.next().unwrap_or_default());
            format!(
                "<dependency><groupId>{group}</groupId><artifactId>{artifact}</artifactId>\
                 <version>{version}</version></dependency>\n"
            )
        })
        .collect();
    format!(
        "<project xmlns=\"http://maven.apache.org/POM/4.0.0\"><modelVersion>4.0.0</modelVersion>\n\
         <groupId>throughline</groupId><artifactId>broker</artifactId><version>1</version>\
         <packaging>pom</packaging>\n<dependencies>\n{dependencies}</dependencies></project>\n"
    )
}

/// The feature release in the output of `java -version`: 17 of `"17.0.15"`, 8 of `"1.8.0_442"`.
fn version(output: &str) -> Option<u32> {
    let quoted = output.split('"').nth(1)?;
    let quoted = quoted.strip_prefix("1.").unwrap_or(quoted);
    quoted.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_version_of_old_and_new_javas() {
        assert_eq!(version("openjdk version \"17.0.15\" 2025-04-15\nOpenJDK Runtime"), Some(17));
        assert_eq!(version("openjdk version \"25\" 2025-09-16"), Some(25));
        assert_eq!(version("java version \"1.8.0_442\""), Some(8));
        assert_eq!(version("openjdk version \"27-ea\" 2027-03-01"), Some(27));
        assert_eq!(version("command not found"), None);
    }

    #[test]
    fn a_pom_names_each_coordinate() {
        let pom = pom_of(&["org.slf4j:slf4j-simple:1.7.36"]);
        assert!(pom.contains("<groupId>org.slf4j</groupId><artifactId>slf4j-simple</artifactId>"));
        assert!(pom.contains("<version>1.7.36</version>"));
    }
}
