//! Rust source as the fences see it: code without comments, and string literals apart. A full parser would be a heavy
//! dependency for the question which words a file uses.

/// A source file taken apart.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct SourceText {
    /// The code, each comment and literal replaced by a space.
    pub(crate) code: String,
    /// What stands between the quotes of each string literal, escapes as written.
    pub(crate) literals: Vec<String>,
}

impl SourceText {
    /// Takes `source` apart, without its unit tests: by custom they are the last module of a file.
    pub(crate) fn of(source: &str) -> Self {
        let end = source.find("#[cfg(test)]\nmod ").unwrap_or(source.len());
        let mut parts = Self::default();
        let mut rest = &source[..end];
        while let Some(first) = rest.chars().next() {
            let taken = parts.take(rest, first);
            rest = &rest[taken..];
        }
        parts
    }

    /// Whether an identifier of the code begins with `word`: `actix` finds `actix::` and `actix_rt::`, not `my_actix`.
    pub(crate) fn names(&self, word: &str) -> bool {
        self.code.match_indices(word).any(|(at, _)| {
            !self.code[..at]
                .chars()
                .next_back()
                .is_some_and(|before| before.is_alphanumeric() || before == '_')
        })
    }

    /// Consumes the next piece of `rest` and gives its length in bytes.
    fn take(&mut self, rest: &str, first: char) -> usize {
        if rest.starts_with("//") {
            self.code.push(' ');
            return rest.find('\n').unwrap_or(rest.len());
        }
        if rest.starts_with("/*") {
            self.code.push(' ');
            return block_comment(rest);
        }
        let in_identifier =
            self.code.chars().next_back().is_some_and(|before| before.is_alphanumeric() || before == '_');
        if !in_identifier && let Some((start, end, length)) = string_literal(rest) {
            self.literals.push(rest[start..end].to_owned());
            self.code.push(' ');
            return length;
        }
        if first == '\''
            && let Some(length) = char_literal(rest)
        {
            self.code.push(' ');
            return length;
        }
        self.code.push(first);
        first.len_utf8()
    }
}

/// The length of the block comment at the start of `rest`; they nest.
fn block_comment(rest: &str) -> usize {
    let mut depth = 0_usize;
    let mut at = 0;
    while at < rest.len() {
        let here = &rest.as_bytes()[at..];
        if here.starts_with(b"/*") {
            depth += 1;
            at += 2;
        } else if here.starts_with(b"*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += 1;
        }
    }
    rest.len()
}

/// Start and end of the content, and the length of the string literal at the start of `rest`, of any kind: `"`, `b"`,
/// `c"`, `r"`, `br#"`.
fn string_literal(rest: &str) -> Option<(usize, usize, usize)> {
    let prefix = rest.len() - rest.trim_start_matches(['b', 'c']).len();
    let after = rest.get(prefix..)?;
    if prefix > 1 {
        return None;
    }
    if let Some(raw) = after.strip_prefix('r') {
        let hashes = raw.len() - raw.trim_start_matches('#').len();
        let content = raw[hashes..].strip_prefix('"')?;
        let start = rest.len() - content.len();
        let close = format!("\"{}", "#".repeat(hashes));
        let length = content.find(&close).unwrap_or(content.len());
        return Some((start, start + length, (start + length + close.len()).min(rest.len())));
    }
    let content = after.strip_prefix('"')?;
    let start = rest.len() - content.len();
    let mut escaped = false;
    for (at, c) in content.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return Some((start, start + at, start + at + 1)),
            _ => {}
        }
    }
    Some((start, rest.len(), rest.len()))
}

/// The length of the character literal at the start of `rest`; `None` for a lifetime.
fn char_literal(rest: &str) -> Option<usize> {
    let mut chars = rest.char_indices().skip(1);
    let (_, first) = chars.next()?;
    if first == '\\' {
        chars.next();
        return chars.find(|(_, c)| *c == '\'').map(|(at, _)| at + 1);
    }
    chars.next().filter(|(_, c)| *c == '\'').map(|(at, _)| at + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_are_no_code() {
        let source =
            "//! actix bounds no mailbox\nfn f() {} // \"actix\"\n/* actix /* nested */ actix */ fn g() {}";
        let parts = SourceText::of(source);
        assert!(!parts.names("actix"), "{parts:?}");
        assert!(parts.code.contains("fn g()"));
        assert_eq!(parts.literals, [""; 0]);
    }

    #[test]
    fn literals_are_found_in_every_form() {
        let source =
            r###"let a = ("x\"y", b"b", r"\", r#"q"q"#, br##"h"#h"##, '"', '\'', '\\', 'a', c"c");"###;
        let parts = SourceText::of(source);
        assert_eq!(parts.literals, [r#"x\"y"#, "b", r"\", r#"q"q"#, r##"h"#h"##, "c"]);
        assert!(parts.code.ends_with(");"), "{parts:?}");
    }

    #[test]
    fn lifetimes_are_code() {
        let parts = SourceText::of("fn f<'a>(x: &'a str) -> &'a str { actix::f(x, \"s\") }");
        assert!(parts.names("actix"));
        assert_eq!(parts.literals, ["s"]);
        assert!(parts.code.contains("&'a str)"));
    }

    #[test]
    fn a_word_counts_only_at_the_start_of_an_identifier() {
        assert!(SourceText::of("use actix_rt::spawn;").names("actix"));
        assert!(!SourceText::of("use my_actix::spawn;").names("actix"));
        assert!(SourceText::of("use my_actix; use actix;").names("actix"));
    }

    #[test]
    fn unit_tests_at_the_end_are_left_out() {
        let parts = SourceText::of("fn f() {}\n#[cfg(test)]\nmod tests { use actix; }");
        assert!(!parts.names("actix"));
    }
}
