//! Tower layers that keep an OpenTelemetry trace whole across a message broker.
