//! Each role as a process of its own, started again when it dies, as a container platform would.

use crate::{
    args::{Args, How, Role},
    roles::{GRACE, Ground},
};
use std::{
    path::Path,
    process::Stdio,
    time::{Duration, Instant},
};
use throughline::BoxError;
use tokio::{
    process::{Child, Command},
    sync::watch,
    task::JoinSet,
    time::{sleep, timeout},
};

/// How long to wait before a role is started again.
const BACKOFF: Duration = Duration::from_millis(200);

/// A role that so often in a row lives no longer than this has something wrong that no restart mends.
const SHORT_LIFE: Duration = Duration::from_secs(1);
const SHORT_LIVES: u32 = 5;

pub(crate) struct Children {
    keepers: JoinSet<Result<(), BoxError>>,
    over: watch::Sender<bool>,
}

impl Children {
    /// Starts all of them; each says on stderr which process it is.
    pub(crate) fn start(
        args: &Args,
        prefix: &str,
        database: &str,
        spans: &Path,
        ground: &Ground,
    ) -> Result<Self, BoxError> {
        let program = std::env::current_exe()?;
        let (mut keepers, over) = (JoinSet::new(), watch::Sender::new(false));
        for role in Role::PARTS {
            let relation = match args.relation {
                How::Link => "link",
                How::ParentAndLink => "parent-and-link",
            };
            let mut command = Command::new(&program);
            command.args(["--role", role.name(), "--brokers", "real", "--relation", relation]);
            command.args(["--prefix", prefix, "--database", database]);
            command.args(["--ingress", &ground.ingress.to_string()]);
            command.args(["--embedding", &ground.embedding.to_string()]);
            command.arg("--spans").arg(spans);
            command.args(args.otlp.iter().flat_map(|url| ["--otlp", url]));
            // The end of its stdin tells a role to end, also when we are killed.
            command.stdin(Stdio::piped()).stdout(Stdio::null()).kill_on_drop(true);
            keepers.spawn(keep(role, command, over.subscribe()));
        }
        Ok(Children { keepers, over })
    }

    /// Lets all of them finish.
    ///
    /// # Errors
    /// One did not end cleanly.
    pub(crate) async fn stop(mut self) -> Result<(), BoxError> {
        self.over.send_replace(true);
        while let Some(ended) = self.keepers.join_next().await {
            ended??;
        }
        Ok(())
    }
}

async fn keep(role: Role, mut command: Command, mut over: watch::Receiver<bool>) -> Result<(), BoxError> {
    let mut short_lives = 0;
    loop {
        let started = Instant::now();
        let mut child = command.spawn()?;
        // Out of the child, since waiting for it would close it.
        let stdin = child.stdin.take();
        eprintln!("{} is process {}", role.name(), child.id().unwrap_or_default());
        let ended = tokio::select! {
            status = child.wait() => Some(status?),
            () = told(&mut over) => None,
        };
        let Some(status) = ended else {
            drop(stdin);
            return end(role, child).await;
        };
        eprintln!("{} ended: {status}", role.name());
        short_lives = if started.elapsed() < SHORT_LIFE { short_lives + 1 } else { 0 };
        if short_lives >= SHORT_LIVES {
            return Err(format!("{} does not stay alive: {status}", role.name()).into());
        }
        sleep(BACKOFF).await;
    }
}

async fn told(over: &mut watch::Receiver<bool>) {
    let _ = over.wait_for(|over| *over).await;
}

async fn end(role: Role, mut child: Child) -> Result<(), BoxError> {
    match timeout(GRACE * 2, child.wait()).await {
        Ok(status) if status.as_ref().is_ok_and(|status| status.success()) => Ok(()),
        Ok(status) => Err(format!("{} did not end cleanly: {}", role.name(), status?).into()),
        Err(_) => Err(format!("{} does not end", role.name()).into()),
    }
}
