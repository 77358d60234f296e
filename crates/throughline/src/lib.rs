//! Message workers whose OpenTelemetry traces never break at a broker.
