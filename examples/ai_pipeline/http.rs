//! Spans of HTTP requests, in and out, whose context goes in the headers. It is OpenTelemetry's own API: what an
//! instrumentation library for axum or reqwest does.

use axum::{
    extract::{MatchedPath, Request},
    middleware::Next,
    response::Response,
};
use opentelemetry::{
    Context, KeyValue,
    global::{self, BoxedTracer},
    trace::{FutureExt, SpanBuilder, SpanKind, Status, TraceContextExt, Tracer},
};
use opentelemetry_http::{HeaderExtractor, HeaderInjector};
use std::{
    fmt::Display,
    future::Future,
    pin::Pin,
    task::{self, Poll},
};
use throughline::BoxError;
use tower::{Layer, Service};

pub(crate) fn tracer() -> BoxedTracer {
    global::tracer("ai_pipeline")
}

/// A span around a piece of work, inside what is current.
pub(crate) async fn spanned<T, E: Display>(
    builder: SpanBuilder,
    work: impl Future<Output = Result<T, E>>,
) -> Result<T, E> {
    let context = Context::current_with_span(builder.start(&tracer()));
    let done = work.with_context(context.clone()).await;
    if let Err(error) = &done {
        context.span().set_status(Status::error(error.to_string()));
    }
    done
}

/// A SERVER span around every request, as an axum middleware: the caller's trace goes on in it.
pub(crate) async fn serve(request: Request, next: Next) -> Response {
    let caller = global::get_text_map_propagator(|propagator| {
        propagator.extract_with_context(&Context::new(), &HeaderExtractor(request.headers()))
    });
    let method = request.method().to_string();
    let route = request.extensions().get::<MatchedPath>().map(|path| path.as_str().to_owned());
    let name = route.as_ref().map_or_else(|| method.clone(), |route| format!("{method} {route}"));
    let mut attributes = vec![KeyValue::new("http.request.method", method)];
    attributes.extend(route.map(|route| KeyValue::new("http.route", route)));
    let tracer = tracer();
    let span = tracer.span_builder(name).with_kind(SpanKind::Server).with_attributes(attributes);
    let context = caller.with_span(span.start_with_context(&tracer, &caller));
    let response = next.run(request).with_context(context.clone()).await;
    let status = response.status();
    context.span().set_attribute(KeyValue::new("http.response.status_code", i64::from(status.as_u16())));
    if status.is_server_error() {
        context.span().set_status(Status::error(""));
    }
    response
}

/// A CLIENT span around every call, its context in the request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CallLayer;

#[derive(Clone, Debug)]
pub(crate) struct Call<S>(S);

impl<S> Layer<S> for CallLayer {
    type Service = Call<S>;

    fn layer(&self, inner: S) -> Call<S> {
        Call(inner)
    }
}

impl<S> Service<reqwest::Request> for Call<S>
where
    S: Service<reqwest::Request, Response = reqwest::Response>,
    S::Error: Into<BoxError>,
    S::Future: Send + 'static,
{
    type Response = reqwest::Response;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<reqwest::Response, BoxError>> + Send>>;

    fn poll_ready(&mut self, cx: &mut task::Context<'_>) -> Poll<Result<(), BoxError>> {
        self.0.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, mut request: reqwest::Request) -> Self::Future {
        let (method, url) = (request.method().to_string(), request.url());
        let attributes = [
            Some(KeyValue::new("http.request.method", method.clone())),
            url.host_str().map(|host| KeyValue::new("server.address", host.to_owned())),
            url.port().map(|port| KeyValue::new("server.port", i64::from(port))),
            Some(KeyValue::new("url.full", url.to_string())),
        ];
        let tracer = tracer();
        let span = tracer.span_builder(method).with_kind(SpanKind::Client);
        let span = span.with_attributes(attributes.into_iter().flatten()).start(&tracer);
        let context = Context::current_with_span(span);
        global::get_text_map_propagator(|propagator| {
            propagator.inject_context(&context, &mut HeaderInjector(request.headers_mut()));
        });
        let answer = self.0.call(request).with_context(context.clone());
        Box::pin(async move {
            let answer = answer.await.map_err(Into::into);
            let span = context.span();
            match &answer {
                Ok(response) => {
                    let status = response.status();
                    span.set_attribute(KeyValue::new(
                        "http.response.status_code",
                        i64::from(status.as_u16()),
                    ));
                    if status.is_client_error() || status.is_server_error() {
                        span.set_status(Status::error(""));
                    }
                }
                Err(error) => span.set_status(Status::error(error.to_string())),
            }
            answer
        })
    }
}
