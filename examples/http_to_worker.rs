//! cargo run --example http_to_worker
//!
//! One trace from an HTTP client through an HTTP service and a broker into a worker. The spans over HTTP are those of the
//! OpenTelemetry API, by whatever makes them for you; a `Telemetry` sets up tracer and propagator for them too.

use axum::{
    Json as Body, Router,
    extract::{Request, State},
    http::{HeaderMap, StatusCode},
    middleware,
    response::Response,
    routing::post,
};
use opentelemetry::{
    Context, global,
    trace::{FutureExt, SpanKind, TraceContextExt, Tracer},
};
use opentelemetry_http::{HeaderExtractor, HeaderInjector};
use opentelemetry_sdk::trace::InMemorySpanExporter;
use throughline::{BoxError, Json, Publisher, Runtime, Telemetry, Worker, handler, memory::Memory};
use throughline_test::{Expect, Graph};
use tokio::{net::TcpListener, sync::oneshot};

/// axum's middleware: continues the caller's trace, and is current while the request is handled.
async fn traced(request: Request, next: middleware::Next) -> Response {
    let headers = HeaderExtractor(request.headers());
    let caller = global::get_text_map_propagator(|it| it.extract_with_context(&Context::new(), &headers));
    let (tracer, name) = (global::tracer("http"), format!("{} {}", request.method(), request.uri().path()));
    let span = tracer.span_builder(name).with_kind(SpanKind::Server).start_with_context(&tracer, &caller);
    next.run(request).with_context(caller.with_span(span)).await
}

/// The send's span is below that of the request, since it is current here.
async fn accept(State(orders): State<Publisher>, Body(item): Body<String>) -> Result<StatusCode, StatusCode> {
    let message = Json(item).to_message().map_err(|_| StatusCode::BAD_REQUEST)?;
    // Accepted once the broker has it; if not, the caller knows.
    orders.send(message).await.map_err(|_| StatusCode::SERVICE_UNAVAILABLE)?;
    Ok(StatusCode::ACCEPTED)
}

async fn ship(Json(item): Json<String>) {
    println!("shipped: {item}");
}

/// A call with a span of its own, whose context goes along.
async fn order(url: String, item: &str) -> Result<StatusCode, BoxError> {
    let tracer = global::tracer("http");
    let span = tracer.span_builder("POST /orders").with_kind(SpanKind::Client).start(&tracer);
    let (context, mut headers) = (Context::current_with_span(span), HeaderMap::new());
    global::get_text_map_propagator(|it| it.inject_context(&context, &mut HeaderInjector(&mut headers)));
    let call = reqwest::Client::new().post(url).headers(headers).json(item);
    Ok(call.send().with_context(context).await?.status())
}

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let spans = InMemorySpanExporter::default();
    let telemetry = Telemetry::builder("shop").exporter(spans.clone()).build()?;
    let broker = Memory::new();
    broker.create_topic("orders", 4)?;

    let orders = Publisher::new(broker.topic("orders"));
    let service =
        Router::new().route("/orders", post(accept)).layer(middleware::from_fn(traced)).with_state(orders);
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}/orders", listener.local_addr()?);
    let (stop, stopped) = oneshot::channel::<()>();
    let serving = axum::serve(listener, service).with_graceful_shutdown(async { drop(stopped.await) });
    let serving = tokio::spawn(serving.into_future());

    let mut runtime = Runtime::new(telemetry)?;
    runtime.spawn(Worker::new("ship", broker.subscribe("orders").group("shipping"), || handler(ship)));
    let status = order(url, "a book").await?;
    println!("the service answered {status}");
    // In this order: nothing new comes in, then what is there is done.
    drop(stop);
    serving.await??;
    runtime.until(broker.caught_up("orders", "shipping")).await?;

    let graph = Graph::new(spans.get_finished_spans()?);
    let call = graph.spans().iter().find(|span| span.parent.is_none()).ok_or("no span was exported")?.id;
    println!("\nits way (\u{21aa} follows a link into another trace):\n{}", graph.tree(call));
    graph.check(&Expect::new().spans(4).links(1).traces(2).components(1))?;
    Ok(())
}
