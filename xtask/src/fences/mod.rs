//! Rules on who may depend on and name what, checked by machine and not by memory. What can be said in `deny.toml` or
//! `clippy.toml` is said there; here is the rest.

mod edges;
mod words;

use crate::{failure::Outcome, workspace::Workspace};

/// Checks all fences and prints what breaks them; `true` when nothing does.
pub(crate) fn run(workspace: &Workspace) -> Outcome<bool> {
    let files = words::read(workspace)?;
    let tree = edges::default_tree(workspace)?;
    let broken: Vec<_> = [
        edges::check(&workspace.packages),
        edges::check_default_tree(&tree),
        words::check(&files, words::FENCES),
        words::check_literals(&files),
    ]
    .concat();
    for line in &broken {
        println!("fence: {line}");
    }
    for line in words::long_files(&files) {
        println!("warning: {line}");
    }
    println!(
        "{} fences broken in {} packages, {} files",
        broken.len(),
        workspace.packages.len(),
        files.len()
    );
    Ok(broken.is_empty())
}
