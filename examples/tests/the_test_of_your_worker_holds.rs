//! The test that the example `test_your_worker` shows, as its user would run it.

#[path = "../test_your_worker.rs"]
#[allow(dead_code, reason = "its `main` is run with all other examples")]
mod test_your_worker;
