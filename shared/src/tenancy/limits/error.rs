//! Why a text of limits is refused.

/// A limit is none, or its value is.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LimitsError {
    /// There is no such limit.
    #[error("unknown limit {name:?}{}", suggestion(.nearest))]
    Unknown {
        /// As given.
        name: String,
        /// Known names that are nearly it, the nearest first; at most three.
        nearest: Vec<String>,
    },
    /// A value is a number, but not one that this limit may have.
    #[error("limit {name}: {value} is not between 0 and {most}")]
    Range {
        /// As given.
        name: String,
        /// As given.
        value: String,
        /// The greatest that it may have.
        most: i64,
    },
    /// A value cannot be read as what this limit is.
    #[error("limit {name}: {problem}")]
    Value {
        /// As given.
        name: String,
        /// What is wrong, and what to write.
        problem: String,
    },
    /// One limit is given twice, by one name or by two that mean the same.
    #[error("limit {name} is given already as {earlier}: keep one of them")]
    Twice {
        /// The second name.
        name: String,
        /// The first.
        earlier: String,
    },
    /// The text is no JSON object.
    #[error("limits are a JSON object such as {{\"media\": 1000}}: {problem}")]
    Syntax {
        /// What the parser said.
        problem: String,
    },
}

fn suggestion(nearest: &[String]) -> String {
    if nearest.is_empty() {
        "; docs/limits.md lists them all".to_owned()
    } else {
        format!("; did you mean {}?", nearest.join(" or "))
    }
}
