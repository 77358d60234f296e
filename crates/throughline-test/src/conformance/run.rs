//! The runtime of a case.

/// Runs one case to its end on a runtime of two threads. For [`conformance!`](crate::conformance!).
///
/// # Panics
/// When the case does, or when the runtime cannot be made.
pub fn run(case: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime for the test");
    runtime.block_on(case);
}
