//! What tests on a real Kafka have in common: the cluster, a crew of worker processes, and the history of a group's commits.

mod cluster;
mod commits;
mod crew;
mod keyed;

pub use cluster::Cluster;
pub use commits::commits;
pub use crew::Crew;
pub use keyed::Keyed;
