//! A small server that speaks enough of SQS's JSON protocol to do what a real one cannot be made to do; and a worker's side
//! of a source, driven by hand.

#![allow(dead_code, reason = "each test needs its part of it")]

use serde_json::{Value, json};
use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::{Duration, Instant},
};
use throughline_core::{Capacity, Demand, DemandControl, Event, Observe, Subscription};
use throughline_sqs::{Sqs, SqsSource, SqsSubscription};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
    runtime::Handle,
    task::JoinHandle,
};

/// What the server says to a call.
pub(crate) enum Say {
    /// 200 with this body.
    Ok(Value),
    /// An error of this status and code.
    Error(u16, &'static str),
    /// Nothing, and the connection stays open.
    Nothing,
}

/// A call, as the server got it.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub(crate) action: String,
    pub(crate) body: Value,
    pub(crate) at: Instant,
}

type Answer = Arc<dyn Fn(&Call) -> Say + Send + Sync>;

/// The server; it ends with this.
pub(crate) struct Fake {
    pub(crate) sqs: Sqs,
    pub(crate) endpoint: String,
    calls: Arc<Mutex<Vec<Call>>>,
    server: JoinHandle<()>,
}

impl Fake {
    /// Serves with these answers; what they leave to it (`None`) is answered as by a queue that is empty and takes
    /// everything.
    pub(crate) async fn start(answer: impl Fn(&Call) -> Option<Say> + Send + Sync + 'static) -> Fake {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let calls = Arc::<Mutex<Vec<Call>>>::default();
        let answer: Answer = {
            let calls = calls.clone();
            Arc::new(move |call| {
                calls.lock().unwrap().push(call.clone());
                answer(call).unwrap_or_else(|| taken(call))
            })
        };
        let server = Handle::current().spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                Handle::current().spawn(serve(stream, answer.clone()));
            }
        });
        Fake { sqs: Sqs::local(endpoint.clone()), endpoint, calls, server }
    }

    pub(crate) fn url(&self) -> String {
        format!("{}/000000000000/q", self.endpoint)
    }

    /// The calls of this action so far.
    pub(crate) fn calls(&self, action: &str) -> Vec<Call> {
        self.calls.lock().unwrap().iter().filter(|call| call.action == action).cloned().collect()
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.server.abort();
    }
}

fn taken(call: &Call) -> Say {
    let empty = Vec::new();
    let entries = call.body["Entries"].as_array().unwrap_or(&empty);
    let done = |entry: &Value| json!({"Id": entry["Id"], "MessageId": "m", "MD5OfMessageBody": "x"});
    Say::Ok(match call.action.as_str() {
        "GetQueueAttributes" => json!({"Attributes": {"VisibilityTimeout": "30"}}),
        "ReceiveMessage" => json!({"Messages": []}),
        _ => json!({"Successful": entries.iter().map(done).collect::<Vec<_>>(), "Failed": []}),
    })
}

/// Messages with these identities.
pub(crate) fn messages(ids: &[&str]) -> Say {
    let message = |id: &&str| json!({"MessageId": id, "ReceiptHandle": format!("handle-{id}"), "Body": "x"});
    Say::Ok(json!({"Messages": ids.iter().map(message).collect::<Vec<_>>()}))
}

/// What the server calls every request of this action.
pub(crate) fn request_id(action: &str) -> String {
    format!("request-{action}")
}

async fn serve(stream: TcpStream, answer: Answer) -> Option<()> {
    let mut stream = BufReader::new(stream);
    loop {
        let (mut length, mut action) = (0, String::new());
        loop {
            let mut line = String::new();
            if stream.read_line(&mut line).await.ok()? == 0 {
                return None;
            }
            if line == "\r\n" {
                break;
            }
            if let Some((name, value)) = line.split_once(':') {
                match name.to_ascii_lowercase().as_str() {
                    "content-length" => length = value.trim().parse().ok()?,
                    "x-amz-target" => action = value.trim().rsplit('.').next()?.to_owned(),
                    _ => {}
                }
            }
        }
        let mut body = vec![0; length];
        stream.read_exact(&mut body).await.ok()?;
        let call = Call { action, body: serde_json::from_slice(&body).ok()?, at: Instant::now() };
        // An empty long poll must not spin.
        let (status, body) = match answer(&call) {
            Say::Ok(body) => {
                if body["Messages"].as_array().is_some_and(Vec::is_empty) {
                    tokio::time::sleep(Duration::from_millis(200)).await;
                }
                (200, body)
            }
            Say::Error(status, code) => {
                (status, json!({"__type": format!("com.amazonaws.sqs#{code}"), "message": code}))
            }
            Say::Nothing => std::future::pending().await,
        };
        let body = body.to_string();
        let head = format!(
            "HTTP/1.1 {status} X\r\nContent-Type: application/x-amz-json-1.0\r\nx-amzn-RequestId: {}\r\n\
             Content-Length: {}\r\n\r\n",
            request_id(&call.action),
            body.len()
        );
        stream.get_mut().write_all((head + &body).as_bytes()).await.ok()?;
    }
}

/// What the adapter reported.
#[derive(Debug, Default)]
pub(crate) struct Heard {
    pub(crate) confirmed: AtomicUsize,
    pub(crate) refused: AtomicUsize,
    pub(crate) lost: AtomicUsize,
    pub(crate) reconnected: AtomicUsize,
    pub(crate) outages: Mutex<Vec<String>>,
    /// What the requests were called by which something was settled.
    pub(crate) requests: Mutex<Vec<String>>,
}

impl Observe for Heard {
    fn observe(&self, event: Event<'_>) {
        match event {
            Event::Settled(settled) if settled.result.is_ok() => {
                self.requests.lock().unwrap().extend(settled.request_id.map(str::to_owned));
                self.confirmed.fetch_add(settled.count, SeqCst);
            }
            Event::Settled(settled) => {
                self.refused.fetch_add(settled.count, SeqCst);
            }
            Event::LeaseLost { count, .. } => {
                self.lost.fetch_add(count, SeqCst);
            }
            Event::Reconnecting { error } => self.outages.lock().unwrap().push(error.to_string()),
            Event::Reconnected => {
                self.reconnected.fetch_add(1, SeqCst);
            }
            _ => {}
        }
    }
}

/// A source with room for so many.
pub(crate) async fn subscribe(
    subscription: &SqsSubscription,
    room: usize,
) -> (SqsSource, DemandControl, Arc<Heard>) {
    let heard = Arc::<Heard>::default();
    let (control, demand) = Demand::new(Capacity { messages: room, bytes: usize::MAX });
    (subscription.subscribe(demand, heard.clone()).await.unwrap(), control, heard)
}

/// Waits until it is so; a test that waits for longer has failed.
pub(crate) async fn until(what: &str, is_so: impl Fn() -> bool) {
    let since = Instant::now();
    while !is_so() {
        assert!(since.elapsed() < Duration::from_secs(60), "never: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
