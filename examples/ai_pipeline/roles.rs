//! What each role starts, in a process of its own or beside the others.

use crate::{
    args::{Args, Role},
    brokers::{Brokers, Hop},
    classify,
    database::Database,
    embedding, ingress, store, telemetry,
};
use axum::Router;
use std::{future::Future, net::SocketAddr, path::PathBuf, time::Duration};
use throughline::{BoxError, Publisher, Runtime, Telemetry, shutdown_signal};
use tokio::{
    net::TcpListener,
    sync::{oneshot, watch},
    task::JoinHandle,
};

/// How long a role may take to finish what it has begun.
pub(crate) const GRACE: Duration = Duration::from_secs(20);

/// What the roles of one pipeline know of each other.
#[derive(Clone)]
pub(crate) struct Ground {
    pub(crate) brokers: Brokers,
    pub(crate) database: Database,
    pub(crate) ingress: SocketAddr,
    pub(crate) embedding: SocketAddr,
}

/// Roles that run in this process.
pub(crate) struct Running {
    runtime: Runtime,
    servers: Vec<JoinHandle<std::io::Result<()>>>,
    over: watch::Sender<bool>,
}

/// One role, until SIGTERM or until stdin ends: then whoever started this process is gone, or wants it to end.
pub(crate) async fn run(args: &Args, role: Role) -> Result<(), BoxError> {
    let missing = |what: &str| format!("role `{}` needs {what}: `--role all` sets it", role.name());
    if args.brokers == crate::args::Brokers::Memory {
        return Err(
            "the embedded broker is inside one process: give --brokers real, or leave --role out".into()
        );
    }
    let prefix = args.prefix.as_ref().ok_or_else(|| missing("--prefix"))?;
    let url = args.database.as_ref().ok_or_else(|| missing("--database"))?;
    let ground = Ground {
        brokers: Brokers::of(args, prefix)?,
        database: Database::open(url, prefix).await?,
        ingress: args.ingress.ok_or_else(|| missing("--ingress"))?,
        embedding: args.embedding.ok_or_else(|| missing("--embedding"))?,
    };
    let folder = args.spans.clone().unwrap_or_else(|| PathBuf::from("."));
    let telemetry = telemetry::in_files(args, role.name(), &folder)?;
    let mut running = Running::new(telemetry.clone())?;
    running.start(role, &ground).await?;
    let told = async {
        tokio::select! {
            () = shutdown_signal() => {}
            () = stdin_ended() => {}
        }
    };
    running.until(told).await?;
    telemetry::flushed(args, &telemetry).await
}

/// On a thread that nobody waits for: one of the runtime's would keep the process alive until stdin ends.
async fn stdin_ended() {
    let (ended, told) = oneshot::channel();
    std::thread::spawn(move || {
        let _ = std::io::copy(&mut std::io::stdin().lock(), &mut std::io::sink());
        let _ = ended.send(());
    });
    let _ = told.await;
}

impl Running {
    pub(crate) fn new(telemetry: Telemetry) -> Result<Self, BoxError> {
        let runtime = Runtime::new(telemetry)?.grace(GRACE);
        Ok(Running { runtime, servers: Vec::new(), over: watch::Sender::new(false) })
    }

    pub(crate) async fn start(&mut self, role: Role, ground: &Ground) -> Result<(), BoxError> {
        let subscription = |hop| ground.brokers.subscription(hop);
        let publisher = |hop| Publisher::new(ground.brokers.sink(hop));
        let database = ground.database.clone();
        let worker = match role {
            Role::All => return Ok(()),
            Role::Ingress => return self.serve(ground.ingress, ingress::router(publisher(Hop::Jobs))).await,
            Role::Embed => return self.serve(ground.embedding, embedding::router()?).await,
            Role::Classify => classify::worker(
                subscription(Hop::Jobs),
                embedding::Client::new(ground.embedding),
                publisher(Hop::Classified),
                publisher(Hop::DeadLetters),
            ),
            Role::Store => store::store(subscription(Hop::Classified), database, publisher(Hop::Stored)),
            Role::Audit => store::audit(subscription(Hop::Stored), database),
            Role::Letters => store::letters(subscription(Hop::DeadLetters), database),
        };
        self.runtime.spawn(worker);
        Ok(())
    }

    async fn serve(&mut self, at: SocketAddr, router: Router) -> Result<(), BoxError> {
        let listener = TcpListener::bind(at).await.map_err(|error| format!("listen at {at}: {error}"))?;
        let mut over = self.over.subscribe();
        let over = async move {
            let _ = over.wait_for(|over| *over).await;
        };
        let server = axum::serve(listener, router).with_graceful_shutdown(over);
        self.servers.push(tokio::spawn(server.into_future()));
        Ok(())
    }

    /// Runs until told; then the servers answer what they took, and the workers finish.
    pub(crate) async fn until(self, told: impl Future<Output = ()>) -> Result<(), BoxError> {
        let Running { runtime, servers, over } = self;
        let stopped = async {
            told.await;
            over.send_replace(true);
            for server in servers {
                let _ = tokio::time::timeout(GRACE, server).await;
            }
        };
        Ok(runtime.until(stopped).await?)
    }
}

/// A port of the loopback interface that nobody listens at.
pub(crate) fn free_port() -> std::io::Result<SocketAddr> {
    std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()
}
