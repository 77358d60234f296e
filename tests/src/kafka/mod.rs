//! What tests on a real Kafka have in common: the cluster, worker processes, and the history of a group's commits.

mod cluster;
mod commits;
mod crew;
mod process;

pub use cluster::Cluster;
pub use commits::commits;
pub use crew::Crew;
pub use process::{Ended, WorkerProcess};
