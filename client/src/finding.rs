//! What `rota doctor` finds, one thing at a time.

/// What a look at one thing showed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// What was looked at, in a word or two.
    pub check: &'static str,
    /// How it is, in a sentence.
    pub found: String,
    /// Whether it is as it should be.
    pub verdict: Verdict,
}

/// Whether a thing is as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It is.
    Ok,
    /// It is not: how it should be, and what to do.
    Wrong { expected: String, remedy: String },
    /// Nobody can tell from here.
    NotChecked,
}

impl Finding {
    /// It is as it should be.
    pub fn ok(check: &'static str, found: impl Into<String>) -> Finding {
        Finding { check, found: found.into(), verdict: Verdict::Ok }
    }

    /// It is not.
    pub fn wrong(
        check: &'static str,
        expected: impl Into<String>,
        found: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Finding {
        let verdict = Verdict::Wrong { expected: expected.into(), remedy: remedy.into() };
        Finding { check, found: found.into(), verdict }
    }

    /// It could not be looked at, and why.
    pub fn not_checked(check: &'static str, why: impl Into<String>) -> Finding {
        Finding { check, found: why.into(), verdict: Verdict::NotChecked }
    }

    /// Whether something has to be done.
    pub fn is_wrong(&self) -> bool {
        matches!(self.verdict, Verdict::Wrong { .. })
    }
}
